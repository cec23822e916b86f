"""Filters: planted Gabors and colors, published layers, and the same units probed."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import scipy.special
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from ephys import models
from ephys.cones import cone_weights as probed_cone_weights
from ephys.display import RGB_TO_LMS
from ephys.filters import (
    along_color,
    chromatic_energy,
    cone_weights,
    filter_properties,
    grating_amplitude,
    hue_axis,
    main_component,
    orientation_selectivity,
    preferred_orientation,
    preferred_spatial_frequency,
)
from ephys.models.gabor_bank import GaborBank
from ephys.models.input_format import INPUT_FORMATS, own_format
from ephys.modulation import f1_amplitude
from ephys.recording import record
from ephys.responses import grid
from ephys.stimuli import protocols
from ephys.stimuli.colors import difference, rgb_to_xyz, xyz_to_lms

EPS = float(np.finfo(float).eps)
EPS32 = float(np.finfo(np.float32).eps)
GREY = (1.0, 1.0, 1.0)


def gabor(
    orientation: float,
    frequency: float,
    color: tuple[float, ...] = GREY,
    *,
    phase: float = 60.0,
    side: int = 33,
    sd: float = 3.0,
    aspect: float = 1.0,
) -> np.ndarray:
    """(1, channel, y, x); frequency in cycles per pixel, bars longer than wide by ``aspect``."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    angle = np.deg2rad(orientation)
    along = x * np.cos(angle) - y * np.sin(angle)  # y is downward
    across = -y * np.cos(angle) - x * np.sin(angle)
    envelope = np.exp(-(across**2 + (along / aspect) ** 2) / (2 * sd**2))
    profile = envelope * np.cos(2 * np.pi * frequency * across + np.deg2rad(phase))
    return np.multiply.outer(np.array(color), profile)[None]


def angle_between(one: np.ndarray, other: np.ndarray | float) -> np.ndarray:
    """Of axes, degrees, 0 to 90."""
    return abs((one - other + 90) % 180 - 90)


