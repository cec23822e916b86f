"""The named experiments show what the papers showed."""

import colorsys
import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ephys.models.gabor_bank import GaborBank
from ephys.stimuli import protocols
from ephys.stimuli.colors import cone_contrasts, luminance
from ephys.stimuli.protocols import BATTERIES, PROTOCOLS, Protocol, citation, protocol, purpose
from ephys.stimuli.sweep import StimulusSet
from ephys.visual_field import VisualField

PIXELS_PER_DEGREE = 15
IMAGE = VisualField(48, 48, PIXELS_PER_DEGREE)  # of the bank's super-resolution network
NAMES = ["contrast_invariance", "contrast_invariance_patches"]
DISPLAYS = [protocols.STANDARD, IMAGE, VisualField(32, 32, 4.0), VisualField(240, 160, 20.0)]
OF_A_FIELD = [
    name
    for name, make in protocols.PROTOCOLS.items()
    if "field" in inspect.signature(make).parameters and name != "natural_images"
]


def axis(stimuli: StimulusSet, name: str) -> np.ndarray:
    """The values that a parameter goes through."""
    return np.unique(stimuli.table[name].values)


def test_gratings_are_shown_in_every_combination_once() -> None:
    # 4 spatial frequencies x 7 contrasts x 25 orientations x 8 phases
    stimuli = protocols.contrast_invariance()
    assert len(stimuli) == 4 * 7 * 25 * 8
    assert set(stimuli.table["family"].values) == {"grating"}
    table = np.stack([stimuli.table[name].values for name in stimuli.parameters], axis=1)
    assert len(np.unique(table, axis=0)) == len(stimuli)


def test_patches_are_shown_in_every_combination_once() -> None:
    # 3 spatial frequencies x 7 contrasts x 25 orientations x 8 phases
    stimuli = protocols.contrast_invariance_patches()
    assert len(stimuli) == 3 * 7 * 25 * 8
    assert set(stimuli.table["family"].values) == {"gabor"}
    table = np.stack([stimuli.table[name].values for name in stimuli.parameters], axis=1)
    assert len(np.unique(table, axis=0)) == len(stimuli)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("parameter", "count", "circle"), [("orientation", 25, 180), ("phase", 8, 360)]
)
def test_angles_go_around_the_circle_once_without_both_ends(
    name: str, parameter: str, count: int, circle: float
) -> None:
    angles = axis(protocols.PROTOCOLS[name](), parameter)
    assert len(angles) == count
    assert angles[0] == 0
    # One rounding in each angle, below the circle's own.
    gaps = np.diff([*angles, angles[0] + circle])
    np.testing.assert_allclose(gaps, circle / count, rtol=0, atol=2 * np.spacing(float(circle)))


@pytest.mark.parametrize("name", NAMES)
def test_contrasts_are_the_papers_and_three_low_ones(name: str) -> None:
    contrasts = protocols.PROTOCOLS[name]().table["contrast"].values
    np.testing.assert_array_equal(np.unique(contrasts), [0.02, 0.05, 0.1, 0.2, 0.5, 0.75, 0.9])


def test_spatial_frequencies_are_those_of_the_gabor_bank() -> None:
    of_bank = np.unique(GaborBank().cells["spatial_frequency"]) * PIXELS_PER_DEGREE
    shown = axis(protocols.contrast_invariance(), "spatial_frequency")
    # Two roundings on either side.
    np.testing.assert_allclose(shown, of_bank, rtol=4 * np.finfo(float).eps)


