"""Figures show the numbers that they were given, say what they are, and leave nothing behind."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from ephys.figures import (
    contrast_colors,
    few_ticks,
    figure2,
    marginal_curves,
    overview_figure,
    position_map,
    property_histograms,
    tuning_by_layer,
    tuning_curves,
)
from ephys.reference import distributions, parametric_tuning

CONTRASTS = np.array([0.1, 0.5, 0.9])
ORIENTATIONS = np.arange(12) * 15.0
RELATIVE = np.arange(-6, 7) * 15.0  # both ends of the circle
GAINS = np.array([[1.0, 2.0, 4.0], [3.0, 3.0, 3.0], [0.5, 2.0, 6.5]])  # (unit, contrast)
PREFERRED = (15.0, 90.0, 165.0)
BLANK = np.array([0.1, 0.2, 0.6])
STIMULI = np.linspace(0, 1, 3 * 5 * 7).reshape(3, 5, 7)


@pytest.fixture(autouse=True)
def no_figure_stays_open() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def whole() -> Figure:
    """Figure 2 with all its panels; B's network has two units."""
    return figure2(planted(), 2 * planted(), 3 * planted()[:2], stimuli=STIMULI)


def von_mises(distance: np.ndarray) -> np.ndarray:
    return np.exp(2 * np.cos(2 * np.deg2rad(distance)) - 2)


def planted(gains: np.ndarray = GAINS) -> xr.DataArray:
    """Units of one shape, whose heights at each contrast are known: their mean is known too."""
    shapes = np.array([von_mises(ORIENTATIONS - preferred) for preferred in PREFERRED])
    coordinates = {
        "contrast": CONTRASTS,
        "orientation": ("orientation", ORIENTATIONS, {"units": "degree"}),
        "blank": ("unit", BLANK),
    }
    values = gains[:, :, None] * shapes[:, None]
    return xr.DataArray(values, coordinates, ("unit", "contrast", "orientation"), name="response")


def axes() -> Axes:
    """Axes of a figure that pyplot does not know of."""
    return Figure().subplots()


def curves_of(ax: Axes) -> list[np.ndarray]:
    """The heights of the colored lines, in the order drawn."""
    return [np.asarray(line.get_ydata(), float) for line in ax.lines if line.get_linestyle() == "-"]


def titled(figure: Figure, start: str) -> Axes:
    (found,) = [ax for ax in figure.axes if ax.get_title(loc="left").startswith(start)]
    return found


def titles(figure: Figure) -> list[str]:
    return [title for ax in figure.axes if (title := ax.get_title(loc="left"))]


def below(figure: Figure, raw: Axes) -> Axes:
    """The axes right under others: the same curves, peak-normalized."""
    place = raw.get_position()
    column = [
        ax
        for ax in figure.axes
        if ax.get_position().x0 == pytest.approx(place.x0) and ax.get_position().y0 < place.y0
    ]
    return max(column, key=lambda ax: ax.get_position().y0)


def strip(figure: Figure) -> list[Axes]:
    return [ax for ax in figure.axes if ax.images]


def luminance(color: tuple[float, ...]) -> float:
    linear = ((np.array(color[:3], float) + 0.055) / 1.055) ** 2.4  # of sRGB, but for near black
    return float(linear @ [0.2126, 0.7152, 0.0722])


# Tuning curves.


def test_each_line_is_the_mean_over_units_aligned_to_their_preferred_orientation() -> None:
    ax = tuning_curves(planted(), axes())
    lines = curves_of(ax)
    assert len(lines) == len(CONTRASTS)
    for line, mean_gain in zip(lines, GAINS.mean(0), strict=True):
        np.testing.assert_allclose(line, mean_gain * von_mises(RELATIVE))
    for drawn in ax.lines[: len(CONTRASTS)]:
        np.testing.assert_allclose(np.asarray(drawn.get_xdata(), float), RELATIVE)


def test_normalized_lines_of_one_shape_fall_together() -> None:
    for line in curves_of(tuning_curves(planted(), axes(), normalized=True)):
        np.testing.assert_allclose(line, von_mises(RELATIVE), rtol=1e-12)


