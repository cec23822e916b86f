"""Measures of protocols: which apply, what they give for planted units, and for the Gabor bank."""

from collections.abc import Callable
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from numpy.typing import ArrayLike
from scipy.special import erf, iv
from torch import nn

from ephys import measures
from ephys.frequency import high_cut, low_cut
from ephys.measures import kinds, population_measures, protocol_measures
from ephys.models.gabor_bank import GaborBank
from ephys.models.input_format import InputFormat
from ephys.recording import record
from ephys.stimuli import protocols
from ephys.stimuli.gratings import drifting_grating, gabor, grating
from ephys.stimuli.patches import patch
from ephys.stimuli.sweep import StimulusSet, sweep
from ephys.tuning import tuning_curve
from ephys.visual_field import VisualField

FIELD = VisualField(48, 48, 15.0)
FREQUENCIES = 2.0 ** np.arange(-1, 3.5, 0.5)
EIGHT = np.arange(8) * 45.0
AXES: dict[str, list[float]] = {
    "contrast": [0.1, 0.2, 0.4, 0.6, 0.8, 1.0],
    "diameter": [0.5, 1.0, 2.0, 3.0, 4.0, 8.0],
    "spatial_frequency": [0.25, 0.5, 1.0, 2.0, 4.0],
    "orientation": [0.0, 30.0, 60.0, 90.0, 120.0, 150.0],
}

Table = dict[str, np.ndarray]
Unit = Callable[[Table], np.ndarray]


def planted(
    stimuli: StimulusSet, *units: Unit, blank: ArrayLike = 0.0, dtype: Any = float
) -> xr.Dataset:
    """What units of a given response answer: the columns of the stimuli's table go in."""
    shown = ["family", *stimuli.parameters]
    table = {name: stimuli.table[name].values for name in shown}
    coordinates: dict[str, Any] = {
        name: ("stimulus", table[name], stimuli.table[name].attrs) for name in shown
    }
    coordinates["channel"] = ("unit", np.arange(len(units)))
    values = np.stack([unit(table) for unit in units], axis=1).astype(dtype)
    blanks = np.broadcast_to(blank, len(units)).astype(dtype)
    variables = {"response": (("stimulus", "unit"), values), "blank": ("unit", blanks)}
    return xr.Dataset(variables, coordinates)


def silent(table: Table) -> np.ndarray:
    return np.zeros(len(table["family"]))


def bump(angle: np.ndarray, center: float, kappa: float, period: float = 180.0) -> np.ndarray:
    """A von Mises function, 1 at its peak."""
    return np.exp(kappa * (np.cos(2 * np.pi * (angle - center) / period) - 1))


def passband(frequency: np.ndarray, center: float, sd: float = 0.8) -> np.ndarray:
    """A Gaussian of octaves, 1 at its peak."""
    return np.exp(-0.5 * (np.log2(frequency / center) / sd) ** 2)


def saturating(contrast: np.ndarray, c50: float, exponent: float) -> np.ndarray:
    return contrast**exponent / (c50**exponent + contrast**exponent)


def at(table: Table, peak: float = 30.0) -> np.ndarray:
    """How well a grating suits a unit for 30 degrees and 1 cycle per degree."""
    return bump(table["orientation"], peak, 2.0) * passband(table["spatial_frequency"], 1.0)


# Which measures apply.

PLACE = {"preferred_orientation", "preferred_spatial_frequency"}
CLASS = {"f1_f0", "cell_class"}
ORIENTATION = PLACE | CLASS | {"osi", "gosi", "orthogonal_ratio", "half_width", "half_width_0707"}
FREQUENCY = {"low_cut", "high_cut", "bandwidth", "band"}
WAVE = ORIENTATION | FREQUENCY | {"von_mises", "log_gaussian"}
CONTRAST = PLACE | {"naka_rushton", "supersaturating"}
FITS = (
    *("von_mises", "log_gaussian", "naka_rushton", "supersaturating"),
    *("difference_of_gaussians", "ratio_of_gaussians", "normalization", "gaussian", "gabor"),
)
HUE = {"hue_half_width", "hue_selectivity"}
HARRIS = {"spectral_opponency", "spatial_opponency", "harris_class"}
EXPECTED: dict[str, set[str]] = {
    "orientation": WAVE - {"log_gaussian"},  # of four frequencies on this field
    "spatial_frequency": WAVE,
    "contrast": CONTRAST,
    "contrast_invariance": CONTRAST,
    "contrast_invariance_patches": CONTRAST,
    "size": PLACE
    | {"preferred_diameter", "suppression_index", "summation_field", "surround_diameter"}
    | {"difference_of_gaussians", "ratio_of_gaussians"},
    "surround": PLACE
    | {"preferred_center_diameter", "iso_minus_cross"}
    | {"surround_suppression_iso", "surround_suppression_cross"},
    "cross_orientation": PLACE | {"cross_orientation_index", "maximal_inhibition", "normalization"},
    "direction": {"preferred_direction", "preferred_spatial_frequency", "dsi", "gdsi"}
    | {"von_mises"}
    | CLASS
    | FREQUENCY,
    "receptive_field": {"gaussian", "gabor"},
    "hue": {"preferred_azimuth", "resultant_azimuth"} | HUE,
    "cone_weights": {
        f"cone_{name}_{cone}" for name in ("weight", "magnitude") for cone in ("l", "m", "s")
    }
    | {"chromatic_energy"},
    "isoluminant_frequency": {"sensitivity_ratio", "friedman_color_index", "rafegas_color_index"}
    | {"color_class", "opponency_class", "color_axis", "color_band", "luminance_band"}
    | {"chromatic_energy"}
    | {"color_spatial_frequency", "luminance_spatial_frequency"},
    "opponency": {"preferred_hue", "resultant_hue", "friedman_color_index"}
    | HUE
    | HARRIS
    | {f"{name}_margin" for name in HARRIS},
    "marques2020": set(),
    "marques2020_corrected": set(),
    "natural_images": {"lifetime_sparseness"},
}