def random_filters(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# Space: planted Gabors.


@given(
    orientation=st.floats(0, 180, exclude_max=True),
    frequency=st.floats(0.15, 0.3),
    phase=st.floats(0, 360),
    aspect=st.floats(1, 1.5),
)
@settings(max_examples=15, deadline=None)
def test_a_gabor_has_the_orientation_and_the_frequency_it_was_drawn_with(
    orientation: float, frequency: float, phase: float, aspect: float
) -> None:
    planted = gabor(orientation, frequency, phase=phase, aspect=aspect)
    # The window ends at 16 / 4.5 s.d.: an amplitude of 2e-3 there, which the square corners of the
    # window turn by less than its square; the other lobe's tail shifts the peak by less than
    # exp(-2 (2 pi 0.15 3)^2) = 1e-7.
    edge = np.exp(-((16 / (3 * aspect)) ** 2) / 2)
    found = preferred_orientation(planted)
    assert angle_between(found.values, orientation) < np.rad2deg(edge**2) + 1e-4
    peak = preferred_spatial_frequency(planted, pixels_per_degree=1)
    assert peak.item() == pytest.approx(frequency, abs=edge**2 + 1e-6)


def test_the_orientation_of_bars_is_counter_clockwise_from_horizontal() -> None:
    # Ones at x = y, y downward: bars from top left to bottom right, which is 135 degrees.
    assert preferred_orientation(np.eye(9)[None, None]).item() == pytest.approx(135, abs=1e-9)
    bars = np.zeros((9, 9))
    bars[4] = 1
    found = preferred_orientation(np.stack([bars, bars.T])[:, None]).values
    np.testing.assert_allclose(angle_between(found, np.array([0.0, 90.0])), 0, atol=1e-9)
    assert ((found >= 0) & (found < 180)).all()


def test_the_filters_of_the_gabor_bank_have_the_parameters_of_its_cells() -> None:
    bank = GaborBank()
    filters, cells = bank.filters.numpy(), {name: np.asarray(v) for name, v in bank.cells.items()}
    # Mirrored about their axis, so exact, though their windows cut them off at 2 s.d.
    found = preferred_orientation(filters).values
    np.testing.assert_allclose(angle_between(found, cells["orientation"]), 0, atol=1e-3)
    # Of 3 cycles per window; at 2 cycles of cosine phase the lobes run into each other, and at 45
    # degrees the cut corners move the peak.
    fine = cells["spatial_frequency"] * cells["size"] == 3
    scaled = preferred_spatial_frequency(filters, pixels_per_degree=15).values / 15
    ratio = (scaled / cells["spatial_frequency"])[fine]
    assert abs(np.log2(ratio)).max() < 0.1


def resultant_by_bessel_functions(weights: np.ndarray, low: float, high: float) -> np.ndarray:
    """Mean vector of the power, in closed form, another way: from the autocorrelation.

    The power is sum_d A(d) cos(2 pi f.d). Over the angle, its product with exp(2i theta) is
    -2 pi J2(2 pi f |d|) exp(2i angle(d)), and its own integral 2 pi J0; and
    int x J2 = -x J1 - 2 J0, int x J0 = x J1.
    """
    side = weights.shape[-1]
    spectrum = abs(np.fft.fft2(weights, s=(2 * side - 1, 2 * side - 1))) ** 2
    correlation = np.fft.fftshift(np.fft.ifft2(spectrum.sum(1)).real, axes=(1, 2))
    y, x = np.mgrid[1 - side : side, 1 - side : side]
    distance = np.hypot(x, y)
    distance[side - 1, side - 1] = 1
    bounds = (2 * np.pi * distance * low, 2 * np.pi * distance * high)
    second = np.subtract(
        *(-b * scipy.special.j1(b) - 2 * scipy.special.j0(b) for b in bounds[::-1])
    )
    zeroth = np.subtract(*(b * scipy.special.j1(b) for b in bounds[::-1]))
    second, zeroth = second / distance**2, zeroth / distance**2
    second[side - 1, side - 1] = 0
    zeroth[side - 1, side - 1] = 2 * np.pi**2 * (high**2 - low**2)
    # Angle of the wave's direction, y upward, and bars are at right angles to it.
    turned = np.exp(2j * np.arctan2(-y, x)) * -1
    vector = (correlation * -second * turned).sum((1, 2))
    return vector / (correlation * zeroth).sum((1, 2))


@pytest.mark.parametrize("side", [3, 8, 11])
@pytest.mark.parametrize("band", [(0.0, 1.0), (0.3, 0.7)])
def test_the_mean_vector_is_that_of_its_closed_form(side: int, band: tuple[float, float]) -> None:
    weights = random_filters(1, 20, 3, side, side)
    vector = resultant_by_bessel_functions(weights, band[0] / 2, band[1] / 2)
    length = orientation_selectivity(weights, band=band)
    np.testing.assert_allclose(length, abs(vector), rtol=0, atol=1e-12)
    angle = preferred_orientation(weights, band=band, least=0)
    difference = angle_between(angle.values, np.rad2deg(np.angle(vector)) / 2)
    # An error of 1e-12 turns a short vector further.
    assert (np.deg2rad(difference) < 1e-12 / abs(vector)).all()


def test_what_has_no_orientation_has_none() -> None:
    y, x = np.mgrid[:9, :9] - 4
    blob = np.exp(-(x**2 + y**2) / 4.0)
    point = np.zeros((9, 9))
    point[2, 3] = 1
    plus = ((x == 0) | (y == 0)).astype(float)
    weights = np.stack([blob, point, plus])[:, None]
    assert np.isnan(preferred_orientation(weights)).all()
    assert (orientation_selectivity(weights) < 1e-6).all()


def test_a_filter_is_oriented_above_the_length_asked_for() -> None:
    weights = random_filters(2, 50, 1, 7, 7)
    length = orientation_selectivity(weights).values
    least = float(np.median(length))
    oriented = np.isfinite(preferred_orientation(weights, least=least).values)
    assert (oriented == (length > least)).all()


def test_a_low_pass_filter_prefers_a_uniform_field_and_a_checkerboard_the_nyquist_limit() -> None:
    y, x = np.mgrid[:4, :4]
    weights = np.stack([np.ones((4, 4)), (-1.0) ** (x + y)])[:, None]
    found = preferred_spatial_frequency(weights, pixels_per_degree=20)
    assert found.values[0] == 0
    assert found.values[1] == pytest.approx(10, abs=1e-4)
    assert found.attrs["units"] == "cycles degree-1"


def test_a_filter_that_answers_all_gratings_alike_prefers_none() -> None:
    pixel = np.zeros((3, 3, 7, 7))
    pixel[0, :, 1, 2] = pixel[1, :, 3, 3] = [0.3, 0.5, 0.2]
    pixel[2, 0, 1, 2], pixel[2, 1, 5, 0] = 0.1, 0.7  # each channel has its own
    for weights in (pixel, 1e-3 * pixel, random_filters(14, 2, 3, 1, 1)):
        assert preferred_spatial_frequency(weights, pixels_per_degree=1).isnull().all()
    pixel[0, :, [1, 2], [3, 2]] = 1e-6  # a trace of two others; a uniform field excites all
    # Near its peak the power falls by 1e-6 of a square, which rounding leaves at sqrt(EPS / 1e-6).
    assert preferred_spatial_frequency(pixel[:1], pixels_per_degree=1).item() < 1e-5


def test_the_preferred_frequency_is_the_highest_peak_of_the_spectrum() -> None:
    weights = random_filters(8, 12, 3, 6, 6)  # of many peaks, some of nearly the same height
    fine = np.fft.fftfreq(384)
    power = (abs(np.fft.fft2(weights, s=(384, 384))) ** 2).sum(1)
    radius = np.hypot(fine, fine[:, None])
    highest = np.where(radius <= 0.5, power, 0).max((1, 2))
    for frequency, peak, spectrum in zip(
        preferred_spatial_frequency(weights, pixels_per_degree=1).values,
        highest,
        power,
        strict=True,
    ):
        ring = abs(radius - frequency) < 1 / 384
        # Half a step of the fine grid away from a peak, the power is less by this share at most:
        # it curves by no more than (2 pi 5)^2 of the largest per axis.
        assert spectrum[ring].max() > peak * (1 - 2 * (2 * np.pi * 5 / 384) ** 2)


def test_channels_count_by_their_power_whatever_their_colors() -> None:
    red = gabor(30, 0.2, (1, 0, 0))
    blue = gabor(30, 0.2, (0, 0, -1))
    assert preferred_orientation(red + blue).item() == pytest.approx(30, abs=1e-3)
    grey = gabor(30, 0.2, (1,))
    np.testing.assert_allclose(orientation_selectivity(red), orientation_selectivity(grey))


def test_a_rectangular_filter_is_measured_as_one_padded_with_zeros() -> None:
    weights = random_filters(3, 5, 2, 4, 9)
    padded = np.pad(weights, [(0, 0), (0, 0), (2, 3), (0, 0)])
    for measure in (orientation_selectivity, preferred_orientation):
        np.testing.assert_allclose(measure(weights), measure(padded), rtol=1e-9)
    one, other = (preferred_spatial_frequency(w, pixels_per_degree=1) for w in (weights, padded))
    np.testing.assert_allclose(one, other, atol=1e-6)


# Color: planted ones.


def test_the_matrix_of_the_cones_is_that_of_the_stimuli() -> None:
    np.testing.assert_allclose(RGB_TO_LMS, xyz_to_lms(rgb_to_xyz(np.eye(3))).T, rtol=4 * EPS)


def test_chromatic_energy_is_what_the_mean_over_channels_leaves() -> None:
    colors = [(1, 1, 1), (1, -1, 0), (1, 0, 0), (-2, 1, 1), (2, 1, 0)]
    weights = np.concatenate([gabor(20, 0.2, color) for color in colors])
    # 1 - (sum of the color)^2 / (3 sum of its squares)
    np.testing.assert_allclose(chromatic_energy(weights), [0, 1, 2 / 3, 1, 0.4], atol=4 * EPS)


def test_the_main_component_is_the_color_and_profile_planted() -> None:
    weights = gabor(70, 0.2, (0.6, 0, -0.8), phase=0) + 0.1 * gabor(160, 0.2, (0, 1, 0), phase=0)
    # Carriers at right angles under one envelope: a cosine of exp(-(2 pi 0.2 3)^2 / 2) = 8e-4.
    overlap = 1e-3
    found = main_component(weights)
    np.testing.assert_allclose(found["color"], [[0.6, 0, -0.8]], rtol=0, atol=overlap)
    assert found["share"].item() == pytest.approx(1 / 1.01, abs=overlap)
    planted = gabor(70, 0.2, (1,), phase=0)[0, 0]
    np.testing.assert_allclose(found["profile"][0], planted / np.linalg.norm(planted), atol=overlap)
    # The other way round it is the other color that excites where the profile is strongest.
    np.testing.assert_allclose(main_component(-weights)["color"], -found["color"])


def test_a_filter_that_sums_up_cone_contrasts_has_their_weights() -> None:
    contrasts = RGB_TO_LMS / RGB_TO_LMS.sum(1, keepdims=True)  # (cone, rgb), around a grey
    mixtures = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, -0.4, 0.1], [-0.1, 0.3, 0.6]])
    weights = np.concatenate([gabor(0, 0.2, tuple(color)) for color in mixtures @ contrasts])
    # The inverse of the matrix has entries of about 10.
    np.testing.assert_allclose(cone_weights(weights), mixtures, rtol=0, atol=100 * EPS)
    np.testing.assert_array_equal(cone_weights(weights), cone_weights(-weights))  # ON and OFF


