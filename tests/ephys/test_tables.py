"""The tables say of planted units what was planted."""

import itertools
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.special import iv

from ephys.macaque_v1 import score
from ephys.measures import protocol_measures
from ephys.reference import distributions
from ephys.report import STIMULUS, UNIT
from ephys.stimuli.families import PARAMETERS
from ephys.stimuli.protocols import marques2020
from ephys.tables import (
    BASELINES,
    column_table,
    is_about_macaque,
    layer_tables,
    macaque_properties,
    measure,
    orientation_curves,
    population_table,
    property_table,
    responding,
    unit_table,
    varies_contrast,
)
from ephys.visual_field import VisualField

CONTRASTS = np.array([0.02, 0.05, 0.1, 0.5, 0.9])  # of which the last three are the paper's
ORIENTATIONS = np.arange(24) * 7.5
FREQUENCIES = np.array([1.0, 2.0])
PHASES = np.arange(4) * 90.0
FIELD = VisualField(96, 64, 15.0)
SLOPES = ["width_slope", "selectivity_slope", "amplitude_slope"]
RATIOS = ["width_ratio", "selectivity_ratio", "amplitude_ratio"]
OTHERS = ["separability", "preferred_shift"]


def kappa_of(half_width: float | np.ndarray) -> np.ndarray:
    """exp(kappa (cos 2d - 1)) is one half at this distance d from its peak."""
    return np.log(2) / (1 - np.cos(2 * np.deg2rad(np.asarray(half_width, float))))


class Planted:
    """Units whose preferences, widths, selectivities and contrast responses are known."""

    preferred = np.array([0.0, 45.0, 90.0, 172.5, 60.0])
    frequency = np.array([1.0, 2.0, 2.0, 1.0, 2.0])
    baseline = np.array([0.0, 0.0, 0.5, 0.0, 0.0])
    # The width of the fourth grows by 2 degrees per doubling of contrast; the last is silent.
    width = np.array([20.0, 30.0, 25.0, 20.0, 20.0])
    broadening = np.array([0.0, 0.0, 0.0, 2.0, 0.0])
    gain = np.array([1.0, 4.0, 2.0, 3.0, 0.0])
    exponent = np.array([1.0, 0.5, 0.25, 0.0, 1.0])

    def kappa(self, contrast: np.ndarray) -> np.ndarray:
        """(unit, contrast)"""
        doublings = np.log2(contrast / CONTRASTS.max())
        return kappa_of(self.width[:, None] + self.broadening[:, None] * doublings)

    def height(self, contrast: np.ndarray) -> np.ndarray:
        """Peak above the baseline: (unit, contrast)."""
        return self.gain[:, None] * contrast ** self.exponent[:, None]

    def response(self, row: dict[str, np.ndarray]) -> np.ndarray:
        """(stimulus, unit)"""
        distance = np.deg2rad(row["orientation"] - self.preferred[:, None])
        tuning = np.exp(self.kappa(row["contrast"]) * (np.cos(2 * distance) - 1))
        best = np.where(row["spatial_frequency"] == self.frequency[:, None], 1.0, 0.4)
        modulation = 1 + np.cos(np.deg2rad(row["phase"] - 30))  # 1 on average
        evoked = self.height(row["contrast"]) * tuning * best * modulation
        return (evoked + self.baseline[:, None]).T


COUNT = len(Planted.preferred)
PLACE = {"row": 3.0, "column": 4.0, "rf_x": 0.1, "rf_y": -0.2}  # of every unit


