"""Figures of color: the plane of cone weights, and tuning for hue around its circle."""

import textwrap
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from ephys.display import CONES
from ephys.figures import few_ticks
from ephys.filters import cone_weights
from ephys.measures import WORDS
from ephys.opponency import linear_ratio
from ephys.stimuli.colors import difference

Space = Literal["dkl", "hsl"]
Draw = Callable[[Any], None]
SPACES = ("dkl", "hsl")
MINUS = "\N{MINUS SIGN}"
# Okabe & Ito's colors for every kind of vision, but yellow, which is lost on paper. Groups differ
# in shape too, so that more can be told apart.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#000000")
SHAPES = ("o", "s", "^", "D", "v")
MOST_GROUPS = len(PALETTE) * len(SHAPES)
IN_GAMUT = 0.98  # of contrast 1, fits at every azimuth of elevation 0
NONE = "none"
ABREAST = 8  # polar panels
LETTERS = 15  # of a note, in an inch
MOST_UNITS = 96  # in a figure of polar panels
COLUMNS, PANEL = 3, 2.9  # of a protocol's figure; panels in inches
HUES = ("resultant_azimuth", "resultant_hue")  # measures
WEIGHTS = ("cone_weight_l", "cone_weight_m", "cone_weight_s")
CLASSES = (("color_class", "opponency_class"), ("spatial_opponency", "spectral_opponency"))
PARTS = {"L-M": PALETTE[1], "S": PALETTE[0], "luminance": "0.3"}
OCTAVES = 4  # of a ratio, either way
# Cone weights of a filter that weights red, green and blue alike, which is blind to color only in
# terms of pixels.
ALIKE = cone_weights(np.ones((1, 3, 1, 1))).values[0]
HUE_NAMES = {
    "dkl": (f"+L{MINUS}M", "+S", f"{MINUS}L+M", f"{MINUS}S"),
    "hsl": ("0°", "90°", "180°", "270°"),
}
MOST_DOTS = 72  # hues on a curve that are told apart


def cone_weight_plane(
    weights: xr.DataArray, groups: ArrayLike | None = None, *, title: str = ""
) -> Figure:
    """Each unit by what its L and M cones contribute; what is missing to the edge, S contributes.

    Weights are divided by |L| + |M| + |S|, so units lie in the diamond |L| + |M| <= 1: on its edge
    without any S, in its middle with S alone. Filled is a positive weight of S, open a negative.
    The cross is a filter that weights red, green and blue of an sRGB display alike.
    Units without weights, NaN or all 0, have no place; the title says how many.

    Parameters
    ----------
    weights : ``(unit, cone)``, with ``cone`` L, M and S.
    groups : of each unit, a number or a word, such as its chromatic class.
    title : said above, before the number of units.

    Raises
    ------
    ValueError : for other dimensions or cones, and groups of other units or too many.

    References
    ----------
    Derrington, Krauskopf & Lennie (1984), Journal of Physiology 357:241. Johnson, Hawken & Shapley
    (2004), Journal of Neurophysiology 91:2501.
    """
    width, height = 6.6 if groups is None else 8.6, 5.8
    figure = Figure(figsize=(width, height))
    # Placed by hand: the layouts of matplotlib lose the labels of square axes beside a legend.
    ax = figure.add_axes((0.75 / width, 0.6 / height, 4.8 / width, 4.8 / height))
    draw_cone_weights(weights, ax, groups=groups)
    ax.set_title(f"{title}  ({ax.get_title()})" if title else ax.get_title(), fontsize=10)
    figure.legend(loc="upper left", bbox_to_anchor=(5.6 / width, 0.95), frameon=False, fontsize=9)
    return figure


