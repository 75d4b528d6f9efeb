"""Review images: what a review SEM shows of one defect, on a background of lines and spaces.

A picture is built as the instrument builds it: the pattern with its rough edges, the defect in it
or on it, the charge that insulators collect, the beam's spot, and the electrons that are counted.
L. Reimer, Scanning Electron Microscopy (Springer 1998), chapters 3 to 6, has the contrasts;
C. A. Mack, Fundamental Principles of Optical Lithography (Wiley 2007), the line edges.

Pixels are the same on every machine: nothing here but sums, products, quotients and square roots,
which IEEE 754 rounds alike everywhere; no exponential, no angle, no matrix product.
"""

import io
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from contracts.errors import ConfigError
from fab_sim.review_defects import Lines, Plain, clouds, draw_defect, remember, shade
from fab_sim.review_sites import DefectKind

__all__ = [
    "REVIEW_PITCH_NM",
    "REVIEW_PIXELS",
    "REVIEW_PIXEL_SIZE_NM",
    "ReviewScene",
    "draw_review_image",
    "draw_review_scene",
    "encode_png",
]

# Twice the 45 nm line that metrology of litho measures (fab_sim.kinds), seven of them in a picture.
REVIEW_PITCH_NM, REVIEW_PIXEL_SIZE_NM, REVIEW_PIXELS = 90.0, 2.5, 256
# With fewer pixels a line has no inside; with more than this a side nobody's reviewer has room.
_MIN_PIXELS_A_PITCH, _MIN_PIXELS, _MAX_PIXELS = 8.0, 64, 2048
# Line edge roughness, one sigma, and its correlation length: 3 to 5 nm (3 sigma) and 15 to 40 nm
# are what fabs of this node report.
_ROUGHNESS_NM, _CORRELATION_NM = (1.0, 1.7), (15.0, 40.0)
# Share of the pitch that is line.
_DUTY = (0.42, 0.58)
# Electrons that a white pixel counts; the shot noise of a mid grey is then 9 %, as after a few
# averaged frames.
_DOSE = 240.0
# Probabilities are told apart to 1 in so many.
_QUANTILES = 4096
# Kinds that hold charge, and leave a trail behind them along the scan.
_INSULATING = ("particle", "residue")
# A change of grey, of 1, that the eye calls a defect.
_VISIBLE = 0.06
# zlib's Z_HUFFMAN_ONLY: noise has no repeats to find, so it is as small and 20 times as fast; and
# without a search zlib and zlib-ng write the same bytes.
_HUFFMAN_ONLY = 2


class ReviewScene(NamedTuple):
    """A review image and where its defect is.

    Attributes:
        image: (pixels, pixels) uint8.
        mask: (pixels, pixels) bool, where the defect changed what is seen.
    """

    image: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_]


def draw_review_image(
    kind: DefectKind,
    *,
    pixels: int = REVIEW_PIXELS,
    pixel_size_nm: float = REVIEW_PIXEL_SIZE_NM,
    pitch_nm: float = REVIEW_PITCH_NM,
    random: np.random.Generator,
) -> npt.NDArray[np.uint8]:
    """A picture of one defect, (pixels, pixels) uint8, near its middle.

    Args:
        kind: what it shows.
        pixels: side of the picture, 64 to 2,048.
        pixel_size_nm: side of a pixel on the wafer.
        pitch_nm: from one line to the next; at least 8 pixels, at most half the picture.
        random: the picture's own stream.

    Raises:
        ConfigError: the sizes do not go together.
    """
    return draw_review_scene(
        kind, pixels=pixels, pixel_size_nm=pixel_size_nm, pitch_nm=pitch_nm, random=random
    ).image


def draw_review_scene(
    kind: DefectKind,
    *,
    pixels: int = REVIEW_PIXELS,
    pixel_size_nm: float = REVIEW_PIXEL_SIZE_NM,
    pitch_nm: float = REVIEW_PITCH_NM,
    random: np.random.Generator,
) -> ReviewScene:
    """The same picture, with the truth about where its defect is."""
    _check(pixels, pixel_size_nm, pitch_nm)
    lines = _draw_lines(pixels, pixel_size_nm, pitch_nm, random)
    plain = shade(lines.inside_nm, lines.look)
    seen = draw_defect(kind, lines, plain, random)
    mask = np.abs(seen - plain) > _VISIBLE
    if random.random() < 0.5:
        seen, mask = seen.T, mask.T
    seen = _charge(seen, mask if kind in _INSULATING else None, random)
    for _ in range(int(random.integers(1, 4))):
        seen = _blur(seen)
    return ReviewScene(_count_electrons(seen, random), np.ascontiguousarray(mask))


def encode_png(image: npt.NDArray[np.uint8]) -> bytes:
    """The picture as a PNG file, without times or texts in it.

    Args:
        image: (height, width) uint8.
    """
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_type=_HUFFMAN_ONLY)
    return file.getvalue()


