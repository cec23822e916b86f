"""A few panels stand for all stimuli of a protocol, and say what they are."""

from itertools import pairwise

import numpy as np
import pytest

from ephys.panels import MOST_PANELS, Row, choose_panels, number, spread
from ephys.stimuli import drifting_grating, gabor, grating, paired, plaid, sparse_noise, sweep
from ephys.stimuli.patches import patch
from ephys.stimuli.photographs import photograph
from ephys.stimuli.protocols import PROTOCOLS, protocol
from ephys.stimuli.sweep import StimulusSet

HERE = [name for name in PROTOCOLS if name != "natural_images"]  # of which no data is needed


def rows(stimuli: StimulusSet) -> dict[str, Row]:
    """The rows of a set of one section, by axis."""
    (section,) = choose_panels(stimuli)
    return {row.axis: row for row in section.rows}


def values(stimuli: StimulusSet, row: Row, name: str) -> list[float]:
    return stimuli.table[name].values[list(row.stimuli)].tolist()


def test_a_row_goes_through_its_axis_and_all_others_are_held() -> None:
    stimuli = sweep(
        grating,
        orientation=np.arange(8) * 22.5,
        spatial_frequency=[0.5, 1, 2, 4, 8],
        contrast=[0.1, 1, 0.5],
        phase=[90, 0],
    )
    found = rows(stimuli)
    held = {"orientation": 45, "spatial_frequency": 2, "contrast": 1, "phase": 0}
    for axis, row in found.items():
        for other in held.keys() - {axis}:
            assert set(values(stimuli, row, other)) == {held[other]}
    assert values(stimuli, found["contrast"], "contrast") == [0.1, 0.5, 1]
    assert values(stimuli, found["orientation"], "orientation") == [0, 45, 90, 135]
    assert {axis: row.count for axis, row in found.items()} == {
        **{"orientation": 8, "spatial_frequency": 5, "contrast": 3, "phase": 2}
    }


@pytest.mark.parametrize("count", [1, 2, 6, 7, 8, 12, 50, 10_000])
def test_few_values_are_shown_with_the_first_and_the_last(count: int) -> None:
    chosen = spread(count)
    assert len(chosen) == min(count, MOST_PANELS)
    assert chosen[0] == 0
    assert chosen[-1] == count - 1
    steps = [after - before for before, after in pairwise(chosen)]
    assert max(steps, default=0) - min(steps, default=0) <= 1


@pytest.mark.parametrize(("count", "shown"), [(8, 4), (24, 6), (25, 5), (36, 6), (360, 6)])
def test_angles_are_shown_evenly_around_their_circle(count: int, shown: int) -> None:
    chosen = spread(count, circular=True)
    np.testing.assert_array_equal(chosen, np.arange(shown) * count / shown)


def test_a_circle_of_a_prime_number_is_shown_from_end_to_end() -> None:
    assert spread(7, circular=True) == spread(7)
    assert spread(7)[-1] == 6


@pytest.mark.parametrize("name", HERE)
def test_no_sheet_is_of_hundreds_of_panels(name: str) -> None:
    one = protocol(name)
    sections = choose_panels(one.stimuli)
    assert sum(len(row.stimuli) for section in sections for row in section.rows) < 100
    for section in sections:
        assert all(1 <= len(row.stimuli) <= MOST_PANELS for row in section.rows)
        assert all(len(row.captions) == len(row.stimuli) for row in section.rows)


@pytest.mark.parametrize("name", HERE)
def test_every_axis_that_is_varied_has_a_row_or_is_said_in_captions(name: str) -> None:
    stimuli = protocol(name).stimuli
    parts = stimuli.table["part"].values if "part" in stimuli.table else np.full(len(stimuli), "")
    for section, part in zip(choose_panels(stimuli), dict.fromkeys(parts.tolist()), strict=True):
        own = stimuli[parts == part].table
        varied = {
            str(axis)
            for axis, column in own.data_vars.items()
            if column.dtype.kind == "f" and len(np.unique(column)) > 1
        }
        assert varied == {row.axis for row in section.rows}


def test_captions_have_values_with_units() -> None:
    stimuli = sweep(
        drifting_grating,
        spatial_frequency=[0.25, 1, 10 / 7],
        direction=[0, 45],
        time=[0, 0.0625],
        temporal_frequency=[4, 8.5],
        diameter=[1, 3],
    )
    captions = {axis: row.captions for axis, row in rows(stimuli).items()}
    assert captions == {
        "spatial_frequency": ("0.25 cycles/degree", "1 cycle/degree", "1.429 cycles/degree"),
        "direction": ("0°", "45°"),
        "time": ("0 s", "0.0625 s"),
        "temporal_frequency": ("4 Hz", "8.5 Hz"),
        "diameter": ("1°", "3°"),
    }


