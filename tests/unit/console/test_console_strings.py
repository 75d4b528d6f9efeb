import json
import re
from importlib.resources import files

import pytest

from console.strings import LANGUAGES, strings_for

TEXTS = {language: strings_for(language).texts for language in LANGUAGES}
SOURCES = [
    *(files("console") / "templates").iterdir(),
    *(files("console") / "static").iterdir(),
    files("console") / "headline.py",
    files("console") / "pages.py",
    files("console") / "steering_pages.py",
    files("console") / "rendering.py",
]


IN_PYTHON = re.compile(r"""\b(?:t|strings)\(\s*["']([a-z0-9_.]+[a-z0-9_])["']""")
IN_SCRIPTS = re.compile(r'\bsay\("([a-z0-9_.]+)"')


def asked_for():
    """Keys named in full in templates, scripts and code."""
    found = set()
    for source in SOURCES:
        text = source.read_text(encoding="utf-8")
        if source.name.endswith((".html", ".py")):
            found |= set(IN_PYTHON.findall(text))
        elif source.name.endswith(".js"):
            found |= {f"js.{key}" for key in IN_SCRIPTS.findall(text)}
    return found


def test_all_languages_have_the_same_keys():
    assert len({frozenset(texts) for texts in TEXTS.values()}) == 1


def test_placeholders_agree_between_languages():
    for key, text in TEXTS["en"].items():
        for language, texts in TEXTS.items():
            assert set(re.findall(r"\{(\w+)\}", texts[key])) <= set(
                re.findall(r"\{(\w+)\}", text)
            ), (language, key)


@pytest.mark.parametrize("key", sorted(asked_for()))
def test_what_pages_ask_for_is_there(key):
    assert TEXTS["en"].get(key), key


def test_no_text_is_empty_and_files_are_sorted():
    for language in LANGUAGES:
        raw = (files("console") / "languages" / f"{language}.json").read_text(encoding="utf-8")
        keys = list(json.loads(raw))
        assert keys == sorted(keys)
        assert all(text.strip() for text in TEXTS[language].values())


def test_an_unknown_language_is_english_and_an_unknown_key_is_shown_raw():
    assert strings_for("xx").language == "en"
    assert strings_for("en")("e10.levitating") == "levitating"