def test_the_band_holds_the_line_and_lies_within_the_units() -> None:
    ax = tuning_curves(planted(), axes())
    for band, line, gains in zip(ax.collections, curves_of(ax), GAINS.T, strict=True):
        outline = np.asarray(band.get_paths()[0].vertices)
        for degrees, height, share in zip(RELATIVE, line, von_mises(RELATIVE), strict=True):
            there = outline[outline[:, 0] == degrees, 1]
            assert gains.min() * share - 1e-9 <= there.min() <= height + 1e-9
            assert height - 1e-9 <= there.max() <= gains.max() * share + 1e-9


def test_the_dotted_line_is_the_mean_response_to_the_blank() -> None:
    ax = tuning_curves(planted(), axes())
    (dotted,) = [line for line in ax.lines if line.get_linestyle() == ":"]
    np.testing.assert_allclose(np.asarray(dotted.get_ydata(), float), BLANK.mean())


def test_normalized_curves_have_neither_band_nor_blank() -> None:
    ax = tuning_curves(planted(), axes(), normalized=True)
    assert len(ax.lines) == len(CONTRASTS)
    assert not ax.collections


def test_without_a_blank_there_is_no_line_for_it() -> None:
    ax = tuning_curves(planted().drop_vars("blank"), axes())
    assert len(ax.lines) == len(CONTRASTS)


def test_a_contrast_without_any_response_has_no_normalized_line() -> None:
    gains = GAINS * (CONTRASTS > 0.1)
    assert len(curves_of(tuning_curves(planted(gains), axes()))) == 3
    normalized = curves_of(tuning_curves(planted(gains), axes(), normalized=True))
    assert [line.max() for line in normalized] == [1, 1]


def test_silent_units_are_left_out_of_the_mean() -> None:
    gains = GAINS * np.array([[1], [0], [1]])
    for line, mean in zip(
        curves_of(tuning_curves(planted(gains), axes())), GAINS[[0, 2]].mean(0), strict=True
    ):
        np.testing.assert_allclose(line, mean * von_mises(RELATIVE))


@pytest.mark.parametrize("normalized", [False, True])
def test_a_layer_without_any_response_has_axes_without_curves(normalized: bool) -> None:
    ax = tuning_curves(planted(0 * GAINS), axes(), normalized=normalized)
    assert not any(np.isfinite(line).any() for line in curves_of(ax))
    assert ax.get_xlabel() == "degrees from preferred"


def test_the_axes_that_were_given_come_back_and_pyplot_hears_nothing() -> None:
    ax = axes()
    settings = dict(mpl.rcParams)
    assert tuning_curves(planted(), ax) is ax
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == settings


def test_without_axes_the_current_ones_are_drawn_on() -> None:
    _, current = plt.subplots()
    assert tuning_curves(planted()) is current
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize("count", [11, 12])
def test_the_axis_and_the_lines_go_once_around_the_circle(count: int) -> None:
    degrees = np.arange(count) * 180 / count
    curve = xr.DataArray(
        von_mises(degrees - degrees[4])[None, None],
        {"contrast": [1.0], "orientation": degrees},
        ("unit", "contrast", "orientation"),
    )
    ax = tuning_curves(curve, axes())
    assert ax.get_xlabel() == "degrees from preferred"
    assert ax.get_xlim() == (-90, 90)
    x, y = (np.asarray(values, float) for values in ax.lines[0].get_data())
    assert x[0] <= -90
    assert x[-1] >= 90
    np.testing.assert_allclose(y, von_mises(x))


# Colors.


def test_higher_contrasts_are_darker_whatever_their_order() -> None:
    contrasts = np.array([0.5, 0.02, 0.9, 0.1, 0.2, 0.05, 0.75])
    colors = contrast_colors(contrasts)
    assert list(colors) == contrasts.tolist()
    falling = [luminance(colors[contrast]) for contrast in sorted(colors)]
    assert (np.diff(falling) < 0).all()
    assert falling[0] < 0.85  # told apart from the page


def test_a_doubling_of_contrast_is_the_same_step_of_color_anywhere() -> None:
    three = contrast_colors(np.array([0.2, 0.4, 0.8]))
    assert three == {
        2 * c: color for c, color in contrast_colors(np.array([0.1, 0.2, 0.4])).items()
    }


def test_a_single_contrast_has_a_color() -> None:
    assert len(contrast_colors(np.array([0.5]))) == 1


# Figure 2.


