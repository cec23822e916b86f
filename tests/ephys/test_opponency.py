"""Single and double opponent: planted curves, and filters of known cone weights on the rig."""

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from numpy.typing import ArrayLike
from torch import nn

from ephys import filters
from ephys.cones import AXES, cone_weights
from ephys.harris import harris_classes
from ephys.measures import protocol_measures
from ephys.models.input_format import InputFormat
from ephys.opponency import (
    chromatic_energy,
    color_class,
    isoluminant_curves,
    linear_ratio,
    preferred_axis,
    single_or_double_opponent,
)
from ephys.recording import record
from ephys.stimuli import colors, protocols

NAN = np.nan
PARTS = list(AXES["dkl"])
FREQUENCIES = [0.5, 1.0, 2.0, 4.0]


def units(*values: Any) -> xr.DataArray:
    return xr.DataArray(list(values), dims="unit")


# Classes.


def test_color_is_preferred_above_2_and_luminance_below_one_half() -> None:
    color = units(0.49, 0.5, 1.0, 2.0, 2.01, 1.0, 0.0, 0.0, -1.0, NAN)
    luminance = units(1.0, 1.0, 1.0, 1.0, 1.0, -1.0, 1.0, 0.0, -1.0, NAN)
    assert color_class(color, luminance).values.tolist() == [
        "luminance-preferring",
        *["color-luminance"] * 3,
        *["color-preferring"] * 2,
        "luminance-preferring",
        *[""] * 3,
    ]
    other = color_class(units(3.0, 5.0), units(1.0, 1.0), low=4.0, high=4.5)
    assert other.values.tolist() == ["luminance-preferring", "color-preferring"]


def test_single_and_double_opponent() -> None:
    cells = {
        "single-opponent": (1.0, 1.0, "low-pass", [0.5, -0.5, 0]),
        "double-opponent": (1.0, 1.0, "band-pass", [0.5, -0.3, 0.2]),
        "non-opponent": (1.0, 1.0, "low-pass", [0.5, 0.3, 0.2]),
    }
    more = [
        ("double-opponent", (0.5, 1.0, "high-pass", [0.8, 0, -0.2])),
        ("single-opponent", (0.5, 0.0, "all-pass", [0.8, 0, -0.2])),
        ("non-opponent", (0.49, 1.0, "low-pass", [0.5, -0.5, 0])),
        ("non-opponent", (1.0, 1.0, "low-pass", [0.5, 0.41, -0.09])),
        ("double-opponent", (1.0, 1.0, "band-pass", [NAN, NAN, NAN])),  # a complex cell
        ("", (0.0, 0.0, "", [NAN, NAN, NAN])),
    ]
    rows = [*cells.items(), *more]
    color, luminance, bands = (units(*[row[1][i] for row in rows]) for i in range(3))
    weights = xr.DataArray([row[1][3] for row in rows], dims=("unit", "cone"))
    found = single_or_double_opponent(color, luminance, bands, weights)
    assert found.values.tolist() == [name for name, _ in rows]
    without = single_or_double_opponent(color, luminance, bands)
    assert without.values.tolist()[2] == "single-opponent"
    strict = single_or_double_opponent(color, luminance, bands, weights, least=0.3)
    assert strict.values.tolist()[1] == "non-opponent"  # of 0.3, no more than that


def test_of_what_is_missing_no_class_is_said() -> None:
    color, luminance = units(NAN, 1.0, NAN, 0.0), units(1.0, NAN, 0.0, NAN)
    assert color_class(color, luminance).values.tolist() == [""] * 4
    bands = units(*["band-pass"] * 4)
    assert single_or_double_opponent(color, luminance, bands).values.tolist() == [""] * 4
    # The band of color is asked of those that are opponent.
    color, luminance = units(1.0, 0.0, 1.0), units(1.0, 1.0, 1.0)
    weights = xr.DataArray([[0.5, -0.5, 0], [0.5, -0.5, 0], [1, 0, 0]], dims=("unit", "cone"))
    found = single_or_double_opponent(color, luminance, units("", "", ""), weights)
    assert found.values.tolist() == ["", "non-opponent", "non-opponent"]