def draw_cone_weights(weights: xr.DataArray, ax: Axes, *, groups: ArrayLike | None = None) -> None:
    """The same on axes, without its legend."""
    _check_dims("weights", weights, "unit", "cone")
    cones = [str(cone) for cone in weights["cone"].values] if "cone" in weights.coords else []
    if sorted(cones) != sorted(CONES):
        raise ValueError(f"weights are of the cones {', '.join(cones) or '?'}; label them L, M, S")
    values = weights.transpose("unit", "cone").sel(cone=list(CONES)).values.astype(float)
    total = abs(values).sum(1, keepdims=True)
    share = np.divide(values, total, out=np.full_like(values, np.nan), where=total > 0)
    drawn = np.isfinite(share).all(1)
    which = {"": np.arange(len(share))} if groups is None else members(groups, len(share))
    edge = np.array([1, 0, -1, 0, 1]), np.array([0, 1, 0, -1, 0])
    ax.plot(*edge, color="0.35", lw=1, zorder=0)
    ax.axhline(0, color="0.85", lw=0.8, zorder=0)
    ax.axvline(0, color="0.85", lw=0.8, zorder=0)
    for (name, units), style in zip(which.items(), group_styles(len(which)), strict=True):
        units = units[drawn[units]]
        color, shape = style
        positive = share[units, 2] >= 0
        for sign, face in ((positive, to_rgba(color, 0.4)), (~positive, "none")):
            el, em, _ = share[units[sign]].T
            ax.scatter(el, em, s=20, marker=shape, facecolors=face, edgecolors=color, lw=0.8)
        if name:
            ax.plot([], [], shape, color=color, ms=6, ls="", label=f"{name} (n = {len(units)})")
    for face, sign in (("0.35", 1), ("none", -1)):
        ax.plot([], [], "o", color="0.35", mfc=face, ms=6, ls="", label=f"{_sign(sign)}S")
    ax.plot(*ALIKE[:2], "x", color=PALETTE[1], ms=7, mew=1.6, ls="", gid="alike", zorder=4)
    outside: dict[str, Any] = {"xytext": (0.8, -0.5), "ha": "left", "va": "center"}
    arrow = {"arrowstyle": "-", "color": PALETTE[1], "lw": 0.8, "shrinkB": 4, "relpos": (0, 0.5)}
    said: dict[str, Any] = {"fontsize": 7, "color": PALETTE[1], "arrowprops": arrow}
    ax.annotate("R = G = B", ALIKE[:2], **outside, **said)
    for x, y in ((1, 1), (-1, 1), (-1, -1), (1, -1)):
        words = f"{_sign(x)}L {_sign(y)}M"
        middle: dict[str, Any] = {"ha": "center", "va": "center", "color": "0.45", "fontsize": 9}
        ax.text(0.68 * x, 0.68 * y, words, **middle)
    left_out = len(share) - drawn.sum()
    ax.set_title(f"n = {drawn.sum()}" + (f", {left_out} without weights" if left_out else ""))
    ax.set(xlim=(-1.08, 1.08), ylim=(-1.08, 1.08), aspect="equal")
    ax.set(xticks=(-1, -0.5, 0, 0.5, 1), yticks=(-1, -0.5, 0, 0.5, 1))
    ax.set_xlabel("weight of L (share of |L| + |M| + |S|)")
    ax.set_ylabel("weight of M (share of |L| + |M| + |S|)")
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)


