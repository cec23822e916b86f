"""The report of a run: one page that holds everything it shows."""

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jinja2 import Environment, StrictUndefined

from ephys.reference import distributions
from ephys.responses import open_store
from ephys.rounding import SHARE

SLOPES = {
    "selectivity_slope": ("gOSI (per doubling)", "its change as contrast doubles; 0 is invariant"),
    "width_slope": (
        "half-width (degrees per doubling)",
        "its change as contrast doubles; 0 is invariant",
    ),
    "amplitude_slope": (
        "amplitude (exponent)",
        "the power of contrast with which it grows; 1 is linear, 0 is invariant",
    ),
    "amplitude_ratio": ("amplitude ratio", "highest over lowest contrast"),
    "separability": (
        "separability",
        "1 if every contrast gives the same curve up to a factor; large responses weigh most",
    ),
    "preferred_shift": (
        "shift (degrees)",
        "by how much contrast turns the preferred orientation; 0 is invariant",
    ),
}


# Of stimuli without measures of their own: statistic, label and meaning of a measure.
OVERVIEW = {
    "answering": ("mean", "answering", "share of units that any stimulus moves from the blank"),
    "above_blank": ("median", "above blank", "largest response, less that to the blank"),
    "below_blank": ("median", "below blank", "response to the blank, less the smallest"),
}
# What a terminal shows of the measures of units: those that there are, by these heads.
HEADLINES = {
    **{"half_width": "half-width", "gosi": "gOSI", "dsi": "DSI", "f1_f0": "F1/F0"},  # orientation
    **{"naka_rushton_c50": "c50", "naka_rushton_exponent": "exponent"},  # contrast
    **{"suppression_index": "suppression index", "summation_field": "summation field"},  # size
    "surround_suppression_iso": "iso suppression",  # surround
    "surround_suppression_cross": "cross suppression",
    **{"cross_orientation_index": "cross index", "maximal_inhibition": "maximal inhibition"},
    **{"gaussian_sd_major": "s.d. along", "gaussian_sd_minor": "s.d. across"},  # receptive field
    **{f"cone_weight_{cone}": f"{cone.upper()} weight" for cone in "lms"},
    **{"sensitivity_ratio": "color/luminance", "color_class: color-preferring": "prefer color"},
    "chromatic_energy": "chromatic energy",
    "opponency_class: double-opponent": "double-opponent",
    **{"spectral_opponency: opponent": "spectral", "spatial_opponency: opponent": "spatial"},
    "harris_class: double-opponent": "double-opponent",
    **{"hue_selectivity": "hue selectivity", "hue_half_width": "hue half-width"},
    "lifetime_sparseness": "lifetime sparseness",
    **{"preferred_spatial_frequency": "best frequency", "bandwidth": "bandwidth"},  # of gratings
}
# Words of names of measures, as they are spoken.
SPOKEN = {
    **{"osi": "OSI", "gosi": "gOSI", "dsi": "DSI", "gdsi": "gDSI", "f1 f0": "F1/F0", "sd": "s.d."},
    **{"half width": "half-width", "0707": "at 0.707 of the peak", "naka rushton": "Naka-Rushton"},
    **{"log gaussian": "log-Gaussian", "gaussian": "Gaussian", "gaussians": "Gaussians"},
    **{"von mises": "von Mises", "gabor": "Gabor"},
}
UNITS = {
    **{"1": "", "percent": "%", "s-1": "spikes/s", "degree": "degrees", "degree-1": "1/degree"},
    **{"cycles degree-1": "cycles/degree", "octave": "octaves"},
}
# Told in words of their own.
UNIT = "unit: "  # before the names of the physiologist's measures
STIMULUS = "stimulus: "  # and of what the units of a layer do together at each stimulus
# Any of which is in the figure of a protocol of color, with words of its own below.
COLOR = {"hue_selectivity", "cone_weight_l", "sensitivity_ratio", "harris_class: double-opponent"}
# The tables of a run.
UNITS_TABLE, COLUMNS_TABLE, POPULATION_TABLE = "units.csv", "units_columns.csv", "population.csv"
MACAQUE_TABLE, DIFFERENCES_TABLE = "macaque_v1.csv", "differences.csv"
NUMBERS = "%.9g"  # of all tables: more digits a response in float32 does not have
NINTH = 1e-8  # how much larger a number may be that was written so, as a share of it
# What a fit says of itself, where its parameters are the unit's and not what the search ended at.
FLAGS = {"converged": 1, "at_bound": 0, "extrapolated": 0}
SHARES = (*FLAGS, "answers", "answering", "responsive", "selective")  # ends of names
# Ends of what only the tables have: how fits went, and a median of what is 1 or -1.
UNSHOWN = (*FLAGS, "r_squared", "polarity")
# Ends of what is in units of responses, which may be small; a ratio or an angle may not.
RESPONSES = ("max", "min", "r_max_mask", "blank", "baseline", "amplitude", "amplitude_null", "gain")
# What tells how large the numbers of a difference are.
SIDES = ("value_a", "value_b", "low", "high")
# What is in percent on a page, as in figures, where the measure is a contrast.
OF_CONTRAST = (
    *(f"{statistic}{end}" for statistic in ("mean", "median") for end in ("", "_low", "_high")),
    *("difference", *SIDES),
)
CORRECTIONS = {
    **{"holm": "Holm", "bonferroni": "Bonferroni"},
    "fdr_bh": "Benjamini and Hochberg",
}
ALPHA = 0.05  # of the differences that a page shows
BOUND = "≤"  # before the least p that so many permutations can tell
UNTOLD = ("protocol", "purpose", "citation", "crops", "batches")  # told above, or for a computer
WEIGHTS = " with weights "  # in the name of a model
# After the point, of what was asked for: beyond is the rounding of a zero (and + 0.0 is that
# without a sign).
DIGITS = 12
FORM, SHARE_FORM = ".3g", ".0%"


