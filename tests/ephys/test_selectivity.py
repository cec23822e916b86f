"""Selectivity: curves whose index is in the book."""

import cmath
import math
from collections.abc import Callable, Mapping
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ive

from ephys.selectivity import (
    direction_index,
    dsi,
    gdsi,
    gosi,
    lifetime_sparseness,
    orthogonal_ratio,
    osi,
    population_sparseness,
    rolls_tovee_sparseness,
)

EPS = np.finfo(float).eps
ORIENTATIONS = np.arange(25) * 7.2


def curve(values: np.ndarray, orientations: np.ndarray = ORIENTATIONS) -> xr.DataArray:
    dims = (*(f"dim_{i}" for i in range(np.ndim(values) - 1)), "orientation")
    return xr.DataArray(values, {"orientation": orientations}, dims)


def even(count: int) -> np.ndarray:
    return np.arange(count) * 180 / count


def circular_variance(responses: list[float], orientations: list[float]) -> float:
    """Ringach, Shapley & Hawken (2002), eq. 1, one term after the other."""
    terms = [
        r * cmath.exp(2j * math.radians(theta))
        for r, theta in zip(responses, orientations, strict=True)
    ]
    real, imaginary = math.fsum(t.real for t in terms), math.fsum(t.imag for t in terms)
    return 1 - math.hypot(real, imaginary) / math.fsum(responses)


# Closed form.


