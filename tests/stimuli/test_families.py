"""The table of families: it says of each what drawing and checking it needs."""

import inspect

import numpy as np
import pytest

from ephys.stimuli.colors import COLORS
from ephys.stimuli.families import FAMILIES, PARAMETERS, SHARED, SHARED_WORDS, WINDOW, WORDS

KINDS = inspect.Parameter


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_called_as_its_function_is(name: str) -> None:
    assert FAMILIES[name].draw.__name__ == name


@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_of_a_family_has_a_unit_and_a_range_or_is_a_word(name: str) -> None:
    signature = inspect.signature(FAMILIES[name].draw).parameters
    first, *named, last = signature
    assert (first, last, signature[last].default) == ("field", "device", "cpu")
    assert {signature[one].kind for one in (*named, last)} == {KINDS.KEYWORD_ONLY}
    assert set(named) <= set(PARAMETERS) | set(WORDS)
    assert {"x", "y"} <= set(named)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_default_of_a_family_is_in_the_range_of_its_parameter(name: str) -> None:
    for one in inspect.signature(FAMILIES[name].draw).parameters.values():
        if one.name in PARAMETERS and one.default is not KINDS.empty and one.default == one.default:
            assert not PARAMETERS[one.name].refused(np.array([one.default])).any(), one.name


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_asked_of_a_family_takes_the_parameters_of_its_function(name: str) -> None:
    family = FAMILIES[name]
    own = [p for p in inspect.signature(family.draw).parameters if p not in ("field", "device")]
    everything = dict.fromkeys(own)
    for ask in (family.check, family.checks):
        if ask is not None:
            inspect.signature(ask).bind(None, **everything)
    if family.extremes is not None:
        inspect.signature(family.extremes).bind(**everything)
    elif not family.absolute:
        assert "contrast" in own  # which the extremes then are


def test_every_shared_parameter_can_be_left_out() -> None:
    for name in SHARED:
        assert PARAMETERS[name].default is not None, name
    assert set(WINDOW) < set(SHARED)
    assert set(SHARED_WORDS) < set(WORDS)


def test_every_component_of_a_color_is_a_parameter() -> None:
    for system, components in COLORS.items():
        for name, component in components.items():
            assert PARAMETERS[name] is component, (system, name)
    assert WORDS["color"] == tuple(COLORS)


def test_no_component_of_a_color_hides_a_parameter_of_a_family() -> None:
    components = {name for system in COLORS.values() for name in system}
    for name, family in FAMILIES.items():
        assert not components & set(inspect.signature(family.draw).parameters), name
