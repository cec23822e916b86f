"""The named experiments show what the papers showed."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ephys.models.gabor_bank import GaborBank
from ephys.stimuli import protocols
from ephys.stimuli.sweep import StimulusSet
from ephys.visual_field import VisualField

PIXELS_PER_DEGREE = 15
IMAGE = VisualField(48, 48, PIXELS_PER_DEGREE)  # of the bank's super-resolution network
NAMES = sorted(protocols.PROTOCOLS)


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


def test_a_protocol_is_found_under_the_name_of_its_function() -> None:
    for name, protocol in protocols.PROTOCOLS.items():
        assert protocol.__name__ == name
        assert getattr(protocols, name) is protocol
    public = {
        name
        for name, value in inspect.getmembers(protocols, inspect.isfunction)
        if value.__module__ == protocols.__name__ and not name.startswith("_")
    }
    assert public == set(protocols.PROTOCOLS)


def test_no_orientations_are_refused() -> None:
    with pytest.raises(ValueError, match=r"orientation=\[\] is empty"):
        protocols.contrast_invariance(orientations=0)
