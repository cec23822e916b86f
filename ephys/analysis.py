"""From the responses of a run to its tables, figures and report."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from ephys.contrast import contrast_invariance
from ephys.responses import load, open_store
from ephys.statistics import bootstrap_interval
from ephys.stimuli.protocols import PAPER_CONTRASTS
from ephys.stimuli.sweep import StimulusSet
from ephys.tuning import preferred, tuning_curve
from ephys.visual_field import VisualField

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESPONSES, ABOUT = "responses.zarr", "run.json"
BASELINES = ("raw", "above blank")  # the response as it is, or what of it exceeds the blank's
RANGES = ("all", "paper")  # of contrasts
BEFORE, AFTER = "encoder.gabor_bank", "encoder.normalization"


def analyze(run: Path, about: dict[str, Any] | None = None) -> None:
    """Write ``units.csv``, ``population.csv``, ``figures/`` and ``report.html`` anew.

    Parameters
    ----------
    about : what ``run.json`` is going to say; by default what it says.

    Raises
    ------
    FileNotFoundError : if the folder is not a finished run.
    """
    from ephys.report import write_report

    about = about or read_about(run)
    units, population = [], []
    (run / "figures").mkdir(exist_ok=True)
    for protocol in about["protocols"]:
        responses = read_responses(run, protocol)
        for layer, layer_responses in by_layer(responses):
            where = {"protocol": protocol, "layer": layer}
            units.append(labeled(where, unit_table(layer_responses)))
            population.append(labeled(where, population_table(layer_responses, about["seed"])))
        figure = contrast_figure(responses)
        figure.savefig(run / "figures" / f"{protocol}.png", dpi=150)
        figure.set_layout_engine("none")  # it is laid out by now
        figure.savefig(run / "figures" / f"{protocol}.svg")
    pd.concat(units).to_csv(run / "units.csv", index=False)
    pd.concat(population).to_csv(run / "population.csv", index=False)
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
    """Draw the figure of a run into a file, with a layer of another run as panel B of Figure 2.

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
    recorded = read_about(run)["protocols"]
    if protocol not in recorded:
        raise KeyError(f"{run} has no protocol {protocol!r}; there are {', '.join(recorded)}")
    responses = read_responses(run, protocol)
    other = None
    if elsewhere is not None:
        if BEFORE not in responses["layer"].values:
            raise ValueError(f"{run} has no layer {BEFORE}, so its figure has no panel for another")
        layers = dict(by_layer(read_responses(elsewhere, protocol)))
        layer = layer or list(layers)[-1]
        if layer not in layers:
            raise KeyError(f"{elsewhere} has no layer {layer!r}; there are {', '.join(layers)}")
        model = Path(read_about(elsewhere)["model"].split(" with weights ")[0]).stem
        other = name or f"{model} {layer}", layers[layer]
    contrast_figure(responses, other).savefig(picture, dpi=150)


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
    layers = load(responses.drop_vars("response"))["layer"].values
    for layer in dict.fromkeys(layers.tolist()):
        yield layer, load(responses.isel(unit=np.flatnonzero(layers == layer)))


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
    return curves if baseline == "raw" else (curves - curves["blank"]).clip(min=0)


def unit_table(responses: xr.Dataset) -> pd.DataFrame:
    """One row per unit of a layer: where it is, what it prefers, and every measure.

    ``selectivity``, ``width`` and ``amplitude`` are those at the highest contrast. Measures of the
    response above the blank end in ``_above_blank``.
    """
    raw = orientation_curves(responses)
    highest = raw.sel(contrast=raw["contrast"].max())
    places = ["channel", "row", "column", "rf_x", "rf_y"]
    table = responses[places].to_dataframe()[places]
    table["blank"] = responses["blank"].values
    table["preferred_orientation"] = preferred(highest, "orientation").values
    if "spatial_frequency" in raw.coords:
        table["preferred_spatial_frequency"] = raw["spatial_frequency"].values
    for baseline in BASELINES:
        suffix = "" if baseline == "raw" else "_above_blank"
        measures = contrast_invariance(orientation_curves(responses, baseline))
        measures = measures.sel(contrast=measures["contrast"].max())
        for name in measures.data_vars:
            table[f"{name}{suffix}"] = measures[name].values
    return table


def population_table(responses: xr.Dataset, seed: int) -> pd.DataFrame:
    """Mean and median over a layer's units, with 95 % bootstrap intervals.

    One row for each baseline, range of contrasts, measure and, where a measure is of one contrast,
    contrast. ``count`` is the number of units for which the measure is defined.
    """
    rows = []
    for baseline in BASELINES:
        curves = orientation_curves(responses, baseline)
        contrasts = curves["contrast"].values
        for contrast_range in RANGES:
            chosen = (
                contrasts if contrast_range == "all" else np.intersect1d(contrasts, PAPER_CONTRASTS)
            )
            if len(chosen) < 2:
                continue
            measures = contrast_invariance(curves.sel(contrast=chosen))
            if contrast_range == "paper":  # its contrasts' own values are among all
                measures = measures.drop_dims("contrast")
            for name, values in measures.data_vars.items():
                where = {"baseline": baseline, "contrasts": contrast_range, "measure": name}
                rows.append(labeled(where, _summary(values, seed)))
    return pd.concat(rows)


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
    """One stimulus at each contrast, oblique where it can be: (contrast, y, x) in [0, 1]."""
    names = [name for name, c in responses.coords.items() if c.dims == ("stimulus",)]
    table = xr.Dataset({name: responses[name].variable for name in names})
    others = [name for name in names if table[name].dtype.kind == "f" and name != "contrast"]
    alike = np.ones(table.sizes["stimulus"], bool)
    for name in others:
        values = np.unique(table[name].values)
        alike &= table[name].values == values[len(values) // 4 if name == "orientation" else 0]
    chosen = StimulusSet(table.isel(stimulus=np.flatnonzero(alike)).sortby("contrast"))
    shape = json.loads(responses.attrs["input_format"])
    field = VisualField(shape["height_px"], shape["width_px"], responses.attrs["pixels_per_degree"])
    return chosen.render(field)[:, 0].numpy()


def _summary(values: xr.DataArray, seed: int) -> pd.DataFrame:
    parts = {}
    for statistic in ("mean", "median"):
        interval = bootstrap_interval(values, statistic=statistic, seed=seed)
        parts["count"] = np.atleast_1d(interval["count"].values)
        parts[statistic] = np.atleast_1d(interval["estimate"].values)
        parts[f"{statistic}_low"] = np.atleast_1d(interval["low"].values)
        parts[f"{statistic}_high"] = np.atleast_1d(interval["high"].values)
    contrast = values["contrast"].values if "contrast" in values.dims else [np.nan]
    return pd.DataFrame({"contrast": contrast, **parts})


def labeled(where: dict[str, Any], table: pd.DataFrame) -> pd.DataFrame:
    """The table with a constant column for each entry, put first."""
    for place, (name, value) in enumerate(where.items()):
        table.insert(place, name, value)
    return table