def photographs(values: Any, blank: Any) -> xr.Dataset:
    """Responses (stimulus, unit) to crops of photographs, which are in no repository."""
    values = np.asarray(values, float)
    count = len(values)
    coordinates = {
        "family": ("stimulus", ["photograph"] * count),
        "file": ("stimulus", [f"{i}.jpg" for i in range(count)]),
        "file_row": ("stimulus", np.arange(count) * 10.0),
    }
    variables = {"response": (("stimulus", "unit"), values), "blank": ("unit", blank)}
    return xr.Dataset(variables, coordinates)


def unanswered(name: str) -> xr.Dataset:
    """The named protocol, shown to a unit that answers nothing."""
    if name == "natural_images":
        return photographs(np.zeros((5, 1)), [0.0])
    return planted(protocols.protocol(name, FIELD).stimuli, silent)


def test_the_table_of_what_is_expected_has_every_protocol() -> None:
    assert set(EXPECTED) == set(protocols.PROTOCOLS)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_protocol_gets_the_measures_of_its_kind_and_no_others(name: str) -> None:
    measured = protocol_measures(unanswered(name))
    found = {str(measure) for measure in measured.data_vars}
    fits = {fit for fit in FITS if any(measure.startswith(f"{fit}_") for measure in found)}
    fitted = {measure for measure in found for fit in fits if measure.startswith(f"{fit}_")}
    assert (found - fitted) | fits == EXPECTED[name]
    for fit in fits:
        assert {f"{fit}_r_squared", f"{fit}_converged", f"{fit}_at_bound"} <= fitted


@pytest.mark.parametrize("name", [name for name, found in EXPECTED.items() if found])
def test_measures_say_what_they_are_and_are_undefined_of_a_unit_that_answers_nothing(
    name: str,
) -> None:
    measured = protocol_measures(unanswered(name))
    for measure, values in measured.data_vars.items():
        assert values.dims == ("unit",)
        assert values.attrs["long_name"]
        assert values.attrs["units"]
        assert values.attrs["baseline"] in ("raw", "above blank")
        if str(measure).removesuffix("_margin") in HARRIS:
            assert values.item() == "unresponsive"  # the published word for it
        else:
            assert values.item() == "" or np.isnan(values.item())


@pytest.mark.parametrize(
    "stimuli",
    [
        sweep(grating, orientation=np.linspace(0, 90, 9), spatial_frequency=2),
        sweep(grating, orientation=[0, 60, 120], spatial_frequency=2),
        sweep(grating, orientation=EIGHT / 2, spatial_frequency=2, phase=EIGHT)[1:],
        sweep(grating, orientation=EIGHT / 2, spatial_frequency=2, phase=[0, 90, 180]),
        sweep(grating, orientation=EIGHT / 2, spatial_frequency=2, x=[-1, 0, 1]),
        sweep(grating, contrast=[0.1, 0.5, 1.0], spatial_frequency=2),
        sweep(grating, spatial_frequency=[0, 1, 2, 4]),
        sweep(grating, spatial_frequency=2, part=["a", "b"], orientation=EIGHT / 2),
        sweep(grating, spatial_frequency=2, orientation=EIGHT / 2)
        + sweep(patch, contrast=[0.1, 0.2]),
        protocols.opponency(field=FIELD)[360:],
        protocols.isoluminant_frequency(spatial_frequencies=[1, 2, 4]),
        protocols.cone_weights(spatial_frequencies=1)[:64],
        sweep(patch, color="dkl", azimuth=EIGHT[:4]),
        sweep(drifting_grating, spatial_frequency=2, temporal_frequency=4, direction=EIGHT),
    ],
    ids=[
        *("a quarter circle", "three orientations", "a hole", "not all phases", "places"),
        *("three contrasts", "no frequency", "parts", "two families"),
        *("no hues", "three frequencies", "two cones", "half of the hues"),
        "a single frame",
    ],
)
def test_sets_of_no_kind_have_no_measures(stimuli: StimulusSet) -> None:
    responses = planted(stimuli, silent)
    assert kinds(responses) == []
    measured = protocol_measures(responses)
    assert len(measured.data_vars) == 0
    assert measured["channel"].values.tolist() == [0]


def test_it_is_the_stimuli_that_choose_and_not_their_number_or_order() -> None:
    stimuli = sweep(gabor, envelope_sd=0.4, spatial_frequency=[1, 2], orientation=EIGHT / 2)
    assert kinds(planted(stimuli, silent)) == ["orientation"]  # two frequencies are no curve
    responses = planted(stimuli, at, lambda table: at(table, 90.0))
    shuffled = responses.isel(stimulus=np.random.default_rng(1).permutation(len(stimuli)))
    xr.testing.assert_identical(protocol_measures(responses), protocol_measures(shuffled))
    assert "f1_f0" not in protocol_measures(responses)  # no phases