def test_figure_2_has_its_five_panels(whole: Figure) -> None:
    a, b, c, d, e = titles(whole)
    assert (a, b, c) == (
        "A  before normalization (n = 3)",
        "B  VGG-16 conv1 (n = 2)",
        "C  after normalization (n = 3)",
    )
    assert d.startswith("D  ")
    assert "model" in d  # nobody's data, and says so
    assert e == "E"
    assert [text.get_text() for text in titled(whole, "E").texts] == [
        "contrast, and the color of its curve"
    ]
    for panel, factor, units in (("A", 1, 3), ("B", 3, 2), ("C", 2, 3)):
        raw = titled(whole, f"{panel}  ")
        for line, gain in zip(curves_of(raw), GAINS[:units].mean(0), strict=True):
            np.testing.assert_allclose(line, factor * gain * von_mises(RELATIVE))
        for line in curves_of(below(whole, raw)):
            np.testing.assert_allclose(line, von_mises(RELATIVE))


@pytest.mark.parametrize(
    ("after", "elsewhere", "letters", "kinds"),
    [
        (None, None, "ABC", ["before", "model"]),
        (planted(), None, "ABCD", ["before", "after", "model"]),
        (None, planted(), "ABCD", ["before", "VGG-16", "model"]),
    ],
    ids=["neither", "after", "elsewhere"],
)
def test_panels_that_are_not_given_are_left_out_and_no_letter_is_missing(
    after: xr.DataArray | None, elsewhere: xr.DataArray | None, letters: str, kinds: list[str]
) -> None:
    figure = figure2(planted(), after, elsewhere, stimuli=STIMULI)
    assert "".join(title[0] for title in titles(figure)) == letters
    *panels, _ = titles(figure)
    assert all(kind in title for kind, title in zip(kinds, panels, strict=True))
    assert len(figure.axes) == 2 * (len(letters) - 1) + len(CONTRASTS)


def test_the_other_network_is_called_by_its_name() -> None:
    figure = figure2(planted(), None, planted(), stimuli=STIMULI, elsewhere_name="vgg16 features.1")
    assert titled(figure, "B").get_title(loc="left") == "B  vgg16 features.1 (n = 3)"


def test_the_reference_is_the_parametric_model_at_the_same_contrasts(whole: Figure) -> None:
    raw = titled(whole, "D")
    for line, curve in zip(curves_of(raw), parametric_tuning(CONTRASTS), strict=True):
        np.testing.assert_allclose(line, curve)
    normalized = below(whole, raw)
    legend = normalized.get_legend()
    assert legend is not None
    labels = " ".join(text.get_text() for text in legend.get_texts())
    assert "marmoset" in labels
    assert "cat: mean ± s.d." in labels


def test_each_axis_says_what_it_shows(whole: Figure) -> None:
    raw = titled(whole, "A")
    assert raw.get_ylabel() == "mean response"
    assert below(whole, raw).get_ylabel() == "mean response / peak"
    assert below(whole, raw).get_xlabel() == "degrees from preferred"


def test_stimuli_are_labeled_with_their_contrast_and_framed_in_its_color(whole: Figure) -> None:
    lines = [line for line in titled(whole, "A").lines if line.get_linestyle() == "-"]
    shown = strip(whole)
    assert [ax.get_xlabel() for ax in shown] == ["10%", "50%", "90%"]
    for ax, image, line in zip(shown, STIMULI, lines, strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), image)
        assert ax.images[0].get_clim() == (0, 1)
        for spine in ax.spines.values():
            assert same_color(spine.get_edgecolor(), line.get_color())


def test_raw_panels_start_at_zero_and_normalized_ones_reach_the_peak(whole: Figure) -> None:
    for panel in "ABCD":
        raw = titled(whole, panel)
        assert raw.get_ylim()[0] == 0
        low, high = below(whole, raw).get_ylim()
        assert low == 0
        assert high > 1


def test_no_title_runs_into_another_or_off_the_page(whole: Figure) -> None:
    whole.canvas.draw()
    boxes = [
        text.get_window_extent()
        for ax in whole.axes
        for text in [*ax.texts, ax._left_title]  # type: ignore[attr-defined]
        if text.get_text()
    ]
    assert len(boxes) == 6  # five letters, and the words beside the last
    for index, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.x1 <= whole.bbox.width
        assert not any(box.overlaps(other) for other in boxes[:index])


def test_nothing_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    figure2(planted(), planted(), stimuli=STIMULI)
    tuning_by_layer({"conv": planted()}, stimuli=STIMULI)
    assert list(tmp_path.iterdir()) == []


