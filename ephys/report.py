"""The report of a run: one page that holds everything it shows."""

import base64
import json
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
    "separability": ("separability", "1 if every contrast gives the same curve up to a factor"),
}


def write_report(run: Path) -> None:
    """Write ``report.html`` from the tables, figures and ``run.json`` of a run."""
    about = json.loads((run / "run.json").read_text())
    population = pd.read_csv(run / "population.csv")
    protocols = []
    for name in about["protocols"]:
        table = population[population["protocol"] == name]
        responses = open_store(run / "responses.zarr" / name)
        protocols.append(
            {
                "name": name,
                "figure": _embedded(run / "figures" / f"{name}.png"),
                "by_contrast": _by_contrast(table),
                "slopes": _slopes(table),
                "stimuli": responses.sizes["stimulus"],
                "units": responses.sizes["unit"],
                "provenance": responses.attrs,
            }
        )
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(files("ephys").joinpath("report.html.jinja").read_text())
    page = template.render(about=about, protocols=protocols, slope_names=SLOPES)
    (run / "report.html").write_text(page, encoding="utf-8")


def summary(population: pd.DataFrame) -> str:
    """The answer in a few lines: medians over units of the raw responses, all contrasts."""
    rows = population[
        (population["baseline"] == "raw")
        & (population["contrasts"] == "all")
        & population["measure"].isin(SLOPES)
    ]
    rows = rows.assign(
        text=[
            f"{row.median:.2f} [{row.median_low:.2f}, {row.median_high:.2f}]"
            for row in rows[["median", "median_low", "median_high"]].itertuples()
        ]
    )
    table = rows.pivot(index=["protocol", "layer"], columns="measure", values="text")
    return table[list(SLOPES)].rename_axis(columns=None).reset_index().to_string(index=False)


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
