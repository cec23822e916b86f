"""The report of a run: one page that holds everything it shows."""

import base64
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jinja2 import Environment, StrictUndefined

from ephys.reference import distributions
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
    "preferred_shift": (
        "shift",
        "degrees by which contrast turns the preferred orientation; 0 is invariant",
    ),
}


# Of stimuli without measures of their own: statistic, label and meaning of a measure.
OVERVIEW = {
    "answering": ("mean", "answering", "share of units that do not answer all as the blank"),
    "above_blank": ("median", "above blank", "largest response, less that to the blank"),
    "below_blank": ("median", "below blank", "response to the blank, less the smallest"),
}
UNITS = {
    **{"1": "", "percent": "%", "s-1": "spikes/s", "degree": "degrees", "degree-1": "1/degree"},
    "cycles degree-1": "cycles/degree",
}
# Told in words of their own.
UNIT = "unit: "  # before the names of the physiologist's measures
STIMULUS = "stimulus: "  # and of what the units of a layer do together at each stimulus
# Any of which is in the figure of a protocol of color, with words of its own below.
COLOR = {"hue_selectivity", "cone_weight_l", "sensitivity_ratio", "harris_class: double-opponent"}
FLAGS = ("converged", "at_bound", "extrapolated")  # 1 or 0, of which the mean is a share
SHARES = (*FLAGS, "responsive")
CORRECTIONS = {
    **{"holm": "Holm", "bonferroni": "Bonferroni"},
    "fdr_bh": "Benjamini and Hochberg",
}
ALPHA = 0.05  # of the differences that a page shows
SECTION_ATTRIBUTES = ("protocol", "purpose", "citation")
DIGITS = (
    12  # after the point, of what was asked for: beyond them is the rounding of a zero (and + 0.0
)
# is that without a sign)


def write_report(run: Path, about: dict[str, Any]) -> None:
    """Write ``report.html`` from the tables and figures of a run.

    Parameters
    ----------
    about : the ``model`` and the ``protocols`` of the run, as in ``run.json``.
    """
    population, scores = read_population(run), read_scores(run)
    differences = read_differences(run)
    protocols = []
    for name in about["protocols"]:
        table, measured = _apart(population[population["protocol"] == name])
        responses = open_store(run / "responses.zarr" / name)
        section = {
            "name": name,
            "purpose": responses.attrs.get("purpose", ""),
            "citation": responses.attrs.get("citation", ""),
            "figure": _embedded(run / "figures" / f"{name}.png"),
            "about_contrast": is_about_contrast(table),
            "about_macaque": name in scores["protocol"].values,
            "about_color": COLOR & set(measured["measure"].str.removeprefix(UNIT)),
            "stimuli": responses.sizes["stimulus"],
            "units": responses.sizes["unit"],
            "shown": shown(responses),
            "measures": _of_units(measured),
            "measured_layers": list(dict.fromkeys(measured["layer"])),
            "differences": _different(differences[differences["protocol"] == name]),
            "tests": _tests(differences[differences["protocol"] == name]),
            "provenance": responses.attrs,
        }
        if section["about_contrast"]:
            section |= {"by_contrast": _by_contrast(table), "slopes": _slopes(table)}
            section["answer"] = answer(table)
        elif section["about_macaque"]:
            own = scores[scores["protocol"] == name]
            section["studies"], section["layers"] = _beside_macaque(table, own)
        else:
            section["columns"], section["parts"], section["layers"] = _overview(table)
        protocols.append(section)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(files("ephys").joinpath("report.html.jinja").read_text())
    page = template.render(
        about=about,
        protocols=protocols,
        provenance=_provenance(protocols),
        tests=_tests(differences),
        slope_names=SLOPES,
        interval=_interval,
        number=_number,
        label=_label,
    )
    (run / "report.html").write_text(page, encoding="utf-8")