# Tuning by layer.


def test_each_layer_has_its_column_and_there_is_no_reference() -> None:
    layers = {"features.1": planted(), "features.3": 2 * planted()}
    figure = tuning_by_layer(layers, stimuli=STIMULI)
    layer_titles = ["features.1 (n = 3)", "features.3 (n = 3)"]
    assert [title for title in titles(figure) if title.strip()] == layer_titles
    assert len(figure.axes) == 2 * 2 + len(CONTRASTS)
    for factor, layer in ((1, "features.1"), (2, "features.3")):
        for line, gain in zip(curves_of(titled(figure, layer)), GAINS.mean(0), strict=True):
            np.testing.assert_allclose(line, factor * gain * von_mises(RELATIVE))


def test_a_layer_without_any_response_does_not_spoil_the_others() -> None:
    layers = {"silent": planted(0 * GAINS), "tuned": planted()}
    figure = tuning_by_layer(layers, stimuli=STIMULI)
    assert len(curves_of(titled(figure, "tuned"))) == len(CONTRASTS)


# Overviews.


def curve(name: str, values: list[float], units: int = 3, units_of: str = "1") -> xr.Dataset:
    """Rising along a parameter from 0.1 to 0.4, within 0.1."""
    rising = np.linspace(0.1, 0.4, len(values))
    ends = {"estimate": rising, "low": rising - 0.1, "high": rising + 0.1}
    coordinates = {name: (name, np.array(values, float), {"units": units_of})}
    data = {end: (name, line) for end, line in ends.items()}
    return xr.Dataset(data, coordinates, {"units": units})


def labels(ax: Axes) -> list[str]:
    return [label.get_text() for label in ax.get_xticklabels()]


def test_each_layer_has_a_line_with_its_band_and_the_blank_is_dotted() -> None:
    frequency = curve("spatial_frequency", [1, 2, 4], units_of="cycles degree-1")
    ax = marginal_curves({"a": frequency, "b": 2 * frequency}, axes())
    first, second, blank = ax.lines
    np.testing.assert_allclose(np.asarray(first.get_ydata()), [0.1, 0.25, 0.4])
    np.testing.assert_allclose(np.asarray(second.get_ydata()), [0.2, 0.5, 0.8])
    assert np.asarray(blank.get_ydata()).tolist() == [0, 0]
    assert blank.get_linestyle() == ":"
    assert len(ax.collections) == 2
    assert ax.get_xlabel() == "spatial frequency (cycles/degree)"


@pytest.mark.parametrize(
    ("name", "values", "scale"),
    [
        ("spatial_frequency", [0.5, 1, 2], "log"),
        ("diameter", [0.5, 1, 2], "log"),
        ("surround_angle", [0, 60, 120], "linear"),
        ("x", [-1, 0, 1], "linear"),
        ("saturation", [0, 0.5, 1], "linear"),
    ],
)
def test_frequencies_sizes_and_contrasts_are_in_octaves(
    name: str, values: list[float], scale: str
) -> None:
    ax = marginal_curves({"a": curve(name, values)}, axes())
    assert ax.get_xscale() == scale
    if name != "surround_angle":
        assert labels(ax) == [f"{value:.3g}" for value in values]


@pytest.mark.parametrize(
    ("values", "ticks", "drawn"),
    [
        (np.arange(6) * 30.0, [0, 45, 90, 135, 180], 7),
        (np.arange(4) * 45.0 - 90, [-90, -45, 0, 45, 90], 5),
        (np.array([0.0, 30, 60]), [0, 45, 90], 3),  # a part of the circle
        (np.arange(10) * 20.0, [0, 45, 90, 135, 180], 10),  # both its ends
    ],
)
def test_angles_go_around_their_circle_with_ticks_at_its_quarters(
    values: np.ndarray, ticks: list[float], drawn: int
) -> None:
    ax = marginal_curves({"a": curve("orientation", values.tolist())}, axes())
    assert ax.get_xticks().tolist() == ticks
    x, y = (np.asarray(line, float) for line in ax.lines[0].get_data())
    assert x.size == drawn
    if drawn > values.size:
        assert y[-1] == y[0]
        assert x[-1] - x[0] == 180


