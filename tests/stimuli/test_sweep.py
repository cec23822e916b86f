"""Stimulus sets: a table of parameters that behaves like a list, drawn when it is looked at."""

import functools
import inspect
import itertools
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor

from ephys.stimuli.colors import LUMINANCE_WEIGHTS, difference, encode_srgb
from ephys.stimuli.families import FAMILIES, PARAMETERS
from ephys.stimuli.gratings import (
    counterphase_grating,
    drifting_grating,
    gabor,
    grating,
    square_grating,
)
from ephys.stimuli.marques import marques_grating
from ephys.stimuli.noises import sparse_noise, white_noise
from ephys.stimuli.photographs import photograph
from ephys.stimuli.sweep import StimulusSet, blank, paired, sweep
from ephys.visual_field import VisualField

FIELD = VisualField(12, 14, 8.0)


def gratings() -> StimulusSet:
    return sweep(
        grating,
        spatial_frequency=[1, 2],
        contrast=[0.1, 0.5, 1.0],
        orientation=[0, 30, 60, 90],
        mean_luminance=0.4,
    )


def gabors() -> StimulusSet:
    return sweep(gabor, spatial_frequency=1.5, envelope_sd=[0.3, 0.6], phase=[0, 90, 180])


def noises() -> StimulusSet:
    return sweep(white_noise, seed=range(3), check_size=0.125, side=1) + sweep(
        sparse_noise, x=[-0.25, 0.25], y=0, check_size=0.25, polarity=[-1, 1]
    )


def movies() -> StimulusSet:
    return sweep(
        *(drifting_grating,),
        spatial_frequency=[1, 2],
        temporal_frequency=[2, 3],
        direction=[0, 90, 200],
    )


def colors() -> StimulusSet:
    """In two color systems, one of which is encoded, and beside them one of luminance."""
    dkl = sweep(grating, spatial_frequency=1, color="dkl", azimuth=[0, 90, 180], contrast=0.9)
    hsl = paired(
        gabor,
        spatial_frequency=1,
        envelope_sd=0.4,
        color="hsl",
        hue=[0, 120],
        saturation=0.5,
        lightness=0.5,
        encoding="srgb",
        contrast=0.5,
    )
    return dkl + hsl + sweep(grating, spatial_frequency=2, contrast=[0.2, 0.8])


def windows() -> StimulusSet:
    """One aperture for all of a family, several, and none."""
    return (
        sweep(grating, spatial_frequency=1, orientation=[0, 45], diameter=1, edge_width=0.2)
        + sweep(grating, spatial_frequency=1, diameter=[1, 1.25], x=[0, 0.1])
        + sweep(white_noise, seed=range(2), check_size=0.125, side=1, diameter=0.8)
        + sweep(grating, spatial_frequency=1, inner_diameter=0.5)
        + sweep(grating, spatial_frequency=1, envelope_sd=0.3)
    )


def rows(stimuli: StimulusSet) -> list[tuple[object, ...]]:
    """Each stimulus as its family and parameters."""
    columns = [stimuli.table[name].values.tolist() for name in ["family", *stimuli.parameters]]
    return list(zip(*columns, strict=True))


# The table.


def test_a_sweep_is_the_product_of_its_axes_with_the_last_running_fastest() -> None:
    stimuli = gratings()
    expected = itertools.product([1.0, 2.0], [0.1, 0.5, 1.0], [0.0, 30.0, 60.0, 90.0], [0.4])
    names = ["spatial_frequency", "contrast", "orientation", "mean_luminance"]
    columns = [stimuli.table[name].values for name in names]
    assert list(zip(*columns, strict=True)) == list(expected)
    assert len(stimuli) == 24


def test_an_axis_keeps_the_order_it_was_given_in() -> None:
    stimuli = sweep(grating, spatial_frequency=1, orientation=[90, 0, 45])
    np.testing.assert_array_equal(stimuli.table["orientation"], [90, 0, 45])


def test_every_parameter_says_its_unit() -> None:
    table = (gratings() + gabors() + noises()).table
    assert len(table.data_vars) > 10
    for name in set(map(str, table.data_vars)) - {"family"}:
        assert table[name].attrs["units"] == PARAMETERS[name].units
        assert table[name].attrs["long_name"] == name.replace("_", " ")


def test_words_stand_in_the_table_and_numbers_beside_them() -> None:
    table = colors().table
    assert table["color"].values.tolist() == ["dkl"] * 3 + ["hsl"] * 2 + [""] * 2
    assert table["encoding"].values.tolist() == [""] * 3 + ["srgb"] * 2 + [""] * 2
    np.testing.assert_array_equal(table["azimuth"], [0, 90, 180, *[np.nan] * 4])
    assert "units" not in table["color"].attrs


def test_the_parameters_are_named_in_alphabetical_order() -> None:
    of_grating = ["contrast", "mean_luminance", "orientation", "phase", "spatial_frequency"]
    assert gratings().parameters == of_grating
    assert gabors().parameters == sorted([*of_grating, "envelope_sd"])
    assert (gratings() + gabors()).parameters == gabors().parameters


