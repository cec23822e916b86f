"""From what the units of a layer responded to a protocol to the tables of a run.

Gratings of several contrasts and orientations are asked whether tuning survives a change of
contrast; those of Marques et al. how close the units come to cells of macaque V1
(:mod:`ephys.macaque_v1`); of any other stimuli :mod:`ephys.overview` tells what the units answer.
What else a physiologist would report of them (:mod:`ephys.measures`) stands beside.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ephys import overview
from ephys.contrast import contrast_invariance
from ephys.macaque_v1 import RESPONSIVE, score, unit_properties
from ephys.measures import population_measures, protocol_measures
from ephys.reference import distributions
from ephys.report import (
    COLUMNS_TABLE,
    MACAQUE_TABLE,
    POPULATION_TABLE,
    STIMULUS,
    UNIT,
    UNITS_TABLE,
    flags_of,
    is_share,
)
from ephys.responses import BLOCK_VALUES, UNIT_ATTRIBUTES, blocks
from ephys.responsiveness import has_repeats, responsive
from ephys.rounding import layer_rounding, unit_rounding
from ephys.selectivity import population_sparseness
from ephys.statistics import bootstrap_interval
from ephys.stimuli.families import PARAMETERS
from ephys.stimuli.protocols import PAPER_CONTRASTS
from ephys.tuning import check_circle, preferred, tuning_curve

Column = tuple[dict[str, Any], xr.DataArray]  # what a row of a table is of, and its values

BASELINES = ("raw", "above blank")  # the response as it is, or what of it exceeds the blank's
SUFFIXES = {"raw": "", "above blank": "_above_blank"}  # of columns
RANGES = ("all", "paper")  # of contrasts
RESAMPLES, FEW_RESAMPLES = 2000, 500  # of units, and of stimuli, of which there are thousands
TUNING = {"orientation", "contrast", "spatial_frequency", "phase"}
PLACE = ["channel", "row", "column", "rf_x", "rf_y"]
MACAQUE_PARTS = {"receptive_field", "orientation", "spatial_frequency", "size"}


def layer_tables(
    responses: xr.Dataset, where: dict[str, str], seed: int
) -> dict[str, pd.DataFrame]:
    """What a layer adds to ``units.csv``, ``units_columns.csv`` and ``population.csv``.

    Parameters
    ----------
    responses : of one layer to one protocol.
    where : the names of both, which become the first columns.
    seed : of the bootstrap.
    """
    measured = measure(responses)
    units = labeled(where, unit_table(responses, measured))
    return {
        UNITS_TABLE: units,
        COLUMNS_TABLE: column_table(units, measured.attributes, where["protocol"]),
        POPULATION_TABLE: labeled(where, population_table(responses, seed, measured)),
    }


def macaque_tables(
    properties: xr.Dataset, where: dict[str, str], seed: int
) -> dict[str, pd.DataFrame]:
    """The same of units that are compared with cells of macaque V1, and ``macaque_v1.csv``.

    Parameters
    ----------
    properties : see ``macaque_properties``.
    """
    columns = [*PLACE, *map(str, properties.data_vars)]
    units = labeled(where, properties.to_dataframe()[columns])
    attributes = {str(name): values.attrs for name, values in properties.items()}
    return {
        UNITS_TABLE: units,
        COLUMNS_TABLE: column_table(units, attributes, where["protocol"]),
        POPULATION_TABLE: labeled(where, property_table(properties, seed)),
        MACAQUE_TABLE: labeled(where, score(properties, seed=seed).reset_index()),
    }


@dataclass(frozen=True)
class Measured:
    """What was measured of a layer, once for all tables.

    Parameters
    ----------
    units : the physiologist's measures (:mod:`ephys.measures`), and ``responsive``: 1 for a unit
        that follows the stimuli by the test of :mod:`ephys.responsiveness`, else 0; NaN where no
        condition was shown twice, at phases, say.
    seen : what units answer most (:mod:`ephys.overview`), where contrast and orientation do not
        vary.
    sparseness : of the population, for each stimulus.
    curves : where contrast and orientation vary, the tuning curves at each contrast, by baseline.
    invariance : and what contrast changes, by baseline and range of contrasts.
    """

    units: xr.Dataset
    seen: xr.Dataset
    sparseness: xr.DataArray
    curves: Mapping[str, xr.DataArray]
    invariance: Mapping[tuple[str, str], xr.Dataset]

    @property
    def attributes(self) -> dict[str, Mapping[Any, Any]]:
        """Of the columns of the table of units."""
        found: dict[str, Mapping[Any, Any]] = {
            str(name): values.attrs
            for measures in (self.seen, self.units)
            for name, values in measures.items()
        }
        for (baseline, contrasts), invariance in self.invariance.items():
            for name, values in invariance.items() if contrasts == "all" else ():
                where = ", at the highest contrast" if "contrast" in values.dims else ""
                about = {"long_name": values.attrs["long_name"] + where, "baseline": baseline}
                found[f"{name}{SUFFIXES[baseline]}"] = values.attrs | about
        return found


def measure(responses: xr.Dataset) -> Measured:
    """Measure the units of a layer."""
    curves, invariance, seen = {}, {}, xr.Dataset()
    units = protocol_measures(responses)
    if varies_contrast(responses):
        raw = orientation_curves(responses)
        curves = {"raw": raw, "above blank": _above_blank(raw)}
        contrasts = raw["contrast"].values
        papers = np.intersect1d(contrasts, PAPER_CONTRASTS)
        for baseline, curve in curves.items():
            for name, chosen in zip(RANGES, (contrasts, papers), strict=True):
                if len(chosen) > 1:
                    found = contrast_invariance(curve.sel(contrast=chosen))
                    invariance[baseline, name] = found
        units = units.assign(_preferred(raw))
    else:
        seen = overview.unit_measures(responses)
    units = units.assign(responsive=_responsive(responses))
    return Measured(units, seen, _sparseness(responses), curves, invariance)


def unit_table(responses: xr.Dataset, measured: Measured | None = None) -> pd.DataFrame:
    """One row per unit of a layer: where it is, and every measure.

    Of contrast and orientation, ``selectivity``, ``width`` and ``amplitude`` are those at the
    highest contrast, and measures of the response above the blank end in ``_above_blank``. Of other
    stimuli the measures are those of ``overview.unit_measures``. Of all, those of
    :mod:`ephys.measures` follow that apply, and ``responsive``.

    Parameters
    ----------
    measured : what ``measure`` gives, if it is known already.
    """
    measured = measured or measure(responses)
    table = responses[PLACE].to_dataframe()[PLACE]
    table["blank"] = responses["blank"].values
    for (baseline, contrasts), invariance in measured.invariance.items():
        if contrasts == "all":
            invariance = invariance.sel(contrast=invariance["contrast"].max())
            for name, values in invariance.items():
                table[f"{name}{SUFFIXES[baseline]}"] = values.values
    found = [*measured.seen.items(), *measured.units.items()]
    return table.assign(**{str(name): values.values for name, values in found})


def column_table(
    units: pd.DataFrame, described: Mapping[str, Mapping[Any, Any]], protocol: str
) -> pd.DataFrame:
    """What the columns of a table of units are: a row each, ``units`` and ``meaning`` in words.

    ``of_response`` is the response that a measure is of, and ``period``, in degrees, that of an
    angle on a circle.

    Parameters
    ----------
    described : attributes of the measures, by name; of others the name tells.
    protocol : of the table: of another, a column may be of another angle or response.
    """
    described = {**UNIT_ATTRIBUTES, "blank": {"long_name": "response to the blank"}, **described}
    rows = []
    for name in map(str, units.columns):
        attributes = described.get(name, {})
        rows.append(
            {
                "protocol": protocol,
                "column": name,
                "units": attributes.get("units", "1" if units[name].dtype.kind in "fiub" else ""),
                "meaning": attributes.get("long_name", name.replace("_", " ")),
                "of_response": attributes.get("baseline", ""),
                "period": attributes.get("period"),
            }
        )
    return pd.DataFrame(rows)


def population_table(
    responses: xr.Dataset, seed: int, measured: Measured | None = None
) -> pd.DataFrame:
    """Mean and median over a layer's units, with 95 % bootstrap intervals.

    One row for each baseline, range of contrasts, measure and, where a measure is of one contrast,
    contrast. ``count`` is the number of units for which the measure is defined, and ``units`` are
    those of its mean and median; what is 1 or 0 has a mean, the share of the units, and no median.

    The measures of stimuli that do not vary contrast and orientation are
    ``overview.population_measures``. Then come those of :mod:`ephys.measures`, named ``unit: ...``,
    and what was fitted without the units whose fit did not converge, or ended at a bound or beyond
    the contrasts shown. Last is ``stimulus: population_sparseness``, over stimuli instead: for how
    few of the units answer each, with every unit divided by its largest response
    (:func:`ephys.selectivity.population_sparseness`).

    Parameters
    ----------
    seed : of the bootstrap.
    measured : what ``measure`` gives, if it is known already.
    """
    measured = measured or measure(responses)
    columns: list[Column] = []
    for (baseline, contrasts), invariance in measured.invariance.items():
        if contrasts == "paper":  # its contrasts' own values are among all
            invariance = invariance.drop_dims("contrast")
        for name, values in invariance.data_vars.items():
            columns.append((_row(str(name), baseline, contrasts), values))
    if not measured.invariance:
        seen = overview.population_measures(responses)
        columns += [(_row(name), values) for name, values in seen.items()]
    columns += _of_units(measured.units)
    sparseness = (_row(f"{STIMULUS}population_sparseness"), measured.sparseness)
    return pd.concat([_summary(columns, seed), _summary([sparseness], seed, FEW_RESAMPLES)])


def macaque_properties(responses: xr.Dataset) -> xr.Dataset:
    """The properties of a layer's units, see :func:`ephys.macaque_v1.unit_properties`.

    By the published estimators, if the stimuli are the published ones, else by the corrected.

    Warns
    -----
    UserWarning : for a layer without units that look at the gratings and respond; it has none.
    """
    published = "marques_grating" in responses["family"].values
    told = responses.assign_coords(responsive=_responsive(responses))
    try:
        found = unit_properties(told, estimators="published" if published else "corrected")
        return found.reset_coords("responsive")
    except ValueError as error:
        layer = responses["layer"].values[0]
        warnings.warn(f"{layer} is not compared with macaque V1: {error}", stacklevel=2)
        names = (*PLACE, *distributions(), "responsive")
        nothing = {name: ("unit", np.zeros(0)) for name in names}
        return xr.Dataset(nothing).set_coords(PLACE)


def responding(properties: xr.Dataset) -> xr.Dataset:
    """The properties of units that respond enough for the study, NaN of others."""
    found = {}
    for name, cells in distributions().items():
        response = properties.get(f"response_{cells.attrs['study']}")
        enough = True if response is None else response > RESPONSIVE
        found[name] = properties[name].where(enough)
    return xr.Dataset(found)


def property_table(properties: xr.Dataset, seed: int) -> pd.DataFrame:
    """Mean and median of each property over the units that its study would have taken.

    Not of angles, which go around a circle. Rows are as those of ``population_table``.
    """
    columns = [
        (_row(str(name)), values)
        for name, values in responding(properties).items()
        if "period" not in values.attrs
    ]
    if "responsive" in properties:
        columns.append((_row(f"{UNIT}responsive"), properties["responsive"]))
    return _summary(columns, seed)


def labeled(where: dict[str, Any], table: pd.DataFrame) -> pd.DataFrame:
    """The table with a constant column for each entry, put first."""
    for place, (name, value) in enumerate(where.items()):
        table.insert(place, name, value)
    return table


def varies_contrast(responses: xr.Dataset) -> bool:
    """Whether the stimuli ask what contrast does to orientation tuning.

    They are a complete grid of one family along orientation and contrast, above 0, and at most
    spatial frequency and phase, with angles evenly around their circles.
    """
    varied = overview.varied(responses)
    if not {"orientation", "contrast"} <= set(varied) <= TUNING:
        return False
    axes = {name: np.unique(responses[name].values) for name in varied}
    if not all(np.isfinite(values).all() for values in axes.values()) or axes["contrast"][0] <= 0:
        return False
    places = np.stack([responses[name].values for name in varied])
    count = np.prod([values.size for values in axes.values()])
    if not np.unique(places, axis=1).shape[1] == places.shape[1] == count:
        return False
    try:
        check_circle(xr.DataArray(axes["orientation"], name="orientation"), 180.0)
        if "phase" in axes:
            check_circle(xr.DataArray(axes["phase"], name="phase"), 360.0, least=2)
    except ValueError:
        return False
    return True


def is_about_macaque(responses: xr.Dataset) -> bool:
    """Whether the stimuli are those by which units are compared with cells of macaque V1."""
    return "part" in responses.coords and set(responses["part"].values.tolist()) >= MACAQUE_PARTS


def orientation_curves(responses: xr.Dataset, baseline: str = "raw") -> xr.DataArray:
    """Orientation tuning at each contrast, ``(unit, contrast, orientation)``.

    What differs by no more than rounding (:mod:`ephys.rounding`) does not differ: a curve that is
    as near to the blank's response everywhere is the blank's, one that varies as little is flat,
    and one that exceeds the blank's as little does not exceed it.

    Parameters
    ----------
    baseline : ``"raw"``, or ``"above blank"``: the blank's response subtracted, and what is below
        it zero.
    """
    if baseline not in BASELINES:
        raise ValueError(f"baseline={baseline!r} is none of {', '.join(BASELINES)}")
    parts = [tuning_curve(block, "orientation", by="contrast") for block in blocks(responses)]
    curves = xr.concat(parts, "unit")
    rounding = unit_rounding(responses)
    curves = curves.assign_coords(rounding=("unit", rounding.data))
    lowest, highest = (end("orientation", skipna=False) for end in (curves.min, curves.max))
    curves = curves.where(~(highest - lowest <= rounding), lowest)
    blank = curves["blank"]
    near = (abs(curves - blank) <= rounding).all("orientation")
    curves = curves.where(~near, blank)
    return curves if baseline == "raw" else _above_blank(curves)


def _above_blank(curves: xr.DataArray) -> xr.DataArray:
    above = (curves - curves["blank"]).clip(min=0)
    return above.where(~(above.max("orientation") <= curves["rounding"]), 0)


def _preferred(curves: xr.DataArray) -> dict[str, xr.DataArray]:
    """As :mod:`ephys.measures` has them, also of a few contrasts: at the largest mean response."""
    peaks = curves.max("orientation")
    best = curves.isel(contrast=peaks.fillna(-np.inf).argmax("contrast"))
    found = {"preferred_orientation": preferred(best).where(best.max("orientation") > 0)}
    if "spatial_frequency" in curves.coords:
        varies = (
            peaks.max("contrast") - curves.min(("contrast", "orientation")) > curves["rounding"]
        )
        exceeds = _above_blank(curves).max(("contrast", "orientation")) > 0
        found["preferred_spatial_frequency"] = curves["spatial_frequency"].where(varies & exceeds)
    for name, values in found.items():
        parameter = PARAMETERS[name.removeprefix("preferred_")]
        about = {"long_name": f"{name.replace('_', ' ')}, of the mean over phases"}
        baseline = "raw" if parameter.period else "above blank"
        values.attrs = {**about, "units": parameter.units, "baseline": baseline}
        if parameter.period:
            values.attrs["period"] = parameter.period
    return {name: values.reset_coords(drop=True) for name, values in found.items()}


def _responsive(responses: xr.Dataset) -> xr.DataArray:
    found = xr.DataArray(np.full(responses.sizes["unit"], np.nan), dims="unit")
    if has_repeats(responses):
        found = responsive(responses)["responsive"].astype(float)
    about = "responses follow the stimuli, adjusted p at most 0.05"
    found = found.reset_coords(drop=True)
    return found.assign_attrs(long_name=about, units="1", baseline="raw")


def _sparseness(responses: xr.Dataset) -> xr.DataArray:
    """Population sparseness of each stimulus, every unit divided by its largest response.

    Units whose responses are none, but for rounding, are left out.
    """
    response = responses["response"].transpose("stimulus", "unit").reset_coords(drop=True)
    largest = np.fmax.reduce(response.values, 0)
    active = np.flatnonzero(largest > layer_rounding(responses))
    if active.size < 2:
        return xr.DataArray(np.full(response.sizes["stimulus"], np.nan), dims="stimulus")
    step = max(1, BLOCK_VALUES // largest.size)
    return xr.concat(
        [
            population_sparseness(response[start : start + step, active] / largest[active])
            for start in range(0, response.sizes["stimulus"], step)
        ],
        "stimulus",
    )


def _of_units(found: xr.Dataset) -> Iterator[Column]:
    """The physiologist's measures, for ``population_table``."""
    for name, values in population_measures(found).items():
        for flag, fine in flags_of(name, map(str, found)).items():
            values = values.where(found[flag] == fine)
        yield _row(f"{UNIT}{name}", found[name.partition(":")[0]].attrs["baseline"]), values


