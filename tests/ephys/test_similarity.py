"""Similarities: their closed forms, what they share, and what is refused."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import pdist, squareform

from ephys.similarity import ROUNDING, checked, circular, cosine, scalar

EPS = np.finfo(float).eps
finite = st.floats(-100, 100, width=16)


def off_diagonal(matrix: np.ndarray) -> np.ndarray:
    return matrix[~np.eye(len(matrix), dtype=bool)]


@given(arrays(float, 7, elements=finite, unique=True))
def test_squared_distances_of_numbers_are_in_variances(values: np.ndarray) -> None:
    squared = 2 - 2 * scalar(values).values
    expected = (values[:, None] - values) ** 2 / values.var(ddof=1)
    np.testing.assert_allclose(squared, expected, rtol=1e-9, atol=1e-9)


@given(arrays(float, 7, elements=finite, unique=True))
def test_numbers_are_as_alike_as_any_two_on_average(values: np.ndarray) -> None:
    assert off_diagonal(scalar(values).values).mean() == pytest.approx(0, abs=1e-9)


def test_a_unit_of_weight_0_has_no_say_in_the_variance() -> None:
    values, weight = [1.0, 2.0, 4.0, 1000.0], [1, 1, 1, 0]
    of_all = scalar(values, weight=weight).values[:3, :3]
    np.testing.assert_allclose(of_all, scalar(values[:3]).values, atol=10 * EPS)


def test_a_weight_of_2_is_a_unit_that_is_there_twice() -> None:
    # but for the pair of it with itself, which says nothing and is not counted
    weighted = scalar([1.0, 2.0, 4.0], weight=[2, 1, 1]).values
    squared = np.array([1.0, 9, 4])  # of the pairs 01, 02 and 12
    spread = np.average(squared, weights=[2, 2, 1]) / 2
    np.testing.assert_allclose(2 - 2 * weighted[[0, 0, 1], [1, 2, 2]], squared / spread)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e300, 1e-300])
def test_units_of_the_same_value_are_wholly_alike(value: float) -> None:
    np.testing.assert_array_equal(scalar([value] * 7), 1)


def test_values_that_differ_by_rounding_are_the_same() -> None:
    np.testing.assert_array_equal(scalar([0.3, 0.1 + 0.2, 0.3]), 1)


@pytest.mark.parametrize("period", [180.0, 360.0])
def test_angles_half_a_period_apart_are_opposite(period: float) -> None:
    found = circular([0, period / 4, period / 2, period], period=period).values
    np.testing.assert_allclose(found[0], [1, 0, -1, 1], atol=4 * EPS)


@given(arrays(float, 6, elements=st.floats(0, 360)))
def test_squared_distances_of_angles_are_squared_chords(angle: np.ndarray) -> None:
    points = np.exp(2j * np.deg2rad(angle))
    chords = np.abs(points[:, None] - points) ** 2
    np.testing.assert_allclose(2 - 2 * circular(angle, period=180).values, chords, atol=1e-12)


@given(arrays(float, 6, elements=st.floats(0, 180)), st.floats(-360, 360))
def test_turning_all_angles_changes_nothing(angle: np.ndarray, turn: float) -> None:
    turned, as_it_was = (circular(a, period=180).values for a in (angle + turn, angle))
    np.testing.assert_allclose(turned, as_it_was, atol=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "correlation"])
def test_vectors_are_as_alike_as_scipy_says(metric: Literal["cosine", "correlation"]) -> None:
    filters = np.random.default_rng(1).normal(size=(9, 3, 5, 5))
    expected = 1 - squareform(pdist(filters.reshape(9, -1), metric))
    found = cosine(filters, centered=metric == "correlation").values
    np.testing.assert_allclose(found, expected, atol=100 * EPS)


def test_of_axes_the_sign_is_nothing() -> None:
    filters = np.random.default_rng(1).normal(size=(9, 12))
    signs = np.where(np.arange(9) % 2, 1, -1)[:, None]
    np.testing.assert_allclose(cosine(signs * filters, axes=True), cosine(filters, axes=True))
    np.testing.assert_array_equal(cosine(filters, axes=True), np.abs(cosine(filters)))


def test_vectors_may_have_their_units_last() -> None:
    responses = xr.DataArray(
        np.random.default_rng(1).normal(size=(20, 4)), dims=("stimulus", "unit")
    )
    np.testing.assert_allclose(
        cosine(responses, centered=True), np.corrcoef(responses.values.T), atol=10 * EPS
    )


def test_what_has_no_property_is_like_nothing() -> None:
    vectors = np.array([[1, 0], [0, 0], [1, 2], [1, 3]], float)
    broken = np.where(vectors.sum(1, keepdims=True) > 0, vectors, [1, np.nan])
    for found in [
        scalar([1, np.nan, 2, 4]),
        circular([1, np.nan, 2, 4], period=180),
        cosine(vectors),
        cosine(broken),
        cosine(vectors + 0.1, centered=True),  # of which the second is 0.1 everywhere
    ]:
        defined = np.isfinite(found.values)
        np.testing.assert_array_equal(defined, np.outer([1, 0, 1, 1], [1, 0, 1, 1]))
        np.testing.assert_array_equal(checked(found)[1], [1, 0, 1, 1])


def test_units_keep_their_coordinates_and_their_weight() -> None:
    coords = {"channel": ("unit", [4, 7]), "layer": ("unit", ["a", "a"])}
    angle = xr.DataArray([0.0, 90.0], coords, dims="unit", attrs={"long_name": "orientation"})
    found = circular(angle, period=180, weight=[0.25, np.nan])
    np.testing.assert_array_equal(found["channel"], angle["channel"])
    np.testing.assert_array_equal(found["layer"], angle["layer"])
    assert found.attrs["long_name"] == "similarity of orientation"
    np.testing.assert_array_equal(checked(found)[1], [0.25, 0])


def test_an_angle_says_its_period() -> None:
    angle = xr.DataArray([0.0, 30, 90], dims="unit", attrs={"period": 180.0})
    expected = circular([0, 30, 90], period=180)
    np.testing.assert_array_equal(circular(angle), expected)
    np.testing.assert_array_equal(circular(angle, period=180), expected)
    with pytest.raises(ValueError, match=r"^period=360 is not that of the angles, 180; leave it"):
        circular(angle, period=360)
    with pytest.raises(ValueError, match=r"^period=None is not a positive number of degrees"):
        circular([0, 30, 90])
    with pytest.raises(
        ValueError, match=r"^values: an angle of period=180 has no mean, .*circular"
    ):
        scalar(angle)


def test_a_weight_of_other_units_is_refused() -> None:
    channel = xr.DataArray([3, 4, 5], dims="unit")
    values = xr.DataArray([1.0, 2, 4], {"channel": channel}, dims="unit")
    weight = xr.DataArray([1.0, 0, 2], {"channel": channel[::-1]}, dims="unit")
    text = "^channel of the property is not that of its weight; sort both alike$"
    measures: list[Callable[..., xr.DataArray]] = [
        partial(scalar, values),
        partial(circular, values, period=180),
        partial(cosine, values * xr.DataArray([1.0, 2], dims="x")),
        partial(cosine, xr.DataArray(np.ones((3, 2)), {"channel": channel}, ("unit", "rgb"))),
    ]
    for measure in measures:
        with pytest.raises(ValueError, match=text):
            measure(weight=weight)
        np.testing.assert_array_equal(measure(weight=weight[::-1])["weight"], [2, 0, 1])
    color = xr.DataArray(np.ones((3, 2)), {"channel": ["red", "green"]}, ("unit", "channel"))
    np.testing.assert_array_equal(cosine(color, weight=weight)["weight"], [1, 0, 2])  # of an image


@pytest.mark.parametrize("measure", [scalar, partial(circular, period=180), cosine])
def test_what_is_infinite_is_refused(measure: Callable[[np.ndarray], xr.DataArray]) -> None:
    numbers = np.array([1, np.nan, 2, -np.inf, np.inf])
    numbers = np.stack([numbers, numbers], 1) if measure is cosine else numbers
    with pytest.raises(ValueError, match="of unit 3 are infinite; give NaN to leave it out"):
        measure(numbers)


def test_a_similarity_from_elsewhere_is_taken_as_it_is() -> None:
    matrix = np.corrcoef(np.random.default_rng(1).normal(size=(5, 30)))
    found, weights = checked(xr.DataArray(matrix, dims=("unit", "other")))
    np.testing.assert_array_equal(found, matrix)
    np.testing.assert_array_equal(weights, 1)


def given_matrix(**changes: float) -> xr.DataArray:
    matrix = np.eye(3)
    for place, value in changes.items():
        matrix[int(place[1]), int(place[2])] = value
    return xr.DataArray(matrix, dims=("unit", "unit_2"))


@pytest.mark.parametrize(
    ("similarity", "message"),
    [
        (given_matrix(_11=np.inf), r"^similarity of unit 1 with itself is inf, not 1"),
        (given_matrix(_11=2), r"^similarity of unit 1 with itself is 2, not 1"),
        (given_matrix(_01=0.5), r"^similarity of units 0 and 1, 0.5, is not that of the same"),
        (given_matrix(_01=1.5, _10=1.5), r"^similarity of units 0 and 1, 1.5, is above 1"),
        (given_matrix(_02=np.nan, _20=np.nan), r"^similarity of units 0 and 2, nan, is not a num"),
        (xr.DataArray([1.0, 2], dims="unit"), r"^a similarity is .* this is {'unit': 2}"),
        (given_matrix()[:2], r"^a similarity is \(unit, unit_2\)"),
        (given_matrix().rename(unit="cell"), r"^a similarity is \(unit, unit_2\)"),
        (given_matrix().assign_coords(weight=("unit", [1, -2, 1])), r"^weight=-2 is not at least"),
    ],
)
def test_what_is_no_similarity_is_refused(similarity: xr.DataArray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked(similarity)


def test_rounding_is_no_reason_to_refuse() -> None:
    matrix = given_matrix(_00=1 + ROUNDING / 2, _01=1 + ROUNDING / 2, _10=1)
    np.testing.assert_array_equal(checked(matrix)[1], 1)


def test_other_shapes_and_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^values are of shape \(2, 2\); one number a unit"):
        scalar(np.eye(2))
    with pytest.raises(ValueError, match=r"^vectors are of shape \(2,\); of one number a unit"):
        cosine([1, 2])
    with pytest.raises(ValueError, match=r"^period=0 is not a positive number"):
        circular([1, 2], period=0)
    with pytest.raises(ValueError, match=r"^weight=-1 is not at least 0"):
        circular([1, 2], period=180, weight=[1, -1])
    with pytest.raises(ValueError, match=r"^weight is of shape \(3,\); give one for each of 2"):
        scalar([1, 2], weight=[1, 1, 1])
