"""JSON Schemas of all event types, for readers in other languages.

`python -m contracts.schemas DIR` writes one file a type. Byte fields (`data`, `png`, `value`) are
raw MessagePack bin on the wire; JSON Schema can only say "base64 string".
"""

import sys
from pathlib import Path

import msgspec

from contracts.events import EVENT_TYPES

__all__ = ["schema_files", "write_schemas"]


def schema_files() -> dict[str, bytes]:
    """File name to content, for every event type."""
    files: dict[str, bytes] = {}
    for ce_type, event in sorted(EVENT_TYPES.items()):
        schema = msgspec.json.schema(event)
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        files[f"{ce_type}.json"] = (
            msgspec.json.format(msgspec.json.encode(schema, order="sorted"), indent=2) + b"\n"
        )
    return files


def write_schemas(folder: Path) -> None:
    """Write every schema into `folder`, which is made if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in schema_files().items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
