"""From the responses of a run to its tables, figures and report.

Gratings of several contrasts and orientations are asked whether tuning survives a change of
contrast; those of Marques et al. how close the units come to cells of macaque V1
(:mod:`ephys.macaque_v1`); of any other stimuli :mod:`ephys.overview` tells what the units answer.
"""

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from ephys import overview
from ephys.comparison import write_differences
from ephys.contrast import contrast_invariance
from ephys.macaque_v1 import RESPONSIVE, score, unit_properties
from ephys.measures import kinds, population_measures, protocol_measures
from ephys.opponency import isoluminant_curves
from ephys.reference import distributions
from ephys.report import FLAGS, STIMULUS, UNIT
from ephys.responses import BLOCK_VALUES, UNIT_ATTRIBUTES, load, open_store
from ephys.responsiveness import responsive
from ephys.selectivity import population_sparseness
from ephys.statistics import bootstrap_interval
from ephys.stimuli.families import PARAMETERS
from ephys.stimuli.protocols import PAPER_CONTRASTS
from ephys.stimuli.sweep import StimulusSet
from ephys.tuning import check_circle, preferred, tuning_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Column = tuple[dict[str, Any], xr.DataArray]  # what a row of a table is of, and its values

RESPONSES, ABOUT, MACAQUE = "responses.zarr", "run.json", "macaque_v1.csv"
COLUMNS = "units_columns.csv"
BASELINES = ("raw", "above blank")  # the response as it is, or what of it exceeds the blank's
SUFFIXES = {"raw": "", "above blank": "_above_blank"}  # of columns
RANGES = ("all", "paper")  # of contrasts
RESAMPLES, FEW_RESAMPLES = 2000, 500  # of units, and of stimuli, of which there are thousands
BEFORE, AFTER = "encoder.gabor_bank", "encoder.normalization"
TUNING = {"orientation", "contrast", "spatial_frequency", "phase"}
PLACE = ["channel", "row", "column", "rf_x", "rf_y"]
# Of the kinds of measures of color, the curves that go into their figure.
COLOR_CURVES: dict[str, Callable[[xr.Dataset], xr.DataArray | None]] = {
    "azimuth": lambda responses: tuning_curve(responses, "azimuth"),
    "hue": lambda responses: tuning_curve(responses, "hue"),
    "cone_weights": lambda _: None,
    "isoluminant_frequency": isoluminant_curves,
    "opponency": lambda responses: tuning_curve(
        responses.isel(stimulus=np.flatnonzero(responses["part"].values == "hue")), "hue"
    ),
}
MACAQUE_PARTS = {"receptive_field", "orientation", "spatial_frequency", "size"}


def analyze(run: Path, about: dict[str, Any] | None = None) -> None:
    """Write ``units.csv``, ``units_columns.csv``, ``population.csv``, ``figures/`` and
    ``report.html`` anew.

    And ``macaque_v1.csv``, if that is what was asked, and ``differences.csv`` of several layers.

    Parameters
    ----------
    about : what ``run.json`` is going to say; by default what it says.

    Raises
    ------
    FileNotFoundError : if the folder is not a finished run.
    """
    from ephys.report import write_report

    about = about or read_about(run)
    units, population, scores, seed = [], [], [], about["seed"]
    described: dict[str, Mapping[Any, Any]] = {}
    (run / "figures").mkdir(exist_ok=True)
    for protocol in about["protocols"]:
        responses = read_responses(run, protocol)
        properties = {}
        for layer, layer_responses in by_layer(responses):
            where = {"protocol": protocol, "layer": layer}
            if is_about_macaque(responses):
                properties[layer] = found = macaque_properties(layer_responses)
                described |= {str(name): found[name].attrs for name in found.data_vars}
                columns = [*PLACE, *map(str, found.data_vars)]
                units.append(labeled(where, found.to_dataframe()[columns]))
                population.append(labeled(where, property_table(found, seed)))
                scores.append(labeled(where, score(found, seed=seed).reset_index()))
                continue
            measured = measure(layer_responses)
            described |= measured.attributes
            units.append(labeled(where, unit_table(layer_responses, measured)))
            table = population_table(layer_responses, seed, measured)
            population.append(labeled(where, table))
        del layer_responses  # before the figure reads them anew
        figure = (
            macaque_figure(properties, seed) if properties else protocol_figure(responses, seed)
        )
        figure.savefig(run / "figures" / f"{protocol}.png", dpi=150)
        figure.set_layout_engine("none")  # it is laid out by now
        figure.savefig(run / "figures" / f"{protocol}.svg")
    table = pd.concat(units)
    table.to_csv(run / "units.csv", index=False)
    column_table(table, described).to_csv(run / COLUMNS, index=False)
    pd.concat(population).to_csv(run / "population.csv", index=False)
    (run / MACAQUE).unlink(missing_ok=True)
    if scores:
        pd.concat(scores).to_csv(run / MACAQUE, index=False)
    write_differences(run, seed)
    write_report(run, about)


