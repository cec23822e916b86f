"""Of planted units an overview tells what was planted, whatever the stimuli are."""

import json
from typing import Any

import numpy as np
import pytest
import xarray as xr

from ephys import overview
from ephys.rounding import layer_rounding
from ephys.stimuli import (
    center_surround,
    colors,
    drifting_grating,
    grating,
    paired,
    patch,
    sparse_noise,
    sweep,
    white_noise,
)
from ephys.stimuli.protocols import PROTOCOLS, natural_images, protocol
from ephys.stimuli.sweep import StimulusSet
from ephys.visual_field import VisualField

FIELD = VisualField(48, 48, 15.0)
BLANK = 0.25


def recorded(stimuli: StimulusSet, *units: np.ndarray, blank: float = BLANK) -> xr.Dataset:
    """What would have been recorded of units that answer so to the stimuli, above the blank."""
    shape = {"channels": 3, "height_px": FIELD.height_px, "width_px": FIELD.width_px}
    names = ["family", *stimuli.parameters]
    response = blank + np.stack([np.broadcast_to(unit, len(stimuli)) for unit in units], axis=1)
    return xr.Dataset(
        {
            "response": (("stimulus", "unit"), response.astype(np.float32)),
            "blank": ("unit", np.full(len(units), blank, np.float32)),
        },
        {
            name: ("stimulus", stimuli.table[name].values, stimuli.table[name].attrs)
            for name in names
        },
        {"input_format": json.dumps(shape), "pixels_per_degree": FIELD.pixels_per_degree},
    )


def column(stimuli: StimulusSet, name: str) -> np.ndarray:
    return stimuli.table[name].values


GRATINGS = sweep(
    grating, orientation=[0, 45, 90, 135], spatial_frequency=[1, 2, 4], phase=[0, 90, 180, 270]
)
COLORED = sweep(
    patch, color="hsl", hue=np.arange(0, 360, 60), saturation=1, lightness=0.5, part="hue"
) + sweep(grating, spatial_frequency=[1, 2], orientation=[0, 90], part="grating")


# One number per unit.


def test_the_best_of_a_parameter_is_its_value_at_the_largest_response() -> None:
    where = (column(GRATINGS, "orientation") == 90) & (column(GRATINGS, "phase") == 270)
    tuned = where * column(GRATINGS, "spatial_frequency")
    units = overview.unit_measures(recorded(GRATINGS, tuned, -tuned))
    best = {
        name: float(units[f"best_{name}"][0]) for name in overview.varied(recorded(GRATINGS, tuned))
    }
    assert best == {"orientation": 90, "spatial_frequency": 4, "phase": 270}
    np.testing.assert_allclose(units["max"], [BLANK + 4, BLANK])
    np.testing.assert_allclose(units["min"], [BLANK, BLANK - 4])
    assert units["answers"].values.tolist() == [True, True]


def test_every_number_says_what_it_is() -> None:
    units = overview.unit_measures(recorded(COLORED, column(COLORED, "part") == "grating"))
    for values in units.values():
        assert {"long_name", "units", "baseline"} <= set(values.attrs)
    assert units["best_hue"].attrs["period"] == 360
    assert units["best_spatial_frequency"].attrs["units"] == "cycles degree-1"
    assert "period" not in units["best_spatial_frequency"].attrs
    found = overview.population_measures(recorded(GRATINGS, column(GRATINGS, "spatial_frequency")))
    assert found["best_spatial_frequency"].attrs["units"] == "cycles degree-1"


def test_of_several_largest_responses_the_first_counts() -> None:
    ties = (column(GRATINGS, "spatial_frequency") >= 2).astype(float)
    units = overview.unit_measures(recorded(GRATINGS, ties))
    assert units["best_spatial_frequency"].item() == 2
    assert units["best_orientation"].item() == 0


def test_a_unit_that_answers_all_as_the_blank_has_no_best() -> None:
    hue = (column(COLORED, "part") == "hue").astype(float)
    units = overview.unit_measures(recorded(COLORED, np.zeros(1), hue))
    assert units["answers"].values.tolist() == [False, True]
    assert np.isnan(units["best_hue"][0])
    assert units["best_part"].values.tolist() == ["", "hue"]


