"""Fits of tuning curves: planted units, closed forms, scipy, and what is undefined or refused."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import xarray as xr
from dask.base import is_dask_collection
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit
from scipy.special import erf

from ephys import tuning
from ephys.curve_fits import (
    evaluate,
    fit_difference_of_gaussians,
    fit_log_gaussian,
    fit_naka_rushton,
    fit_normalization,
    fit_ratio_of_gaussians,
    fit_supersaturating,
    fit_von_mises,
)

ORIENTATIONS = np.arange(16) * 180 / 16
DIRECTIONS = np.arange(24) * 15.0
FREQUENCIES = 2 ** np.linspace(-2, 4, 13)
CONTRASTS = np.array([0, 0.01, 0.02, 0.04, 0.08, 0.12, 0.2, 0.3, 0.45, 0.65, 0.85, 1])
DIAMETERS = np.geomspace(0.2, 10, 14)
PLAID = np.array([0, 0.06, 0.12, 0.25, 0.5, 1])
FLAGS = ("converged", "at_bound", "extrapolated")
# Of planted units the fit may miss the squared deviations by 1e-10 of them, so the curve by 1e-5,
# and a parameter by that over its effect on the curve, which is above 1/100 in what is planted.
PLANTED = 1e-3
# A fit may stop with a fall of the squared residuals by 1e-10 left for each of some steps.
SAME = 1e-8


def von_mises(
    x: np.ndarray,
    preferred: np.ndarray,
    kappa: np.ndarray,
    amplitude: np.ndarray,
    baseline: np.ndarray,
) -> np.ndarray:
    return baseline + amplitude * np.exp(kappa * (np.cos(2 * np.deg2rad(x - preferred)) - 1))


def two_lobes(
    x: np.ndarray,
    preferred: np.ndarray,
    kappa: np.ndarray,
    amplitude: np.ndarray,
    amplitude_null: np.ndarray,
    baseline: np.ndarray,
) -> np.ndarray:
    cosine = np.cos(np.deg2rad(x - preferred))
    lobes = amplitude * np.exp(kappa * (cosine - 1)) + amplitude_null * np.exp(
        -kappa * (cosine + 1)
    )
    return baseline + lobes


def log_gaussian(
    x: np.ndarray, preferred: np.ndarray, bandwidth: np.ndarray, amplitude: np.ndarray
) -> np.ndarray:
    return amplitude * 0.5 ** ((2 * np.log2(x / preferred) / bandwidth) ** 2)


def log_gaussian_on_baseline(
    x: np.ndarray,
    preferred: np.ndarray,
    bandwidth: np.ndarray,
    amplitude: np.ndarray,
    baseline: np.ndarray,
) -> np.ndarray:
    return log_gaussian(x, preferred, bandwidth, amplitude) + baseline


def naka_rushton(
    x: np.ndarray,
    c50: np.ndarray,
    exponent: np.ndarray,
    r_max: np.ndarray,
    baseline: np.ndarray,
) -> np.ndarray:
    return r_max * x**exponent / (c50**exponent + x**exponent) + baseline


def supersaturating(
    x: np.ndarray,
    c50: np.ndarray,
    exponent: np.ndarray,
    saturation: np.ndarray,
    r_max: np.ndarray,
    baseline: np.ndarray,
) -> np.ndarray:
    power = saturation * exponent
    return r_max * x**exponent / (c50**power + x**power) + baseline


def difference_of_gaussians(
    x: np.ndarray,
    center_size: np.ndarray,
    surround_size: np.ndarray,
    center_gain: np.ndarray,
    surround_gain: np.ndarray,
) -> np.ndarray:
    return center_gain * erf(x / center_size) - surround_gain * erf(x / surround_size)


def ratio_of_gaussians(
    x: np.ndarray,
    center_size: np.ndarray,
    surround_size: np.ndarray,
    center_gain: np.ndarray,
    surround_gain: np.ndarray,
    baseline: np.ndarray,
) -> np.ndarray:
    inside = 1 + surround_gain * erf(x / surround_size) ** 2
    return center_gain * erf(x / center_size) ** 2 / inside + baseline


class Family(NamedTuple):
    """A fit, a function of the points and of parameters by name, and ranges to plant these in."""

    fit: Callable[..., xr.Dataset]
    options: dict[str, Any]
    dim: str
    points: np.ndarray
    function: Callable[..., np.ndarray]
    ranges: dict[str, tuple[float, float]]


SURROUND = {"center_size": (0.5, 2.0), "surround_size": (4.0, 7.0), "center_gain": (0.5, 2.0)}
FAMILIES = {
    "orientation": Family(
        *(fit_von_mises, {}, "orientation", ORIENTATIONS, von_mises),
        {"preferred": (20, 160), "kappa": (0.4, 11), "amplitude": (0.5, 2), "baseline": (-1, 1)},
    ),
    "direction": Family(
        *(fit_von_mises, {"lobes": 2, "period": 360.0}, "direction", DIRECTIONS, two_lobes),
        {"preferred": (20, 340), "kappa": (1, 15), "amplitude": (1, 2)}
        | {"amplitude_null": (0.1, 0.9), "baseline": (-1, 1)},
    ),
    "spatial frequency": Family(
        *(fit_log_gaussian, {}, "spatial_frequency", FREQUENCIES, log_gaussian),
        {"preferred": (0.5, 8), "bandwidth": (0.8, 3), "amplitude": (0.5, 2)},
    ),
    "spatial frequency on a baseline": Family(
        *(fit_log_gaussian, {"baseline": True}, "spatial_frequency", FREQUENCIES),
        log_gaussian_on_baseline,
        {"preferred": (0.5, 8), "bandwidth": (0.8, 3), "amplitude": (0.5, 2), "baseline": (-1, 1)},
    ),
    "contrast": Family(
        *(fit_naka_rushton, {}, "contrast", CONTRASTS, naka_rushton),
        {"c50": (0.05, 0.6), "exponent": (1, 5), "r_max": (-2, -0.5), "baseline": (0, 0.5)},
    ),
    "supersaturation": Family(
        *(fit_supersaturating, {}, "contrast", CONTRASTS, supersaturating),
        {"c50": (0.1, 0.4), "exponent": (1, 3), "saturation": (1.1, 1.5)}
        | {"r_max": (0.5, 2), "baseline": (0, 0.5)},
    ),
    "difference of Gaussians": Family(
        *(fit_difference_of_gaussians, {}, "diameter", DIAMETERS, difference_of_gaussians),
        SURROUND | {"surround_gain": (0.1, 0.4)},
    ),
    "ratio of Gaussians": Family(
        *(fit_ratio_of_gaussians, {"baseline": True}, "diameter", DIAMETERS, ratio_of_gaussians),
        SURROUND | {"surround_gain": (0.3, 3), "baseline": (-0.5, 0.5)},
    ),
}
ORIENTED = FAMILIES["orientation"]
every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())


def plant(family: Family, units: int = 100, noise: float = 0.0) -> tuple[xr.DataArray, np.ndarray]:
    """Curves of units, and the parameters (parameter, unit) that they were drawn from."""
    rng = np.random.default_rng(5)
    truth = np.array([rng.uniform(*ends, units) for ends in family.ranges.values()])
    clean = family.function(family.points, *truth[..., None])
    return label(clean + noise * rng.normal(size=clean.shape), family), truth


def label(values: np.ndarray, family: Family) -> xr.DataArray:
    coordinate = (family.dim, family.points, {"units": "the dimension's"})
    dims = ("unit", "repeat")[: np.ndim(values) - 1]
    return xr.DataArray(values, {family.dim: coordinate}, (*dims, family.dim))


def fit(family: Family, curves: xr.DataArray) -> xr.Dataset:
    return family.fit(curves, family.dim, **family.options)


def one(values: np.ndarray, family: str) -> xr.Dataset:
    return fit(FAMILIES[family], label(values, FAMILIES[family]))


def nothing(found: xr.Dataset) -> bool:
    """Whether everything is NaN and no flag is set."""
    return all(
        not values.any() if name in FLAGS else bool(np.isnan(values).all())
        for name, values in found.items()
    )


# Planted units.


@every_family
def test_planted_parameters_are_recovered(family: Family) -> None:
    curves, truth = plant(family)
    found = fit(family, curves)
    assert found["converged"].all()
    assert not found["at_bound"].any()
    for name, planted in zip(family.ranges, truth, strict=True):
        np.testing.assert_allclose(found[name], planted, PLANTED, PLANTED, err_msg=name)
    np.testing.assert_allclose(found["r_squared"], 1, rtol=0, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    half_width=st.floats(10, 60),
    preferred=st.floats(0, 180, exclude_max=True),
    size=st.floats(1e-6, 1e6),
    baseline=st.floats(-3, 3),
    count=st.integers(12, 40),
)
def test_half_widths_are_found_to_half_a_degree(
    half_width: float, preferred: float, size: float, baseline: float, count: int
) -> None:
    angles = np.arange(count) * 180 / count
    kappa = np.log(2) / (1 - np.cos(2 * np.deg2rad(half_width)))
    one = np.ones(1)
    curve = von_mises(angles, preferred * one, kappa * one, size * one, baseline * size * one)
    found = fit_von_mises(xr.DataArray(curve, {"orientation": angles}, ("orientation",)))
    assert found["half_width"].item() == pytest.approx(half_width, abs=0.5)
    off = (found["preferred"].item() - preferred + 90) % 180 - 90
    assert off == pytest.approx(0, abs=0.5)
    assert 0 <= found["preferred"].item() < 180


@settings(max_examples=40, deadline=None)
@given(
    c50=st.floats(0.03, 0.8),
    exponent=st.floats(0.7, 6),
    r_max=st.floats(0.01, 100),
    baseline=st.floats(-2, 2),
)
def test_c50_and_exponent_are_found_to_2_percent(
    c50: float, exponent: float, r_max: float, baseline: float
) -> None:
    parameters = (np.ones(1) * v for v in (c50, exponent, r_max, baseline * r_max))
    found = one(naka_rushton(CONTRASTS, *parameters), "contrast")
    assert found["c50"].item() == pytest.approx(c50, rel=0.02)
    assert found["exponent"].item() == pytest.approx(exponent, rel=0.02)
    assert not found["extrapolated"]


def test_a_table_of_plaids_gives_back_the_normalization_it_was_made_by() -> None:
    rng = np.random.default_rng(2)
    drive, mask, c50, n, baseline = (
        rng.uniform(low, high, (50, 1, 1))
        for low, high in ((0.5, 2), (-0.3, 1), (0.05, 0.5), (1, 3.5), (0, 0.3))
    )
    c, m = PLAID[:, None], PLAID[None]
    pool = c50**n + np.sqrt(c**2 + m**2) ** n
    table = xr.DataArray(
        (drive * c**n + mask * m**n) / pool + baseline,
        {"contrast": PLAID, "mask_contrast": PLAID},
        ("unit", "contrast", "mask_contrast"),
    )
    found = fit_normalization(table)
    planted = {"r_max": drive, "r_max_mask": mask, "c50": c50, "exponent": n, "baseline": baseline}
    for name, values in planted.items():
        np.testing.assert_allclose(found[name], values.ravel(), PLANTED, PLANTED, err_msg=name)
    # Either order of the dimensions; and of one grating alone it is the hyperbolic ratio.
    turned = fit_normalization(table.transpose("mask_contrast", "unit", "contrast"))
    xr.testing.assert_allclose(turned, found, rtol=1e-6)
    other = fit_normalization(table, ("mask_contrast", "contrast"))
    np.testing.assert_allclose(other["r_max_mask"], found["r_max"], rtol=PLANTED)
    alone = fit_naka_rushton(table.sel(mask_contrast=0))
    np.testing.assert_allclose(alone["c50"], c50.ravel(), rtol=PLANTED)


# Other people's fits.


@every_family
@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_residuals_are_as_low_as_scipys(family: Family, noise: float) -> None:
    """Where neither is held by a bound; scipy starts from the truth."""
    curves, truth = plant(family, 25, noise)
    found = fit(family, curves)
    compared = 0
    for unit, curve in enumerate(curves.values):
        if found["at_bound"][unit]:
            continue
        try:
            with np.errstate(all="ignore"):
                p, _ = curve_fit(
                    family.function, family.points, curve, truth[:, unit], maxfev=10_000
                )
        except RuntimeError:
            continue
        inside = {"amplitude", "amplitude_null", "center_gain", "surround_gain"}
        if any(v < 0 for name, v in zip(family.ranges, p, strict=True) if name in inside):
            continue
        theirs = ((family.function(family.points, *p) - curve) ** 2).sum()
        total = ((curve - curve.mean()) ** 2).sum()
        within = fits_bounds(family, p)
        assert found["sse"][unit] <= theirs + SAME * total or not within
        compared += within
    assert compared >= 12


def fits_bounds(family: Family, p: np.ndarray) -> bool:
    """Whether what scipy found, which knows no bounds, is where the fits look at all."""
    value = dict(zip(family.ranges, p, strict=True))
    limits = {
        "kappa": (0.1, 100.0),
        "bandwidth": (0.25, 24.0),
        "c50": (0.001, 10.0),
        "exponent": (0.1, 20.0),
        "saturation": (0.5, 4.0),
        "center_size": (0.05, 20.0),
    }
    inside = all(low <= value[k] <= high for k, (low, high) in limits.items() if k in value)
    if "spatial_frequency" in family.dim:
        inside &= FREQUENCIES.min() <= value["preferred"] <= FREQUENCIES.max()
    if "surround_size" in value:
        inside &= 1.1 <= value["surround_size"] / value["center_size"] <= 32
    return bool(inside)


@every_family
def test_what_is_reported_is_the_curve_with_the_residual_that_is_reported(family: Family) -> None:
    curves, _ = plant(family, 40, noise=0.2)
    found = fit(family, curves)
    drawn = family.function(family.points, *(found[name].values[:, None] for name in family.ranges))
    whole = np.isfinite(drawn).all(1)
    assert whole.mean() > 0.5
    residual = ((drawn - curves.values) ** 2).sum(1)
    np.testing.assert_allclose(found["sse"][whole], residual[whole], rtol=1e-6)
    total = ((curves - curves.mean(family.dim)) ** 2).sum(family.dim)
    np.testing.assert_allclose(found["r_squared"], 1 - found["sse"] / total, rtol=0, atol=1e-12)


@every_family
@pytest.mark.parametrize("noise", [0.0, 0.2, 5.0])
def test_a_fit_is_evaluated_to_the_curve_whose_residual_it_reports(
    family: Family, noise: float
) -> None:
    """Also where a gain is 0 and a bound was met, so that parameters are NaN."""
    curves, _ = plant(family, 60, noise)
    found = fit(family, curves)
    drawn = evaluate(found, family.points)
    assert drawn.dims == curves.dims
    np.testing.assert_array_equal(drawn[family.dim], family.points)
    total = ((curves - curves.mean(family.dim)) ** 2).sum(family.dim)
    r_squared = 1 - ((drawn - curves) ** 2).sum(family.dim, skipna=False) / total
    if family.fit is fit_ratio_of_gaussians:  # without a surround it was divided by up to 1.001
        r_squared = r_squared.where(found["surround_size"].notnull(), found["r_squared"])
        assert found["surround_size"].notnull().mean() > 0.5
    np.testing.assert_allclose(r_squared, found["r_squared"], rtol=0, atol=1e-9)


def test_a_fit_is_evaluated_between_the_points_and_at_0() -> None:
    alone = np.array([0.0, 0.05, 0.3, 0.7])
    for function, fit_to, extra in (
        (naka_rushton, fit_naka_rushton, {}),
        (supersaturating, fit_supersaturating, {"saturation": 1.4}),
    ):
        shape = {"c50": 0.3, "exponent": 2.5, **extra, "r_max": -2.0, "baseline": 0.4}
        planted = {name: np.array(value) for name, value in shape.items()}
        curve = xr.DataArray(function(CONTRASTS, **planted), {"contrast": CONTRASTS}, ("contrast",))
        drawn = evaluate(fit_to(curve), alone)
        np.testing.assert_allclose(drawn, function(alone, **planted), atol=PLANTED)
    tuned = log_gaussian(FREQUENCIES, *(np.array(value) for value in (2.0, 1.5, 3.0)))
    fitted = fit_log_gaussian(label(tuned, FAMILIES["spatial frequency"]))
    drawn = evaluate(fitted, [0.0, 2.0, 2 * 2**0.75])
    np.testing.assert_allclose(drawn, [0, 3, 1.5], atol=PLANTED)
    bump = von_mises(ORIENTATIONS, *(np.array(value) for value in (50.0, 2.0, 1.0, 0.0)))
    curves = label(np.stack([bump, 0 * bump]), ORIENTED)
    drawn = evaluate(fit_von_mises(curves).isel(unit=[1, 0]), [50.0, 230.0])
    np.testing.assert_allclose(drawn, np.array([[np.nan] * 2, [1, 1]]), atol=PLANTED)


def test_the_normalization_model_is_evaluated_at_all_pairs_of_contrasts() -> None:
    rng = np.random.default_rng(12)
    table = xr.DataArray(
        rng.gamma(2.0, size=(5, 6, 6)),
        {"contrast": PLAID, "mask_contrast": PLAID},
        ("unit", "contrast", "mask_contrast"),
    )
    found = fit_normalization(table)
    drawn = evaluate(found, PLAID, PLAID)
    assert drawn.dims == table.dims
    both = ("contrast", "mask_contrast")
    total = ((table - table.mean(both)) ** 2).sum(both)
    r_squared = 1 - ((drawn - table) ** 2).sum(both) / total
    np.testing.assert_allclose(r_squared, found["r_squared"], rtol=0, atol=1e-9)


def test_what_is_no_fit_cannot_be_evaluated() -> None:
    curves, _ = plant(ORIENTED, 2)
    found = fit(ORIENTED, curves)
    with pytest.raises(ValueError, match=r"points of 2 dimensions, but the fit is along orient"):
        evaluate(found, ORIENTATIONS, ORIENTATIONS)
    with pytest.raises(KeyError, match=r"function=None of the fit is none of von_mises, .* keep"):
        evaluate(found.drop_attrs(), ORIENTATIONS)


# What the measures mean.


@pytest.mark.parametrize("kappa", [0.4, 1.0, 6.0])
def test_half_widths_are_where_the_lobe_has_fallen_so_far(kappa: float) -> None:
    found = one(von_mises(ORIENTATIONS, *np.array([[70.0], [kappa], [2.0], [-0.5]])), "orientation")
    for name, level in (("half_width", 0.5), ("half_width_0707", np.sqrt(0.5))):
        at = np.exp(kappa * (np.cos(2 * np.deg2rad(found[name].item())) - 1))
        assert at == pytest.approx(level, rel=PLANTED)


def test_of_a_curve_without_a_baseline_both_half_widths_of_the_package_agree() -> None:
    angles = np.arange(180.0)
    curve = von_mises(angles, *np.array([[70.0], [3.0], [2.0], [0.0]]))
    labelled = xr.DataArray(curve, {"orientation": angles}, ("orientation",))
    measured = tuning.half_width(labelled).item()
    # Between splines through every degree, the crossing is read off a straight line.
    assert fit_von_mises(labelled)["half_width"].item() == pytest.approx(measured, abs=0.01)


def test_a_lobe_that_never_falls_so_far_has_no_width() -> None:
    curves = von_mises(ORIENTATIONS, *np.array([[70.0], [1.0], [1.0], [0.0]]))
    kappas = np.array([[0.2], [0.5]])  # half needs ln(2) / 2 = 0.347, 0.707 needs 0.173
    curves = np.exp(kappas * (np.cos(2 * np.deg2rad(ORIENTATIONS - 30)) - 1))
    found = one(curves, "orientation")
    assert found["half_width"].isnull().values.tolist() == [True, False]
    assert np.isfinite(found["half_width_0707"]).all()
    np.testing.assert_allclose(found["kappa"], kappas[:, 0], rtol=PLANTED)


def test_a_cosine_ends_at_the_bound_of_kappa_and_says_so() -> None:
    found = one(np.cos(2 * np.deg2rad(ORIENTATIONS - 33)), "orientation")
    assert found["at_bound"]
    assert found["kappa"].item() == pytest.approx(0.1)
    assert found["preferred"].item() == pytest.approx(33, abs=0.1)
    assert found["r_squared"] > 0.999


def test_the_larger_lobe_is_preferred_and_one_lobe_alone_is_no_bound() -> None:
    family = FAMILIES["direction"]
    p = np.array([[40.0, 40.0], [4, 4], [0.5, 2], [1.5, 0], [0.1, 0.1]])
    found = fit(family, label(two_lobes(DIRECTIONS, *p[..., None]), family))
    np.testing.assert_allclose(found["preferred"], [220, 40], atol=0.1)
    np.testing.assert_allclose(found["amplitude"], [1.5, 2], rtol=PLANTED)
    np.testing.assert_allclose(found["amplitude_null"], [0.5, 0], atol=PLANTED)
    np.testing.assert_allclose(found["direction_index"], [0.5, 1], atol=PLANTED)
    assert not found["at_bound"].any()


def test_cuts_are_where_half_the_amplitude_is_left_and_only_where_that_was_shown() -> None:
    p = np.array([[2.0, 0.3, 14.0], [1.5, 2.0, 2.0], [3.0, 3.0, 3.0]])
    found = one(log_gaussian(FREQUENCIES, *p[..., None]), "spatial frequency")
    low, high = 2.0 * 2 ** np.array([-0.75, 0.75])
    assert found["low_cut"][0].item() == pytest.approx(low, rel=PLANTED)
    assert found["high_cut"][0].item() == pytest.approx(high, rel=PLANTED)
    assert found["low_cut"].isnull().values.tolist() == [False, True, False]
    assert found["high_cut"].isnull().values.tolist() == [False, False, True]
    assert not found["at_bound"].any()


def test_a_low_pass_curve_prefers_the_lowest_frequency_at_the_bound() -> None:
    p = np.array([[1 / 16], [4.0], [1.0]])  # it peaks two octaves below
    found = one(log_gaussian(FREQUENCIES, *p), "spatial frequency")
    assert found["preferred"].item() == FREQUENCIES.min()
    assert found["at_bound"]
    assert np.isnan(found["low_cut"])


def test_a_frequency_of_0_is_left_out() -> None:
    family = FAMILIES["spatial frequency"]
    curves, _ = plant(family, 10, noise=0.1)
    uniform = xr.full_like(curves.isel(spatial_frequency=[0]), 7.0)
    uniform = uniform.assign_coords(spatial_frequency=[0.0])
    with_zero = xr.concat([uniform, curves], "spatial_frequency")
    xr.testing.assert_equal(fit(family, with_zero), fit(family, curves))


def test_c50_beyond_what_was_shown_is_called_an_extrapolation() -> None:
    family = FAMILIES["contrast"]
    shown = np.geomspace(0.02, 0.5, 12)
    p = np.array([[0.8, 0.3], [2.0, 2.0], [1.0, 1.0], [0.0, 0.0]])
    curves = xr.DataArray(
        naka_rushton(shown, *p[..., None]), {"contrast": shown}, ("unit", "contrast")
    )
    found = fit(family, curves)
    assert found["extrapolated"].values.tolist() == [True, False]
    assert found["extrapolated"].dtype == bool
    np.testing.assert_allclose(found["c50"], p[0], rtol=PLANTED)


def test_the_contrast_of_the_peak_is_that_of_the_curve() -> None:
    p = np.array([[0.2, 0.2, 0.6], [2.0, 2.0, 2.0], [1.4, 1.0, 1.1], [1.0] * 3, [0.0] * 3])
    found = one(supersaturating(CONTRASTS, *p[..., None]), "supersaturation")
    fine = np.linspace(0.001, 1, 10_000)
    peak = fine[supersaturating(fine, *p[:, :1]).argmax()]
    assert found["peak_contrast"][0].item() == pytest.approx(peak, abs=0.002)
    assert found["peak_contrast"].isnull().values.tolist() == [False, True, True]
    plain = one(supersaturating(CONTRASTS, *p[..., None]), "contrast")
    assert found["saturation"][1].item() == pytest.approx(1, abs=PLANTED)
    assert found["c50"][1].item() == pytest.approx(plain["c50"][1].item(), rel=PLANTED)


def test_contrasts_so_low_that_their_powers_overflow_are_fitted_as_well() -> None:
    shown = np.append(0, np.geomspace(1e-9, 1, 15))
    p = np.array([[0.01], [1.5], [1.2], [1.0], [0.0]])
    curve = xr.DataArray(supersaturating(shown, *p), {"contrast": shown}, ("contrast",))
    found = fit_supersaturating(curve)
    assert found["c50"].item() == pytest.approx(0.01, rel=PLANTED)
    assert found["saturation"].item() == pytest.approx(1.2, rel=PLANTED)


@pytest.mark.parametrize("name", ["difference of Gaussians", "ratio of Gaussians"])
def test_suppression_and_summation_are_those_of_the_fitted_curve(name: str) -> None:
    family = FAMILIES[name]
    curves, truth = plant(family, 30)
    found = fit(family, curves)
    fine = np.linspace(0, DIAMETERS.max(), 20_001)
    drawn = family.function(fine, *truth[..., None])
    drawn = drawn - drawn[:, :1]  # from the baseline
    peak = drawn.max(1)
    np.testing.assert_allclose(
        found["suppression_index"], (peak - drawn[:, -1]) / peak, atol=PLANTED
    )
    summation = fine[(drawn >= 0.95 * peak[:, None]).argmax(1)]
    # A curve off by 1e-5 crosses where it has grown by so much; it grows by 5 % over a tenth.
    np.testing.assert_allclose(found["summation_field"], summation, rtol=PLANTED, atol=0.001)


def test_without_a_surround_there_is_no_size_of_it_and_no_suppression() -> None:
    curve = 2 * erf(DIAMETERS / 1.5)
    found = one(curve, "difference of Gaussians")
    assert found["center_size"].item() == pytest.approx(1.5, rel=PLANTED)
    assert found["surround_gain"].item() == pytest.approx(0, abs=PLANTED)
    assert found["suppression_index"].item() == pytest.approx(0, abs=PLANTED)
    found = one(curve**2, "ratio of Gaussians")
    assert found["suppression_index"].item() == pytest.approx(0, abs=2 * PLANTED)


@pytest.mark.parametrize("name", ["difference of Gaussians", "ratio of Gaussians"])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_unit_without_a_surround_is_at_no_bound(name: str, noise: float) -> None:
    """Its suppression, of next to nothing, counts in a mean over units without those at one."""
    rng = np.random.default_rng(0)
    response = erf(DIAMETERS / rng.uniform(0.5, 3, (100, 1)))
    response = response ** (2 if name == "ratio of Gaussians" else 1)
    found = one(response + noise * rng.normal(size=response.shape), name)
    none = found["surround_size"].isnull()
    assert none.sum() > 5
    assert not found["at_bound"][none].any()
    # A center alone never falls; divided by at most 1.001 it falls by less than a thousandth.
    assert (found["suppression_index"][none] < 0.001).all()


# Laws.


@settings(max_examples=25, deadline=None)
@given(factor=st.floats(1e-3, 1e3), shift=st.floats(-5, 5), seed=st.integers(0, 100))
def test_a_curve_that_is_scaled_and_shifted_keeps_its_shape(
    factor: float, shift: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    clean = von_mises(ORIENTATIONS, *np.array([[70.0], [2.0], [1.0], [0.2]]))
    curve = clean + 0.1 * rng.normal(size=ORIENTATIONS.shape)
    plain, changed = one(curve, "orientation"), one(factor * (curve + shift), "orientation")
    assert changed["preferred"].item() == pytest.approx(plain["preferred"].item(), abs=0.01)
    assert changed["kappa"].item() == pytest.approx(plain["kappa"].item(), rel=1e-3)
    assert changed["amplitude"].item() == pytest.approx(factor * plain["amplitude"].item(), 1e-3)
    assert changed["r_squared"].item() == pytest.approx(plain["r_squared"].item(), abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(turns=st.integers(0, 15), seed=st.integers(0, 100))
def test_a_turned_curve_prefers_what_was_turned_to(turns: int, seed: int) -> None:
    curve = np.random.default_rng(seed).normal(size=ORIENTATIONS.shape)
    plain, turned = one(curve, "orientation"), one(np.roll(curve, turns), "orientation")
    np.testing.assert_allclose(turned["sse"], plain["sse"], rtol=1e-6)


@every_family
def test_points_that_are_not_finite_are_left_out(family: Family) -> None:
    curves, _ = plant(family, 10, noise=0.05)
    gaps = curves.copy()
    gaps[{family.dim: [3, 7]}] = [np.nan, np.inf]
    found, expected = fit(family, gaps), fit(family, curves.drop_isel({family.dim: [3, 7]}))
    inner = ~(found["at_bound"] | expected["at_bound"])
    assert inner.any()
    np.testing.assert_allclose(found["sse"][inner], expected["sse"][inner], rtol=1e-6)


# Labels and laziness.


@every_family
def test_a_dask_array_stays_lazy_and_gives_the_same(family: Family) -> None:
    curves, _ = plant(family, 9, noise=0.1)
    curves[2] = np.nan
    curves[4] = 1.0
    lazy = fit(family, curves.chunk({"unit": 4, family.dim: 5}))
    assert all(is_dask_collection(values.data) for values in lazy.values())
    expected = fit(family, curves)
    for name, values in lazy.compute().items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-6, atol=1e-12, err_msg=str(name))
        assert values.dtype == expected[name].dtype == lazy[name].dtype
        assert values.attrs == expected[name].attrs


def test_other_dimensions_and_coordinates_stay() -> None:
    family = FAMILIES["spatial frequency"]
    curves, _ = plant(family, 12, noise=0.02)
    both = label(curves.values.reshape(4, 3, -1), family).assign_coords(
        layer=("unit", list("aabb"))
    )
    both.attrs["units"] = "spike s-1"
    found = fit(family, both.transpose(family.dim, "repeat", "unit"))
    assert found.sizes == {"repeat": 3, "unit": 4}
    assert found["layer"].values.tolist() == list("aabb")
    flat = fit(family, curves)
    np.testing.assert_array_equal(found["preferred"].T.values.ravel(), flat["preferred"])
    units = {name: values.attrs["units"] for name, values in found.items()}
    assert units["preferred"] == units["low_cut"] == "the dimension's"
    assert units["bandwidth"] == "octave"
    assert units["amplitude"] == "spike s-1"
    assert found["preferred"].attrs["long_name"] == "preferred spatial_frequency"
    assert found["converged"].dtype == bool
    assert "baseline" not in found  # which was not fitted


# What is undefined.


@every_family
def test_a_flat_silent_or_missing_curve_has_no_parameters(family: Family) -> None:
    values = np.array([[0.0], [-2.0], [np.nan]]) * np.ones(len(family.points))
    assert nothing(fit(family, label(values, family)))
    assert nothing(fit(family, label(values[:0], family)))


@every_family
def test_as_many_points_as_parameters_are_needed(family: Family) -> None:
    curves, _ = plant(family, 2)
    least = len(family.ranges)
    order = np.linspace(1, len(family.points) - 1, least).astype(int)
    few, enough = curves.copy(), curves.where(False)
    enough[{family.dim: order}] = curves[{family.dim: order}]
    few = enough.copy()
    few[{family.dim: order[2]}] = np.nan
    assert nothing(fit(family, few))
    assert np.isfinite(fit(family, enough)["sse"]).all()


@every_family
def test_noise_and_negative_curves_end_somewhere(family: Family) -> None:
    rng = np.random.default_rng(9)
    values = rng.normal(size=(60, len(family.points))) - np.repeat([0, 5], 30)[:, None]
    found = fit(family, label(values, family))
    # Where nothing is tuned, some creep on along a valley that goes nowhere, and say so.
    assert found["converged"].mean() > 0.9
    assert np.isfinite(found["sse"]).all()
    assert (found["sse"] <= (values**2).sum(1) * (1 + 1e-9)).all()  # no gain at all is allowed


def test_what_is_only_suppressed_has_no_peak() -> None:
    """Without a baseline, a curve below 0 is best described by nothing."""
    found = one(-1 - FREQUENCIES, "spatial frequency")
    assert found["amplitude"].item() == 0
    assert not found["at_bound"]
    assert np.isnan([found[n].item() for n in ("preferred", "bandwidth", "low_cut")]).all()
    assert found["r_squared"].item() < 0
    for name in ("difference of Gaussians", "ratio of Gaussians"):
        family = FAMILIES[name]
        found = family.fit(label(-1 - DIAMETERS, family), "diameter")
        assert np.isnan(found["suppression_index"])
        assert np.isnan(found["summation_field"])
        assert np.isnan(found["center_size"])
        assert not found["at_bound"]


# What is refused.


def refused(fit: Callable[..., xr.Dataset], dim: str, points: list[float], **options: Any) -> None:
    fit(xr.DataArray(np.zeros((2, len(points))), {dim: points}, ("unit", dim)), dim, **options)


def test_angles_that_are_not_one_circle_are_refused() -> None:
    with pytest.raises(ValueError, match=r"runs 0 to 345 degrees, which is not .*say period=360"):
        refused(fit_von_mises, "orientation", [*DIRECTIONS])
    with pytest.raises(ValueError, match=r"runs 0 to 180 degrees, which is not within one circle"):
        refused(fit_von_mises, "orientation", [0, 45, 90, 135, 180])
    with pytest.raises(ValueError, match=r"^lobes=3 is neither 1 nor 2"):
        refused(fit_von_mises, "orientation", [*ORIENTATIONS], lobes=3)


def test_points_without_a_place_are_refused() -> None:
    curve = xr.DataArray(np.zeros((2, 16)), dims=("unit", "orientation"))
    with pytest.raises(KeyError, match="no coordinate 'orientation'"):
        fit_von_mises(curve)
    with pytest.raises(ValueError, match=r"^orientation=nan is not in -inf to inf"):
        refused(fit_von_mises, "orientation", [0, 30, 60, 90, np.nan])


@pytest.mark.parametrize("fit", [fit_naka_rushton, fit_supersaturating])
def test_contrasts_in_percent_are_refused(fit: Callable[..., xr.Dataset]) -> None:
    with pytest.raises(ValueError, match=r"^contrast=5 is not in 0 to 1"):
        refused(fit, "contrast", [0, 1, 5, 10, 50, 100])


def test_points_below_0_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^spatial_frequency=-1 is not in 0 to inf"):
        refused(fit_log_gaussian, "spatial_frequency", [-1, 1, 2, 4])
    for fit in (fit_difference_of_gaussians, fit_ratio_of_gaussians):
        with pytest.raises(ValueError, match=r"^diameter=-1 is not in 0 to inf"):
            refused(fit, "diameter", [-1, 1, 2, 4])


@pytest.mark.parametrize(
    ("fit", "dim", "points", "options"),
    [
        (fit_von_mises, "orientation", [0, 60, 120], {}),
        (
            fit_von_mises,
            "direction",
            [0, 90, 180, 270],
            {"lobes": 2, "period": 360.0},
        ),
        (fit_log_gaussian, "spatial_frequency", [0, 1, 2], {}),
        (fit_log_gaussian, "spatial_frequency", [1, 2, 4], {"baseline": True}),
        (fit_naka_rushton, "contrast", [0, 0.5, 1], {}),
        (fit_supersaturating, "contrast", [0, 0.2, 0.5, 1], {}),
        (fit_difference_of_gaussians, "diameter", [0, 1, 2, 4], {}),
        (fit_ratio_of_gaussians, "diameter", [1, 2, 4, 8], {"baseline": True}),
    ],
)
def test_fewer_points_than_any_unit_could_be_fitted_with_are_refused(
    fit: Callable[..., xr.Dataset], dim: str, points: list[float], options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=rf"^{dim} has \d values .*\d parameters; show more"):
        refused(fit, dim, points, **options)
