"""Shapes: every pixel is on the side of the edge that its centre is on."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ephys.stimuli.patches import (
    bar,
    check_bar,
    check_checkerboard,
    check_patch,
    checkerboard,
    patch,
    range_patch,
)
from ephys.visual_field import VisualField

WIDE = VisualField(40, 48, 16.0)  # 2.5 x 3 degrees: neither square, nor of an odd size
ODD = VisualField(31, 33, 10.0)
PIXEL = 1 / 16
ANGLES = st.floats(-180, 360) | st.integers(-4, 8).map(lambda n: 45.0 * n)


def only(modulations: Tensor) -> np.ndarray:
    assert len(modulations) == 1
    return modulations[0].numpy()


# Patches.


def test_a_patch_is_the_same_everywhere() -> None:
    drawn = patch(ODD, polarity=[1, -1, 1], contrast=[0.5, 0.25, 0], x=0.3)
    expected = np.ones((3, 31, 33)) * np.array([0.5, -0.25, 0])[:, None, None]
    np.testing.assert_array_equal(drawn, expected)


def test_light_and_dark_reach_to_one_side_of_the_background() -> None:
    low, high = range_patch(polarity=[1, -1, 1], contrast=[0.5, 0.25, 0], x=0)
    np.testing.assert_array_equal(low, [0, -0.25, 0])
    np.testing.assert_array_equal(high, [0.5, 0, 0])


# Bars.


def test_a_bar_is_a_rectangle_around_its_middle() -> None:
    # 1 degree by 1/4, at 1/2 right and 1/4 up: 16 by 4 pixels around column 32 and row 16.
    drawn = bar(
        WIDE,
        length=1,
        width=0.25,
        orientation=[0, 90, 180, 270],
        polarity=[1, -1, 1, -1],
        contrast=0.5,
        x=0.5,
        y=0.25,
    )
    lying, standing = np.zeros((40, 48)), np.zeros((40, 48))
    lying[14:18, 24:40] = 0.5
    standing[8:24, 30:34] = -0.5
    np.testing.assert_array_equal(drawn, [lying, standing, lying, standing])


@pytest.mark.parametrize("turn", [0, 90, 180, 270, -90])
def test_a_centre_on_an_edge_counts_as_right_of_it_and_above(turn: float) -> None:
    # Pixels of an odd field lie at multiples of 0.1: from -0.1 to 0.1 has one edge of each pair.
    drawn = only(bar(ODD, length=0.2, width=0.2, orientation=turn))
    expected = np.zeros((31, 33))
    expected[15:17, 15:17] = 1  # x from -0.1 to 0, y from 0 down to -0.1
    np.testing.assert_array_equal(drawn, expected)


@given(
    orientation=ANGLES,
    pixels=st.floats(1, 9),
    x=st.floats(-0.3, 0.3),
    y=st.floats(-0.3, 0.3),
    on_pixels=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_bars_side_by_side_and_end_to_end_cover_every_pixel_once(
    orientation: float, pixels: float, x: float, y: float, on_pixels: bool
) -> None:
    """So that the number of pixels of a bar is its area, on average over places."""
    field = VisualField(15, 16, 10.0)
    if on_pixels:  # edges run through centres of pixels
        pixels, x, y = round(pixels), round(10 * x) / 10, round(20 * y) / 20
    length, width = 2 * pixels / 10, pixels / 10
    along, across = (grid.ravel() for grid in np.mgrid[-14:15, -14:15])
    angle = np.deg2rad(orientation)
    tiles = bar(
        field,
        length=length,
        width=width,
        orientation=orientation,
        x=x + along * length * np.cos(angle) - across * width * np.sin(angle),
        y=y + along * length * np.sin(angle) + across * width * np.cos(angle),
    )
    np.testing.assert_array_equal(tiles.sum(0), np.ones((15, 16)))


@given(orientation=st.floats(0, 180), length=st.floats(0.5, 2), aspect=st.floats(0.1, 1))
@settings(max_examples=40, deadline=None)
def test_a_bar_has_its_length_width_and_orientation(
    orientation: float, length: float, aspect: float
) -> None:
    """By the moments of what is drawn: a uniform bar has variances of sides squared over 12."""
    field = VisualField(250, 250, 100.0)
    width = max(aspect * length, 0.1)
    drawn = only(bar(field, length=length, width=width, orientation=orientation)).astype(float)
    # Along an edge at most every pixel is misplaced, by at most 0.71 pixels.
    edge = 2 * (length + width) * 0.0071
    assert drawn.sum() / 100**2 == pytest.approx(length * width, abs=edge)
    weights = drawn / drawn.sum()
    x, y = field.x[None], field.y[:, None]
    xx, yy, xy = (float((weights * m).sum()) for m in (x * x, y * y, x * y))
    angle = np.deg2rad(orientation)
    c, s = np.cos(angle), np.sin(angle)
    assert c * c * xx + s * s * yy + 2 * c * s * xy == pytest.approx(length**2 / 12, rel=0.12)
    assert s * s * xx + c * c * yy - 2 * c * s * xy == pytest.approx(width**2 / 12, rel=0.4)
    if aspect < 0.7:
        turned = np.rad2deg(np.arctan2(2 * xy, xx - yy)) / 2
        assert abs((turned - orientation + 90) % 180 - 90) < 3


# Checkerboards.


def test_the_check_up_and_right_of_the_centre_is_light() -> None:
    drawn = checkerboard(
        WIDE, check_size=0.25, polarity=[1, -1], contrast=[1, 0.5], x=PIXEL, y=-2 * PIXEL
    )
    i, j = np.mgrid[:40, :48]  # the centre is the upper left corner of row 22 and column 25
    light = 1 - 2.0 * (((21 - i) // 4 + (j - 25) // 4) % 2)
    assert light[21, 25] == 1
    np.testing.assert_array_equal(drawn, [light, -0.5 * light])


@given(orientation=ANGLES, pixels=st.floats(1, 6), x=st.floats(-1, 1), y=st.floats(-1, 1))
@settings(max_examples=60, deadline=None)
def test_a_checkerboard_is_the_sign_of_two_waves(
    orientation: float, pixels: float, x: float, y: float
) -> None:
    size, angle = pixels / 10, np.deg2rad(orientation)
    from_x, from_y = ODD.x - x, ODD.y[:, None] - y
    u = from_x * np.cos(angle) + from_y * np.sin(angle)
    v = from_y * np.cos(angle) - from_x * np.sin(angle)
    waves = np.sin(np.pi * u / size) * np.sin(np.pi * v / size)
    drawn = only(checkerboard(ODD, check_size=size, orientation=orientation, x=x, y=y))
    clear = abs(waves) > 1e-4
    np.testing.assert_array_equal(drawn[clear], np.sign(waves)[clear])
    assert set(np.unique(drawn)) <= {-1, 1}


@given(pixels=st.integers(1, 8), quarter=st.integers(0, 3), x=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_checks_of_whole_pixels_are_all_of_one_size_also_turned(
    pixels: int, quarter: int, x: int
) -> None:
    drawn = only(
        checkerboard(ODD, check_size=pixels / 10, orientation=90 * quarter, x=x / 10, y=0.05)
    )
    assert np.array_equal(drawn[:, pixels:], -drawn[:, :-pixels])
    assert np.array_equal(drawn[pixels:], -drawn[:-pixels])


# All of them.


def families() -> dict[str, Callable[[VisualField], Tensor]]:
    def bars(field: VisualField) -> Tensor:
        return bar(field, length=[1, 2], width=0.3, orientation=[20, 90], x=0.125, y=[0, 1])

    def boards(field: VisualField) -> Tensor:
        return checkerboard(field, check_size=[0.0625, 0.4], orientation=[0, 33], x=[0, 0.4])

    def patches(field: VisualField) -> Tensor:
        return patch(field, polarity=[1, -1], contrast=0.7)

    return {"bar": bars, "checkerboard": boards, "patch": patches}


@st.composite
def spans(draw: st.DrawFn, length: int) -> slice:
    start = draw(st.integers(0, length - 1))
    return slice(start, draw(st.integers(start + 1, length)))


@pytest.mark.parametrize("name", families())
@given(rows=spans(40), columns=spans(48), x=st.floats(-1, 1), y=st.floats(-1, 1))
@settings(max_examples=40, deadline=None)
def test_a_crop_of_the_field_shows_exactly_the_pixels_of_the_cropped_image(
    name: str, rows: slice, columns: slice, x: float, y: float
) -> None:
    draw, field = families()[name], WIDE.centered_on(x, y)
    assert torch.equal(draw(field.crop(rows, columns)), draw(field)[..., rows, columns])


@pytest.mark.parametrize("name", families())
def test_moving_the_origin_by_pixels_moves_the_picture_by_as_many(name: str) -> None:
    draw = families()[name]
    moved = draw(WIDE.centered_on(3 * PIXEL, 5 * PIXEL))
    assert torch.equal(moved[..., :-5, 3:], draw(WIDE)[..., 5:, :-3])


@pytest.mark.parametrize("name", families())
def test_modulations_are_float32_one_to_a_pixel(name: str) -> None:
    drawn = families()[name](WIDE)
    assert drawn.dtype == torch.float32
    assert drawn.shape == (2, 40, 48)


BAR: dict[str, Any] = {"length": 1, "width": 0.2, "orientation": 0}
ASKED: dict[Callable[..., None], dict[str, Any]] = {
    check_bar: BAR,
    check_patch: {"contrast": 0.5, "x": 0},
    check_checkerboard: {"check_size": 0.1, "contrast": 0.5},
}
REFUSED: list[tuple[Callable[..., None], dict[str, Any], str]] = [
    (check_patch, {"polarity": [1, 0.5]}, "^polarity=0.5 is neither 1, light, nor -1, dark$"),
    (check_bar, {"polarity": 0}, "^polarity=0.0 is neither"),
    (check_checkerboard, {"polarity": -2}, "^polarity=-2.0 is neither"),
    (
        check_checkerboard,
        {"check_size": [0.1, 0.09]},
        "^check_size=0.09 is not a size from a pixel upward, of 0.1 degrees here; use a larger one",
    ),
    (check_bar, {"width": [0.1, 0.05]}, "^width=0.05 is not a size from a pixel"),
    (check_bar, {"length": 0.09, "width": 0.09}, "^length=0.09 is not a size from a pixel"),
    (
        check_bar,
        {"width": 1.2},
        "^width=1.2 is above length=1.0; the orientation is that of the longer side$",
    ),
    (
        check_bar,
        {"length": [3.3, 3.31]},
        "^length=3.31 leaves the screen for a bar of orientation=0.0 at x=0.0, y=0.0, where at "
        "most 3.3 degrees fit; use a smaller bar, or a larger field$",
    ),
    (check_bar, {"length": 3.2, "orientation": 90}, "most 3.1 degrees fit"),
    (check_bar, {"length": 3.2, "orientation": -90}, "most 3.1 degrees fit"),
    # 1.55 degrees up, at 45 degrees.
    (check_bar, {"length": 4.4, "orientation": [45, 135]}, "orientation=45.0 .* 4.384 degrees fit"),
    (check_bar, {"length": 2.31, "x": -0.5}, "x=-0.5, y=0.0, where at most 2.3 degrees"),
    (check_bar, {"length": 2.2, "y": 0.5, "orientation": 90}, "at most 2.1 degrees fit"),
    (check_bar, {"length": 3.2, "width": 3.15}, "^width=3.15 leaves the screen .* 3.1 degrees fit"),
    (check_bar, {"x": 2}, "^length=1.0 leaves the screen .* at most -0.7 degrees fit"),
]


@pytest.mark.parametrize(("check", "changes", "message"), REFUSED)
def test_what_cannot_be_shown_is_refused_in_a_line(
    check: Callable[..., None], changes: dict[str, Any], message: str
) -> None:
    check(ODD, **ASKED[check])
    with pytest.raises(ValueError, match=message):
        check(ODD, **ASKED[check] | changes)


@pytest.mark.parametrize(
    ("length", "orientation"), [(3.3, 0), (3.3, 180), (3.1, 90), (4.3, 45), (3.3, 1e-9)]
)
def test_a_bar_as_long_as_the_screen_is_shown(length: float, orientation: float) -> None:
    check_bar(ODD, length=length, width=0.1, orientation=orientation)


def test_where_the_origin_was_moved_and_what_is_drawn_do_not_matter() -> None:
    view = ODD.centered_on(1, 1).crop(slice(3), slice(3))
    check_bar(view, **BAR | {"length": 3.3})
    with pytest.raises(ValueError, match=r"at most 3\.3 degrees"):
        check_bar(view, **BAR | {"length": 3.4})


def test_a_bar_of_one_pixel_is_wide_enough_however_the_pixel_is_rounded() -> None:
    for pixels_per_degree in (3.7, 15.0, 28.0, 100 / 3):
        field = VisualField(9, 9, pixels_per_degree)
        check_bar(field, length=field.width, width=1 / pixels_per_degree)