def _check(pixels: int, pixel_size_nm: float, pitch_nm: float) -> None:
    if not _MIN_PIXELS <= pixels <= _MAX_PIXELS:
        raise ConfigError(
            f"a review image of {pixels} pixels a side cannot be drawn: give"
            f" {_MIN_PIXELS} to {_MAX_PIXELS}"
        )
    low, high = _MIN_PIXELS_A_PITCH * pixel_size_nm, 0.5 * pixels * pixel_size_nm
    if not (pixel_size_nm > 0.0 and low <= pitch_nm <= high):
        raise ConfigError(
            f"a pitch of {pitch_nm:g} nm cannot be seen in {pixels} pixels of {pixel_size_nm:g} nm:"
            f" give {low:g} to {high:g} nm"
        )


def _draw_lines(
    pixels: int, pixel_size_nm: float, pitch_nm: float, random: np.random.Generator
) -> Lines:
    """Upright lines with rough edges."""
    reach = 0.5 * pixels * pixel_size_nm
    place = ((np.arange(pixels) + 0.5) * pixel_size_nm - reach).astype(np.float32)
    # Two lines more than fit, so that one that leans in from outside is there.
    outermost = int(reach / pitch_nm) + 2
    phase = float(random.uniform(-0.5, 0.5))
    centres = np.array([(k + phase) * pitch_nm for k in range(-outermost, outermost + 1)])
    width = float(random.uniform(*_DUTY)) * pitch_nm
    sigma = float(random.uniform(*_ROUGHNESS_NM))
    length = float(random.uniform(*_CORRELATION_NM)) / pixel_size_nm
    white = random.standard_normal((pixels, 2 * len(centres)), dtype=np.float32)
    # 1 - 1 / (1 + length) is exp(-1 / length) to first order, and exact arithmetic.
    memory = length / (1.0 + length)
    steady = float(np.sqrt(1.0 - memory * memory))
    white[1:] *= steady
    rough = sigma * remember(white, memory)
    half = 0.5 * width
    left = (centres - half).astype(np.float32) + rough[:, : len(centres)]
    right = (centres + half).astype(np.float32) + rough[:, len(centres) :]
    nearest = np.floor((place - float(centres[0])) / pitch_nm + 0.5).astype(np.int64)
    look = Plain(
        line=float(random.uniform(0.46, 0.6)),
        space=float(random.uniform(0.22, 0.34)),
        edge=float(random.uniform(0.22, 0.36)),
        edge_nm=float(random.uniform(4.0, 6.5)),
    )
    x, y = place[None, :], place[:, None]
    inside = np.minimum(x - left[:, nearest], right[:, nearest] - x)
    return Lines(x, y, pixel_size_nm, pitch_nm, width, centres, left, right, nearest, inside, look)


def _charge(
    seen: npt.NDArray[np.float32],
    holds: npt.NDArray[np.bool_] | None,
    random: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """Slow gradients, rows that flicker, and a trail along the scan beside what holds charge."""
    pixels = len(seen)
    depth = float(random.uniform(0.03, 0.12))
    seen = seen * (1.0 + depth * clouds(random, pixels, 2))
    seen *= 1.0 + 0.012 * remember(random.standard_normal((pixels, 1), dtype=np.float32), 0.5)
    if holds is not None:
        memory = 1.0 - 1.0 / float(random.uniform(0.08, 0.25) * pixels)
        trail = remember(np.ascontiguousarray(holds.T, dtype=np.float32), memory).T
        # Saturates: an insulator takes up only so much.
        trail = trail / (12.0 + trail)
        sign = -1.0 if random.random() < 0.7 else 1.0
        seen = np.where(
            holds, seen, seen * (1.0 + sign * float(random.uniform(0.12, 0.3)) * trail)
        ).astype(np.float32)
    return seen


def _blur(seen: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The beam's spot: 1, 2, 1 across and down; several times over it is nearly a Gaussian."""
    wide = np.pad(seen, 1, mode="edge")
    wide = wide[:-2] + 2.0 * wide[1:-1] + wide[2:]
    return np.asarray((wide[:, :-2] + 2.0 * wide[:, 1:-1] + wide[:, 2:]) * 0.0625)


@lru_cache(maxsize=1)
def _counts() -> npt.NDArray[np.uint8]:
    """Grey that is read at each grey that is there and each quantile, (256 * quantiles,) uint8.

    The electrons a pixel counts are Poisson. Drawn through its inverse distribution from a table,
    whose probabilities come from p(k) = p(k - 1) * rate / k: quick, and the same everywhere.
    """
    rates = np.arange(256.0) * (_DOSE / 255.0)
    most = int(_DOSE + 8.0 * _DOSE**0.5)
    shares = np.ones((256, most))
    for k in range(1, most):
        shares[:, k] = shares[:, k - 1] * rates / k
    distribution = shares.cumsum(axis=1)
    distribution /= distribution[:, -1:]
    quantiles = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    counts = np.stack([np.searchsorted(row, quantiles) for row in distribution])
    read = np.minimum(np.rint(counts * (255.0 / _DOSE)), 255.0)
    return np.asarray(read.ravel(), dtype=np.uint8)


def _count_electrons(
    seen: npt.NDArray[np.float32], random: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Shot noise: every pixel counts its electrons."""
    grey = np.rint(np.clip(seen, 0.0, 1.0) * 255.0).astype(np.int32)
    drawn = random.integers(0, _QUANTILES, size=seen.shape, dtype=np.uint16)
    return np.asarray(_counts().take(grey * _QUANTILES + drawn))