def test_of_equally_large_cone_weights_the_first_is_positive() -> None:
    contrasts = RGB_TO_LMS / RGB_TO_LMS.sum(1, keepdims=True)
    mixtures = np.array([[0.5, -0.5, 0], [0.4, -0.2, -0.4], [0.2, 0.4, -0.4]])
    gains = np.random.default_rng(13).normal(size=40)
    colors = np.concatenate([gain * mixtures @ contrasts for gain in gains])
    weights = np.concatenate([gabor(0, 0.2, tuple(color)) for color in colors])
    expected = np.tile(mixtures, (gains.size, 1))
    for dtype, eps in ((np.float64, EPS), (np.float32, EPS32)):
        found = cone_weights(weights.astype(dtype))
        np.testing.assert_allclose(found, expected, rtol=0, atol=100 * eps)


def test_the_hue_axis_is_where_the_stimuli_of_that_azimuth_excite_most() -> None:
    weights = random_filters(4, 40, 3, 1, 1)  # each a color, which a uniform field excites
    azimuths = np.arange(0, 180, 0.5)
    shown = difference("dkl", 0.5, azimuth=azimuths)  # (stimulus, rgb)
    answers = abs(weights[:, :, 0, 0] @ shown.T)
    best = azimuths[answers.argmax(1)]
    assert (angle_between(hue_axis(weights).values, best) <= 0.25 + 1e-9).all()
    np.testing.assert_allclose(hue_axis(weights), hue_axis(-weights))