def test_patches_have_the_cycles_and_the_width_of_the_released_sheets() -> None:
    stimuli = protocols.contrast_invariance_patches()
    cycles_per_image = axis(stimuli, "spatial_frequency") * IMAGE.width
    envelope_in_images = axis(stimuli, "envelope_sd") / IMAGE.width
    # Two roundings: by 3.2 and back.
    np.testing.assert_allclose(cycles_per_image, [2.63, 3.91, 5.85], rtol=1e-15)
    np.testing.assert_allclose(envelope_in_images, [0.119], rtol=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_the_image_that_the_network_takes_can_show_them(name: str) -> None:
    stimuli = protocols.PROTOCOLS[name]()
    stimuli.check(IMAGE)
    # And their Nyquist limit is needed: half the pixels cannot carry the highest of them.
    highest = axis(stimuli, "spatial_frequency")[-1]
    with pytest.raises(ValueError, match=r"Nyquist limit"):
        stimuli.check(VisualField(48, 48, 1.99 * highest))


@pytest.mark.parametrize("name", NAMES)
def test_the_phases_of_one_grating_average_to_the_blank(name: str) -> None:
    # Eight evenly spaced phases cancel; each pixel is off by a few float32 roundings of 2^-24.
    stimuli = protocols.PROTOCOLS[name](
        spatial_frequencies=[2], contrasts=[0.9], orientations=3, phases=8
    )
    mean = stimuli.render(IMAGE).double().reshape(3, 8, 48, 48).mean(1)
    np.testing.assert_allclose(mean, 0.5, rtol=0, atol=4 * 2.0**-24)


@pytest.mark.parametrize("name", NAMES)
def test_one_contrast_and_one_spatial_frequency_may_be_numbers(name: str) -> None:
    protocol = protocols.PROTOCOLS[name]
    numbers = protocol(spatial_frequencies=2, contrasts=0.9)
    assert numbers.sha256 == protocol(spatial_frequencies=[2], contrasts=[0.9]).sha256


@given(orientations=st.integers(1, 40), phases=st.integers(1, 12))
@settings(max_examples=20, deadline=None)
def test_any_number_of_angles_can_be_asked_for(orientations: int, phases: int) -> None:
    stimuli = protocols.contrast_invariance(
        spatial_frequencies=1, contrasts=[0.5, 0.1], orientations=orientations, phases=phases
    )
    assert len(stimuli) == 2 * orientations * phases
    assert stimuli.table["orientation"].max() == pytest.approx(180 - 180 / orientations)
    assert stimuli.table["phase"].max() == pytest.approx(360 - 360 / phases)
    assert (np.diff(stimuli.table["contrast"]) >= 0).all()


def test_no_orientations_are_refused() -> None:
    with pytest.raises(ValueError, match=r"orientation=\[\] is empty"):
        protocols.contrast_invariance(orientations=0)


# All of them.


@pytest.mark.parametrize("name", [*PROTOCOLS, *BATTERIES])
def test_every_protocol_says_in_one_line_what_it_is_for(name: str) -> None:
    assert purpose(name).endswith((".", "?"))
    assert "\n" not in purpose(name)
    assert name == "v1" or any(character.isdigit() for character in citation(name))


def test_batteries_are_made_of_protocols() -> None:
    for battery in BATTERIES.values():
        assert set(battery.members) <= set(PROTOCOLS)
        assert len(set(battery.members)) == len(battery.members)


@pytest.mark.parametrize("display", DISPLAYS)
@pytest.mark.parametrize("name", OF_A_FIELD)
def test_what_a_display_is_offered_it_can_show(name: str, display: VisualField) -> None:
    stimuli = protocol(name, display).stimuli
    stimuli.check(display)
    assert len(stimuli.blank) == 1
    if name != "opponency":  # whose grids have both ends of the circle
        rows = stimuli.table.to_dataframe()
        assert len(rows.drop_duplicates()) == len(stimuli)


def test_the_number_of_stimuli_is_the_product_of_the_axes() -> None:
    # On 8 degrees at 28 pixels per degree: 6 octaves from 0.25 to 8 cycles per degree, 12 half
    # octaves, and 12 diameters in half octaves from 0.18 to 8 degrees.
    expected = {
        "orientation": 24 * 6 * 8,
        "spatial_frequency": 12 * 8 * 8,
        "contrast": 8 * 8 * 6 * 4,
        "size": 12 * 6 * 6 * 4,
        "surround": 8 * 6 * 3 * 4 * (1 + 6),
        "cross_orientation": 6 * 6 * 5 * 5 * 4 * 4,
        "direction": 24 * 6 * 8,
        "receptive_field": 20 * 20 * 2,  # squares of 11 pixels
        "hue": 36,
        "cone_weights": 4 * 8 * 6 * 4,
        "isoluminant_frequency": 3 * 8 * 6 * 4,
        "opponency": 360 + 960 + 3,
        "marques2020": 3528 + 1152 + 2112 + 2304,
    }
    assert {name: len(PROTOCOLS[name]()) for name in expected} == expected


@pytest.mark.parametrize("display", DISPLAYS)
def test_frequencies_go_from_two_cycles_across_the_field_to_below_the_nyquist_limit(
    display: VisualField,
) -> None:
    shown = axis(protocols.spatial_frequency(field=display), "spatial_frequency")
    assert shown[0] == 2 / min(display.width, display.height)
    # Half octaves: 2^(k/2) is rounded once, and so is its product.
    np.testing.assert_allclose(shown[1:] / shown[:-1], np.sqrt(2), rtol=1e-15)
    assert shown[-1] < display.nyquist <= np.sqrt(2) * shown[-1] * (1 + 1e-15)


@pytest.mark.parametrize("display", DISPLAYS)
def test_diameters_go_from_four_pixels_to_the_whole_field(display: VisualField) -> None:
    shown = axis(protocols.size(field=display), "diameter")
    assert shown[-1] == min(display.width, display.height)
    np.testing.assert_allclose(shown[1:] / shown[:-1], np.sqrt(2), rtol=1e-15)
    smallest = shown[0] * display.pixels_per_degree
    assert 4 * (1 - 1e-12) <= smallest < 4 * np.sqrt(2)


def test_an_unknown_protocol_is_answered_with_the_nearest() -> None:
    with pytest.raises(KeyError, match=r"no protocol 'orientaton'; did you mean orientation"):
        protocol("orientaton")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "../a", "é"])