def hue_tuning(
    curves: xr.DataArray,
    *,
    space: Space | None = None,
    rgb: ArrayLike | None = None,
    titles: ArrayLike | None = None,
) -> Figure:
    """Each unit's response around the circle of hues, a polar panel a unit.

    The line is the response and the dashed ring that to the blank: where the line is within the
    ring, a hue suppresses. Around it are the hues as they look. Every panel has a scale of its own,
    whose middle is no zero; the smallest and the largest response are written below.

    Parameters
    ----------
    curves : ``(unit, azimuth)``, or along another angle in degrees, as from ``tuning_curve``; with
        the coordinate ``blank``, if there is to be a ring.
    space : of the angles, ``"dkl"`` or ``"hsl"``; by default "dkl" for ``azimuth``, else "hsl".
    rgb : what the hues look like, (hue, 3) in [0, 1]; by default what ``hue_colors`` says.
    titles : of the panels; by default the channels, or the numbers of the units.

    Raises
    ------
    ValueError : for other dimensions, none or more than 96 units, and other numbers of titles or
        colors.
    """
    dim = _angle(curves)
    space = space or ("dkl" if dim == "azimuth" else "hsl")
    curves = curves.transpose("unit", dim)
    count = curves.sizes["unit"]
    if not 1 <= count <= MOST_UNITS:
        raise ValueError(f"curves of {count} units; choose 1 to {MOST_UNITS} that can be drawn")
    words = _titles(curves, titles)
    degrees = curves[dim].values.astype(float)
    looks = hue_colors(degrees, space) if rgb is None else np.asarray(rgb, float)
    if looks.shape != (degrees.size, 3):
        raise ValueError(f"rgb is of shape {looks.shape}; give 3 numbers for {degrees.size} hues")
    order = np.argsort(degrees)
    values, degrees, looks = curves.values[:, order].astype(float), degrees[order], looks[order]
    blank = curves["blank"].values if "blank" in curves.coords else np.full(count, np.nan)
    abreast = min(ABREAST, count)
    rows = -(-count // abreast)
    side = max(9.2 / abreast, 1.15) if count > 3 else 2.8
    figure = Figure(
        figsize=(side * abreast, (side + 0.32) * rows), layout=ConstrainedLayoutEngine(h_pad=0.06)
    )
    panels = figure.subplots(rows, abreast, squeeze=False, subplot_kw={"projection": "polar"})
    for ax in panels.ravel()[count:]:
        ax.set_axis_off()
    for index, ax in enumerate(panels.ravel()[:count]):
        _polar_curve(ax, degrees, values[index], looks, float(blank[index]))
        ax.set_title(words[index], fontsize=8, pad=3)
    about = f"{dim.replace('_', ' ')} (degrees), counter-clockwise from the right"
    if space == "dkl":
        about += f": right +L{MINUS}M, up +S, left {MINUS}L+M, down {MINUS}S"
    about += "; dashed: response to the blank" if np.isfinite(blank).any() else ""
    figure.supxlabel(textwrap.fill(about, int(LETTERS * side * abreast)), fontsize=8)
    return figure


def color_figure(
    layers: Mapping[str, xr.Dataset], curves: Mapping[str, xr.DataArray] | None = None
) -> Figure:
    """What units of each layer do with color, in the panels that their measures allow.

    Preferred hues, the further out the more selective; the plane of cone weights; the sensitivity
    ratio of color and luminance; how many units are of which two classes. And of curves over hue
    those of two units, over spatial frequency the means of all.

    Parameters
    ----------
    layers : by name, of one protocol, the measures of ``measures.protocol_measures``, ``(unit)``.
    curves : by the same names, ``(unit, azimuth)`` or along another angle of hue, with ``blank``;
        or ``(unit, part, spatial_frequency)``, from ``opponency.isoluminant_curves``.

    Raises
    ------
    ValueError : for no layers, and where there is nothing of color.
    """
    rows = {layer: _panels(found, (curves or {}).get(layer)) for layer, found in layers.items()}
    if not any(rows.values()):
        raise ValueError(f"layers {', '.join(layers) or 'none'} have no measures of color to draw")
    most = max(map(len, rows.values()))
    flat = [(layer, panel) for layer, panels in rows.items() for panel in panels]
    across = most if most > 1 else min(COLUMNS, len(flat))
    down = len(rows) if most > 1 else -(-len(flat) // across)
    figure = Figure(figsize=(max(PANEL * across, 4.6), 1.06 * PANEL * down), layout="constrained")
    grid = figure.add_gridspec(down, across)
    row, column, before = 0, 0, flat[0][0]
    for layer, (draw, polar) in flat:
        if column == across or (most > 1 and layer != before):
            row, column = row + 1, 0
        kind = {"projection": "polar"} if polar else {}
        ax = figure.add_subplot(grid[row, column], **kind)
        draw(ax)
        if column == 0 or most == 1:
            ax.set_title(f"layer {layer}\n{ax.get_title()}", fontsize=9)
        column, before = column + 1, layer
    return figure


def hue_colors(degrees: ArrayLike, space: Space = "dkl") -> np.ndarray:
    """What hues look like: pixels on mid-grey, (hue, 3), NaN for NaN.

    Parameters
    ----------
    degrees : ``azimuth`` of the isoluminant plane of DKL, or ``hue`` of HSL at full saturation.
    space : ``"dkl"`` or ``"hsl"``.

    Raises
    ------
    ValueError : for another space.
    """
    if space not in SPACES:
        raise ValueError(f"space={space!r} is none of {', '.join(SPACES)}")
    angles = np.atleast_1d(np.asarray(degrees, float))
    if space == "hsl":
        added = difference("hsl", 0.5, hue=angles, saturation=1, lightness=0.5)
    else:
        added = IN_GAMUT * difference("dkl", 0.5, azimuth=angles)
    return np.clip(0.5 + added, 0, 1)


def members(groups: ArrayLike, count: int) -> dict[str, np.ndarray]:
    """The units of each group, by what the group is called.

    Groups that are numbers are in their order and called ``"group 3"``; words are in the order in
    which they first appear, and the empty word, for a unit in none, is last.

    Raises
    ------
    ValueError : if there is not one group for each of ``count`` units, or it is NaN.
    """
    labels = np.asarray(groups)
    if labels.shape != (count,):
        raise ValueError(f"groups are of shape {labels.shape}; give one for each of {count} units")
    if labels.dtype.kind in "fiub":
        if np.isnan(labels.astype(float)).any():
            unit = int(np.isnan(labels.astype(float)).argmax())
            raise ValueError(f"groups: that of unit {unit} is NaN; leave the unit out, or name it")
        return {f"group {group:g}": np.flatnonzero(labels == group) for group in np.unique(labels)}
    words = labels.astype(str)
    ordered = sorted(dict.fromkeys(words.tolist()), key=lambda word: word == "")
    return {word or NONE: np.flatnonzero(words == word) for word in ordered}


def group_styles(count: int) -> list[tuple[str, str]]:
    """A color and a shape for each of some groups.

    Raises
    ------
    ValueError : for more groups than can be told apart.
    """
    if count > MOST_GROUPS:
        raise ValueError(
            f"{count} groups cannot be told apart; pass {MOST_GROUPS} at most, or draw some of them"
        )
    return [(PALETTE[i % len(PALETTE)], SHAPES[i % len(SHAPES)]) for i in range(count)]


def _panels(found: xr.Dataset, curves: xr.DataArray | None) -> list[tuple[Draw, bool]]:
    """What can be drawn of a layer, and whether around a circle."""
    panels: list[tuple[Draw, bool]] = []
    for name in HUES:
        if {name, "hue_selectivity"} <= set(found):
            panels.append((partial(_preferred_hues, found=found, name=name), True))
    if set(WEIGHTS) <= set(found):
        weights = xr.concat([found[name] for name in WEIGHTS], "cone").assign_coords(
            cone=list(CONES)
        )
        panels.append((partial(_small_plane, weights.transpose("unit", "cone")), False))
    if "sensitivity_ratio" in found:
        panels.append((partial(_ratios, found["sensitivity_ratio"]), False))
    for pair in CLASSES:
        if set(pair) <= set(found):
            panels.append((partial(_both_classes, found[pair[0]], found[pair[1]]), False))
    if curves is not None and "part" in curves.dims:
        panels.append((partial(_mean_curves, curves), False))
    elif curves is not None and panels:
        for words, unit in _examples(curves).items():
            panels.append((partial(_example, curves.isel(unit=unit), words), True))
    return panels


def _preferred_hues(ax: Any, *, found: xr.Dataset, name: str) -> None:
    space: Space = "dkl" if name.endswith("azimuth") else "hsl"
    hue, selectivity = (found[each].values.astype(float) for each in (name, "hue_selectivity"))
    here = np.isfinite(hue) & np.isfinite(selectivity)
    steps = np.arange(0, 360, 10)
    ax.bar(np.deg2rad(steps), 0.12, np.deg2rad(10), 1.03, color=hue_colors(steps, space), lw=0)
    places = np.deg2rad(hue[here]), selectivity[here]
    ax.scatter(*places, s=16, c=hue_colors(hue[here], space), lw=0.5, edgecolors="0.15", zorder=3)
    ax.set_ylim(0, 1.15)
    ax.set_yticks([0.5, 1], ["", ""])
    names = HUE_NAMES[space]
    ax.set_xticks(np.deg2rad([0, 90, 180, 270]), names, fontsize=8)
    ax.tick_params(axis="x", pad=2)
    for tick, side in zip(ax.get_xticklabels(), ("left", "center", "right", "center"), strict=True):
        tick.set_horizontalalignment(side)
    ax.grid(color="0.85", lw=0.5)
    ax.spines["polar"].set_visible(False)
    ax.set_title(f"preferred hue (n = {here.sum()} of {here.size})", fontsize=9)
    ax.set_xlabel("distance: selectivity for hue; rings: 0.5, 1", fontsize=8)


def _small_plane(weights: xr.DataArray, ax: Axes) -> None:
    draw_cone_weights(weights, ax)
    ax.set_title(ax.get_title(), fontsize=9)
    ax.set_xlabel("weight of L", fontsize=8)
    ax.set_ylabel("weight of M", fontsize=8)
    ax.legend(loc="upper right", fontsize=7, frameon=False, borderpad=0, handletextpad=0)


def _ratios(ratio: xr.DataArray, ax: Axes) -> None:
    """Octaves of the ratio, with what lies beyond in the first and the last bin."""
    values = ratio.values[np.isfinite(ratio.values)].astype(float)
    with np.errstate(divide="ignore"):
        octaves = np.clip(np.log2(values), -OCTAVES, OCTAVES)
    edges = np.arange(-OCTAVES, OCTAVES + 0.5, 0.5)
    counts = np.histogram(octaves, edges)[0]
    middles = edges[:-1] + 0.25
    colors = np.array(("0.45", "0.7", PALETTE[1]))[0 + (middles > -1) + (middles > 1)]
    ax.bar(middles, counts, 0.5, color=colors.tolist(), edgecolor="w", lw=0.5)
    for limit in (-1, 1):
        ax.axvline(limit, color="0.3", ls=":", lw=1)
    ax.axvline(float(np.log2(linear_ratio(ALIKE))), color=PALETTE[0], ls="--", lw=1)
    ticks = np.arange(-OCTAVES, OCTAVES + 1, 2)
    first, *middle, last = [f"{2.0**tick:.3g}" for tick in ticks]
    ax.set_xticks(
        ticks,
        [f"\N{LESS-THAN OR EQUAL TO} {first}", *middle, f"\N{GREATER-THAN OR EQUAL TO} {last}"],
    )
    ax.set_xlim(-OCTAVES, OCTAVES)
    ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(f"color over luminance (n = {values.size} of {ratio.size})", fontsize=9)
    ax.set_xlabel("sensitivity ratio\ndotted: 0.5 and 2; dashed: R = G = B", fontsize=8)
    ax.set_ylabel("units", fontsize=8)


def _both_classes(first: xr.DataArray, second: xr.DataArray, ax: Axes) -> None:
    """A table of how many units are of each pair of classes."""
    names = [(*WORDS[str(one.name)], "") for one in (first, second)]
    table = np.array(
        [
            [int(((first == one) & (second == other)).sum()) for other in names[1]]
            for one in names[0]
        ]
    )
    kept = [[i for i, word in enumerate(names[d]) if word or table.sum(1 - d)[i]] for d in (0, 1)]
    table = table[np.ix_(*kept)]
    ax.imshow(table, cmap="Greys", vmin=0, vmax=max(1.6 * table.max(), 1), aspect="auto")
    for (row, column), count in np.ndenumerate(table):
        ax.text(column, row, str(count), ha="center", va="center", fontsize=10)
    words = [[(names[d][i] or NONE).replace("-", "-\n", 1) for i in kept[d]] for d in (0, 1)]
    ax.set_yticks(range(len(words[0])), words[0], fontsize=7)
    ax.set_xticks(range(len(words[1])), words[1], fontsize=7)
    ax.tick_params(length=0)
    ax.set_title(f"units of each class (n = {table.sum()})", fontsize=9)
    ax.set_ylabel(str(first.name).replace("_", " "), fontsize=8)
    ax.set_xlabel(str(second.name).replace("_", " "), fontsize=8)


def _mean_curves(curves: xr.DataArray, ax: Axes) -> None:
    """Means over units of each part, of every unit as shares of its largest response."""
    curves = curves.transpose("unit", "part", "spatial_frequency")
    largest = curves.max(("part", "spatial_frequency"))
    shares = (curves / largest.where(largest > 0)).dropna("unit", how="all")
    for (part, color), style in zip(PARTS.items(), ("-", "--", "-."), strict=True):
        if part in shares["part"].values and shares.sizes["unit"]:
            mean = shares.sel(part=part).mean("unit")
            ax.plot(mean["spatial_frequency"], mean, color=color, ls=style, lw=1.6, label=part)
    ax.set_xscale("log")
    ax.minorticks_off()
    shown = curves["spatial_frequency"].values
    ticks = few_ticks(shown, octaves=True)
    ax.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
    ax.set_ylim(0, None)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(f"tuning, mean (n = {shares.sizes['unit']})", fontsize=9)
    ax.set_xlabel("spatial frequency (cycles/degree)", fontsize=8)
    ax.set_ylabel("share of the unit's largest response", fontsize=8)
    ax.legend(fontsize=7, frameon=False)


def _examples(curves: xr.DataArray) -> dict[str, int]:
    """The unit whose response goes up and down most with hue, and the median one of those."""
    extent = np.ptp(curves.transpose("unit", ...).values.astype(float), axis=1)
    order = np.argsort(-np.nan_to_num(extent), kind="stable")[: (extent > 0).sum()]
    if not order.size:
        return {}
    return {"most modulated": int(order[0]), "median unit": int(order[order.size // 2])}


def _example(curve: xr.DataArray, words: str, ax: Any) -> None:
    (dim,) = curve.dims
    curve = curve.sortby(dim)
    degrees = curve[dim].values.astype(float)
    looks = hue_colors(degrees, "dkl" if dim == "azimuth" else "hsl")
    blank = float(curve["blank"]) if "blank" in curve.coords else np.nan
    _polar_curve(ax, degrees, curve.values.astype(float), looks, blank)
    name = f", channel {int(curve['channel'])}" if "channel" in curve.coords else ""
    ax.set_title(f"{words}{name}", fontsize=9)
    ax.set_xlabel(f"{ax.get_xlabel()}; dashed: blank", fontsize=8)


def _polar_curve(
    ax: Any, degrees: np.ndarray, values: np.ndarray, looks: np.ndarray, blank: float
) -> None:
    """A response around the circle, the blank's ring, and the hues around both."""
    ends = np.array([*values, blank])
    ends = ends[np.isfinite(ends)] if np.isfinite(ends).any() else np.zeros(1)
    high = ends.max()
    span = np.ptp(ends) or 1.0
    low = high - span
    angles = np.deg2rad(degrees)
    around = np.append(angles, angles[0] + 2 * np.pi) if _whole(degrees) else angles
    ax.plot(around, np.resize(values, around.size), color="0.15", lw=1.2)
    if degrees.size <= MOST_DOTS:
        ax.scatter(angles, values, c=looks, s=9, lw=0.4, edgecolors="0.15", zorder=3)
    if np.isfinite(blank):
        ax.plot(np.linspace(0, 2 * np.pi, 181), np.full(181, blank), color="0.4", ls="--", lw=0.9)
    steps = np.diff(np.append(angles, angles[0] + 2 * np.pi))
    width = float(np.median(steps)) if steps.size else 2 * np.pi
    ring = high + 0.16 * span
    ax.bar(angles, 0.17 * span, width, ring, color=looks, lw=0)
    ax.set_ylim(low - 0.25 * span, ring + 0.17 * span)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    shown = values[np.isfinite(values)]
    said = f"{_short(shown.min())} to {_short(shown.max())}" if shown.size else "no response"
    ax.set_xlabel(said, fontsize=7, labelpad=4, color="0.3")


def _short(value: float) -> str:
    """Three digits, with an exponent only from 1e5 on and below 1e-3."""
    said = f"{value:.3g}"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        said = np.format_float_positional(float(said), trim="-")
    return said.replace("-", MINUS)


def _whole(degrees: np.ndarray) -> bool:
    """Whether angles go evenly around their whole circle."""
    return degrees.size > 2 and np.allclose(np.diff(degrees), 360 / degrees.size)


def _angle(curves: xr.DataArray) -> str:
    """The dimension of hues."""
    others = [str(name) for name in curves.dims if name != "unit"]
    if curves.ndim != 2 or len(others) != 1 or others[0] not in curves.coords:
        raise ValueError(f"curves are along {_dims(curves)}, not along unit and an angle of hue")
    return others[0]


def _titles(curves: xr.DataArray, titles: ArrayLike | None) -> list[str]:
    count = curves.sizes["unit"]
    if titles is not None:
        words = [str(title) for title in np.asarray(titles).ravel()]
        if len(words) != count:
            raise ValueError(f"{len(words)} titles for {count} units; give one for each")
        return words
    name = "channel" if "channel" in curves.coords else "unit"
    return [f"{name} {number}" for number in curves[name].values.tolist()]


def _check_dims(name: str, values: xr.DataArray, *dims: str) -> None:
    if set(values.dims) != set(dims) or values.ndim != len(dims):
        raise ValueError(f"{name} are along {_dims(values)}, not along {', '.join(dims)}")


def _dims(values: xr.DataArray) -> str:
    return ", ".join(map(str, values.dims)) or "nothing"


def _sign(number: float) -> str:
    return "+" if number >= 0 else MINUS