def responses(
    layers: tuple[str, ...] = ("encoder.gabor_bank",), contrasts: np.ndarray = CONTRASTS
) -> xr.Dataset:
    """What ``record`` would have written of the planted units, in each layer the same."""
    rows = np.array(list(itertools.product(contrasts, FREQUENCIES, PHASES, ORIENTATIONS)))
    names = ("contrast", "spatial_frequency", "phase", "orientation")
    columns = dict(zip(names, rows.T, strict=True)) | {"mean_luminance": np.full(len(rows), 0.5)}
    response = Planted().response(columns)
    units = {
        "layer": np.repeat(layers, COUNT),
        "channel": np.tile(np.arange(COUNT), len(layers)),
        **{name: np.full(COUNT * len(layers), value) for name, value in PLACE.items()},
    }
    shape = {"channels": 1, "height_px": FIELD.height_px, "width_px": FIELD.width_px}
    return xr.Dataset(
        {
            "response": (("stimulus", "unit"), np.tile(response, len(layers))),
            "blank": ("unit", np.tile(Planted.baseline, len(layers))),
        },
        {
            "family": ("stimulus", np.full(len(rows), "grating")),
            **{
                name: ("stimulus", column, {"units": PARAMETERS[name].units})
                for name, column in columns.items()
            },
            **{name: ("unit", values) for name, values in units.items()},
        },
        {"input_format": json.dumps(shape), "pixels_per_degree": FIELD.pixels_per_degree},
    )


def von_mises_selectivity(kappa: float, offset: float = 0.0) -> float:
    """gOSI of offset + exp(kappa (cos 2d - 1))."""
    scale = np.exp(-kappa)
    return float(scale * iv(1, kappa) / (offset + scale * iv(0, kappa)))


TUNED = slice(0, 4)


@pytest.fixture(scope="module")
def units() -> pd.DataFrame:
    return unit_table(responses())


@pytest.fixture(scope="module")
def population() -> pd.DataFrame:
    return population_table(responses(), seed=3)


def chosen(table: pd.DataFrame, **where: Any) -> pd.DataFrame:
    for name, value in where.items():
        table = table[table[name] == value]
    return table


# One row per unit.


def test_there_is_one_row_per_unit_with_its_place(units: pd.DataFrame) -> None:
    assert units["channel"].tolist() == list(range(COUNT))
    for name, value in PLACE.items():
        assert (units[name] == value).all()
    np.testing.assert_array_equal(units["blank"], Planted.baseline)


def test_each_unit_prefers_what_was_planted(units: pd.DataFrame) -> None:
    np.testing.assert_array_equal(units["preferred_orientation"][TUNED], Planted.preferred[TUNED])
    np.testing.assert_array_equal(
        units["preferred_spatial_frequency"][TUNED], Planted.frequency[TUNED]
    )
    assert np.isnan(units["preferred_orientation"][COUNT - 1])


def test_what_is_preferred_is_as_in_the_other_protocols_also_of_few_contrasts() -> None:
    recorded = responses()
    recorded["response"][:] = recorded["response"].where(
        recorded["contrast"] < 0.9, recorded["response"].roll(stimulus=3) / 10
    )  # the largest responses are not at the highest contrast
    expected = protocol_measures(recorded)
    few = recorded.isel(stimulus=recorded["contrast"].values > 0.2)
    assert "preferred_orientation" not in protocol_measures(few)
    for shown in (recorded, few):
        table, attributes = unit_table(shown), measure(shown).attributes
        for name in ("preferred_orientation", "preferred_spatial_frequency"):
            np.testing.assert_array_equal(table[name], expected[name])
            about = expected[name].attrs
            assert {key: attributes[name].get(key) for key in ("units", "period", "baseline")} == {
                key: about.get(key) for key in ("units", "period", "baseline")
            }


def test_width_and_selectivity_are_those_of_the_planted_curve(units: pd.DataFrame) -> None:
    for unit in (0, 1, 3):
        assert units["width"][unit] == pytest.approx(Planted.width[unit], abs=0.05)
        expected = von_mises_selectivity(float(kappa_of(Planted.width[unit])))
        assert units["selectivity"][unit] == pytest.approx(expected, abs=1e-9)


def test_amplitude_grows_with_the_planted_exponent(units: pd.DataFrame) -> None:
    expected = Planted().height(CONTRASTS)
    evoked = [0, 1, 3]
    np.testing.assert_allclose(units["amplitude"][evoked], expected[evoked, -1])
    np.testing.assert_allclose(
        units["amplitude_slope"][evoked], Planted.exponent[evoked], atol=1e-12
    )
    ratios = expected[evoked, -1] / expected[evoked, 0]
    np.testing.assert_allclose(units["amplitude_ratio"][evoked], ratios)