def test_a_protocol_has_a_name_that_can_be_a_folder(name: str) -> None:
    with pytest.raises(ValueError, match=r"name=.* is not of letters, digits, - and _ alone"):
        Protocol(name, "", "", protocols.hue())


# Each for itself.


def test_a_surround_is_shown_around_every_centre_that_is_shown_alone() -> None:
    table = protocols.surround().table.to_dataframe()
    centers = ["orientation", "spatial_frequency", "center_diameter", "phase"]
    alone, around = (table[table["part"] == part] for part in ("center", "surround"))
    assert (alone["surround_contrast"] == 0).all()
    assert (around["surround_contrast"] == 1).all()
    assert (around.groupby(centers)["surround_angle"].nunique() == 6).all()
    assert set(map(tuple, alone[centers].values)) == set(map(tuple, around[centers].values))


def test_every_contrast_is_crossed_with_every_contrast() -> None:
    table = protocols.cross_orientation().table
    pairs = set(zip(table["contrast"].values, table["mask_contrast"].values, strict=True))
    contrasts = [0, 0.06, 0.12, 0.25, 0.5]
    assert pairs == {(own, mask) for own in contrasts for mask in contrasts}
    assert (table["mask_angle"] == 90).all()


def test_the_frames_of_a_drifting_grating_are_one_cycle() -> None:
    stimuli = protocols.direction(field=IMAGE, directions=4, frames=8, spatial_frequencies=2)
    frames = stimuli.render(IMAGE).double().reshape(4, 8, 48, 48)
    line = np.fft.fft(frames - 0.5, axis=1)
    # Of one cycle in eight frames there is nothing but the first harmonic.
    power = np.abs(line).max(axis=(0, 2, 3))
    assert power[1] == pytest.approx(8 * 0.25, abs=8 * 4.5 * 2.0**-24)
    assert power[[0, 2, 3, 4]].max() < 8 * 4.5 * 2.0**-24


