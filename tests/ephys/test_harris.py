"""The rule of Harris, Mihai & Hare, with what is odd about it, and the one with a margin."""

from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from ephys.harris import harris_classes, spatial_opponency, spectral_opponency

NAN = np.nan


def one(values: ArrayLike) -> xr.DataArray:
    return xr.DataArray(np.atleast_2d(np.asarray(values, np.float32)), dims=("unit", "stimulus"))


def level(value: float) -> xr.DataArray:
    return xr.DataArray([np.float32(value)], dims="unit")


def theirs(responses: np.ndarray, base: float, *, spectral: bool) -> str:
    """The rule, as the authors wrote it for one cell: first all equal, then both sides."""
    if (responses == base).all():
        return "unresponsive"
    if spectral:
        both = responses.max() > base and responses.min() < base and base > 0
    else:
        both = not ((responses <= base).all() or (responses >= base).all())
    return "opponent" if both else "non-opponent"


@pytest.mark.parametrize("base", [0.5, 0.0, -1e-7])
def test_a_baseline_of_0_or_a_hair_below_makes_hues_non_opponent_and_not_gratings(
    base: float,
) -> None:
    swings = one([base - 2, base, base + 3])
    spectral = spectral_opponency(swings, level(base)).item()
    assert spectral == ("opponent" if base > 0 else "non-opponent")
    assert spatial_opponency(swings, level(base)).item() == "opponent"
    assert spectral_opponency(swings, level(base), margin=0).item() == "opponent"


def test_by_however_little_is_enough_without_a_margin() -> None:
    base = 1.0
    above = float(np.nextafter(np.float32(1), np.float32(2)))
    hair = one([0.2, base, above])
    for rule in (spectral_opponency, spatial_opponency):
        assert rule(hair, level(1)).item() == "opponent"
        assert rule(hair, level(1), margin=0).item() == "opponent"
        assert rule(hair, level(1), margin=1e-3).item() == "non-opponent"
        assert rule(one([0.2, base, base]), level(1)).item() == "non-opponent"
        assert rule(one([base, base]), level(1)).item() == "unresponsive"
        assert rule(one([base, NAN, 3]), level(1)).item() == ""
        assert rule(hair, level(NAN)).item() == ""


def test_the_margin_is_a_share_of_the_larger_swing() -> None:
    swings = one([-4, 1])
    for rule in (spectral_opponency, spatial_opponency):
        assert rule(swings, level(0), margin=0.249).item() == "opponent"
        assert rule(swings, level(0), margin=0.25).item() == "non-opponent"


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.sampled_from([-2.0, -1.0, -0.0, 0.0, 1e-30, 0.5, 1.0]), min_size=1, max_size=5),
    st.sampled_from([-1.0, -1e-30, 0.0, 1e-30, 0.5]),
)
def test_the_rules_are_those_of_the_authors(values: list[float], base: float) -> None:
    responses = one(values)
    for spectral, rule in ((True, spectral_opponency), (False, spatial_opponency)):
        expected = theirs(responses.values[0], float(np.float32(base)), spectral=spectral)
        assert rule(responses, level(base)).item() == expected


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(-8, 8), min_size=2, max_size=6),
    st.integers(-8, 8),
    st.sampled_from([0.0, 0.1, 0.5, 0.9]),
    st.integers(-100, 100),
    st.sampled_from([0.25, 1, 4]),
)
def test_no_gain_or_offset_changes_the_rule_with_a_margin(
    values: list[int], base: int, margin: float, offset: int, gain: float
) -> None:
    own = spectral_opponency(one(values), level(base), margin=margin).item()
    moved = offset + gain * np.array(values)
    assert spectral_opponency(one(moved), level(offset + gain * base), margin=margin) == own
    mirrored = spectral_opponency(one(-np.array(values)), level(-base), margin=margin)
    assert mirrored == own


