"""Docs that are made from code are current, and what they name exists."""

import re
from pathlib import Path

import pytest

from docs.make_settings import settings_page
from fabpilot.cli import COMMANDS

ROOT = Path(__file__).parents[3]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


def test_every_setting_is_documented() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == settings_page(), (
        "run: python docs/make_settings.py"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_that_are_named_exist(page: Path) -> None:
    for command in re.findall(r"`fabpilot ([a-z]+)", page.read_text()):
        # `fabpilot serve` is named where the README says what is missing.
        assert command in (*COMMANDS, "serve"), command


def test_the_readme_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z]+)\b", (ROOT / "README.md").read_text())):
        if target not in ("are",):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