@pytest.mark.parametrize(
    ("values", "scale"), [([0.1, 0.5, 1], "log"), ([0, 0.5, 1], "symlog"), ([0, 1], "linear")]
)
def test_contrasts_are_in_percent(values: list[float], scale: str) -> None:
    ax = marginal_curves({"a": curve("mask_contrast", values)}, axes())
    assert ax.get_xscale() == scale
    assert ax.get_xlabel() == "mask contrast (%)"
    assert labels(ax) == [f"{100 * value:g}" for value in values]


def test_two_values_are_dots_with_bars_side_by_side_and_no_line() -> None:
    polarity = curve("polarity", [-1, 1])
    ax = marginal_curves({"a": polarity, "b": 2 * polarity}, axes())
    assert labels(ax) == ["dark", "light"]
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [line.get_linestyle() for line in dots] == ["None", "None"]
    x, y = (np.array([line.get_data()[i] for line in dots], float) for i in (0, 1))
    np.testing.assert_allclose(y, [[0.1, 0.4], [0.2, 0.8]])
    np.testing.assert_allclose(x.mean(0), ax.get_xticks())
    assert (np.diff(x, axis=0) > 0).all()
    ends = [np.array([bar[:, 1] for bar in bars.get_segments()]) for bars in ax.collections]  # type: ignore[attr-defined]
    np.testing.assert_allclose(ends, [[[0, 0.2], [0.3, 0.5]], [[0, 0.4], [0.6, 1]]], atol=1e-12)


@pytest.mark.parametrize(
    ("values", "octaves", "ticks"),
    [
        ([0.25, 0.5, 1, 2, 4, 8], True, [0.25, 0.5, 1, 2, 4, 8]),
        ([0, 0.06, 0.12, 0.25, 0.5], True, [0, 0.06, 0.12, 0.25, 0.5]),
        (0.2 * 2 ** np.arange(0.5, 4.5, 0.5), True, [0.3, 0.5, 1, 2, 3]),
        ([0, *0.01 * 2 ** np.arange(7.0)], True, [0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]),
        (2.0 ** np.arange(12), True, [1, 10, 100, 1000]),
        (2 ** np.arange(0.1, 1, 0.1), True, [1.2, 1.4, 1.6, 1.8]),
        (np.arange(8) / 32, False, [0, 0.05, 0.1, 0.15, 0.2]),
        ([-1, 0, 1], False, [-1, 0, 1]),
    ],
)
def test_ticks_are_at_few_values_or_at_round_numbers(
    values: list[float], octaves: bool, ticks: list[float]
) -> None:
    found = few_ticks(np.array(values, float), octaves=octaves)
    np.testing.assert_allclose(found, ticks, atol=1e-12)


def test_angles_from_the_preferred_reach_both_ends_and_say_so() -> None:
    for values in (np.arange(-90, 90, 30.0), np.arange(-72, 90, 36.0)):
        ax = marginal_curves({"a": curve("relative_orientation", values.tolist())}, axes())
        assert ax.get_xlabel() == "degrees from preferred orientation"
        assert ax.get_xlim() == (-90, 90)
        assert ax.get_xticks().tolist() == [-90, -45, 0, 45, 90]
        x, y = (np.asarray(line, float) for line in ax.lines[0].get_data())
        assert x[0] <= -90
        assert x[-1] >= 90
        for degrees, height in zip(x, y, strict=True):  # as 180 degrees on
            (same,) = np.flatnonzero(np.isclose((values - degrees + 1e-6) % 180, 0, atol=1e-5))
            assert height == np.linspace(0.1, 0.4, values.size)[same]


def test_an_axis_of_hue_is_colored() -> None:
    hues = curve("hue", [0, 120, 240])
    colored = hues.assign_coords(rgb=(("hue", "primary"), np.eye(3)))
    ax = marginal_curves({"a": colored}, axes())
    (squares,) = [c for c in ax.collections if len(np.asarray(c.get_offsets())) == 3]
    np.testing.assert_allclose(np.asarray(squares.get_facecolor())[:, :3], np.eye(3))


def test_a_panel_without_any_unit_says_so() -> None:
    nothing = curve("phase", [0, 180]) * np.nan
    ax = marginal_curves({"a": nothing}, axes())
    assert "no unit" in ax.texts[0].get_text()


def places(x: list[float], y: list[float], size: list[float]) -> xr.Dataset:
    coordinates = {"x": ("position", x), "y": ("position", y)}
    return xr.Dataset({"estimate": ("position", size)}, coordinates, {"units": 3})