def test_only_the_broadening_unit_changes_its_width(units: pd.DataFrame) -> None:
    np.testing.assert_allclose(units["width_slope"][[0, 1]], 0, atol=1e-9)
    assert units["width_slope"][3] == pytest.approx(2, abs=0.02)
    np.testing.assert_allclose(units["selectivity_slope"][[0, 1]], 0, atol=1e-12)
    assert units["selectivity_slope"][3] < -0.01
    np.testing.assert_allclose(units["separability"][[0, 1]], 1)
    assert units["separability"][3] < 0.999


def test_a_response_above_the_blank_is_the_raw_one_less_the_blank(units: pd.DataFrame) -> None:
    unit = 2  # that with a baseline
    kappa = float(kappa_of(Planted.width[unit]))
    height = float(Planted().height(CONTRASTS)[unit, -1])
    offset = Planted.baseline[unit] / height
    row = units.loc[unit]
    assert row["amplitude"] == pytest.approx(height + 0.5)
    assert row["amplitude_above_blank"] == pytest.approx(height)
    assert row["selectivity"] == pytest.approx(von_mises_selectivity(kappa, offset), abs=1e-9)
    assert row["selectivity_above_blank"] == pytest.approx(von_mises_selectivity(kappa), abs=1e-9)
    assert row["width_above_blank"] == pytest.approx(Planted.width[unit], abs=0.05)
    assert row["width"] > row["width_above_blank"] + 1
    # Its response only scales, once the baseline is gone.
    assert row["amplitude_slope_above_blank"] == pytest.approx(0.25)
    assert row["separability_above_blank"] == pytest.approx(1)
    assert row["separability"] < 0.999


def test_without_a_baseline_both_responses_are_one(units: pd.DataFrame) -> None:
    above = [str(name) for name in units if str(name).endswith("_above_blank")]
    assert len(above) == 3 + len(SLOPES) + len(RATIOS) + len(OTHERS)
    for name in above:
        raw = units[name.removesuffix("_above_blank")]
        np.testing.assert_allclose(units[name][[0, 1, 3]], raw[[0, 1, 3]], rtol=1e-12, atol=1e-12)


def test_a_silent_unit_has_no_measure_but_its_amplitude(units: pd.DataFrame) -> None:
    silent = units.loc[COUNT - 1]
    assert silent["amplitude"] == 0
    for name in ["width", "selectivity", *SLOPES, *RATIOS, *OTHERS]:
        assert np.isnan(silent[name])


def test_what_falls_below_the_blank_counts_as_nothing() -> None:
    recorded = responses()
    recorded["blank"][:] = 0.7
    raw, above = (orientation_curves(recorded, baseline) for baseline in BASELINES)
    np.testing.assert_allclose(above, np.maximum(raw - 0.7, 0))
    assert above.dims == ("unit", "contrast", "orientation")
    assert (above == 0).any()


def test_a_sweep_of_one_spatial_frequency_has_no_preferred_one() -> None:
    recorded = responses()
    recorded = recorded.isel(stimulus=recorded["spatial_frequency"].values == 1)
    assert "preferred_spatial_frequency" not in unit_table(recorded)


# One row per measure of the population.


def test_every_measure_has_its_row_for_each_baseline_range_and_contrast(
    population: pd.DataFrame,
) -> None:
    of_contrast = itertools.product(
        BASELINES, ["all"], ["width", "selectivity", "amplitude"], CONTRASTS
    )
    of_unit = itertools.product(BASELINES, ["all", "paper"], [*SLOPES, *RATIOS, *OTHERS], [None])
    own = population[~population["measure"].str.startswith((UNIT, STIMULUS))]
    keys = own[["baseline", "contrasts", "measure", "contrast"]]
    found = [
        (baseline, contrasts, measure, None if np.isnan(contrast) else contrast)
        for baseline, contrasts, measure, contrast in keys.itertuples(index=False)
    ]
    assert sorted(found, key=str) == sorted([*of_contrast, *of_unit], key=str)