def test_a_linear_unit_whose_weights_add_up_to_0_has_no_ratio() -> None:
    weights = np.array([[0.1, 0.2, -0.3], [0.3, -0.1, -0.2], [1 / 3, 1 / 3, -2 / 3]])
    assert (weights.sum(1) != 0).any()  # by rounding
    assert np.isnan(linear_ratio(np.concatenate([weights, 1e9 * weights]))).all()
    assert np.isfinite(linear_ratio([0.1, 0.2, -0.3 + 1e-12]))
    with pytest.raises(ValueError, match=r"^weights of shape \(3, 2\); the last axis is of L, M"):
        linear_ratio(weights[:, :2])


def test_limits_that_are_none_are_refused() -> None:
    one, band = units(1.0), units("low-pass")
    with pytest.raises(ValueError, match=r"low=3 and high=2\.0 are not"):
        color_class(one, one, low=3)
    for bad in ({"low": 0}, {"least": 0.5}):
        with pytest.raises(ValueError, match="is not above 0, or least"):
            single_or_double_opponent(one, one, band, **bad)


# Curves.


def shown(**changes: Any) -> xr.Dataset:
    """The protocol, without responses."""
    stimuli = protocols.isoluminant_frequency(
        spatial_frequencies=FREQUENCIES, orientations=4, **changes
    )
    return xr.Dataset(coords={n: ("stimulus", c.values) for n, c in stimuli.table.items()})


def responding(stimuli: xr.Dataset, values: ArrayLike, blank: ArrayLike) -> xr.Dataset:
    response = ("stimulus", "unit"), np.atleast_2d(np.asarray(values, float)).T
    return stimuli.assign(response=response, blank=("unit", np.atleast_1d(blank).astype(float)))


def test_curves_are_of_the_larger_component_and_of_each_parts_best_orientation() -> None:
    stimuli = shown()
    table = {name: c.values for name, c in stimuli.coords.items()}
    wave = np.cos(np.deg2rad(table["phase"] - 20))
    best = np.select([table["part"] == name for name in PARTS], [0, 45, 90])
    tuned = np.where(table["orientation"] == best, 1.0, 0.6) / table["spatial_frequency"]
    height = np.select([table["part"] == name for name in PARTS], [3.0, 2.0, 1.0]) * tuned
    responses = responding(stimuli, [height * wave, height * (1 + 0.5 * wave)], [0, 0.2])
    curves = isoluminant_curves(responses)
    assert curves.dims == ("unit", "part", "spatial_frequency")
    assert curves["component"].values.tolist() == ["F1", "F0"]
    expected = np.outer([3, 2, 1], 1 / np.array(FREQUENCIES))
    np.testing.assert_allclose(curves[0], expected, rtol=1e-12)
    np.testing.assert_allclose(curves[1], expected - 0.2, rtol=1e-12)
    chosen = preferred_axis(curves)
    assert chosen["part"].values.tolist() == ["L-M", "L-M"]
    np.testing.assert_allclose(chosen[0], expected[0], rtol=1e-12)
    # Of the axes of DKL space: L sees 7.3 % and M 13.9 %, and S sees 85.9 %.
    contrasts = [np.hypot(0.0731, 0.1387) / np.sqrt(2), 0.8592, 1]
    np.testing.assert_allclose(curves["cone_contrast"], contrasts, atol=1e-4)
    half = isoluminant_curves(responding(shown(contrast=0.5), [height], [0]))
    np.testing.assert_allclose(2 * half["cone_contrast"], curves["cone_contrast"], rtol=1e-12)


def test_of_units_that_answer_nothing_or_of_which_something_is_missing() -> None:
    stimuli = shown()
    missing = np.ones(stimuli.sizes["stimulus"])
    missing[5] = NAN
    none = np.full(missing.size, 1.7)
    curves = isoluminant_curves(responding(stimuli, [missing, none], [0, 1.7]))
    assert np.isnan(curves[0]).all()
    assert (curves[1] == 0).all()
    assert curves["component"].values.tolist() == ["", "F0"]
    assert preferred_axis(curves)["part"].values.tolist() == ["", ""]


def test_without_phases_curves_are_of_the_mean() -> None:
    stimuli = shown()
    stimuli = stimuli.isel(stimulus=stimuli["phase"].values == 0)
    height = 1 / stimuli["spatial_frequency"].values
    curves = isoluminant_curves(responding(stimuli, [height], [0.1]))
    np.testing.assert_allclose(curves[0, 2], 1 / np.array(FREQUENCIES) - 0.1, rtol=1e-12)