def test_what_was_not_asked_for_stands_in_the_table_with_the_functions_default() -> None:
    short = sweep(grating, orientation=[0, 45], spatial_frequency=[1, 2])
    long = sweep(
        grating,
        contrast=1,
        mean_luminance=0.5,
        phase=0,
        orientation=[0, 45],
        spatial_frequency=[1, 2],
    )
    assert rows(short) == rows(long)
    assert short.sha256 == long.sha256


# One by one.


def test_columns_are_paired_row_by_row_and_a_single_value_holds_for_all() -> None:
    stimuli = paired(grating, spatial_frequency=[1, 2, 2], orientation=[0, 0, 50], contrast=0.5)
    names = ["spatial_frequency", "orientation", "contrast", "phase"]
    columns = [stimuli.table[name].values for name in names]
    assert list(zip(*columns, strict=True)) == [(1, 0, 0.5, 0), (2, 0, 0.5, 0), (2, 50, 0.5, 0)]


@given(frequencies=st.lists(st.floats(0, 3), unique=True, min_size=1, max_size=4))
@settings(max_examples=20, deadline=None)
def test_a_sweep_is_a_pairing_of_all_combinations(frequencies: list[float]) -> None:
    angles = [0.0, 20.0, 120.0]
    swept = sweep(grating, spatial_frequency=frequencies, orientation=angles)
    f, angle = np.array(list(itertools.product(frequencies, angles))).T
    assert swept.sha256 == paired(grating, spatial_frequency=f, orientation=angle).sha256


def test_a_column_of_none_makes_a_set_of_none() -> None:
    nothing = paired(grating, spatial_frequency=[], contrast=0.5)
    assert len(nothing) == 0
    assert nothing.render(FIELD).shape == (0, 1, 12, 14)
    assert (nothing + gratings()).sha256 == gratings().sha256


def test_columns_of_different_lengths_are_refused() -> None:
    message = r"^columns differ in length: \{'spatial_frequency': 3, 'phase': 2\}$"
    with pytest.raises(ValueError, match=message):
        paired(grating, spatial_frequency=[1, 2, 3], phase=[0, 90], contrast=0.5)


@pytest.mark.parametrize("family", [sweep, paired])
def test_words_are_swept_and_paired_as_numbers_are(family: Callable[..., StimulusSet]) -> None:
    stimuli = family(grating, spatial_frequency=1, encoding=["linear", "srgb"], part="dark")
    assert stimuli.table["encoding"].values.tolist() == ["linear", "srgb"]
    assert stimuli.table["part"].values.tolist() == ["dark", "dark"]
    assert {"encoding", "part"} <= set(stimuli.parameters)


# Like a list.

COUNT = len(gratings()) + len(gabors())


@given(
    start=st.integers(-COUNT, COUNT),
    stop=st.integers(-COUNT, COUNT),
    step=st.sampled_from([1, 2, 5, -1, -3]),
)
@settings(max_examples=30, deadline=None)
def test_a_slice_of_a_set_is_the_slice_of_its_rows(start: int, stop: int, step: int) -> None:
    # A slice without a gabor has no column for one, hence the comparison by name.
    stimuli = gratings() + gabors()
    which = slice(start, stop, step)
    part = stimuli[which]
    assert len(part) == len(range(COUNT)[which])
    for name in ["family", *part.parameters]:
        np.testing.assert_array_equal(part.table[name], stimuli.table[name][which])


def test_indices_and_a_mask_choose_as_they_do_in_numpy() -> None:
    stimuli = gratings()
    indices = [5, 0, 5, -1]
    assert rows(stimuli[indices]) == [rows(stimuli)[i] for i in indices]
    mask = stimuli.table["contrast"].values == 0.5
    assert rows(stimuli[mask]) == [
        row for row, chosen in zip(rows(stimuli), mask, strict=True) if chosen
    ]
    assert len(stimuli[mask]) == 8


@pytest.mark.parametrize("make", [gratings, colors])
def test_slices_put_back_together_are_the_set(make: Callable[[], StimulusSet]) -> None:
    stimuli = make()
    for cut in (0, 1, 3, len(stimuli)):
        again = stimuli[:cut] + stimuli[cut:]
        assert again.table.equals(stimuli.table)
        assert again.parameters == stimuli.parameters


def test_one_stimulus_is_a_set_and_not_a_number() -> None:
    with pytest.raises(TypeError, match=r"\[i : i \+ 1\] is one"):
        gratings()[3]


# Drawing.