def test_a_grid_of_positions_is_an_image_with_up_above() -> None:
    ax = position_map(places([0, 0, 1, 1, 2, 2], [0, 5] * 3, [1, 2, 3, 4, 5, 6]), axes())
    (mesh,) = ax.collections
    np.testing.assert_array_equal(np.asarray(mesh.get_array()), [[1, 3, 5], [2, 4, 6]])
    assert ax.get_ylim()[0] < ax.get_ylim()[1]
    (inset,) = ax.child_axes
    assert inset.get_ylim() == (0, 6)  # of the bar
    assert "response - blank" in inset.get_ylabel()


def test_positions_that_are_no_grid_are_dots() -> None:
    ax = position_map(places([0, 1, 2], [0, 5, 1], [1, 2, 3]), axes())
    (dots,) = ax.collections
    np.testing.assert_array_equal(np.asarray(dots.get_offsets()), [[0, 0], [1, 5], [2, 1]])
    assert dots.get_array().tolist() == [1, 2, 3]  # type: ignore[union-attr]


def test_an_overview_has_a_row_for_each_part_and_no_more_than_four_panels_abreast() -> None:
    names = ["orientation", "direction", "phase", "diameter", "contrast"]
    many = {name: {"a": curve(name, [0.25, 0.5, 1])} for name in names}
    figure = overview_figure({"one": many, "two": {"phase": {"a": curve("phase", [0, 180])}}})
    figure.draw_without_rendering()
    rows: dict[float, list[Axes]] = {}
    for ax in figure.axes:
        rows.setdefault(round(ax.get_position().y0, 2), []).append(ax)
    first, second, third = (rows[y] for y in sorted(rows, reverse=True))
    assert [ax.get_xlabel().split(" (")[0] for ax in first] == names[:4]
    assert [ax.get_xlabel().split(" (")[0] for ax in second] == names[4:]
    assert [row[0].get_title(loc="left") for row in (first, second, third)] == ["one", "", "two"]


def test_the_panels_of_an_overview_have_one_scale_and_one_color_for_each_layer() -> None:
    small, large = curve("phase", [0, 180]), 5 * curve("diameter", [1, 2])
    panels = {"phase": {"a": small, "b": small}, "diameter": {"b": large.assign_attrs(units=7)}}
    figure = overview_figure({"": panels})
    phase, diameter = figure.axes
    assert phase.get_ylim() == diameter.get_ylim()
    assert phase.get_ylim()[1] >= 2.5
    assert same_color(phase.lines[1].get_color(), diameter.lines[0].get_color())
    (legend,) = [legend for one in [figure, *figure.subfigs] for legend in one.legends]
    assert [text.get_text() for text in legend.get_texts()] == ["a (n = 3)", "b (n = 7)"]


def test_positions_have_a_map_for_each_layer() -> None:
    one = places([0, 0, 1, 1], [0, 1] * 2, [1, 2, 3, 4])
    figure = overview_figure({"part": {"position": {"a": one, "b": one}}})
    assert [ax.get_title() for ax in figure.axes] == ["a", "b"]
    assert not [legend for sub in figure.subfigs for legend in sub.legends]  # there are no lines


def test_beside_maps_the_legend_is_that_of_the_only_lines() -> None:
    one = places([0, 0, 1, 1], [0, 1] * 2, [1, 2, 3, 4])
    polarity = curve("polarity", [-1, 1])
    figure = overview_figure({"": {"position": {"a": one}, "polarity": {"a": polarity}}})
    position, dots = figure.axes
    assert position.get_legend() is None
    legend = dots.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["a (n = 3)"]


def test_examples_are_shown_below_with_what_they_are() -> None:
    examples = [(np.zeros((4, 4)), "phase 0°"), (np.ones((4, 4, 3)), "one\nphase $180°")]
    panels = {"": {"phase": {"a": curve("phase", [0, 180])}}}
    figure = overview_figure(panels, examples=examples)
    figure.draw_without_rendering()
    shown = [ax for ax in figure.axes if ax.images]
    assert [ax.get_xlabel() for ax in shown] == ["phase 0°", "one\nphase $180°"]
    bottom = min(box.y0 for ax in shown if (box := ax.get_tightbbox()) is not None)
    assert 0 <= bottom < 0.05 * figure.bbox.height  # with no empty strip below
    panel = figure.axes[0].get_window_extent()
    assert all(ax.get_window_extent().y1 < panel.y0 for ax in shown)