@pytest.mark.parametrize("kappa", [0.01, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("center", [0.0, 36.0, 101.3])
def test_the_index_of_a_von_mises_curve_is_a_ratio_of_bessel_functions(
    kappa: float, center: float
) -> None:
    values = np.exp(kappa * np.cos(2 * np.deg2rad(ORIENTATIONS - center)))
    # 25 points alias I_24 and I_26 into I_1: below 1e-15 of it for kappa up to 5. The rest is the
    # rounding of 25 terms, in the sum and in its parts, compared with the sum of all of them.
    expected = ive(1, kappa) / ive(0, kappa)
    assert gosi(curve(values)).item() == pytest.approx(expected, abs=25 * EPS)


@given(depth=st.floats(0, 1), center=st.floats(0, 180), count=st.integers(3, 40))
@settings(max_examples=40, deadline=None)
def test_the_index_of_a_raised_cosine_is_half_its_depth(
    depth: float, center: float, count: int
) -> None:
    orientations = even(count)
    values = 1 + depth * np.cos(2 * np.deg2rad(orientations - center))
    values = np.maximum(values, 0)  # rounding below 0 at full depth
    index = gosi(curve(values, orientations))
    assert index.item() == pytest.approx(depth / 2, abs=2 * count * EPS)


@pytest.mark.parametrize(("count", "base"), [(36, 45.0), (36, 90.0), (72, 30.0), (180, 60.0)])
def test_the_index_of_a_triangle_is_that_of_its_fejer_sum(count: int, base: float) -> None:
    # sum_{|n|<m} (1 - |n|/m) cos(n a) = sin^2(m a / 2) / (m sin^2(a / 2)), and m without the cos.
    orientations, step = even(count), 180 / count
    away = np.abs((orientations - 20 * step + 90) % 180 - 90)
    values = np.maximum(1 - away / base, 0)
    m, angle = base / step, 2 * np.deg2rad(step)
    expected = (np.sin(m * angle / 2) / (m * np.sin(angle / 2))) ** 2
    assert gosi(curve(values, orientations)).item() == pytest.approx(expected, abs=count * EPS)


def test_the_index_of_one_orientation_is_1_and_of_all_alike_is_0() -> None:
    assert gosi(curve(np.eye(25))).values == pytest.approx(np.ones(25), abs=EPS)
    assert gosi(curve(np.full(25, 3.0))).item() == pytest.approx(0, abs=25 * EPS)


def test_the_index_of_two_orthogonal_orientations_is_their_osi() -> None:
    # On the two-point curve abs(a - b) / (a + b), which is the OSI.
    values = np.zeros(12)
    values[[2, 8]] = 5, 2
    assert gosi(curve(values, even(12))).item() == pytest.approx(3 / 7, abs=4 * EPS)


# Laws.

positive_curves = st.lists(st.floats(0, 1e6), min_size=3, max_size=30).filter(lambda r: sum(r) > 1)


@given(responses=positive_curves)
@settings(max_examples=60, deadline=None)
def test_the_index_is_one_minus_the_circular_variance_of_ringach(responses: list[float]) -> None:
    orientations = even(len(responses))
    expected = 1 - circular_variance(responses, orientations.tolist())
    measured = gosi(curve(np.array(responses), orientations)).item()
    # Sums of n terms, compared with the sum of all.
    assert measured == pytest.approx(expected, abs=2 * len(responses) * EPS)


@given(
    responses=positive_curves,
    turn=st.integers(-30, 30),
    gain=st.floats(1e-6, 1e6),
    first=st.floats(-180, 180),
)
@settings(max_examples=60, deadline=None)
def test_the_index_ignores_gain_and_rotation(
    responses: list[float], turn: int, gain: float, first: float
) -> None:
    values, orientations = np.array(responses), even(len(responses))
    original = gosi(curve(values, orientations)).item()
    changed = gosi(curve(gain * np.roll(values, turn), first + orientations)).item()
    # Angles of up to 360 degrees are rounded, too: 2 angle eps of 4 pi eps, on top of the sums.
    assert changed == pytest.approx(original, abs=(2 * len(responses) + 8 * np.pi) * EPS)


@given(responses=positive_curves)
@settings(max_examples=40, deadline=None)
def test_the_index_lies_between_0_and_1(responses: list[float]) -> None:
    index = gosi(curve(np.array(responses), even(len(responses)))).item()
    assert 0 <= index <= 1 + len(responses) * EPS


@given(responses=positive_curves, floor=st.floats(0, 1e6))
@settings(max_examples=40, deadline=None)
def test_a_baseline_lowers_the_index_by_its_share_of_the_response(
    responses: list[float], floor: float
) -> None:
    values, orientations = np.array(responses), even(len(responses))
    share = values.sum() / (values + floor).sum()
    raised = gosi(curve(values + floor, orientations)).item()
    original = gosi(curve(values, orientations)).item()
    assert raised == pytest.approx(original * share, abs=3 * len(responses) * EPS)


def test_many_curves_are_measured_as_each_is_alone_whatever_the_order_of_dimensions() -> None:
    values = np.random.default_rng(3309).uniform(size=(4, 3, 25))
    curves = curve(values).assign_coords(dim_0=list("abcd"))
    together = gosi(curves)
    assert together.dims == ("dim_0", "dim_1")
    assert together.attrs["units"] == "1"
    np.testing.assert_array_equal(together["dim_0"], list("abcd"))
    for i in range(4):
        for j in range(3):
            np.testing.assert_array_equal(together[i, j], gosi(curve(values[i, j])))
    xr.testing.assert_identical(gosi(curves.transpose("orientation", ...)), together)


def test_single_precision_responses_give_the_index_of_single_precision() -> None:
    values = np.random.default_rng(871).uniform(size=25)
    # 25 float32 roundings of the responses and of their sum, each 6e-8 of it at most.
    expected = gosi(curve(values)).item()
    assert gosi(curve(values.astype(np.float32))).item() == pytest.approx(expected, abs=25 * 6e-8)


# What is undefined, and what is refused.


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(25),
        -np.ones(25),
        np.cos(2 * np.deg2rad(ORIENTATIONS)),
        np.where(ORIENTATIONS == 36, -1e-3, 1.0),
        np.where(ORIENTATIONS == 36, np.nan, 1.0),
    ],
    ids=["silent", "all negative", "of mean 0", "negative somewhere", "nan somewhere"],
)
def test_a_curve_without_an_index_has_nan_and_spoils_no_other(values: np.ndarray) -> None:
    tuned = np.eye(25)[3]
    indices = gosi(curve(np.stack([tuned, values, tuned])))
    assert np.isnan(indices[1])
    assert indices[[0, 2]].values == pytest.approx([1, 1], abs=EPS)


