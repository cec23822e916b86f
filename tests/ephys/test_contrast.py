"""Contrast invariance, of units that were planted with it and without."""

from collections.abc import Mapping
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import linregress

from ephys.contrast import LEAST_SELECTIVE, contrast_invariance
from ephys.selectivity import gosi
from ephys.tuning import half_width

EPS = np.finfo(float).eps
ORIENTATIONS = np.arange(36) * 5.0
CONTRASTS = np.array([0.02, 0.05, 0.1, 0.2, 0.5, 0.75, 0.9])


def curves(
    values: np.ndarray,
    contrasts: np.ndarray = CONTRASTS,
    orientations: np.ndarray = ORIENTATIONS,
) -> xr.DataArray:
    """Responses (unit, contrast, orientation)."""
    coordinates = {"contrast": contrasts, "orientation": orientations}
    return xr.DataArray(values, coordinates, ("unit", "contrast", "orientation"))


def von_mises(kappa: float, center: float = 40.0) -> np.ndarray:
    return np.exp(kappa * (np.cos(2 * np.deg2rad(ORIENTATIONS - center)) - 1))


def triangle(base: float, center: float, orientations: np.ndarray) -> np.ndarray:
    away = np.abs((orientations - center + 90) % 180 - 90)
    return np.maximum(1 - away / base, 0)


def scaled(gains: np.ndarray, shape: np.ndarray) -> np.ndarray:
    return gains[None, :, None] * shape


# Known units.


@given(
    exponent=st.floats(0.1, 3),
    gain=st.floats(1e-3, 1e3),
    kappa=st.floats(0.5, 6),
    center=st.floats(0, 180),
)
@settings(max_examples=30, deadline=None)
def test_a_unit_that_only_scales_with_contrast_is_invariant_in_all_but_amplitude(
    exponent: float, gain: float, kappa: float, center: float
) -> None:
    gains = gain * CONTRASTS**exponent
    measured = contrast_invariance(curves(scaled(gains, von_mises(kappa, center)))).isel(unit=0)
    # The width is below 90 degrees and rounds as a spline over its slope does (see half_width's
    # tests: 1e-10); a slope divides by the spread of 5.5 doublings.
    assert measured["width_slope"].item() == pytest.approx(0, abs=1e-10)
    assert measured["width_ratio"].item() == pytest.approx(1, abs=1e-10)
    # The index is a ratio of sums of 36 terms.
    assert measured["selectivity_slope"].item() == pytest.approx(0, abs=2 * 36 * EPS)
    index = measured["selectivity"].min().item()
    assert measured["selectivity_ratio"].item() == pytest.approx(1, abs=4 * 36 * EPS / index)
    # s_2 is rounding, eps s_1, so its square is far below the last bit of 1.
    assert measured["separability"].item() == 1
    # The exponent: log2 of up to 2^30 is rounded by 30 eps, and spread over 5.5 doublings.
    assert measured["amplitude_slope"].item() == pytest.approx(exponent, abs=30 * EPS)
    ratio = (0.9 / 0.02) ** exponent
    assert measured["amplitude_ratio"].item() == pytest.approx(ratio, rel=8 * EPS)


def test_a_unit_that_ignores_contrast_has_amplitude_slope_0_and_ratio_1() -> None:
    measured = contrast_invariance(curves(scaled(np.ones(7), von_mises(2))))
    assert measured["amplitude_slope"].item() == 0
    assert measured["amplitude_ratio"].item() == 1


@pytest.mark.parametrize("slope", [-2.5, 2.5, 5.0])
def test_a_width_that_changes_with_every_doubling_gives_its_slope(slope: float) -> None:
    """Triangles with half-widths of 25 + slope log2(contrast / 0.1) degrees, on a fine grid."""
    orientations = np.arange(0, 180, 1.25)
    contrasts = np.array([0.1, 0.2, 0.4, 0.8])
    widths = 25 + slope * np.arange(4)
    values = np.stack([triangle(2 * width, 80, orientations) for width in widths])
    measured = contrast_invariance(curves(values[None], contrasts, orientations)).isel(unit=0)
    # Half height falls on a measured point of each triangle, where the spline is exact.
    assert measured["width"].values == pytest.approx(widths, abs=1e-10)
    assert measured["width_slope"].item() == pytest.approx(slope, abs=1e-10)
    assert measured["width_ratio"].item() == pytest.approx(widths[-1] / 25, abs=1e-10)
    assert measured["amplitude_slope"].item() == 0
    assert measured["separability"].item() < 1