# On the rig: filters with known cone weights.

FORMAT = InputFormat(channels=3, height_px=48, width_px=48, pixels_per_degree=15.0)
DOWN, RIGHT = np.mgrid[-10:11, -10:11] / 15.0  # degrees
BLOB = np.exp(-(RIGHT**2 + DOWN**2) / (2 * 0.1**2))
GABOR = np.exp(-(RIGHT**2 + DOWN**2) / (2 * 0.2**2)) * np.cos(2 * np.pi * 2.5 * RIGHT)
# A little of its mean is left, so that uniform fields are answered too.
GABOR = GABOR - GABOR.mean() + 0.05 * abs(GABOR).mean()
CELLS: list[tuple[np.ndarray, tuple[float, float, float]]] = [
    (BLOB, (0.55, -0.45, 0.0)),
    (GABOR, (0.5, -0.45, 0.05)),
    (GABOR, (0.5, 0.4, 0.1)),
    (BLOB, (-0.2, -0.25, 0.55)),
    (BLOB, (0.9, 0.05, 0.05)),
]
PROFILES = np.array([profile / abs(profile).sum() for profile, _ in CELLS])
WEIGHTS = np.array([weights for _, weights in CELLS])
# A product of float32 for every pixel and color, the largest of sum 1.
PRECISION = 3 * BLOB.size * float(np.finfo(np.float32).eps)


def model(bias: float, *, rectifies: bool = False) -> nn.Sequential:
    """Sums of cone contrasts around mid-grey, by profiles and weights; ``bias`` is the blank."""
    contrasts = colors.cone_contrasts(0.5 + np.eye(3), 0.5).T  # (cone, rgb), per unit of light
    filters = np.einsum("uyx,uc,ck->ukyx", PROFILES, WEIGHTS, contrasts)
    layer = nn.Conv2d(3, len(CELLS), BLOB.shape[0], padding=10)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(filters))
        layer.bias = nn.Parameter(torch.from_numpy(bias - 0.5 * filters.sum((1, 2, 3))).float())
    return nn.Sequential(layer, nn.ReLU()) if rectifies else nn.Sequential(layer)


def on_the_rig(name: str, bias: float, *, rectifies: bool = False) -> xr.Dataset:
    stimuli = protocols.protocol(name, FORMAT.field).stimuli
    layer = "1" if rectifies else "0"
    return record(model(bias, rectifies=rectifies), stimuli, [layer], input_format=FORMAT)


@pytest.mark.parametrize("rectifies", [False, True])
@pytest.mark.parametrize("protocol", ["cone_weights", "isoluminant_frequency"])
def test_the_cone_weights_of_filters_are_recovered(protocol: str, rectifies: bool) -> None:
    responses = on_the_rig(protocol, 0.0, rectifies=rectifies)
    # Of the contrasts shown, 0.1 of each cone and 0.07 to 1 of the axes, the smallest counts.
    limit = PRECISION / 0.07
    np.testing.assert_allclose(cone_weights(responses)["weight"], WEIGHTS, atol=limit)
    measured = protocol_measures(responses)
    if protocol == "cone_weights":  # what is within rounding of the blank is taken for the blank
        found = np.stack([measured[f"cone_weight_{cone}"] for cone in "lms"], axis=1)
        np.testing.assert_allclose(found, WEIGHTS, atol=1e-3)


