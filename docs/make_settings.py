"""Write docs/settings.md from the settings themselves: `python docs/make_settings.py`."""

from pathlib import Path

from fabpilot.settings import Settings

__all__ = ["settings_page"]

_HEAD = """# Settings

Every process reads its settings from the environment; nothing else of ours is read. A variable
that looks like a setting and is none is an error, so that a typing mistake does not go unnoticed.

| variable | default | what it is |
|---|---|---|
"""


def settings_page() -> str:
    """The page as it should be."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default in ("", None) else f"`{field.default}`"
        rows.append(f"| `FABPILOT_{name.upper()}` | {default} | {field.description} |\n")
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    (Path(__file__).parent / "settings.md").write_text(settings_page())
