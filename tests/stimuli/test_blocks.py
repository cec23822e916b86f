"""Blocks say a set of stimuli exactly, and no longer than they have to."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import ArrayLike

from ephys.stimuli import StimulusSet, blank, grating, paired, plaid, sweep
from ephys.stimuli.blocks import Block, Series, blocks
from ephys.stimuli.families import FAMILIES
from ephys.stimuli.protocols import PROTOCOLS

FILES = ("natural_images",)  # needs photographs


def values(column: np.ndarray | Series) -> np.ndarray:
    return column.values if isinstance(column, Series) else column


def made(some: list[Block]) -> StimulusSet:
    sets = [
        (paired if block.paired else sweep)(
            FAMILIES[block.family].draw,
            **{name: values(column) for name, column in block.columns.items()},
        )
        for block in some
    ]
    whole = sets[0]
    for one in sets[1:]:
        whole = whole + one
    return whole


def varied(block: Block) -> dict[str, int]:
    """The axes of a block, in their order, and how many values they have."""
    sizes = {name: values(column).size for name, column in block.columns.items()}
    return {name: size for name, size in sizes.items() if size > 1}


AXES: dict[str, ArrayLike] = {
    "phase": [0, 90, 180, 270],
    "spatial_frequency": [1, 2],
    "orientation": [0, 30, 60, 90, 120, 150],
    "diameter": [np.nan, 1, 2],
}


def test_a_sweep_is_one_block_of_its_axes_in_their_order() -> None:
    stimuli = sweep(grating, **AXES)
    (block,) = blocks(stimuli)
    assert not block.paired
    assert list(varied(block)) == list(AXES)
    for name, axis in AXES.items():
        np.testing.assert_array_equal(values(block.columns[name]), axis)
    assert made([block]).table.identical(stimuli.table)


def test_sweeps_in_a_row_are_a_block_each() -> None:
    sizes = sweep(grating, spatial_frequency=2, diameter=[1, 2, 4], phase=[0, 90])
    both = sweep(grating, **AXES) + blank() + sizes
    found = list(blocks(both))
    assert [varied(block) for block in found] == [
        {"phase": 4, "spatial_frequency": 2, "orientation": 6, "diameter": 3},
        {},
        {"diameter": 3, "phase": 2},
    ]
    assert made(found).table.identical(both.table)


def test_families_take_turns_in_blocks_of_their_own() -> None:
    one, other = (
        sweep(grating, spatial_frequency=[1, 2]),
        sweep(plaid, spatial_frequency=1, mask_contrast=[0.1, 0.2, 0.4]),
    )
    both = one + other + one
    found = list(blocks(both))
    assert [block.family for block in found] == ["grating", "plaid", "grating"]
    assert made(found).table.identical(both.table)


def test_what_is_no_sweep_is_paired() -> None:
    rng = np.random.default_rng(5150)
    stimuli = sweep(grating, **AXES)
    shuffled = stimuli[rng.permutation(len(stimuli))]
    (block,) = blocks(shuffled)
    assert block.paired
    assert varied(block) == dict.fromkeys(sorted(AXES), len(stimuli))
    assert made([block]).table.identical(shuffled.table)


def test_a_stimulus_again_and_again_is_as_often_in_the_block() -> None:
    repeated = sweep(grating, spatial_frequency=1)[np.zeros(30, int)]
    (block,) = blocks(repeated)
    assert made([block]).table.identical(repeated.table)


@pytest.mark.parametrize("other", [-0.0, np.nextafter(0, 1)])
def test_numbers_that_look_alike_are_kept_apart(other: float) -> None:
    # Where a sweep takes both for one, they are paired.
    stimuli = paired(grating, spatial_frequency=2, x=[0.0, other], phase=[90, other])
    back = made(list(blocks(stimuli))).table
    for name in ("x", "phase"):
        assert back[name].values.tobytes() == stimuli.table[name].values.tobytes()


def test_both_ends_of_a_circle_are_never_an_axis() -> None:
    stimuli = paired(grating, spatial_frequency=1, orientation=np.arange(0, 361, 15))
    found = list(blocks(stimuli))
    for block in found:
        if not block.paired:
            assert len(np.unique(values(block.columns["orientation"]) % 180)) == np.size(
                values(block.columns["orientation"])
            )
    assert made(found).table.identical(stimuli.table)


SERIES = [
    (np.arange(12) * 15.0, Series(0, 12, step=15)),
    (np.arange(1000.0), Series(0, 1000, step=1)),
    (0.5 * 2.0 ** np.arange(5), Series(0.5, 5, factor=2)),
    (np.arange(4) * 0.1 + 0.2, Series(0.2, 4, step=0.1)),
    (7 - np.arange(5) * 0.25, Series(7, 5, step=-0.25)),
]


@pytest.mark.parametrize(("numbers", "series"), SERIES)
def test_numbers_that_are_a_series_are_said_as_one(numbers: np.ndarray, series: Series) -> None:
    assert series.values.tobytes() == numbers.tobytes()
    (block,) = blocks(sweep(grating, spatial_frequency=1, x=numbers))
    found = block.columns["x"]
    assert isinstance(found, Series)
    assert found.values.tobytes() == numbers.tobytes()


def test_numbers_that_are_no_series_to_the_last_bit_are_listed() -> None:
    numbers = np.arange(12) * 15.0
    numbers[7] = np.nextafter(numbers[7], 0)
    (block,) = blocks(sweep(grating, spatial_frequency=1, orientation=numbers))
    np.testing.assert_array_equal(block.columns["orientation"], numbers)


def test_the_powers_of_a_series_are_multiplied_out() -> None:
    # By hand, in powers of 2 that round nowhere; and beyond what a float64 holds.
    np.testing.assert_array_equal(Series(3, 4, factor=0.25).values, [3, 0.75, 3 / 16, 3 / 64])
    np.testing.assert_array_equal(Series(1, 3, factor=1e200).values, [1, 1e200, np.inf])
    for smaller, larger in pairwise(Series(0.1, 50, factor=1.1).values):
        assert larger / smaller == pytest.approx(1.1, rel=4 * np.finfo(float).eps)


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if name not in FILES])
def test_the_named_protocols_are_their_blocks(name: str) -> None:
    stimuli = PROTOCOLS[name]()
    found = list(blocks(stimuli))
    assert len(found) < 120
    assert made(found).table.identical(stimuli.table)


def test_a_column_that_is_no_parameter_is_refused() -> None:
    table = blank().table.assign(mood=("stimulus", [1.0]))
    with pytest.raises(ValueError, match="'mood' is no parameter of stimuli; drop it from"):
        list(blocks(StimulusSet(table)))