def plot(
    run: Path,
    picture: Path,
    *,
    elsewhere: Path | None = None,
    protocol: str = "contrast_invariance",
    layer: str | None = None,
    name: str | None = None,
) -> None:
    """Draw the figure of a protocol into a file, with another run's layer as panel B of Figure 2.

    Parameters
    ----------
    layer : of the other run; by default its last.
    name : title of panel B; by default the other run's model and the layer.

    Raises
    ------
    FileNotFoundError, KeyError : if a run, its protocol or its layer is not there, or unfinished.
    ValueError : for a kind of picture that matplotlib does not write, and for another run beside
        one whose figure has no panel B.
    """
    about = read_about(run)
    if protocol not in about["protocols"]:
        known = ", ".join(about["protocols"])
        raise KeyError(f"{run} has no protocol {protocol!r}; there are {known}")
    responses = read_responses(run, protocol)
    other = None
    if elsewhere is not None:
        if not varies_contrast(responses):
            raise ValueError(f"the figure of {protocol} has no panel for another network")
        if BEFORE not in responses["layer"].values:
            raise ValueError(f"{run} has no layer {BEFORE}, so its figure has no panel for another")
        layers = dict(by_layer(read_responses(elsewhere, protocol)))
        layer = layer or list(layers)[-1]
        if layer not in layers:
            raise KeyError(f"{elsewhere} has no layer {layer!r}; there are {', '.join(layers)}")
        model = Path(read_about(elsewhere)["model"].split(" with weights ")[0]).stem
        other = name or f"{model} {layer}", layers[layer]
    protocol_figure(responses, about["seed"], other).savefig(picture, dpi=150)


def read_about(run: Path) -> dict[str, Any]:
    """What ``run.json`` says of a finished run."""
    if not (run / ABOUT).is_file():
        raise FileNotFoundError(f"{run} is not a finished run: there is no {run / ABOUT}")
    return json.loads((run / ABOUT).read_text())


def read_responses(run: Path, protocol: str) -> xr.Dataset:
    """The responses to one protocol."""
    return open_store(responses_folder(run, protocol))


def responses_folder(run: Path, protocol: str | None = None) -> Path:
    """The store of one protocol, by default of the only one.

    Raises
    ------
    FileNotFoundError : for a folder that is no run.
    KeyError : for a protocol that the run does not have, and for none where there are several.
    """
    stores = run / RESPONSES
    if not stores.is_dir():
        raise FileNotFoundError(f"{run} is not a run: there is no {stores}")
    known = sorted(store.name for store in stores.iterdir() if store.suffix != ".partial")
    if protocol is None and len(known) == 1:
        return stores / known[0]
    if protocol not in known:
        raise KeyError(f"{run} has the protocols {', '.join(known)}; name one, not {protocol!r}")
    return stores / protocol


def by_layer(responses: xr.Dataset) -> Iterator[tuple[str, xr.Dataset]]:
    """Each layer's name and responses."""
    layers = load(responses[["layer"]])["layer"].values
    for layer in dict.fromkeys(layers.tolist()):
        places = np.flatnonzero(layers == layer)
        one_run = places[-1] - places[0] + 1 == len(places)  # a slice is read without a copy
        yield (
            layer,
            load(responses.isel(unit=slice(places[0], places[-1] + 1) if one_run else places)),
        )


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