def test_what_the_best_stimulus_does_not_have_is_not_said() -> None:
    units = overview.unit_measures(recorded(COLORED, column(COLORED, "part") == "grating"))
    assert units["best_orientation"].item() == 0
    assert np.isnan(units["best_hue"].item())
    assert units["best_family"].item() == "grating"


def test_rounding_is_no_answer_but_the_error_of_a_lower_precision_may_be() -> None:
    loud = 1000 * column(GRATINGS, "spatial_frequency")
    eps = float(np.finfo(np.float32).eps)
    rounded, faint = (
        share * 4000 * (column(GRATINGS, "phase") == 90) for share in (500 * eps, 0.01)
    )
    responses = recorded(GRATINGS, loud, rounded, faint, blank=0)
    assert layer_rounding(responses) == pytest.approx(4000 * 1000 * eps)
    assert overview.unit_measures(responses)["answers"].values.tolist() == [True, False, True]
    coarse = responses.assign_attrs(error=0.02)
    assert overview.unit_measures(coarse)["answers"].values.tolist() == [True, False, False]
    above = overview.population_measures(responses)["above_blank"]
    np.testing.assert_allclose(above, [4000, 0, 40], rtol=1e-6)


def test_a_response_that_is_no_number_is_passed_over() -> None:
    responses = recorded(GRATINGS, column(GRATINGS, "spatial_frequency"), np.full(1, np.nan))
    responses["response"][0, 0] = np.nan
    units = overview.unit_measures(responses)
    assert units["max"][0] == BLANK + 4
    assert units["answers"].values.tolist() == [True, False]
    assert units["best_spatial_frequency"][0] == 4
    assert np.isnan(units["best_spatial_frequency"][1])


# The population.


def test_the_population_is_told_shares_sizes_and_medians_but_of_angles_none() -> None:
    rising = column(GRATINGS, "spatial_frequency")
    found = overview.population_measures(recorded(GRATINGS, rising, -rising, np.zeros(1)))
    assert list(found) == ["answering", "above_blank", "below_blank", "best_spatial_frequency"]
    np.testing.assert_array_equal(found["answering"], [1, 1, 0])
    np.testing.assert_allclose(found["above_blank"], [4, 0, 0])
    np.testing.assert_allclose(found["below_blank"], [0, 4, 0])
    np.testing.assert_array_equal(found["best_spatial_frequency"], [4, 1, np.nan])


def test_of_parts_it_is_told_which_one_is_best_of_the_units_that_answer() -> None:
    hue, other = ((column(COLORED, "part") == part).astype(float) for part in ("hue", "grating"))
    found = overview.population_measures(recorded(COLORED, hue, other, np.zeros(1)))
    np.testing.assert_array_equal(found["best_part: hue"], [1, 0, np.nan])
    np.testing.assert_array_equal(found["best_part: grating"], [0, 1, np.nan])


# Along the parameters.


def estimate(curves: dict[str, dict[str, xr.Dataset]], part: str, name: str) -> np.ndarray:
    return curves[part][name]["estimate"].values


def test_a_curve_is_the_mean_over_all_else_as_a_share_of_the_units_largest() -> None:
    frequency, phase = (column(GRATINGS, name) for name in ("spatial_frequency", "phase"))
    unit = frequency + 10 * np.cos(np.deg2rad(phase))
    curves = overview.curves(recorded(GRATINGS, unit, 7 * unit))
    assert list(curves) == [""]
    assert list(curves[""]) == ["orientation", "spatial_frequency"]
    np.testing.assert_allclose(estimate(curves, "", "spatial_frequency"), [0.25, 0.5, 1], rtol=1e-6)
    assert curves[""]["spatial_frequency"].attrs["units"] == 2


def tuned(stimuli: StimulusSet, name: str, preferred: float, period: float = 180) -> np.ndarray:
    return 2 + np.cos(2 * np.pi * (column(stimuli, name) - preferred) / period)


