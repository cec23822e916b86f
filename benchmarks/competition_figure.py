"""What ``make competition`` found, over seeds: the figure of it, and how conditions differ.

``python benchmarks/competition_figure.py`` draws ``notebooks/competition.png`` from
``results/competition_grouping.csv``.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from scipy import stats

sys.path.insert(0, str(Path(__file__).parent))
from competition import GROUPING, ROOT, summary

from ephys.color_figures import PALETTE
from ephys.multiple_comparisons import correct

NAMES = {
    "competition": "competition",
    "competition-relu": "competition after ReLU",
    "group": "group norm",
    "batch": "batch norm",
}
COLORS = dict(zip(NAMES, (PALETTE[1], PALETTE[3], PALETTE[0], PALETTE[2]), strict=True))
STARTS = {"independent": "filters drawn\nindependently", "alike": "filters drawn\nalike in groups"}
ORDER = ("filter", "orientation", "hue axis", "chromatic energy")  # as in the README, then others
LEAST_UNITS = 32  # of 64 that have a property; hardly any filter has an orientation before training
DOTS_PER_INCH = 160


def main() -> None:
    figure = over_training(pd.read_csv(GROUPING))
    figure.savefig(ROOT / "notebooks" / "competition.png", dpi=DOTS_PER_INCH)


def over_training(grouping: pd.DataFrame, statistic: str = "difference") -> Figure:
    """How far within-group similarity is above chance after every epoch.

    Lines are means over seeds, bands their 95 % intervals (Student's t); grey is where 95 % of such
    means would lie, were the filters dealt to the groups anew. Lines begin where enough units of
    every seed have a property, and the panel says so.
    """
    rows = grouping[
        (grouping["statistic"] == statistic)
        & grouping["normalization"].isin(list(NAMES))
        & (grouping["n_units"] >= LEAST_UNITS)
    ].reset_index(drop=True)
    there = dict.fromkeys(rows["property"])
    properties = [name for name in dict.fromkeys([*ORDER, *there]) if name in there]
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    axes = figure.subplots(len(STARTS), len(properties), squeeze=False)
    for of_start, (start, words) in zip(axes, STARTS.items(), strict=True):
        for ax, name in zip(of_start, properties, strict=True):
            own = rows[(rows["start"] == start) & (rows["property"] == name)]
            first = _through_training(ax, own)
            ax.set_xlim(-0.3, grouping["epoch"].max() + 0.3)
            if first > 0:
                why = f"before epoch {first} too few\nfilters (< {LEAST_UNITS}) have one"
                low, high = ax.get_ylim()
                ax.set_ylim(low, high + 0.25 * (high - low))  # with room for the words
                ax.text(0.03, 0.98, why, transform=ax.transAxes, va="top", fontsize=8)
        of_start[0].set_ylabel(f"{words}\n\nexcess similarity")
    for ax, name in zip(axes[0], properties, strict=True):
        ax.set_title(name, fontsize=11)
    figure.supxlabel("epochs of training", fontsize=10)
    drawn = [name for name in NAMES if name in set(rows["normalization"])]
    lines = [Line2D([], [], color=COLORS[name], lw=2, label=NAMES[name]) for name in drawn]
    figure.legend(
        handles=[*lines, Patch(color="0.88", label="95 % of shuffled groups")],
        loc="outside upper center",
        ncols=len(drawn) + 1,
        frameon=False,
    )
    return figure


def _through_training(ax: Axes, rows: pd.DataFrame) -> int:
    """Draw a start's lines for a property, and return the first epoch that any of them has."""
    begin = []
    excess = (rows["observed"] - rows["expected"]).rename("excess")
    # The permutations' standard deviation, which is hardly another in any network.
    spread = (excess / rows["effect_size"]).median()
    for name, color in COLORS.items():
        own = rows["normalization"] == name
        found = over_seeds(excess[own].groupby(rows["epoch"]))
        found = found[found["seeds"] == rows["seed"].nunique()]
        ax.fill_between(found.index, found["low"], found["high"], color=color, alpha=0.18, lw=0)
        ax.plot(found.index, found["mean"], color=color, lw=2)
        begin += found.index.tolist()[:1]
    band = stats.norm.ppf(0.975) * spread / np.sqrt(rows["seed"].nunique())
    ax.axhspan(-band, band, color="0.88", lw=0, zorder=0)
    ax.axhline(0, color="0.6", lw=0.8, zorder=1)
    ax.spines[["top", "right"]].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(4))
    return min(begin, default=0)


def over_seeds(values: Any) -> pd.DataFrame:
    """Of grouped numbers: the mean, and its 95 % interval (Student's t); NaN of a single one."""
    mean, count = values.mean(), values.count()
    half = stats.t.ppf(0.975, count - 1) * values.std() / np.sqrt(count)
    return pd.DataFrame({"mean": mean, "low": mean - half, "high": mean + half, "seeds": count})


def at_the_end(grouping: pd.DataFrame, statistic: str = "difference") -> pd.DataFrame:
    """``competition.summary``, with p corrected for the number of properties (Holm).

    ``within groups`` says in words what is beyond chance, at a corrected p of 0.05: units are
    ``alike`` or ``unlike``, or, where the interval over seeds has 0 in it, ``seeds differ``.
    """
    table = summary(grouping, statistic)
    table["p corrected"] = _corrected(table["p"])
    table["within groups"] = table.apply(_in_words, axis=1)
    return table


def _in_words(row: pd.Series) -> str:
    if not row["p corrected"] <= 0.05:
        return ""
    if row["low"] <= 0 <= row["high"]:
        return "seeds differ"
    return "alike" if row["excess"] > 0 else "unlike"


def less(
    grouping: pd.DataFrame, others: tuple[str, ...], statistic: str = "difference"
) -> pd.DataFrame:
    """Competition's excess less that of other normalizations, at the last epoch.

    With the 95 % interval and p of the paired t test over seeds, since the same seed starts from
    the same filters and shows the same images; p corrected for the number of properties.
    """
    rows = grouping[
        (grouping["statistic"] == statistic) & (grouping["epoch"] == grouping["epoch"].max())
    ].sort_values("seed")
    excess = (rows["observed"] - rows["expected"]).groupby(
        [rows["property"], rows["normalization"], rows["start"]], sort=False
    )
    values = {key: part.to_numpy() for key, part in excess}
    found = {}
    for name, normalization, start in values:
        if normalization in others:
            own, other = values[name, "competition", start], values[name, normalization, start]
            test = stats.ttest_rel(own, other)
            interval = test.confidence_interval(0.95)
            found[name, normalization, start] = {
                "difference": own.mean() - other.mean(),
                "low": interval.low,
                "high": interval.high,
                "p": test.pvalue,
            }
    table = pd.DataFrame(found).T.rename_axis(["property", "normalization", "start"])
    table["p corrected"] = _corrected(table["p"])
    return table


def _corrected(p: pd.Series) -> pd.Series:
    """Of each condition, for the number of properties."""
    return p.groupby(["normalization", "start"], group_keys=False).transform(
        lambda of: correct(xr.DataArray(of.to_numpy(), dims="property")).values
    )


if __name__ == "__main__":
    main()