@given(
    mean_luminance=st.floats(0, 0.5),
    contrast=st.floats(0, 1),
    phase=st.floats(0, 360),
)
@settings(max_examples=40, deadline=None)
def test_a_modulation_is_added_to_the_mean_luminance_in_its_units(
    mean_luminance: float, contrast: float, phase: float
) -> None:
    asked: dict[str, Any] = {"spatial_frequency": 1.5, "contrast": contrast, "phase": phase}
    image = sweep(grating, mean_luminance=mean_luminance, **asked).render(FIELD)[0]
    expected = mean_luminance * (1 + grating(FIELD, **asked).double())
    # The luminance, twice, the product, and the pixel are rounded: below u (m + 2 m c + 1).
    np.testing.assert_allclose(image, expected, rtol=0, atol=2.5 * 2.0**-24)


def test_a_set_draws_its_rows_as_each_is_drawn_alone() -> None:
    stimuli = gratings()
    images = stimuli.render(FIELD)
    assert images.shape == (24, 1, 12, 14)
    assert images.dtype == torch.float32
    for i, row in enumerate(
        itertools.product([1.0, 2.0], [0.1, 0.5, 1.0], [0.0, 30.0, 60.0, 90.0])
    ):
        spatial_frequency, contrast, orientation = row
        alone = paired(
            grating,
            spatial_frequency=spatial_frequency,
            contrast=contrast,
            orientation=orientation,
            mean_luminance=0.4,
        )
        assert torch.equal(images[i], alone.render(FIELD)[0])


def mixed() -> dict[str, tuple[StimulusSet, StimulusSet]]:
    plain = sweep(grating, spatial_frequency=2, orientation=[0, 90])
    return {
        "two families": (gratings(), gabors()),
        "two families, the other way": (gabors(), gratings()),
        "noises, which share few parameters with gabors": (noises(), gabors()),
        "one family with other axes": (sweep(grating, spatial_frequency=1, phase=[0, 90]), plain),
        "a blank, and gratings that leave contrast to its default": (blank(), plain),
        "with words, and without": (colors(), plain),
        "without words, and with": (plain, colors()),
        "in apertures, and without": (windows(), plain),
        "moving, and still": (movies(), plain),
    }


@pytest.mark.parametrize("name", mixed())
def test_two_sets_together_are_drawn_as_each_is_alone(name: str) -> None:
    first, second = mixed()[name]
    together = first + second
    assert len(together) == len(first) + len(second)
    together.check(FIELD)
    images = together.render(FIELD, channels=3)
    apart = torch.cat([one.render(FIELD, channels=3) for one in (first, second)])
    assert torch.equal(images, apart)


def test_interleaved_families_are_drawn_in_their_places() -> None:
    stimuli = gratings() + noises() + gabors() + colors() + windows()
    shuffled = np.random.default_rng(90125).permutation(len(stimuli))
    images = stimuli[shuffled].render(FIELD, channels=3)
    # Of an encoded pixel the last bit depends on where in memory it lies.
    encoded = stimuli.table["encoding"].values == "srgb"
    expected = stimuli.render(FIELD, channels=3)[shuffled]
    assert torch.equal(images[~encoded[shuffled]], expected[~encoded[shuffled]])
    np.testing.assert_allclose(images, expected, rtol=0, atol=4 * 2.0**-24)


def test_a_parameter_that_a_family_does_not_have_is_nan() -> None:
    table = (gratings() + gabors()).table
    of_gabors = table["family"].values == "gabor"
    np.testing.assert_array_equal(np.isnan(table["envelope_sd"]), ~of_gabors)
    for name in gratings().parameters:
        assert not np.isnan(table[name]).any()


@pytest.mark.parametrize("batch", [1, 5, 30])
def test_batches_are_drawn_as_the_whole_is(batch: int) -> None:
    stimuli = gratings() + gabors() + windows()
    batches = [stimuli[i : i + batch].render(FIELD) for i in range(0, len(stimuli), batch)]
    assert torch.equal(torch.cat(batches), stimuli.render(FIELD))


@pytest.mark.parametrize("pixels", [1, 12 * 14, 5 * 12 * 14 + 1])
def test_drawing_in_parts_changes_no_pixel(monkeypatch: pytest.MonkeyPatch, pixels: int) -> None:
    stimuli = gratings() + windows() + movies() + noises()
    images = stimuli.render(FIELD)
    # ``ephys.stimuli.sweep`` is the function, which hides the module.
    monkeypatch.setattr(import_module("ephys.stimuli.sweep"), "DRAWN", pixels)
    assert torch.equal(stimuli.render(FIELD), images)


@pytest.mark.parametrize("make", [gratings, windows, movies, noises])
def test_a_set_on_a_crop_is_the_crop_of_the_set(make: Callable[[], StimulusSet]) -> None:
    stimuli, crop = make(), (slice(2, 9), slice(5, 6))
    assert torch.equal(stimuli.render(FIELD.crop(*crop)), stimuli.render(FIELD)[:, :, *crop])