def _apart(population: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of a protocol's own table, and those of the physiologist's measures of units."""
    of_units = population["measure"].str.startswith((UNIT, STIMULUS))
    return population[~of_units], population[of_units]


def _of_units(measured: pd.DataFrame) -> list[dict[str, Any]]:
    """A row for each measure: its name, the response that it is of, and a cell for each layer."""
    rows = []
    for (name, baseline), part in measured.groupby(["measure", "baseline"], sort=False):
        label = str(name).removeprefix(UNIT)
        statistic = "mean" if ":" in label or label.endswith(SHARES) else "median"
        cells = {
            layer: f"{_interval(row, statistic, '.3g')} ({row['count']})"
            for layer, rows_of_layer in part.groupby("layer", sort=False)
            for row in _measures(rows_of_layer).values()
        }
        rows.append({"label": label.replace("_", " "), "baseline": baseline, "cells": cells})
    return rows


def is_about_contrast(population: pd.DataFrame) -> bool:
    """Whether the rows of a protocol tell what contrast does to tuning."""
    return bool(population["measure"].isin(SLOPES).any())


def shown(responses: xr.Dataset) -> list[dict[str, Any]]:
    """What the pixels of the stimuli were measured to be, beside what was asked for.

    Parameters
    ----------
    responses : with ``asked`` and ``measured``, (stimulus, quantity), as from
        ``verification.verify``, NaN where there is no such quantity, and ``units`` and ``relative``
        of each quantity; without them nothing is known.

    Returns
    -------
    For each quantity that was asked for its name as ``quantity``, ``units``, the ``lowest`` and
    ``highest`` that was asked for, the ``deviation``, the largest, and of how many stimuli, as
    ``stimuli``, it is; and whether deviations are ``relative`` to what was asked for.
    """
    if not {"asked", "measured"} <= set(responses.variables):
        return []
    rows = []
    for quantity in responses["quantity"].values.tolist():
        one = responses[["asked", "measured"]].sel(quantity=quantity)
        asked, measured = one["asked"].values, one["measured"].values
        both = np.isfinite(asked) & np.isfinite(measured)
        if not np.isfinite(asked).any():
            continue
        relative = bool(one["relative"]) if "relative" in one.coords else False
        off = np.abs(measured[both] - asked[both]) / (np.abs(asked[both]) if relative else 1)
        units = str(one["units"].values) if "units" in one.coords else "1"
        rows.append(
            {
                "quantity": str(quantity).replace("_", " "),
                "units": {"1": "", "cycles degree-1": "cycles/degree"}.get(units, units),
                "lowest": float(np.nanmin(asked).round(DIGITS)) + 0.0,
                "highest": float(np.nanmax(asked).round(DIGITS)) + 0.0,
                "deviation": float(off.max()) if off.size else np.nan,
                "relative": relative,
                "stimuli": int(both.sum()),
            }
        )
    return rows


def read_population(run: Path) -> pd.DataFrame:
    """The table of a run; names stay names, also those that look like numbers."""
    names = {"layer": str, "protocol": str}
    return pd.read_csv(run / "population.csv", dtype=names, keep_default_na=False, na_values="")


def read_scores(run: Path) -> pd.DataFrame:
    """``macaque_v1.csv`` of a run, without rows where nothing was compared."""
    if not (run / "macaque_v1.csv").is_file():
        return pd.DataFrame(columns=["protocol", "layer"])
    names = {"layer": str, "protocol": str}
    return pd.read_csv(run / "macaque_v1.csv", dtype=names, keep_default_na=False, na_values="")


def read_differences(run: Path) -> pd.DataFrame:
    """``differences.csv`` of a run, without rows for a run of one layer."""
    if not (run / "differences.csv").is_file():
        return pd.DataFrame(columns=["protocol", "layer_a", "layer_b", "p", "p_corrected"])
    names = dict.fromkeys(("protocol", "measure", "layer_a", "layer_b"), str)
    return pd.read_csv(run / "differences.csv", dtype=names, keep_default_na=False, na_values="")


def difference_summary(differences: pd.DataFrame, correction: str = "holm") -> str:
    """The table of ``comparison.compare`` for a terminal: a few lines for each pair.

    The differences of the smallest p come first, of equal ones the largest.

    Parameters
    ----------
    correction : of p.
    """
    heads = ["", "units", "difference [95 %]", "delta", "p"]
    sides = [name for name in ("run_a", "layer_a", "run_b", "layer_b") if name in differences]
    half = len(sides) // 2
    blocks = {}
    for key, rows in differences.groupby(["protocol", *sides], sort=False):
        protocol, *names = map(str, key)
        title = f"{protocol}: {': '.join(names[:half])} less {': '.join(names[half:])}"
        blocks[title] = [heads, *_difference_rows(rows)]
    everything = [row for block in blocks.values() for row in block]
    widths = [max(map(len, column)) for column in zip(*everything, strict=True)]
    lines = []
    for title, block in blocks.items():
        lines.append(title)
        for first, *others in block:
            cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
            lines.append("  " + "  ".join([f"{first:{widths[0]}}", *cells]))
    lines += [
        "Differences are of medians over units, or of shares of them, with bootstrap intervals.",
        "delta is Cliff's: P(a unit of the first exceeds one of the second) - P(the reverse).",
        f"p is of permutation tests of delta, corrected for all {_tests(differences)} of them by "
        f"{CORRECTIONS[correction]}.",
    ]
    return "\n".join(lines)


def _difference_rows(differences: pd.DataFrame) -> list[list[str]]:
    return [
        [
            row["measure"] + (" (share)" if row["statistic"] == "share" else ""),
            f"{row['count_a']}, {row['count_b']}",
            _difference(row),
            _number(row["effect_size"], ".2f"),
            _probability(row["p_corrected"]),
        ]
        for row in _ordered(differences)
    ]


def _ordered(differences: pd.DataFrame) -> list[dict[Any, Any]]:
    sized = differences.assign(size=-differences["effect_size"].abs())
    return sized.sort_values(["p_corrected", "size"], kind="stable").to_dict("records")


def _different(differences: pd.DataFrame) -> list[dict[str, Any]]:
    """For each pair of layers the differences that are hardly chance, ordered as for a terminal."""
    certain = differences[differences["p_corrected"] <= ALPHA]
    return [
        {
            **{"a": a, "b": b},
            "rows": [
                {
                    "measure": row["measure"].replace("_", " "),
                    "of_a": f"{_number(row['value_a'])} ({row['count_a']})",
                    "of_b": f"{_number(row['value_b'])} ({row['count_b']})",
                    "difference": _difference(row),
                    "delta": _number(row["effect_size"], ".2f"),
                    "p": _probability(row["p_corrected"]),
                }
                for row in _ordered(rows)
            ],
        }
        for (a, b), rows in certain.groupby(["layer_a", "layer_b"], sort=False)
    ]


def _tests(differences: pd.DataFrame) -> int:
    return int(differences["p"].notna().sum())


def _difference(row: Mapping[Any, Any]) -> str:
    if np.isnan(row["difference"]):
        return "–"
    middle, low, high = (_number(row[name]) for name in ("difference", "low", "high"))
    return f"{middle} [{low}, {high}]"


def _probability(p: float) -> str:
    return "<0.0001" if p < 1e-4 else _number(p, ".2g")


def summary(population: pd.DataFrame, scores: pd.DataFrame | None = None) -> str:
    """The answer for a terminal: a few lines for each protocol.

    Parameters
    ----------
    scores : how close units come to cells of macaque V1, where that was asked.
    """
    lines = []
    for protocol, rows in population.groupby("protocol", sort=False):
        rows, _ = _apart(rows)
        own = None if scores is None else scores[scores["protocol"] == protocol]
        if own is not None and len(own):
            lines += _macaque_summary(str(protocol), own)
        elif is_about_contrast(rows):
            lines += _contrast_summary(str(protocol), rows)
        else:
            lines += _overview_summary(str(protocol), rows)
    return "\n".join(lines)


def _contrast_summary(protocol: str, population: pd.DataFrame) -> list[str]:
    """Medians over units of the raw responses, with intervals."""
    columns = ["selectivity_slope", "width_slope", "amplitude_slope", "separability"]
    heads = ["gOSI per doubling", "width per doubling", "amplitude exponent", "separability"]
    lines = [f"{protocol}: medians over units [95 % interval] as contrast grows"]
    lines += [f"  {'layer':24}" + "".join(f" {head:>20}" for head in heads)]
    for layer, part in _raw(population, "all").groupby("layer", sort=False):
        measures = _measures(part)
        cells = [_interval(measures[name]) for name in columns]
        lines += [f"  {layer:24}" + "".join(f" {cell:>20}" for cell in cells)]
    return lines


def _overview_summary(protocol: str, population: pd.DataFrame) -> list[str]:
    """How many units answer, and what they answer most, in columns."""
    measures = list(dict.fromkeys(population["measure"]))
    best = [name for name in measures if name.startswith("best_") and ":" not in name]
    heads = ["layer", "units", "answering", *(_label(name) for name in best)]
    if parts := [name for name in measures if ":" in name]:
        heads.append("best part")
    table = [heads]
    for layer, rows in population.groupby("layer", sort=False):
        of_layer = _measures(rows)
        answering = of_layer["answering"]
        cells = [str(layer), str(answering["count"]), f"{answering['mean']:.0%}"]
        cells += [_number(of_layer[name]["median"]) for name in best]
        if parts:
            most = max(parts, key=lambda name: np.nan_to_num(of_layer[name]["mean"]))
            share = of_layer[most]["mean"]
            cells.append("–" if np.isnan(share) else f"{_label(most)} ({share:.0%})")
        table.append(cells)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    most = ", and medians of what they answer most" if best or parts else ""
    lines = [f"{protocol}: share of units that answer{most}"]
    for first, *others in table:
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  " + "  ".join([f"{first:{widths[0]}}", *cells]))
    return lines


def _macaque_summary(protocol: str, scores: pd.DataFrame) -> list[str]:
    """A line for each property, with a column for each layer."""
    layers = list(dict.fromkeys(scores["layer"]))
    table = [["", *layers]]
    for name, rows in scores.groupby("property", sort=False):
        of_layer = {row["layer"]: row for row in rows.to_dict("records")}
        table.append([str(name), *(_score(of_layer[layer]) for layer in layers)])
    means = [_number(scores[scores["layer"] == layer]["score"].mean(), ".2f") for layer in layers]
    table.append(["mean of these scores", *means])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [f"{protocol}: score beside macaque V1 [95 % of samples], 1 is as close as can be"]
    for first, *others in table:
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  " + "  ".join([f"{first:{widths[0]}}", *cells]))
    return lines


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


def _overview(table: pd.DataFrame) -> tuple[list[dict[str, str]], list[str], list[dict[str, Any]]]:
    """The columns of a table, the shares of parts, and all numbers of each layer."""
    columns, parts = [], []
    for name in dict.fromkeys(table["measure"]):
        if ":" in name:
            parts.append(name)
            continue
        medians = ("median", f"best {_label(name)}", "its value at the largest response")
        statistic, label, meaning = OVERVIEW.get(name, medians)
        form = ".2f" if statistic == "mean" else ".3g"
        about = {"statistic": statistic, "form": form, "label": label, "meaning": meaning}
        columns.append({"name": name, **about})
    layers = [
        {"layer": layer} | _measures(rows) for layer, rows in table.groupby("layer", sort=False)
    ]
    return columns, parts, layers


def _beside_macaque(
    table: pd.DataFrame, scores: pd.DataFrame
) -> tuple[list[str], list[dict[str, Any]]]:
    """The studies' citations, and of each layer a row for each property beside the cells."""
    cells = distributions()
    studies = list(dict.fromkeys(one.attrs["citation"] for one in cells.values()))
    layers = []
    for layer, rows in scores.groupby("layer", sort=False):
        measures = _measures(table[table["layer"] == layer])
        properties = []
        for row in rows.to_dict("records"):
            name, own = row["property"], cells[row["property"]]
            has_median = name in measures  # an angle has none
            units = UNITS.get(own["low"].attrs["units"], own["low"].attrs["units"])
            properties.append(
                {
                    **row,
                    "label": own.attrs["long_name"] + (f" ({units})" if units else ""),
                    "source": studies.index(own.attrs["citation"]) + 1,
                    "of_cells": _median_bin(own) if has_median else "an angle",
                    "of_units": _interval(measures[name], form=".3g") if has_median else "an angle",
                    "shown": _score(row),
                }
            )
        layers.append({"layer": layer, "mean": rows["score"].mean(), "properties": properties})
    return studies, layers


def _median_bin(cells: xr.DataArray) -> str:
    """The bin in which the median of the cells is; of two bins, the share in the last."""
    shares = cells.values.cumsum() / cells.values.sum()
    if shares.size == 2:
        return f"{1 - shares[0]:.0%} yes"
    middle = cells.isel(bin=int(np.searchsorted(shares, 0.5)))
    return f"{_number(float(middle['low']))} to {_number(float(middle['high']))}"


def _score(row: Mapping[Any, Any]) -> str:
    """``0.83 [0.78, 0.88]``, without an interval where there is none."""
    score, low, high = (_number(row[name], ".2f") for name in ("score", "low", "high"))
    return score if low == "–" else f"{score} [{low}, {high}]"


def _label(measure: str) -> str:
    """``spatial frequency`` of ``best_spatial_frequency``, ``center`` of ``best_part: center``."""
    return measure.partition(": ")[2] or measure.removeprefix("best_").replace("_", " ")


def _provenance(protocols: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each attribute the value in each protocol; where they are all the same, of none."""
    rows = {}
    names = dict.fromkeys(name for one in protocols for name in one["provenance"])
    for name in names:
        values = {one["name"]: one["provenance"].get(name, "") for one in protocols}
        if len(set(values.values())) == 1:
            values = {"": next(iter(values.values()))}
        values = {protocol: value for protocol, value in values.items() if value != ""}
        if values and name not in SECTION_ATTRIBUTES:
            rows[name] = values
    return rows


def _raw(population: pd.DataFrame, contrasts: str) -> pd.DataFrame:
    return population[(population["baseline"] == "raw") & (population["contrasts"] == contrasts)]


def _interval(row: dict[str, Any], statistic: str = "median", form: str = ".2f") -> str:
    """``1.20 [1.10, 1.30]``, and a dash where no unit has the measure."""
    if row["count"] == 0:
        return "–"
    names = (statistic, f"{statistic}_low", f"{statistic}_high")
    middle, low, high = (_number(row[name], form) for name in names)
    return f"{middle} [{low}, {high}]"


def _number(value: float, form: str = ".3g") -> str:
    """In some digits, a zero without a sign, a dash for none."""
    if np.isnan(value):
        return "–"
    text = format(value, form)
    return text.removeprefix("-") if float(text) == 0 else text


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
