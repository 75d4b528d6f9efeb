"""Review images: each kind shows its defect where it says, on lines of the right pitch."""

import hashlib
import io
import os
import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from contracts.errors import ConfigError
from fab_sim.randomness import generator
from fab_sim.review_images import (
    REVIEW_PITCH_NM,
    REVIEW_PIXEL_SIZE_NM,
    ReviewScene,
    draw_review_image,
    draw_review_scene,
    encode_png,
)
from fab_sim.review_sites import DEFECT_KINDS, DefectKind

SAMPLES = 6


def scene(kind: DefectKind, number: int = 0) -> ReviewScene:
    return draw_review_scene(kind, random=generator("test", kind, number))


def upright(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """The image with its lines upright, whichever way they were drawn."""
    values = image.astype(float)
    return values if values.mean(0).std() > values.mean(1).std() else values.T


def without_pattern(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """How far each pixel is from what its line or space usually is, smoothed against noise."""
    values = image.astype(float)
    along = 0 if values.mean(0).std() > values.mean(1).std() else 1
    rest = values - np.median(values, axis=along, keepdims=True)
    return sum(np.roll(rest, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)) / 9.0


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_a_defect_differs_from_the_pattern_around_it_at_the_stated_place(kind: DefectKind) -> None:
    ratios = []
    for number in range(SAMPLES):
        image, mask = scene(kind, number)
        assert image.shape == mask.shape == (256, 256)
        assert image.dtype == np.uint8
        difference = np.abs(without_pattern(image))
        ratios.append(difference[mask].mean() / difference[~mask].mean())
    assert np.median(ratios) > 2.0
    assert min(ratios) > 1.2


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_a_defect_is_near_the_middle_and_leaves_pattern_to_compare_with(kind: DefectKind) -> None:
    for number in range(SAMPLES):
        mask = scene(kind, number).mask
        rows, columns = np.nonzero(mask)
        assert 20 < len(rows) < 0.6 * mask.size
        assert abs(rows.mean() - 128) < 64
        assert abs(columns.mean() - 128) < 64


@pytest.mark.parametrize(
    ("pixel_size_nm", "pitch_nm"), [(2.5, 90.0), (2.0, 64.0), (1.0, 40.0), (4.0, 180.0)]
)
def test_the_pitch_is_the_one_that_was_asked_for(pixel_size_nm: float, pitch_nm: float) -> None:
    for number in range(3):
        image = draw_review_image(
            "void",
            pixel_size_nm=pixel_size_nm,
            pitch_nm=pitch_nm,
            random=generator("test", "pitch", number),
        )
        profile = upright(image).mean(0)
        # Padded, so that the peak is found between whole numbers of lines.
        spectrum = np.abs(np.fft.rfft((profile - profile.mean()) * np.hanning(256), 4096))
        found = 4096 * pixel_size_nm / (16 + int(spectrum[16:].argmax()))
        assert found == pytest.approx(pitch_nm, rel=0.03)


def test_edges_are_rough_and_their_roughness_has_a_length() -> None:
    left = []
    for number in range(20):
        values = upright(scene("void", number).image)
        columns = np.arange(256)
        # Where each row first crosses mid-grey, right of the first space.
        start = int(values.mean(0)[:40].argmin())
        window = values[:, start : start + 24]
        weights = np.clip(np.diff(window, axis=1), 0, None)
        left.append((weights * columns[start : start + 23]).sum(1) / weights.sum(1))
    edges = np.array(left)
    edges -= edges.mean(axis=1, keepdims=True)
    near = (edges[:, 1:] * edges[:, :-1]).mean() / (edges**2).mean()
    far = (edges[:, 60:] * edges[:, :-60]).mean() / (edges**2).mean()
    assert near > far + 0.15
    assert abs(far) < 0.25


def test_shot_noise_grows_with_brightness() -> None:
    counted: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for number in range(8):
        values = upright(scene("void", number).image)
        profile = values.mean(0)
        for bright in (False, True):
            # Columns in the middle of spaces and of lines, where the pattern is flat.
            flat = [
                column
                for column in range(3, 253)
                if np.ptp(profile[column - 2 : column + 3]) < 3.0
                and (profile[column] > 110) == bright
            ]
            rows = values[:, flat]
            # Of neighbours along the line, so that slow gradients do not count.
            noise = 0.5 * np.var(np.diff(rows, axis=0), axis=0)
            counted[bright] += [
                (float(rows[:, i].mean()), float(noise[i])) for i in range(len(flat))
            ]
    dark, light = (np.median(counted[bright], axis=0) for bright in (False, True))
    assert light[0] > 1.5 * dark[0]
    # Poisson: the variance goes with the mean.
    assert light[1] / dark[1] == pytest.approx(light[0] / dark[0], rel=0.2)


def test_insulators_leave_a_trail_of_charge_along_the_scan() -> None:
    def unevenness(kind: DefectKind) -> float:
        sides = []
        for number in range(30):
            image, mask = scene(kind, number)
            rest = without_pattern(image)
            rows = np.nonzero(mask.any(1))[0]
            last = np.nonzero(mask.any(0))[0][-1]
            first = np.nonzero(mask.any(0))[0][0]
            behind = rest[rows, last + 6 : last + 26]
            before = rest[rows, max(0, first - 26) : max(1, first - 6)]
            if behind.size and before.size:
                sides.append(abs(behind.mean() - before.mean()))
        return float(np.median(sides))

    assert unevenness("particle") > 1.5 * unevenness("void")


def test_one_stream_one_image_and_another_stream_another() -> None:
    assert np.array_equal(scene("bridge", 1).image, scene("bridge", 1).image)
    assert not np.array_equal(scene("bridge", 1).image, scene("bridge", 2).image)


DIGEST = """
import hashlib
from fab_sim.randomness import generator
from fab_sim.review_images import draw_review_image
from fab_sim.review_sites import DEFECT_KINDS
hashed = hashlib.sha256()
for kind in DEFECT_KINDS:
    for number in range(3):
        hashed.update(draw_review_image(kind, random=generator("test", kind, number)).tobytes())
print(hashed.hexdigest())
"""


@pytest.mark.parametrize("plain_processor", [False, True])
def test_pixels_are_the_same_in_another_process_and_on_a_lesser_processor(
    plain_processor: bool,
) -> None:
    hashed = hashlib.sha256()
    for kind in DEFECT_KINDS:
        for number in range(3):
            hashed.update(scene(kind, number).image.tobytes())
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    if plain_processor:
        # numpy then takes the code it would take on a machine without these instructions.
        from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

        environment["NPY_DISABLE_CPU_FEATURES"] = " ".join(
            name for name in __cpu_dispatch__ if __cpu_features__.get(name)
        )
    done = subprocess.run(
        [sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == hashed.hexdigest()


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_a_png_has_the_same_pixels_is_small_and_says_no_time(kind: DefectKind) -> None:
    image = scene(kind).image
    png = encode_png(image)
    assert len(png) <= 64 * 1024
    with Image.open(io.BytesIO(png)) as opened:
        assert opened.mode == "L"
        assert np.array_equal(np.asarray(opened), image)
    assert png == encode_png(image)
    for chunk in (b"tIME", b"tEXt", b"iTXt", b"zTXt"):
        assert chunk not in png


@pytest.mark.parametrize("kind", DEFECT_KINDS)
@pytest.mark.parametrize(
    ("pixels", "pixel_size_nm", "pitch_nm"), [(64, 5.0, 50.0), (512, 1.0, 30.0), (100, 2.0, 90.0)]
)
def test_every_kind_can_be_drawn_at_other_sizes(
    kind: DefectKind, pixels: int, pixel_size_nm: float, pitch_nm: float
) -> None:
    image, mask = draw_review_scene(
        kind,
        pixels=pixels,
        pixel_size_nm=pixel_size_nm,
        pitch_nm=pitch_nm,
        random=generator("test", "sizes", kind),
    )
    assert image.shape == (pixels, pixels)
    assert mask.any()
    assert not mask.all()


@pytest.mark.parametrize(
    ("pixels", "pixel_size_nm", "pitch_nm", "named"),
    [
        (32, REVIEW_PIXEL_SIZE_NM, REVIEW_PITCH_NM, "32 pixels"),
        (100_000, REVIEW_PIXEL_SIZE_NM, REVIEW_PITCH_NM, "100000 pixels"),
        (256, 2.5, 10.0, "give 20 to 320 nm"),
        (256, 2.5, 500.0, "give 20 to 320 nm"),
        (256, 0.0, 90.0, "pitch"),
        (256, float("nan"), 90.0, "pitch"),
    ],
)
def test_sizes_that_cannot_be_drawn_are_refused(
    pixels: int, pixel_size_nm: float, pitch_nm: float, named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        draw_review_image(
            "open",
            pixels=pixels,
            pixel_size_nm=pixel_size_nm,
            pitch_nm=pitch_nm,
            random=generator("test"),
        )