@pytest.mark.parametrize(
    ("name", "family", "count", "period"),
    [("orientation", grating, 6, 180), ("direction", drifting_grating, 9, 360)],
)
def test_angles_are_from_each_units_best_so_that_their_mean_has_a_peak(
    name: str, family: Any, count: int, period: float
) -> None:
    values = np.arange(count) * period / count
    still: dict[str, Any] = (
        {} if name == "orientation" else {"temporal_frequency": 4, "time": [0, 0.125]}
    )
    stimuli = sweep(family, **{name: values}, spatial_frequency=[1, 2], **still)
    units = [(1 + unit) * tuned(stimuli, name, best, period) for unit, best in enumerate(values)]
    curve = overview.curves(recorded(stimuli, *units))[""][name]
    relative = curve[f"relative_{name}"]
    np.testing.assert_allclose(np.diff(relative), period / count)
    assert relative[0] >= -period / 2
    assert relative[-1] < period / 2
    expected = (2 + np.cos(2 * np.pi * relative / period)) / 3
    np.testing.assert_allclose(curve["estimate"], expected, rtol=1e-6)
    assert curve["count"].values.tolist() == [count] * count


def test_what_prefers_no_angle_is_not_turned_to_its_rounding() -> None:
    rng = np.random.default_rng(0)
    rounding = 1 + 1e-6 * rng.standard_normal(len(GRATINGS))
    shape = tuned(GRATINGS, "orientation", 45)
    curves = overview.curves(recorded(GRATINGS, shape, *[rounding] * 3, blank=0))[""]
    np.testing.assert_allclose(curves["orientation"]["estimate"], [1 / 3, 2 / 3, 1, 2 / 3])
    assert curves["orientation"]["count"].values.tolist() == [1] * 4
    assert curves["spatial_frequency"]["count"].values.tolist() == [4] * 3
    alone = overview.curves(recorded(GRATINGS, rounding))[""]["orientation"]
    assert np.isnan(alone["estimate"]).all()


def test_a_part_without_a_preference_leaves_the_other_parts_theirs() -> None:
    angles = {"orientation": [0, 45, 90, 135]}
    stimuli = sweep(grating, spatial_frequency=1, **angles, part="flat")
    stimuli += sweep(grating, spatial_frequency=2, **angles, part="tuned")
    unit = np.where(column(stimuli, "part") == "flat", 6, tuned(stimuli, "orientation", 90))
    curves = overview.curves(recorded(stimuli, unit))
    assert np.isnan(curves["flat"]["orientation"]["estimate"]).all()
    found = estimate(curves, "tuned", "orientation")
    np.testing.assert_allclose(found, np.array([1, 2, 3, 2]) / 6, rtol=1e-6)


def test_angles_that_are_told_from_another_and_a_few_of_a_circle_stay_as_they_are() -> None:
    angles: dict[str, Any] = {"orientation": [0, 30, 60], "surround_angle": [0, 60, 120]}
    fixed: dict[str, Any] = {"spatial_frequency": 1, "center_diameter": 1, "surround_contrast": 1}
    around = sweep(center_surround, **angles, **fixed)
    curves = overview.curves(recorded(around, tuned(around, "surround_angle", 60)))[""]
    assert curves["surround_angle"]["estimate"].dims == ("surround_angle",)
    assert curves["surround_angle"]["estimate"].values.argmax() == 1
    some = overview.curves(recorded(around, tuned(around, "orientation", 30)))[""]
    assert some["orientation"]["estimate"].dims == ("orientation",)
    assert some["orientation"]["estimate"].values.argmax() == 1


def test_phase_is_an_axis_where_nothing_else_is() -> None:
    stimuli = sweep(grating, spatial_frequency=1, phase=np.arange(4) * 90)
    linear = np.cos(np.deg2rad(column(stimuli, "phase") - 270))
    curves = overview.curves(recorded(stimuli, linear))
    assert list(curves[""]) == ["phase"]
    np.testing.assert_allclose(estimate(curves, "", "phase"), [-1, 0, 1, 0], atol=1e-6)