def test_a_slice_of_a_set_draws_nothing_but_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gratings() + gabors()
    drawn: list[int] = []

    @functools.wraps(grating)
    def counting(field: VisualField, **parameters: ArrayLike) -> Tensor:
        images = grating(field, **parameters)  # type: ignore[arg-type]
        drawn.append(len(images))
        return images

    monkeypatch.setitem(FAMILIES, "grating", replace(FAMILIES["grating"], draw=counting))
    part = (whole + whole)[[3, 8, 21]]
    part.check(FIELD)
    assert len(part.sha256) == 64
    assert drawn == []
    part.render(FIELD)
    assert drawn == [3]


def test_a_blank_is_the_mean_luminance_everywhere() -> None:
    assert len(blank()) == 1
    assert (blank().render(FIELD) == 0.5).all()
    assert (blank(0.25).render(FIELD) == 0.25).all()


def test_checking_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    stimuli = gratings() + windows()
    checked = stimuli.render(FIELD)

    def refuse(self: StimulusSet, field: VisualField) -> None:
        raise ValueError("looked at")

    monkeypatch.setattr(StimulusSet, "check", refuse)
    assert torch.equal(stimuli.render(FIELD, check=False), checked)
    with pytest.raises(ValueError, match="looked at"):
        stimuli.render(FIELD)


# Apertures, for every family.


@pytest.mark.parametrize("family", ["grating", "white_noise"])
def test_outside_its_aperture_a_stimulus_is_grey_and_within_as_without(family: str) -> None:
    parameters: dict[str, dict[str, Any]] = {
        "grating": {"spatial_frequency": 1, "orientation": 20, "phase": 10},
        "white_noise": {"seed": 3, "check_size": 0.125, "side": 1.5},
    }
    asked = parameters[family] | {"mean_luminance": 0.3, "x": 0.1, "y": -0.05}
    draw = FAMILIES[family].draw
    whole = sweep(draw, **asked).render(FIELD)[0, 0].numpy()
    seen = sweep(draw, diameter=1, **asked).render(FIELD)[0, 0].numpy()
    x, y = np.meshgrid(FIELD.x - 0.1, FIELD.y + 0.05)
    within = np.hypot(x, y) <= 0.5
    assert (seen[within] == whole[within]).all()
    assert (seen[~within] == np.float32(0.3)).all()
    assert (whole[~within] != np.float32(0.3)).any()


def test_a_window_of_a_grating_makes_a_gabor_patch() -> None:
    asked: dict[str, Any] = {"spatial_frequency": 1.5, "envelope_sd": 0.3, "orientation": 40}
    # Two ways to round one formula: 4 u as gratings are, and 3 u more for the window and product.
    np.testing.assert_allclose(
        sweep(grating, **asked).render(FIELD),
        sweep(gabor, **asked).render(FIELD),
        rtol=0,
        atol=(4.5 + 6) * 2.0**-24,
    )


def test_an_aperture_of_a_gabor_patch_cuts_it_without_a_second_envelope() -> None:
    asked: dict[str, Any] = {"spatial_frequency": 1.5, "envelope_sd": 0.3, "phase": 40}
    whole = sweep(gabor, **asked).render(FIELD)[0, 0]
    cut = sweep(gabor, diameter=0.6, **asked).render(FIELD)[0, 0]
    within = np.hypot(*np.meshgrid(FIELD.x, FIELD.y)) <= 0.3
    assert torch.equal(cut[within], whole[within])
    assert (cut[~within] == 0.5).all()


# Color and encoding.


@given(
    azimuth=st.floats(0, 360),
    contrast=st.floats(0, 0.9),
    mean_luminance=st.floats(0.05, 0.95),
)
@settings(max_examples=40, deadline=None)
def test_a_colored_grating_goes_from_the_grey_to_its_color_and_as_far_beyond(
    azimuth: float, contrast: float, mean_luminance: float
) -> None:
    asked: dict[str, Any] = {"spatial_frequency": 1.5, "phase": 20, "contrast": contrast}
    stimuli = sweep(grating, color="dkl", azimuth=azimuth, mean_luminance=mean_luminance, **asked)
    images = stimuli.render(FIELD)
    assert images.shape == (1, 3, 12, 14)
    modulation = grating(FIELD, **asked)[0].double().numpy()
    added = difference("dkl", mean_luminance, azimuth=azimuth)[0]
    expected = mean_luminance + modulation * added[:, None, None]
    # The difference, the product, the mean and the pixel are rounded, none above 1: below 4 u.
    np.testing.assert_allclose(images[0], expected, rtol=0, atol=4 * 2.0**-24)


def test_colors_are_equiluminant_where_they_should_be() -> None:
    isoluminant = sweep(
        grating, spatial_frequency=1.5, color="dkl", azimuth=[0, 70, 90], contrast=0.9
    )
    light = isoluminant.render(FIELD, channels=1)
    assert light.shape == (3, 1, 12, 14)
    # Luminance weights and the cones' rounded matrix differ by 4e-5 (test_colors).
    np.testing.assert_allclose(light, 0.5, rtol=0, atol=1e-4)