def test_numbers_have_four_digits_and_whole_ones_all() -> None:
    assert [number(value) for value in (0.5, 10 / 7, 1e-5, 3.0, -0.25)] == [
        *("0.5", "1.429", "1e-05", "3", "-0.25")
    ]
    assert number(2.0**53) == "9007199254740992"


def test_a_heading_says_family_part_color_and_how_many() -> None:
    some = sweep(grating, spatial_frequency=[1, 2], part="one")
    more = sweep(patch, color="hsl", hue=[0, 90, 180], saturation=1, lightness=0.5, part="two")
    again = sweep(patch, encoding="srgb")
    headings = [section.heading for section in choose_panels(some + more + again)]
    assert headings == [
        "grating, part one: 2 stimuli",
        "patch, part two, color hsl: 3 stimuli",
        "patch, encoded as sRGB: 1 stimulus",
    ]


def test_a_block_says_what_is_held_and_what_is_always_the_same() -> None:
    stimuli = sweep(grating, spatial_frequency=[1, 2, 3], orientation=[0, 30, 60, 90], contrast=0.5)
    (section,) = choose_panels(stimuli)
    assert set(section.held.split(", ")) == {"spatial frequency 2 cycles/degree", "orientation 30°"}
    assert set(section.always.split(", ")) == {"contrast 50%", "mean luminance 0.5", "phase 0°"}


def test_of_one_axis_nothing_is_held() -> None:
    (section,) = choose_panels(sweep(grating, spatial_frequency=[1, 2]))
    assert section.held == ""


def test_one_stimulus_is_one_panel_without_an_axis() -> None:
    (section,) = choose_panels(sweep(grating, spatial_frequency=1))
    assert section.rows == (Row("", 1, (0,), ("",)),)


def test_directions_of_colors_and_polarities_are_in_words() -> None:
    circle = sweep(patch, color="dkl", azimuth=[0, 45, 90, 180, 270], contrast=0.5)
    assert rows(circle)["azimuth"].captions == (
        *("0° (+L-M)", "45°", "90° (+S)", "180° (-L+M)", "270° (-S)"),
    )
    spots = sweep(sparse_noise, check_size=1, polarity=[-1, 1])
    assert rows(spots)["polarity"].captions == ("-1 (dark)", "1 (light)")


def test_a_combination_that_is_not_there_is_replaced_by_the_nearest_which_says_so() -> None:
    stimuli = paired(
        gabor,
        spatial_frequency=[1, 1, 2, 2],
        orientation=[0, 45, 45, 90],
        envelope_sd=1,
    )
    found = rows(stimuli)["orientation"]
    # Held are 1 cycle per degree and 45 degrees.
    assert found.stimuli[:2] == (0, 1)
    assert found.captions == ("0°", "45°", "90°\nspatial frequency 2 cycles/degree")


def test_an_axis_that_follows_from_another_is_said_in_its_row() -> None:
    stimuli = paired(
        plaid, spatial_frequency=2, orientation=[0, 30, 60], mask_contrast=[0.1, 0.2, 0.2]
    )
    found = rows(stimuli)
    assert list(found) == ["orientation"]
    assert found["orientation"].captions == (
        "0°\nmask contrast 10%",
        "30°\nmask contrast 20%",
        "60°\nmask contrast 20%",
    )


def test_a_photograph_and_where_it_is_cropped_are_one_axis() -> None:
    files = ["a/lion.jpg", "a/house.jpg", "a/lion.jpg"]
    found = rows(paired(photograph, file=files, file_row=[10, 20, 30], file_column=[5, 5, 5]))
    assert found["file"].captions == (
        "house, row 20, column 5",
        "lion, row 10, column 5",
        "lion, row 30, column 5",
    )
    assert list(found) == ["file"]


def test_what_the_three_cones_see_is_one_axis() -> None:
    stimuli = paired(patch, color="cones", cone_l=[1, 0], cone_m=[0, 1], cone_s=0, contrast=0.1)
    assert rows(stimuli)["cone_l"].captions == (
        "L cones 0, M cones 1, S cones 0",
        "L cones 1, M cones 0, S cones 0",
    )
    (section,) = choose_panels(stimuli[:1])
    assert section.always.count("S cones 0") == 1


def test_parameters_of_other_parts_are_not_spoken_of() -> None:
    colored = sweep(patch, color="dkl", azimuth=[0, 90], contrast=0.5)
    _, grey = choose_panels(colored + sweep(patch, contrast=[0.5, 1]))
    assert "elevation" not in grey.always


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(ValueError, match="the set of stimuli is empty; there is nothing to draw"):
        choose_panels(sweep(grating, spatial_frequency=1)[:0])