def macaque_figure(properties: Mapping[str, xr.Dataset], seed: int) -> "Figure":
    """Each property's distribution over the units of each layer, and over cells of macaque V1."""
    from ephys.figures import property_histograms

    scores = {
        layer: score(found, seed=seed)["score"].to_dict() for layer, found in properties.items()
    }
    units = {layer: responding(found) for layer, found in properties.items()}
    return property_histograms(units, distributions(), scores=scores)


@dataclass(frozen=True)
class Measured:
    """What was measured of a layer, once for all tables.

    Parameters
    ----------
    units : the physiologist's measures (:mod:`ephys.measures`), and ``responsive``: 1 for a unit
        that follows the stimuli by the test of :mod:`ephys.responsiveness`, else 0; NaN where no
        condition was shown twice, at phases, say.
    sparseness : of the population, for each stimulus.
    curves : where contrast and orientation vary, the tuning curves at each contrast, by baseline.
    invariance : and what contrast changes, by baseline and range of contrasts.
    """

    units: xr.Dataset
    sparseness: xr.DataArray
    curves: Mapping[str, xr.DataArray]
    invariance: Mapping[tuple[str, str], xr.Dataset]

    @property
    def attributes(self) -> dict[str, Mapping[Any, Any]]:
        """Of the columns of the table of units."""
        found: dict[str, Mapping[Any, Any]] = {
            str(name): values.attrs for name, values in self.units.items()
        }
        for (baseline, contrasts), invariance in self.invariance.items():
            for name, values in invariance.items() if contrasts == "all" else ():
                where = ", at the highest contrast" if "contrast" in values.dims else ""
                about = {"long_name": values.attrs["long_name"] + where, "baseline": baseline}
                found[f"{name}{SUFFIXES[baseline]}"] = values.attrs | about
        return found


def measure(responses: xr.Dataset) -> Measured:
    """Measure the units of a layer."""
    curves, invariance = {}, {}
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
    units = protocol_measures(responses).assign(responsive=_responsive(responses))
    return Measured(units, _sparseness(responses), curves, invariance)


def orientation_curves(responses: xr.Dataset, baseline: str = "raw") -> xr.DataArray:
    """Orientation tuning at each contrast, ``(unit, contrast, orientation)``.

    Parameters
    ----------
    baseline : ``"raw"``, or ``"above blank"``: the blank's response subtracted, and what is below
        it zero.
    """
    if baseline not in BASELINES:
        raise ValueError(f"baseline={baseline!r} is none of {', '.join(BASELINES)}")
    curves = tuning_curve(responses, "orientation", by="contrast")
    return curves if baseline == "raw" else _above_blank(curves)


def _above_blank(curves: xr.DataArray) -> xr.DataArray:
    return (curves - curves["blank"]).clip(min=0)


def _responsive(responses: xr.Dataset) -> xr.DataArray:
    try:
        found = responsive(responses)["responsive"].astype(float)
    except ValueError:  # no condition was shown twice
        found = xr.DataArray(np.full(responses.sizes["unit"], np.nan), dims="unit")
    about = "responses follow the stimuli, adjusted p at most 0.05"
    found = found.reset_coords(drop=True)
    return found.assign_attrs(long_name=about, units="1", baseline="raw")


def _sparseness(responses: xr.Dataset) -> xr.DataArray:
    """Population sparseness of each stimulus, every unit divided by its largest response.

    Units whose responses are none, but for rounding, are left out.
    """
    response = responses["response"].transpose("stimulus", "unit").reset_coords(drop=True)
    largest = np.fmax.reduce(response.values, 0)
    active = np.flatnonzero(largest > overview.rounding(responses))
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