def test_a_missing_blank_is_refused() -> None:
    with pytest.raises(KeyError, match="no response to the blank"):
        protocol_measures(unanswered("orientation").drop_vars("blank"))


# Planted units.


def test_orientation_is_measured_as_planted() -> None:
    count, kappa, depth = 24, 1.7, 0.6
    stimuli = protocols.orientation(field=FIELD, orientations=count, phases=8)

    def unit(table: Table) -> np.ndarray:
        wave = 1 + depth * np.cos(np.deg2rad(table["phase"] - 20))
        return bump(table["orientation"], 52.5, kappa) * wave * (table["spatial_frequency"] == 1.25)

    measured = protocol_measures(planted(stimuli, unit, blank=0.01)).isel(unit=0)
    assert measured["preferred_orientation"] == 52.5
    assert measured["preferred_spatial_frequency"] == 1.25
    # exp(k (cos 2x - 1)): sums over 24 orientations are integrals up to harmonic 24.
    assert measured["gosi"].item() == pytest.approx(iv(1, kappa) / iv(0, kappa), rel=1e-12)
    assert measured["osi"].item() == pytest.approx(np.tanh(kappa), rel=1e-12)
    assert measured["orthogonal_ratio"].item() == pytest.approx(np.exp(-2 * kappa), rel=1e-12)
    assert measured["f1_f0"].item() == pytest.approx(depth, rel=1e-12)
    assert measured["cell_class"] == "complex"
    for name, level in {"half_width": 0.5, "half_width_0707": 1 / np.sqrt(2)}.items():
        width = np.rad2deg(np.arccos(1 + np.log(level) / kappa)) / 2
        assert measured[f"von_mises_{name}"].item() == pytest.approx(width, rel=1e-5)
        assert measured[name].item() == pytest.approx(width, abs=0.05)
    assert measured["von_mises_preferred"].item() == pytest.approx(52.5, abs=1e-4)
    assert measured["von_mises_r_squared"].item() == pytest.approx(1, abs=1e-9)
    assert measured["von_mises_converged"] == 1
    assert measured["gosi"].attrs["baseline"] == "raw"


@pytest.mark.parametrize("blank", [0.0, 0.3])
def test_spatial_frequency_is_measured_above_the_blank(blank: float) -> None:
    stimuli = protocols.spatial_frequency(field=FIELD, spatial_frequencies=FREQUENCIES)

    def unit(table: Table) -> np.ndarray:
        tuned = passband(table["spatial_frequency"], 1.6)
        return blank + 2 * bump(table["orientation"], 45, 1.0) * tuned

    def low_pass(table: Table) -> np.ndarray:
        return blank + passband(table["spatial_frequency"], 0.5)

    measured = protocol_measures(planted(stimuli, unit, low_pass, blank=blank))
    assert measured["band"].values.tolist() == ["band-pass", "low-pass"]
    full_width = 0.8 * np.sqrt(8 * np.log(2))
    first = measured.isel(unit=0)
    assert first["log_gaussian_preferred"].item() == pytest.approx(1.6, rel=1e-5)
    assert first["log_gaussian_bandwidth"].item() == pytest.approx(full_width, rel=1e-5)
    assert first["log_gaussian_amplitude"].item() == pytest.approx(2, rel=1e-5)
    assert first["preferred_spatial_frequency"].item() == np.sqrt(2)
    assert first["preferred_orientation"] == 45
    curve = xr.DataArray(
        passband(FREQUENCIES, 1.6), {"spatial_frequency": FREQUENCIES}, ("spatial_frequency",)
    )
    assert first["low_cut"].item() == pytest.approx(low_cut(curve).item(), rel=1e-12)
    assert first["high_cut"].item() == pytest.approx(high_cut(curve).item(), rel=1e-12)
    octaves = np.log2(first["high_cut"].item() / first["low_cut"].item())
    assert first["bandwidth"].item() == pytest.approx(octaves, rel=1e-12)
    assert np.isnan(measured["preferred_orientation"].values[1])  # none
    assert measured["gosi"].values[1] == pytest.approx(0, abs=1e-15)
    assert measured["bandwidth"].attrs["baseline"] == "above blank"