def test_one_channel_of_a_color_is_its_luminance() -> None:
    stimuli = colors()[:3]
    red, green, blue = stimuli.render(FIELD).double().numpy().transpose(1, 0, 2, 3)
    expected = np.stack([red, green, blue], axis=-1) @ LUMINANCE_WEIGHTS
    grey = stimuli.render(FIELD, channels=1)[:, 0]
    # Either is rounded as a pixel: 4 u in each of the colors, 4 u in the luminance.
    np.testing.assert_allclose(grey, expected, rtol=0, atol=8 * 2.0**-24)


def test_three_channels_of_a_grey_are_alike() -> None:
    images = gratings().render(FIELD, channels=3)
    assert images.shape == (24, 3, 12, 14)
    # With 1 channel, luminance is a sum of weights that float64 rounds to 1.
    np.testing.assert_allclose(images[:, :1], gratings().render(FIELD), rtol=0, atol=2.0**-24)
    assert torch.equal(images[:, 0], images[:, 1])
    assert torch.equal(images[:, 0], images[:, 2])


@pytest.mark.parametrize(
    "asked",
    [
        {"contrast": [0.1, 1]},
        {"contrast": 0.4, "diameter": 1, "edge_width": 0.3, "mean_luminance": 0.2},
        {"color": "dkl", "azimuth": [0, 90], "contrast": 0.8},
        {"color": "cones", "cone_l": 0.05, "cone_m": [0, 0.05], "cone_s": 0},
    ],
)
def test_an_encoded_stimulus_is_the_linear_one_encoded_at_the_end(asked: dict[str, Any]) -> None:
    linear = sweep(grating, spatial_frequency=1.5, **asked).render(FIELD)
    encoded = sweep(grating, spatial_frequency=1.5, encoding="srgb", **asked).render(FIELD)
    # The light is the same; of the power, torch rounds the last bit by where in memory a pixel is.
    np.testing.assert_allclose(
        encoded, encode_srgb(linear.double().numpy()), rtol=0, atol=4 * 2.0**-24
    )
    assert not torch.equal(encoded, linear)


def test_an_encoded_hue_is_the_pixels_it_names() -> None:
    """hsl(120, 100 %, 50 %) is (0, 255, 0): at the peak of a bar of full contrast, on black."""
    asked: dict[str, Any] = {"polarity": 1, "mean_luminance": 0, "encoding": "srgb"}
    names: dict[str, Any] = {
        "hue": [0, 120, 240, 60],
        "saturation": 1,
        "lightness": [0.5, 0.5, 0.5, 0.25],
    }
    patch = FAMILIES["patch"].draw
    images = paired(patch, color="hsl", **names, **asked).render(FIELD)
    expected = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0]]
    every_pixel = np.broadcast_to(np.array(expected)[:, :, None, None], images.shape)
    np.testing.assert_allclose(images, every_pixel, rtol=0, atol=4 * 2.0**-24)


