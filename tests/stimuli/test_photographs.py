"""Photographs: every pixel where and what it was, and matched exactly where asked to be."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from ephys.stimuli.colors import LUMINANCE_WEIGHTS, decode_srgb, encode_srgb
from ephys.stimuli.photographs import (
    check_photograph,
    photograph,
    random_crops,
    range_photograph,
)
from ephys.visual_field import VisualField

HIGH, WIDE = 40, 50
RNG = np.random.default_rng(0)
COLORS = RNG.integers(256, size=(HIGH, WIDE, 3), dtype=np.uint8)
MUTED = (90 + COLORS / 5).astype(np.uint8)  # with room to be matched
EVEN = VisualField(10, 12, 8.0)
ODD = VisualField(9, 11, 8.0)
PIXEL = 1 / 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs below the folder of the data."""
    root = tmp_path_factory.mktemp("data")
    for name, pixels in [("colors", COLORS), ("muted", MUTED), ("grey", COLORS[..., 0])]:
        Image.fromarray(pixels).save(root / f"{name}.png")
    return root


@pytest.fixture(autouse=True)
def data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPHYS_DATA", str(folder))


def shown(field: VisualField, grey: float = 0.25, **asked: Any) -> np.ndarray:
    """Linear rgb, with the background: (stimulus, y, x, 3)."""
    drawn = photograph(field, mean_luminance=grey, **asked)
    assert drawn.dtype == torch.float32
    return np.moveaxis(drawn.double().numpy() + grey, 1, -1)


def levels(light: np.ndarray) -> np.ndarray:
    """Pixels of 8 bits. Of what decoding and encoding leave, far less than half a level is off."""
    pixels = 255 * encode_srgb(light)
    np.testing.assert_allclose(pixels, np.rint(pixels), rtol=0, atol=1e-3)
    return np.rint(pixels).astype(int)


# Where.


def test_a_screen_of_an_odd_size_shows_the_crop_around_the_pixel() -> None:
    expected = COLORS[20 - 4 : 20 + 5, 30 - 5 : 30 + 6]
    np.testing.assert_array_equal(
        levels(shown(ODD, file="colors.png", file_row=20, file_column=30))[0], expected
    )


def test_a_screen_of_an_even_size_shows_the_pixel_above_and_right_of_its_middle() -> None:
    light = shown(EVEN, file="colors.png", file_row=20, file_column=30)
    np.testing.assert_array_equal(levels(light)[0, 4, 6], COLORS[20, 30])
    np.testing.assert_array_equal(levels(light)[0], COLORS[20 - 4 : 20 + 6, 30 - 6 : 30 + 6])
    y, x = EVEN.y[4], EVEN.x[6]
    assert (y, x) == (PIXEL / 2, PIXEL / 2)


def test_grey_photographs_are_grey() -> None:
    light = shown(ODD, file="grey.png", file_row=20, file_column=30)[0]
    np.testing.assert_array_equal(
        levels(light), np.repeat(COLORS[16:25, 25:36, :1].astype(int), 3, axis=-1)
    )


def test_photographs_are_also_found_by_an_absolute_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {"file_row": 20, "file_column": 30}
    named = photograph(ODD, file="colors.png", **asked)
    monkeypatch.delenv("EPHYS_DATA")
    assert torch.equal(named, photograph(ODD, file=str(folder / "colors.png"), **asked))


def test_stimuli_differ() -> None:
    columns: dict[str, Any] = {
        "file": ["muted.png", "grey.png", "muted.png"],
        "file_row": [20, 20, 11],
        "file_column": [30, 20, 20],
        "luminance": [np.nan, np.nan, 0.2],
        "rms_contrast": [np.nan, np.nan, 0.1],
        "mean_luminance": [0, 0.3, 0.5],
        "x": [0, 0.3, -0.3],
        "y": [0, 0, 0.2],
    }
    together = photograph(EVEN, **columns)
    for i in range(3):
        alone = {name: values[i] for name, values in columns.items()}
        assert torch.equal(together[i], photograph(EVEN, **alone)[0])