def test_contrast_is_measured_as_planted() -> None:
    planted_at = [(0.2, 1.5), (0.45, 3.0), (0.08, 2.2), (4.0, 1.0)]

    def unit(c50: float, exponent: float) -> Unit:
        return lambda table: 0.1 + 5 * at(table) * saturating(table["contrast"], c50, exponent)

    def supersaturated(table: Table) -> np.ndarray:
        contrast = table["contrast"]
        return at(table) * contrast**2 / (0.2**3 + contrast**3)

    stimuli = protocols.contrast(orientations=6, spatial_frequencies=[0.5, 1, 2])
    units = [unit(*shape) for shape in planted_at]
    responses = planted(stimuli, *units, supersaturated, blank=[0.1, 0.1, 0.1, 0.1, 0])
    measured = protocol_measures(responses)
    for place, (c50, exponent) in enumerate(planted_at):
        fit = measured.isel(unit=place)
        assert fit["naka_rushton_c50"].item() == pytest.approx(c50, rel=0.02)
        assert fit["naka_rushton_exponent"].item() == pytest.approx(exponent, rel=0.02)
        assert fit["naka_rushton_r_max"].item() == pytest.approx(5, rel=0.02)
        assert fit["naka_rushton_baseline"].item() == pytest.approx(0.1, rel=0.02)
        assert fit["naka_rushton_r_squared"].item() == pytest.approx(1, abs=1e-6)
        assert fit["naka_rushton_converged"] == 1
        assert fit["naka_rushton_extrapolated"] == (c50 > 1)
    assert (measured["preferred_orientation"] == 30).all()
    assert (measured["preferred_spatial_frequency"] == 1).all()
    last = measured.isel(unit=-1)  # c^n / (c50^(s n) + c^(s n)) with n = 2 and s = 1.5
    assert last["supersaturating_saturation"].item() == pytest.approx(1.5, rel=0.02)
    assert last["supersaturating_exponent"].item() == pytest.approx(2, rel=0.02)
    # d/dc: 2 (0.2^3 + c^3) = 3 c^3
    peak = 0.2 * 2 ** (1 / 3)
    assert last["supersaturating_peak_contrast"].item() == pytest.approx(peak, rel=0.02)


def test_the_blank_is_the_response_to_contrast_0() -> None:
    def unit(table: Table) -> np.ndarray:
        return 0.2 + saturating(table["contrast"], 0.3, 2)

    five = sweep(grating, spatial_frequency=1, contrast=[0.2, 0.4, 0.6, 0.8, 1.0])
    measured = protocol_measures(planted(five, unit, blank=0.2))
    assert measured["naka_rushton_c50"].item() == pytest.approx(0.3, rel=1e-3)
    # A blank that does not fit shows in the residuals: it is one of the points.
    other = protocol_measures(planted(five, unit, blank=1.2))
    assert other["naka_rushton_r_squared"].item() < 0.9
    # Where contrast 0 was shown, it is not added once more.
    with_zero = sweep(grating, spatial_frequency=1, contrast=[0, 0.2, 0.4, 0.6, 0.8, 1.0])
    same = protocol_measures(planted(with_zero, unit, blank=1.2))
    assert same["naka_rushton_c50"].item() == pytest.approx(0.3, rel=1e-3)


def test_no_function_is_fitted_without_two_points_more_than_it_has_parameters() -> None:
    def fitted(axis: str, count: int) -> set[str]:
        stimuli = sweep(grating, **({"spatial_frequency": 1} | {axis: AXES[axis][:count]}))
        found = protocol_measures(planted(stimuli, silent)).data_vars
        return {fit for fit in FITS for name in found if str(name).startswith(fit)}

    angles = sweep(grating, spatial_frequency=1, orientation=[0, 45, 90, 135])
    assert set(protocol_measures(planted(angles, silent)).data_vars) == {
        *("preferred_orientation", "osi", "gosi", "orthogonal_ratio"),
        *("half_width", "half_width_0707"),
    }
    gaussians = {"difference_of_gaussians", "ratio_of_gaussians"}
    assert fitted("contrast", 4) == set()  # with the blank there are five points
    assert fitted("contrast", 5) == {"naka_rushton"}
    assert fitted("contrast", 6) == {"naka_rushton", "supersaturating"}
    assert fitted("diameter", 5) == set()
    assert fitted("diameter", 6) == gaussians
    assert fitted("spatial_frequency", 4) == set()
    assert fitted("spatial_frequency", 5) == {"log_gaussian"}
    assert fitted("orientation", 6) == {"von_mises"}


@pytest.mark.parametrize("blank", [0.0, 0.25])
def test_size_is_measured_above_the_blank(blank: float) -> None:
    center, around, gain = 0.8, 2.4, 0.6

    def response(diameter: np.ndarray) -> np.ndarray:
        return erf(diameter / center) - gain * erf(diameter / around)

    diameters = np.geomspace(0.25, 6, 10)
    stimuli = protocols.size(diameters=diameters, spatial_frequencies=[0.5, 1, 2])
    units = (
        lambda table: blank + at(table) * response(table["diameter"]),
        lambda table: blank - at(table) * response(table["diameter"]) * (blank > 0),
    )
    measured = protocol_measures(planted(stimuli, *units, blank=blank))
    first, curve = measured.isel(unit=0), response(diameters)
    plateau = (curve <= 1.05 * curve[-1]) & (np.arange(10) > curve.argmax())
    for name, value in {
        "center_size": center,
        "surround_size": around,
        "center_gain": 1,
        "surround_gain": gain,
    }.items():
        fitted = first[f"difference_of_gaussians_{name}"].item()
        assert fitted == pytest.approx(value, rel=1e-3)
    index = 1 - curve[-1] / curve.max()
    assert first["suppression_index"].item() == pytest.approx(index, rel=1e-9)
    assert first["preferred_diameter"].item() == diameters[curve.argmax()]
    assert first["summation_field"].item() == diameters[(curve >= 0.95 * curve.max()).argmax()]
    assert first["surround_diameter"].item() == diameters[plateau.argmax()]
    assert first["ratio_of_gaussians_r_squared"].item() > 0.98
    for name in ("preferred_diameter", "suppression_index", "summation_field"):
        assert np.isnan(measured[name].values[1])  # nothing above the blank


