"""The report of a run: one page that holds everything it shows."""

import base64
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined

from ephys.responses import open_store

SLOPES = {
    "selectivity_slope": ("selectivity", "change of gOSI per doubling of contrast; 0 is invariant"),
    "width_slope": ("width", "degrees per doubling of contrast; 0 is invariant"),
    "amplitude_slope": ("amplitude", "exponent of contrast; 1 is linear, 0 is invariant"),
    "amplitude_ratio": ("amplitude ratio", "highest over lowest contrast"),
    "separability": (
        "separability",
        "1 if every contrast gives the same curve up to a factor; large responses weigh most",
    ),
}


def write_report(run: Path, about: dict[str, Any]) -> None:
    """Write ``report.html`` from the tables and figures of a run.

    Parameters
    ----------
    about : the ``model`` and the ``protocols`` of the run, as in ``run.json``.
    """
    population = read_population(run)
    protocols = []
    for name in about["protocols"]:
        table = population[population["protocol"] == name]
        responses = open_store(run / "responses.zarr" / name)
        protocols.append(
            {
                "name": name,
                "figure": _embedded(run / "figures" / f"{name}.png"),
                "by_contrast": _by_contrast(table),
                "answer": answer(table),
                "slopes": _slopes(table),
                "stimuli": responses.sizes["stimulus"],
                "units": responses.sizes["unit"],
                "provenance": responses.attrs,
            }
        )
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(files("ephys").joinpath("report.html.jinja").read_text())
    page = template.render(about=about, protocols=protocols, slope_names=SLOPES, interval=_interval)
    (run / "report.html").write_text(page, encoding="utf-8")


def read_population(run: Path) -> pd.DataFrame:
    """The table of a run; names stay names, also those that look like numbers."""
    names = {"layer": str, "protocol": str}
    return pd.read_csv(run / "population.csv", dtype=names, keep_default_na=False, na_values="")


def summary(population: pd.DataFrame) -> str:
    """The answer for a terminal: medians over units of the raw responses, with intervals."""
    columns = ["selectivity_slope", "width_slope", "amplitude_slope", "separability"]
    heads = ["gOSI per doubling", "width per doubling", "amplitude exponent", "separability"]
    lines = []
    for protocol, rows in _raw(population, "all").groupby("protocol", sort=False):
        lines += [f"{protocol}: medians over units [95 % interval] as contrast grows"]
        lines += [f"  {'layer':24}" + "".join(f" {head:>20}" for head in heads)]
        for layer, part in rows.groupby("layer", sort=False):
            measures = _measures(part)
            cells = [_interval(measures[name]) for name in columns]
            lines += [f"  {layer:24}" + "".join(f" {cell:>20}" for cell in cells)]
    return "\n".join(lines)


def answer(population: pd.DataFrame) -> list[str]:
    """One sentence a layer: what contrast does to amplitude, width and selectivity."""
    sentences = []
    for layer, part in _raw(population, "all").groupby("layer", sort=False):
        low, high = part["contrast"].min(), part["contrast"].max()
        measures = _measures(part[part["contrast"].isna()])
        ratio = measures["amplitude_ratio"]
        growth = f"{ratio['median']:.3g}-fold" if ratio["count"] else "from nothing"
        sentences.append(
            f"{layer}: from {low:.0%} to {high:.0%} contrast the peak grows {growth}; per "
            f"doubling of contrast the half-width changes by {_interval(measures['width_slope'])} "
            f"degrees and the selectivity by {_interval(measures['selectivity_slope'])}."
        )
    return sentences


def _raw(population: pd.DataFrame, contrasts: str) -> pd.DataFrame:
    return population[(population["baseline"] == "raw") & (population["contrasts"] == contrasts)]


def _interval(row: dict[str, Any], statistic: str = "median", digits: int = 2) -> str:
    """``1.20 [1.10, 1.30]``, and a dash where no unit has the measure."""
    if row["count"] == 0:
        return "–"
    names = (statistic, f"{statistic}_low", f"{statistic}_high")
    middle, low, high = (f"{round(row[name], digits) + 0.0:.{digits}f}" for name in names)
    return f"{middle} [{low}, {high}]"


def _by_contrast(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Per layer, a row for each contrast: the means of the raw response, with intervals."""
    rows = table[(table["baseline"] == "raw") & table["contrast"].notna()]
    return [
        {
            "layer": layer,
            "rows": [
                {"contrast": contrast} | _measures(part)
                for contrast, part in of_layer.groupby("contrast")
            ],
        }
        for layer, of_layer in rows.groupby("layer", sort=False)
    ]


def _slopes(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A row per layer, baseline and range of contrasts: the medians over units."""
    rows = table[table["contrast"].isna()]
    keys = ["layer", "baseline", "contrasts"]
    return [
        dict(zip(keys, key, strict=True)) | _measures(part)
        for key, part in rows.groupby(keys, sort=False)
    ]


def _measures(rows: pd.DataFrame) -> dict[str, Any]:
    return {row["measure"]: row for row in rows.to_dict("records")}


def _embedded(picture: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