def test_a_filter_of_luminance_answers_nothing_isoluminant_and_one_of_equal_weights_does() -> None:
    luminance = RGB_TO_LMS[:2].sum(0)
    weights = np.concatenate([gabor(0, 0.2, tuple(luminance)), gabor(0, 0.2)])
    axis, cones = hue_axis(weights).values, cone_weights(weights).values
    assert np.isnan(axis[0])
    assert cones[0, :2].min() > 0
    assert abs(cones[0, 2]) < 100 * EPS
    assert axis[1] == pytest.approx(54.92, abs=0.01)
    np.testing.assert_allclose(cones[1], [0.536, -0.324, 0.139], atol=1e-3)


def test_along_a_color_is_what_a_stimulus_of_that_color_meets() -> None:
    weights = random_filters(5, 4, 3, 5, 5)
    image, rgb = random_filters(6, 5, 5), (0.3, -0.2, 0.9)
    met = (along_color(weights, rgb).values[:, 0] * image).sum((1, 2))
    shown = (weights * np.multiply.outer(rgb, image)).sum((1, 2, 3))
    np.testing.assert_allclose(met, shown, rtol=0, atol=100 * EPS)


# Laws, labels and refusals.


def test_no_property_depends_on_gain_sign_or_place() -> None:
    weights = random_filters(8, 12, 3, 6, 6)
    shifted = np.pad(weights, [(0, 0), (0, 0), (3, 0), (1, 2)])
    table = filter_properties(weights, pixels_per_degree=1).to_dataframe()
    for other in (-1e-6 * weights, 1e6 * weights, shifted):
        changed = filter_properties(other, pixels_per_degree=1).to_dataframe()
        np.testing.assert_allclose(changed, table, rtol=0, atol=1e-6)


def test_a_quarter_turn_turns_the_orientation_and_leaves_the_rest() -> None:
    weights = random_filters(9, 12, 3, 6, 6)
    table = filter_properties(weights, pixels_per_degree=1)
    turned = filter_properties(np.rot90(weights, axes=(2, 3)), pixels_per_degree=1)
    change = angle_between(turned["orientation"].values, table["orientation"].values)
    np.testing.assert_allclose(change[np.isfinite(change)], 90, atol=1e-9)
    rest = [name for name in table if name != "orientation"]
    np.testing.assert_allclose(
        turned[rest].to_dataframe(), table[rest].to_dataframe(), rtol=0, atol=1e-6
    )


