"""Spatial frequency: curves whose cuts are in the book."""

from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from ephys.frequency import band, bandwidth, high_cut, low_cut, schiller_bandwidth

EPS = np.finfo(float).eps
FREQUENCIES = 2.0 ** np.arange(-2, 5)  # a quarter to 16 cycles per degree
MEASURES = (bandwidth, schiller_bandwidth, low_cut, high_cut)


def frequencies(values: Any, axis: np.ndarray = FREQUENCIES) -> xr.DataArray:
    """Responses (..., spatial_frequency) as a labelled array of units."""
    values = np.asarray(values)
    dims = {1: (), 2: ("unit",), 3: ("unit", "contrast")}[values.ndim]
    coordinate = ("spatial_frequency", axis, {"units": "cycles degree-1"})
    return xr.DataArray(values, {"spatial_frequency": coordinate}, (*dims, "spatial_frequency"))


def tent(octaves: np.ndarray, left: float, right: float) -> np.ndarray:
    """1 at 0, falling straight to 0 so many octaves to its left and right."""
    return np.clip(np.minimum(1 + octaves / left, 1 - octaves / right), 0, None)


# Closed forms.


@pytest.mark.parametrize("level", [0.25, 0.5, 1 / np.sqrt(2), 0.9])
@pytest.mark.parametrize(("left", "right"), [(2, 2), (1, 3), (3, 1)])
def test_the_cuts_of_a_tent_are_shares_of_its_base(left: int, right: int, level: float) -> None:
    # Straight over log frequency, as the interpolation is; the peak is at 2 cycles per degree.
    curve = frequencies(tent(np.log2(FREQUENCIES) - 1, left, right))
    low, high = 2 ** (1 - (1 - level) * left), 2 ** (1 + (1 - level) * right)
    assert low_cut(curve, level=level).item() == pytest.approx(low, rel=16 * EPS)
    assert high_cut(curve, level=level).item() == pytest.approx(high, rel=16 * EPS)
    octaves = (1 - level) * (left + right)
    assert bandwidth(curve, level=level).item() == pytest.approx(octaves, abs=16 * EPS)
    ratio = schiller_bandwidth(curve, level=level).item()
    assert ratio == pytest.approx(100 * 2**-octaves, rel=16 * EPS)


@pytest.mark.parametrize("sd", [0.4, 0.7, 1.2])
@pytest.mark.parametrize("level", [0.5, 1 / np.sqrt(2)])
def test_the_bandwidth_of_a_log_gaussian_is_that_of_its_formula(sd: float, level: float) -> None:
    # Half an octave to the cut is sd sqrt(-2 ln level) of them. Between points h apart a line is
    # off by at most h^2 max|f''| / 8 = h^2 / (8 sd^2), over the slope at the cut.
    h, axis = 0.05, np.arange(-5, 5.001, 0.05)
    width = sd * np.sqrt(-2 * np.log(level))
    error = (h**2 / (8 * sd**2)) / (level * width / sd**2)
    curve = frequencies(np.exp(-(axis**2) / (2 * sd**2)), 2**axis)
    assert error < 0.02
    assert bandwidth(curve, level=level).item() == pytest.approx(2 * width, abs=2 * error)


def test_schillers_bandwidth_is_of_0707_by_default_and_that_of_de_valois_of_one_half() -> None:
    curve = frequencies(tent(np.log2(FREQUENCIES) - 1, 2, 2))
    assert bandwidth(curve).item() == pytest.approx(2, abs=16 * EPS)
    # 4 (1 - 0.7071) octaves: 44.4 %.
    expected = 100 * 2 ** (-4 * (1 - np.sqrt(0.5)))
    assert schiller_bandwidth(curve).item() == pytest.approx(expected, rel=16 * EPS)


def test_the_cuts_are_those_nearest_to_the_peak() -> None:
    # 2, 1/4 and 4 at the borders of the peak, and bumps beyond them.
    curve = frequencies([0.9, 0.0, 1.0, 2.0, 0.5, 1.8, 0.0])
    assert low_cut(curve).item() == 1.0  # which is at the level itself
    assert high_cut(curve).item() == pytest.approx(2 ** (1 + 1 / 1.5), rel=4 * EPS)


# Which frequencies pass.


def test_a_curve_without_one_of_the_cuts_is_low_or_high_pass() -> None:
    curves = frequencies(
        [
            [0, 1, 2, 4, 2, 1, 0],
            [4, 4, 3, 2, 1, 0, 0],
            [0, 0, 1, 2, 3, 4, 4],
            [3, 3, 3, 4, 3, 3, 3],
            [1, 1, 1, 1, 1, 1, 1],
            [0, 0, 0, 0, 0, 0, 0],
            [-1, -1, -2, -1, -1, -1, -1],
            [1, 1, np.nan, 4, 1, 1, 1],
            [1, 1, np.inf, 4, 1, 1, 1],
        ]
    )
    expected = ["band-pass", "low-pass", "high-pass", "all-pass", "all-pass", "", "", "", ""]
    assert band(curves).values.tolist() == expected
    has_low, has_high = (
        np.isin(expected, ["band-pass", "high-pass"]),
        np.isin(expected, ["band-pass", "low-pass"]),
    )
    np.testing.assert_array_equal(np.isfinite(low_cut(curves)), has_low)
    np.testing.assert_array_equal(np.isfinite(high_cut(curves)), has_high)
    for measure in (bandwidth, schiller_bandwidth):
        np.testing.assert_array_equal(np.isfinite(measure(curves)), has_low & has_high)
    assert high_cut(curves)[1].item() == 2.0
    assert low_cut(curves)[2].item() == 2.0


