"""Figures: each function draws on axes, or makes a figure, and returns it. Nothing is saved."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.gridspec import SubplotSpec
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ephys.panels import MEANINGS
from ephys.reference import (
    CAT_HALF_WIDTH,
    CAT_HALF_WIDTH_SD,
    MARMOSET_RELATIVE_WIDTH,
    parametric_tuning,
)
from ephys.report import UNITS
from ephys.statistics import bootstrap_interval
from ephys.stimuli.families import PARAMETERS
from ephys.tuning import align

COLORS = mpl.colormaps["viridis_r"]
TICKS = (-90, -45, 0, 45, 90)
ABREAST = 4  # panels of an overview
ROW, EXAMPLE, HEADING, LINE = 2.6, 1.4, 0.42, 0.14  # inches
FROM_BEST = "relative_"  # begins the name of an angle from each unit's best
ENDS = ("estimate", "low", "high")
MOST_TICKS = 6
ROUND = ((1, 2, 3, 5), (1, 2, 5), (1, 3), (1,))  # ticks in a decade, as many as there is room for
APART = 0.12  # from one layer's dots to the next, of the way from value to value
FEW_LAYERS = 4  # for whose names there is room in a panel
CAPTION = 22  # letters in a line below an example
HISTOGRAMS = 5  # abreast
MOST_SCORES = 4  # layers, of which a panel has room for the numbers


def tuning_curves(
    curves: xr.DataArray, ax: Axes | None = None, *, normalized: bool = False
) -> Axes:
    """Mean orientation tuning over units, aligned to each unit's preferred, one line a contrast.

    The band is the 95 % bootstrap interval of the mean over units, the dotted line the mean
    response to the blank.

    Parameters
    ----------
    curves : ``(unit, contrast, orientation)``, as from ``tuning_curve``.
    normalized : divide each line by its own peak, and leave out band and blank.
    """
    ax = ax or plt.gca()
    aligned = align(curves, "orientation", by="contrast")
    mean = _all_around(bootstrap_interval(aligned.dropna("unit", how="all")), 180)
    degrees = mean["relative_orientation"].values
    for contrast, color in contrast_colors(curves["contrast"].values).items():
        line = mean.sel(contrast=contrast)
        peak = float(line["estimate"].max())
        if normalized and not peak > 0:
            continue
        if not normalized:
            ax.fill_between(degrees, line["low"], line["high"], color=color, alpha=0.2, lw=0)
        ax.plot(degrees, line["estimate"] / (peak if normalized else 1), color=color, lw=1.6)
    if "blank" in curves.coords and not normalized:
        ax.axhline(float(curves["blank"].mean()), color="0.3", ls=":", lw=1, zorder=0)
    _orientation_axis(ax)
    return ax


def contrast_colors(contrasts: np.ndarray) -> dict[float, tuple[float, ...]]:
    """One color a contrast, dark for high: sequential along log contrast."""
    log = np.log(contrasts)
    place = (log - log.min()) / max(np.ptp(log), 1e-9)
    return {float(c): COLORS(0.12 + 0.88 * p) for c, p in zip(contrasts, place, strict=True)}


def figure2(
    before: xr.DataArray,
    after: xr.DataArray | None = None,
    elsewhere: xr.DataArray | None = None,
    *,
    stimuli: np.ndarray,
    elsewhere_name: str = "VGG-16 conv1",
) -> Figure:
    """Figure 2 of Veerabadran, Raina & de Sa (2021), each tuning panel raw and peak-normalized.

    A before normalization, B another network, C after normalization, D a parametric reference,
    E the stimulus at each contrast. What is not given is left out, and the others take its letter.

    Parameters
    ----------
    before, after, elsewhere : ``(unit, contrast, orientation)``.
    stimuli : one image in [0, 1] per contrast of ``before``: (contrast, y, x).

    Raises
    ------
    ValueError : if the other network was shown other contrasts.
    """
    contrasts = before["contrast"].values
    if elsewhere is not None and not np.array_equal(elsewhere["contrast"], contrasts):
        raise ValueError(
            f"{elsewhere_name} was shown contrasts {elsewhere['contrast'].values.tolist()}, "
            f"not {contrasts.tolist()}"
        )
    given = {
        "before normalization": before,
        elsewhere_name: elsewhere,
        "after normalization": after,
    }
    shown = [(name, curves) for name, curves in given.items() if curves is not None]
    panels = {f"{'ABC'[i]}  {name}": curves for i, (name, curves) in enumerate(shown)}
    model, last = ("ABCDE"[len(panels) + i] for i in (0, 1))
    figure, columns = _tuning_figure(panels, len(panels) + 1, contrasts, stimuli, letter=last)
    _reference_panel(contrasts, columns[-1])
    columns[-1][0].set_title(f"{model}  parametric model of V1", loc="left", fontsize=10)
    return figure


def tuning_by_layer(layers: Mapping[str, xr.DataArray], *, stimuli: np.ndarray) -> Figure:
    """Tuning curves of each layer, raw and peak-normalized, over the stimuli.

    Parameters
    ----------
    layers : by name, ``(unit, contrast, orientation)``.
    stimuli : one image in [0, 1] per contrast: (contrast, y, x).
    """
    contrasts = next(iter(layers.values()))["contrast"].values
    figure, _ = _tuning_figure(layers, len(layers), contrasts, stimuli)
    return figure


def overview_figure(
    parts: Mapping[str, Mapping[str, Mapping[str, xr.Dataset]]],
    *,
    examples: Sequence[tuple[np.ndarray, str]] = (),
) -> Figure:
    """What each parameter does: a panel for each, a line for each layer, over a few stimuli.

    Parts of the stimuli begin a new row. All panels have one scale, but maps their own.

    Parameters
    ----------
    parts : by name, by parameter and by layer, as from ``overview.curves``.
    examples : images in [0, 1], (y, x) or (y, x, 3), and what is said of each.
    """
    layers = {
        layer: int(curve.attrs["units"])
        for axes in parts.values()
        for curves in axes.values()
        for layer, curve in curves.items()
    }
    colors = dict(zip(layers, COLORS(np.linspace(0.25, 1, len(layers))), strict=True))
    rows = []
    for part, axes in parts.items():
        panels = [panel for name, curves in axes.items() for panel in _panels(name, curves)]
        for start in range(0, len(panels), ABREAST):
            rows.append((part if start == 0 else "", panels[start : start + ABREAST]))
    columns = max(len(panels) for _, panels in rows)
    width = max(2.8 * columns + 0.4, EXAMPLE * len(examples))
    captions = [_caption(said) for _, said in examples]
    abreast = max(len(examples), int(width / EXAMPLE))
    strip_height = (
        width / abreast + HEADING + LINE * max((c.count("\n") for c in captions), default=0)
    )
    heights = [ROW * len(rows)] + ([strip_height] if examples else [])
    whole = Figure(figsize=(width, sum(heights)), layout="constrained")
    figure, *strip = whole.subfigures(len(heights), height_ratios=heights, squeeze=False)[:, 0]
    grid = figure.add_gridspec(len(rows), columns)
    drawn = []
    for row, (part, panels) in enumerate(rows):
        for column, (name, curves) in enumerate(panels):
            ax = figure.add_subplot(grid[row, column])
            if name == "position":
                ((layer, curve),) = curves.items()
                position_map(curve, ax)
                ax.set_title(layer, fontsize=9)
            else:
                marginal_curves(curves, ax, colors=colors)
                drawn.append(ax)
                if column == 0 or panels[column - 1][0] == "position":
                    ax.set_ylabel("response - blank\n(share of its largest)", fontsize=9)
            if column == 0:
                ax.set_title(part, loc="left", fontsize=10, weight="bold")
    limits = np.array([ax.get_ylim() for ax in drawn]).reshape(-1, 2)
    for ax in drawn:
        ax.set_ylim(limits[:, 0].min(), limits[:, 1].max())
    if examples:
        _example_strip(strip[0], [image for image, _ in examples], captions, abreast)
    lines = [
        Line2D([], [], color=color, label=f"{layer} (n = {layers[layer]})")
        for layer, color in colors.items()
    ]
    style: dict[str, Any] = {"handles": lines, "frameon": False}
    if len(drawn) == 1 < len(figure.axes) and len(layers) <= FEW_LAYERS:
        drawn[0].legend(**style, loc="lower left", bbox_to_anchor=(-0.1, 1), fontsize=8)
    elif drawn:
        figure.legend(**style, loc="outside upper left", ncols=3, fontsize=9)
    return whole


def marginal_curves(
    curves: Mapping[str, xr.Dataset],
    ax: Axes | None = None,
    *,
    colors: Mapping[str, tuple[float, ...]] | None = None,
) -> Axes:
    """Mean response along one parameter, a line and its 95 % band for each layer.

    Of two values that are no angle it is a dot and a bar. The dotted line is the response to the
    blank. Angles go all the way around their circle, if the values do.

    Parameters
    ----------
    curves : by layer, ``estimate``, ``low`` and ``high`` along one dimension, as from
        ``overview.curves``.
    colors : of the layers.
    """
    ax = ax or plt.gca()
    first = next(iter(curves.values()))
    (name,) = map(str, first["estimate"].dims)
    known = PARAMETERS.get(name.removeprefix(FROM_BEST))
    period = known.period if known else None
    for index, (layer, curve) in enumerate(curves.items()):
        color = colors[layer] if colors else f"C{index}"
        curve = _all_around(curve, period)
        values, (middle, low, high) = curve[name].values, (curve[c].values for c in ENDS)
        if period is None and values.size == 2:
            aside = min(APART, 0.6 / len(curves)) * (index - (len(curves) - 1) / 2)
            bars = middle - low, high - middle
            ax.errorbar([aside, 1 + aside], middle, bars, fmt="o", ms=5, color=color)
        else:
            ax.fill_between(values, low, high, color=color, alpha=0.2, lw=0)
            ax.plot(values, middle, color=color, lw=1.6, marker="." if values.size < 15 else "")
    ax.axhline(0, color="0.3", ls=":", lw=1, zorder=0)
    _parameter_axis(ax, _all_around(first, period)[name], period)
    if not any(np.isfinite(curve["estimate"]).any() for curve in curves.values()):
        middle_of_it: dict[str, Any] = {"transform": ax.transAxes, "ha": "center", "va": "center"}
        which = "prefers any" if name.startswith(FROM_BEST) else "differs\nfrom the blank"
        ax.text(0.5, 0.6, f"no unit's mean {which}", **middle_of_it, fontsize=8)
    if "rgb" in first.coords:
        ax.scatter(
            first[name].values,
            np.full(first.sizes[name], 0.04),
            c=first["rgb"].values,
            marker="s",
            s=24,
            lw=0,
            transform=ax.get_xaxis_transform(),
        )
    return ax


def property_histograms(
    layers: Mapping[str, xr.Dataset],
    cells: Mapping[str, xr.DataArray],
    *,
    scores: Mapping[str, Mapping[Any, float]] | None = None,
) -> Figure:
    """How each property is distributed, a line for each layer, over the cells' in grey.

    In the bins of the cells, of which the first and the last also hold what lies beyond.

    Parameters
    ----------
    layers : by name, the properties of units, ``(unit)``, NaN where undefined.
    cells : by property, as from ``reference.distributions``.
    scores : by layer and property, written into the panels of a few layers.
    """
    colors = dict(zip(layers, COLORS(np.linspace(0.35, 1, len(layers))), strict=True))
    rows = -(-len(cells) // HISTOGRAMS)
    figure = Figure(figsize=(2.6 * HISTOGRAMS, 2.35 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, HISTOGRAMS, squeeze=False).ravel()
    for ax in axes[len(cells) :]:
        ax.set_axis_off()
    for ax, (name, counts) in zip(axes, cells.items(), strict=False):
        edges = np.append(counts["low"].values, counts["high"].values[-1])
        ax.stairs(counts / counts.sum(), edges, fill=True, color="0.82")
        for layer, units in layers.items():
            values = units[name].dropna("unit").values
            shares = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
            if values.size:
                ax.stairs(shares / values.size, edges, color=colors[layer], lw=1.6, baseline=None)
        _histogram_axis(ax, counts, edges)
        written = list(layers) if scores and len(layers) <= MOST_SCORES else []
        ax.set_ylim(0, (1.1 + 0.12 * len(written)) * ax.get_ylim()[1])  # with room for them
        for line, layer in enumerate(written):
            value = scores[layer][name] if scores else np.nan
            text = "–" if np.isnan(value) else f"{value:.2f}"
            place: dict[str, Any] = {"transform": ax.transAxes, "ha": "right", "va": "top"}
            ax.text(0.99, 0.99 - 0.1 * line, text, color=colors[layer], fontsize=8, **place)
    figure.supylabel("share of the cells, and of the units", fontsize=9)
    drawn = [Patch(color="0.82", label="macaque V1")]
    drawn += [Patch(fill=False, ec=color, lw=1.6, label=name) for name, color in colors.items()]
    figure.legend(handles=drawn, loc="outside upper left", ncols=5, frameon=False, fontsize=9)
    return figure


def position_map(curve: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Mean size of the answer by where the stimulus is, on a scale of its own.

    Parameters
    ----------
    curve : ``estimate`` along ``position``, with its ``x`` and ``y`` in degrees.
    """
    ax = ax or plt.gca()
    x, y = (np.unique(curve[axis].values) for axis in ("x", "y"))
    size = curve["estimate"].values
    largest = np.nanmax([*size, 0.0])
    style: dict[str, Any] = {"cmap": "Greys", "vmin": 0, "vmax": largest or 1}
    if x.size * y.size == size.size:
        order = np.lexsort((curve["x"].values, curve["y"].values))
        drawn: Any = ax.pcolormesh(x, y, size[order].reshape(y.size, x.size), **style)
    else:
        drawn = ax.scatter(curve["x"], curve["y"], c=size, s=12, **style)
    bar = ax.figure.colorbar(drawn, cax=ax.inset_axes((1.05, 0, 0.05, 1)))
    bar.set_label("|response - blank|\n(share of its largest)", fontsize=8)
    for axes in (ax, bar.ax):
        axes.tick_params(labelsize=8)
    ax.set_aspect("equal")
    ax.set_xlabel("x (degrees)", fontsize=9)
    ax.set_ylabel("y (degrees)", fontsize=9)
    return ax