def test_units_without_a_measure_are_not_counted(population: pd.DataFrame) -> None:
    own = population[~population["measure"].str.startswith((UNIT, STIMULUS))]
    counts = chosen(own, baseline="raw", contrasts="all").groupby("measure")["count"]
    assert counts.min().to_dict() == counts.max().to_dict()
    assert counts.min().to_dict() == {
        measure: COUNT if measure == "amplitude" else COUNT - 1
        for measure in ["width", "selectivity", "amplitude", *SLOPES, *RATIOS, *OTHERS]
    }


@pytest.mark.parametrize("baseline", BASELINES)
def test_the_population_is_summed_up_from_its_units(
    units: pd.DataFrame, population: pd.DataFrame, baseline: str
) -> None:
    suffix = "" if baseline == "raw" else "_above_blank"
    rows = chosen(population, baseline=baseline, contrasts="all")
    rows = rows[rows["contrast"].isna() | (rows["contrast"] == CONTRASTS.max())]
    for _, row in rows[~rows["measure"].str.startswith((UNIT, STIMULUS))].iterrows():
        values = units[row["measure"] + suffix]
        for statistic in ("mean", "median"):
            expected = getattr(values, statistic)()  # pandas leaves NaN out
            assert row[statistic] == pytest.approx(expected)
            assert values.min() <= row[f"{statistic}_low"] <= row[statistic]
            assert row[statistic] <= row[f"{statistic}_high"] <= values.max()


def test_the_physiologists_measures_stand_beside_and_are_summed_up(
    units: pd.DataFrame, population: pd.DataFrame
) -> None:
    measures = protocol_measures(responses())
    assert {"naka_rushton_exponent", "naka_rushton_c50"} <= set(measures)
    for name, values in measures.items():
        np.testing.assert_array_equal(units[str(name)], values)
    rows = {row["measure"]: row for row in population.to_dict("records")}
    exponent = rows[f"{UNIT}naka_rushton_exponent"]
    assert exponent["baseline"] == "raw"
    # Where a response does not saturate, what is fitted is a guess.
    free = (units["naka_rushton_extrapolated"] == 0) & (units["naka_rushton_at_bound"] == 0)
    fitted = units["naka_rushton_exponent"].notna()
    assert exponent["count"] == (fitted & free).sum() < fitted.sum()
    assert rows[f"{UNIT}naka_rushton_r_squared"]["count"] == fitted.sum()


def test_every_column_of_the_units_says_its_units(units: pd.DataFrame) -> None:
    table = column_table(units, measure(responses()).attributes, "contrast_invariance")
    assert (table["protocol"] == "contrast_invariance").all()
    assert table["column"].tolist() == list(units.columns)
    of = table.set_index("column")["units"]
    assert of["rf_x"] == of["preferred_orientation"] == of["width_slope"] == "degree"
    assert of["preferred_spatial_frequency"] == "cycles degree-1"
    assert of["selectivity"] == of["width_ratio"] == of["channel"] == "1"
    own = table.set_index("column")["of_response"]
    assert own["naka_rushton_c50"] == own["width"] == own["responsive"] == "raw"
    assert own["width_slope_above_blank"] == "above blank"
    meaning = table.set_index("column")["meaning"]
    assert meaning["width_above_blank"] == "half-width at 0.5 of the peak, at the highest contrast"
    assert meaning["width_ratio"] == "width, highest over lowest contrast"
    assert meaning["responsive"].endswith("adjusted p at most 0.05")
    assert meaning["blank"] == "response to the blank"
    assert table.set_index("column")["period"]["preferred_orientation"] == 180


