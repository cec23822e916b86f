"""Fits recover what was planted, as well as it can be, and as well as scipy does."""

from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import optimize

from ephys import fits
from ephys.fits import fit_gabor, fit_gaussian
from ephys.stimuli import gabor
from ephys.visual_field import VisualField

FIELD = VisualField(24, 28, 12.0)  # 2 x 2.33 degrees
GABOR = (
    *("center_x", "center_y", "orientation", "spatial_frequency", "phase"),
    *("sd_along", "sd_across", "amplitude", "baseline"),
)
GAUSSIAN = (
    *("center_x", "center_y", "orientation", "sd_major", "sd_minor", "amplitude", "baseline"),
)
FIT = {GABOR: fit_gabor, GAUSSIAN: fit_gaussian}


def draw(names: tuple[str, ...], p: np.ndarray, field: VisualField = FIELD) -> np.ndarray:
    """The formula of the docstrings: (..., parameter) to (..., y, x)."""
    value = dict(zip(names, np.moveaxis(p, -1, 0)[..., None, None], strict=True))
    x, y = np.meshgrid(field.x, field.y)
    angle = np.deg2rad(value["orientation"])
    right, up = x - value["center_x"], y - value["center_y"]
    s, u = right * np.cos(angle) + up * np.sin(angle), up * np.cos(angle) - right * np.sin(angle)
    widths = [v for name, v in value.items() if name.startswith("sd")]
    wave = np.exp(-(s**2) / (2 * widths[0] ** 2) - u**2 / (2 * widths[1] ** 2))
    if "phase" in value:
        cycles = 2 * np.pi * value["spatial_frequency"] * u
        wave = wave * np.cos(cycles + np.deg2rad(value["phase"]))
    return value["baseline"] + value["amplitude"] * wave


def planted(names: tuple[str, ...], units: int, seed: int = 0) -> np.ndarray:
    """Parameters as V1 has them (Ringach 2002), well within the field: (unit, parameter)."""
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(1, 3, units)
    across = rng.uniform(0.25, 0.5, units) / frequency
    values = {
        "center_x": rng.uniform(-0.5, 0.5, units),
        "center_y": rng.uniform(-0.4, 0.4, units),
        "orientation": rng.uniform(0, 180, units),
        "spatial_frequency": frequency,
        "phase": rng.uniform(0, 360, units),
        "sd_along": across * rng.uniform(0.7, 1.8, units),
        "sd_across": across,
        "amplitude": rng.uniform(0.5, 2, units),
        "baseline": rng.normal(size=units),
    }
    if names == GAUSSIAN:
        values["sd_major"] = rng.uniform(0.15, 0.4, units)
        values["sd_minor"] = values["sd_major"] * rng.uniform(0.4, 0.8, units)
        values["amplitude"] *= rng.choice([-1, 1], units)
    return np.stack([values[name] for name in names], axis=1)


def labelled(maps: np.ndarray, field: VisualField = FIELD) -> xr.DataArray:
    return xr.DataArray(maps, {"y": field.y, "x": field.x}, ("unit", "y", "x"))


def errors(names: tuple[str, ...], fitted: xr.Dataset, truth: np.ndarray) -> np.ndarray:
    """Fitted less planted, by the way that is shorter: (unit, parameter)."""
    found = np.stack([fitted[name].values for name in names], axis=1)
    turn = names.index("orientation")
    half_turns = np.rint((found[:, turn] - truth[:, turn]) / 180)
    found[:, turn] -= 180 * half_turns
    if "phase" in names:
        wave = names.index("phase")  # counted from the other side after half a turn
        found[:, wave] = np.where(half_turns == 0, found[:, wave], -found[:, wave])
        found[:, wave] -= 360 * np.rint((found[:, wave] - truth[:, wave]) / 360)
    return found - truth


def slopes(names: tuple[str, ...], p: np.ndarray) -> np.ndarray:
    """Derivatives by the named parameters, by differences: (unit, parameter, point)."""
    steps = 1e-5 * np.eye(p.shape[1])
    ahead, behind = draw(names, p[:, None] + steps), draw(names, p[:, None] - steps)
    return ((ahead - behind) / 2e-5).reshape(*p.shape, -1)


@pytest.mark.parametrize("names", FIT, ids=["gabor", "gaussian"])
def test_planted_parameters_are_recovered(names: tuple[str, ...]) -> None:
    truth = planted(names, 200)
    fitted = FIT[names](labelled(draw(names, truth)))
    assert fitted["converged"].all()
    assert abs(errors(names, fitted, truth)).max() < 1e-6
    np.testing.assert_allclose(fitted["r_squared"], 1, rtol=0, atol=1e-12)