def unit_table(responses: xr.Dataset, measured: Measured | None = None) -> pd.DataFrame:
    """One row per unit of a layer: where it is, what it prefers, and every measure.

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
    if measured.curves:
        raw = measured.curves["raw"]
        highest = raw.sel(contrast=raw["contrast"].max())
        table["preferred_orientation"] = preferred(highest, "orientation").values
        if "spatial_frequency" in raw.coords:
            table["preferred_spatial_frequency"] = raw["spatial_frequency"].values
        for baseline, suffix in SUFFIXES.items():
            invariance = measured.invariance[baseline, "all"]
            invariance = invariance.sel(contrast=invariance["contrast"].max())
            for name in invariance.data_vars:
                table[f"{name}{suffix}"] = invariance[name].values
    else:
        seen = overview.unit_measures(responses)
        table = table.assign(**{str(name): values.values for name, values in seen.items()})
    found = measured.units.items()
    new = {str(name): values.values for name, values in found if name not in table}
    return table.assign(**new)


def column_table(units: pd.DataFrame, described: Mapping[str, Mapping[Any, Any]]) -> pd.DataFrame:
    """What the columns of a table of units are: ``units``, and in words, a row each.

    Of an angle on a circle ``period`` is that, in degrees.

    Parameters
    ----------
    described : attributes of the measures, by name; of others the name tells.
    """
    rows = []
    for name in map(str, units.columns):
        attributes = {**UNIT_ATTRIBUTES.get(name, {}), **described.get(name, {})}
        parameter = name.removeprefix("best_").removeprefix("preferred_")
        unit = "1" if units[name].dtype.kind in "fiub" else ""
        period = None
        if parameter != name and parameter in PARAMETERS:
            unit, period = PARAMETERS[parameter].units, PARAMETERS[parameter].period
        elif name.startswith("width") and "ratio" not in name:
            unit = "degree"
        rows.append(
            {
                "column": name,
                "units": attributes.get("units", unit),
                "meaning": attributes.get("long_name", name.replace("_", " ")),
                "of_response": attributes.get("baseline", ""),
                "period": attributes.get("period", period),
            }
        )
    return pd.DataFrame(rows)


def population_table(
    responses: xr.Dataset, seed: int, measured: Measured | None = None
) -> pd.DataFrame:
    """Mean and median over a layer's units, with 95 % bootstrap intervals.

    One row for each baseline, range of contrasts, measure and, where a measure is of one contrast,
    contrast. ``count`` is the number of units for which the measure is defined. The measures of
    stimuli that do not vary contrast and orientation are ``overview.population_measures``. Then
    come those of :mod:`ephys.measures`, named ``unit: ...``, and what was fitted without the units
    whose fit ended at a bound or beyond the contrasts shown. The mean of a measure that is 1 or 0
    is a share of the units. Last is ``stimulus: population_sparseness``, over stimuli instead: for
    how few of the units answer each, with every unit divided by its largest response
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


def _row(measure: str, baseline: str = "raw", contrasts: str = "all") -> dict[str, Any]:
    return {"baseline": baseline, "contrasts": contrasts, "measure": measure}


def _of_units(found: xr.Dataset) -> Iterator[Column]:
    """The physiologist's measures, for ``population_table``."""
    for name, values in population_measures(found).items():
        for flag in ("at_bound", "extrapolated"):  # what a fit gives then is not the unit's
            fit = _fit_of(name, flag, found)
            if fit and not name.endswith((*FLAGS, "r_squared")):
                values = values.where(found[f"{fit}_{flag}"] == 0)
        yield _row(f"{UNIT}{name}", found[name.partition(":")[0]].attrs["baseline"]), values


def _fit_of(name: str, flag: str, found: xr.Dataset) -> str:
    """The fit that has a parameter and a flag, ``"naka_rushton"``, or nothing."""
    fits = [str(other).removesuffix(f"_{flag}") for other in found if str(other).endswith(flag)]
    return next((fit for fit in fits if name.startswith(f"{fit}_")), "")


