"""Cone weights: planted ones are found, of linear, rectified and complex units."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from ephys.cones import AXES, cone_contrasts, cone_weights, first_harmonic, laid_out
from ephys.stimuli import colors, protocols
from ephys.stimuli.gratings import grating
from ephys.stimuli.sweep import StimulusSet, sweep
from ephys.visual_field import VisualField

FIELD = VisualField(48, 48, 15.0)
SMALL: dict[str, Any] = {"orientations": 2, "spatial_frequencies": [1, 2]}

Unit = Callable[[np.ndarray, np.ndarray], np.ndarray]


def seen(table: xr.Dataset) -> np.ndarray:
    """Contrasts of the cones in every stimulus, from the colors that are drawn: (stimulus, 3)."""
    _, first, part = np.unique(table["part"].values, return_index=True, return_inverse=True)
    found = []
    for row in first:
        one = {str(name): column.values[row] for name, column in table.data_vars.items()}
        color, grey = str(one["color"]), float(one["mean_luminance"])
        components = {name: one[name] for name in colors.COLORS[color]}
        rgb = grey + colors.difference(color, grey, **components)
        found.append(one["contrast"] * colors.cone_contrasts(rgb, grey)[0])
    return np.array(found)[part]


def answered(stimuli: StimulusSet, *units: Unit, blank: float = 0.0) -> xr.Dataset:
    """Responses of units of the cone contrasts and a carrier: how well a grating suits them."""
    table = stimuli.table
    contrasts = seen(table)
    carrier = np.exp(1j * np.deg2rad(table["phase"].values + 31))
    carrier = carrier / table["spatial_frequency"].values
    carrier = carrier * np.where(table["orientation"].values > 0, 0.8, 1.1)
    values = np.stack([unit(contrasts, carrier) for unit in units], axis=1)
    shown = {name: ("stimulus", c.values) for name, c in table.data_vars.items()}
    variables = {
        "response": (("stimulus", "unit"), blank + values),
        "blank": ("unit", np.full(len(units), blank)),
    }
    return xr.Dataset(variables, shown)


def linear(*weights: float) -> Unit:
    return lambda contrasts, carrier: (contrasts @ weights) * carrier.real


def rectified(*weights: float) -> Unit:
    return lambda contrasts, carrier: np.maximum((contrasts @ weights) * carrier.real, 0)


def energy(*weights: float) -> Unit:
    return lambda contrasts, carrier: abs(contrasts @ weights) * abs(carrier)


def conventional(weights: Sequence[float]) -> np.ndarray:
    """Sum of absolute values 1, the largest positive."""
    values = np.array(weights, float) / np.abs(weights).sum()
    return values * np.sign(values[np.abs(values).argmax()])


PLANTED = [(0.5, 0.4, 0.1), (0.6, -0.4, 0), (0.2, -0.3, 0.5), (-0.7, 0.2, 0.1), (0, 0, -3)]


@pytest.mark.parametrize("make", [linear, rectified])
@pytest.mark.parametrize("blank", [0.0, 2.5])
@pytest.mark.parametrize("protocol", [protocols.cone_weights, protocols.isoluminant_frequency])
def test_planted_weights_are_found(make: Callable[..., Unit], blank: float, protocol: Any) -> None:
    responses = answered(protocol(**SMALL), *(make(*w) for w in PLANTED), blank=blank)
    found = cone_weights(responses)
    # Rounding; of the axes of DKL space, of which the smallest contrast is 0.07, some more.
    expected = [conventional(weights) for weights in PLANTED]
    np.testing.assert_allclose(found["weight"], expected, atol=1e-12)
    np.testing.assert_allclose(found["magnitude"], np.abs(expected), atol=1e-12)
    assert found["weight"].dims == ("unit", "cone")
    assert found["cone"].values.tolist() == ["L", "M", "S"]


def test_a_complex_unit_has_magnitudes_and_no_signs() -> None:
    both = answered(protocols.cone_weights(**SMALL), energy(0.5, -0.3, 0.2), blank=0.4)
    found = cone_weights(both)
    assert np.isnan(found["weight"]).all()
    np.testing.assert_allclose(found["magnitude"], [[0.5, 0.3, 0.2]], rtol=1e-12)
    # Along other axes, on which several cones act, its means do not add.
    mixed = answered(protocols.isoluminant_frequency(**SMALL), energy(0.5, -0.3, 0.2))
    assert np.isnan(cone_weights(mixed)["magnitude"]).all()


def test_of_equally_large_weights_the_first_is_positive() -> None:
    responses = answered(protocols.cone_weights(**SMALL), linear(-1, 1, 0), linear(0, -1, 1))
    rng = np.random.default_rng(5)
    last_place = np.finfo(np.float32).eps * rng.normal(size=responses["response"].shape)
    responses["response"] = responses["response"] * (1 + last_place)
    np.testing.assert_allclose(
        cone_weights(responses)["weight"], [[0.5, -0.5, 0], [0, 0.5, -0.5]], atol=1e-6
    )


def test_the_grating_is_the_one_of_the_largest_response_to_a_cone() -> None:
    def center_and_surround(contrasts: np.ndarray, carrier: np.ndarray) -> np.ndarray:
        high = abs(carrier) > 0.9  # one frequency and orientation of the four
        weights = np.where(high[:, None], [3.0, 1.0, 0.0], [1.0, -1.0, 2.0])
        return (contrasts * weights).sum(1) * carrier.real / abs(carrier)

    responses = answered(protocols.cone_weights(**SMALL), center_and_surround)
    np.testing.assert_allclose(cone_weights(responses)["weight"], [[0.75, 0.25, 0]], atol=1e-12)


def test_nothing_is_weighed_without_a_response_or_with_one_missing() -> None:
    units = linear(0, 0, 0), linear(1, 1, 0)
    responses = answered(protocols.cone_weights(**SMALL), *units, blank=1.7)
    responses["response"][3, 1] = np.nan
    found = cone_weights(responses)
    assert np.isnan(found["weight"]).all()
    assert np.isnan(found["magnitude"]).all()


@settings(deadline=None, max_examples=25)
@given(
    st.tuples(*[st.floats(-1, 1).filter(lambda w: abs(w) > 0.01)] * 3),
    st.floats(0.01, 50),
    st.sampled_from([-1, 1]),
)
def test_gain_and_polarity_change_no_weight(
    weights: tuple[float, float, float], gain: float, sign: int
) -> None:
    scaled = tuple(sign * gain * w for w in weights)
    responses = answered(protocols.cone_weights(**SMALL), linear(*weights), linear(*scaled))
    found = cone_weights(responses)["weight"].values
    if np.diff(np.sort(np.abs(weights)))[-1] > 1e-3:  # else which is the largest is rounding
        np.testing.assert_allclose(found[0], found[1], atol=1e-12)
    np.testing.assert_allclose(np.abs(found).sum(1), 1, rtol=1e-12)


@pytest.mark.parametrize("grey", [0.2, 0.5, 0.7])
def test_cone_contrasts_are_those_of_the_colors_that_are_drawn(grey: float) -> None:
    axes = {"L-M": (0, 0), "S": (90, 0), "luminance": (0, 90)}
    for part, (azimuth, elevation) in axes.items():
        stimuli = sweep(
            grating,
            color="dkl",
            azimuth=azimuth,
            elevation=elevation,
            contrast=0.4,
            mean_luminance=grey,
            part=part,
            spatial_frequency=[1, 2],
            phase=[0, 90, 180, 270],
            orientation=0,
        )
        table = stimuli.table.set_coords(list(stimuli.table.data_vars))
        drawn = seen(stimuli.table)[:1]
        np.testing.assert_allclose(cone_contrasts(table, [part]), drawn, rtol=1e-12, atol=1e-15)
    assert list(AXES["dkl"]) == list(axes)


def test_what_is_no_axis_is_refused() -> None:
    responses = answered(protocols.cone_weights(**SMALL), linear(1, 0, 0))
    part = responses["part"].values
    with pytest.raises(ValueError, match=r"no stimulus has part='M'; there are L, L\+M\+S, S"):
        cone_weights(responses.isel(stimulus=part != "M"))
    wrong = responses.assign_coords(cone_m=("stimulus", np.where(part == "M", 0.5, 0)))
    with pytest.raises(ValueError, match=r"part='M' has cone_m=0\.5, not 1; name it another"):
        cone_weights(wrong)
    other = np.where(part == "S", 2, 1) * responses["spatial_frequency"].values
    with pytest.raises(ValueError, match="part='S' is of other gratings than part='L'"):
        cone_weights(responses.assign_coords(spatial_frequency=("stimulus", other)))
    two = responses["contrast"].values * np.where(responses["phase"] > 90, 2, 1)
    with pytest.raises(ValueError, match="part='L' has 2 values of contrast; select one"):
        cone_weights(responses.assign_coords(contrast=("stimulus", two)))
    half = responses.isel(stimulus=responses["phase"].values < 180)
    with pytest.raises(ValueError, match="a circle of 360 degrees"):
        cone_weights(half)
    with pytest.raises(KeyError, match="'phase' was not varied"):
        cone_weights(responses.isel(stimulus=responses["phase"].values == 0))
    for name in ("part", "color"):
        with pytest.raises(KeyError, match=f"'{name}' is no parameter"):
            cone_weights(responses.drop_vars(name))
    colored = responses.assign_coords(color=("stimulus", ["lab"] * part.size))
    with pytest.raises(ValueError, match="part='L-M'"):
        cone_weights(colored)


def test_parts_are_laid_out_side_by_side() -> None:
    responses = answered(protocols.cone_weights(**SMALL), linear(1, 0, 0))
    table = laid_out(responses, ["S", "L"])
    assert table.dims == ("part", "orientation", "phase", "spatial_frequency", "unit")
    assert table["part"].values.tolist() == ["S", "L"]
    assert abs(table.sel(part="S")).max() < 1e-12
    assert abs(table.sel(part="L")).max() > 0.01


def test_the_first_harmonic() -> None:
    angles = np.arange(5) * 2 * np.pi / 5
    wave = 3 + 2 * np.cos(angles + 0.4) + np.cos(2 * angles)
    assert first_harmonic(wave) == pytest.approx(2 * np.exp(0.4j), rel=1e-12)
    assert first_harmonic(np.array([1.0, -1.0])) == 0