def _row(measure: str, baseline: str = "raw", contrasts: str = "all") -> dict[str, Any]:
    return {"baseline": baseline, "contrasts": contrasts, "measure": measure}


def _summary(columns: Iterable[Column], seed: int, resamples: int = RESAMPLES) -> pd.DataFrame:
    """A row for each column of values of units, or of stimuli, and each contrast of it."""
    where, values = [], []
    for about, column in columns:
        of_contrast = "contrast" in column.dims
        for contrast in column["contrast"].values.tolist() if of_contrast else [np.nan]:
            one = column.sel(contrast=contrast) if of_contrast else column
            where.append(about | {"units": column.attrs.get("units", "1"), "contrast": contrast})
            values.append(one.values.astype(float))
    # All at once: the same draws of units are of all of them.
    together = xr.DataArray(np.stack(values, axis=1), dims=("unit", "column"))
    table = pd.DataFrame(where)
    for statistic in ("mean", "median"):
        interval = bootstrap_interval(together, statistic=statistic, resamples=resamples, seed=seed)
        table["count"] = interval["count"].values
        for name, end in {"": "estimate", "_low": "low", "_high": "high"}.items():
            table[f"{statistic}{name}"] = interval[end].values
    table.loc[table["measure"].map(is_share), ["median", "median_low", "median_high"]] = np.nan
    return table