def test_a_number_is_in_one_line_with_its_units() -> None:
    examples = [(np.zeros((4, 4)), "spatial frequency 2.5 cycles/degree")]
    figure = overview_figure({"": {"phase": {"a": curve("phase", [0, 180])}}}, examples=examples)
    (shown,) = [ax for ax in figure.axes if ax.images]
    lines = shown.get_xlabel().replace("\N{NO-BREAK SPACE}", " ").splitlines()
    assert lines == ["spatial frequency", "2.5 cycles/degree"]


def test_nothing_of_an_overview_is_cut_off() -> None:
    long = "center\nsurround spatial frequency 0.625 cycles/degree"
    panels = {name: {"a": curve(name, [1, 2, 4])} for name in ("phase", "diameter", "contrast")}
    for count in (1, 3):
        some = dict(list(panels.items())[:count])
        examples = [(np.zeros((48, 48)), long)] * 6
        figure = overview_figure({"": some, "b": some}, examples=examples)
        figure.draw_without_rendering()
        for ax in figure.axes:
            box = ax.get_tightbbox()
            assert box is not None
            assert box.y0 >= 0
            assert box.x0 >= -1
            assert box.y1 <= figure.bbox.height + 1


# Beside the animal.


def cells(counts: list[int], edges: list[float], units: str = "1") -> xr.DataArray:
    sides = {"low": edges[:-1], "high": edges[1:]}
    return xr.DataArray(
        np.array(counts),
        {side: ("bin", values, {"units": units}) for side, values in sides.items()},
        ("bin",),
        attrs={"long_name": "a property"},
    )


def test_histograms_are_shares_of_cells_and_of_units_in_the_same_bins() -> None:
    published = {
        "one": cells([1, 3], [0.0, 1.0, 2.0]),
        "two": cells([2, 0, 2], [0.5, 1.0, 2.0, 4.0], "degree"),
    }
    layers = {
        "a": xr.Dataset({name: ("unit", [-9.0, 0.5, 1.0, 7.0, np.nan]) for name in published}),
        "b": xr.Dataset({name: ("unit", [np.nan]) for name in published}),
    }
    scores = {"a": {"one": 0.5, "two": 0.25}, "b": {"one": np.nan, "two": np.nan}}
    figure = property_histograms(layers, published, scores=scores)
    one, two = figure.axes[:2]
    stairs = [[p for p in ax.patches if isinstance(p, StepPatch)] for ax in (one, two)]
    values = [[steps.get_data()[0] for steps in own] for own in stairs]
    np.testing.assert_allclose(values[0], [[1 / 4, 3 / 4], [2 / 4, 2 / 4]])  # none of b
    np.testing.assert_allclose(values[1], [[2 / 4, 0, 2 / 4], [2 / 4, 1 / 4, 1 / 4]])
    np.testing.assert_array_equal(stairs[1][0].get_data()[1], [0.5, 1, 2, 4])
    assert [text.get_text() for text in one.texts] == ["0.50", "–"]
    assert [text.get_text() for text in one.get_xticklabels()] == ["no", "yes"]
    assert (one.get_xscale(), two.get_xscale()) == ("linear", "log")
    assert two.get_xlabel() == "a property (degrees)"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["macaque V1", "a", "b"]
    assert not any(ax.axison for ax in figure.axes[2:])


@pytest.mark.parametrize(
    ("units", "words"), [("octave", " (octaves)"), ("percent", " (%)"), ("s", " (s)"), ("1", "")]
)
def test_units_are_told_as_on_the_page(units: str, words: str) -> None:
    published = {"one": cells([1, 3, 2], [0.0, 1.0, 2.0, 3.0], units)}
    figure = property_histograms({"a": xr.Dataset({"one": ("unit", [0.5])})}, published)
    assert figure.axes[0].get_xlabel() == f"a property{words}"


def test_every_property_has_its_panel() -> None:
    published = distributions()
    units = xr.Dataset({name: ("unit", [1.0]) for name in published})
    figure = property_histograms({"layer": units}, published)
    assert len([ax for ax in figure.axes if ax.axison]) == len(published) == 15
    assert all(not ax.texts for ax in figure.axes)