def test_direction_is_measured_as_planted() -> None:
    stimuli = protocols.direction(directions=24, frames=8, spatial_frequencies=[0.5, 1.0])

    def unit(table: Table) -> np.ndarray:
        angle = table["direction"]
        lobes = bump(angle, 105, 2.0, 360) + 0.4 * bump(angle, 285, 2.0, 360)
        wave = np.maximum(np.cos(2 * np.pi * 4 * table["time"]), 0)
        return lobes * wave * table["spatial_frequency"]

    measured = protocol_measures(planted(stimuli, unit)).isel(unit=0)
    assert measured["preferred_direction"] == 105
    assert measured["preferred_direction"].attrs["period"] == 360
    assert measured["preferred_spatial_frequency"] == 1
    far = np.exp(-4.0)  # of either lobe at the other
    best, null = 1 + 0.4 * far, 0.4 + far
    assert measured["dsi"].item() == pytest.approx((best - null) / (best + null), rel=1e-12)
    expected = 0.6 / 1.4 * iv(1, 2.0) / iv(0, 2.0)
    assert measured["gdsi"].item() == pytest.approx(expected, rel=1e-9)
    assert measured["f1_f0"].item() == pytest.approx(4 * np.tan(np.pi / 8), rel=1e-12)
    assert measured["cell_class"] == "simple"
    assert measured["von_mises_preferred"].item() == pytest.approx(105, abs=1e-3)
    assert measured["von_mises_direction_index"].item() == pytest.approx(0.6 / 1.4, rel=1e-4)
    assert "bandwidth" not in measured  # two frequencies are no curve


def test_two_cycles_of_a_grating_leave_direction_but_no_modulation() -> None:
    times = np.arange(16) / 8 / 4
    stimuli = sweep(
        drifting_grating,
        spatial_frequency=1,
        direction=EIGHT,
        temporal_frequency=4,
        time=times,
    )
    shown = planted(stimuli, lambda table: bump(table["direction"], 45, 1, 360))
    measured = protocol_measures(shown)
    assert measured["preferred_direction"] == 45
    assert "f1_f0" not in measured


def of_direction(selectivity: float) -> Unit:
    """A unit for motion along 90 degrees, one way more than the other."""

    def answer(table: Table) -> np.ndarray:
        angle = table["direction"] - 90
        one_way = 1 + selectivity * np.cos(np.deg2rad(angle))
        noise = 1e-6 * np.random.default_rng(7).normal(size=angle.size)
        return (one_way + noise) * bump(angle, 0, 2.0) * table["contrast"]

    return answer


def drifting(directions: np.ndarray, contrasts: list[float]) -> StimulusSet:
    return sweep(
        drifting_grating,
        direction=directions,
        contrast=contrasts,
        spatial_frequency=1,
        temporal_frequency=4,
        time=np.arange(8) / 8 / 4,
    )


@pytest.mark.parametrize("along", ["direction", "contrast"])
def test_a_unit_that_answers_opposite_directions_alike_prefers_neither(along: str) -> None:
    stimuli = drifting(EIGHT, AXES["contrast"] if along == "contrast" else [1.0])
    units = [of_direction(selectivity) for selectivity in (0.0, 0.01, -0.01)]
    measured = protocol_measures(planted(stimuli, *units))
    expected = [np.nan, 90, 270]
    np.testing.assert_array_equal(measured["preferred_direction"], expected)
    assert measured["preferred_direction"].attrs["period"] == 360
    if along == "direction":
        np.testing.assert_allclose(measured["von_mises_preferred"], expected, atol=0.1)
        assert measured["dsi"].notnull().all()


def test_a_direction_is_preferred_where_its_opposite_was_not_shown() -> None:
    stimuli = drifting(EIGHT[:4], AXES["contrast"])
    measured = protocol_measures(planted(stimuli, of_direction(0.0)))
    assert measured["preferred_direction"] == 90


def test_responses_whose_gratings_have_no_phase_are_of_no_class() -> None:
    stimuli = sweep(grating, orientation=EIGHT / 2, spatial_frequency=2)
    responses = planted(stimuli, at)
    without = protocol_measures(responses.drop_vars("phase"))
    assert "gosi" in without
    xr.testing.assert_identical(without, protocol_measures(responses))


@pytest.mark.parametrize(("count", "classes"), [(3, set()), (4, CLASS)])
def test_cells_are_classified_by_four_phases_or_more(count: int, classes: set[str]) -> None:
    phase = np.arange(count) * 360 / count
    stimuli = sweep(grating, orientation=EIGHT / 2, spatial_frequency=2, phase=phase)
    measured = protocol_measures(planted(stimuli, at))
    assert set(map(str, measured.data_vars)) & CLASS == classes


@pytest.mark.parametrize("blank", [0.0, 0.5])
def test_the_surround_suppresses_as_planted(blank: float) -> None:
    stimuli = protocols.surround(
        center_diameters=[0.5, 1], orientations=4, spatial_frequencies=[0.5, 1]
    )

    def unit(table: Table) -> np.ndarray:
        center = bump(table["orientation"], 45, 2.0) * passband(table["spatial_frequency"], 1.0)
        center = center * table["center_diameter"]
        loss = 0.2 + 0.4 * np.cos(np.deg2rad(table["surround_angle"])) ** 2
        return blank + center * (1 - np.where(table["part"] == "surround", loss, 0))

    measured = protocol_measures(planted(stimuli, unit, blank=blank)).isel(unit=0)
    assert measured["surround_suppression_iso"].item() == pytest.approx(0.6, rel=1e-12)
    assert measured["surround_suppression_cross"].item() == pytest.approx(0.2, rel=1e-12)
    assert measured["iso_minus_cross"].item() == pytest.approx(0.4, rel=1e-12)
    assert measured["preferred_orientation"] == 45
    assert measured["preferred_center_diameter"] == 1


