"""What people read, in English and Korean, kept in `languages/<language>.json` and nowhere else."""

import json
from functools import cache
from importlib.resources import files

__all__ = ["DEFAULT_LANGUAGE", "LANGUAGES", "Strings", "strings_for"]

LANGUAGES = {"en": "English", "ko": "한국어"}
DEFAULT_LANGUAGE = "en"


class Strings:
    """The strings of one language.

    Args:
        language: 'en' or 'ko'.
        texts: key to text; texts may have `{placeholders}`.
    """

    def __init__(self, language: str, texts: dict[str, str]) -> None:
        self.language = language
        self.texts = texts

    def __call__(self, key: str, **values: object) -> str:
        """The text for `key` with its placeholders filled in.

        A key that has no text comes back as it is: a code from the log (a new equipment state,
        say) is better shown raw than not at all. Tests hold that no page asks for a missing one.
        """
        text = self.texts.get(key)
        if text is None:
            return key.rpartition(".")[2]
        return text.format(**values) if values else text

    def group(self, prefix: str) -> dict[str, str]:
        """All texts whose key starts with `prefix`, for the scripts of a page."""
        return {key: text for key, text in self.texts.items() if key.startswith(prefix)}


@cache
def strings_for(language: str) -> Strings:
    """The strings of `language`, or of the default one if we do not speak it."""
    if language not in LANGUAGES:
        language = DEFAULT_LANGUAGE
    source = files("console") / "languages" / f"{language}.json"
    return Strings(language, json.loads(source.read_text(encoding="utf-8")))