@pytest.fixture
def photographs(tmp_path: Path) -> StimulusSet:
    pixels = np.random.default_rng(8021).integers(90, 130, (20, 20, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    return sweep(photograph, file=str(tmp_path / "noise.png"), file_row=10, file_column=10)


def test_a_set_knows_whether_it_is_made_of_color(photographs: StimulusSet) -> None:
    sets = [gratings(), colors(), gratings() + colors(), photographs, gratings() + photographs]
    assert [one.colored for one in sets] == [False, True, True, False, False]
    assert [one.channels for one in sets] == [1, 3, 3, 3, 3]
    for one in sets:
        assert one.render(FIELD).shape == (len(one), one.channels, 12, 14)


def test_only_stimuli_of_a_screen_of_their_own_are_fixed() -> None:
    asked: dict[str, Any] = dict.fromkeys(needed("marques_grating"), 1)
    assert (gratings() + sweep(marques_grating, **asked)).fixed
    assert not (gratings() + noises() + windows()).fixed


def needed(family: str) -> list[str]:
    """The parameters of a family that have no default."""
    signature = inspect.signature(FAMILIES[family].draw).parameters.values()
    return [one.name for one in signature if one.default is one.empty and one.name != "field"]


# The blank.


@pytest.mark.parametrize("encoding", ["linear", "srgb"])
def test_the_blank_of_a_set_is_what_it_is_added_to(encoding: str) -> None:
    stimuli = sweep(
        *(grating,),
        spatial_frequency=1,
        contrast=[0, 1],
        mean_luminance=0.25,
        encoding=encoding,
    )
    assert len(stimuli.blank) == 1
    images = stimuli.render(FIELD)
    assert torch.equal(stimuli.blank.render(FIELD)[0], images[0])
    light = {"linear": 0.25, "srgb": 1.055 * 0.25 ** (1 / 2.4) - 0.055}[encoding]
    np.testing.assert_allclose(images[0], light, rtol=0, atol=4 * 2.0**-24)


def test_the_blank_of_colors_is_the_grey_of_every_channel() -> None:
    red_and_green = colors()[:3]
    image = red_and_green.blank.render(FIELD, channels=3)
    assert image.shape == (1, 3, 12, 14)
    assert (image == 0.5).all()


def test_stimuli_on_several_backgrounds_have_no_blank() -> None:
    dark, light = blank(0.25), blank(0.5)
    with pytest.raises(ValueError, match=r"^stimuli of mean_luminance=0.25 .*, 0.5 .* no one"):
        _ = (dark + light).blank
    message = r"^stimuli of mean_luminance=0.5 \(linear\), 0.5 \(srgb\) have no one blank; record"
    with pytest.raises(ValueError, match=message):
        _ = (light + blank(0.5, "srgb")).blank
    with pytest.raises(ValueError, match=r"^the set of stimuli is empty$"):
        _ = light[:0].blank


# Motion.


def test_a_movie_has_its_frames_one_after_the_other() -> None:
    stimuli, times = movies(), [0, 0.05, 0.2, 0.3]
    movie = stimuli.movie(FIELD, times)
    assert movie.shape == (12, 4, 1, 12, 14)
    for i, time in enumerate(times):
        assert torch.equal(movie[:, i], stimuli.at([time]).render(FIELD))
    assert torch.equal(movie[:, 0], stimuli.render(FIELD))
    assert not torch.equal(movie[:, 1], movie[:, 0])


def test_the_frames_of_a_set_stand_in_its_table_with_the_time_running_fastest() -> None:
    frames = movies().at([0, 0.25, 0.125])
    assert len(frames) == 36
    np.testing.assert_array_equal(frames.table["time"], np.tile([0, 0.25, 0.125], 12))
    np.testing.assert_array_equal(
        frames.table["direction"], np.repeat(movies().table["direction"], 3)
    )
    assert frames.table["time"].attrs["units"] == "s"


def test_families_that_move_are_moved_together() -> None:
    reversing = sweep(counterphase_grating, spatial_frequency=1, temporal_frequency=[1, 4])
    movie = (movies() + reversing).movie(FIELD, [0, 0.1])
    assert torch.equal(movie[12:], reversing.movie(FIELD, [0, 0.1]))


def test_a_movie_in_color_has_three_channels() -> None:
    stimuli = sweep(
        *(drifting_grating,),
        spatial_frequency=1,
        temporal_frequency=2,
        direction=[0, 90],
        color="dkl",
        azimuth=0,
    )
    assert stimuli.movie(FIELD, [0, 0.1, 0.2]).shape == (2, 3, 3, 12, 14)


def test_a_still_stimulus_has_no_frames() -> None:
    message = r"^a grating does not move; there are drifting_grating, counterphase_grating$"
    with pytest.raises(ValueError, match=message):
        (movies() + gratings()).at([0, 1])


def test_a_time_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^time=\[0.0, nan\] holds one that is not a number"):
        movies().movie(FIELD, [0, np.nan])


def test_checks_are_of_noise_only() -> None:
    with pytest.raises(ValueError, match=r"^a grating is not made of checks; .*: white_noise, "):
        (noises() + gratings()).check_pixels(FIELD)


# What identifies a set.

ASKED = {
    "spatial_frequency": 1.0,
    "orientation": 30.0,
    "phase": 40.0,
    "contrast": 0.5,
    "mean_luminance": 0.4,
    "envelope_sd": 0.6,
}


@pytest.mark.parametrize("name", ASKED)
def test_the_hash_changes_with_the_last_bit_of_any_parameter(name: str) -> None:
    changed = ASKED | {name: np.nextafter(ASKED[name], 2)}
    assert sweep(gabor, **changed).sha256 != sweep(gabor, **ASKED).sha256


def test_the_hash_changes_with_the_family_the_order_and_the_number() -> None:
    of_grating = {name: value for name, value in ASKED.items() if name != "envelope_sd"}
    two = sweep(grating, **of_grating | {"orientation": [30, 60]})
    sets = [
        sweep(grating, **of_grating),
        sweep(gabor, **ASKED),
        two,
        two[::-1],
        two + two,
        two + sweep(gabor, **ASKED),
        sweep(gabor, **ASKED) + two,
    ]
    assert len({stimuli.sha256 for stimuli in sets}) == len(sets)


def test_the_hash_does_not_change_with_the_order_in_which_parameters_are_named() -> None:
    backwards = dict(reversed(ASKED.items()))
    assert sweep(gabor, **backwards).sha256 == sweep(gabor, **ASKED).sha256


SILENT: list[dict[str, Any]] = [
    {"x": 0},
    {"contrast": 1, "mean_luminance": 0.5},
    {"color": "luminance"},
    {"encoding": "linear"},
    {"diameter": np.nan, "envelope_sd": np.nan},
    {"part": "the first"},  # a label, which changes nothing that is seen
]


@pytest.mark.parametrize("said", SILENT)
def test_the_hash_does_not_change_with_what_is_said_of_what_holds_anyway(
    said: dict[str, Any],
) -> None:
    asked: dict[str, Any] = {"spatial_frequency": 1, "orientation": [0, 30]}
    silent = sweep(grating, **asked)
    aloud = sweep(grating, **asked, **said)
    assert aloud.sha256 == silent.sha256
    assert (aloud[:1] + silent[1:]).sha256 == silent.sha256
    assert torch.equal(aloud.render(FIELD), silent.render(FIELD))


SEEN: list[dict[str, Any]] = [
    {},
    {"x": 0.1},
    {"y": 0.1},
    {"diameter": 1},
    {"inner_diameter": 1},
    {"diameter": 1, "edge_width": 0.1},
    {"envelope_sd": 1},
    {"encoding": "srgb"},
    {"color": "dkl", "azimuth": 0},
    {"color": "dkl", "azimuth": 90},
    {"color": "dkl", "azimuth": 90, "elevation": 90},
    {"color": "lch", "lab_lightness": 70, "chroma": 0, "lab_hue": 0},
    {"color": "lab", "lab_lightness": 70, "lab_a": 0, "lab_b": 0},
]


def test_the_hash_changes_with_all_that_is_seen() -> None:
    sets = [sweep(grating, spatial_frequency=1, **said) for said in SEEN]
    sets.append(sweep(square_grating, spatial_frequency=1))
    assert len({stimuli.sha256 for stimuli in sets}) == len(sets)


@given(cut=st.integers(0, COUNT))
@settings(max_examples=15, deadline=None)
def test_the_hash_outlives_cutting_and_putting_together(cut: int) -> None:
    stimuli = gratings() + gabors()
    assert (stimuli[:cut] + stimuli[cut:]).sha256 == stimuli.sha256


def test_a_part_taken_out_of_two_sets_is_identified_as_that_part() -> None:
    first, second = gratings(), gabors()
    together = first + second
    assert together[: len(first)].sha256 == first.sha256
    assert together[len(first) :].sha256 == second.sha256


# Refusals.


def test_a_function_that_is_no_family_is_refused_by_its_name() -> None:
    def plaid() -> Tensor:
        return torch.empty(0)

    with pytest.raises(KeyError, match=r"'plaid' is no family of stimuli.*grating, gabor"):
        sweep(plaid, orientation=0)


def test_a_function_that_only_bears_the_name_of_a_family_is_refused() -> None:
    def impostor(field: VisualField) -> Tensor:
        return torch.empty(0)

    impostor.__name__ = "grating"
    with pytest.raises(KeyError, match="'grating' is no family"):
        sweep(impostor, orientation=0)


def test_a_parameter_without_default_has_to_be_given() -> None:
    with pytest.raises(KeyError, match="a grating needs spatial_frequency"):
        sweep(grating, orientation=[0, 90])
    with pytest.raises(KeyError, match="a gabor needs envelope_sd"):
        sweep(gabor, spatial_frequency=1)


def test_an_unknown_parameter_is_refused_by_its_name() -> None:
    with pytest.raises(KeyError, match=r"'theta' is no parameter.*orientation"):
        sweep(grating, theta=0)


def test_a_parameter_of_another_family_is_refused() -> None:
    with pytest.raises(KeyError, match="'check_size' is no parameter of a grating"):
        sweep(grating, spatial_frequency=1, check_size=0.5)
    with pytest.raises(KeyError, match="'file' is no parameter of a grating"):
        sweep(grating, spatial_frequency=1, file="a.png")


@pytest.mark.parametrize("orientation", [[], [0.0, 90.0, 0.0]])
def test_an_axis_that_is_empty_or_repeats_itself_is_refused(orientation: list[float]) -> None:
    with pytest.raises(ValueError, match=r"orientation=\[.*\] is empty, or has a value twice"):
        sweep(grating, spatial_frequency=1, orientation=orientation)


def test_a_circle_that_is_gone_around_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^orientation=.* circle of 180 .*leave out one end"):
        sweep(grating, spatial_frequency=1, orientation=[0, 90, 180])
    with pytest.raises(ValueError, match=r"^direction=.* circle of 360 .*leave out one end"):
        sweep(drifting_grating, spatial_frequency=1, temporal_frequency=1, direction=[-180, 0, 180])
    sweep(grating, spatial_frequency=1, phase=[0, 180])  # half of another circle


@pytest.mark.parametrize("name", gratings().parameters)
@pytest.mark.parametrize("family", [sweep, paired])
def test_a_parameter_that_is_nan_is_refused_and_not_taken_for_its_default(
    name: str, family: Callable[..., StimulusSet]
) -> None:
    asked = {"spatial_frequency": 1.0, name: np.nan}
    with pytest.raises(ValueError, match=rf"^{name}=\[nan\] holds one that is not a number"):
        family(grating, **asked)


def test_a_parameter_of_a_table_that_has_no_default_is_refused_where_it_is_nan() -> None:
    table = gratings().table.copy(deep=True)
    table["spatial_frequency"][3] = np.nan
    with pytest.raises(ValueError, match=r"^spatial_frequency is not said of every stimulus; it"):
        StimulusSet(table).check(FIELD)


def test_what_is_no_number_is_refused() -> None:
    mixed: Any = ["up", 3]
    with pytest.raises(ValueError, match=r"^phase=\['up', 3\] is no number, nor a list of numbers"):
        sweep(grating, spatial_frequency=1, phase=mixed)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"color": "dlk"}, r"color='dlk' is none of luminance, dkl, cones, "),
        ({"color": ["dkl", ""], "azimuth": 0}, r"color='' is none of luminance"),
        ({"encoding": "sRGB"}, r"encoding='sRGB' is none of linear, srgb"),
        ({"color": "dkl"}, r"a grating needs azimuth"),
        ({"color": "hsl", "hue": 0}, r"a grating needs saturation, lightness"),
        ({"azimuth": 0}, r"'azimuth' is no parameter of a grating"),
        ({"color": "hsl", "azimuth": 0}, r"'azimuth' is no parameter of a grating"),
        ({"colour": "dkl"}, r"'colour' is no parameter of a grating; did you mean color "),
    ],
)
def test_a_word_that_is_not_known_and_a_color_half_said_are_refused(
    said: dict[str, Any], message: str
) -> None:
    with pytest.raises(KeyError, match=message):
        sweep(grating, spatial_frequency=1, **said)