def few_ticks(values: np.ndarray, *, octaves: bool) -> np.ndarray:
    """Where an axis has ticks: at the values, if these are few and short to say, or round numbers.

    Parameters
    ----------
    values : that were shown, rising.
    octaves : whether they are shown by their logarithm, but for 0.
    """
    if values.size <= MOST_TICKS and np.allclose(values, [float(f"{v:.3g}") for v in values]):
        return values
    low, high = values[values > 0][0] if octaves else values[0], values[-1]
    choices: list[Any] = [MaxNLocator(MOST_TICKS - 1).tick_values(low, high)]
    if octaves and high >= 5 * low:
        decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.log10(high) + 1)
        choices = [np.outer(decades, numbers).ravel() for numbers in ROUND]
    room = 1e-9 * (high - low)
    inside = [ticks[(ticks >= low - room) & (ticks <= high + room)] for ticks in choices]
    ticks = next((ticks for ticks in inside if ticks.size <= MOST_TICKS), inside[-1])
    return np.append(values[values == 0], ticks) if octaves else ticks


def learning_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """Loss and accuracy after each epoch, on training images on the way and on test images.

    Parameters
    ----------
    history : as from ``train_classifier``: ``epoch``, ``train_loss``, ``train_accuracy``,
        ``test_loss`` and ``test_accuracy`` of each.
    """
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.8), layout="constrained")
    epochs = [row["epoch"] for row in history]
    for ax, measure in zip(axes, ("loss", "accuracy"), strict=True):
        for part, color, label in [("train", "0.55", "training"), ("test", "C0", "test")]:
            values = [row[f"{part}_{measure}"] for row in history]
            ax.plot(epochs, values, "o-", color=color, ms=3.5, label=label)
        ax.set(xlabel="epoch", ylabel=measure)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("cross-entropy (nats)")
    axes[1].set_ylabel("share classified correctly")
    axes[1].legend(frameon=False)
    return figure