@pytest.mark.parametrize("field", [EVEN, ODD], ids=["even", "odd"])
@given(right=st.integers(-14, 14), up=st.integers(-14, 14), part=st.floats(0, 1))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_crop_moves_by_whole_pixels_and_leaves_the_background(
    field: VisualField, right: int, up: int, part: float
) -> None:
    """Of the shift a part is the origin's, and the rest the stimulus's."""
    high, wide = field.height_px, field.width_px
    asked: dict[str, Any] = {"file": "colors.png", "file_row": 20, "file_column": 25}
    still = shown(field, **asked)[0]
    canvas = np.full((3 * high + 60, 3 * wide + 60, 3), 0.25)
    canvas[high + 30 : 2 * high + 30, wide + 30 : 2 * wide + 30] = still
    x, y = right * PIXEL, up * PIXEL
    moved = shown(
        field.centered_on(part * x, part * y), **asked, x=(1 - part) * x, y=(1 - part) * y
    )
    top, left = high + 30 + up, wide + 30 - right
    np.testing.assert_array_equal(moved[0], canvas[top : top + high, left : left + wide])


@pytest.mark.parametrize("field", [EVEN, ODD], ids=["even", "odd"])
@given(x=st.floats(-0.5, 0.5), y=st.floats(-0.5, 0.5))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_pixel_shows_where_the_centre_of_the_stimulus_is_nearest(
    field: VisualField, x: float, y: float
) -> None:
    beside, below = abs(field.x - x), abs(field.y - y)
    for distance in (beside, below):
        first, second = np.sort(distance)[:2]
        assume(second - first > 1e-4)
    light = shown(field, file="colors.png", file_row=20, file_column=25, x=x, y=y)
    place = below.argmin(), beside.argmin()
    np.testing.assert_array_equal(levels(light[0][place]), COLORS[20, 25])


def test_between_two_pixels_it_is_the_upper_one_and_that_on_the_right() -> None:
    # As a unit with a receptive field of an odd size has its centre, on a screen of an even one.
    for right, up in [(0, 0), (3, 2), (-3, -2)]:
        x, y = right * PIXEL, up * PIXEL
        light = shown(EVEN.centered_on(x, y), file="colors.png", file_row=20, file_column=25)[0]
        np.testing.assert_array_equal(levels(light[4 - up, 6 + right]), COLORS[20, 25])
    light = shown(EVEN, file="colors.png", file_row=20, file_column=25, x=PIXEL / 2, y=PIXEL / 2)[0]
    np.testing.assert_array_equal(levels(light[4, 6]), COLORS[20, 25])
    light = shown(EVEN, file="colors.png", file_row=20, file_column=25, x=-PIXEL / 2, y=-PIXEL / 2)[
        0
    ]
    np.testing.assert_array_equal(levels(light[5, 5]), COLORS[20, 25])


@st.composite
def spans(draw: st.DrawFn, length: int) -> slice:
    start = draw(st.integers(0, length - 1))
    return slice(start, draw(st.integers(start + 1, length)))


@pytest.mark.parametrize("field", [EVEN, ODD], ids=["even", "odd"])
@given(data=st.data(), x=st.floats(-1, 1), y=st.floats(-1, 1))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_crop_of_the_field_shows_exactly_the_pixels_of_the_cropped_image(
    field: VisualField, data: st.DataObject, x: float, y: float
) -> None:
    field = field.centered_on(x, y)
    rows = data.draw(spans(field.height_px))
    columns = data.draw(spans(field.width_px))
    asked: dict[str, Any] = {
        "file": ["muted.png", "grey.png"],
        "file_row": 20,
        "file_column": 25,
        "rms_contrast": 0.1,
    }
    part = photograph(field.crop(rows, columns), **asked)
    assert torch.equal(part, photograph(field, **asked)[..., rows, columns])


# What.


def moments(light: np.ndarray) -> tuple[float, float]:
    """Mean luminance, and r.m.s. contrast."""
    luminance = light @ LUMINANCE_WEIGHTS
    return float(luminance.mean()), float(luminance.std() / luminance.mean())