def test_the_squares_of_the_receptive_field_protocol_tile_the_field() -> None:
    field = VisualField(42, 42, 10.0)
    stimuli = protocols.receptive_field(field=field)
    light = stimuli[stimuli.table["polarity"].values == 1].render(field) == 1
    assert (light.sum(0) == 1).all()
    assert (light.sum((1, 2, 3)) == 4).all()


@pytest.mark.parametrize("encoding", ["linear", "srgb"])
def test_hues_are_isoluminant_fields_around_a_circle(encoding: str) -> None:
    table = protocols.hue(encoding=encoding)
    images = protocols.hue().render(VisualField(1, 1, 1.0))[:, :, 0, 0]
    # Three float32 roundings of 2^-24, weighed by what sums to 1, and that of the mean.
    np.testing.assert_allclose(luminance(images.double()), 0.5, rtol=0, atol=2.0**-23)
    np.testing.assert_allclose(np.diff(table.table["azimuth"]), 10)
    opposite = images[:18] + images[18:]
    np.testing.assert_allclose(opposite, 1, rtol=0, atol=2.0**-22)


@pytest.mark.parametrize(
    ("part", "seen"), [("L", (1, 0, 0)), ("M", (0, 1, 0)), ("S", (0, 0, 1)), ("L+M+S", (1, 1, 1))]
)
def test_each_kind_of_cone_is_shown_what_the_others_do_not_see(
    part: str, seen: tuple[int, int, int]
) -> None:
    stimuli = protocols.cone_weights(
        field=IMAGE, orientations=1, phases=2, spatial_frequencies=0, contrast=0.1
    )
    images = stimuli[stimuli.table["part"].values == part].render(VisualField(1, 1, 1.0))
    light, dark = cone_contrasts(images[:, :, 0, 0].double().numpy(), 0.5)
    # A float32 of rgb is off by 2^-25; to the S cone's contrast, where blue counts least, that is
    # at most three times as much over a grey of 0.5.
    np.testing.assert_allclose(light, 0.1 * np.array(seen), rtol=0, atol=2e-7)
    np.testing.assert_allclose(dark, -0.1 * np.array(seen), rtol=0, atol=2e-7)


def test_isoluminant_gratings_have_one_luminance() -> None:
    stimuli = protocols.isoluminant_frequency(field=IMAGE)
    part = stimuli.table["part"].values
    images = stimuli.render(IMAGE).double().numpy()
    y = luminance(np.moveaxis(images, 1, -1))
    np.testing.assert_allclose(y[part != "luminance"], 0.5, rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.ptp(y[part == "luminance"], axis=(1, 2)).max(), 1, atol=0.01)


@pytest.mark.parametrize("pixels", [32, 224])
def test_opponency_is_asked_with_the_grids_of_its_authors(pixels: int) -> None:
    field = VisualField(pixels, pixels, pixels / 8)
    stimuli = protocols.opponency(field=field)
    table = stimuli.table
    part = table["part"].values
    hues, waves, greys = (stimuli[part == name] for name in ("hue", "grating", "baseline"))
    one = VisualField(1, 1, 1.0)
    expected = [colorsys.hls_to_rgb(hue / 360, 0.5, 1.0) for hue in range(360)]
    np.testing.assert_allclose(hues.render(one)[:, :, 0, 0], expected, rtol=0, atol=2.0**-23)
    assert greys.render(one).flatten().tolist() == [0, 0.5, 1]
    cycles = axis(waves, "spatial_frequency") * field.width
    # The sixteenth is the Nyquist limit of 32 pixels.
    np.testing.assert_allclose(cycles, np.arange(1, 17)[: 15 if pixels == 32 else 16], rtol=1e-15)
    assert axis(waves, "orientation").tolist() == list(range(0, 181, 20))
    assert axis(waves, "phase").tolist() == list(range(0, 361, 72))
    assert len(waves) == len(cycles) * 10 * 6


