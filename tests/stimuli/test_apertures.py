"""Apertures: as wide as asked, as soft as asked, and nowhere but where asked."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ephys.stimuli.apertures import ON_THE_EDGE, aperture, check_aperture
from ephys.stimuli.parameters import vectors
from ephys.visual_field import VisualField

WIDE = VisualField(40, 48, 16.0)  # 2.5 x 3 degrees: neither square, nor of an odd size
FINE = VisualField(301, 321, 100.0)

# float32 rounds by at most u = 2^-24 of a value. A distance below 2 degrees is off by 3 u of it
# (its two squares and their sum are rounded; a root halves that to 1.5 u, and is rounded), the
# start of an edge by u of itself, their difference and its quotient by the width once more each.
# At a width of w degrees the angle is off by pi (8 u / w + 3 u), and the window by half of that
# and the rounding of the cosine's sum.
U = 2.0**-24


def edge_error(edge_width: float) -> float:
    return np.pi / 2 * (8 * U / edge_width + 3 * U) + 2 * U


def distances(field: VisualField, x: float = 0, y: float = 0) -> np.ndarray:
    return np.hypot(*np.meshgrid(field.x - x, field.y - y))


def raised_cosine(distance: np.ndarray, diameter: float, edge_width: float) -> np.ndarray:
    """The formula of the docstring, in float64."""
    share = np.clip((distance - (diameter - edge_width) / 2) / edge_width, 0, 1)
    return (1 + np.cos(np.pi * share)) / 2


places = st.floats(-0.4, 0.4)


# Closed forms.


def test_no_aperture_shows_everything() -> None:
    shown = aperture(WIDE)
    assert (shown.shape, shown.dtype) == ((1, 40, 48), torch.float32)
    assert (shown == 1).all()


@given(diameter=st.floats(0.05, 3), x=places, y=places)
@settings(max_examples=60, deadline=None)
def test_a_hard_disc_is_the_pixels_no_farther_than_half_its_diameter(
    diameter: float, x: float, y: float
) -> None:
    shown = aperture(WIDE, diameter=diameter, x=x, y=y)[0].numpy()
    beyond = (distances(WIDE, x, y) - diameter / 2) * WIDE.pixels_per_degree
    sure = abs(beyond - ON_THE_EDGE) > ON_THE_EDGE / 10  # rounding moves no pixel that far
    assert (shown[sure] == (beyond < ON_THE_EDGE)[sure]).all()
    assert np.isin(shown, [0, 1]).all()


def test_pixels_on_the_edge_of_a_hard_disc_are_shown() -> None:
    """Of an integer radius those of Pythagoras: (3, 4) and (0, 5) at 5 pixels, and so on."""
    field = VisualField(41, 41, 10.0)
    for radius in (5, 13, 17):
        shown = aperture(field, diameter=2 * radius / 10)[0].numpy()
        row, column = np.mgrid[-20:21, -20:21]
        assert (shown == (row**2 + column**2 <= radius**2)).all()
        assert (row**2 + column**2 == radius**2).sum() == 12


@pytest.mark.parametrize("diameter", [1.0, 2.0, 2.9])
def test_a_hard_disc_has_the_area_of_a_circle(diameter: float) -> None:
    area = aperture(FINE, diameter=diameter).sum().item() / FINE.pixels_per_degree**2
    # Gauss: a circle of a radius of r pixels holds pi r^2 of them, off by at most 2 sqrt(2) pi r.
    radius = diameter / 2
    off = 2 * np.sqrt(2) * np.pi * radius / FINE.pixels_per_degree
    assert area == pytest.approx(np.pi * radius**2, abs=off)
    assert area == pytest.approx(np.pi * radius**2, rel=5e-3)  # as it in fact is


@given(diameter=st.floats(0.5, 2.4), share=st.floats(0.05, 1), x=places, y=places)
@settings(max_examples=60, deadline=None)
def test_a_soft_edge_is_a_raised_cosine(diameter: float, share: float, x: float, y: float) -> None:
    edge_width = share * diameter
    shown = aperture(WIDE, diameter=diameter, edge_width=edge_width, x=x, y=y)[0]
    expected = raised_cosine(distances(WIDE, x, y), diameter, edge_width)
    np.testing.assert_allclose(shown, expected, rtol=0, atol=edge_error(edge_width))


@pytest.mark.parametrize("edge_width", [0.2, 0.5, 1.0])
def test_the_diameter_is_the_full_width_at_half_height(edge_width: float) -> None:
    field = VisualField(1, 401, 100.0)  # pixels at 0.01 degrees
    shown = aperture(field, diameter=1.5, edge_width=edge_width)[0, 0].double().numpy()
    half = np.abs(np.abs(field.x) - 0.75) < 1e-9
    assert half.sum() == 2
    np.testing.assert_allclose(shown[half], 0.5, rtol=0, atol=edge_error(edge_width))
    full = np.abs(field.x) < (1.5 - edge_width) / 2 + 1e-6
    none = np.abs(field.x) > (1.5 + edge_width) / 2 - 1e-6
    assert (shown[full] == 1).all()
    assert (shown[none] == 0).all()
    assert ((shown > 0) & (shown < 1))[~full & ~none].all()


@pytest.mark.parametrize("edge_width", [0.0, 0.3])
def test_an_annulus_is_a_disc_with_a_disc_cut_out(edge_width: float) -> None:
    shown = aperture(FINE, diameter=2.5, inner_diameter=1.03, edge_width=edge_width)[0].numpy()
    distance = distances(FINE)
    if edge_width:
        outer = raised_cosine(distance, 2.5, edge_width)
        inner = raised_cosine(distance, 1.03, edge_width)
        atol = 3 * edge_error(edge_width)
        np.testing.assert_allclose(shown, outer * (1 - inner), rtol=0, atol=atol)
    else:
        assert (shown == ((distance <= 1.25 + 1e-9) & (distance >= 0.515 - 1e-9))).all()


def test_both_edges_of_a_hard_annulus_are_shown() -> None:
    field = VisualField(1, 41, 10.0)
    shown = aperture(field, diameter=3, inner_diameter=2)[0, 0].numpy()
    pixel = np.abs(np.arange(-20, 21))
    assert (shown == ((pixel >= 10) & (pixel <= 15))).all()


def test_a_hole_without_a_disc_goes_on_to_the_edge_of_the_field() -> None:
    hole = aperture(FINE, inner_diameter=1.01)[0]
    disc = aperture(FINE, diameter=1.01)[0]
    assert torch.equal(hole, 1 - disc)  # no pixel lies on the edge itself
    soft = aperture(FINE, inner_diameter=1.01, edge_width=0.4)[0]
    assert torch.equal(soft, 1 - aperture(FINE, diameter=1.01, edge_width=0.4)[0])


@given(envelope_sd=st.floats(0.05, 5), x=places, y=places)
@settings(max_examples=40, deadline=None)
def test_an_envelope_is_a_gaussian_of_the_standard_deviation(
    envelope_sd: float, x: float, y: float
) -> None:
    shown = aperture(WIDE, envelope_sd=envelope_sd, x=x, y=y)[0]
    expected = np.exp(-(distances(WIDE, x, y) ** 2) / (2 * envelope_sd**2))
    np.testing.assert_allclose(shown, expected, rtol=0, atol=3 * U)  # two factors, one product


def test_an_envelope_in_a_disc_is_their_product() -> None:
    both = aperture(WIDE, envelope_sd=0.4, diameter=1.2, edge_width=0.2)
    product = aperture(WIDE, envelope_sd=0.4) * aperture(WIDE, diameter=1.2, edge_width=0.2)
    assert torch.equal(both, product)


# Laws.

SHAPES: dict[str, dict[str, Any]] = {
    "disc": {"diameter": 1.7},
    "soft disc": {"diameter": 1.7, "edge_width": 0.4},
    "ring": {"diameter": 1.9, "inner_diameter": 0.6},
    "soft ring": {"diameter": 1.9, "inner_diameter": 0.8, "edge_width": 0.3},
    "gaussian": {"envelope_sd": 0.3},
    "hole": {"inner_diameter": 0.6},
}


@st.composite
def spans(draw: st.DrawFn, length: int) -> slice:
    start = draw(st.integers(0, length - 1))
    return slice(start, draw(st.integers(start + 1, length)))


@pytest.mark.parametrize("name", SHAPES)
@given(rows=spans(40), columns=spans(48), x=places, y=places)
@settings(max_examples=40, deadline=None)
def test_a_crop_of_the_field_shows_exactly_the_pixels_of_the_cropped_aperture(
    name: str, rows: slice, columns: slice, x: float, y: float
) -> None:
    asked = SHAPES[name] | {"x": x, "y": y}
    crop = aperture(WIDE.crop(rows, columns), **asked)
    assert torch.equal(crop, aperture(WIDE, **asked)[:, rows, columns])


@pytest.mark.parametrize("name", SHAPES)
@given(x=places, y=places)
@settings(max_examples=20, deadline=None)
def test_an_aperture_at_a_place_is_one_at_an_origin_moved_there(
    name: str, x: float, y: float
) -> None:
    placed = aperture(WIDE, x=x, y=y, **SHAPES[name])
    assert torch.equal(placed, aperture(WIDE.centered_on(x, y), **SHAPES[name]))


@pytest.mark.parametrize("name", SHAPES)
def test_apertures_are_round(name: str) -> None:
    square = VisualField(33, 33, 12.0)
    shown = aperture(square, **SHAPES[name])[0]
    assert torch.equal(shown, shown.T)
    assert torch.equal(shown, shown.flip(0))


def test_a_batch_of_all_shapes_is_what_each_is_alone() -> None:
    names = ("diameter", "inner_diameter", "edge_width", "envelope_sd")
    every = [*SHAPES.values(), {}, {"diameter": 1.7, "edge_width": 0}]
    columns: dict[str, Any] = {name: [shape.get(name, np.nan) for shape in every] for name in names}
    together = aperture(WIDE, y=0.1, **columns)
    alone = torch.cat([aperture(WIDE, y=0.1, **shape) for shape in every])
    assert torch.equal(together, alone)


@given(diameter=st.floats(0.1, 2.5), other=st.floats(0.1, 2.5), edge_width=st.floats(0, 0.1))
@settings(max_examples=40, deadline=None)
def test_a_larger_disc_shows_no_less(diameter: float, other: float, edge_width: float) -> None:
    small, large = sorted([diameter, other])
    shown = aperture(WIDE, diameter=[small, large], edge_width=edge_width)
    # Edges of a width that rounding is not far below are off by its error.
    error = edge_error(edge_width) if edge_width > 1e-3 else 1
    assert (shown[0] <= shown[1] + (error if edge_width else 0)).all()


# Refusals.


def check(field: VisualField, **shape: Any) -> None:
    """With NaN for what is not given, as a set does."""
    unsaid = dict.fromkeys(["diameter", "inner_diameter", "edge_width"], np.nan)
    given = {**unsaid, "x": 0.0, "y": 0.0, **shape}
    check_aperture(field, **dict(zip(given, vectors(*given.values()), strict=True)))


FIT: list[dict[str, Any]] = [
    {"diameter": 2.5},
    {"diameter": [1, 2.5], "edge_width": 0},
    {"diameter": 2, "edge_width": 0.5},
    {"diameter": 1.5, "x": 0.75, "y": -0.5},
    {"diameter": 2, "inner_diameter": 1, "edge_width": 0.5},
    {"diameter": 2, "inner_diameter": np.nan, "edge_width": np.nan},
    {"diameter": 1, "edge_width": 1},
    {"inner_diameter": 5},
    {"inner_diameter": 1, "edge_width": 1},
    {"x": 30.0},
    {"edge_width": 0},
]


@pytest.mark.parametrize("shape", FIT)
def test_what_fits_is_not_refused(shape: dict[str, Any]) -> None:
    check(WIDE, **shape)


BEYOND: list[tuple[dict[str, Any], str]] = [
    (
        {"diameter": [1, 2.6]},
        r"^diameter=2.6 at y=0 reaches beyond the field of 2.5 degrees; use at most diameter=2.5 "
        r"there, or a larger field \(more degrees\)$",
    ),
    ({"diameter": 3.1}, r"^diameter=3.1 at x=0 reaches beyond the field of 3 degrees"),
    (
        {"diameter": 1.5, "x": [0, -0.8]},
        r"^diameter=1.5 at x=-0.8 reaches .* use at most diameter=1.4 there",
    ),
    ({"diameter": 1.5, "y": 0.6}, r"^diameter=1.5 at y=0.6 .* use at most diameter=1.3 there"),
    ({"diameter": 1, "y": 2}, r"^diameter=1 at y=2 reaches .* use at most diameter=0 there"),
    (
        {"diameter": 2.4, "edge_width": 0.2},
        r"^diameter=2.4 with edge_width=0.2 at y=0 reaches .* use at most diameter=2.3 there",
    ),
    (
        {"diameter": 1, "inner_diameter": [0.5, 1]},
        r"^inner_diameter=1 is not below diameter=1, so that nothing is seen$",
    ),
    (
        {"diameter": 1, "edge_width": 1.2},
        r"^edge_width=1.2 is wider than diameter=1 leaves room for; use at most 1$",
    ),
    (
        {"diameter": 1.8, "inner_diameter": 0.8, "edge_width": 0.6},
        r"^edge_width=0.6 is wider than diameter=1.8, inner_diameter=0.8 leaves room for; "
        r"use at most 0.5$",
    ),
    (
        {"diameter": 2, "inner_diameter": 0.3, "edge_width": 0.4},
        r"^edge_width=0.4 is wider than .*; use at most 0.3$",
    ),
    (
        {"inner_diameter": 0.3, "edge_width": 0.4},
        r"^edge_width=0.4 is wider than inner_diameter=0.3 leaves room for; use at most 0.3$",
    ),
    ({"edge_width": 0.4}, r"^edge_width=0.4 is of an aperture; give its diameter too$"),
]


@pytest.mark.parametrize(("shape", "message"), BEYOND)
def test_an_aperture_that_does_not_fit_is_refused(shape: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(WIDE, **shape)


@given(x=st.floats(-1.4, 1.4), y=st.floats(-1.2, 1.2), edge_width=st.floats(0, 0.04))
@settings(max_examples=40, deadline=None)
def test_the_diameter_that_a_refusal_names_fits_and_little_more_does_not(
    x: float, y: float, edge_width: float
) -> None:
    diameter = 3.5
    for _ in range(2):  # for the width, and for the height where that is less
        try:
            check(WIDE, diameter=diameter, x=x, y=y, edge_width=edge_width)
        except ValueError as refusal:
            diameter = float(str(refusal).split("use at most diameter=")[1].split()[0])
    assert diameter < 3.5
    check(WIDE, diameter=diameter, x=x, y=y, edge_width=edge_width)
    with pytest.raises(ValueError, match="reaches beyond"):
        check(WIDE, diameter=diameter + 2e-6, x=x, y=y, edge_width=edge_width)


@given(x=st.floats(-10, 10), y=st.floats(-10, 10))
def test_where_the_origin_was_moved_does_not_matter(x: float, y: float) -> None:
    moved = WIDE.centered_on(x, y)
    check(moved, diameter=2.5)
    with pytest.raises(ValueError, match=r"of 2\.5 degrees"):
        check(moved, diameter=2.6)


def test_a_crop_is_judged_by_its_screen() -> None:
    crop = WIDE.crop(slice(3, 5), slice(0, 10))
    check(crop, diameter=2.5)
    with pytest.raises(ValueError, match=r"of 2\.5 degrees"):
        check(crop, diameter=2.6)
