"""A contact sheet shows pixels as they are, and every word of it can be read."""

import io
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageSequence

from ephys.contact_sheet import (
    DOTS_PER_INCH,
    FRAMES,
    MOST_SECTIONS,
    animation,
    contact_sheet,
    write_contact_sheet,
)
from ephys.stimuli import (
    StimulusSet,
    counterphase_grating,
    drifting_grating,
    grating,
    paired,
    sweep,
    white_noise,
)
from ephys.stimuli.patches import patch
from ephys.stimuli.protocols import PROTOCOLS, Protocol, protocol
from ephys.visual_field import VisualField

SMALL = VisualField(12, 12, 6.0)
FIELD = VisualField(48, 48, 15.0)


def named(stimuli: StimulusSet, **about: str) -> Protocol:
    return Protocol(**{"name": "some", "purpose": "", "citation": "", **about}, stimuli=stimuli)


def noise(field: VisualField, count: int = 3) -> Protocol:
    """Stimuli in which every pixel counts."""
    checks = max(field.width_px, field.height_px)
    size = 1 / field.pixels_per_degree
    return named(sweep(white_noise, seed=range(count), check_size=size, side=checks * size))


def drifting(**axes: object) -> Protocol:
    """Gratings of 2 Hz that drift by a quarter of a cycle from frame to frame."""
    common = {"spatial_frequency": 1, "temporal_frequency": 2, "time": np.arange(4) / 8}
    return named(sweep(drifting_grating, **common | axes), purpose="To move.")  # type: ignore[arg-type]


def saved(figure: Figure) -> np.ndarray:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return np.asarray(Image.open(file).convert("RGB"))


def places(figure: Figure, picture: np.ndarray) -> Iterator[tuple[slice, slice]]:
    """The rows and columns of the picture that each panel covers."""
    height, width, _ = picture.shape
    for ax in figure.axes:
        box = ax.get_position()
        top, bottom = (round(height * (1 - y)) for y in (box.y1, box.y0))
        yield slice(top, bottom), slice(round(width * box.x0), round(width * box.x1))


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def eight_bits(stimuli: StimulusSet, field: VisualField) -> np.ndarray:
    return np.rint(255 * stimuli.render(field, channels=3).permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize(
    ("height", "width", "zoom"),
    [(12, 12, 19), (48, 48, 5), (50, 97, 3), (224, 224, 1), (40, 301, 1)],
)
def test_a_pixel_is_a_square_of_whole_pixels(height: int, width: int, zoom: int) -> None:
    field = VisualField(height, width, 16.0)
    one = noise(field)
    figure = contact_sheet(one, field)
    picture = saved(figure)
    expected = eight_bits(one.stimuli, field).repeat(zoom, 1).repeat(zoom, 2)
    for (rows, columns), pixels in zip(places(figure, picture), expected, strict=True):
        np.testing.assert_array_equal(picture[rows, columns], pixels)
        # A thin line around tells a white stimulus from the paper.
        assert (picture[rows.start - 1, columns] == picture[rows.stop, columns]).all()
        assert (picture[rows.start - 1, columns] < 255).all()
    drawn = f", each drawn {zoom} x {zoom}." if zoom > 1 else "."
    assert any(
        text.endswith(f"{width} x {height} pixels. Pixels are as a model gets them{drawn}")
        for text in texts(figure)
    )


def test_contrast_is_not_stretched() -> None:
    faint = named(sweep(patch, contrast=[0.1, 0.2]))
    figure = contact_sheet(faint, SMALL)
    picture = saved(figure)
    seen = [np.unique(picture[place]).tolist() for place in places(figure, picture)]
    assert seen == [[round(255 * 0.55)], [round(255 * 0.6)]]


def test_colors_are_those_of_the_pixels() -> None:
    hues = named(sweep(patch, color="hsl", hue=[0, 120, 240], saturation=1, lightness=0.5))
    figure = contact_sheet(hues, SMALL)
    picture = saved(figure)
    seen = [picture[place][0, 0].tolist() for place in places(figure, picture)]
    assert seen == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def test_a_sheet_says_what_it_is() -> None:
    one = named(
        sweep(grating, spatial_frequency=[1, 2], orientation=np.arange(24) * 7.5),
        name="an_experiment",
        purpose="What for?",
        citation="Whose (1999).",
    )
    said = texts(contact_sheet(one, FIELD))
    assert said[:2] == ["an_experiment", "What for?"]
    assert said[2].startswith("48 stimuli. Field of 3.2° x 3.2°, 48 x 48 pixels.")
    assert said[-1] == "Whose (1999)."
    at = said.index("orientation")
    assert said[at + 1] == "24 values, 6 shown"
    assert said[said.index("spatial frequency") + 1] == "2 values"
    assert "held where not varied" in " ".join(said)


def test_signs_of_mathematics_are_letters() -> None:
    one = named(sweep(grating, spatial_frequency=1), purpose=r"$\frac{1$ and $x^2$")
    figure = contact_sheet(one, SMALL)
    assert r"$\frac{1$ and $x^2$" in texts(figure)
    saved(figure)  # raised ValueError, if it were typeset


def test_texts_of_any_length_leave_room_for_the_panels() -> None:
    one = named(
        sweep(grating, spatial_frequency=1), purpose="long " * 10_000, citation="x" * 10_000
    )
    assert saved(contact_sheet(one, SMALL)).shape[0] < 6 * DOTS_PER_INCH


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if name != "natural_images"])
def test_texts_lie_on_the_page_and_neither_on_each_other_nor_on_a_panel(name: str) -> None:
    figure = contact_sheet(protocol(name, FIELD), FIELD)
    canvas: Any = FigureCanvasAgg(figure)
    renderer = canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.texts if text.get_text()]
    page = figure.bbox
    for box in boxes:
        assert page.x0 <= box.x0 < box.x1 <= page.x1
        assert page.y0 <= box.y0 < box.y1 <= page.y1
    panels = [ax.get_window_extent(renderer) for ax in figure.axes]
    # Boxes hold what hangs below a line, if nothing does; a fifth of a letter may overlap.
    slack = 0.2 * 6.5 / 72 * figure.dpi
    for one, other in [*combinations(boxes, 2), *((b, p) for b in boxes for p in panels)]:
        wide = min(one.x1, other.x1) - max(one.x0, other.x0)
        high = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert wide <= 0 or high <= slack, (one, other)