@pytest.mark.parametrize("blank", [0.0, 0.2])
def test_a_mask_suppresses_as_planted(blank: float) -> None:
    c50, exponent, r_max, r_mask = 0.2, 2.0, 3.0, 0.4

    def response(contrast: Any, mask: Any, good: Any = 1.0, other: Any = 0.0) -> Any:
        drive = r_max * good * contrast**exponent + r_max * other * mask**exponent
        drive = drive + r_mask * (mask**exponent + contrast**exponent)
        return drive / (c50**exponent + np.hypot(contrast, mask) ** exponent)

    def unit(table: Table) -> np.ndarray:
        tuned = passband(table["spatial_frequency"], 1.0)
        good = bump(table["orientation"], 60, 6.0) * tuned
        other = bump(table["orientation"] + 90, 60, 6.0) * tuned
        return blank + response(table["contrast"], table["mask_contrast"], good, other)

    stimuli = protocols.cross_orientation(
        phases=2, mask_phases=2, spatial_frequencies=[1, 2], orientations=6
    )
    measured = protocol_measures(planted(stimuli, unit, blank=blank)).isel(unit=0)
    assert measured["preferred_orientation"] == 60
    across = np.exp(-12.0)
    expected = 1 - response(0.5, 0.5, 1, across) / response(0.5, 0.0, 1, across)
    assert measured["cross_orientation_index"].item() == pytest.approx(expected, rel=1e-9)
    shown = np.array([0, 0.06, 0.12, 0.25, 0.5])
    table = response(shown[1:, None], shown[None], 1, across)
    largest = (1 - table / table[:, :1]).max()
    assert measured["maximal_inhibition"].item() == pytest.approx(largest, rel=1e-9)
    for name, value in {
        "r_max": r_max + r_mask,
        "r_max_mask": r_mask + r_max * across,
        "c50": c50,
        "exponent": exponent,
    }.items():
        assert measured[f"normalization_{name}"].item() == pytest.approx(value, rel=1e-4)
    assert measured["normalization_baseline"].item() == pytest.approx(blank, abs=1e-5)


def test_few_photographs_are_answered() -> None:
    values = [[1, 1, 0.1, -1], [0, 1, 0.1, 2], [0, 1, 0.1, 3], [0, 1, 0.1, 4]]
    measured = protocol_measures(photographs(values, [0.0, 0.0, 0.1, 0.0]))
    expected = [1, 0, np.nan, np.nan]  # the third is the blank's, the last negative
    np.testing.assert_array_equal(measured["lifetime_sparseness"], expected)


# Rounding, memory, and means over units.


def test_what_is_left_of_a_linear_unit_by_rounding_is_not_tuned() -> None:
    stimuli = sweep(grating, orientation=EIGHT / 2, spatial_frequency=FREQUENCIES, phase=EIGHT)

    def linear(table: Table) -> np.ndarray:
        response = at(table) * np.cos(np.deg2rad(table["phase"] - 17))
        last_place = np.finfo(np.float32).eps * np.random.default_rng(3).normal(size=len(response))
        return response * (1 + last_place)

    responses = planted(stimuli, linear, lambda table: 0.25 + linear(table), at, dtype="float32")
    responses["blank"][1] = 0.25
    means = tuning_curve(responses, "spatial_frequency").isel(unit=0)
    assert means.max() > means.min()  # rounding, of which everything could be measured
    measured = protocol_measures(responses)
    for name, values in measured.data_vars.items():
        if values.dtype.kind == "U":
            assert values.values[:2].tolist() == ["", ""], name
        else:
            assert np.isnan(values.values[:2]).all(), name
    assert np.isfinite(measured["gosi"].values[2])


@pytest.mark.parametrize("name", ["hue", "cone_weights", "isoluminant_frequency", "opponency"])
def test_nothing_is_known_of_the_color_of_a_response_that_is_rounding(name: str) -> None:
    def rounding(table: Table) -> np.ndarray:
        count = len(table["family"])
        return 1.7 * (1 + 1e-6 * np.random.default_rng(4).normal(size=count))

    stimuli = protocols.protocol(name, FIELD).stimuli
    measured = protocol_measures(planted(stimuli, rounding, blank=1.7, dtype="float32"))
    for measure, values in measured.data_vars.items():
        if str(measure).removesuffix("_margin") not in HARRIS:  # which are of any difference
            assert values.item() == "" or np.isnan(values.item()), measure


def test_nothing_is_suppressed_of_a_response_that_is_rounding() -> None:
    stimuli = protocols.surround(center_diameters=1, orientations=4, spatial_frequencies=1)

    def unit(share: float) -> Unit:
        def answer(table: Table) -> np.ndarray:
            center = share * bump(table["orientation"], 45, 1)
            return 0.5 + np.where(table["part"] == "surround", 0.4, center)

        return answer

    measured = protocol_measures(planted(stimuli, unit(0.8), unit(1e-6), blank=0.5))
    assert measured["surround_suppression_iso"].values[0] == pytest.approx(0.5, rel=1e-12)
    assert np.isnan(measured["surround_suppression_iso"].values[1])


