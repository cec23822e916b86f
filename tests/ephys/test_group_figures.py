"""Units are laid out by their group, and every mark lies where its number says."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from ephys.color_figures import hue_colors
from ephys.group_figures import (
    ABREAST,
    OBSERVED,
    filters_by_group,
    group_histograms,
    permutation_distribution,
    similarity_matrix,
)

GROUPS = np.array([1, 0, 1, 0, 1])


def filters(count: int = 5, channels: int = 3) -> xr.DataArray:
    values = np.random.default_rng(0).normal(size=(count, channels, 4, 6))
    return xr.DataArray(values, dims=("unit", "channel", "y", "x"))


def tiles(figure: Figure) -> list[tuple[np.ndarray, tuple[float, ...]]]:
    """Pixels and extent of every filter, in the order of units."""
    return [
        (np.asarray(image.get_array()), tuple(map(float, image.get_extent())))
        for image in figure.axes[0].images
    ]


def marks(figure: Figure, gid: str) -> list[tuple[np.ndarray, Any]]:
    """The ends, (2, 2), and the color of every line of a kind."""
    found = []
    for lines in figure.axes[0].collections:
        if isinstance(lines, LineCollection) and lines.get_gid() == gid:
            segments, colors = lines.get_segments(), np.asarray(lines.get_colors())
            found += list(
                zip(
                    map(np.asarray, segments),
                    np.broadcast_to(colors, (len(segments), 4)),
                    strict=True,
                )
            )
    return found


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def numbers(*values: float, **attrs: Any) -> xr.DataArray:
    return xr.DataArray(np.array(values), dims="unit", attrs=attrs)


def panels(figure: Figure) -> list[Any]:
    return [ax for ax in figure.axes if ax.axison]


# Filters.


def test_zero_is_mid_grey_and_the_largest_weight_of_a_filter_the_end_of_the_display() -> None:
    shown = filters()
    for (pixels, _), weights in zip(
        tiles(filters_by_group(shown, GROUPS)), shown.values, strict=True
    ):
        expected = 0.5 + 0.5 * weights.transpose(1, 2, 0) / abs(weights).max()
        np.testing.assert_allclose(pixels, expected)
        assert np.isin([pixels.min(), pixels.max()], [0, 1]).any()


def test_on_a_common_scale_that_is_the_largest_weight_of_all() -> None:
    shown = filters()
    pixels = [pixels for pixels, _ in tiles(filters_by_group(shown, GROUPS, common_scale=True))]
    expected = 0.5 + 0.5 * shown.transpose("unit", "y", "x", "channel") / abs(shown).max()
    np.testing.assert_allclose(pixels, expected)


def test_a_filter_without_weights_is_grey_and_one_channel_is_shown_grey() -> None:
    pixels = [pixels for pixels, _ in tiles(filters_by_group(filters(channels=1), GROUPS))]
    assert np.ptp(np.array(pixels), axis=-1).max() == 0
    pixels = [pixels for pixels, _ in tiles(filters_by_group(0 * filters(), GROUPS))]
    np.testing.assert_array_equal(pixels, 0.5)


def test_filters_keep_their_upper_row_above() -> None:
    shown = filters(2)
    ax = filters_by_group(shown, [0, 0]).axes[0]
    assert ax.images[0].origin == "upper"
    _, _, bottom, top = ax.images[0].get_extent()
    assert bottom < top
    assert ax.get_ylim()[0] < ax.get_ylim()[1]


def test_each_group_has_a_row_in_the_order_of_its_units() -> None:
    figure = filters_by_group(filters(), GROUPS)
    extents = np.array([extent for _, extent in tiles(figure)])
    assert extents[[1, 3], 0].tolist() == [0, 1]
    assert extents[[0, 2, 4], 0].tolist() == [0, 1, 2]
    assert np.ptp(extents[[1, 3], 3]) == np.ptp(extents[[0, 2, 4], 3]) == 0
    assert extents[1, 2] > extents[0, 3]  # group 0 is above group 1
    assert texts(figure) == ["group 0\n(n = 2)", "group 1\n(n = 3)"]
    for label, row in zip(figure.axes[0].texts, (1, 0), strict=True):
        assert extents[row, 2] < label.get_position()[1] < extents[row, 3]


def test_a_large_group_goes_on_in_the_next_line() -> None:
    extents = np.array([e for _, e in tiles(filters_by_group(filters(40), np.repeat([0, 1], 20)))])
    for start in (0, 20):
        assert extents[start : start + 20, 0].tolist() == [*range(ABREAST), *range(4)]
    tops = np.unique(extents[:, 3])
    assert len(tops) == 4
    assert min(np.diff(tops)) > extents[0, 3] - extents[0, 2]  # no tile covers another


def test_bars_show_both_ends_of_the_hue_axis_as_long_as_it_is_chromatic() -> None:
    hue, chromatic = [0, 90, np.nan, 30, 200], [1, 0.5, 1, 0, 0.25]
    figure = filters_by_group(filters(), GROUPS, hue=hue, chromatic=chromatic)
    drawn = marks(figure, "hue")
    ends, opposite = drawn[:4], drawn[4:]
    (full,) = {round(np.ptp(line[:, 0]), 9) for line, _ in marks(figure, "full hue")}
    which = [0, 1, 3, 4]
    extents = [tiles(figure)[unit][1] for unit in which]
    for unit, (one, color), (other, back), extent in zip(
        which, ends, opposite, extents, strict=True
    ):
        np.testing.assert_allclose([color[:3], back[:3]], hue_colors([hue[unit], hue[unit] + 180]))
        both = np.concatenate([one, other])
        assert np.ptp(both[:, 0]) == pytest.approx(chromatic[unit] * full)
        assert extent[0] <= both[:, 0].min() <= both[:, 0].max() <= extent[1]
        assert both[0, 1] < extent[2]


def test_lines_lie_as_the_orientation_says_as_long_as_it_is_selective() -> None:
    orientation, selectivity = [0, 45, 90, 135, np.nan], [1, 0.5, 0.25, 1, 1]
    figure = filters_by_group(filters(), GROUPS, orientation=orientation, selectivity=selectivity)
    lines = [line for line, _ in marks(figure, "orientation")]
    along = np.array([line[1] - line[0] for line in lines])
    assert len(along) == 4
    np.testing.assert_allclose(np.rad2deg(np.arctan2(along[:, 1], along[:, 0])), orientation[:4])
    lengths = np.hypot(*along.T)
    np.testing.assert_allclose(lengths / lengths[0], selectivity[:4])
    box = figure.axes[0].get_window_extent()  # and a step is as long across as up, on the page
    x, y = (np.ptp(limits) for limits in (figure.axes[0].get_xlim(), figure.axes[0].get_ylim()))
    assert box.width / x == pytest.approx(box.height / y)


def test_the_note_says_which_scale_and_what_the_marks_are() -> None:
    def note(**options: Any) -> str:
        return filters_by_group(filters(), GROUPS, **options).texts[0].get_text().replace("\n", " ")

    assert note() == "Each filter on mid-grey, to the largest weight of its own."
    assert "of all filters" in note(common_scale=True)
    angles = np.zeros(5)
    assert note(hue=angles).endswith("Bar: the two ends of its hue axis.")
    assert "longer the more chromatic" in note(hue=angles, chromatic=angles)
    assert "longer the more selective" in note(orientation=angles, selectivity=angles)


@pytest.mark.parametrize("count", [2, 40])
def test_nothing_of_the_filters_is_cut_off_or_under_the_note(count: int) -> None:
    angles = np.linspace(0, 180, count)
    figure = filters_by_group(
        filters(count),
        np.arange(count) % 2,
        hue=angles,
        orientation=angles,
        selectivity=angles / 180,
    )
    check_within(figure)
    note = figure.texts[0].get_window_extent()
    assert note.y1 <= figure.axes[0].get_window_extent().y0


@pytest.mark.parametrize(
    ("shown", "options", "words"),
    [
        (filters().rename(x="column"), {}, "along unit, channel, y, column"),
        (filters(channels=2), {}, "only those of 1 channel or of 3"),
        (filters() * np.nan, {}, "NaN or infinite"),
        (filters(), {"hue": [1, 2]}, r"hue is of shape \(2,\)"),
        (filters(), {"hue": np.zeros(5), "chromatic": np.full(5, 1.5)}, "chromatic=1.5 is not"),
        (filters(), {"chromatic": np.zeros(5)}, "give hue too"),
        (filters(), {"selectivity": np.zeros(5)}, "give orientation too"),
        (filters(4), {}, "one for each of 4 units"),
    ],
)
def test_what_are_no_filters_is_refused(
    shown: xr.DataArray, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        filters_by_group(shown, GROUPS, **options)


# Histograms.


def stairs(ax: Axes) -> list[tuple[np.ndarray, np.ndarray]]:
    drawn = [patch.get_data() for patch in ax.patches if isinstance(patch, StepPatch)]
    return [(np.asarray(values), np.asarray(edges)) for values, edges, _ in drawn]


def bars(ax: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[Any]]:
    """Angles, heights expected, heights, and colors of the latter."""
    expected, own = ax.containers
    angles = [np.rad2deg(bar.get_x() + bar.get_width() / 2) for bar in own]
    heights = [[bar.get_height() for bar in one] for one in (expected, own)]
    return (
        np.array(angles),
        np.array(heights[0]),
        np.array(heights[1]),
        [bar.get_facecolor() for bar in own],
    )


def test_counts_of_each_group_are_over_those_expected_of_it() -> None:
    values = numbers(0, 0, 1, 4, 4, np.nan, long_name="a thing", units="degree")
    figure = group_histograms(values, [0, 0, 0, 0, 1, 1], bins=2)
    first, second = panels(figure)
    (expected, edges), (counts, _) = stairs(first)
    assert edges.tolist() == [0, 2, 4]
    assert counts.tolist() == [3, 1]
    np.testing.assert_allclose(expected, [4 * 3 / 5, 4 * 2 / 5])
    (expected, _), (counts, _) = stairs(second)
    assert counts.tolist() == [0, 1]
    np.testing.assert_allclose(expected, [3 / 5, 2 / 5])
    assert [ax.get_title() for ax in (first, second)] == [
        "group 0 (n = 4)",
        "group 1 (n = 1 of 2)",
    ]
    assert figure.get_supxlabel() == "a thing (degrees)"
    assert first.get_ylabel() == "units"
    assert first.get_ylim() == second.get_ylim()


def test_weights_count() -> None:
    figure = group_histograms(numbers(0, 0, 1), [0, 0, 0], bins=2, weights=[1, 0.5, 0.25])
    (ax,) = panels(figure)
    assert stairs(ax)[1][0].tolist() == [1.5, 0.25]
    assert ax.get_ylabel() == "sum of weights"


def test_orientations_go_around_on_both_sides() -> None:
    values = numbers(0, 44, 46, 179, -1, 181)
    (ax,) = panels(group_histograms(values, np.zeros(6), period=180, bins=4))
    angles, expected, heights, colors = bars(ax)
    np.testing.assert_allclose(angles, np.arange(8) * 45)
    assert heights.tolist() == [4, 2, 0, 0] * 2
    assert expected.tolist() == heights.tolist()
    assert all(same_color(one, other) for one, other in zip(colors[:4], colors[4:], strict=True))
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0°", "90°", "0°", "90°"]


def test_hues_go_around_once_in_their_colors() -> None:
    values = numbers(0, 0, 120, 350, period=360)
    (ax,) = panels(group_histograms(values, np.zeros(4), space="hsl", bins=3))
    angles, _, heights, colors = bars(ax)
    np.testing.assert_allclose(angles, [0, 120, 240])
    assert heights.tolist() == [3, 1, 0]
    np.testing.assert_allclose(np.array(colors)[:, :3], np.eye(3), atol=1e-12)


def test_an_axis_of_hue_has_a_color_at_either_end() -> None:
    (ax,) = panels(group_histograms(numbers(0, 90, period=180), [0, 0], space="dkl", bins=2))
    _, _, heights, colors = bars(ax)
    assert heights.tolist() == [1, 1, 1, 1]
    np.testing.assert_allclose(np.array(colors)[:, :3], hue_colors([0, 90, 180, 270]))


def test_all_circles_have_one_scale_that_holds_every_bar() -> None:
    values, groups = numbers(0, 0, 0, 90, 45), [0, 0, 0, 1, 1]
    one, other = panels(group_histograms(values, groups, period=180))
    assert one.get_ylim() == other.get_ylim()
    assert one.get_ylim()[1] >= 3


@pytest.mark.parametrize("period", [None, 180, 360])
def test_nothing_of_the_histograms_is_cut_off(period: float | None) -> None:
    values = numbers(*range(20), long_name="preferred orientation", units="degree")
    check_within(group_histograms(values, np.arange(20) % 3, period=period))


def test_a_group_without_values_has_an_empty_panel() -> None:
    for period in (None, 180):
        figure = group_histograms(numbers(np.nan, 1, np.nan), [0, 1, 0], period=period)
        assert panels(figure)[0].get_title() == "group 0 (n = 0 of 2)"
        figure.draw_without_rendering()
        group_histograms(numbers(np.nan), [0], period=period).draw_without_rendering()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"period": 90}, "period=90 is none of 180 and 360"),
        ({"space": "dkl"}, "pass their period too"),
        ({"bins": 0}, "bins=0 is below 1"),
        ({"weights": [1, -1]}, "weights go down to -1"),
        ({"weights": [1]}, r"weights is of shape \(1,\)"),
    ],
)
def test_what_are_no_histograms_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        group_histograms(numbers(1, 2), [0, 0], **options)


def test_values_that_are_not_of_units_are_refused() -> None:
    with pytest.raises(ValueError, match="not along unit"):
        group_histograms(xr.DataArray([[1.0]], dims=("unit", "contrast")), [0])


# Similarity.


def pairs(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, dims=("unit", "unit_2"), attrs={"long_name": "cosine"})


def test_pairs_are_in_the_order_of_groups_without_the_diagonal() -> None:
    values = np.arange(25.0).reshape(5, 5) / 25
    figure = similarity_matrix(pairs(values), GROUPS)
    (image,) = figure.axes[0].images
    shown: np.ndarray = np.ma.filled(np.ma.asarray(image.get_array()), np.nan)
    order = [1, 3, 0, 2, 4]
    expected = np.where(np.eye(5) > 0, np.nan, values[np.ix_(order, order)])
    np.testing.assert_array_equal(shown, expected)
    assert values[0, 0] == 0  # what was passed is as it was
    assert figure.axes[1].get_ylabel() == "cosine"


def test_borders_and_names_are_where_the_groups_are() -> None:
    ax = similarity_matrix(pairs(np.eye(5)), GROUPS).axes[0]
    assert [np.asarray(line.get_ydata(), float).tolist() for line in ax.lines[::2]] == [[1.5, 1.5]]
    assert [np.asarray(line.get_xdata(), float).tolist() for line in ax.lines[1::2]] == [[1.5, 1.5]]
    assert ax.get_yticks().tolist() == ax.get_xticks().tolist() == [0.5, 3.0]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["group 0", "group 1"]


@pytest.mark.parametrize(
    ("off_diagonal", "limits", "name"),
    [
        (0.5, (0, 0.5), "viridis"),
        (-0.5, (-0.5, 0.5), "RdBu_r"),
        (-7, (-1, 1), "RdBu_r"),
        (0, (0, 1), "viridis"),
        (np.nan, (0, 1), "viridis"),
    ],
)
def test_colors_go_from_0_or_both_ways_around_it(
    off_diagonal: float, limits: tuple[float, float], name: str
) -> None:
    figure = similarity_matrix(pairs(np.full((2, 2), off_diagonal)), [0, 1])
    (image,) = figure.axes[0].images
    assert image.get_clim() == limits
    assert image.get_cmap().name == name


def test_nothing_of_the_matrix_is_cut_off() -> None:
    check_within(similarity_matrix(pairs(np.eye(5)), ["a rather long name"] * 2 + ["b"] * 3))


@pytest.mark.parametrize("shape", [(5, 4), (5,), (1, 1)])
def test_what_is_no_similarity_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="give it for all pairs"):
        similarity_matrix(xr.DataArray(np.ones(shape)), GROUPS)


def test_groups_of_other_units_are_refused() -> None:
    with pytest.raises(ValueError, match="one for each of 2 units"):
        similarity_matrix(pairs(np.eye(2)), GROUPS)


# Permutations.


def outcome(**observed: float) -> xr.Dataset:
    """A property each, of which the permutations are -49.5 to 49.5."""
    dims = ("property", "statistic")
    values = np.array([[float(value)] for value in observed.values()])
    rows = dict.fromkeys(("observed", "effect_size"), (dims, values))
    rows |= {"low": (dims, values - 1), "high": (dims, values + 2)}
    rows |= {"p": (dims, np.full_like(values, 0.01)), "p_corrected": (dims, 0 * values + 0.02)}
    permuted = np.broadcast_to(np.arange(-49.5, 50), (len(observed), 1, 100))
    data = {**rows, "permuted": ((*dims, "permutation"), permuted)}
    return xr.Dataset(data, {"property": list(observed), "statistic": ["difference"]})


@pytest.mark.parametrize(("observed", "tails"), [(40, 20), (-45, 10), (60, 0), (0, 100)])
def test_the_tails_hold_as_many_on_either_side_as_are_beyond_the_observed(
    observed: float, tails: int
) -> None:
    (ax,) = permutation_distribution(outcome(hue=observed)).axes
    (everything, edges), (dark, _) = stairs(ax)
    assert everything.sum() == 100
    assert dark.sum() == tails
    upper = edges[:-1] >= 0
    assert dark[upper].sum() == dark[~upper].sum() == tails / 2
    assert (dark <= everything).all()


def test_the_line_is_at_the_observed_with_its_interval() -> None:
    (ax,) = permutation_distribution(outcome(hue=40)).axes
    line, interval = ax.lines
    assert np.asarray(line.get_xdata()).tolist() == [40, 40]
    assert np.asarray(interval.get_xdata()).tolist() == [39, 42]
    assert same_color(line.get_color(), OBSERVED)
    assert ax.texts[0].get_text() == "p = 0.01, corrected 0.02; z = 40.0"


def test_each_property_has_its_row_and_each_statistic_its_name() -> None:
    figure = permutation_distribution(outcome(hue=1, filter_cosine=np.nan))
    assert [ax.get_ylabel() for ax in figure.axes] == ["hue", "filter cosine"]
    assert "within" in figure.axes[1].get_xlabel()
    assert "not defined" in figure.axes[1].texts[0].get_text()
    check_within(figure)


def test_groups_made_from_the_property_have_no_p() -> None:
    result = outcome(hue=40)
    none = result * np.nan
    none["observed"] = result["observed"]
    (ax,) = permutation_distribution(none).axes
    assert len(stairs(ax)) == 0
    assert np.asarray(ax.lines[0].get_xdata()).tolist() == [40, 40]
    assert "no p" in ax.texts[0].get_text()
    check_within(ax.figure)  # type: ignore[arg-type]


def test_a_result_without_its_permutations_says_how_to_get_them() -> None:
    with pytest.raises(KeyError, match="keep_permuted=True"):
        permutation_distribution(outcome(hue=1).drop_vars("permuted"))


def test_pyplot_hears_nothing() -> None:
    filters_by_group(filters(), GROUPS)
    group_histograms(numbers(1, 2), [0, 1])
    similarity_matrix(pairs(np.eye(2)), [0, 1])
    permutation_distribution(outcome(hue=1))
    assert plt.get_fignums() == []


def check_within(figure: Figure) -> None:
    """Whether all that is drawn is on the page, to a pixel."""
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    pixel = 1 / figure.dpi
    assert box.x0 >= -pixel
    assert box.y0 >= -pixel
    assert box.x1 <= width + pixel
    assert box.y1 <= height + pixel
