"""Figures: each function draws on axes, or makes a figure, and returns it. Nothing is saved."""

from collections.abc import Mapping

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

from ephys.reference import (
    CAT_HALF_WIDTH,
    CAT_HALF_WIDTH_SD,
    MARMOSET_RELATIVE_WIDTH,
    parametric_tuning,
)
from ephys.statistics import bootstrap_interval
from ephys.tuning import align

COLORS = mpl.colormaps["viridis_r"]
TICKS = (-90, -45, 0, 45, 90)


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
    mean = bootstrap_interval(aligned.dropna("unit", how="all"))
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
    E the stimulus at each contrast.

    Parameters
    ----------
    before, after, elsewhere : ``(unit, contrast, orientation)``; what is not given is left out.
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
    panels = {"A  before normalization": before}
    if elsewhere is not None:
        panels[f"B  {elsewhere_name}"] = elsewhere
    if after is not None:
        panels["C  after normalization"] = after
    figure, columns = _tuning_figure(panels, len(panels) + 1, contrasts, stimuli)
    _reference_panel(contrasts, columns[-1])
    columns[-1][0].set_title("D  parametric model of V1", loc="left", fontsize=10)
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


def _tuning_figure(
    panels: Mapping[str, xr.DataArray], count: int, contrasts: np.ndarray, stimuli: np.ndarray
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
    _stimulus_strip(figure, rows[2, :], contrasts, stimuli)
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
    axes[1].plot(spread, (0.5, 0.5), "k", lw=3, alpha=0.4, solid_capstyle="butt", label="cat cells")
    axes[1].legend(fontsize=7, frameon=False, loc="upper left", borderaxespad=0, handlelength=1.6)
    axes[1].set_ylim(0, 1.45)
    axes[1].set_yticks((0, 0.5, 1))
    axes[0].set_ylim(0, 1.05)
    for ax in axes:
        _orientation_axis(ax)
    axes[0].set_xlabel("")


def _stimulus_strip(
    figure: Figure, place: SubplotSpec, contrasts: np.ndarray, stimuli: np.ndarray
) -> None:
    """The stimuli in a row, each framed in its contrast's color: the legend of the curves."""
    strip = place.subgridspec(1, len(contrasts))
    for index, (contrast, color) in enumerate(contrast_colors(contrasts).items()):
        ax = figure.add_subplot(strip[index])
        ax.imshow(stimuli[index], cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[], xlabel=f"{contrast:.0%}")
        ax.spines[:].set(color=color, linewidth=4)
        if index == 0:
            ax.set_title("E", loc="left", fontsize=10)
            label = ax.annotate(
                "contrast, and the color of its curve",
                (0, 1),
                xytext=(14, 6),
                xycoords="axes fraction",
                textcoords="offset points",
                fontsize=10,
            )
            label.set_in_layout(False)  # it reaches over the next stimuli


def _orientation_axis(ax: Axes) -> None:
    ax.set(xlim=(-90, 90), xticks=TICKS, xlabel="degrees from preferred")
    ax.spines[["top", "right"]].set_visible(False)