def test_a_column_says_what_it_is_in_the_protocol_of_the_table() -> None:
    where = {"protocol": "another", "layer": "a"}
    tables = layer_tables(noted(responses()), where, seed=0)
    assert tables["units.csv"].columns[:2].tolist() == ["protocol", "layer"]
    about = tables["units_columns.csv"].set_index("column")
    assert about.index.tolist() == tables["units.csv"].columns.tolist()
    assert (about["protocol"] == "another").all()
    assert about["meaning"]["max"] == "largest single response"
    assert about["meaning"]["best_phase"] == "phase at the largest single response"
    assert about["meaning"]["answers"].startswith("some response differs from the blank's")
    assert (about["units"]["best_phase"], about["period"]["best_phase"]) == ("degree", 360)
    assert (about["units"]["best_spatial_frequency"], about["units"]["best_part"]) == (
        *("cycles degree-1", ""),
    )
    assert about["of_response"]["max"] == "raw"


def test_parameters_of_a_fit_that_failed_are_not_summed_up() -> None:
    measured = measure(responses())
    name = "naka_rushton_exponent"
    for flag, value in {"converged": 0, "at_bound": 1, "extrapolated": 1}.items():
        units = measured.units.copy(deep=True)
        for good, of in {"converged": 1, "at_bound": 0, "extrapolated": 0}.items():
            units[f"naka_rushton_{good}"][TUNED] = of
        units[f"naka_rushton_{flag}"][:2] = value
        table = population_table(responses(), 0, replace(measured, units=units))
        rows = table.set_index("measure")
        assert rows["count"][f"{UNIT}{name}"] == COUNT - 3  # and the silent one
        assert rows["mean"][f"{UNIT}{name}"] == pytest.approx(units[name][2:4].mean().item())
        assert rows["count"][f"{UNIT}naka_rushton_r_squared"] == COUNT - 1


def test_another_fit_whose_name_begins_alike_says_nothing_of_a_parameter() -> None:
    measured = measure(responses())
    raw = {"baseline": "raw"}
    units = xr.Dataset(
        {
            "gabor_converged": ("unit", np.zeros(COUNT), raw),
            "gabor_pair_gain": ("unit", np.arange(COUNT), raw),
            "gabor_pair_converged": ("unit", np.append(0.0, np.ones(COUNT - 1)), raw),
        }
    )
    table = population_table(responses(), 0, replace(measured, units=units))
    row = table.set_index("measure").loc[f"{UNIT}gabor_pair_gain"]
    assert (row["count"], row["mean"]) == (COUNT - 1, COUNT / 2)


def test_a_share_has_a_mean_and_no_median_and_every_row_its_units(
    population: pd.DataFrame,
) -> None:
    rows = pd.concat([population, population_table(noted(responses()), 0)]).set_index("measure")
    shares = ["answering", "best_part: one", f"{UNIT}responsive", f"{UNIT}naka_rushton_at_bound"]
    numbers = ["median", "median_low", "median_high"]
    assert rows.loc[shares, numbers].isna().all(axis=None)
    assert rows.loc[shares, ["mean", "mean_low", "mean_high"]].notna().all(axis=None)
    others = ["width", "above_blank", "best_contrast", f"{STIMULUS}population_sparseness"]
    assert rows.loc[others, numbers].notna().all(axis=None)
    assert set(rows.loc[["width"], "units"]) == {"degree"}
    assert set(rows.loc[[*shares, "amplitude_ratio"], "units"]) == {"1"}


# Rounding.


def rounded(share: float) -> xr.Dataset:
    """Units to which every other orientation adds a share of their largest response.

    At low contrast that is all of the first, but for one contrast at which the second responds to
    any orientation, and all of the third at any.
    """
    recorded = responses().isel(unit=[0, 0, 0])
    contrast, response = recorded["contrast"].values, recorded["response"].values
    response[contrast < 0.2] = 0
    response[contrast == 0.1, 1] = 0.5
    response[:, 2] = 1
    recorded["blank"][:] = [0, 0, 1]
    odd = recorded["orientation"].values % 15 > 0
    response += share * response.max(0) * odd[:, None]
    return recorded