def test_a_recording_of_low_precision_is_trusted_less() -> None:
    stimuli = sweep(grating, orientation=EIGHT / 2, spatial_frequency=1)
    unit = lambda table: 1 + 0.004 * bump(table["orientation"], 45, 1)  # noqa: E731
    responses = planted(stimuli, unit)
    assert protocol_measures(responses)["preferred_orientation"] == 45
    coarse = protocol_measures(responses.assign_attrs(error=0.01))
    assert np.isnan(coarse["preferred_orientation"])
    assert coarse["gosi"].item() == pytest.approx(0, abs=1e-12)  # flat, and not as the blank


def noisy(stimuli: StimulusSet, units: int = 7) -> xr.Dataset:
    rng = np.random.default_rng(1962)
    values = rng.gamma(0.4, size=(len(stimuli), units)).astype("float32")
    values[:, 2], values[5, 3] = 0, np.nan
    responses = planted(stimuli, *[silent] * units, blank=rng.uniform(0, 0.1, units))
    return responses.assign(response=(("stimulus", "unit"), values))


def assert_alike(one: xr.Dataset, other: xr.Dataset) -> None:
    """The same; what was fitted in other company to as much as the fits promise."""
    fitted = [name for name in one.data_vars if str(name).startswith(FITS)]
    xr.testing.assert_identical(one.drop_vars(fitted), other.drop_vars(fitted))
    xr.testing.assert_allclose(one[fitted], other[fitted], rtol=1e-6)


SMALL = {
    "receptive_field": lambda: protocols.receptive_field(field=FIELD, side=1.0, positions=5),
    "orientation": lambda: sweep(
        grating, orientation=EIGHT / 2, spatial_frequency=[1, 2, 4], phase=EIGHT
    ),
    "contrast": lambda: protocols.contrast(orientations=2, spatial_frequencies=1),
    "size": lambda: protocols.size(field=FIELD, orientations=2, spatial_frequencies=1),
    "direction": lambda: protocols.direction(directions=6, spatial_frequencies=1),
    "surround": lambda: protocols.surround(field=FIELD, orientations=4, spatial_frequencies=1),
    "cross_orientation": lambda: protocols.cross_orientation(
        orientations=2, phases=2, mask_phases=2, spatial_frequencies=1
    ),
    "hue": lambda: protocols.hue(hues=8),
    "cone_weights": lambda: protocols.cone_weights(orientations=2, spatial_frequencies=[1, 2]),
    "isoluminant_frequency": lambda: protocols.isoluminant_frequency(
        orientations=2, spatial_frequencies=[1, 2, 4, 8]
    ),
    "opponency": lambda: protocols.opponency(field=VisualField(8, 8, 8.0)),
}


@pytest.mark.parametrize("name", SMALL)
def test_of_a_dask_array_nothing_is_read_before_it_is_asked_for(name: str) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a dask array was computed")

    responses = noisy(SMALL[name]())
    eager = protocol_measures(responses)
    assert len(eager.data_vars) > 0
    chunked = responses.assign(
        response=responses["response"].variable.chunk({"unit": 3, "stimulus": 11})
    )
    with dask.config.set(scheduler=refuse):
        lazy = protocol_measures(chunked)
    assert all(values.chunks is not None for values in lazy.data_vars.values())
    assert_alike(lazy.compute(scheduler="synchronous"), eager)