def test_the_level_decides_what_passes() -> None:
    curve = frequencies([3.0, 3, 3, 4, 3, 3, 1])
    assert [band(curve, level=level).item() for level in (0.2, 0.5, 0.8)] == [
        *("all-pass", "low-pass", "band-pass")
    ]


def test_responses_above_the_blank_may_be_negative_away_from_the_peak() -> None:
    curve = frequencies([0, -1, 0, 2, 0, -1, 0])
    assert low_cut(curve).item() == pytest.approx(2**0.5, rel=4 * EPS)
    assert high_cut(curve).item() == pytest.approx(2**1.5, rel=4 * EPS)


# Laws.


@given(
    responses=st.lists(st.integers(-3, 9), min_size=2, max_size=12),
    octaves=st.lists(st.floats(0.1, 2), min_size=12, max_size=12),
    level=st.floats(0.05, 0.95),
)
@settings(max_examples=100, deadline=None)
def test_cuts_are_those_of_a_walk_from_the_peak(
    responses: list[int], octaves: list[float], level: float
) -> None:
    axis = 2.0 ** np.cumsum(octaves[: len(responses)])
    curve = frequencies(np.array(responses, float), axis)
    peak = responses.index(max(responses))

    def walk(step: int) -> float:
        threshold, i = level * max(responses), peak
        if threshold <= 0:
            return np.nan
        while 0 <= i + step < len(responses):
            if responses[i + step] <= threshold:
                share = (responses[i] - threshold) / (responses[i] - responses[i + step])
                return float(axis[i] * (axis[i + step] / axis[i]) ** share)
            i += step
        return np.nan

    assert low_cut(curve, level=level).item() == pytest.approx(walk(-1), rel=1e-12, nan_ok=True)
    assert high_cut(curve, level=level).item() == pytest.approx(walk(1), rel=1e-12, nan_ok=True)


@given(gain=st.integers(-20, 20), shift=st.integers(-3, 3), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_widths_ignore_gain_and_the_scale_of_frequency(gain: int, shift: int, seed: int) -> None:
    values = np.random.default_rng(seed).gamma(0.5, size=(6, 7))
    original = frequencies(values)
    changed = frequencies(2.0**gain * values, 2.0**shift * FREQUENCIES)
    np.testing.assert_array_equal(band(changed), band(original))
    for measure in (bandwidth, schiller_bandwidth):
        np.testing.assert_allclose(measure(changed), measure(original), rtol=1e-12, atol=1e-12)
    for measure in (low_cut, high_cut):
        np.testing.assert_allclose(measure(changed), 2.0**shift * measure(original), rtol=1e-12)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_the_mirrored_curve_has_its_cuts_exchanged(seed: int) -> None:
    values = np.random.default_rng(seed).permutation(1.0 + np.arange(7))  # no two alike
    curve, mirrored = frequencies(values), frequencies(values[::-1], 1 / FREQUENCIES[::-1])
    np.testing.assert_allclose(low_cut(mirrored), 1 / high_cut(curve), rtol=1e-12)
    np.testing.assert_allclose(bandwidth(mirrored), bandwidth(curve), rtol=1e-12)


def test_many_curves_are_measured_as_each_is_alone_whatever_the_order_of_dimensions() -> None:
    values = np.random.default_rng(9).gamma(0.5, size=(4, 3, 7))
    curves = frequencies(values)
    for measure in (*MEASURES, band):
        together = measure(curves)
        assert together.dims == ("unit", "contrast")
        xr.testing.assert_identical(measure(curves.transpose("spatial_frequency", ...)), together)
        for i in range(4):
            for j in range(3):
                alone = measure(frequencies(values[i, j]))
                np.testing.assert_array_equal(together[i, j], alone)


def test_what_each_measure_is_in_is_said() -> None:
    curve = frequencies([0, 0, 1, 2, 1, 0, 0])
    units = [measure(curve).attrs["units"] for measure in MEASURES]
    assert units == ["octave", "percent", "cycles degree-1", "cycles degree-1"]
    assert "0.707" in schiller_bandwidth(curve).attrs["long_name"]


# Refusals.


@pytest.mark.parametrize(
    "axis", [[0.0, 1.0, 2.0], [1.0, 4.0, 2.0], [1.0, 1.0, 2.0], [-1.0, 1.0, 2.0], [2.0]]
)
def test_frequencies_that_do_not_rise_from_above_0_are_refused(axis: list[float]) -> None:
    curve = frequencies(np.ones(len(axis)), np.array(axis))
    for measure in (*MEASURES, band):
        with pytest.raises(
            ValueError, match=r"spatial_frequency=\[.*\] does not rise from above 0"
        ):
            measure(curve)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 2.0, np.nan])
def test_a_level_that_is_not_between_0_and_1_is_refused(level: float) -> None:
    for measure in (*MEASURES, band):
        with pytest.raises(ValueError, match=f"level={level} is not between 0 and 1"):
            measure(frequencies(np.ones(7)), level=level)


# Dask arrays.


@pytest.mark.parametrize("measure", [*MEASURES, band])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_measures_of_a_dask_array_are_dask_arrays_of_the_same_values(
    measure: Any, dtype: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("computed")

    values = (8 * np.random.default_rng(3).gamma(0.5, size=(5, 3, 7))).astype(dtype)
    values[1] = 0
    if dtype != "int64":
        values[3, 1, 1] = np.nan
    curves = frequencies(values).transpose("spatial_frequency", "contrast", "unit")
    with dask.config.set(scheduler=refuse):
        lazy = measure(curves.chunk(unit=2, spatial_frequency=3))
    eager = measure(curves)
    assert lazy.chunks is not None
    assert lazy.dtype == eager.dtype
    xr.testing.assert_identical(lazy.compute(), eager)