@pytest.mark.parametrize(
    "orientations",
    [np.linspace(0, 180, 13), np.arange(12) * 30.0, np.arange(9) * 10.0, np.array([0.0, 90.0])],
    ids=["both ends", "twice around", "half around", "too few"],
)
def test_orientations_that_do_not_go_around_once_and_evenly_are_refused(
    orientations: np.ndarray,
) -> None:
    message = rf"orientation runs 0 to {orientations[-1]:g} degrees in {len(orientations)} values"
    with pytest.raises(ValueError, match=rf"{message}; .*a circle of 180 degrees"):
        gosi(curve(np.ones(len(orientations)), orientations))


# Preferred against orthogonal, and against opposite.

DIRECTIONS = np.arange(24) * 15.0


def directions(values: np.ndarray) -> xr.DataArray:
    count = np.shape(values)[-1]
    angles = np.arange(count) * 360 / count
    return curve(values, angles).rename(orientation="direction")


def interpolated(values: np.ndarray, angle: float, period: float) -> float:
    """The curve at an angle, by numpy's own interpolation."""
    return float(
        np.interp(angle, np.arange(len(values)) * period / len(values), values, period=period)
    )


@pytest.mark.parametrize("kappa", [0.01, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("center", [0.0, 30.0, 172.5])
def test_the_osi_of_a_von_mises_curve_is_a_hyperbolic_tangent(kappa: float, center: float) -> None:
    values = np.exp(kappa * (np.cos(2 * np.deg2rad(even(24) - center)) - 1))
    # Exponents of up to 2 kappa = 10 are rounded, so the small response by 10 eps of it.
    expected = np.tanh(kappa)
    assert osi(curve(values, even(24))).item() == pytest.approx(expected, abs=12 * EPS)
    ratio = orthogonal_ratio(curve(values, even(24))).item()
    assert ratio == pytest.approx(np.exp(-2 * kappa), rel=16 * EPS)


@pytest.mark.parametrize("kappa", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("center", [0.0, 45.0, 345.0])
def test_direction_indices_of_a_von_mises_curve_are_in_the_book(
    kappa: float, center: float
) -> None:
    curves = directions(np.exp(kappa * (np.cos(np.deg2rad(DIRECTIONS - center)) - 1)))
    # 24 points alias I_23 and I_25 into I_1: below 1e-18 of it.
    assert gdsi(curves).item() == pytest.approx(ive(1, kappa) / ive(0, kappa), abs=24 * EPS)
    assert dsi(curves).item() == pytest.approx(np.tanh(kappa), abs=12 * EPS)
    assert direction_index(curves).item() == pytest.approx(1 - np.exp(-2 * kappa), abs=12 * EPS)


def test_moving_gratings_have_an_orientation_too() -> None:
    tuning = np.exp(2 * (np.cos(2 * np.deg2rad(DIRECTIONS - 60)) - 1))
    away = np.abs((DIRECTIONS - 60 + 180) % 360 - 180)
    curves = directions(np.where(away < 90, 1.0, 0.5) * tuning)
    # At right angles both sides lie on the border of the weaker lobe.
    expected = (1 - 0.5 * np.exp(-4)) / (1 + 0.5 * np.exp(-4))
    assert osi(curves, "direction", period=360).item() == pytest.approx(expected, abs=12 * EPS)
    assert dsi(curves).item() == pytest.approx(1 / 3, abs=4 * EPS)
    # 48 directions are 24 orientations, twice; their sums alias I_23 and I_25 into I_1.
    finer = np.arange(48) * 7.5
    both = directions(np.exp(2 * (np.cos(2 * np.deg2rad(finer - 60)) - 1)))
    expected = ive(1, 2) / ive(0, 2)
    assert gosi(both, "direction", period=360).item() == pytest.approx(expected, abs=48 * EPS)
    assert gdsi(both).item() == pytest.approx(0, abs=48 * EPS)
    assert dsi(both).item() == pytest.approx(0, abs=4 * EPS)


def test_the_response_at_right_angles_is_the_mean_of_both_sides() -> None:
    values = np.zeros(24)
    values[[2, 8, 20]] = 5, 1, 3  # 30, 120 and 300 degrees
    assert osi(directions(values), "direction", period=360).item() == pytest.approx(3 / 7, abs=EPS)


@pytest.mark.parametrize("count", [5, 9, 25])
def test_an_odd_number_of_orientations_is_interpolated_at_right_angles(count: int) -> None:
    # Both neighbours of the orthogonal orientation are half a step off: cos(180 - 180 / n).
    peak = 3
    values = 1 + np.cos(2 * np.deg2rad(even(count) - even(count)[peak]))
    expected = (1 - np.cos(np.pi / count)) / 2
    measured = orthogonal_ratio(curve(values, even(count))).item()
    assert measured == pytest.approx(expected, abs=4 * EPS)


@given(
    responses=st.lists(st.floats(0, 1e6), min_size=3, max_size=30).filter(lambda r: max(r) > 1),
    full=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_indices_are_those_of_the_formula_with_the_curve_interpolated(
    responses: list[float], full: bool
) -> None:
    values = np.array(responses)
    values[values.argmax()] *= 1 + 1e-6  # one largest
    peak, period = int(values.argmax()), 360.0 if full else 180.0
    at_peak = peak * period / len(values)
    sides = [interpolated(values, at_peak + turn, period) for turn in (90, -90)]
    best, orthogonal = values.max(), float(np.mean(sides))
    of_period = directions(values) if full else curve(values, even(len(values)))
    dim = "direction" if full else "orientation"
    # numpy's interpolation divides by differences of angles: rounding of up to 30 steps.
    error = 100 * len(values) * EPS
    measured = osi(of_period, dim, period=period).item()
    assert measured == pytest.approx((best - orthogonal) / (best + orthogonal), abs=error)
    ratio = orthogonal_ratio(of_period, dim, period=period).item()
    assert ratio == pytest.approx(orthogonal / best, abs=error)
    assert ratio == pytest.approx((1 - measured) / (1 + measured), abs=error)
    if full:
        null = interpolated(values, at_peak + 180, 360)
        assert dsi(of_period).item() == pytest.approx((best - null) / (best + null), abs=error)
        index = direction_index(of_period).item()
        assert index == pytest.approx(1 - null / best, abs=error)
        assert index == pytest.approx(2 * dsi(of_period).item() / (1 + dsi(of_period).item()))


Measure = Callable[[xr.DataArray], xr.DataArray]
INDICES: dict[str, Measure] = {
    "gosi": lambda c: gosi(c),
    "osi": lambda c: osi(c),
    "orthogonal_ratio": lambda c: orthogonal_ratio(c),
}
DIRECTION_INDICES: dict[str, Measure] = {
    "gdsi": gdsi,
    "dsi": dsi,
    "direction_index": direction_index,
    "osi": lambda c: osi(c, "direction", period=360),
    "gosi": lambda c: gosi(c, "direction", period=360),
}


@given(
    # Steps of a quarter, so that equally large responses are common, and gains of powers of two,
    # so that they stay equal.
    responses=st.lists(st.integers(0, 8), min_size=3, max_size=20).filter(lambda r: max(r) > 0),
    turn=st.integers(-30, 30),
    gain=st.integers(-20, 20),
    name=st.sampled_from(sorted(DIRECTION_INDICES)),
)
@settings(max_examples=100, deadline=None)
def test_every_index_ignores_gain_and_rotation_ties_included_and_lies_between_0_and_1(
    responses: list[int], turn: int, gain: int, name: str
) -> None:
    measure, values = DIRECTION_INDICES[name], np.array(responses) / 4
    original = measure(directions(values)).item()
    changed = measure(directions(2.0**gain * np.roll(values, turn))).item()
    error = (2 * len(responses) + 8 * np.pi) * EPS  # as of the index above
    assert changed == pytest.approx(original, abs=error)
    assert -error <= original <= 1 + error


def test_flat_curves_have_indices_of_no_selectivity() -> None:
    flat = directions(np.full(24, 3.0))
    for name, measure in DIRECTION_INDICES.items():
        assert measure(flat).item() == pytest.approx(0, abs=24 * EPS), name
    assert orthogonal_ratio(curve(np.full(12, 3.0), even(12))).item() == 1


@pytest.mark.parametrize("name", DIRECTION_INDICES)
@pytest.mark.parametrize(
    "values",
    [
        np.zeros(24),
        -np.ones(24),
        # Its sum is small: without the rule, its global orientation index would be 5.
        0.1 + np.cos(2 * np.deg2rad(DIRECTIONS)),
        np.where(DIRECTIONS == 30, np.nan, 1.0),
        np.where(DIRECTIONS == 30, np.inf, 1.0),
    ],
    ids=["silent", "all negative", "negative somewhere", "nan somewhere", "infinite"],
)
def test_a_curve_without_indices_has_nan_and_spoils_no_other(name: str, values: np.ndarray) -> None:
    tuned = np.eye(24)[3]
    indices = DIRECTION_INDICES[name](directions(np.stack([tuned, values, tuned])))
    assert np.isnan(indices[1])
    assert indices[[0, 2]].values == pytest.approx([1, 1], abs=EPS)


@pytest.mark.parametrize("measure", [osi, orthogonal_ratio, gosi])
def test_a_sweep_with_both_ends_has_no_index(measure: Any) -> None:
    with pytest.raises(ValueError, match=r"orientation runs 0 to 180 degrees in 13 values"):
        measure(curve(np.ones(13), np.linspace(0, 180, 13)))


@pytest.mark.parametrize("measure", [dsi, gdsi, direction_index])
def test_directions_of_half_a_circle_have_no_index(measure: Any) -> None:
    half = curve(np.ones(12), even(12)).rename(orientation="direction")
    with pytest.raises(ValueError, match=r"direction runs 0 to 165 degrees.*circle of 360 degrees"):
        measure(half)


# Sparseness.


def images(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, dims=("unit", "stimulus"))


@pytest.mark.parametrize("count", [2, 7, 100])
def test_one_answered_image_is_sparse_and_all_alike_are_not(count: int) -> None:
    one = lifetime_sparseness(images(3 * np.eye(count)))
    assert one.values == pytest.approx(np.ones(count), abs=2 * EPS)
    assert lifetime_sparseness(images(np.full((1, count), 0.3))).item() == pytest.approx(
        0, abs=4 * count * EPS
    )
    of_rolls = rolls_tovee_sparseness(images(3 * np.eye(count)))
    assert of_rolls.values == pytest.approx(np.full(count, 1 / count), rel=4 * EPS)
    assert rolls_tovee_sparseness(images(np.full((1, count), 0.3))).item() == 1


@pytest.mark.parametrize(("answered", "count"), [(1, 10), (3, 10), (5, 10), (10, 10)])
def test_sparseness_of_images_answered_alike_tells_their_share(answered: int, count: int) -> None:
    values = np.where(np.arange(count) < answered, 2.0, 0.0)[None]
    # (a/n)^2 / (a/n) is a/n.
    assert rolls_tovee_sparseness(images(values)).item() == pytest.approx(answered / count)
    expected = (1 - answered / count) / (1 - 1 / count)
    assert lifetime_sparseness(images(values)).item() == pytest.approx(expected, abs=4 * EPS)


def test_sparseness_of_exponential_responses_is_a_half() -> None:
    # Mean 1 and mean square 2, of the quantiles of an exponential distribution: a is 1 / 2. The
    # midpoints' mean square falls short of 2 by the tail beyond the last, (ln n)^2 / n.
    count = 10**5
    quantiles = -np.log1p(-(np.arange(count) + 0.5) / count)
    measured = rolls_tovee_sparseness(images(quantiles[None])).item()
    assert measured == pytest.approx(0.5, abs=np.log(count) ** 2 / count)


@given(
    responses=st.lists(st.floats(0, 1e6), min_size=2, max_size=30).filter(lambda r: max(r) > 1e-3),
    gain=st.floats(1e-200, 1e200),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_sparseness_is_that_of_the_allen_institute_and_ignores_gain_and_order(
    responses: list[float], gain: float, data: st.DataObject
) -> None:
    count = len(responses)
    squares = math.fsum(r**2 for r in responses)
    expected = (1 - math.fsum(responses) ** 2 / (count * squares)) / (1 - 1 / count)
    measured = lifetime_sparseness(images(np.array([responses]))).item()
    error = 4 * count * EPS / (1 - 1 / count)
    assert measured == pytest.approx(expected, abs=error)
    order = data.draw(st.permutations(responses))
    changed = lifetime_sparseness(images(gain * np.array([order]))).item()
    assert changed == pytest.approx(measured, abs=2 * error)
    assert -error <= measured <= 1 + error


def test_sparseness_of_a_population_is_that_of_a_unit_with_the_axes_exchanged() -> None:
    values = np.random.default_rng(51).gamma(0.5, size=(6, 9))
    across = population_sparseness(images(values))
    assert across.dims == ("stimulus",)
    expected = lifetime_sparseness(images(values.T)).rename(unit="stimulus")
    np.testing.assert_array_equal(across, expected)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("measure", [lifetime_sparseness, rolls_tovee_sparseness])
def test_sparseness_of_a_unit_that_is_silent_negative_or_missing_is_undefined(
    measure: Any, value: float
) -> None:
    values = np.ones((3, 5)) * [[1], [0], [2]]
    values[1, 2] = value
    measured = measure(images(values))
    assert np.isnan(measured[1])
    assert np.isfinite(measured[[0, 2]]).all()


def test_sparseness_over_a_single_image_is_refused() -> None:
    with pytest.raises(ValueError, match="stimulus: sparseness is over two or more, not 1"):
        lifetime_sparseness(images(np.ones((2, 1))))


# Dask arrays.


@pytest.mark.parametrize("chunks", [{"dim_0": 1}, {"dim_0": 2, "orientation": 10}])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_index_of_a_dask_array_is_a_dask_array_of_the_same_numbers(
    dtype: str, chunks: Mapping[str, int]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("computed")

    values = np.random.default_rng(2).gamma(1, size=(5, 3, 25)).astype(dtype)
    values[1], values[2, 0, 4], values[3, 1, 1] = 0, np.nan, -1
    curves = curve(values).assign_coords(dim_0=list("abcde"))
    # In memory, a unit may lie beside another: sums must not follow that order.
    curves = curves.transpose("orientation", "dim_1", "dim_0").copy(deep=True)
    with dask.config.set(scheduler=refuse):
        lazy = gosi(curves.chunk(chunks))
    assert lazy.chunks is not None
    assert lazy.dtype == gosi(curves).dtype
    xr.testing.assert_identical(lazy.compute(), gosi(curves))


LAZY: dict[str, tuple[Measure, str]] = {
    **{name: (measure, "orientation") for name, measure in INDICES.items()},
    **{f"{name} of directions": (m, "direction") for name, m in DIRECTION_INDICES.items()},
    "lifetime": (lifetime_sparseness, "stimulus"),
    "rolls": (rolls_tovee_sparseness, "stimulus"),
    "population": (lambda r: population_sparseness(r, "dim_0"), "stimulus"),
}


@pytest.mark.parametrize("name", LAZY)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_every_measure_of_a_dask_array_is_a_dask_array_of_the_same_numbers(
    name: str, dtype: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("computed")

    measure, dim = LAZY[name]
    values = (10 * np.random.default_rng(6).gamma(1, size=(5, 3, 24))).astype(dtype)
    values[1], values[3, 1, 1] = 0, -1
    if dtype != "int64":
        values[2, 0, 4] = np.nan
    curves = curve(values, even(24)).rename(orientation=dim)
    if dim == "direction":
        curves = curves.assign_coords(direction=DIRECTIONS)
    curves = curves.assign_coords(dim_0=list("abcde")).transpose(dim, "dim_1", "dim_0")
    with dask.config.set(scheduler=refuse):
        lazy = measure(curves.chunk({"dim_0": 2, dim: 10}))
    assert lazy.chunks is not None
    assert lazy.dtype == measure(curves).dtype
    xr.testing.assert_identical(lazy.compute(), measure(curves))


def test_each_measure_says_what_it_is() -> None:
    curves = curve(np.ones((2, 24)), even(24))
    for measure in INDICES.values():
        attributes = measure(curves).attrs
        assert attributes["units"] == "1"
        assert attributes["long_name"]
    names = {measure(directions(np.ones(24))).attrs["long_name"] for measure in (gdsi, dsi)}
    assert len(names) == 2