def test_a_selectivity_that_changes_with_every_doubling_gives_its_slope() -> None:
    # The index of 1 + d cos 2 theta is d / 2.
    contrasts = np.array([0.1, 0.2, 0.4, 0.8])
    depths = 0.1 + 0.05 * np.arange(4)
    values = 1 + depths[:, None] * np.cos(2 * np.deg2rad(ORIENTATIONS))
    measured = contrast_invariance(curves(values[None], contrasts)).isel(unit=0)
    assert measured["selectivity"].values == pytest.approx(depths / 2, abs=36 * EPS)
    assert measured["selectivity_slope"].item() == pytest.approx(0.025, abs=36 * EPS)
    assert measured["selectivity_ratio"].item() == pytest.approx(2.5, rel=2 * 36 * EPS / 0.05)
    assert np.isnan(measured["width_slope"])  # too broad for a half height, at any contrast


def test_two_equally_strong_curves_that_share_no_orientation_are_half_separable() -> None:
    # Singular values are the lengths of the two orthogonal rows.
    values = np.zeros((2, 36))
    values[0, 3], values[1, 20] = 2, 2
    two = np.array([0.1, 0.9])
    assert contrast_invariance(curves(values[None], two))["separability"].item() == 0.5
    values[1, 20] = 4  # 16 / (16 + 4)
    measured = contrast_invariance(curves(values[None], two))["separability"]
    assert measured.item() == pytest.approx(0.8, abs=4 * EPS)


@given(
    share=st.floats(0.05, 0.95),
    turn=st.integers(0, 35),
)
@settings(max_examples=30, deadline=None)
def test_separability_is_the_first_eigenvalues_share_of_the_covariance(
    share: float, turn: int
) -> None:
    """Two contrasts: the eigenvalues of a 2 x 2 matrix, from its trace and determinant."""
    first, second = von_mises(2), share * np.roll(von_mises(4), turn)
    trace = first @ first + second @ second
    determinant = (first @ first) * (second @ second) - (first @ second) ** 2
    expected = (1 + np.sqrt(1 - 4 * determinant / trace**2)) / 2
    values = np.stack([first, second])[None]
    measured = contrast_invariance(curves(values, np.array([0.1, 0.9])))["separability"].item()
    # The root loses half the digits where its argument nears 0; sqrt(eps) is 1.5e-8.
    discriminant = 1 - 4 * determinant / trace**2
    error = 100 * EPS / max(np.sqrt(abs(discriminant)), np.sqrt(EPS))
    assert measured == pytest.approx(expected, abs=error)


# Laws.