def test_gabors_are_found_at_three_quarters_of_the_nyquist_limit() -> None:
    """Where the spectrum of one wraps around, a few in a thousand lead elsewhere."""
    coarse, truth = VisualField(16, 18, 8.0), planted(GABOR, 1000, seed=5)
    fitted = fit_gabor(labelled(draw(GABOR, truth, coarse), coarse))
    recovered = (abs(errors(GABOR, fitted, truth)) < 1e-6).all(1)
    assert truth[:, 3].max() > 0.74 * coarse.nyquist
    assert recovered.mean() > 0.995


@pytest.mark.parametrize("names", FIT, ids=["gabor", "gaussian"])
def test_errors_are_as_small_as_noise_allows(names: tuple[str, ...]) -> None:
    """e' J J' e / variance is distributed as chi squared, with as many degrees of freedom as there
    are parameters, for the best unbiased estimate (Cramer and Rao), to first order in the noise."""
    truth, noise = planted(names, 200), 0.02
    maps = draw(names, truth) + noise * np.random.default_rng(1).normal(size=(200, 24, 28))
    fitted = FIT[names](labelled(maps))
    assert fitted["converged"].all()
    jacobian = slopes(names, truth)
    off = errors(names, fitted, truth)
    squared = np.einsum("up,upn,uqn,uq->u", off, jacobian, jacobian, off) / noise**2
    parameters = len(names)
    # The mean of 200, each of variance twice the parameters.
    assert squared.mean() == pytest.approx(parameters, abs=4 * np.sqrt(2 * parameters / 200))
    for column, name in enumerate(names):
        bound = np.sqrt(np.linalg.inv(jacobian @ jacobian.swapaxes(1, 2))[:, column, column])
        z = off[:, column] / (noise * bound)
        assert np.mean(z**2) == pytest.approx(1, abs=4 * np.sqrt(2 / 200)), name


@pytest.mark.parametrize("names", FIT, ids=["gabor", "gaussian"])
def test_a_thousand_at_once_are_fitted_as_scipy_fits_one(names: tuple[str, ...]) -> None:
    """Though scipy starts from the truth."""
    truth = planted(names, 1000, seed=5)
    maps = draw(names, truth) + 0.1 * np.random.default_rng(6).normal(size=(1000, 24, 28))
    fitted = FIT[names](labelled(maps))
    assert fitted.sizes == {"unit": 1000}
    sse = maps.var((1, 2)) * 24 * 28 * (1 - fitted["r_squared"].values)
    scale = np.ptp(truth, axis=0)
    for unit in range(0, 1000, 50):

        def residual(p: np.ndarray, data: np.ndarray = maps[unit]) -> np.ndarray:
            return (draw(names, p * scale) - data).ravel()

        found = optimize.least_squares(residual, truth[unit] / scale, method="lm")
        assert sse[unit] <= 2 * found.cost * (1 + 1e-6)
        ours = np.array([[float(fitted[name][unit]) for name in names]])
        theirs = fitted.isel(unit=[unit]).assign(
            {name: ("unit", [value]) for name, value in zip(names, found.x * scale, strict=True)}
        )
        # Sums of squares that differ by 1e-6 of them are a thousandth of the noise apart.
        off = errors(names, theirs, ours)
        squared = np.einsum("up,upn,uqn,uq->u", off, *[slopes(names, ours)] * 2, off)
        assert squared <= 1e-5 * sse[unit]


@pytest.mark.parametrize("names", FIT, ids=["gabor", "gaussian"])
def test_the_share_explained_is_that_of_the_formula(names: tuple[str, ...]) -> None:
    truth = planted(names, 20)
    maps = draw(names, truth) + 0.3 * np.random.default_rng(2).normal(size=(20, 24, 28))
    fitted = FIT[names](labelled(maps))
    drawn = draw(names, np.stack([fitted[name].values for name in names], axis=1))
    left = ((maps - drawn) ** 2).sum((1, 2)) / ((maps.var((1, 2))) * 24 * 28)
    np.testing.assert_allclose(fitted["r_squared"], 1 - left, rtol=0, atol=1e-9)


