"""From the responses of a run to its tables, figures and report.

The tables are those of :mod:`ephys.tables`; here is what of a run is read and written, and which
figure is drawn of a protocol.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from ephys import overview
from ephys.comparison import write_differences
from ephys.macaque_v1 import score
from ephys.measures import kinds, protocol_measures
from ephys.opponency import isoluminant_curves
from ephys.reference import distributions
from ephys.report import COLUMNS_TABLE, MACAQUE_TABLE, NUMBERS
from ephys.responses import load, open_store
from ephys.stimuli.sweep import StimulusSet
from ephys.tables import (
    is_about_macaque,
    layer_tables,
    macaque_properties,
    macaque_tables,
    orientation_curves,
    responding,
    varies_contrast,
)
from ephys.tuning import tuning_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESPONSES, ABOUT = "responses.zarr", "run.json"
FIRST = "contrast_invariance"  # of the protocols of a run, the one to draw
BEFORE, AFTER = "encoder.gabor_bank", "encoder.normalization"
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


def analyze(run: Path, about: dict[str, Any] | None = None) -> None:
    """Write ``units.csv``, ``units_columns.csv``, ``population.csv``, ``figures/`` and
    ``report.html`` anew.

    And ``macaque_v1.csv``, if that is what was asked, and ``differences.csv`` of several layers.
    Numbers in the tables have nine significant digits.

    Parameters
    ----------
    about : what ``run.json`` is going to say; by default what it says.

    Raises
    ------
    FileNotFoundError : if the folder is not a finished run.
    """
    from ephys.report import write_report

    about = about or read_about(run)
    seed = about["seed"]
    tables: dict[str, list[pd.DataFrame]] = {}
    (run / "figures").mkdir(exist_ok=True)
    for protocol in about["protocols"]:
        responses = read_responses(run, protocol)
        properties = {}
        for layer, layer_responses in by_layer(responses):
            where = {"protocol": protocol, "layer": layer}
            if is_about_macaque(responses):
                properties[layer] = macaque_properties(layer_responses)
                of_layer = macaque_tables(properties[layer], where, seed)
            else:
                of_layer = layer_tables(layer_responses, where, seed)
            for name, table in of_layer.items():
                tables.setdefault(name, []).append(table)
        del layer_responses  # before the figure reads them anew
        figure = (
            macaque_figure(properties, seed) if properties else protocol_figure(responses, seed)
        )
        figure.savefig(run / "figures" / f"{protocol}.png", dpi=150)
        figure.set_layout_engine("none")  # it is laid out by now
        figure.savefig(run / "figures" / f"{protocol}.svg")
    (run / MACAQUE_TABLE).unlink(missing_ok=True)
    for name, parts in tables.items():
        table = pd.concat(parts)
        if name == COLUMNS_TABLE:  # which the layers of a protocol share
            table = table.drop_duplicates(["protocol", "column"])
        table.to_csv(run / name, index=False, float_format=NUMBERS)
    write_differences(run, seed)
    write_report(run, about)


def plot(
    run: Path,
    picture: Path,
    *,
    elsewhere: Path | None = None,
    protocol: str | None = None,
    layer: str | None = None,
    name: str | None = None,
) -> None:
    """Draw the figure of a protocol into a file, with another run's layer as panel B of Figure 2.

    Parameters
    ----------
    protocol : by default the run's only one, or of several ``contrast_invariance``.
    layer : of the other run; by default its last.
    name : title of panel B; by default the other run's model and the layer.

    Raises
    ------
    FileNotFoundError, KeyError : if a run, its protocol or its layer is not there, or unfinished.
    ValueError : for a kind of picture that matplotlib does not write, and for another run beside
        one whose figure has no panel B.
    """
    about = read_about(run)
    known = about["protocols"]
    if protocol is None and len(known) > 1 and FIRST not in known:
        raise KeyError(f"{run} has several protocols; pass --protocol with {' or '.join(known)}")
    protocol = protocol or (known[0] if len(known) == 1 else FIRST)
    if protocol not in known:
        raise KeyError(f"{run} has no protocol {protocol!r}; there are {', '.join(known)}")
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
    if protocol is None:
        raise KeyError(f"{run} has several protocols; pass --protocol with {' or '.join(known)}")
    if protocol not in known:
        raise KeyError(f"{run} has no protocol {protocol!r}; there are {', '.join(known)}")
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


def macaque_figure(properties: Mapping[str, xr.Dataset], seed: int) -> "Figure":
    """Each property's distribution over the units of each layer, and over cells of macaque V1."""
    from ephys.figures import property_histograms

    scores = {
        layer: score(found, seed=seed)["score"].to_dict() for layer, found in properties.items()
    }
    units = {layer: responding(found) for layer, found in properties.items()}
    return property_histograms(units, distributions(), scores=scores)


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
