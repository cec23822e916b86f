"""Selectivity: curves whose index is in the book."""

import cmath
import math
from collections.abc import Mapping
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ive

from ephys.selectivity import gosi

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
    with pytest.raises(ValueError, match=rf"{message}.*circle of 180 degrees.*without both ends"):
        gosi(curve(np.ones(len(orientations)), orientations))


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