def _histogram_axis(ax: Axes, counts: xr.DataArray, edges: np.ndarray) -> None:
    """The axis of a property: whether or not, in octaves, or as it is."""
    if edges.size == 3:
        ax.set_xticks((edges[:-1] + edges[1:]) / 2, ["no", "yes"])
    elif edges[0] > 0 and np.ptp(np.diff(np.log(edges))) < np.ptp(np.diff(edges)):
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:g}")
        ax.minorticks_off()
    units = counts["low"].attrs["units"]
    units = UNITS.get(units, units)
    label = f"{counts.attrs['long_name']} ({units})" if units else counts.attrs["long_name"]
    ax.set_xlabel(textwrap.fill(label, 34), fontsize=9)
    ax.set_xlim(edges[0], edges[-1])
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)


def _panels(
    name: str, curves: Mapping[str, xr.Dataset]
) -> list[tuple[str, Mapping[str, xr.Dataset]]]:
    """The panels of a parameter: one, or of positions a map for each layer."""
    if name == "position":
        return [(name, {layer: curve}) for layer, curve in curves.items()]
    return [(name, curves)]


def _all_around(curve: xr.Dataset, period: float | None) -> xr.Dataset:
    """Angles that go evenly around a circle with the first again at the end, others as they are.

    Of an odd number from a unit's best, the last is also before the first, to reach both ends.
    """
    name = str(curve["estimate"].dims[-1])
    values, count = curve[name].values, curve.sizes[name]
    if period is None or not np.allclose(np.diff(values), period / count):
        return curve
    short = name.startswith(FROM_BEST) and values[0] > -period / 2
    places = np.arange(-1 if short else 0, count + 1)
    degrees = values[places % count] + period * (places // count)
    around = curve.isel({name: places % count})
    return around.assign_coords({name: (name, degrees, curve[name].attrs)})


def _parameter_axis(ax: Axes, values: xr.DataArray, period: float | None) -> None:
    """The axis of a parameter: quarters of a circle, octaves, or as it is."""
    name, shown = str(values.name), values.values
    percent = name.endswith("contrast")
    units = "%" if percent else UNITS.get(values.attrs.get("units", "1"), values.attrs.get("units"))
    label = "rank of the stimulus for the unit" if name == "rank" else name.replace("_", " ")
    if name.startswith(FROM_BEST):
        label, units = f"degrees from preferred {name.removeprefix(FROM_BEST)}", ""
    ax.set_xlabel(f"{label} ({units})" if units else label, fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)
    if period:
        if name.startswith(FROM_BEST):
            ax.set_xlim(-period / 2, period / 2)
            shown = np.array(ax.get_xlim())
        low, high = np.floor(4 * shown[0] / period), np.ceil(4 * shown[-1] / period)
        ax.set_xticks(np.arange(low, high + 1) * period / 4)
        return
    if shown.size > 2 and _in_octaves(name):
        positive = shown[shown > 0]
        if positive.size == shown.size:
            ax.set_xscale("log")
        else:
            ax.set_xscale("symlog", linthresh=positive.min(), linscale=0.5)
    if name == "rank":
        ax.set_xlim(1, shown[-1])
    ticks = shown if shown.size == 2 else few_ticks(shown, octaves=_in_octaves(name))
    words = [
        MEANINGS.get((name, float(tick)), f"{tick * (100 if percent else 1):.3g}") for tick in ticks
    ]
    ax.set_xticks(range(2) if shown.size == 2 else ticks, words)
    if shown.size == 2:
        ax.set_xlim(-0.6, 1.6)
    ax.minorticks_off()


def _in_octaves(name: str) -> bool:
    """Frequencies, sizes and contrasts: what has a natural zero, and ratios that matter."""
    known = PARAMETERS.get(name)
    return (
        known is not None
        and known.low == 0
        and known.period is None
        and (known.units != "1" or name.endswith("contrast"))
    )


def _caption(said: str) -> str:
    """In short lines, with a number and its units in one."""
    together = re.sub(r"(?<=\d) ", "\N{NO-BREAK SPACE}", said)
    return "\n".join(textwrap.fill(line, CAPTION) for line in together.splitlines())


def _example_strip(
    figure: SubFigure, images: Sequence[np.ndarray], captions: Sequence[str], abreast: int
) -> None:
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        ax = figure.add_subplot(1, abreast, index + 1)
        ax.imshow(image, cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[], anchor="N")
        ax.set_xlabel(caption, fontsize=7, parse_math=False)
        if index == 0:
            ax.set_title("a few of the stimuli", loc="left", fontsize=9)


def _tuning_figure(
    panels: Mapping[str, xr.DataArray],
    count: int,
    contrasts: np.ndarray,
    stimuli: np.ndarray,
    *,
    letter: str = "",
) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """Columns of raw over normalized curves, the first ones drawn, above the row of stimuli."""
    figure = Figure(figsize=(max(2.75 * count, 8.2), 7.4), layout="constrained")
    rows = figure.add_gridspec(3, count, height_ratios=[1, 1, 0.5])
    columns = [
        (figure.add_subplot(rows[0, column]), figure.add_subplot(rows[1, column]))
        for column in range(count)
    ]
    for (title, curves), (raw, normalized) in zip(panels.items(), columns, strict=False):
        tuning_curves(curves, raw)
        raw.set_title(f"{title} (n = {curves.sizes['unit']})", loc="left", fontsize=10)
        raw.set(xlabel="", ylim=(0, None))
        tuning_curves(curves, normalized, normalized=True)
        normalized.set_ylim(0, 1.05)
    columns[0][0].set_ylabel("mean response")
    columns[0][1].set_ylabel("mean response / peak")
    _stimulus_strip(figure, rows[2, :], contrasts, stimuli, letter)
    return figure, columns


def _reference_panel(contrasts: np.ndarray, axes: tuple[Axes, Axes]) -> None:
    curves = parametric_tuning(contrasts)
    degrees = curves["relative_orientation"].values
    for contrast, color in contrast_colors(contrasts).items():
        curve = curves.sel(contrast=contrast)
        axes[0].plot(degrees, curve, color=color, lw=1.6)
        axes[1].plot(degrees, curve / curve.max(), color=color, lw=1.6)
    for (name, width), style in zip(MARMOSET_RELATIVE_WIDTH.items(), (":", "--"), strict=True):
        narrow = parametric_tuning(np.array([1.0]), relative_width=width)[0]
        label = f"marmoset, 200 ms, {name} contrast"
        axes[1].plot(degrees, narrow / narrow.max(), "k", ls=style, lw=0.9, label=label)
    spread = (CAT_HALF_WIDTH - CAT_HALF_WIDTH_SD, CAT_HALF_WIDTH + CAT_HALF_WIDTH_SD)
    bar: dict[str, Any] = {"lw": 3, "alpha": 0.4, "solid_capstyle": "butt"}
    axes[1].plot(spread, (0.5, 0.5), "k", **bar, label="cat: mean \N{PLUS-MINUS SIGN} s.d.")
    axes[1].legend(fontsize=7, frameon=False, loc="upper left", borderaxespad=0, handlelength=1.6)
    axes[1].set_ylim(0, 1.45)
    axes[1].set_yticks((0, 0.5, 1))
    axes[0].set_ylim(0, 1.05)
    for ax in axes:
        _orientation_axis(ax)
    axes[0].set_xlabel("")


def _stimulus_strip(
    figure: Figure, place: SubplotSpec, contrasts: np.ndarray, stimuli: np.ndarray, letter: str
) -> None:
    """The stimuli in a row, each framed in its contrast's color: the legend of the curves."""
    strip = place.subgridspec(1, len(contrasts))
    for index, (contrast, color) in enumerate(contrast_colors(contrasts).items()):
        ax = figure.add_subplot(strip[index])
        ax.imshow(stimuli[index], cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[], xlabel=f"{contrast:.0%}")
        ax.spines[:].set(color=color, linewidth=4)
        if index == 0:
            ax.set_title(letter or " ", loc="left", fontsize=10)
            label = ax.annotate(
                "contrast, and the color of its curve",
                (0, 1),
                xytext=(14 if letter else 0, 6),
                xycoords="axes fraction",
                textcoords="offset points",
                fontsize=10,
            )
            label.set_in_layout(False)  # it reaches over the next stimuli


def _orientation_axis(ax: Axes) -> None:
    ax.set(xlim=(-90, 90), xticks=TICKS, xlabel="degrees from preferred")
    ax.spines[["top", "right"]].set_visible(False)
