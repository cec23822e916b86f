"""Figures of who groups with whom: filters, properties and similarity, laid out by group."""

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from ephys.color_figures import LETTERS, MINUS, PALETTE, Space, hue_colors, members
from ephys.grouping import STATISTICS
from ephys.report import UNITS

ABREAST = 16  # filters in a row
TILE, GAP, STRIP, BETWEEN = 0.88, 0.12, 0.34, 0.2  # in steps from filter to filter
STEP, WIDEST = 0.62, 8.0  # inches from filter to filter, and of the filters at most
LEFT, MARGIN, LINE = 1.15, 0.1, 0.17  # inches; a line of the note
LONGEST = 0.46  # of a bar of hue, in steps
WHEEL = 0.3  # across the circle of an orientation
PANELS = 4  # histograms abreast
ORIENTATIONS = "twilight"  # a map that goes around
GREY, TAIL, OBSERVED = "0.82", "0.5", PALETTE[1]
BINS = 50  # of the permutations


def filters_by_group(
    filters: xr.DataArray,
    groups: ArrayLike,
    *,
    hue: ArrayLike | None = None,
    chromatic: ArrayLike | None = None,
    orientation: ArrayLike | None = None,
    selectivity: ArrayLike | None = None,
    space: Space = "dkl",
    common_scale: bool = False,
) -> Figure:
    """The filters of a first layer, group by group, with the hue and the orientation of each.

    A weight of 0 is mid-grey, and the largest weight, of either sign, reaches the end of the
    display: by default that of each filter, so that weak ones are seen too. Below a filter are a
    bar in the two colors of its hue axis, and a line as its bars are turned.

    Parameters
    ----------
    filters : ``(unit, channel, y, x)``, of red, green and blue or of a single channel, y downward.
    groups : of each unit, a number or a word; see ``color_figures.members`` for their order.
    hue : degrees on the circle of ``space``, NaN for a filter without.
    chromatic : 0 to 1, how long the bar of a hue is; by default as long as can be.
    orientation : degrees counter-clockwise from horizontal, NaN for a filter without.
    selectivity : 0 to 1, how long the line of an orientation is; by default as long as can be.
    space : of the hues, ``"dkl"`` or ``"hsl"``.
    common_scale : whether the largest weight is that of all filters.

    Raises
    ------
    ValueError : for other dimensions, channels or numbers of units, a length beyond 0 to 1, and a
        length of what is not given.
    """
    tiles = _tiles(filters, common_scale)
    count = len(tiles)
    which = members(groups, count)
    hues, turned = _of_units("hue", hue, count), _of_units("orientation", orientation, count)
    bars = _lengths("chromatic", chromatic, "hue", hue, count)
    lines = _lengths("selectivity", selectivity, "orientation", orientation, count)
    said = [f"Each filter on mid-grey, to the largest weight of {_scaled(common_scale)}."]
    if hue is not None:
        said.append("Bar: the two ends of its hue axis" + _full(chromatic, "chromatic", "bar"))
    if orientation is not None:
        said.append("Line: its orientation" + _full(selectivity, "selective", "circle"))
    across = min(ABREAST, max(map(len, which.values())))
    down = 1 + (STRIP if len(said) > 1 else 0)
    places, labels, y = np.zeros((count, 2)), {}, 0.0
    for name, units in which.items():
        order = np.arange(len(units))
        places[units] = np.stack([order % across, y - down * (order // across)], axis=1)
        labels[f"{name}\n(n = {len(units)})"] = y - TILE / 2
        y -= down * (-(-len(units) // across)) + BETWEEN
    step = min(STEP, WIDEST / across)
    width = max(LEFT + step * across + MARGIN, 6.4)
    note = textwrap.fill("  ".join(said), int(LETTERS * width))
    ax = _sheet(step, across, GAP - BETWEEN - y, width, note)
    for tile, (x, top) in zip(tiles, places, strict=True):
        ax.imshow(tile, extent=(x, x + TILE, top - TILE, top), interpolation="nearest")
    _hue_bars(ax, step, places, hues, bars, space)
    _orientation_lines(ax, step, places, turned, lines)
    for words, middle in labels.items():
        ax.text(-0.15, middle, words, ha="right", va="center", fontsize=9)
    ax.set(xlim=(0, across), ylim=(y + BETWEEN, GAP))
    return ax.figure  # type: ignore[return-value]


def group_histograms(
    values: xr.DataArray,
    groups: ArrayLike,
    *,
    period: float | None = None,
    weights: ArrayLike | None = None,
    space: Space | None = None,
    bins: int = 12,
) -> Figure:
    """How a property is distributed in each group, over how it is in all units together.

    Grey is what the group would have, were it drawn from all. All panels have one scale. A property
    that goes around a circle is drawn around one: an axis, of period 180, at both of its ends, so
    that bars of orientation lie as the gratings do.

    Parameters
    ----------
    values : ``(unit)``, NaN where undefined; named by ``long_name`` and ``units``.
    groups : of each unit, a number or a word.
    period : of an angle, 180 or 360 degrees, of which a bin is then centered on 0; by default what
        the attribute ``period`` of the values says, if they have it.
    weights : how much each unit counts, such as its selectivity; by default 1.
    space : of hues, or axes of hue, ``"dkl"`` or ``"hsl"``, to color the bars as they look.
    bins : from the smallest value to the largest, or around the circle.

    Raises
    ------
    ValueError : for other dimensions or numbers of units, periods, weights below 0, no bin, and
        colors of what is no hue.
    """
    if values.dims != ("unit",):
        raise ValueError(f"values are along {values.dims}, not along unit; one number for each")
    period = values.attrs.get("period") if period is None else period
    if period not in (None, 180, 360):
        raise ValueError(f"period={period:g} is none of 180 and 360 degrees; leave it out")
    if space is not None and period is None:
        raise ValueError(f"space={space!r} is of hues, which go around; pass their period too")
    if bins < 1:
        raise ValueError(f"bins={bins} is below 1")
    numbers = values.values.astype(float)
    which = members(groups, len(numbers))
    counting = _of_units("weights", 1.0 if weights is None else weights, len(numbers))
    if not (counting[np.isfinite(numbers)] >= 0).all():
        raise ValueError(
            f"weights go down to {np.nanmin(counting):g}, and may not be below 0 or NaN"
        )
    counts, edges = _binned(numbers, counting, which, period, bins)
    everybody = sum(counts.values()) / max(sum(map(np.sum, counts.values())), 1e-300)
    across = min(PANELS, len(which))
    rows = -(-len(which) // across)
    high = 2.5 if period else 1.9
    figure = Figure(figsize=(2.3 * max(across, 2), high * rows + 0.5), layout="constrained")
    kind: dict[str, Any] = (
        {"subplot_kw": {"projection": "polar"}} if period else {"sharex": True, "sharey": True}
    )
    axes = figure.subplots(rows, across, squeeze=False, **kind).ravel()
    for ax in axes[len(which) :]:
        ax.set_axis_off()
    what = "units" if weights is None else "sum of weights"
    for index, (ax, (name, own)) in enumerate(zip(axes, counts.items(), strict=False)):
        expected = everybody * own.sum()
        if period:
            _rose(ax, edges, own, expected, space)
        else:
            ax.stairs(expected, edges, fill=True, color=GREY)
            ax.stairs(own, edges, color=PALETTE[0], lw=1.6)
            ax.set_xlim(edges[0], edges[-1])
            ax.spines[["top", "right"]].set_visible(False)
            ax.yaxis.set_major_locator(MaxNLocator(4, integer=weights is None))
            if index % across == 0:
                ax.set_ylabel(what, fontsize=9)
            ax.tick_params(labelsize=8)
        defined = np.isfinite(numbers[which[name]]).sum()
        of = "" if defined == len(which[name]) else f" of {len(which[name])}"
        ax.set_title(f"{name} (n = {defined}{of})", fontsize=9)
    if period:
        both = [*counts.values(), *(everybody * own.sum() for own in counts.values())]
        _rings(axes[: len(which)], max(np.max(both), 1e-9), weights is None)
    label = _label(values)
    figure.supxlabel(f"{label}; rings: {what}" if period else label, fontsize=9)
    handle = [Patch(color=GREY, label="expected, if drawn from all units")]
    if len(which) > 1:
        figure.legend(handles=handle, loc="outside upper left", frameon=False, fontsize=8)
    return figure


def similarity_matrix(similarity: xr.DataArray, groups: ArrayLike) -> Figure:
    """How alike units are, pair by pair, in the order of their groups.

    Blue and red around 0, if any similarity is below 0; else dark for 0. Colors end at the largest
    size of a similarity and at 1 at most. The diagonal, every unit with itself, is left out, and
    what is NaN is grey.

    Parameters
    ----------
    similarity : ``(unit, unit_2)``, as from ``ephys.similarity``; ``long_name`` says of what.
    groups : of each unit, a number or a word.

    Raises
    ------
    ValueError : if it is not square, has fewer than two units, or groups are not of its units.
    """
    values = np.array(similarity.values, float)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or len(values) < 2:
        raise ValueError(f"similarity is of shape {values.shape}; give it for all pairs of units")
    which = members(groups, len(values))
    order = np.concatenate(list(which.values()))
    np.fill_diagonal(values, np.nan)
    values = values[np.ix_(order, order)]
    largest, smallest = (end(values[np.isfinite(values)], initial=0.0) for end in (np.max, np.min))
    largest = min(max(largest, -smallest), 1.0) or 1.0
    signed = smallest < 0
    figure = Figure(figsize=(7.2, 6), layout="constrained")
    ax = figure.subplots()
    style: dict[str, Any] = {"cmap": "RdBu_r" if signed else "viridis", "vmax": largest}
    image = ax.imshow(values, vmin=-largest if signed else 0, interpolation="nearest", **style)
    ax.set_facecolor("0.6")
    borders = np.cumsum([len(units) for units in which.values()])
    lines: dict[str, Any] = {"color": "0.1" if signed else "w", "lw": 1.2}
    for border in borders[:-1] - 0.5:
        ax.axhline(border, **lines)
        ax.axvline(border, **lines)
    middles = borders - 0.5 - np.diff(borders, prepend=0) / 2
    ax.set_xticks(middles, list(which), rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(middles, list(which))
    ax.tick_params(length=0, labelsize=8)
    below = "min" if smallest < -largest else "neither"
    bar = figure.colorbar(image, ax=ax, shrink=0.85, extend=below)
    bar.set_label(_label(similarity.rename(similarity.name or "similarity")), fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure


def permutation_distribution(result: xr.Dataset) -> Figure:
    """Is it chance: each statistic beside what it is after units were dealt to groups anew.

    A row a property and a column a statistic. Grey is the distribution over permutations, dark the
    two tails as far out as the observed value, the line, with its interval on top. p is corrected
    for the number of properties; z is the effect, in standard deviations of the permutations.

    Parameters
    ----------
    result : from ``grouping.grouping_test``, with ``keep_permuted=True``.

    Raises
    ------
    KeyError : for a result without what is drawn.
    """
    needed = ("observed", "low", "high", "effect_size", "p", "p_corrected", "permuted")
    if missing := [name for name in needed if name not in result]:
        raise KeyError(
            f"the result has no {missing[0]!r}; pass that of grouping_test(..., keep_permuted=True)"
        )
    properties, statistics = (result[dim].values.tolist() for dim in ("property", "statistic"))
    rows, columns = len(properties), len(statistics)
    figure = Figure(figsize=(max(3 * columns, 4.4), 1.9 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for row, name in enumerate(properties):
        for column, statistic in enumerate(statistics):
            ax = axes[row, column]
            _null(ax, result.sel(property=name, statistic=statistic))
            if row == rows - 1:
                about = STATISTICS.get(statistic, statistic.replace("_", " "))
                ax.set_xlabel(textwrap.fill(about, 34), fontsize=9)
            if column == 0:
                words = textwrap.fill(str(name).replace("_", " "), 18)
                ax.set_ylabel(words, fontsize=9, weight="bold")
    drawn = [
        Patch(color=GREY, label="permutations"),
        Patch(color=TAIL, label="as far out"),
        Line2D([], [], color=OBSERVED, lw=1.8, label="observed, and its interval"),
    ]
    figure.legend(handles=drawn, loc="outside upper left", ncols=3, frameon=False, fontsize=8)
    return figure


def _null(ax: Axes, one: xr.Dataset) -> None:
    """The distribution by chance, its tails, and what was observed."""
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(labelsize=8)
    ax.set_yticks([])
    permuted = np.sort(one["permuted"].values[np.isfinite(one["permuted"].values)].astype(float))
    observed, low, high = (float(one[name]) for name in ("observed", "low", "high"))
    middle: dict[str, Any] = {"transform": ax.transAxes, "ha": "center", "va": "center"}
    if not np.isfinite(observed):
        ax.set_xticks([])
        ax.text(0.5, 0.5, "not defined: units do not differ", **middle, fontsize=8)
        return
    highest = 1.0
    if permuted.size:
        beyond = min((permuted >= observed).sum(), (permuted <= observed).sum())
        tails = np.concatenate([permuted[:beyond], permuted[permuted.size - beyond :]])
        edges = np.histogram_bin_edges(permuted, BINS)
        counts = np.histogram(permuted, edges)[0]
        ax.stairs(counts, edges, fill=True, color=GREY)
        ax.stairs(np.histogram(tails, edges)[0], edges, fill=True, color=TAIL)
        highest = counts.max()
    ax.plot([observed] * 2, [0, 1.12 * highest], color=OBSERVED, lw=1.8)
    ax.plot([low, high], [1.12 * highest] * 2, color=OBSERVED, lw=1.2, marker="|", ms=5)
    ax.set_ylim(0, 1.5 * highest)
    ax.margins(x=0.08)
    p, corrected, effect = (float(one[name]) for name in ("p", "p_corrected", "effect_size"))
    said = "grouped by this property: no p"
    if np.isfinite(p):
        said = f"p = {_p(p)}, corrected {_p(corrected)}; z = {effect:.1f}".replace("-", MINUS)
    ax.text(0.5, 0.99, said, transform=ax.transAxes, ha="center", va="top", fontsize=8)


def _p(p: float) -> str:
    return f"{p:.2g}" if p >= 0.0001 else f"{p:.0e}"


def _tiles(filters: xr.DataArray, common_scale: bool) -> np.ndarray:
    """Pixels in [0, 1] of every filter, (unit, y, x, 3)."""
    dims = ("unit", "channel", "y", "x")
    if set(filters.dims) != set(dims):
        had = ", ".join(map(str, filters.dims))
        raise ValueError(f"filters are along {had}, not along {', '.join(dims)}")
    values = filters.transpose("unit", "y", "x", "channel").values.astype(float)
    if values.shape[-1] not in (1, 3) or not len(values):
        raise ValueError(
            f"filters are {len(values)} of {values.shape[-1]} channels; only those of 1 channel or "
            "of 3, red, green and blue, can be seen"
        )
    if not np.isfinite(values).all():
        raise ValueError("filters have weights that are NaN or infinite, which have no color")
    axis = None if common_scale else (1, 2, 3)
    largest = abs(values).max(axis, keepdims=True)
    scaled = np.divide(values, largest, out=np.zeros_like(values), where=largest > 0)
    return np.broadcast_to(0.5 + 0.5 * scaled, (*values.shape[:-1], 3))


def _sheet(step: float, across: int, high: float, width: float, note: str) -> Axes:
    """Axes in steps of filters, with room for labels at their left and for a note below."""
    below = LINE * (note.count("\n") + 1) + 2 * MARGIN
    height = step * high + below + MARGIN
    figure = Figure(figsize=(width, height))
    figure.text(MARGIN / width, MARGIN / height, note, fontsize=8, color="0.3", va="bottom")
    place = (LEFT / width, below / height, step * across / width, step * high / height)
    ax = figure.add_axes(place)
    ax.set_axis_off()
    return ax


def _hue_bars(
    ax: Axes,
    step: float,
    places: np.ndarray,
    hues: np.ndarray,
    lengths: np.ndarray,
    space: Space,
) -> None:
    """Half a bar in a hue and half in the opposite, on a thin line as long as can be."""
    which = np.flatnonzero(np.isfinite(hues) & np.isfinite(lengths))
    middle = places[which] + [TILE * 0.27, -TILE - STRIP / 2]
    for share, width, colors in (
        (np.ones(which.size), 0.02, None),
        (lengths[which], 0.15, hue_colors(hues[which], space)),
        (-lengths[which], 0.15, hue_colors(hues[which] + 180, space)),
    ):
        away = np.stack([share * LONGEST / 2, np.zeros(which.size)], axis=1)
        ends = np.stack([middle if colors is not None else middle - away, middle + away], axis=1)
        bars = LineCollection(list(ends), lw=72 * width * step, capstyle="butt", gid="hue")
        bars.set_color("0.6" if colors is None else list(map(tuple, colors)))
        if colors is None:
            bars.set_gid("full hue")
        ax.add_collection(bars, autolim=False)


def _orientation_lines(
    ax: Axes, step: float, places: np.ndarray, degrees: np.ndarray, lengths: np.ndarray
) -> None:
    """A line as the bars of the best grating lie, across a circle that is as long as can be."""
    which = np.flatnonzero(np.isfinite(degrees) & np.isfinite(lengths))
    middle = places[which] + [TILE * 0.78, -TILE - STRIP / 2]
    size = np.full(which.size, WHEEL)
    ax.add_collection(
        EllipseCollection(
            size,
            size,
            np.zeros(which.size),
            units="xy",
            offsets=middle,
            offset_transform=ax.transData,
            facecolors="none",
            edgecolors="0.8",
            linewidths=0.6,
        ),
        autolim=False,
    )
    angle = np.deg2rad(degrees[which])
    away = (lengths[which] * WHEEL / 2)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    ends = np.stack([middle - away, middle + away], axis=1)
    lines = LineCollection(list(ends), lw=72 * 0.035 * step, colors="0.1", gid="orientation")
    ax.add_collection(lines, autolim=False)


def _binned(
    numbers: np.ndarray,
    weights: np.ndarray,
    which: dict[str, np.ndarray],
    period: float | None,
    bins: int,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Counts of every group, and the edges of all bins, of angles their middles."""
    finite = np.isfinite(numbers)
    if period is None:
        edges = np.histogram_bin_edges(numbers[finite], bins)
        place = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, bins - 1)
    else:
        edges = np.arange(bins) * period / bins
        place = np.rint(np.nan_to_num(numbers) * bins / period).astype(int) % bins
    counts = {}
    for name, units in which.items():
        own = units[finite[units]]
        counts[name] = np.bincount(place[own], weights[own], minlength=bins)
    return counts, edges


def _rose(
    ax: Any, middles: np.ndarray, counts: np.ndarray, expected: np.ndarray, space: Space | None
) -> None:
    """Bars around the circle; an axis has one at either end."""
    sides = round(360 / (middles.size * (middles[1] - middles[0])))
    degrees = np.concatenate([middles + side * 360 / sides for side in range(sides)])
    width = 2 * np.pi / degrees.size
    colors = (
        mpl.colormaps[ORIENTATIONS](degrees * sides / 360 % 1)
        if space is None
        else hue_colors(degrees, space)
    )
    where, bars = np.deg2rad(degrees), np.tile(counts, sides)
    ax.bar(where, np.tile(expected, sides), width, color=GREY, lw=0, zorder=1)
    ax.bar(where, bars, 0.8 * width, color=colors, edgecolor="0.2", lw=0.6, zorder=2)
    quarters = np.arange(4) * 90
    names = [f"{quarter % (360 // sides)}°" for quarter in quarters]
    ax.set_xticks(np.deg2rad(quarters), names, fontsize=7)
    ax.tick_params(axis="x", pad=-2)
    ax.set_rlabel_position(67.5)
    ax.grid(color="0.85", lw=0.5)
    ax.spines["polar"].set_color("0.7")


def _rings(axes: Sequence[Any], largest: float, whole: bool) -> None:
    """The same few rings in all panels, and their numbers in the first."""
    ticks = MaxNLocator(3, integer=whole).tick_values(0, largest)
    rings = [ring for ring in ticks if 0 < ring <= largest] or [largest]
    for index, ax in enumerate(axes):
        ax.set_ylim(0, 1.04 * largest)
        ax.set_yticks(rings, [f"{ring:g}" if index == 0 else "" for ring in rings], fontsize=7)
        ax.yaxis.set_zorder(3)


def _of_units(name: str, values: ArrayLike | None, count: int) -> np.ndarray:
    """A number for each unit, NaN if there is none."""
    numbers = np.asarray(np.nan if values is None else values, float)
    if numbers.ndim and numbers.shape != (count,):
        raise ValueError(f"{name} is of shape {numbers.shape}; give one for each of {count} units")
    return np.broadcast_to(numbers, (count,))


def _lengths(
    name: str, values: ArrayLike | None, of: str, others: ArrayLike | None, count: int
) -> np.ndarray:
    """Shares of a full length, 1 where none is given."""
    if values is not None and others is None:
        raise ValueError(f"{name} is how long the mark of {of} is; give {of} too")
    shares = _of_units(name, 1.0 if values is None else values, count)
    if ((shares < 0) | (shares > 1)).any():
        worst = shares[(shares < 0) | (shares > 1)][0]
        raise ValueError(f"{name}={worst:g} is not within 0 to 1; divide it by its largest")
    return shares


def _scaled(common_scale: bool) -> str:
    return "all filters" if common_scale else "its own"


def _full(lengths: ArrayLike | None, word: str, whole: str) -> str:
    if lengths is None:
        return "."
    return f", the longer the more {word}; the thin {whole} is 1."


def _label(values: xr.DataArray) -> str:
    """What is shown, with its units."""
    words = str(values.attrs.get("long_name", values.name or "value")).replace("_", " ")
    units = str(values.attrs.get("units", ""))
    units = UNITS.get(units, units)
    return f"{words} ({units})" if units else words