def test_what_is_rounding_is_no_response_to_a_contrast() -> None:
    recorded = rounded(1.1e-4)  # the limit is 1.19e-4
    raw, above = (orientation_curves(recorded, baseline).values for baseline in BASELINES)
    for curves in (raw, above):
        assert (curves[0, :3] == 0).all()
        assert (curves[0, 3:].max(-1) > 0.4).all()
        assert (curves[1, 2] == 0.5).all()
    assert (raw[2] == 1).all()
    assert (above[2] == 0).all()
    table = unit_table(recorded)
    for name in ("selectivity_ratio", "amplitude_ratio", "width_ratio"):
        assert table.loc[:1, [name, f"{name}_above_blank"]].isna().all(axis=None)
    assert (table.loc[:1, ["preferred_shift", "preferred_shift_above_blank"]] < 0.01).all(axis=None)
    assert (
        table.loc[[2], ["preferred_orientation", "preferred_spatial_frequency"]]
        .isna()
        .all(axis=None)
    )
    assert (table["selectivity"][2], table["amplitude_ratio"][2]) == (0, 1)
    assert np.isnan(table["selectivity_above_blank"][2])
    assert table.loc[:1, "preferred_spatial_frequency"].tolist() == [1, 1]


def test_what_is_more_than_rounding_stays_as_it_is() -> None:
    recorded = rounded(1.3e-4)
    raw, above = (orientation_curves(recorded, baseline).values for baseline in BASELINES)
    for curves in (raw, above):
        assert (np.ptp(curves, axis=-1) > 0).all()
    assert (orientation_curves(recorded.assign_attrs(error=2e-4))[0, :3] == 0).all()
    weak = responses().isel(unit=[0])
    curves = orientation_curves(weak).values[0]
    assert 0 < curves[0].min() < 1e-4 * weak["response"].max()  # the tails of what is a response
    np.testing.assert_allclose(curves[0] / CONTRASTS[0], curves[-1] / CONTRASTS[-1], rtol=1e-12)


def test_suppression_with_a_trace_of_rounding_is_nothing_above_the_blank() -> None:
    recorded = responses().isel(unit=[0])
    recorded["response"][:] = 1 - recorded["response"] / 4
    recorded["blank"][:] = recorded["response"].max() - 1e-5
    assert (orientation_curves(recorded, "above blank") == 0).all()
    assert np.isnan(unit_table(recorded)["selectivity_above_blank"][0])


# Which units are responsive, and how few answer a stimulus.


def test_the_share_of_responsive_units_is_told(
    units: pd.DataFrame, population: pd.DataFrame
) -> None:
    assert units["responsive"].tolist() == [1, 1, 1, 1, 0]
    (row,) = chosen(population, measure=f"{UNIT}responsive").to_dict("records")
    assert (row["count"], row["mean"]) == (COUNT, 0.8)
    assert row["mean_low"] < 0.8 < row["mean_high"]


def test_where_nothing_was_shown_twice_no_unit_is_told_to_be_responsive() -> None:
    recorded = responses()
    once = recorded.isel(stimulus=recorded["phase"].values == 0)
    for shown in (once, noted(once)):
        assert unit_table(shown)["responsive"].isna().all()
        (row,) = chosen(population_table(shown, 0), measure=f"{UNIT}responsive").to_dict("records")
        assert row["count"] == 0
        assert np.isnan(row["mean"])


def sparseness_of(values: np.ndarray) -> np.ndarray:
    """Vinje & Gallant's, over the last axis."""
    count = values.shape[-1]
    share = values.mean(-1) ** 2 / (values**2).mean(-1)
    return (1 - share) / (1 - 1 / count)


