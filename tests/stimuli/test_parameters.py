"""Parameters: what a number that says something of a stimulus may be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ephys.stimuli.parameters import Parameter, at_most, column, vectors

RANGES: dict[str, tuple[Parameter, list[float], list[float]]] = {
    "a finite number": (Parameter("s"), [-1e300, 0.0, 5.0], []),
    "0 or more": (Parameter("Hz", low=0), [0.0, 1e300], [-5e-324, -1.0]),
    "above 0": (Parameter("degree", low=0, above=True), [5e-324, 3.0], [0.0, -1.0]),
    "within 0 to 1": (Parameter("1", low=0, high=1), [0.0, 1.0], [-5e-324, np.nextafter(1, 2)]),
    "above 0 and at most 1": (
        Parameter("1", low=0, high=1, above=True),
        [5e-324, 1.0],
        [0.0, np.nextafter(1, 2)],
    ),
}


@pytest.mark.parametrize("words", RANGES)
def test_a_range_holds_its_ends_unless_it_is_above_the_lower_one(words: str) -> None:
    parameter, allowed, refused = RANGES[words]
    assert not parameter.refused(np.array(allowed)).any()
    assert parameter.refused(np.array([*refused, np.nan, np.inf, -np.inf])).all()
    assert parameter.range == words


def test_numbers_and_lists_become_vectors_of_one_length() -> None:
    orientation, phase, contrast = vectors([0, 90, 45], 20, (1,))
    np.testing.assert_array_equal(orientation, [0, 90, 45])
    np.testing.assert_array_equal(phase, [20, 20, 20])
    np.testing.assert_array_equal(contrast, [1, 1, 1])
    assert {one.dtype for one in (orientation, phase, contrast)} == {np.dtype(float)}


def test_vectors_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        vectors([1, 2, 3], [1, 2])


def test_a_column_stands_beside_the_pixels_of_its_stimulus() -> None:
    assert column(3).shape == (1, 1)
    np.testing.assert_array_equal(
        column([1, 2]) + np.array([0, 10, 20]), [[1, 11, 21], [2, 12, 22]]
    )


@given(value=st.floats(0, 1000))
def test_a_limit_that_is_named_is_kept_and_is_the_limit_but_for_a_millionth(value: float) -> None:
    named = float(at_most(value))
    # It may be above by 1e-12 of the value, far below what any check looks at.
    assert named <= value * (1 + 2e-12)
    assert named >= value - 1.001e-6


@pytest.mark.parametrize(
    ("value", "named"),
    [(2 / 3, "0.666666"), (0.5, "0.5"), (0.29, "0.29"), (0.6 / 1.2, "0.5"), (8.0, "8"), (0, "0")],
)
def test_a_limit_is_named_as_one_would_write_it(value: float, named: str) -> None:
    assert at_most(value) == named
