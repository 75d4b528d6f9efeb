"""Docs that are made from code are current, and what they name exists."""

import re
from pathlib import Path

import pytest

from contracts.topics import STREAM_SPECS
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


def test_the_table_of_topics_is_the_one_in_the_code() -> None:
    page = (ROOT / "docs" / "streaming.md").read_text()
    table = page[page.index("| stream | partitions |") :].split("\n\n")[0]
    rows = {
        name: (int(cells[2]), cells[4].split()[0])
        for line in table.splitlines()[2:]
        if (cells := line.split("|"))
        for name in re.findall(r"`([a-z_]+)`", cells[1])
    }
    assert rows == {
        stream.value: (spec.partitions, str(spec.record_bytes // 2**20))
        for stream, spec in STREAM_SPECS.items()
    }


def test_the_readme_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    # At the beginning of a line of code or of a code span; elsewhere "make" is a verb.
    targets = set(
        re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    )
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