def write_report(run: Path, about: dict[str, Any]) -> None:
    """Write ``report.html`` from the tables and figures of a run.

    Parameters
    ----------
    about : the ``model`` and the ``protocols`` of the run, as in ``run.json``.
    """
    population, scores = _in_percent(_told(read_population(run))), read_scores(run)
    differences = read_differences(run)
    told = _in_percent(_told(differences))
    protocols = []
    for name in about["protocols"]:
        own = population[population["protocol"] == name]
        table, measured = _apart(own)
        responses = open_store(run / "responses.zarr" / name)
        units = dict(zip(own["measure"].map(_spoken), own["units"].map(_units), strict=True))
        tested = told[told["protocol"] == name]
        different = _different(tested, units)
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
            "differences": different,
            "bounded": any(BOUND in row["p"] for pair in different for row in pair["rows"]),
            "tests": _tests(tested),
            "provenance": responses.attrs,
        }
        if section["about_contrast"]:
            section |= {"by_contrast": _by_contrast(table), "slopes": _slopes(table)}
            section["answer"] = answer(table)
        elif section["about_macaque"]:
            of_protocol = scores[scores["protocol"] == name]
            section["studies"], section["layers"] = _beside_macaque(table, of_protocol)
        else:
            section["columns"], section["parts"], section["layers"] = _overview(table)
        protocols.append(section)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(files("ephys").joinpath("report.html.jinja").read_text())
    page = template.render(
        title=_title(about["model"]),
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


def _told(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that a page and a terminal show."""
    return table[~table["measure"].str.endswith(UNSHOWN)]


def _in_percent(table: pd.DataFrame) -> pd.DataFrame:
    """With the contrasts that units answer most in percent, and ``units`` that say so."""
    measure = table["measure"]
    contrasts = measure.str.startswith("best_") & measure.str.endswith("contrast")
    table = table.copy()
    for name in [name for name in OF_CONTRAST if name in table]:
        table[name] = table[name].where(~contrasts, 100 * table[name])
    if "units" in table:
        table.loc[contrasts, "units"] = "percent"
    return table


def flags_of(measure: str, columns: Iterable[str]) -> dict[str, int]:
    """The flags of the fit that a measure is a parameter of, and what each is for a unit's own.

    What the search of another fit ended at is not the unit's. Of two fits with which the name
    begins, ``gaussian`` and ``gaussian_surround``, the parameter is of the one of the longer name.
    The flags themselves, and how close the fit is, are of any fit, and have none.

    Parameters
    ----------
    columns : the measures that there are.
    """
    if measure.endswith((*FLAGS, "r_squared")):
        return {}
    flags = {
        column: (column.removesuffix(f"_{flag}"), fine)
        for column in columns
        for flag, fine in FLAGS.items()
        if column.endswith(f"_{flag}")
    }
    fits = [fit for fit, _ in flags.values() if measure.startswith(f"{fit}_")]
    own = max(fits, key=len, default="")
    return {column: fine for column, (fit, fine) in flags.items() if fit == own}


def _title(model: str) -> str:
    """A model with the names of its files alone."""
    network, *weights = model.split(WEIGHTS)
    network = Path(network).name if Path(network).is_absolute() else network
    return WEIGHTS.join([network, *(Path(file).name for file in weights)])


def is_share(measure: str) -> bool:
    """Whether a measure is 1 or 0, ``cell_class: simple``, whose mean is a share of the units."""
    name = measure.removeprefix(UNIT)
    return (": " in name and not name.startswith(STIMULUS)) or name.endswith(SHARES)


def _of_units(measured: pd.DataFrame) -> list[dict[str, Any]]:
    """A row for each measure: its name, units, the response it is of, and a cell for each layer.

    Not of what is not defined for any unit of any layer.
    """
    rows = []
    for (name, baseline), part in measured.groupby(["measure", "baseline"], sort=False):
        if not part["count"].any():
            continue
        label, units = str(name).removeprefix(UNIT), part["units"].iloc[0]
        share = is_share(label)
        statistic = "mean" if label.startswith(STIMULUS) or share else "median"
        form = SHARE_FORM if share else FORM
        cells = {
            layer: f"{_interval(row, statistic, form)} ({row['count']})"
            for layer, rows_of_layer in part.groupby("layer", sort=False)
            for row in _measures(rows_of_layer).values()
        }
        about = {"label": _spoken(label), "units": _units(units)}
        rows.append({**about, "baseline": baseline, "cells": cells})
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
                "units": _units(units),
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
    names = {"layer": str, "protocol": str, "units": str}
    return pd.read_csv(run / POPULATION_TABLE, dtype=names, keep_default_na=False, na_values="")


def read_scores(run: Path) -> pd.DataFrame:
    """``macaque_v1.csv`` of a run, without rows where nothing was compared."""
    if not (run / MACAQUE_TABLE).is_file():
        return pd.DataFrame(columns=["protocol", "layer"])
    names = {"layer": str, "protocol": str}
    return pd.read_csv(run / MACAQUE_TABLE, dtype=names, keep_default_na=False, na_values="")


def read_differences(run: Path) -> pd.DataFrame:
    """``differences.csv`` of a run, without rows for a run of one layer."""
    if not (run / DIFFERENCES_TABLE).is_file():
        columns = ["protocol", "measure", "layer_a", "layer_b", "p", "p_corrected"]
        return pd.DataFrame(columns=columns)
    names = dict.fromkeys(("protocol", "measure", "layer_a", "layer_b"), str)
    return pd.read_csv(run / DIFFERENCES_TABLE, dtype=names, keep_default_na=False, na_values="")


def difference_summary(
    differences: pd.DataFrame, correction: str = "holm", *, everything: bool = False
) -> str:
    """The table of ``comparison.compare`` for a terminal: a few lines for each pair.

    The differences of the smallest p come first, of equal ones the largest.

    Parameters
    ----------
    correction : of p.
    everything : also how well fits went.
    """
    heads = ["", "units", "difference [95 %]", "delta", "p"]
    sides = [name for name in ("run_a", "layer_a", "run_b", "layer_b") if name in differences]
    half = len(sides) // 2
    table, titles = [heads], {}
    told = differences if everything else _told(differences)
    for key, rows in told.groupby(["protocol", *sides], sort=False):
        protocol, *names = map(str, key)
        titles[len(table)] = f"{protocol}: {': '.join(names[:half])} less {': '.join(names[half:])}"
        table += _difference_rows(rows)
    head, *laid_out = _laid_out(table)
    lines = []
    for place, line in enumerate(laid_out, 1):
        lines += [titles[place], head, line] if place in titles else [line]
    lines += [
        "Differences are of medians over units, or shares of them (%), with bootstrap intervals.",
        "delta is Cliff's: P(a unit of the first exceeds one of the second) - P(the reverse).",
        f"p is of permutation tests of delta, corrected for all {_tests(differences)} of them by "
        f"{CORRECTIONS[correction]}.",
    ]
    if any(BOUND in p for *_, p in table):
        lines.append(f"{BOUND} is before the least p that so many permutations can tell.")
    return "\n".join(lines)


def _difference_rows(differences: pd.DataFrame) -> list[list[str]]:
    return [
        [
            row["measure"],
            f"{row['count_a']}, {row['count_b']}",
            _difference(row),
            _number(row["effect_size"], ".2f"),
            _probability(row),
        ]
        for row in _ordered(differences)
    ]


def _ordered(differences: pd.DataFrame) -> list[dict[Any, Any]]:
    sized = differences.assign(size=-differences["effect_size"].abs())
    return sized.sort_values(["p_corrected", "size"], kind="stable").to_dict("records")


def _different(differences: pd.DataFrame, units: Mapping[str, str]) -> list[dict[str, Any]]:
    """For each pair of layers the differences that are hardly chance, ordered as for a terminal."""
    certain = differences[differences["p_corrected"] <= ALPHA]
    return [
        {
            **{"a": a, "b": b},
            "rows": [
                {
                    "measure": _with_units(_spoken(row["measure"]), units),
                    "of_a": f"{_one(row, 'value_a', SIDES, _form(row))} ({row['count_a']})",
                    "of_b": f"{_one(row, 'value_b', SIDES, _form(row))} ({row['count_b']})",
                    "difference": _difference(row),
                    "delta": _number(row["effect_size"], ".2f"),
                    "p": _probability(row),
                }
                for row in _ordered(rows)
            ],
        }
        for (a, b), rows in certain.groupby(["layer_a", "layer_b"], sort=False)
    ]


def _tests(differences: pd.DataFrame) -> int:
    return int(differences["p"].notna().sum())


def _form(row: Mapping[Any, Any]) -> str:
    return SHARE_FORM if row["statistic"] == "share" else FORM


def _difference(row: Mapping[Any, Any]) -> str:
    if np.isnan(row["difference"]):
        return "–"
    return _between(row, ("difference", "low", "high"), SIDES, _form(row))


def _floor(row: Mapping[Any, Any]) -> float:
    """The least p that as many permutations can give."""
    return 1 / (1 + float(row["permutations"]))


def _probability(row: Mapping[Any, Any]) -> str:
    """Corrected, and with ``≤`` where the permutations left it no room below."""
    if row["p_corrected"] < 1e-4:
        return "<0.0001"
    least = row["p"] <= _floor(row) * (1 + NINTH)
    bound = BOUND if least and row["p_corrected"] < 1 else ""
    return bound + _number(row["p_corrected"], ".2g")


def summary(population: pd.DataFrame, scores: pd.DataFrame | None = None) -> str:
    """The answer for a terminal: a few lines for each protocol.

    Parameters
    ----------
    scores : how close units come to cells of macaque V1, where that was asked.
    """
    lines = []
    for protocol, rows in _in_percent(_told(population)).groupby("protocol", sort=False):
        table, measured = _apart(rows)
        own = None if scores is None else scores[scores["protocol"] == protocol]
        if own is not None and len(own):
            lines += _macaque_summary(str(protocol), own)
        elif is_about_contrast(table):
            lines += _contrast_summary(str(protocol), table)
        else:
            lines += _overview_summary(str(protocol), table, measured)
    return "\n".join(lines)


def _contrast_summary(protocol: str, population: pd.DataFrame) -> list[str]:
    """Medians over units of the raw responses, with intervals."""
    columns = ["selectivity_slope", "width_slope", "amplitude_slope", "separability"]
    heads = ["gOSI", "half-width", "amplitude", "separability"]
    units = ["per doubling", "degrees per doubling", "exponent", ""]
    table = [["layer", *heads], ["", *units]]
    for layer, part in _raw(population, "all").groupby("layer", sort=False):
        measures = _measures(part)
        table.append([str(layer), *(_interval(measures[name]) for name in columns)])
    title = f"{protocol}: medians over units [95 % interval] as contrast grows"
    return [title, *_laid_out(table)]


def _overview_summary(protocol: str, table: pd.DataFrame, measured: pd.DataFrame) -> list[str]:
    """How many units answer and how they are tuned, or else what they answer most, in columns."""
    known, parts = set(measured.loc[measured["count"] > 0, "measure"]), []
    labels = {UNIT + name: head for name, head in HEADLINES.items() if UNIT + name in known}
    told = ", and medians over units (%: shares)"
    if not labels:
        best = [name for name in dict.fromkeys(table["measure"]) if name.startswith("best_")]
        parts = [name for name in best if ":" in name]
        labels = {name: _label(name) for name in best if name not in parts}
        told = ", and medians of what they answer most" if best else ""
    rows = pd.concat([table, measured])
    units = rows.drop_duplicates("measure").set_index("measure")["units"].map(_units)
    most = ["best part"] if parts else []
    lines = [["layer", "units", "answering", *labels.values(), *most]]
    if any(units[name] for name in labels):
        lines.append(["", "", "", *(units[name] for name in labels), *("" for _ in most)])
    for layer, of_layer in rows.groupby("layer", sort=False):
        measures = _measures(of_layer)
        answering = measures["answering"]
        cells = [str(layer), str(answering["count"]), f"{answering['mean']:.0%}"]
        for name in labels:
            statistic, form = ("mean", SHARE_FORM) if is_share(name) else ("median", FORM)
            cells.append(_one(measures[name], statistic, _with_ends(statistic), form))
        if parts:
            best_part = max(parts, key=lambda name: np.nan_to_num(measures[name]["mean"]))
            share = measures[best_part]["mean"]
            cells.append("–" if np.isnan(share) else f"{_label(best_part)} ({share:.0%})")
        lines.append(cells)
    return [f"{protocol}: share of units that answer{told}", *_laid_out(lines)]


def _laid_out(table: list[list[str]]) -> list[str]:
    """A line for each row, its first cell to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            ["", f"{first:{widths[0]}}"]
            + [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        ).rstrip()
        for first, *others in table
    ]


def _spoken(measure: str) -> str:
    words = measure.removeprefix(UNIT).replace("_", " ")
    for word, name in SPOKEN.items():
        words = re.sub(rf"\b{word}\b", name, words)
    return words


def _units(units: str) -> str:
    return UNITS.get(units, units)


def _with_units(label: str, units: Mapping[str, str]) -> str:
    return f"{label} ({units[label]})" if units.get(label) else label


def _macaque_summary(protocol: str, scores: pd.DataFrame) -> list[str]:
    """A line for each property, with a column for each layer."""
    layers = list(dict.fromkeys(scores["layer"]))
    table = [["", *layers]]
    for name, rows in scores.groupby("property", sort=False):
        of_layer = {row["layer"]: row for row in rows.to_dict("records")}
        table.append([str(name), *(_score(of_layer[layer]) for layer in layers)])
    means = [_number(scores[scores["layer"] == layer]["score"].mean(), ".2f") for layer in layers]
    table.append(["mean of these scores", *means])
    title = f"{protocol}: score beside macaque V1 [95 % of samples], 1 is as close as can be"
    return [title, *_laid_out(table)]


def answer(population: pd.DataFrame) -> list[str]:
    """One sentence a layer: what contrast does to amplitude, width and selectivity."""
    sentences = []
    for layer, part in _raw(population, "all").groupby("layer", sort=False):
        low, high = (_number(100 * part["contrast"].agg(end)) for end in ("min", "max"))
        measures = _measures(part[part["contrast"].isna()])
        ratio = measures["amplitude_ratio"]
        growth = f"{_number(ratio['median'])}-fold" if ratio["count"] else "from nothing"
        sentences.append(
            f"{layer}: from {low}% to {high}% contrast the peak grows {growth}; per "
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
        units = _units(table.loc[table["measure"] == name, "units"].iloc[0])
        best = f"best {_label(name)}"
        medians = ("median", _with_units(best, {best: units}), "its value at the largest response")
        statistic, label, meaning = OVERVIEW.get(name, medians)
        form = SHARE_FORM if is_share(name) else FORM
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
            statistic, form = ("mean", SHARE_FORM) if is_share(name) else ("median", FORM)
            told = _interval(measures[name], statistic, form) if name in measures else "an angle"
            units = _units(own["low"].attrs["units"])
            properties.append(
                {
                    **row,
                    "label": own.attrs["long_name"] + (f" ({units})" if units else ""),
                    "source": studies.index(own.attrs["citation"]) + 1,
                    "of_cells": _median_bin(own) if name in measures else "an angle",
                    "of_units": told,
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
    """Of each attribute the value in each protocol, in words; where all are the same, of none."""
    rows = {}
    names = dict.fromkeys(name for one in protocols for name in one["provenance"])
    for name in names:
        values = {one["name"]: one["provenance"].get(name, "") for one in protocols}
        if len(set(values.values())) == 1:
            values = {"": next(iter(values.values()))}
        values = {protocol: value for protocol, value in values.items() if value != ""}
        if values and name not in UNTOLD:
            words = {protocol: _in_words(name, value) for protocol, value in values.items()}
            rows[name.replace("_", " ")] = words
    return rows


def _in_words(name: str, value: Any) -> str:
    """An attribute as recorded, of what the model takes without the brackets."""
    if name == "input_format":
        return ", ".join(
            f"{part.replace('_', ' ')} {' '.join(map(str, one)) if isinstance(one, list) else one}"
            for part, one in json.loads(value).items()
        )
    value = bool(value) if name == "centered" else value
    return {"True": "yes", "False": "no"}.get(str(value), str(value))


def _raw(population: pd.DataFrame, contrasts: str) -> pd.DataFrame:
    return population[(population["baseline"] == "raw") & (population["contrasts"] == contrasts)]


def _interval(row: dict[str, Any], statistic: str = "median", form: str = ".2f") -> str:
    """``1.20 [1.10, 1.30]``, and a dash where no unit has the measure."""
    if row["count"] == 0:
        return "–"
    ends = _with_ends(statistic)
    return _between(row, ends, ends, form)


def _with_ends(statistic: str) -> tuple[str, str, str]:
    return statistic, f"{statistic}_low", f"{statistic}_high"


def _between(row: Mapping[Any, Any], names: Sequence[str], beside: Sequence[str], form: str) -> str:
    middle, low, high = (_one(row, name, beside, form) for name in names)
    return f"{middle} [{low}, {high}]"


def _one(row: Mapping[Any, Any], name: str, beside: Sequence[str], form: str) -> str:
    """A number of a row, 0 where it is rounding beside 1, or beside smaller responses of the row.

    Parameters
    ----------
    beside : the numbers of which the largest is that of a response.
    """
    of_response = row["measure"].removesuffix("_above_blank").endswith(RESPONSES)
    largest = np.fmax.reduce([abs(row[other]) for other in beside]) if of_response else 1
    value = float(row[name])
    return _number(0.0 if abs(value) < SHARE * min(largest, 1) else value, form)


def _number(value: float, form: str = FORM) -> str:
    """In some digits, a comma after thousands, a zero without a sign, a dash for none."""
    if np.isnan(value):
        return "–"
    if form == FORM and abs(value) < 1e5:  # format would write 1.52e+03
        value, form = float(f"{value:{FORM}}"), ".6g"
    return format(value, f"z,{form}")


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