def test_the_mean_is_over_units_and_lies_in_its_interval() -> None:
    frequency = column(GRATINGS, "spatial_frequency")
    curve = overview.curves(recorded(GRATINGS, frequency, -frequency, frequency == 1))[""][
        "spatial_frequency"
    ]
    np.testing.assert_allclose(curve["estimate"], [1 / 3, 0, 0], atol=1e-6)
    assert (curve["low"] <= curve["estimate"]).all()
    assert (curve["estimate"] <= curve["high"]).all()
    assert (curve["low"] < curve["high"]).all()


def test_a_unit_whose_answers_cancel_is_left_out() -> None:
    linear = np.cos(np.deg2rad(column(GRATINGS, "phase")))
    curves = overview.curves(recorded(GRATINGS, linear, column(GRATINGS, "spatial_frequency")))
    assert curves[""]["spatial_frequency"]["count"].values.tolist() == [1] * 3
    alone = overview.curves(recorded(GRATINGS, linear))[""]["spatial_frequency"]
    assert np.isnan(alone["estimate"]).all()


def test_parts_have_their_own_axes_and_one_scale() -> None:
    few = sweep(grating, spatial_frequency=[1, 2], orientation=[0, 90], part="few")
    more = sweep(grating, spatial_frequency=[2, 4], orientation=30, part="more")
    stimuli = few + more
    curves = overview.curves(recorded(stimuli, column(stimuli, "spatial_frequency")))
    assert {part: list(axes) for part, axes in curves.items()} == {
        "few": ["orientation", "spatial_frequency"],
        "more": ["spatial_frequency"],
    }
    np.testing.assert_allclose(estimate(curves, "few", "spatial_frequency"), [0.25, 0.5], rtol=1e-6)
    np.testing.assert_allclose(estimate(curves, "more", "spatial_frequency"), [0.5, 1], rtol=1e-6)
    np.testing.assert_array_equal(curves["more"]["spatial_frequency"]["spatial_frequency"], [2, 4])


def test_families_are_parts_where_no_part_is_named_and_many_parts_are_none() -> None:
    stimuli = sweep(grating, spatial_frequency=[1, 2]) + sweep(
        patch, diameter=[1, 2], contrast=[0.5, 1]
    )
    curves = overview.curves(recorded(stimuli, np.arange(len(stimuli))))
    assert list(curves) == ["grating", "patch"]
    many = paired(grating, spatial_frequency=np.arange(1, 10), part=list("abcdefghi"))
    assert list(overview.curves(recorded(many, np.arange(9)))) == [""]


def test_positions_are_a_map_of_the_size_of_the_answer() -> None:
    stimuli = sweep(sparse_noise, y=[-1, 0, 1], x=[-1, 0], check_size=0.5, polarity=[-1, 1])
    x, y, polarity = (column(stimuli, name) for name in ("x", "y", "polarity"))
    unit = polarity * (1.0 * (y == 1) + 3.0 * (y == 1) * (x == 0))
    curves = overview.curves(recorded(stimuli, unit, 2 * unit))
    assert list(curves[""]) == ["position", "polarity"]
    curve = curves[""]["position"]
    places = zip(curve["x"].values, curve["y"].values, curve["estimate"].values, strict=True)
    found = {(float(x), float(y)): value for x, y, value in places}
    expected = {(a, b): 0.0 for a in (-1, 0) for b in (-1, 0, 1)} | {(-1, 1): 0.25, (0, 1): 1.0}
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_line_of_positions_is_no_map() -> None:
    stimuli = sweep(grating, spatial_frequency=1, x=[-1, 0, 1])
    assert list(overview.curves(recorded(stimuli, column(stimuli, "x")))[""]) == ["x"]