def theirs(part: str) -> dict[str, np.ndarray]:
    """Of the faithful set: position and frequency as its authors list them."""
    table = protocols.marques2020().table.to_dataframe()
    rows = table[table["part"] == part]
    return {name: np.unique(rows[name]) for name in ("x", "y", "radius", "spatial_frequency")}


def test_the_battery_of_marques_has_the_grids_that_are_published() -> None:
    mapping, orientation = theirs("receptive_field"), theirs("orientation")
    frequency, size = theirs("spatial_frequency"), theirs("size")
    for name in ("x", "y"):
        np.testing.assert_array_equal(mapping[name], np.arange(-10, 11) / 4)
    assert mapping["radius"].tolist() == [1 / 6]
    for sets in (orientation, frequency, size):
        assert sets["x"].tolist() == [0.5]
        assert sets["y"].tolist() == [-0.5]  # theirs is downward
    octaves = [0.771, 1.542, 3.084, 6.169]
    np.testing.assert_allclose(orientation["spatial_frequency"], octaves, atol=5e-4)
    assert frequency["radius"].tolist() == [0.75, 2.25]
    assert len(frequency["spatial_frequency"]) == 22
    ends = frequency["spatial_frequency"][[0, -1]]
    np.testing.assert_allclose(ends, [0.386, 14.672], atol=1e-3)
    radii = [0.105, 0.149, 0.210, 0.297, 0.420, 0.595, 0.841, 1.189, 1.682, 2.378, 3.364, 4.757]
    np.testing.assert_allclose(size["radius"], radii, atol=5e-4)
    np.testing.assert_allclose(size["spatial_frequency"], octaves, atol=5e-4)
    cycles = np.multiply.outer([2, 3, 4], 1 / (2 * orientation["spatial_frequency"]))
    np.testing.assert_allclose(orientation["radius"], np.unique(cycles), rtol=1e-15)
    assert protocols.marques2020().fixed


def test_the_corrected_battery_is_theirs_less_what_the_display_cannot_show() -> None:
    own, faithful = protocols.marques2020_corrected().table, protocols.marques2020().table
    assert not protocols.marques2020_corrected().fixed
    for part, count in [("receptive_field", 3528), ("orientation", 1152)]:
        assert (own["part"] == part).sum() == count
    frequencies = np.unique(faithful["spatial_frequency"])
    np.testing.assert_array_equal(np.unique(own["spatial_frequency"]), frequencies[:-1])
    diameters = 2 * np.unique(faithful["radius"])
    np.testing.assert_array_equal(np.unique(own["diameter"]), diameters[diameters <= 8])
    assert (own["part"] == "size").sum() == 2304 * 11 // 12
    assert (own["part"] == "spatial_frequency").sum() == 2112 * 21 // 22


def test_photographs_are_those_of_the_test_set(
    shared_data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPHYS_DATA", str(shared_data("bsds500").parent))
    stimuli = protocols.natural_images(field=IMAGE)
    assert len(np.unique(stimuli.table["file"].values)) == len(stimuli) == 200
    assert all("test" in str(file) for file in stimuli.table["file"].values)
    assert stimuli.channels == 3
    assert not stimuli.colored  # a model of luminance can be shown them
    assert (
        stimuli.sha256
        == protocols.natural_images(field=IMAGE).sha256
        != protocols.natural_images(field=IMAGE, seed=1).sha256
    )
    matched = protocols.natural_images(field=IMAGE, luminance=0.1, rms_contrast=0.4)
    light = matched[:10].render(IMAGE, channels=1)[:, 0]
    assert light.shape == (10, 48, 48)


def test_photographs_that_are_not_there_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EPHYS_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="bsds500"):
        protocols.natural_images()