def test_filters_are_single_double_and_non_opponent() -> None:
    measured = protocol_measures(on_the_rig("isoluminant_frequency", 0.0))
    axes = np.array([axis.contrasts for axis in AXES["dkl"].values()])
    strength = np.sqrt((axes**2).sum(1) / (axes != 0).sum(1))
    sensitivity = abs(WEIGHTS @ axes.T) / strength  # of one profile, which cancels
    ratio = sensitivity[:, :2].max(1) / sensitivity[:, 2]
    np.testing.assert_allclose(measured["sensitivity_ratio"], ratio, rtol=5e-3)
    np.testing.assert_allclose(linear_ratio(WEIGHTS), ratio, rtol=1e-12)
    assert measured["color_class"].values.tolist() == [
        *["color-preferring"] * 2,
        "luminance-preferring",
        "color-preferring",
        "color-luminance",
    ]
    assert measured["opponency_class"].values.tolist() == [
        *("single-opponent", "double-opponent", "non-opponent", "single-opponent"),
        "non-opponent",  # it answers color as a lone class of cones does
    ]
    best = np.array(["L-M", "S"])[sensitivity[:, :2].argmax(1)]
    assert measured["color_axis"].values.tolist() == best.tolist()
    assert measured["color_band"].values.tolist() == [
        *("low-pass", "band-pass", "band-pass", "low-pass", "low-pass")
    ]
    raw = abs(WEIGHTS @ axes.T)
    index = (raw[:, :2].max(1) - raw[:, 2]) / (raw[:, :2].max(1) + raw[:, 2])
    np.testing.assert_allclose(measured["friedman_color_index"], index, atol=5e-3)
    assert np.isnan(measured["rafegas_color_index"]).all()  # negative responses


@pytest.mark.parametrize("name", ["cone_weights", "isoluminant_frequency"])
def test_the_recorded_chromatic_energy_is_the_filters(name: str) -> None:
    """Of one spatial profile; before and after a ReLU, and none of a unit without signs."""
    rng = np.random.default_rng(8)
    colors = np.concatenate([rng.normal(size=(5, 3)), [[1, 1, 1], [1, -1, 0]]])
    layer = nn.Conv2d(3, 7, BLOB.shape[0], padding=10, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(colors[:, :, None, None] * GABOR))
    # Blind to grey, so that both are recorded from 0 on.
    grey = nn.Conv2d(3, 3, 1)
    with torch.no_grad():
        grey.weight.copy_(torch.eye(3)[:, :, None, None])
        grey.bias = nn.Parameter(torch.full((3,), -0.5))
    model = nn.Sequential(grey, layer, nn.ReLU())
    stimuli = protocols.protocol(name, FORMAT.field).stimuli
    responses = record(model, stimuli, ["1", "2"], input_format=FORMAT)
    measured = protocol_measures(responses)["chromatic_energy"].values.reshape(2, 7)
    expected = filters.chromatic_energy(layer.weight.detach().numpy())
    np.testing.assert_allclose(measured, [expected, expected], atol=1e-4)
    complex_cells = xr.DataArray(np.full((2, 3), np.nan), dims=("unit", "cone"))
    assert np.isnan(chromatic_energy(complex_cells)).all()


def test_a_filter_that_weights_pixels_alike_has_the_ratio_that_is_said() -> None:
    layer = nn.Conv2d(3, 1, BLOB.shape[0], padding=10)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.tile(GABOR, (1, 3, 1, 1))))
        layer.bias = nn.Parameter(torch.from_numpy(-1.5 * GABOR.sum(keepdims=True)[0]).float())
    stimuli = protocols.protocol("isoluminant_frequency", FORMAT.field).stimuli
    responses = record(nn.Sequential(layer), stimuli, ["0"], input_format=FORMAT)
    measured = protocol_measures(responses)
    said = linear_ratio(cone_weights(responses)["weight"])
    np.testing.assert_allclose(said, 2.159, atol=1e-3)
    np.testing.assert_allclose(measured["sensitivity_ratio"], said, rtol=5e-3)
    assert measured["opponency_class"].item() == "double-opponent"
    # And what tells that it is none; energy is the square of what weights are off by.
    np.testing.assert_allclose(measured["chromatic_energy"], 0, atol=1e-6)
    assert np.isnan(linear_ratio(np.array([[1, 0, -1], [NAN, 0, 1]]))).all()