@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_neither_the_order_of_units_nor_that_of_contrasts_matters(
    data: st.DataObject,
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    values = np.stack(
        [[von_mises(rng.uniform(0.5, 6), 40) * rng.uniform(0.1, 2) for _ in CONTRASTS]] * 2
    )
    values[1] *= rng.uniform(0.1, 1, (7, 1))
    original = contrast_invariance(curves(values))
    order = data.draw(st.permutations(range(7)))
    permuted = contrast_invariance(curves(values).isel(contrast=order, unit=[1, 0]))
    permuted = permuted.isel(unit=[1, 0]).sortby("contrast")
    # Slopes are sums in another order, the singular values of a permuted matrix.
    xr.testing.assert_allclose(permuted, original, rtol=1e-12, atol=1e-12)


@given(gain=st.floats(1e-6, 1e6), turn=st.integers(0, 35))
@settings(max_examples=20, deadline=None)
def test_gain_and_rotation_change_nothing_but_the_amplitude(gain: float, turn: int) -> None:
    rng = np.random.default_rng(7177)
    values = np.stack([von_mises(kappa) * rng.uniform(0.1, 2) for kappa in rng.uniform(0.5, 6, 7)])
    original = contrast_invariance(curves(values[None]))
    changed = contrast_invariance(curves(gain * np.roll(values, turn, axis=-1)[None]))
    for name in set(original) - {"amplitude"}:
        # 1e-10 as above; the log2 of a gain of 2^20 is rounded by 20 eps.
        xr.testing.assert_allclose(changed[name], original[name], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(changed["amplitude"], gain * original["amplitude"], rtol=EPS)


def test_each_curve_is_measured_by_the_measures_of_their_own_modules() -> None:
    rng = np.random.default_rng(2468)
    values = np.stack([von_mises(kappa) for kappa in rng.uniform(0.5, 6, 14)]).reshape(2, 7, 36)
    measured = contrast_invariance(curves(values))
    xr.testing.assert_equal(measured["width"], half_width(curves(values)))
    xr.testing.assert_equal(measured["selectivity"], gosi(curves(values)))
    np.testing.assert_array_equal(measured["amplitude"], values.max(-1))


def test_slopes_are_those_of_a_regression_on_log2_contrast() -> None:
    rng = np.random.default_rng(13579)
    values = np.stack([von_mises(kappa) for kappa in rng.uniform(0.5, 6, 7)])
    values = values * rng.uniform(0.1, 2, (7, 1))
    measured = contrast_invariance(curves(values[None])).isel(unit=0)
    for name in ("width", "selectivity", "amplitude"):
        of_contrast = measured[name].values
        if name == "amplitude":
            of_contrast = np.log2(of_contrast)
        expected = linregress(np.log2(CONTRASTS), of_contrast).slope
        # Sums of 7 terms of up to 90 degrees.
        assert measured[f"{name}_slope"].item() == pytest.approx(expected, abs=7 * 90 * EPS)


def test_units_are_measured_as_each_is_alone_in_any_number_of_dimensions() -> None:
    rng = np.random.default_rng(8642)
    values = np.stack([von_mises(kappa) for kappa in rng.uniform(0.5, 6, 42)])
    many = xr.DataArray(
        values.reshape(2, 3, 7, 36),
        {"layer": ["a", "b"], "contrast": CONTRASTS, "orientation": ORIENTATIONS},
        ("layer", "unit", "contrast", "orientation"),
    )
    measured = contrast_invariance(many)
    for layer in ("a", "b"):
        for unit in range(3):
            one = many.sel(layer=layer).isel(unit=unit)
            alone = contrast_invariance(one)
            # The same arithmetic, but for the order of LAPACK's and of numpy's sums.
            xr.testing.assert_allclose(
                measured.sel(layer=layer).isel(unit=unit), alone, rtol=1e-13, atol=1e-13
            )
    turned = contrast_invariance(many.transpose("orientation", "contrast", ...))
    turned = turned.transpose(*measured["width"].dims)
    xr.testing.assert_allclose(turned, measured, rtol=1e-13, atol=1e-13)


def test_what_each_measure_is_in_is_said() -> None:
    measured = contrast_invariance(curves(scaled(CONTRASTS, von_mises(2))))
    assert {name: measured[name].attrs["units"] for name in measured} == {
        "width": "degree",
        "selectivity": "1",
        "amplitude": "1",
        "width_slope": "degree",
        "selectivity_slope": "1",
        "amplitude_slope": "1",
        "width_ratio": "1",
        "selectivity_ratio": "1",
        "amplitude_ratio": "1",
        "separability": "1",
        "preferred_shift": "degree",
    }
    for name in ("width", "selectivity", "amplitude"):
        assert measured[name].dims == ("unit", "contrast")
        assert measured[f"{name}_slope"].dims == measured[f"{name}_ratio"].dims == ("unit",)
    assert measured["separability"].dims == measured["preferred_shift"].dims == ("unit",)


def test_the_shift_is_the_largest_turn_from_the_highest_contrast() -> None:
    centers = {  # degrees, at each contrast; of a von Mises curve the mean vector is at its center
        22.0: [118, 125, 140, 140, 140, 140, 140],
        15.0: [178, 175, 0, 2, 5, 8, 10],  # around the circle
        90.0: [50, 140, 50, 50, 50, 50, 140],
        0.0: [40] * 7,
    }
    values = np.array([[von_mises(2, c) for c in unit] for unit in centers.values()])
    values *= np.array([0.1, 1, 3, 2])[:, None, None] * CONTRASTS[:, None]
    shift = contrast_invariance(curves(values))["preferred_shift"]
    np.testing.assert_allclose(shift, list(centers), atol=1e-9)
    shift = contrast_invariance(curves(values + 0.001))["preferred_shift"]  # and a response to grey
    np.testing.assert_allclose(shift, list(centers), atol=1e-9)
    order = [3, 6, 0, 5, 1, 2, 4]
    shuffled = contrast_invariance(curves(values).isel(contrast=order))
    np.testing.assert_allclose(shuffled["preferred_shift"], list(centers), atol=1e-9)


def test_curves_that_prefer_nothing_have_no_part_in_the_shift() -> None:
    wave = np.cos(2 * np.deg2rad(ORIENTATIONS - 70))  # of gOSI a / 2 in 1 + a cos
    other = np.cos(2 * np.deg2rad(ORIENTATIONS - 100))
    shallow, deep = 2 * LEAST_SELECTIVE - 0.01, 2 * LEAST_SELECTIVE + 0.01
    flat = np.ones_like(wave)

    def shift(*rows: np.ndarray) -> float:
        contrasts = CONTRASTS[: len(rows)]
        found = contrast_invariance(curves(np.array(rows)[None], contrasts))
        return float(found["preferred_shift"].item())

    assert shift(1 + deep * other, 1 + wave, 1 + wave) == pytest.approx(30)
    assert shift(1 + shallow * other, 1 + wave, 1 + wave) == pytest.approx(0, abs=1e-9)
    assert shift(1 + wave, 1 + deep * other, 1 + shallow * wave) == pytest.approx(30)
    assert np.isnan(shift(flat, 0 * flat, 1 + wave))
    assert np.isnan(shift(flat, flat))


# What is undefined.


def test_a_silent_contrast_is_left_out_of_the_slopes() -> None:
    rng = np.random.default_rng(97531)
    values = np.stack([von_mises(kappa) for kappa in rng.uniform(0.5, 6, 7)])
    values = values * (CONTRASTS**0.7)[:, None]
    values[3] = 0
    silent = contrast_invariance(curves(values[None])).isel(unit=0)
    without = contrast_invariance(curves(values[None]).drop_isel(contrast=3)).isel(unit=0)
    for name in ("width", "selectivity", "amplitude"):
        expected = without[f"{name}_slope"].item()
        assert silent[f"{name}_slope"].item() == pytest.approx(expected, abs=7 * 90 * EPS)
        assert silent[f"{name}_ratio"].item() == without[f"{name}_ratio"].item()
    assert silent["amplitude_slope"].item() == pytest.approx(0.7, abs=30 * EPS)
    assert np.isnan(silent["width"][3])
    assert np.isnan(silent["selectivity"][3])
    assert silent["amplitude"][3] == 0
    # Rows of zeros have no share in any singular value.
    assert silent["separability"].item() == pytest.approx(without["separability"].item(), abs=EPS)


@pytest.mark.parametrize("silent", [0, 6])
def test_ratios_to_a_silent_contrast_are_undefined(silent: int) -> None:
    values = scaled(CONTRASTS, von_mises(2))
    values[:, silent] = 0
    measured = contrast_invariance(curves(values)).isel(unit=0)
    assert np.isnan(measured["width_ratio"])
    assert np.isnan(measured["selectivity_ratio"])
    if silent == 0:
        assert np.isnan(measured["amplitude_ratio"])
    else:
        assert measured["amplitude_ratio"] == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_ratio_to_a_flat_curve_is_undefined_whatever_its_sums_round_to(dtype: str) -> None:
    values = np.full((100, 7, 36), 0.1)
    values *= np.linspace(1, 3, 100)[:, None, None]
    values[:, 3:] += von_mises(2)
    values[:50, 0] += np.cos(4 * np.deg2rad(ORIENTATIONS)) / 20  # no orientation more than another
    low = gosi(curves(values.astype(dtype))).isel(contrast=0)
    assert (low[50:] > 0).any()  # which without the limit is divided by
    measured = contrast_invariance(curves(values.astype(dtype)))
    assert (measured["selectivity"][50:, :3] == 0).all()
    if dtype == "float64":
        assert (measured["selectivity"][:50, 0] == 0).all()
    assert measured["selectivity_ratio"][50:].isnull().all()
    assert (measured["selectivity"][:, 3:] > 0.1).all()


def test_one_responding_contrast_has_no_slope() -> None:
    values = scaled(CONTRASTS, von_mises(2))
    values[:, :-1] = 0
    measured = contrast_invariance(curves(values)).isel(unit=0)
    for name in ("width", "selectivity", "amplitude"):
        assert np.isnan(measured[f"{name}_slope"])
    assert measured["separability"] == 1


def test_a_silent_unit_is_undefined_and_spoils_no_other() -> None:
    tuned = scaled(CONTRASTS, von_mises(2))
    values = np.concatenate([np.zeros((1, 7, 36)), tuned, np.full((1, 7, 36), np.nan)])
    measured = contrast_invariance(curves(values))
    for name in set(measured) - {"amplitude"}:
        assert np.isnan(measured[name][[0, 2]]).all()
        assert np.isfinite(measured[name][1]).all()
    np.testing.assert_array_equal(measured["amplitude"][0], np.zeros(7))
    assert np.isnan(measured["amplitude"][2]).all()


def test_a_curve_of_which_a_part_was_not_recorded_has_no_amplitude() -> None:
    values = scaled(CONTRASTS, von_mises(2))
    values[0, 2, 8] = np.nan  # 40 degrees: the peak
    measured = contrast_invariance(curves(values)).isel(unit=0)
    for name in ("width", "selectivity", "amplitude"):
        assert np.isnan(measured[name][2])
        assert np.isfinite(measured[name].drop_isel(contrast=2)).all()
    assert np.isnan(measured["separability"])


# Refusals.


@pytest.mark.parametrize("contrasts", [[0.5], [0.0, 0.5], [-0.1, 0.5], [0.1, np.nan]])
def test_fewer_than_two_contrasts_above_0_are_refused(contrasts: list[float]) -> None:
    values = np.ones((1, len(contrasts), 36))
    with pytest.raises(ValueError, match=r"contrast=\[.*\]; invariance needs two or more above 0"):
        contrast_invariance(curves(values, np.array(contrasts)))


def test_a_sweep_with_both_ends_is_refused() -> None:
    values = np.ones((1, 2, 19))
    both_ends = np.linspace(0, 180, 19)
    with pytest.raises(ValueError, match=r"orientation runs 0 to 180 degrees in 19 values"):
        contrast_invariance(curves(values, np.array([0.1, 0.9]), both_ends))


# Dask arrays.


@pytest.mark.parametrize("chunks", [{"unit": 1}, {"unit": 4}, {"unit": 2, "contrast": 3}])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_invariance_of_a_dask_array_is_a_dataset_of_dask_arrays_of_the_same_numbers(
    dtype: str, chunks: Mapping[str, int]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("computed")

    rng = np.random.default_rng(1905)
    values = rng.gamma(0.5, size=(6, 7, 36)).astype(dtype)
    values[1], values[2, 0], values[3, 4, 5] = 0, 0, np.nan
    eager = curves(values).assign_coords(
        spatial_frequency=("unit", rng.uniform(size=6)), channel=("unit", np.arange(6))
    )
    with dask.config.set(scheduler=refuse):
        lazy = contrast_invariance(eager.chunk(chunks))
    expected = contrast_invariance(eager)
    for name, variable in lazy.data_vars.items():
        assert variable.variable.chunks is not None
        assert variable.dtype == expected[name].dtype
    xr.testing.assert_identical(lazy.compute(), expected)
