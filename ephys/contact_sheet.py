"""Contact sheets: what a protocol shows, on one page, or moving.

Pixels are drawn as a model gets them, in 8 bits, each as a square of whole pixels of the picture:
nothing is stretched or smoothed.
"""

import math
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from ephys.panels import MOST_PANELS, Row, Section, choose_panels, number, said_of_all, words
from ephys.stimuli.protocols import Protocol
from ephys.stimuli.sweep import StimulusSet
from ephys.visual_field import VisualField

SUFFIXES = (".png", ".svg", ".pdf", ".gif")
MOST_SECTIONS = 12
FRAMES, FRAME_MS = 16, 60  # of an animation; browsers slow down what is shorter than 20 ms
PANEL_PX, DOTS_PER_INCH = 224, 200  # at least; their ratio holds
AXES = {"x": "x, to the right", "y": "y, upward", "file": "photograph", "cone_l": "cones"}
GAP, LEFT, MARGIN = 0.1, 1.5, 0.2  # inches
EM = 0.57  # mean width of a letter, in font sizes, and a little more
ARROW = "\N{RIGHTWARDS ARROW}"
LINE = 1.3  # from line to line, in font sizes


def contact_sheet(protocol: Protocol, field: VisualField) -> Figure:
    """A page with a few stimuli along every axis of a protocol.

    Saved as .png at its own ``dpi``, a pixel of a stimulus is a square of whole pixels.

    Raises
    ------
    ValueError : for stimuli that the field cannot show, and for none.
    """
    stimuli = protocol.stimuli
    stimuli.check(field)
    sections = choose_panels(stimuli)
    page = _Page(field)
    page.head(protocol, f"{len(stimuli):,} {'stimulus' if len(stimuli) == 1 else 'stimuli'}")
    for section in sections[:MOST_SECTIONS]:
        page.section(section)
        for row in section.rows:
            page.row(row, stimuli)
    if len(sections) > MOST_SECTIONS:
        page.text(f"and {len(sections) - MOST_SECTIONS:,} more", weight="bold")
    page.space(0.1)
    page.text(_short(protocol.citation), size=6.5, color="0.3")
    return page.drawn()


def animation(protocol: Protocol, field: VisualField) -> list[Image.Image]:
    """One cycle of moving stimuli, as frames to be repeated without end.

    The first moving stimuli of a protocol, side by side in different directions or along another
    axis. Frames of grey stimuli are grey and keep every pixel as .gif, which has 256 colors; others
    get the nearest of these.

    Raises
    ------
    ValueError : if nothing moves, and for stimuli that the field cannot show.
    """
    protocol.stimuli.check(field)
    section, frequency = _moving(protocol)
    (row,) = section.rows
    shown = protocol.stimuli[list(row.stimuli)]
    page = _Page(field)
    seconds = FRAMES * FRAME_MS / 1000
    page.head(protocol, f"One cycle of {number(1 / frequency)} s, shown in {number(seconds)} s")
    page.section(section)
    page.row(row, protocol.stimuli)
    canvas: Any = FigureCanvasAgg(page.drawn())
    canvas.draw()
    paper = np.asarray(canvas.buffer_rgba())[..., :3]
    frames = []
    for time in np.arange(FRAMES) / FRAMES / frequency:
        picture = paper.copy()
        images = _pixels(shown.at([time]), field)
        for ((right, down), _), pixels in zip(page.panels, images, strict=True):
            large = pixels.repeat(page.zoom, axis=0).repeat(page.zoom, axis=1)
            picture[down : down + large.shape[0], right : right + large.shape[1]] = large
        frame = Image.fromarray(picture)
        frames.append(frame if shown.channels == 3 else frame.convert("L"))
    return frames


