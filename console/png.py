"""Small images as PNG (ISO/IEC 15948), without a picture library."""

import struct
import zlib

import numpy as np
import numpy.typing as npt

__all__ = ["DIE_PALETTE", "HEAT_PALETTE", "encode_png"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# Off the wafer transparent, pass light, fail dark: told apart by lightness alone.
DIE_PALETTE = ((255, 255, 255, 0), (205, 213, 221, 255), (19, 32, 46, 255))
HEAT_PALETTE = tuple((201, 91, 0, value) for value in range(256))
"""One hue; the value is the opacity."""


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def encode_png(
    values: npt.NDArray[np.uint8], palette: tuple[tuple[int, int, int, int], ...]
) -> bytes:
    """A (rows, columns) uint8 image of palette indices as PNG, one pixel per element.

    >>> encode_png(np.zeros((1, 1), dtype=np.uint8), DIE_PALETTE)[1:4]
    b'PNG'
    """
    rows, columns = values.shape
    # Colour type 3 (indexed), 8 bits; every line begins with filter 0 (none).
    header = struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)
    lines = np.zeros((rows, columns + 1), dtype=np.uint8)
    lines[:, 1:] = values
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", bytes(part for colour in palette for part in colour[:3])),
            _chunk(b"tRNS", bytes(colour[3] for colour in palette)),
            _chunk(b"IDAT", zlib.compress(lines.tobytes(), 6)),
            _chunk(b"IEND", b""),
        )
    )