def test_a_filter_of_nothing_has_no_property() -> None:
    table = filter_properties(np.zeros((2, 3, 5, 5)), pixels_per_degree=1)
    assert table.to_dataframe().isna().all(axis=None)
    assert main_component(np.zeros((2, 3, 5, 5)))["color"].isnull().all()
    assert np.isnan(orientation_selectivity(np.ones((1, 1, 1, 1)) * 0, band=(0.3, 0.7))).all()


def test_units_keep_their_coordinates_and_dimensions_may_be_in_any_order() -> None:
    weights = random_filters(10, 4, 3, 5, 5)
    named = xr.DataArray(
        weights,
        {"unit": [7, 8, 9, 10], "layer": ("unit", list("aabb")), "channel": [0, 1, 2]},
        ("unit", "channel", "y", "x"),
    )
    table = filter_properties(named.transpose("y", "x", "channel", "unit"), pixels_per_degree=2)
    assert table["unit"].values.tolist() == [7, 8, 9, 10]
    assert table["layer"].values.tolist() == list("aabb")
    plain = filter_properties(weights, pixels_per_degree=2)
    for name, values in plain.items():
        np.testing.assert_array_equal(table[name], values)


def test_every_property_says_its_units_and_every_axis_its_period() -> None:
    table = filter_properties(random_filters(11, 3, 3, 5, 5), pixels_per_degree=1)
    assert all({"long_name", "units"} <= set(one.attrs) for one in table.values())
    periods = {
        str(name): one.attrs["period"] for name, one in table.items() if "period" in one.attrs
    }
    assert periods == {"hue_axis": 180, "orientation": 180}
    assert len({one.attrs["long_name"] for one in table.values()}) == len(table)