def recorded(
    hues: ArrayLike, gratings: ArrayLike, *, black: float, grey: float, white: float
) -> xr.Dataset:
    """One unit's responses to a few hues and gratings, and to three uniform fields."""
    hues, gratings = np.atleast_1d(hues), np.atleast_1d(gratings)
    counts = {"hue": hues.size, "grating": gratings.size, "baseline": 3}
    part = np.repeat(list(counts), list(counts.values()))
    polarity = [*[1.0] * hues.size, *[NAN] * gratings.size, -1, 1, 1]
    contrast = [*[1.0] * (part.size - 3), 1, 0, 1]
    shown: dict[str, Any] = {
        "part": ("stimulus", part),
        "polarity": ("stimulus", polarity),
        "contrast": ("stimulus", contrast),
        "mean_luminance": ("stimulus", np.full(part.size, 0.5)),
        "channel": ("unit", [4]),
    }
    values = np.concatenate([hues, gratings, [black, grey, white]])
    return xr.Dataset({"response": (("stimulus", "unit"), values[:, None])}, shown)


def test_hues_are_taken_before_the_nonlinearity_and_gratings_after_it() -> None:
    # The baseline is above 0: hues are on both sides of it. That of gratings is so before the ReLU.
    responses = recorded([-1, 2], [-3, 0.5], black=0.5, grey=0.1, white=3)
    found = harris_classes(responses)
    assert found["spectral"].item() == "opponent"
    assert found["spatial"].item() == "non-opponent"
    assert found["both"].item() == "spectrally opponent"
    assert found["channel"].values.tolist() == [4]
    # Below the baseline of black there is still something after the ReLU.
    responses = recorded([-1, 2], [-3, 0.7], black=0.5, grey=0.1, white=3)
    assert harris_classes(responses)["both"].item() == "double-opponent"
    below = recorded([-1, 2], [-3, 0.7], black=-0.5, grey=0.1, white=3)
    assert harris_classes(below)["both"].item() == "non-opponent"
    assert harris_classes(below, rectified=())["both"].item() == "spatially opponent"
    everything = harris_classes(below, rectified=(), margin=0.05)
    assert everything["both"].item() == "double-opponent"
    xr.testing.assert_identical(harris_classes(below, rectified="grating"), harris_classes(below))
    rectified = harris_classes(below, rectified=("hue", "grating"), margin=0.05)
    assert rectified["both"].item() == "non-opponent"


def test_the_baseline_is_the_uniform_field_that_is_asked_for() -> None:
    responses = recorded([0.2, 1], [0.3, 2], black=5, grey=0.5, white=1.5)
    found = {
        name: harris_classes(responses, baseline=name)["both"].item()
        for name in ("black", "grey", "white")
    }
    assert found == {
        "black": "non-opponent",
        "grey": "double-opponent",
        "white": "spatially opponent",
    }


def test_a_unit_that_answers_nothing_or_of_which_something_is_missing() -> None:
    silent = recorded([0, 0], [0, 0], black=0, grey=0, white=0)
    assert harris_classes(silent)["both"].item() == "unresponsive"
    deaf_to_hue = recorded([1, 1], [0, 0.5], black=1, grey=0, white=0)
    assert harris_classes(deaf_to_hue)["both"].item() == "non-opponent"
    missing = recorded([0, NAN], [0, 0], black=0, grey=0, white=0)
    assert harris_classes(missing)["both"].item() == ""


def test_what_cannot_be_classified_is_refused() -> None:
    responses = recorded([0, 1], [0, 1], black=0, grey=0, white=0)
    with pytest.raises(KeyError, match="baseline='gray' is none of black, grey, white"):
        harris_classes(responses, baseline="gray")
    with pytest.raises(KeyError, match="'part' is no parameter"):
        harris_classes(responses.drop_vars("part"))
    with pytest.raises(ValueError, match="no stimulus is a uniform white field"):
        harris_classes(responses.isel(stimulus=slice(-1)), baseline="white")
    with pytest.raises(ValueError, match="no stimulus is part='hue'"):
        harris_classes(responses.isel(stimulus=slice(2, None)))
    with pytest.raises(ValueError, match=r"rectified=\['hues'\] are no parts"):
        harris_classes(responses, rectified=("hues",))
    with pytest.raises(ValueError, match=r"rectified=\['hues'\] are no parts"):
        harris_classes(responses, rectified="hues")
    for margin in (-0.1, 1):
        with pytest.raises(ValueError, match=f"margin={margin} is not from 0 to below 1"):
            harris_classes(responses, margin=margin)