@given(
    luminance=st.floats(0.01, 0.25) | st.just(np.nan),
    rms_contrast=st.floats(0, 0.3) | st.just(np.nan),
    row=st.integers(4, 34),
    column=st.integers(6, 44),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_crops_have_the_luminance_and_contrast_asked_for_and_else_their_own(
    luminance: float, rms_contrast: float, row: int, column: int
) -> None:
    place: dict[str, Any] = {"file": "muted.png", "file_row": row, "file_column": column}
    own = moments(decode_srgb(MUTED[row - 4 : row + 6, column - 6 : column + 6] / 255))
    light = shown(EVEN, 0.5, **place, luminance=luminance, rms_contrast=rms_contrast)
    expected = [
        o if np.isnan(a) else a for a, o in zip((luminance, rms_contrast), own, strict=True)
    ]
    # Differences from 0.5 in float32, 2^-25 each; the darkest mean is 0.01.
    np.testing.assert_allclose(moments(light[0]), expected, rtol=1e-5, atol=1e-5)


def test_a_crop_keeps_its_chromaticities_when_it_is_made_brighter() -> None:
    place: dict[str, Any] = {"file": "muted.png", "file_row": 20, "file_column": 25}
    before, after = shown(EVEN, **place), shown(EVEN, **place, luminance=0.25)
    ratio = after / before
    np.testing.assert_allclose(ratio, np.full(ratio.shape, ratio.mean()), rtol=1e-5)


def test_a_crop_keeps_its_mean_color_when_its_contrast_is_scaled() -> None:
    place: dict[str, Any] = {"file": "muted.png", "file_row": 20, "file_column": 25}
    before, after = shown(EVEN, **place), shown(EVEN, **place, rms_contrast=0.05)
    mean = before.mean((1, 2))
    np.testing.assert_allclose(after.mean((1, 2)), mean, rtol=1e-5)
    ratio = (after - mean) / (before - mean)
    clear = abs(before - mean) > 0.01
    np.testing.assert_allclose(ratio[clear], np.full(clear.sum(), np.median(ratio)), rtol=1e-4)


def test_no_contrast_leaves_the_mean_color() -> None:
    light = shown(ODD, file="colors.png", file_row=20, file_column=25, rms_contrast=0)
    mean = decode_srgb(COLORS[16:25, 20:31] / 255).mean((0, 1))
    np.testing.assert_allclose(light, np.broadcast_to(mean, light.shape), rtol=0, atol=1e-7)


def test_differences_range_from_black_to_white() -> None:
    low, high = range_photograph(mean_luminance=[0, 0.2, 1], file="any", file_row=0)
    np.testing.assert_array_equal(low, [0, -0.2, -1])
    np.testing.assert_array_equal(high, [1, 0.8, 0])


# What is refused.

PLACE: dict[str, Any] = {"file": "muted.png", "file_row": 20, "file_column": 25}


@pytest.mark.parametrize("asked", ["luminance", "rms_contrast"])
@pytest.mark.parametrize("file", ["muted.png", "colors.png"])
@pytest.mark.parametrize(
    "others",
    [{}, {"luminance": 0.2}, {"rms_contrast": 0.1}],
    ids=["alone", "luminance", "contrast"],
)
def test_the_largest_that_is_said_to_fit_fits_and_no_more(
    asked: str, file: str, others: dict[str, float]
) -> None:
    place = PLACE | {"file": file} | others
    with pytest.raises(
        ValueError,
        match=rf"^{asked}=5 takes pixels of this crop of {file} beyond .*; use at ",
    ) as refusal:
        check_photograph(EVEN, **place | {asked: 5})
    found = re.search(r"use at most ([\d.]+), or another crop$", str(refusal.value))
    assert found is not None
    fits = float(found[1])
    check_photograph(EVEN, **place | {asked: fits})
    light = shown(EVEN, **place | {asked: fits})
    assert light.min() >= -1e-6
    assert light.max() <= 1 + 1e-6
    more = place | {asked: fits + 2e-4}
    with pytest.raises(ValueError, match="beyond what a display shows"):
        check_photograph(EVEN, **more)
    light = shown(EVEN, **more)
    assert light.min() < 0 or light.max() > 1


def test_a_crop_at_each_edge_fits_and_none_beyond() -> None:
    for field, rows, columns in [(EVEN, (4, 34), (6, 44)), (ODD, (4, 35), (5, 44))]:
        for row in rows:
            for column in columns:
                check_photograph(field, **PLACE | {"file_row": row, "file_column": column})
                light = shown(field, **PLACE | {"file_row": row, "file_column": column})
                assert light.shape[1:3] == (field.height_px, field.width_px)
        for axis, (first, last), whole in [
            ("file_row", rows, HIGH),
            ("file_column", columns, WIDE),
        ]:
            size = field.height_px if axis == "file_row" else field.width_px
            for place in (first - 1, last + 1):
                message = (
                    f"^{axis}={place} of muted.png, which has {whole}, leaves no crop of {size} "
                    f"pixels around it; use a whole number from {first} to {last}$"
                )
                with pytest.raises(ValueError, match=message):
                    check_photograph(field, **PLACE | {axis: place})


def test_the_screen_is_what_has_to_fit_and_not_what_is_drawn_of_it() -> None:
    view = EVEN.centered_on(3, 3).crop(slice(1), slice(1))
    check_photograph(view, **PLACE)
    with pytest.raises(ValueError, match=r"^file_row=3 of muted\.png"):
        check_photograph(view, **PLACE | {"file_row": 3})


def broken(folder: Path, name: str) -> str:
    """Files that are no photographs that can be shown."""
    path = folder / f"{name}.png"
    pixels: dict[str, Callable[[], Image.Image]] = {
        "alpha": lambda: Image.fromarray(np.dstack([COLORS, COLORS[..., 0]])),
        "deep": lambda: Image.fromarray(COLORS[..., 0].astype(np.uint16)),
        "small": lambda: Image.fromarray(COLORS[:9]),
        "black": lambda: Image.fromarray(0 * COLORS),
        "flat": lambda: Image.fromarray(0 * COLORS + np.array([5, 90, 200], np.uint8)),
    }
    if name in pixels:
        pixels[name]().save(path)
    elif name == "text":
        path.write_text("no picture")
    return path.name


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("text", {}, "^text.png cannot be read as a photograph; remove or replace it$"),
    ("alpha", {}, "^alpha.png has pixels of mode RGBA, neither RGB nor grey .* convert it$"),
    ("deep", {}, "^deep.png has pixels of mode I;16, neither"),
    ("small", {"file_row": 4}, "^small.png has 9 rows of pixels and the screen 10; use a larger"),
    ("black", {"luminance": 0.2}, "^this crop of black.png is black and cannot be matched; use an"),
    ("flat", {"rms_contrast": 0.2}, "^this crop of flat.png has no contrast to be scaled; use an"),
    ("muted", {"file_row": 20.5}, "^file_row=20.5 of muted.png, which has 40, leaves no crop"),
]