def test_rectified_filters_lose_in_grey_what_their_weights_say() -> None:
    measured = protocol_measures(on_the_rig("isoluminant_frequency", 0.0, rectifies=True))
    axes = np.array([axis.contrasts for axis in AXES["dkl"].values()])
    frequency, angle, phase = np.meshgrid(
        2 / 3.2 * 2.0 ** np.arange(4),
        np.deg2rad(90 + 22.5 * np.arange(8)),
        np.deg2rad(90 * np.arange(4)),
        indexing="ij",
    )
    along = np.multiply.outer(np.cos(angle), RIGHT) - np.multiply.outer(np.sin(angle), DOWN)
    waves = np.cos(2 * np.pi * frequency[..., None, None] * along + phase[..., None, None])
    for place, weights in enumerate(WEIGHTS):
        drive = (waves * PROFILES[place]).sum((-1, -2)).ravel()
        of_axes = np.maximum(np.multiply.outer(axes @ weights, drive), 0)
        color, grey = of_axes[:2].ravel(), np.tile(of_axes[2], 2)
        best = np.argsort(-color)[: round(0.1 * color.size)]
        expected = 1 - grey[best].sum() / color[best].sum()
        found = measured["rafegas_color_index"][place].item()
        assert found == pytest.approx(expected, rel=1e-3)


def test_hue_tuning_of_filters_is_that_of_their_weights() -> None:
    measured = protocol_measures(on_the_rig("hue", 0.3))
    axes = np.array([axis.contrasts for axis in AXES["dkl"].values()])[:2]
    across, up = (WEIGHTS @ axes.T).T
    gain = PROFILES.sum((1, 2))
    expected = np.rad2deg(np.arctan2(gain * up, gain * across)) % 360
    np.testing.assert_allclose(measured["resultant_azimuth"], expected, atol=0.5)
    np.testing.assert_allclose(measured["hue_half_width"], 60, atol=0.5)
    around = np.deg2rad(np.arange(36) * 10.0)
    for place, angle in enumerate(np.deg2rad(expected)):
        share = 18 / abs(np.cos(around - angle)).sum()
        assert measured["hue_selectivity"][place].item() == pytest.approx(share, abs=5e-3)
        near = (measured["preferred_azimuth"][place].item() - expected[place] + 180) % 360 - 180
        assert abs(near) <= 5.5


def test_filters_are_classified_as_harris_and_colleagues_do() -> None:
    # Enough for the response to black to be above 0, as their rule for hues asks.
    high = on_the_rig("opponency", 1.5)
    gain = PROFILES.sum((1, 2))
    black = 1.5 - gain * WEIGHTS.sum(1)
    assert (black > 0).all()
    hues = colors.difference("hsl", 0.5, hue=np.arange(360.0), saturation=1, lightness=0.5)
    answers = 1.5 + gain * (colors.cone_contrasts(0.5 + hues, 0.5) @ WEIGHTS.T)  # (hue, unit)
    margin = 10 * PRECISION
    both_sides = (answers.max(0) > black + margin) & (answers.min(0) < black - margin)
    one_side = (answers.min(0) > black + margin) | (answers.max(0) < black - margin)
    assert (both_sides | one_side).all()  # rounding decides nothing
    spectral = harris_classes(high)["spectral"].values
    np.testing.assert_array_equal(spectral == "opponent", both_sides)
    # Blobs answer a grating less than they answer black; what Gabors answer, black does not reach.
    spatial = harris_classes(high)["spatial"].values
    np.testing.assert_array_equal(spatial == "opponent", [False, True, True, False, False])
    assert harris_classes(high)["both"].values.tolist() == [
        *("spectrally opponent", "double-opponent", "spatially opponent"),
        *("spectrally opponent", "non-opponent"),
    ]
    # Responses to black below 0: none is spectrally opponent by their rule, all by the other.
    low = on_the_rig("opponency", -1.5)
    assert (harris_classes(low)["spectral"] == "non-opponent").all()
    swung = harris_classes(low, margin=0.01)["spectral"].values
    np.testing.assert_array_equal(swung == "opponent", both_sides)
    measured = protocol_measures(high)
    np.testing.assert_array_equal(measured["spectral_opponency"], spectral)
    # By the margin, the smaller swing has to be above a tenth of the larger one.
    up, down = answers.max(0) - black, black - answers.min(0)
    share = np.minimum(up, down) / np.maximum(up, down)
    assert (abs(share - 0.1) > 0.01).all()
    np.testing.assert_array_equal(
        measured["spectral_opponency_margin"].values == "opponent", share > 0.1
    )
    tuned = np.rad2deg(np.angle((answers - 1.5).T @ np.exp(1j * np.deg2rad(np.arange(360))))) % 360
    np.testing.assert_allclose(measured["resultant_hue"], tuned, atol=0.5)