def test_the_conventions_are_those_of_the_stimuli() -> None:
    """A Gabor patch from the screen, half a pixel aside; its pixels are rounded to 2^-24."""
    asked: dict[str, Any] = {
        "orientation": [10, 75, 140],
        "phase": [20, 200, 300],
        "spatial_frequency": [1, 2, 3],
    }
    screen = FIELD.centered_on(1 / 24, -0.2)
    patches = gabor(screen, envelope_sd=0.3, contrast=0.8, **asked).double().numpy()
    fitted = fit_gabor(labelled(patches))
    expected = {
        **asked,
        "center_x": 1 / 24,
        "center_y": -0.2,
        "sd_along": 0.3,
        "sd_across": 0.3,
        "aspect": 1,
        "amplitude": 0.8,
        "baseline": 0,
    }
    for name, value in expected.items():
        # 672 pixels, of errors of 2e-7 and slopes of 0.01 per degree of angle and more.
        np.testing.assert_allclose(fitted[name], value, rtol=0, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("names", FIT, ids=["gabor", "gaussian"])
def test_a_quarter_turn_of_the_map_is_a_quarter_turn_of_the_fit(names: tuple[str, ...]) -> None:
    square = VisualField(24, 24, 12.0)
    truth = planted(names, 20)
    maps = draw(names, truth, square)
    upright, turned = (FIT[names](labelled(m, square)) for m in (maps, np.rot90(maps, axes=(1, 2))))
    np.testing.assert_allclose(turned["center_x"], -upright["center_y"], atol=1e-9)
    np.testing.assert_allclose(turned["center_y"], upright["center_x"], atol=1e-9)
    off = (turned["orientation"] - upright["orientation"]) % 180 - 90
    np.testing.assert_allclose(off, 0, atol=1e-7)


@pytest.mark.parametrize("names", FIT, ids=["gabor", "gaussian"])
def test_gain_and_offset_change_amplitude_and_baseline_alone(names: tuple[str, ...]) -> None:
    maps = labelled(draw(names, planted(names, 20)))
    plain, changed = FIT[names](maps), FIT[names](3e-5 * maps - 7e-5)
    for name in names:
        expected = {
            "amplitude": 3e-5 * plain["amplitude"],
            "baseline": 3e-5 * plain["baseline"] - 7e-5,
        }.get(name, plain[name])
        np.testing.assert_allclose(changed[name], expected, rtol=1e-8, atol=1e-12, err_msg=name)


def test_a_trough_is_a_gaussian_below_0_and_a_gabor_of_the_opposite_phase() -> None:
    maps = labelled(draw(GABOR, planted(GABOR, 10)))
    plain, negative = fit_gabor(maps), fit_gabor(-maps)
    np.testing.assert_allclose((negative["phase"] - plain["phase"]) % 360, 180, atol=1e-6)
    np.testing.assert_allclose(negative["amplitude"], plain["amplitude"], atol=1e-9)
    bumps = labelled(draw(GAUSSIAN, planted(GAUSSIAN, 10)))
    np.testing.assert_allclose(
        fit_gaussian(-bumps)["amplitude"], -fit_gaussian(bumps)["amplitude"], atol=1e-9
    )


def test_a_round_gaussian_is_recovered_though_it_has_no_orientation() -> None:
    truth = np.array([[0.1, -0.2, 0, 0.3, 0.3, 2, 0.5]])
    fitted = fit_gaussian(labelled(draw(GAUSSIAN, truth)))
    for name, value in zip(GAUSSIAN, truth[0], strict=True):
        if name != "orientation":
            np.testing.assert_allclose(fitted[name], value, atol=1e-7, err_msg=name)
    assert fitted["converged"].all()


@pytest.mark.parametrize("names", FIT, ids=["gabor", "gaussian"])
def test_pixels_without_a_number_are_left_out(names: tuple[str, ...]) -> None:
    truth = planted(names, 20)
    maps = draw(names, truth)
    maps[:, :3], maps[:, :, -4:], maps[3, 12, 14] = np.nan, np.nan, np.inf
    fitted = FIT[names](labelled(maps))
    assert fitted["converged"].all()
    assert abs(errors(names, fitted, truth)).max() < 1e-6


@pytest.mark.parametrize("names", FIT, ids=["gabor", "gaussian"])
def test_a_map_without_a_shape_is_nan_and_the_others_are_fitted(names: tuple[str, ...]) -> None:
    maps = draw(names, planted(names, 5))
    maps[0], maps[1] = 0.1, np.nan
    maps[2] = np.where(np.arange(24 * 28).reshape(24, 28) < len(names) - 1, maps[2], np.nan)
    fitted = FIT[names](labelled(maps))
    assert fitted["converged"].values.tolist() == [False, False, False, True, True]
    assert not fitted["at_bound"].any()
    for name in set(fitted) - {"converged", "at_bound"}:
        assert np.isnan(fitted[name].values).tolist() == [True, True, True, False, False], name


@pytest.mark.parametrize("names", FIT, ids=["gabor", "gaussian"])
def test_noise_has_an_answer_within_the_bounds(names: tuple[str, ...]) -> None:
    noise = np.random.default_rng(3).normal(size=(30, 24, 28))
    fitted = FIT[names](labelled(noise))
    for name in ("center_x", "center_y"):
        axis = FIELD.x if name == "center_x" else FIELD.y
        assert (abs(fitted[name]) <= axis.max()).all()
    assert ((fitted["r_squared"] > 0) & (fitted["r_squared"] < 0.2)).all()
    if names == GABOR:
        frequency = fitted["spatial_frequency"]
        # Bounds are worked out from the positions of pixels, which are rounded.
        assert (frequency >= 0.5 / FIELD.width * (1 - 1e-12)).all()
        assert (frequency <= FIELD.nyquist * (1 + 1e-12)).all()


def test_a_search_that_ends_at_the_edge_says_so() -> None:
    """A spot of one pixel is narrower than it is looked for; a stripe longer."""
    spot, stripe = np.zeros((2, 24, 28))
    spot[10, 12], stripe[10] = 1.0, 1.0
    whole = draw(GAUSSIAN, planted(GAUSSIAN, 1))[0]
    fitted = fit_gaussian(labelled(np.stack([spot, stripe, whole])))
    assert fitted["at_bound"].values.tolist() == [True, True, False]
    assert fitted["sd_minor"][0] < 0.26 / 12  # a quarter of a pixel
    gabors = labelled(np.stack([spot, draw(GABOR, planted(GABOR, 1))[0]]))
    assert fit_gabor(gabors)["at_bound"].values.tolist() == [True, False]


def test_every_dimension_but_y_and_x_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = planted(GAUSSIAN, 6)
    flat = labelled(draw(GAUSSIAN, truth)).assign_attrs(units="spikes")
    coordinates = {"layer": ("unit", list("abc")), "rf_x": ("unit", [0.0, 1, 2]), "seed": 4}
    stacked = xr.DataArray(
        flat.values.reshape(3, 2, 24, 28),
        {"y": flat["y"], "x": flat["x"], **coordinates},
        ("unit", "contrast", "y", "x"),
        attrs=flat.attrs,
    )
    plain = fit_gaussian(flat)
    monkeypatch.setattr(fits, "CHUNK_PIXELS", 4 * 24 * 28)  # of which the last is not full
    fitted = fit_gaussian(stacked.transpose("x", "contrast", "y", "unit"))
    assert set(fitted.coords) == {"layer", "rf_x", "seed"}
    for name in plain:
        assert fitted[name].dims == ("contrast", "unit")
        expected = plain[name].values.reshape(3, 2)
        np.testing.assert_allclose(fitted[name].transpose("unit", "contrast"), expected, rtol=1e-9)
    assert fitted["amplitude"].attrs == {"long_name": "amplitude", "units": "spikes"}
    assert fitted["center_x"].attrs["units"] == "degree"


def test_rows_may_run_upward() -> None:
    maps = labelled(draw(GABOR, planted(GABOR, 10)))
    xr.testing.assert_allclose(fit_gabor(maps.isel(y=slice(None, None, -1))), fit_gabor(maps))


def test_no_units_are_no_trouble() -> None:
    assert fit_gabor(labelled(np.empty((0, 24, 28)))).sizes == {"unit": 0}


def test_pixels_at_uneven_distances_are_refused() -> None:
    maps = labelled(np.zeros((1, 24, 28)))
    with pytest.raises(ValueError, match=r"^x=\[.*\] is not evenly spaced over two pixels or more"):
        fit_gabor(maps.isel(x=[0, 1, 3]))
    with pytest.raises(ValueError, match=r"^y=\[.*\] is not evenly spaced"):
        fit_gaussian(maps.isel(y=[5]))


def test_pixels_of_unknown_place_are_refused() -> None:
    with pytest.raises(KeyError, match="the maps have no coordinate 'y'"):
        fit_gabor(labelled(np.zeros((1, 24, 28))).drop_vars("y"))
