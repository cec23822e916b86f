"""Hue tuning in closed form, and the three indices of color."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from ephys.color import (
    friedman_color_index,
    hue_half_width,
    hue_selectivity,
    rafegas_color_index,
    resultant_hue,
    sensitivity_ratio,
)
from ephys.selectivity import gdsi
from ephys.tuning import half_width

HUES = np.arange(36) * 10.0


def curve(values: ArrayLike, dim: str = "azimuth") -> xr.DataArray:
    """One unit's curve, or several units'."""
    values = np.atleast_2d(np.asarray(values, float))
    hues = np.arange(values.shape[1]) * 360 / values.shape[1]
    return xr.DataArray(values, {dim: hues}, ("unit", dim))


def cosine(peak: float, hues: np.ndarray = HUES) -> np.ndarray:
    return np.cos(np.deg2rad(hues - peak))


def images(*values: ArrayLike) -> xr.DataArray:
    return xr.DataArray(np.array(values, float), dims=("unit", "stimulus"))


# Hue.


@pytest.mark.parametrize("peak", [0.0, 37.0, 200.0, 359.9])
@pytest.mark.parametrize("baseline", [-3.0, 0.0, 0.5, 20.0])
def test_the_resultant_of_a_cosine_is_where_it_peaks_on_any_baseline(
    peak: float, baseline: float
) -> None:
    found = resultant_hue(curve(baseline + cosine(peak))).item()
    assert (found - peak + 180) % 360 - 180 == pytest.approx(0, abs=1e-10)
    assert 0 <= found < 360


def test_a_linear_unit_is_as_selective_as_when_it_is_rectified() -> None:
    fine = np.arange(3600) / 10
    linear = hue_selectivity(curve(cosine(77, fine))).item()
    rectified = hue_selectivity(curve(np.maximum(cosine(77, fine), 0))).item()
    assert linear == pytest.approx(np.pi / 4, rel=1e-6)  # sums for integrals, of step 0.0017
    assert rectified == pytest.approx(np.pi / 4, rel=1e-6)


@pytest.mark.parametrize(("count", "least", "most"), [(12, 0.776, 0.804), (36, 0.784, 0.787)])
def test_the_selectivity_of_a_cosine_depends_on_where_it_peaks_between_the_hues(
    count: int, least: float, most: float
) -> None:
    hues = np.arange(count) * 360 / count
    linear = curve([cosine(peak, hues) for peak in np.linspace(0, 360 / count, 41)])
    found = hue_selectivity(linear)
    np.testing.assert_allclose(found, hue_selectivity(linear.clip(min=0)), rtol=1e-9)
    np.testing.assert_allclose([found.min(), found.max()], [least, most], atol=5.1e-4)


@pytest.mark.parametrize(
    ("count", "least", "most"), [(4, 51.3, 82.5), (6, 53.5, 60), (12, 59, 60), (17, 59, 61)]
)
def test_the_half_width_of_a_rectified_cosine_is_that_of_the_spline(
    count: int, least: float, most: float
) -> None:
    hues = np.arange(count) * 360 / count
    linear = curve([cosine(peak, hues) for peak in np.linspace(0, 360 / count, 41)])
    rectified = hue_half_width(linear.clip(min=0))
    assert least - 0.1 < rectified.min()
    assert rectified.max() < most + 0.1
    if count >= 12:
        np.testing.assert_allclose(hue_half_width(linear), 60, atol=0.01)


def test_a_flat_curve_of_float32_has_no_hue() -> None:
    noise = np.random.default_rng(3).choice([-1, 0, 1], (20, 36)) * np.finfo(np.float32).eps
    flat = curve(5 * (1 + noise)).astype(np.float32)
    assert flat.values.std() > 0
    assert resultant_hue(flat).isnull().all()
    some = curve(5 * (1 + 1e-4 * cosine(70))).astype(np.float32)
    assert resultant_hue(some).item() == pytest.approx(70, abs=1)


def test_the_selectivity_of_rates_is_that_for_direction() -> None:
    rates = np.random.default_rng(7).gamma(1.0, size=(5, 36))
    found = hue_selectivity(curve(rates))
    np.testing.assert_allclose(found, gdsi(curve(rates, "direction")), rtol=1e-12)
    one = np.zeros(36)
    one[4] = 3
    assert hue_selectivity(curve(one)).item() == pytest.approx(1, rel=1e-12)
    assert resultant_hue(curve(one)).item() == pytest.approx(40, rel=1e-12)


def test_the_half_width_of_a_cosine_is_60_degrees() -> None:
    # A cubic spline of step h is right to about h^4 / 384, 2.4e-6; at 60 degrees the cosine falls
    # by 0.015 per degree, and the line between two of its points, 1 degree apart, is right to
    # 0.017^2 / 16. A kink is three steps away, of which 0.27^3 of its error is left.
    assert hue_half_width(curve(cosine(33))).item() == pytest.approx(60, abs=0.01)
    rectified = hue_half_width(curve(np.maximum(cosine(33), 0))).item()
    assert rectified == pytest.approx(60, abs=0.1)
    on_a_baseline = hue_half_width(curve(1 + cosine(33))).item()
    assert on_a_baseline == pytest.approx(90, abs=0.01)  # half of 2 is where the cosine is 0
    quarter = hue_half_width(curve(cosine(33)), level=0.25).item()
    assert quarter == pytest.approx(np.rad2deg(np.arccos(0.25)), abs=0.01)


def test_the_half_width_of_rates_is_that_of_other_curves() -> None:
    kappa = np.array([0.8, 2.0, 5.0])[:, None]
    rates = curve(np.exp(kappa * (cosine(120) - 1)))
    np.testing.assert_allclose(hue_half_width(rates), half_width(rates, "azimuth", period=360))


@pytest.mark.parametrize("first", [0, 5, 11, 20])
def test_the_width_of_a_peak_reaches_around_the_circle(first: int) -> None:
    # High at 31 hues of 36 in a row, and largest near one end of them.
    values = np.where(np.arange(36) < 31, 1.0, 0.0)
    values[2] = 1.1
    found = hue_half_width(curve(np.roll(values, first))).item()
    # Both edges are between two points, where the spline is anywhere from one to the other.
    assert 30 * 10 / 2 < found < 32 * 10 / 2


def test_what_is_not_defined_of_hue() -> None:
    flat, none, missing = np.full(36, 0.7), np.zeros(36), cosine(0)
    missing[3] = np.nan
    two_lobes, below = np.cos(2 * np.deg2rad(HUES)), -1 - 0.5 * cosine(0)
    curves = curve([flat, none, missing, two_lobes, below])
    np.testing.assert_array_equal(np.isnan(resultant_hue(curves)), [True, True, True, True, False])
    assert resultant_hue(curves)[4].item() == pytest.approx(180, abs=1e-10)
    np.testing.assert_allclose(hue_selectivity(curves), [0, np.nan, np.nan, 0, 9 / 36], atol=1e-15)
    assert np.isnan(hue_half_width(curves)[[0, 1, 2, 4]]).all()
    assert hue_half_width(curves)[3].item() == pytest.approx(30, abs=0.1)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.floats(-10, 10), min_size=12, max_size=12),
    st.integers(0, 11),
    st.floats(0.01, 100),
)
def test_turning_turns_the_hue_and_scaling_changes_nothing(
    values: list[float], turn: int, gain: float
) -> None:
    own = curve(np.array(values) + 0.123 * cosine(50, np.arange(12) * 30.0))
    other = own.copy(data=gain * np.roll(own.values, turn, axis=-1))
    hue, turned = resultant_hue(own).item(), resultant_hue(other).item()
    share = hue_selectivity(own).item()
    if share > 1e-6:  # below it, the direction is that of rounding
        assert (turned - hue - 30 * turn + 180) % 360 - 180 == pytest.approx(0, abs=1e-6)
    assert hue_selectivity(other).item() == pytest.approx(share, abs=1e-12)
    assert 0 <= share <= 1 + 1e-12


@pytest.mark.parametrize("measure", [resultant_hue, hue_selectivity, hue_half_width])
def test_half_a_circle_is_refused(measure: object) -> None:
    half = xr.DataArray(np.ones((1, 18)), {"azimuth": np.arange(18) * 10.0}, ("unit", "azimuth"))
    with pytest.raises(ValueError, match="a circle of 360 degrees"):
        measure(half)  # type: ignore[operator]
    with pytest.raises(ValueError, match="level=1 is not between 0 and 1"):
        hue_half_width(curve(cosine(0)), level=1)


# Three indices of color.

NAN = np.nan
COLOR = xr.DataArray([2.0, 1.0, 0.0, 3.0, 0.0, -1.0, NAN], dims="unit")
GREY = xr.DataArray([1.0, 4.0, 2.0, 0.0, 0.0, 2.0, 1.0], dims="unit")


def test_the_sensitivity_ratio() -> None:
    np.testing.assert_array_equal(sensitivity_ratio(COLOR, GREY), [2, 0.25, 0, NAN, NAN, 0, NAN])


def test_the_index_of_friedman() -> None:
    expected = [1 / 3, -3 / 5, -1, 1, NAN, -1, NAN]
    np.testing.assert_allclose(friedman_color_index(COLOR, GREY), expected, rtol=1e-15)
    ratio = sensitivity_ratio(COLOR, GREY)
    same = friedman_color_index(COLOR, GREY).where(ratio.notnull())
    np.testing.assert_allclose((ratio - 1) / (ratio + 1), same, rtol=1e-15)


def test_the_index_of_rafegas_and_vanrell_is_of_the_best_images_alone() -> None:
    color = images([1, 4, 0, 2], [1, 4, 0, 2], [4, 3, 2, 1], [1, 0, 0, 0])
    grey = images([9, 1, 9, 0], [9, 8, 9, 0], [4, 3, 2, 1], [0, 5, 5, 5])
    best = rafegas_color_index(color, grey, share=0.25)
    np.testing.assert_allclose(best, [1 - 1 / 4, 1 - 8 / 4, 0, 1], rtol=1e-15)
    two = rafegas_color_index(color, grey, share=0.5)
    np.testing.assert_allclose(two, [1 - 1 / 6, 1 - 8 / 6, 0, 1 - 5 / 1], rtol=1e-15)


def test_of_what_the_index_of_rafegas_and_vanrell_is_not_defined() -> None:
    color = images([0, 0], [-0.1, 1], [1, 2], [NAN, 1])
    grey = images([1, 1], [0, 0], [-1, 0], [0, 0])
    assert np.isnan(rafegas_color_index(color, grey)).all()
    with pytest.raises(ValueError, match="share=0 is not above 0"):
        rafegas_color_index(color, grey, share=0)