@pytest.mark.parametrize(("name", "changes", "message"), REFUSED, ids=[r[0] for r in REFUSED])
def test_what_cannot_be_shown_is_refused_in_a_line(
    folder: Path, name: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_photograph(EVEN, **PLACE | {"file": ["muted.png", broken(folder, name)]} | changes)


def test_what_cannot_be_matched_is_shown_as_it_is(folder: Path) -> None:
    for name in ("black", "flat"):
        check_photograph(EVEN, **PLACE | {"file": broken(folder, name)})
    check_photograph(EVEN, **PLACE | {"file": "flat.png", "luminance": 0.15})
    assert (shown(EVEN, 0.5, **PLACE | {"file": "black.png"}) == 0).all()


def test_a_file_that_is_not_there_is_refused(folder: Path) -> None:
    expected = f"^no photograph nowhere.png; there is no file {folder / 'nowhere.png'}$"
    for show in (check_photograph, photograph):
        with pytest.raises(FileNotFoundError, match=expected):
            show(EVEN, **PLACE | {"file": "nowhere.png"})


def test_without_a_folder_of_data_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EPHYS_DATA")
    with pytest.raises(ValueError, match=r"^where is muted.png\? .*EPHYS_DATA"):
        check_photograph(EVEN, **PLACE)


def test_a_photograph_that_was_replaced_is_read_again(folder: Path) -> None:
    path = folder / "replaced.png"
    for pixels in (COLORS, COLORS[::-1]):
        Image.fromarray(pixels).save(path)
        # As long, and written within the clock's step, perhaps.
        os.utime(path, ns=(path.stat().st_mtime_ns, path.stat().st_mtime_ns + int(pixels[0, 0, 0])))
        light = shown(ODD, file="replaced.png", file_row=20, file_column=25)[0]
        np.testing.assert_array_equal(levels(light), pixels[16:25, 20:31])


# Random crops.


@pytest.fixture
def split(folder: Path) -> str:
    """Two photographs as a copy of BSDS500 has them, and what is none."""
    below = folder / "copy" / "images" / "test"
    below.mkdir(parents=True, exist_ok=True)
    for name in ("b", "a"):
        Image.fromarray(MUTED if name == "a" else np.swapaxes(MUTED, 0, 1)).save(
            below / f"{name}.png"
        )
    (below / "Thumbs.db").write_text("")
    return "copy"


def test_random_crops_are_everywhere_that_fits(split: str) -> None:
    crops = random_crops(split, EVEN, per_photograph=2000)
    names = [f"copy/images/test/{name}.png" for name in "ab"]
    np.testing.assert_array_equal(crops["file"], np.repeat(names, 2000))
    for which, (high, wide) in [(slice(2000), (40, 50)), (slice(2000, None), (50, 40))]:
        for axis, first, count in [("file_row", 4, high - 9), ("file_column", 6, wide - 11)]:
            values, times = np.unique(crops[axis][which], return_counts=True)
            # All of some 30 values in 2000 are missed by none but once in 10^25 times.
            np.testing.assert_array_equal(values, first + np.arange(count))
            expected = 2000 / count
            excess = ((times - expected) ** 2).sum() / expected - (count - 1)
            assert abs(excess) < 4.5 * np.sqrt(2 * (count - 1))
    assert (
        abs(np.corrcoef(crops["file_row"][:2000], crops["file_column"][:2000])[0, 1])
        < 4.5 / 2000**0.5
    )
    check_photograph(EVEN, **{name: values[::100] for name, values in crops.items()})


def test_a_seed_gives_the_same_crops(split: str) -> None:
    one, again, other = (random_crops(split, EVEN, per_photograph=5, seed=s) for s in (3, 3, 4))
    for name in one:
        np.testing.assert_array_equal(one[name], again[name])
    assert (one["file_row"] != other["file_row"]).any()
    # By the raw bits of Philox, which are the same for ever.
    raw = np.random.Philox(key=[3, 1]).random_raw(4)
    corners = [int((int(w) >> 11) / 2**53 * n) for w, n in zip(raw, [41, 29] * 2, strict=True)]
    assert one["file_row"][5:7].tolist() == [corners[0] + 4, corners[2] + 4]
    assert one["file_column"][5:7].tolist() == [corners[1] + 6, corners[3] + 6]


def test_crops_that_are_to_be_matched_can_be(split: str) -> None:
    plain = random_crops(split, EVEN, per_photograph=40)
    # Some crops of these allow it and some do not.
    asked: dict[str, Any] = {"rms_contrast": 0.45}
    with pytest.raises(ValueError, match="beyond what a display shows"):
        check_photograph(EVEN, **plain, **asked)
    crops = random_crops(split, EVEN, per_photograph=40, **asked)
    check_photograph(EVEN, **crops, **asked)
    assert len(crops["file"]) == 80
    with pytest.raises(
        ValueError, match=r"^of 200 crops of copy.* can have luminance=nan and rms_contrast=9; use"
    ):
        random_crops(split, EVEN, rms_contrast=9)


def test_photographs_smaller_than_the_screen_are_refused(split: str) -> None:
    with pytest.raises(ValueError, match=r"a.png has 50 x 40 pixels, fewer than .* 12 x 41; use"):
        random_crops(split, VisualField(41, 12, 8.0))


def test_the_photographs_of_bsds500_are_shown_pixel_by_pixel(
    shared_data: Callable[[str], Path],
) -> None:
    folder, field = shared_data("bsds500"), VisualField(64, 65, 20.0)
    crops = random_crops(str(folder), field, luminance=0.1, rms_contrast=0.4)
    assert len(crops["file"]) == len(set(crops["file"])) == 200
    check_photograph(field, **crops, luminance=0.1, rms_contrast=0.4)
    few: dict[str, Any] = {name: values[::25] for name, values in crops.items()}
    for light, file, row, column in zip(shown(field, **few), *few.values(), strict=True):
        pixels = np.asarray(Image.open(file))
        row, column = int(row), int(column)
        expected = pixels[row - 31 : row + 33, column - 32 : column + 33]
        np.testing.assert_array_equal(levels(light), expected)
    matched = shown(field, **few, luminance=0.1, rms_contrast=0.4)
    np.testing.assert_allclose(
        [moments(m) for m in matched], np.tile([0.1, 0.4], (8, 1)), rtol=1e-5
    )
