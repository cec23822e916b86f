"""The visual field: every pixel is where its centre is, and stays there."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ephys.visual_field import VisualField

sizes = st.integers(1, 70)
resolutions = st.floats(0.5, 100)
degrees = st.floats(-20, 20)


@st.composite
def fields(draw: st.DrawFn) -> VisualField:
    return VisualField(draw(sizes), draw(sizes), draw(resolutions))


@st.composite
def spans(draw: st.DrawFn, length: int) -> slice:
    start = draw(st.integers(0, length - 1))
    return slice(start, draw(st.integers(start + 1, length)))


def test_the_centres_of_four_columns_and_three_rows_are_those_of_the_book() -> None:
    field = VisualField(3, 4, 2.0)
    np.testing.assert_array_equal(field.x, [-0.75, -0.25, 0.25, 0.75])
    np.testing.assert_array_equal(field.y, [0.5, 0.0, -0.5])


def test_a_field_is_its_pixels_wide_and_high_from_edge_to_edge() -> None:
    field = VisualField(24, 48, 16.0)
    assert (field.height, field.width, field.nyquist) == (1.5, 3.0, 8.0)
    # The edges lie half a pixel beyond the outermost centres.
    assert field.x[-1] - field.x[0] + 1 / 16 == field.width


@given(size=sizes, resolution=resolutions)
@settings(max_examples=50, deadline=None)
def test_every_centre_is_the_exact_rational_one_correctly_rounded(
    size: int, resolution: float
) -> None:
    # The numerator is a small multiple of 1/2, hence exact, and one division rounds only once.
    exact = [float(Fraction(2 * i - (size - 1), 2) / Fraction(resolution)) for i in range(size)]
    np.testing.assert_array_equal(VisualField(1, size, resolution).x, exact)


@given(size=sizes, exponent=st.integers(-2, 7))
@settings(max_examples=50, deadline=None)
def test_centres_are_exactly_one_pixel_apart(size: int, exponent: int) -> None:
    resolution = 2.0**exponent  # of which every multiple of 1/2 is a float
    field = VisualField(size, size, resolution)
    np.testing.assert_array_equal(np.diff(field.x), np.full(size - 1, 1 / resolution))
    np.testing.assert_array_equal(np.diff(field.y), np.full(size - 1, -1 / resolution))


@given(field=fields())
@settings(max_examples=50, deadline=None)
def test_the_centres_are_symmetric_about_the_origin(field: VisualField) -> None:
    np.testing.assert_array_equal(field.x, -field.x[::-1])
    np.testing.assert_array_equal(field.y, -field.y[::-1])


@given(height=sizes, width=sizes, resolution=resolutions)
@settings(max_examples=50, deadline=None)
def test_rows_go_down_where_columns_go_right(height: int, width: int, resolution: float) -> None:
    field = VisualField(height, width, resolution)
    np.testing.assert_array_equal(field.y, -VisualField(width, height, resolution).x)
    assert field.x.shape == (width,)
    assert field.y.shape == (height,)


@given(data=st.data(), field=fields())
@settings(max_examples=100, deadline=None)
def test_a_crop_keeps_every_coordinate_to_the_last_bit(
    data: st.DataObject, field: VisualField
) -> None:
    rows, columns = data.draw(spans(field.height_px)), data.draw(spans(field.width_px))
    cropped = field.crop(rows, columns)
    np.testing.assert_array_equal(cropped.x, field.x[columns])
    np.testing.assert_array_equal(cropped.y, field.y[rows])
    assert cropped.pixels_per_degree == field.pixels_per_degree


@given(data=st.data(), field=fields())
@settings(max_examples=50, deadline=None)
def test_a_crop_of_a_crop_is_one_crop(data: st.DataObject, field: VisualField) -> None:
    outer = data.draw(spans(field.width_px))
    inner = data.draw(spans(outer.stop - outer.start))
    once = slice(outer.start + inner.start, outer.start + inner.stop)
    everything = slice(None)
    twice = field.crop(everything, outer).crop(everything, inner)
    assert twice == field.crop(everything, once)


@given(data=st.data(), field=fields(), x=degrees, y=degrees)
@settings(max_examples=100, deadline=None)
def test_a_crop_of_a_moved_field_keeps_every_coordinate_to_the_last_bit(
    data: st.DataObject, field: VisualField, x: float, y: float
) -> None:
    moved = field.centered_on(x, y)
    rows, columns = data.draw(spans(field.height_px)), data.draw(spans(field.width_px))
    cropped = moved.crop(rows, columns)
    np.testing.assert_array_equal(cropped.x, moved.x[columns])
    np.testing.assert_array_equal(cropped.y, moved.y[rows])


@given(data=st.data(), field=fields(), x=degrees, y=degrees)
@settings(max_examples=50, deadline=None)
def test_a_crop_knows_the_screen_that_it_is_of(
    data: st.DataObject, field: VisualField, x: float, y: float
) -> None:
    """Whatever it is cropped and moved by, in whatever order."""
    cropped, moved = field, field.centered_on(x, y)
    for _ in range(2):
        rows, columns = data.draw(spans(cropped.height_px)), data.draw(spans(cropped.width_px))
        cropped, moved = cropped.crop(rows, columns), moved.crop(rows, columns)
    assert (cropped.screen_height_px, cropped.screen_width_px) == (field.height_px, field.width_px)
    assert cropped.screen == field
    assert moved.screen == field.centered_on(x, y)
    assert cropped.centered_on(x, y) == moved


def test_an_uncropped_field_is_its_own_screen() -> None:
    field = VisualField(9, 11, 7.0)
    assert (field.screen_height_px, field.screen_width_px) == (9, 11)
    assert field.screen == field == VisualField(9, 11, 7.0, screen_height_px=9, screen_width_px=11)


@given(data=st.data(), field=fields())
@settings(max_examples=50, deadline=None)
def test_a_crop_lies_within_its_screen(data: st.DataObject, field: VisualField) -> None:
    cropped = field.crop(data.draw(spans(field.height_px)), data.draw(spans(field.width_px)))
    screen = cropped.screen
    assert set(cropped.x) <= set(screen.x)
    assert set(cropped.y) <= set(screen.y)


def test_negative_and_open_slices_crop_as_they_index() -> None:
    field = VisualField(9, 11, 7.0)
    cropped = field.crop(slice(-4, None), slice(None, -3))
    np.testing.assert_array_equal(cropped.y, field.y[-4:])
    np.testing.assert_array_equal(cropped.x, field.x[:-3])


@given(field=fields(), x=degrees, y=degrees)
@settings(max_examples=50, deadline=None)
def test_centering_moves_the_origin_there(field: VisualField, x: float, y: float) -> None:
    moved = field.centered_on(x, y)
    # Three roundings (shift, sum, quotient), each of a number below 20 degrees + half the field.
    rounding = 3 * np.finfo(float).eps * (20 + max(field.width, field.height))
    np.testing.assert_allclose(moved.x, field.x - x, rtol=0, atol=rounding)
    np.testing.assert_allclose(moved.y, field.y - y, rtol=0, atol=rounding)
    assert (moved.height_px, moved.width_px) == (field.height_px, field.width_px)


@given(field=fields(), first=degrees, second=degrees)
@settings(max_examples=50, deadline=None)
def test_centering_twice_adds_up(field: VisualField, first: float, second: float) -> None:
    twice = field.centered_on(first, 0).centered_on(second, 0)
    once = field.centered_on(first + second, 0)
    rounding = 6 * np.finfo(float).eps * (40 + field.width)  # three roundings on either side
    np.testing.assert_allclose(twice.x, once.x, rtol=0, atol=rounding)


def test_a_pixel_that_is_centered_on_has_the_coordinates_zero() -> None:
    field = VisualField(8, 8, 4.0)
    moved = field.centered_on(field.x[6], field.y[1])
    assert (moved.x[6], moved.y[1]) == (0, 0)


@pytest.mark.parametrize("name", ["height_px", "width_px"])
@pytest.mark.parametrize("size", [0, -3, 2.5])
def test_a_field_without_whole_pixels_is_refused(name: str, size: float) -> None:
    arguments = {"height_px": 4, "width_px": 4, "pixels_per_degree": 1.0, name: size}
    with pytest.raises(ValueError, match=rf"{name}={size}; .*whole number of pixels, from 1"):
        VisualField(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [np.nan, np.inf])
def test_a_size_that_is_no_number_is_refused_by_its_name(size: float) -> None:
    with pytest.raises(ValueError, match=f"height_px={size}"):
        VisualField(size, 4, 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("resolution", [0.0, -1.5, np.nan, np.inf])
def test_a_resolution_that_is_not_positive_and_finite_is_refused(resolution: float) -> None:
    with pytest.raises(ValueError, match=f"pixels_per_degree={resolution} is not above 0"):
        VisualField(4, 4, resolution)


@pytest.mark.parametrize("position", [np.nan, np.inf])
def test_an_origin_that_is_nowhere_is_refused(position: float) -> None:
    with pytest.raises(ValueError, match=str(position)):
        VisualField(4, 4, 1.0).centered_on(position, 0)


@pytest.mark.parametrize("rows", [slice(2, 2), slice(3, 1), slice(5, 9), slice(0, 4, 2)])
def test_a_crop_without_an_unbroken_range_is_refused(rows: slice) -> None:
    with pytest.raises(ValueError, match=r"rows=slice\(.*\) of 5 pixels .*unbroken, non-empty"):
        VisualField(5, 5, 1.0).crop(rows, slice(None))
    with pytest.raises(ValueError, match=r"columns=slice\(.*\) of 5 pixels .*unbroken, non-empty"):
        VisualField(5, 5, 1.0).crop(slice(None), rows)