def test_population_sparseness_is_over_units_on_one_scale(
    population: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = responses()
    answered = recorded["response"].values[:, TUNED]
    expected = sparseness_of(answered / answered.max(0))  # and the silent unit is left out
    (row,) = chosen(population, measure=f"{STIMULUS}population_sparseness").to_dict("records")
    assert row["count"] == recorded.sizes["stimulus"]
    assert row["mean"] == pytest.approx(expected.mean(), rel=1e-12)
    assert row["median"] == pytest.approx(np.median(expected), rel=1e-12)
    error = expected.std() / np.sqrt(expected.size)  # of the mean; 1.96 of them, give or take
    assert row["mean_high"] - row["mean_low"] == pytest.approx(2 * 1.96 * error, rel=0.15)
    whole = measure(recorded).sparseness
    monkeypatch.setattr("ephys.tables.BLOCK_VALUES", 7 * COUNT)
    xr.testing.assert_identical(measure(recorded).sparseness, whole)


def test_of_negative_responses_or_a_single_unit_there_is_no_population_sparseness() -> None:
    recorded = responses()
    one = recorded.isel(unit=[0, COUNT - 1])
    for shown, count in ((one, 0), (recorded.assign(response=recorded["response"] - 0.6), None)):
        table = population_table(shown, 0)
        (row,) = chosen(table, measure=f"{STIMULUS}population_sparseness").to_dict("records")
        positive = (shown["response"].values[:, TUNED] >= 0).all(1).sum()
        assert row["count"] == (positive if count is None else count)


def test_the_papers_range_is_that_of_its_contrasts_alone(population: pd.DataFrame) -> None:
    everything = unit_table(responses())
    papers = unit_table(responses(contrasts=CONTRASTS[2:]))
    for contrast_range, table in {"all": everything, "paper": papers}.items():
        rows = chosen(population, baseline="raw", contrasts=contrast_range)
        for name in (*SLOPES, *RATIOS):
            (row,) = chosen(rows, measure=name).to_dict("records")
            assert row["mean"] == pytest.approx(table[name].mean(), abs=1e-12)
    assert everything["amplitude_ratio"].mean() > 2 * papers["amplitude_ratio"].mean()


def test_without_the_papers_contrasts_there_is_no_such_range() -> None:
    table = population_table(responses(contrasts=np.array([0.05, 0.1, 0.3])), seed=0)
    assert set(table["contrasts"]) == {"all"}


def test_the_same_seed_gives_the_same_intervals(population: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(population_table(responses(), seed=3), population)
    assert not population_table(responses(), seed=4).equals(population)


# Which protocols are about contrast.


def shown_as(recorded: xr.Dataset, **columns: Any) -> xr.Dataset:
    """The same responses to other stimuli."""
    count = recorded.sizes["stimulus"]
    new = {name: ("stimulus", np.broadcast_to(values, count)) for name, values in columns.items()}
    return recorded.assign_coords(new)


def test_a_grid_of_contrast_and_orientation_is_about_contrast() -> None:
    recorded = responses()
    assert varies_contrast(recorded)
    assert varies_contrast(recorded.isel(stimulus=recorded["phase"].values == 0))
    assert varies_contrast(shown_as(recorded, color="dkl", azimuth=90.0, part="one"))


@pytest.mark.parametrize(
    "keep",
    [
        {"contrast": [0.5]},
        {"orientation": [0.0, 90.0]},  # too few for a circle
        {"orientation": list(ORIENTATIONS[:12])},  # and half of one
        {"phase": [0.0, 90.0]},
    ],
    ids=str,
)
def test_a_part_of_the_grid_that_has_no_tuning_to_contrast_is_not(
    keep: dict[str, list[float]],
) -> None:
    recorded = responses()
    for name, values in keep.items():
        recorded = recorded.isel(stimulus=np.isin(recorded[name].values, values))
    assert not varies_contrast(recorded)


def test_other_stimuli_are_not_about_contrast() -> None:
    recorded = responses()
    count = recorded.sizes["stimulus"]
    halves = np.arange(count) < count // 2
    others: list[xr.Dataset] = [
        shown_as(recorded, x=halves.astype(float)),
        shown_as(recorded, part=np.where(halves, "a", "b")),
        shown_as(recorded, contrast=np.where(recorded["contrast"] < 0.1, 0, recorded["contrast"])),
        shown_as(recorded, phase=np.where(halves, recorded["phase"], np.nan)),
        recorded.isel(stimulus=slice(1, None)),
        recorded.isel(stimulus=np.r_[0, :count]),
    ]
    assert [varies_contrast(other) for other in others] == [False] * len(others)


def noted(recorded: xr.Dataset, part: str = "one") -> xr.Dataset:
    """Stimuli of two parts, so that they are not about contrast."""
    parts = np.where(recorded["spatial_frequency"] == 1, part, "two")
    return shown_as(recorded, part=parts)


def test_of_other_stimuli_a_unit_has_its_best_and_its_place() -> None:
    table = unit_table(noted(responses()))
    assert table.columns.tolist() == [
        *("channel", "row", "column", "rf_x", "rf_y", "blank", "max", "min", "answers"),
        *("best_part", "best_orientation", "best_phase", "best_spatial_frequency", "best_contrast"),
        "responsive",
    ]
    np.testing.assert_array_equal(table["best_orientation"][TUNED], Planted.preferred[TUNED])
    np.testing.assert_array_equal(table["best_spatial_frequency"][TUNED], Planted.frequency[TUNED])
    assert table["best_part"].tolist() == ["one", "two", "two", "one", ""]
    assert np.isnan(table["best_orientation"][COUNT - 1])


def test_of_other_stimuli_the_population_has_a_row_per_measure() -> None:
    table = population_table(noted(responses()), seed=3)
    assert table.columns.tolist() == population_table(responses(), seed=3).columns.tolist()
    rows = {row["measure"]: row for row in table.to_dict("records")}
    assert (rows["answering"]["count"], rows["answering"]["mean"]) == (COUNT, 0.8)
    assert (rows["best_part: two"]["count"], rows["best_part: two"]["mean"]) == (COUNT - 1, 0.5)
    heights = Planted().height(CONTRASTS)[:, -1] * (1 + np.cos(np.deg2rad(30)))
    assert rows["above_blank"]["median"] == pytest.approx(np.median(heights))
    assert (table["baseline"] == "raw").all()
    assert table["contrast"].isna().all()


# Beside macaque V1.


def properties(response: list[float]) -> xr.Dataset:
    """Of every property 0, 1, 2, ...; and this response above the blank, for every study."""
    names = {cells.attrs["study"]: name for name, cells in distributions().items()}
    values = {name: ("unit", np.arange(len(response), dtype=float)) for name in distributions()}
    return xr.Dataset(values | {f"response_{study}": ("unit", response) for study in names})


def test_only_units_that_respond_enough_for_a_study_enter() -> None:
    found = responding(properties([4.9, 5.0, 5.1, 6.0]))
    assert list(found) == list(distributions())
    for values in found.values():
        np.testing.assert_array_equal(values, [np.nan, np.nan, 2, 3])


def test_medians_of_properties_are_over_units_that_enter() -> None:
    found = properties([4.0, 9.0, 9.0, 9.0])
    table = property_table(found, seed=0).set_index("measure")
    assert list(table.index) == list(distributions())
    assert (table["count"] == 3).all()
    told = table["median"].drop(["or_selective", "sf_selective"])  # which are yes or no
    assert (told == 2).all()
    assert table["median"].isna().sum() == 2
    assert (score(found)["units"] == 3).all()  # as many as are scored


def test_stimuli_of_all_four_parts_are_about_the_animal() -> None:
    shown = marques2020().table.set_coords(["part"])
    assert is_about_macaque(shown)
    assert not is_about_macaque(shown.isel(stimulus=shown["part"].values != "size"))
    assert not is_about_macaque(responses())


def test_a_layer_that_cannot_be_compared_is_told_and_has_no_score() -> None:
    shown = marques2020().table
    shown = shown.set_coords([str(name) for name in shown.data_vars])
    silent = shown.assign(
        response=(("stimulus", "unit"), np.zeros((shown.sizes["stimulus"], 2))),
        blank=("unit", np.zeros(2)),
    ).assign_coords(layer=("unit", ["dead", "dead"]))
    with pytest.warns(UserWarning, match="dead is not compared with macaque V1: none of 2 units"):
        found = macaque_properties(silent)
    assert found.sizes["unit"] == 0
    assert found["responsive"].dims == ("unit",)
    table = score(found)
    assert (table["units"] == 0).all()
    assert table["score"].isna().all()
    assert (property_table(found, seed=0)["count"] == 0).all()