def protocol_figure(
    responses: xr.Dataset, seed: int, elsewhere: tuple[str, xr.Dataset] | None = None
) -> "Figure":
    """The figure of a protocol.

    Parameters
    ----------
    seed : of the bootstrap, where contrast is not varied.
    elsewhere : see ``contrast_figure``.
    """
    if varies_contrast(responses):
        return contrast_figure(responses, elsewhere)
    if is_about_macaque(responses):
        found = {layer: macaque_properties(part) for layer, part in by_layer(responses)}
        return macaque_figure(found, seed)
    if kind := color_kind(responses):
        return color_figure(responses, kind)
    from ephys.figures import overview_figure

    parts: dict[str, dict[str, dict[str, xr.Dataset]]] = {}
    for layer, layer_responses in by_layer(responses):
        for part, curves in overview.curves(layer_responses, seed).items():
            for name, curve in curves.items():
                parts.setdefault(part, {}).setdefault(name, {})[layer] = curve
    try:
        examples = overview.examples(responses)
    except (OSError, ValueError):  # of photographs that are not here
        examples = []
    return overview_figure(parts, examples=examples)


def color_kind(responses: xr.Dataset) -> str:
    """The kind of measures of color that the stimuli are for, or nothing."""
    return next((kind for kind in kinds(responses) if kind in COLOR_CURVES), "")


def color_figure(responses: xr.Dataset, kind: str) -> "Figure":
    """What units of each layer do with color."""
    from ephys import color_figures

    measures, curves = {}, {}
    for layer, part in by_layer(responses):
        measures[layer] = protocol_measures(part)
        if (curve := COLOR_CURVES[kind](part)) is not None:
            curves[layer] = curve
    return color_figures.color_figure(measures, curves)


def contrast_figure(
    responses: xr.Dataset, elsewhere: tuple[str, xr.Dataset] | None = None
) -> "Figure":
    """Figure 2 for the super-resolution networks, and for others the curves of every layer.

    Parameters
    ----------
    elsewhere : name and responses of another network's layer, for panel B of Figure 2.
    """
    from ephys.figures import figure2, tuning_by_layer  # matplotlib takes a second to import

    curves = {layer: orientation_curves(part) for layer, part in by_layer(responses)}
    stimuli = example_stimuli(responses)
    if BEFORE not in curves:
        return tuning_by_layer(curves, stimuli=stimuli)
    name, others = elsewhere or ("", None)
    return figure2(
        curves[BEFORE],
        curves.get(AFTER),
        None if others is None else orientation_curves(others),
        stimuli=stimuli,
        elsewhere_name=name,
    )


def example_stimuli(responses: xr.Dataset) -> np.ndarray:
    """One stimulus at each contrast, oblique where it can be.

    Returns
    -------
    (contrast, y, x), or of colored stimuli (contrast, y, x, 3), in [0, 1].
    """
    names = [name for name, c in responses.coords.items() if c.dims == ("stimulus",)]
    table = xr.Dataset({name: responses[name].variable for name in names})
    alike = np.ones(table.sizes["stimulus"], bool)
    for name in overview.varied(responses):
        values = np.unique(table[name].values)
        if name != "contrast":
            alike &= table[name].values == values[len(values) // 4 if name == "orientation" else 0]
    chosen = StimulusSet(table.isel(stimulus=np.flatnonzero(alike)).sortby("contrast"))
    return overview.as_seen(chosen, responses)


def _summary(columns: Iterable[Column], seed: int, resamples: int = RESAMPLES) -> pd.DataFrame:
    """A row for each column of values of units, or of stimuli, and each contrast of it."""
    where, values = [], []
    for about, column in columns:
        of_contrast = "contrast" in column.dims
        for contrast in column["contrast"].values.tolist() if of_contrast else [np.nan]:
            one = column.sel(contrast=contrast) if of_contrast else column
            where.append(about | {"contrast": contrast})
            values.append(one.values.astype(float))
    # All at once: the same draws of units are of all of them.
    together = xr.DataArray(np.stack(values, axis=1), dims=("unit", "column"))
    table = pd.DataFrame(where)
    for statistic in ("mean", "median"):
        interval = bootstrap_interval(together, statistic=statistic, resamples=resamples, seed=seed)
        table["count"] = interval["count"].values
        for name, end in {"": "estimate", "_low": "low", "_high": "high"}.items():
            table[f"{statistic}{name}"] = interval[end].values
    return table


def labeled(where: dict[str, Any], table: pd.DataFrame) -> pd.DataFrame:
    """The table with a constant column for each entry, put first."""
    for place, (name, value) in enumerate(where.items()):
        table.insert(place, name, value)
    return table
