"""Stimulus sets: a table of parameters that behaves like a list, drawn when it is looked at."""

import functools
import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from torch import Tensor

from ephys.stimuli.gratings import gabor, grating
from ephys.stimuli.noises import sparse_noise, white_noise
from ephys.stimuli.sweep import DRAW, UNITS, StimulusSet, blank, sweep
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
    return sweep(white_noise, seed=range(3), check_size=0.125, diameter=1) + sweep(
        sparse_noise, x=[-0.25, 0.25], y=0, check_size=0.25, polarity=[-1, 1]
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
    assert set(table.data_vars) == {"family", *UNITS}
    for name, unit in UNITS.items():
        assert table[name].attrs["units"] == unit
        assert table[name].attrs["long_name"] == name.replace("_", " ")


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


def test_slices_put_back_together_are_the_set() -> None:
    stimuli = gratings()
    for cut in (0, 1, 11, len(stimuli)):
        assert rows(stimuli[:cut] + stimuli[cut:]) == rows(stimuli)


# Drawing.


def test_a_set_draws_what_its_drawing_function_draws_row_by_row() -> None:
    stimuli = gratings()
    images = stimuli.render(FIELD)
    assert images.shape == (24, 1, 12, 14)
    assert images.dtype == torch.float32
    for i, row in enumerate(
        itertools.product([1.0, 2.0], [0.1, 0.5, 1.0], [0.0, 30.0, 60.0, 90.0])
    ):
        spatial_frequency, contrast, orientation = row
        alone = grating(
            FIELD,
            spatial_frequency=spatial_frequency,
            contrast=contrast,
            orientation=orientation,
            mean_luminance=0.4,
        )
        assert torch.equal(images[i], alone[0])


def mixed() -> dict[str, tuple[StimulusSet, StimulusSet]]:
    plain = sweep(grating, spatial_frequency=2, orientation=[0, 90])
    return {
        "two families": (gratings(), gabors()),
        "two families, the other way": (gabors(), gratings()),
        "noises, which share few parameters with gabors": (noises(), gabors()),
        "one family with other axes": (sweep(grating, spatial_frequency=1, phase=[0, 90]), plain),
        "a blank, and gratings that leave contrast to its default": (blank(), plain),
    }


@pytest.mark.parametrize("name", mixed())
def test_two_sets_together_are_drawn_as_each_is_alone(name: str) -> None:
    first, second = mixed()[name]
    together = first + second
    assert len(together) == len(first) + len(second)
    together.check(FIELD)
    images = together.render(FIELD)
    assert torch.equal(images, torch.cat([first.render(FIELD), second.render(FIELD)]))


def test_interleaved_families_are_drawn_in_their_places() -> None:
    stimuli = gratings() + noises() + gabors()
    shuffled = np.random.default_rng(90125).permutation(len(stimuli))
    assert torch.equal(stimuli[shuffled].render(FIELD), stimuli.render(FIELD)[shuffled])


def test_a_parameter_that_a_family_does_not_have_is_nan() -> None:
    table = (gratings() + gabors()).table
    of_gabors = table["family"].values == "gabor"
    np.testing.assert_array_equal(np.isnan(table["envelope_sd"]), ~of_gabors)
    for name in gratings().parameters:
        assert not np.isnan(table[name]).any()


@pytest.mark.parametrize("batch", [1, 5, 30])
def test_batches_are_drawn_as_the_whole_is(batch: int) -> None:
    stimuli = gratings() + gabors()
    batches = [stimuli[i : i + batch].render(FIELD) for i in range(0, len(stimuli), batch)]
    assert torch.equal(torch.cat(batches), stimuli.render(FIELD))


def test_a_slice_of_a_set_draws_nothing_but_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gratings() + gabors()
    drawn: list[int] = []

    @functools.wraps(grating)
    def counting(field: VisualField, **parameters: ArrayLike) -> Tensor:
        images = grating(field, **parameters)  # type: ignore[arg-type]
        drawn.append(len(images))
        return images

    monkeypatch.setitem(DRAW, "grating", counting)
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
    with pytest.raises(KeyError, match="'envelope_sd' is no parameter"):
        sweep(grating, spatial_frequency=1, envelope_sd=0.5)


@pytest.mark.parametrize("orientation", [[], [0.0, 90.0, 0.0]])
def test_an_axis_that_is_empty_or_repeats_itself_is_refused(orientation: list[float]) -> None:
    with pytest.raises(ValueError, match=r"orientation=\[.*\] is empty, or has a value twice"):
        sweep(grating, spatial_frequency=1, orientation=orientation)


@pytest.mark.parametrize("name", gratings().parameters)
def test_a_parameter_that_is_nan_is_refused_and_not_taken_for_its_default(name: str) -> None:
    asked = {"spatial_frequency": 1.0, name: np.nan}
    with pytest.raises(ValueError, match=f"{name}=.*nan"):
        sweep(grating, **asked).check(FIELD)


SHOWN_BADLY: list[tuple[Callable[..., Tensor], dict[str, ArrayLike], str]] = [
    (
        grating,
        {"spatial_frequency": [1, 4], "contrast": 1},
        r"spatial_frequency=4.0 .* limit of 4 ",
    ),
    (grating, {"spatial_frequency": 1, "contrast": [0.5, 1.5]}, r"contrast=1.5 is outside 0 to 1"),
    (gabor, {"spatial_frequency": 1, "envelope_sd": [1, 0]}, r"envelope_sd=0.0 is not above 0"),
]


@pytest.mark.parametrize(("family", "axes", "message"), SHOWN_BADLY)
def test_checking_refuses_what_drawing_refuses(
    family: Callable[..., Tensor], axes: dict[str, ArrayLike], message: str
) -> None:
    stimuli = sweep(grating, spatial_frequency=1, contrast=[0.5, 1]) + sweep(family, **axes)
    with pytest.raises(ValueError, match=message):
        stimuli.check(FIELD)
    with pytest.raises(ValueError, match=message):
        stimuli.render(FIELD)