@pytest.mark.parametrize("name", SMALL)
def test_units_are_measured_some_at_a_time_and_alike(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    responses = noisy(SMALL[name]())
    at_once = protocol_measures(responses)
    monkeypatch.setattr("ephys.responses.BLOCK_VALUES", 3 * responses.sizes["stimulus"])
    sizes: list[int] = []
    measured = measures._measured

    def noted(block: xr.Dataset, names: list[str]) -> xr.Dataset:
        sizes.append(block.sizes["unit"])
        return measured(block, names)

    monkeypatch.setattr(measures, "_measured", noted)
    assert_alike(protocol_measures(responses), at_once)
    assert sizes == [3, 3, 1]


def test_what_has_a_mean_over_units() -> None:
    stimuli = sweep(grating, orientation=EIGHT / 2, spatial_frequency=FREQUENCIES, phase=EIGHT)

    def simple(table: Table) -> np.ndarray:
        wave = np.maximum(np.cos(np.deg2rad(table["phase"])), 0)
        return passband(table["spatial_frequency"], 0.5) * bump(table["orientation"], 45, 1) * wave

    measured = protocol_measures(planted(stimuli, at, simple, silent))
    found = population_measures(measured)
    assert set(measured.data_vars) - set(found) == {
        *("preferred_orientation", "von_mises_preferred", "cell_class", "band")
    }
    share = {name: values.values for name, values in found.items()}
    np.testing.assert_array_equal(share["cell_class: simple"], [0, 1, np.nan])
    np.testing.assert_array_equal(share["band: band-pass"], [1, 0, np.nan])
    np.testing.assert_array_equal(share["band: low-pass"], [0, 1, np.nan])
    np.testing.assert_array_equal(share["gosi"], measured["gosi"])
    assert all(values.dtype == float for values in share.values())


# The Gabor bank, whose tuning is that of its filters.


def shown(stimuli: StimulusSet) -> xr.Dataset:
    format_ = InputFormat(channels=1, height_px=48, width_px=48, pixels_per_degree=15.0)
    return record(nn.Sequential(GaborBank()), stimuli, ["0"], input_format=format_)


CELLS = GaborBank().cells
ODD = np.flatnonzero(CELLS["phase"] % 180 == 90)  # no mean: linear, but for half of the wave
# Sums of 441 products in float32; those of the largest wave, which others are compared with.
PRECISION = 441 * float(np.finfo(np.float32).eps)


def amplitudes(orientation: Any, spatial_frequency: Any) -> np.ndarray:
    """Of the waves with which the filters answer gratings that drift: (..., channel)."""
    filters = GaborBank().filters.squeeze(1).numpy().astype(float)
    down, right = np.mgrid[-10:11, -10:11] / 15.0  # degrees
    angle = np.deg2rad(np.asarray(orientation, float)[..., None, None] + 90)
    along = right * np.cos(angle) - down * np.sin(angle)
    wave = np.exp(2j * np.pi * np.asarray(spatial_frequency)[..., None, None] * along)
    return np.abs(np.einsum("cyx,...yx->...c", filters, wave))


def test_the_gabor_bank_is_tuned_as_its_filters_are() -> None:
    frequencies, angles = np.geomspace(0.75, 6, 7), np.arange(8) * 22.5
    measured = protocol_measures(
        shown(protocols.spatial_frequency(spatial_frequencies=frequencies))
    )
    np.testing.assert_array_equal(measured["preferred_orientation"], CELLS["orientation"])
    odd = measured.isel(unit=ODD)
    table = amplitudes(*np.meshgrid(angles, frequencies, indexing="ij"))[..., ODD]
    curve = xr.DataArray(
        table.max(0).T, {"spatial_frequency": frequencies}, ("unit", "spatial_frequency")
    )
    np.testing.assert_array_equal(
        odd["preferred_spatial_frequency"], curve.idxmax("spatial_frequency")
    )
    assert (odd["band"] == "band-pass").all()
    for name, cut in {"low_cut": low_cut, "high_cut": high_cut}.items():
        np.testing.assert_allclose(odd[name], cut(curve), rtol=10 * PRECISION)
    at_best = np.take_along_axis(table, table.max(0).argmax(0)[None, None], 1)[:, 0]
    doubled = np.abs((at_best * np.exp(2j * np.deg2rad(angles))[:, None]).sum(0))
    np.testing.assert_allclose(odd["gosi"], doubled / at_best.sum(0), rtol=10 * PRECISION)
    ratio = 4 * np.tan(np.pi / 8)  # of a half-rectified cosine at eight phases
    np.testing.assert_allclose(odd["f1_f0"], ratio, rtol=10 * PRECISION)
    assert (measured["cell_class"] == "simple").all()


def test_the_gabor_bank_grows_with_contrast_in_a_straight_line() -> None:
    stimuli = protocols.contrast(orientations=4, phases=4, spatial_frequencies=2)
    odd = protocol_measures(shown(stimuli)).isel(unit=ODD)
    np.testing.assert_array_equal(odd["preferred_orientation"], CELLS["orientation"][ODD])
    assert (odd["naka_rushton_extrapolated"] == 1).all()
    assert (odd["naka_rushton_c50"] > 1).all()
    assert (odd["naka_rushton_r_squared"] > 0.999).all()


def test_the_gabor_bank_sees_single_frames_and_so_no_direction() -> None:
    stimuli = protocols.direction(directions=8, frames=8, spatial_frequencies=2)
    odd = protocol_measures(shown(stimuli)).isel(unit=ODD)
    np.testing.assert_allclose(odd["dsi"], 0, atol=PRECISION)
    assert odd["preferred_direction"].isnull().all()
    assert odd["von_mises_preferred"].isnull().all()
    assert odd["von_mises_amplitude"].notnull().all()
    np.testing.assert_allclose(odd["f1_f0"], 4 * np.tan(np.pi / 8), rtol=10 * PRECISION)


def test_across_their_orientation_masks_add_to_the_gabor_bank_and_take_nothing_away() -> None:
    contrasts = np.array([0, 0.25, 0.5])
    stimuli = protocols.cross_orientation(
        contrasts=contrasts, orientations=4, spatial_frequencies=2
    )
    odd = protocol_measures(shown(stimuli)).isel(unit=ODD)
    orientation = CELLS["orientation"].to_numpy()[ODD]
    np.testing.assert_array_equal(odd["preferred_orientation"], orientation)
    own, across = (
        amplitudes(orientation + turn, 2.0)[np.arange(ODD.size), ODD] for turn in (0, 90)
    )
    quarters = np.array([1, 0, -1, 0])  # of either wave at four phases, in sine phase

    def mean(grating: float, mask: float) -> np.ndarray:
        drive = np.multiply.outer(own * grating, quarters)[:, :, None]
        drive = drive + np.multiply.outer(across * mask, quarters)[:, None]
        return np.maximum(drive, 0).mean((1, 2))

    index = 1 - mean(0.5, 0.5) / mean(0.5, 0)
    assert (index <= 0).all()
    np.testing.assert_allclose(odd["cross_orientation_index"], index, atol=10 * PRECISION)
    np.testing.assert_allclose(odd["maximal_inhibition"], 0, atol=10 * PRECISION)