SHOWN_BADLY: list[tuple[Callable[..., Tensor], dict[str, Any], str]] = [
    (
        grating,
        {"spatial_frequency": [1, 4], "contrast": 1},
        r"spatial_frequency=4 .* limit of 4 ",
    ),
    (
        grating,
        {"spatial_frequency": 1, "contrast": [0.5, 1.5]},
        r"^contrast=1.5 is not within 0 to 1$",
    ),
    (
        gabor,
        {"spatial_frequency": 1, "envelope_sd": [1, 0]},
        r"^envelope_sd=0 is not above 0$",
    ),
    (
        grating,
        {"spatial_frequency": 1, "diameter": [1, 1.6]},
        r"^diameter=1.6 at y=0 reaches beyond the field of 1.5 degrees; use at most diameter=1.5 ",
    ),
    (
        white_noise,
        {"seed": 0, "check_size": 0.25, "side": 1, "diameter": 1.4, "x": 0.25},
        r"^diameter=1.4 at x=0.25 reaches .* use at most diameter=1.25 there",
    ),
    (
        grating,
        {"spatial_frequency": 1, "color": "hsl", "hue": 0, "saturation": 1.5, "lightness": 0.5},
        r"^saturation=1.5 is not within 0 to 1$",
    ),
    (
        grating,
        {
            "spatial_frequency": 1,
            "color": "cones",
            "cone_l": [0.01, 0.5],
            "cone_m": 0,
            "cone_s": 0,
        },
        r"^contrast=1 at mean_luminance=0.5, color='cones', cone_l=0.5, cone_m=0, cone_s=0 goes "
        r"beyond what a display shows; use at most contrast=0\.\d+$",
    ),
    (
        grating,
        {"spatial_frequency": 1, "color": "dkl", "azimuth": 0, "mean_luminance": 0},
        r"^mean_luminance=0 leaves no room",
    ),
]