def grating(weights: np.ndarray, frequencies: list[float]) -> xr.DataArray:
    return grating_amplitude(
        weights, spatial_frequency=frequencies, orientation=[0], pixels_per_degree=1
    )


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda w: chromatic_energy(w[:, :1]), r"shape \(2, 1, 5, 5\).*\(unit, 3, y, x\)"),
        (lambda w: preferred_orientation(w[0]), r"shape \(3, 5, 5\).*\(unit, channel, y, x\)"),
        (lambda w: chromatic_energy(w * np.nan), "unit 0 are not all finite"),
        (lambda w: preferred_orientation(w, band=(0.7, 0.3)), r"band=\(0.7, 0.3\)"),
        (lambda w: orientation_selectivity(w, band=(0, 1.2)), r"band=\(0, 1.2\)"),
        (lambda w: preferred_spatial_frequency(w, pixels_per_degree=0), "pixels_per_degree=0"),
        (
            lambda w: grating(w, [0.1, 0.7]),
            "^spatial_frequency=0.7 is not from 0 to 0.5, the Nyquist limit at pixels_per_degree=1",
        ),
        (lambda w: grating(w, [-0.2, 0.2]), "^spatial_frequency=-0.2 is not from 0 to 0.5"),
        (lambda w: grating(w, [np.nan]), "^spatial_frequency=nan is not from 0 to 0.5"),
        (lambda w: along_color(w, [1, 1]), r"^rgb of shape \(2,\); give three numbers"),
        (lambda w: cone_weights(w, rgb_to_lms=np.eye(2)), r"rgb_to_lms of shape \(2, 2\)"),
        (lambda w: hue_axis(w, rgb_to_lms=np.ones((3, 3))), "rgb_to_lms has no inverse"),
    ],
)
def test_what_is_no_layer_is_refused(
    measure: Callable[[np.ndarray], xr.DataArray], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        measure(random_filters(12, 2, 3, 5, 5))


# The first layers of published networks, and what probing the same units says.


class FirstLayer(NamedTuple):
    """Weights, per pixel value of 0 to 255, and F1 before the rectification, at 24 orientations.

    ``f1`` is (part, unit, spatial_frequency, orientation); the parts are isoluminant gratings along
    L - M and S, and gratings of luminance. ``cones`` are the weights (unit, cone) probed with them.
    """

    weights: np.ndarray
    f1: xr.DataArray
    cones: xr.DataArray
    pixels_per_degree: float


NETWORKS = {
    "caffenet": ("alexnet_imagenet/caffenet_conv_head", "conv1.weight", "conv1", "caffenet"),
    "vgg16": ("vgg16_imagenet/vgg16_conv_head", "features.0.weight", "features.0", "caffe"),
}
PARTS = {"L-M": (0, 0), "S": (90, 0), "luminance": (0, 90)}  # azimuth and elevation


@pytest.fixture(scope="module")
def first_layers(shared_data: Callable[[str], Path]) -> dict[str, FirstLayer]:
    return {name: probed(name, shared_data) for name in NETWORKS}


def probed(name: str, shared_data: Callable[[str], Path]) -> FirstLayer:
    file, weight, layer, format_name = NETWORKS[name]
    folder, stem = file.split("/")
    path = shared_data(folder) / f"{stem}.safetensors"
    model = models.load(name, weights=path, input_format=format_name)
    field = own_format(model).field
    shown = protocols.isoluminant_frequency(field=field, orientations=24)
    responses = record(model, shown, [layer])
    dims = ("spatial_frequency", "orientation", "phase")
    f1 = [
        f1_amplitude(grid(responses.isel(stimulus=responses["part"] == part), *dims))
        for part in PARTS
    ]
    table = xr.concat(f1, "part").assign_coords(part=list(PARTS))
    table = table.transpose("part", "unit", "spatial_frequency", "orientation")
    cones = probed_cone_weights(responses)["weight"]
    return FirstLayer(load_file(path)[weight], table, cones, field.pixels_per_degree)


def sensitivity_ratio(f1: xr.DataArray) -> np.ndarray:
    """Largest isoluminant response over the largest one to luminance (Johnson et al. 2001)."""
    largest = f1.max(("spatial_frequency", "orientation"))
    return (largest.sel(part=["L-M", "S"]).max("part") / largest.sel(part="luminance")).values


def separable_ratios(energies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest sensitivity ratio that filters of one color and so much chromatic energy
    can have, over all colors."""
    circle = np.deg2rad(np.arange(0, 360, 0.1))
    opponent = np.outer(np.cos(circle), [1, -1, 0]) / 2**0.5
    opponent += np.outer(np.sin(circle), [1, 1, -2]) / 6**0.5
    energy = energies[:, None, None]
    colors = np.sqrt(1 - energy) / 3**0.5 + np.sqrt(energy) * opponent  # (energy, color, rgb)
    shown = np.concatenate([rgb_of(part) for part in PARTS])
    gains = abs(colors @ shown.T)
    ratios = gains[..., :2].max(-1) / gains[..., 2]
    return ratios.min(1), ratios.max(1)


def rgb_of(part: str) -> np.ndarray:
    azimuth, elevation = PARTS[part]
    return difference("dkl", 0.5, azimuth=azimuth, elevation=elevation)


def test_the_chromatic_energies_of_caffenet_are_those_its_source_says(
    first_layers: dict[str, FirstLayer],
) -> None:
    halves = chromatic_energy(first_layers["caffenet"].weights).values.reshape(2, 48)
    assert np.median(halves, axis=1).round(2).tolist() == [0.03, 0.91]
    assert (halves > 0.5).sum(1).tolist() == [1, 37]


def test_weights_for_inputs_divided_by_a_deviation_are_to_be_divided_by_it(
    first_layers: dict[str, FirstLayer], shared_data: Callable[[str], Path]
) -> None:
    path = shared_data("vgg16_imagenet") / "vgg16_conv1_1_torchvision_norm.safetensors"
    (refolded,) = (w for w in load_file(path).values() if w.ndim == 4)
    std = np.array(INPUT_FORMATS["torchvision"].std)[:, None, None]
    for measure in (chromatic_energy, cone_weights, hue_axis):
        own = measure(first_layers["vgg16"].weights)
        # The axis of a filter near the color of luminance turns most.
        np.testing.assert_allclose(measure(refolded / std), own, rtol=0, atol=1000 * EPS32)
    changed = chromatic_energy(refolded) - chromatic_energy(first_layers["vgg16"].weights)
    assert abs(changed).max() > 1e-3


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("part", PARTS)
def test_every_response_is_the_one_the_weights_say(
    network: str, part: str, first_layers: dict[str, FirstLayer]
) -> None:
    weights, f1, _, scale = first_layers[network]
    met = along_color(255 * weights, rgb_of(part)[0])
    shown = f1.sel(part=part)
    said = grating_amplitude(
        met,
        spatial_frequency=shown["spatial_frequency"].values,
        orientation=shown["orientation"].values,
        pixels_per_degree=scale,
    )
    # float32 rounds a pixel of up to 255, and the sums that it enters.
    scale_of_unit = 255 * abs(weights).sum((1, 2, 3))
    error = abs(said.values - shown.values).max((1, 2)) / scale_of_unit
    assert error.max() < 4 * EPS32
    assert (said.max(("spatial_frequency", "orientation")) > 1e4 * EPS32 * scale_of_unit).all()


@pytest.mark.parametrize(("network", "units", "differ"), [("caffenet", 96, 8), ("vgg16", 64, 4)])
def test_filters_and_probing_agree_on_which_units_prefer_color(
    network: str, units: int, differ: int, first_layers: dict[str, FirstLayer]
) -> None:
    layer = first_layers[network]
    energy, ratio = chromatic_energy(layer.weights).values, sensitivity_ratio(layer.f1)
    assert energy.size == units
    # What arithmetic allows a filter of one color. Of more chromatic energy than half, but less
    # than 0.93, it depends on the hue whether the isoluminant grating or the other is answered
    # more: the display shows isoluminant colors at smaller differences of rgb than black and white.
    energies = np.arange(0.01, 1, 0.005)
    least, largest = separable_ratios(energies)
    sure_of_grey, sure_of_color = energies[largest < 1].max(), energies[least > 1].min()
    assert 0.5 < sure_of_grey < sure_of_color < 0.93
    assert (ratio[energy <= 0.5] < 1).all()
    assert (ratio[energy >= sure_of_color] > 1).all()
    other = (energy > 0.5) != (ratio > 1)
    assert other.sum() == differ
    assert ((energy[other] > 0.5) & (energy[other] < sure_of_color)).all()


@pytest.mark.parametrize(("network", "differ"), [("caffenet", {45, 72, 76}), ("vgg16", {13, 55})])
def test_filters_and_probing_agree_on_which_units_are_chromatic(
    network: str, differ: set[int], first_layers: dict[str, FirstLayer]
) -> None:
    layer = first_layers[network]
    energy, ratio = chromatic_energy(layer.weights).values, sensitivity_ratio(layer.f1)
    # Johnson et al. call cells of a ratio below 0.5 luminance-preferring. What has more chromatic
    # energy than half is above, but not only that.
    assert (ratio[energy > 0.5] > 0.5).all()
    assert set(np.flatnonzero((energy > 0.5) != (ratio > 0.5))) == differ
    assert (ratio[list(differ)] < 1).all()


@pytest.mark.parametrize(
    ("network", "oriented", "turned"), [("caffenet", 75, {63}), ("vgg16", 24, set())]
)
def test_filters_and_probing_agree_on_the_orientation(
    network: str, oriented: int, turned: set[int], first_layers: dict[str, FirstLayer]
) -> None:
    layer = first_layers[network]
    said = preferred_orientation(layer.weights, least=0.3).values
    places = layer.f1.stack(shown=("part", "spatial_frequency", "orientation"))
    best = places["orientation"].values[places.values.argmax(1)]
    assert np.isfinite(said).sum() == oriented
    # The mean of the spectrum beside its peak: within two steps of the orientations shown.
    away = angle_between(said, best)
    assert set(np.flatnonzero(away > 15)) == turned
    assert np.nanmax(away) < 20


@pytest.mark.parametrize("network", NETWORKS)
def test_the_cone_weights_of_filters_of_one_color_are_those_probed(
    network: str, first_layers: dict[str, FirstLayer]
) -> None:
    layer = first_layers[network]
    pure = main_component(layer.weights)["share"].values > 0.99
    assert pure.sum() >= 30
    # The other components hold up to 1 % of the energy, a tenth of the amplitude.
    away = cone_weights(layer.weights).values - layer.cones.values
    assert abs(away[pure]).max() < 0.1


@pytest.mark.parametrize("network", NETWORKS)
def test_grey_filters_are_cone_opponent_by_either_way_since_they_are_not_luminance(
    network: str, first_layers: dict[str, FirstLayer]
) -> None:
    layer = first_layers[network]
    grey = chromatic_energy(layer.weights).values < 0.1
    assert grey.sum() >= 30
    for weights in (cone_weights(layer.weights), layer.cones):
        assert (weights.sel(cone="L") * weights.sel(cone="M") < 0).values[grey].all()