def test_without_any_axis_stimuli_are_ranked_for_each_unit() -> None:
    stimuli = sweep(white_noise, check_size=0.5, side=3, seed=range(6))
    unit = np.array([0, 4, -2, 1, 2, 0.0])
    rank = overview.curves(recorded(stimuli, unit, 3 * unit[::-1]))[""]["rank"]
    np.testing.assert_array_equal(rank["rank"], np.arange(1, 7))
    np.testing.assert_allclose(rank["estimate"], np.array([4, 2, 1, 0, 0, -2]) / 4, atol=1e-6)


def test_of_many_ranks_a_few_are_told_from_the_first_to_the_last() -> None:
    stimuli = sweep(white_noise, check_size=0.5, side=3, seed=range(1000))
    rank = overview.curves(recorded(stimuli, np.arange(1000.0)))[""]["rank"]
    assert rank.sizes["rank"] == overview.MOST_RANKS
    np.testing.assert_allclose(rank["estimate"], (1000 - rank["rank"]) / 999, atol=1e-6)


@pytest.mark.parametrize("encoding", ["linear", "srgb"])
def test_an_axis_of_hue_has_the_colors_that_were_shown(encoding: str) -> None:
    hues = np.arange(0, 360, 60)
    stimuli = sweep(patch, color="dkl", azimuth=hues, contrast=0.5, encoding=encoding)
    curve = overview.curves(recorded(stimuli, column(stimuli, "azimuth")))[""]["azimuth"]
    shown = stimuli.render(VisualField(1, 1, 1.0))[:, :, 0, 0].numpy()
    np.testing.assert_allclose(curve["rgb"], shown, atol=1e-6)


def test_the_colors_of_a_part_are_its_own() -> None:
    curves = overview.curves(recorded(COLORED, np.arange(len(COLORED))))
    expected = colors.hsl_to_srgb(np.stack(np.broadcast_arrays(np.arange(0, 360, 60), 1, 0.5), -1))
    np.testing.assert_allclose(curves["hue"]["hue"]["rgb"], expected, atol=1e-12)
    assert "rgb" not in curves["grating"]["orientation"].coords


# The stimuli themselves.


def test_a_few_stimuli_are_shown_as_they_are_and_said_what_they_are() -> None:
    examples = overview.examples(recorded(GRATINGS, np.zeros(1)))
    assert len(examples) == overview.MOST_EXAMPLES
    shown = GRATINGS.render(FIELD)[:, 0].numpy()
    for image, caption in examples:
        (match,) = [i for i, one in enumerate(shown) if np.array_equal(one, image)]
        *words, value = caption.replace("°", "").removesuffix(" cycles/degree").split()
        assert float(value) == column(GRATINGS, "_".join(words))[match]


def test_a_model_without_color_is_shown_none() -> None:
    responses = recorded(COLORED, np.zeros(1))
    assert {image.shape for image, _ in overview.examples(responses)} == {(48, 48, 3)}
    shape = json.loads(responses.attrs["input_format"]) | {"channels": 1}
    grey = responses.assign_attrs(input_format=json.dumps(shape))
    assert {image.shape for image, _ in overview.examples(grey)} == {(48, 48)}


def test_examples_of_parts_say_which() -> None:
    captions = [caption for _, caption in overview.examples(recorded(COLORED, np.zeros(1)))]
    assert {caption.splitlines()[0] for caption in captions} == {"hue", "grating"}


@pytest.mark.parametrize("name", sorted(set(PROTOCOLS) - {natural_images.__name__}))
def test_there_is_something_to_tell_of_every_protocol(name: str) -> None:
    stimuli = protocol(name, FIELD).stimuli
    some = stimuli[np.arange(0, len(stimuli), max(1, len(stimuli) // 1000))]
    rng = np.random.default_rng(0)
    responses = recorded(some, *rng.standard_normal((3, len(some))))
    curves = overview.curves(responses)
    for axes in curves.values():
        assert axes
        for along, curve in axes.items():
            assert along in {"position", "rank", *some.parameters}
            assert along not in overview.PHASES
            assert np.isfinite(curve["estimate"]).all()
    measures: dict[str, Any] = overview.population_measures(responses)
    assert measures["answering"].values.tolist() == [1, 1, 1]