def test_many_parts_are_counted_rather_than_drawn() -> None:
    count = MOST_SECTIONS + 5
    one = named(paired(grating, spatial_frequency=1, part=[f"part {i}" for i in range(count)]))
    figure = contact_sheet(one, SMALL)
    assert len(figure.axes) == MOST_SECTIONS
    assert "and 5 more" in texts(figure)


def test_arrows_point_to_where_gratings_drift() -> None:
    figure = contact_sheet(drifting(direction=[0, 90, 225]), FIELD)
    arrows = [text.get_rotation() for text in figure.texts if text.get_text() == "→"]
    # Of the rows of direction and, at the one nearest to 45 degrees, of time.
    assert sorted(arrows) == [0, 0, 0, 0, 0, 90, 225]


def test_a_sheet_that_cannot_be_shown_is_refused() -> None:
    with pytest.raises(ValueError, match="spatial_frequency=4 is not below the Nyquist limit of 3"):
        contact_sheet(named(sweep(grating, spatial_frequency=[1, 4])), SMALL)


# Animations.


def test_frames_are_one_cycle_of_the_motion(tmp_path: Path) -> None:
    one = drifting(direction=[0, 180])
    path = write_contact_sheet(one, FIELD, tmp_path / "some.gif")
    with Image.open(path) as opened:
        assert opened.info["loop"] == 0  # for ever
        frames = [np.asarray(f.convert("RGB")) for f in ImageSequence.Iterator(opened)]
    assert len(frames) == FRAMES
    rows, columns = (np.flatnonzero(np.ptp(frames, axis=0).any((axis, -1))) for axis in (1, 0))
    zoom, side = 5, 5 * 48
    top, lefts = rows[0], (columns[0], columns[-1] + 1 - side)
    shown = one.stimuli[one.stimuli.table["time"].values == 0]
    for i, frame in enumerate(frames):
        expected = eight_bits(shown.at([i / FRAMES / 2]), FIELD)  # a cycle takes half a second
        for left, pixels in zip(lefts, expected, strict=True):
            seen = frame[top : top + side : zoom, left : left + side : zoom]
            np.testing.assert_array_equal(seen, pixels)


def test_colors_move_in_color() -> None:
    one = drifting(color="dkl", azimuth=0, contrast=0.9)
    frame = np.asarray(animation(one, SMALL)[0], int)
    assert frame.ndim == 3
    assert np.ptp(frame, axis=-1).max() > 100


def test_gratings_of_different_speeds_are_not_mixed() -> None:
    both = drifting(temporal_frequency=[2, 3], direction=[0, 90])
    slow = drifting(temporal_frequency=2, direction=[0, 90])
    same = [np.asarray(frame) for frame in animation(slow, SMALL)]
    np.testing.assert_array_equal([np.asarray(frame) for frame in animation(both, SMALL)], same)


def test_what_reverses_is_reversed_after_half_a_cycle() -> None:
    one = named(sweep(counterphase_grating, spatial_frequency=1, temporal_frequency=4, time=0))
    frames = animation(one, SMALL)
    first, half = (np.asarray(frames[i], int) for i in (0, FRAMES // 2))
    moving = first != half
    assert moving.any()
    np.testing.assert_allclose(first[moving] + half[moving], 255, atol=1)  # of either rounding


@pytest.mark.parametrize("frequency", [0, None])
def test_what_does_not_move_is_refused(frequency: float | None) -> None:
    still = named(sweep(grating, spatial_frequency=1))
    one = still if frequency is None else drifting(temporal_frequency=frequency)
    with pytest.raises(
        ValueError, match=r"^the stimuli of some do not move; draw them as \.png, \.svg, \.pdf$"
    ):
        animation(one, SMALL)


# Files.


@pytest.mark.parametrize(
    ("suffix", "start"),
    [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml"), (".GIF", b"GIF89a")],
)
def test_the_suffix_says_the_format_and_a_file_is_replaced(
    suffix: str, start: bytes, tmp_path: Path
) -> None:
    path = tmp_path / f"sheet{suffix}"
    path.write_text("of before")
    assert write_contact_sheet(drifting(direction=[0, 90]), SMALL, path) == path
    assert path.read_bytes().startswith(start)


def test_other_suffixes_and_folders_that_are_not_there_are_refused(tmp_path: Path) -> None:
    one = drifting(direction=[0, 90])
    with pytest.raises(
        ValueError, match=r"^some.bmp ends in none of .png, .svg, .pdf, .gif, which can be drawn$"
    ):
        write_contact_sheet(one, SMALL, tmp_path / "some.bmp")
    with pytest.raises(FileNotFoundError, match=r"nowhere is no folder; make it first$"):
        write_contact_sheet(one, SMALL, tmp_path / "nowhere" / "some.png")
    assert list(tmp_path.iterdir()) == []