def write_contact_sheet(protocol: Protocol, field: VisualField, path: str | Path) -> Path:
    """Write a contact sheet, or as .gif an animation, in place of the file of before.

    Returns
    -------
    The path.

    Raises
    ------
    FileNotFoundError : if there is no folder for it.
    ValueError : for another suffix, and as for :func:`contact_sheet` and :func:`animation`.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path.name} ends in none of {', '.join(SUFFIXES)}, which can be drawn")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is no folder; make it first")
    if path.suffix.lower() == ".gif":
        first, *others = animation(protocol, field)
        first.save(path, save_all=True, append_images=others, duration=FRAME_MS, loop=0)
    else:
        contact_sheet(protocol, field).savefig(path)
    return path


class _Page:
    """What is put on a page from top to bottom, in pixels, until it is drawn."""

    def __init__(self, field: VisualField) -> None:
        self.field = field
        self.zoom = math.ceil(PANEL_PX / field.width_px)
        self.panel_px = field.width_px * self.zoom, field.height_px * self.zoom
        self.dpi = math.ceil(DOTS_PER_INCH * self.panel_px[0] / PANEL_PX)
        self.margin, self.left, self.gap = (round(x * self.dpi) for x in (MARGIN, LEFT, GAP))
        self.width = 2 * self.margin + self.left + MOST_PANELS * (self.panel_px[0] + self.gap)
        self.down = self.margin
        self.texts: list[tuple[tuple[float, float], str, dict[str, Any]]] = []
        self.panels: list[tuple[tuple[int, int], np.ndarray]] = []

    def head(self, protocol: Protocol, what: str) -> None:
        self.text(protocol.name, size=11, weight="bold")
        self.text(_short(protocol.purpose), size=8.5)
        size = f"{self.field.width_px} x {self.field.height_px} pixels"
        degrees = f"{number(self.field.width)}° x {number(self.field.height)}°"
        zoom = f", each drawn {self.zoom} x {self.zoom}" if self.zoom > 1 else ""
        self.text(
            f"{what}. Field of {degrees}, {size}. Pixels are as a model gets them{zoom}.",
            color="0.3",
        )

    def section(self, section: Section) -> None:
        self.space(0.1)
        self.text(section.heading, size=8.5, weight="bold")
        for about, said in (
            ("the same in all", section.always),
            ("held where not varied", section.held),
        ):
            if said:
                self.text(f"{about}: {said}", size=6.5, color="0.3")
        self.space(0.05)

    def row(self, row: Row, stimuli: StimulusSet) -> None:
        """Panels under their captions and, where something moves, arrows; at the left the axis."""
        shown = stimuli[list(row.stimuli)]
        first, (width, height), top, size = self.margin + self.left, self.panel_px, self.down, 6.5
        rights = [first + i * (width + self.gap) for i in range(len(shown))]
        directions = said_of_all(shown, "direction").tolist()
        for right, caption, direction in zip(rights, row.captions, directions, strict=True):
            lines = self._wrapped(caption, size, width)
            self._write(right, top, lines, size=size)
            self.down = max(self.down, top + self._height(lines, size))
            if direction == direction:
                half = self._height(ARROW, size) / 2
                middle = {"ha": "center", "va": "center", "rotation": direction}
                self._write(right + width - half, top + half, ARROW, size=1.15 * size, **middle)
        for right, pixels in zip(rights, _pixels(shown, self.field), strict=True):
            self.panels.append(((right, self.down), pixels))
        if row.axis:
            name = self._wrapped(AXES.get(row.axis, words(row.axis)), 8, self.left)
            few = f", {len(shown)} shown" if row.count > len(shown) else ""
            below = self.down + self._height(name, 8)
            self._write(self.margin, self.down, name, size=8, weight="bold")
            self._write(self.margin, below, f"{row.count:,} values{few}", size=size, color="0.3")
        self.down += height + self.gap

    def text(self, text: str, *, size: float = 7, **style: Any) -> None:
        lines = self._wrapped(text, size, self.width - 2 * self.margin)
        self._write(self.margin, self.down, lines, size=size, **style)
        self.down += self._height(lines, size)

    def space(self, inches: float) -> None:
        self.down += round(inches * self.dpi)

    def drawn(self) -> Figure:
        height = self.down + self.margin
        page = np.array([self.width, height])
        size = _inches(self.width, self.dpi), _inches(height, self.dpi)
        figure = Figure(figsize=size, dpi=self.dpi, facecolor="white")
        for (right, down), text, style in self.texts:
            x, y = np.array([right, height - down]) / page
            figure.text(x, y, text, parse_math=False, **style)
        for (right, down), pixels in self.panels:
            panel = np.array(self.panel_px)
            corner = np.array([right, height - down - panel[1]])
            line = Rectangle((corner - 1) / page, *((panel + 2) / page), color="0.6", lw=0)
            line.set_zorder(-1)  # behind the panel: a white one is not seen on white paper
            figure.add_artist(line)
            ax = figure.add_axes((*(corner / page), *(panel / page)))
            ax.imshow(pixels, interpolation="nearest", aspect="auto")
            ax.set_axis_off()
        return figure

    def _wrapped(self, text: str, size: float, width_px: float) -> str:
        letters = int(width_px / self.dpi * 72 / (EM * size))
        return "\n".join("\n".join(textwrap.wrap(line, letters)) for line in text.split("\n"))

    def _height(self, lines: str, size: float) -> int:
        return round((lines.count("\n") + 1) * LINE * size / 72 * self.dpi) if lines else 0

    def _write(self, right: float, down: float, lines: str, **style: Any) -> None:
        self.texts.append(((right, down), lines, {"va": "top", "linespacing": 1.2, **style}))


def _moving(protocol: Protocol) -> tuple[Section, float]:
    """What is to be animated, in one row and of one temporal frequency, and which that is."""
    stimuli = protocol.stimuli
    frequencies, times = (said_of_all(stimuli, name) for name in ("temporal_frequency", "time"))
    where = np.flatnonzero((frequencies > 0) & ~np.isnan(times))
    if not where.size:
        still = ", ".join(suffix for suffix in SUFFIXES if suffix != ".gif")
        raise ValueError(f"the stimuli of {protocol.name} do not move; draw them as {still}")
    where = where[frequencies[where] == frequencies[where[0]]]
    at_any_time = StimulusSet(stimuli.table.isel(stimulus=where).drop_vars("time"))
    section = choose_panels(at_any_time)[0]
    row = min(section.rows, key=lambda row: row.axis != "direction")
    row = replace(row, stimuli=tuple(where[list(row.stimuli)].tolist()))
    return replace(section, rows=(row,)), float(frequencies[where[0]])


def _pixels(stimuli: StimulusSet, field: VisualField) -> np.ndarray:
    """Pixels of 8 bits: (stimulus, y, x, 3)."""
    images = stimuli.render(field, channels=3, check=False)
    return np.rint(255 * images.permute(0, 2, 3, 1).numpy()).astype(np.uint8)


def _short(text: str) -> str:
    return textwrap.shorten(text, 600, placeholder=" ...")


def _inches(pixels: int, dpi: int) -> float:
    """So many inches that matplotlib, which cuts off, makes as many pixels of them."""
    inches = pixels / dpi
    return inches if inches * dpi >= pixels else math.nextafter(inches, math.inf)