@pytest.mark.parametrize(("family", "axes", "message"), SHOWN_BADLY)
def test_checking_refuses_what_drawing_refuses(
    family: Callable[..., Tensor], axes: dict[str, Any], message: str
) -> None:
    stimuli = sweep(grating, spatial_frequency=1, contrast=[0.5, 1]) + sweep(family, **axes)
    with pytest.raises(ValueError, match=message):
        stimuli.check(FIELD)
    with pytest.raises(ValueError, match=message):
        stimuli.render(FIELD)


@given(azimuth=st.floats(0, 360), elevation=st.floats(-90, 90), grey=st.floats(0.01, 0.99))
@settings(max_examples=40, deadline=None)
def test_the_contrast_that_a_refusal_names_is_shown(
    azimuth: float, elevation: float, grey: float
) -> None:
    asked: dict[str, Any] = {"azimuth": azimuth, "elevation": elevation, "mean_luminance": grey}
    stimuli = sweep(grating, spatial_frequency=1, color="dkl", **asked)
    try:
        stimuli.check(FIELD)
    except ValueError as error:
        named = float(str(error).rpartition("=")[2])
        assert named < 1
        sweep(grating, spatial_frequency=1, color="dkl", contrast=named, **asked).check(FIELD)
        more = min(named + 2e-6, 1)
        with pytest.raises(ValueError, match="goes beyond"):
            sweep(grating, spatial_frequency=1, color="dkl", contrast=more, **asked).check(FIELD)
