"""Units lie where their cone weights say, and hues look and point as they should."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.text import Annotation

from ephys.analysis import protocol_figure
from ephys.color_figures import (
    MOST_GROUPS,
    PALETTE,
    color_figure,
    cone_weight_plane,
    group_styles,
    hue_colors,
    hue_tuning,
    members,
)
from ephys.stimuli.colors import cone_contrasts, luminance
from ephys.stimuli.protocols import PROTOCOLS

AZIMUTHS = np.arange(12) * 30.0


def weights(*rows: tuple[float, float, float]) -> xr.DataArray:
    return xr.DataArray(np.array(rows), {"cone": ["L", "M", "S"]}, ("unit", "cone"))


def cosine(preferred: float, gain: float = 2.0, blank: float = 1.0) -> np.ndarray:
    return blank + gain * np.cos(np.deg2rad(AZIMUTHS - preferred))


def curves(*rows: np.ndarray, blank: float = 1.0) -> xr.DataArray:
    coordinates = {"azimuth": AZIMUTHS, "blank": ("unit", np.full(len(rows), blank))}
    return xr.DataArray(np.array(rows), coordinates, ("unit", "azimuth"))


def dots(figure: Figure) -> tuple[np.ndarray, np.ndarray, list[Any]]:
    """Places, whether filled, and edge colors of all units drawn."""
    places, filled, edges = [], [], []
    for one in figure.axes[0].collections:
        for place in np.asarray(one.get_offsets()):
            places.append(place)
            filled.append(len(np.asarray(one.get_facecolor())) > 0)
            edges.append(np.asarray(one.get_edgecolor())[0])
    return np.array(places), np.array(filled), edges


def legend(figure: Figure) -> list[str]:
    (one,) = figure.legends
    return [text.get_text() for text in one.get_texts()]


# The plane of cone weights.


def test_units_lie_at_their_share_of_l_and_m_and_s_is_what_is_missing() -> None:
    shown = weights((2, -2, 0), (0, 0, 3), (1, 1, -2), (-3, 0, -1))
    places, filled, _ = dots(cone_weight_plane(shown))
    order = np.lexsort(places.T)
    expected = np.array([[0.5, -0.5], [0, 0], [0.25, 0.25], [-0.75, 0]])
    np.testing.assert_allclose(places[order], expected[np.lexsort(expected.T)])
    by_place = {tuple(place): bool(fill) for place, fill in zip(places, filled, strict=True)}
    assert by_place[0.5, -0.5]
    assert by_place[0, 0]
    assert not by_place[0.25, 0.25]
    assert not by_place[-0.75, 0]


def test_cones_are_told_by_their_names_and_dims_by_theirs() -> None:
    shown = weights((1, -2, 1), (1, 2, -5))
    turned = shown.isel(cone=[2, 0, 1]).transpose("cone", "unit")
    np.testing.assert_allclose(
        dots(cone_weight_plane(turned))[0], dots(cone_weight_plane(shown))[0]
    )


def test_the_edge_of_the_diamond_is_drawn() -> None:
    edge = cone_weight_plane(weights((1, 1, 1))).axes[0].lines[0].get_xydata()
    np.testing.assert_allclose(abs(np.asarray(edge)).sum(1), 1)


def test_a_filter_that_is_blind_to_color_in_pixels_is_marked() -> None:
    # Its answer, red plus green plus blue, to what each class of cones alone sees.
    gains = np.linalg.inv(cone_contrasts(0.5 + np.eye(3), 0.5).T).sum(0)
    share = gains / abs(gains).sum()
    figure = cone_weight_plane(weights((1, 1, 1)))
    (cross,) = [line for line in figure.axes[0].lines if line.get_gid() == "alike"]
    np.testing.assert_allclose(np.asarray(cross.get_xydata()), [share[:2]], atol=1e-12)
    (said,) = [text for text in figure.axes[0].texts if text.get_text() == "R = G = B"]
    assert isinstance(said, Annotation)
    assert said.xy == pytest.approx(share[:2])  # where its line ends
    assert abs(np.array(said.xyann)).sum() > 1  # outside the diamond, where no unit is


def test_units_without_weights_are_counted_and_not_drawn() -> None:
    figure = cone_weight_plane(weights((1, 0, 0), (0, 0, 0), (np.nan, 1, 1)), title="conv1")
    assert len(dots(figure)[0]) == 1
    assert figure.axes[0].get_title() == "conv1  (n = 1, 2 without weights)"


def test_groups_differ_in_color_and_are_counted() -> None:
    shown = weights((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0))
    figure = cone_weight_plane(shown, ["double", "", "double", "double"])
    assert legend(figure) == ["double (n = 2)", "none (n = 1)", "+S", "\N{MINUS SIGN}S"]
    places, _, edges = dots(figure)
    colors = {tuple(place): edge for place, edge in zip(places, edges, strict=True)}
    assert same_color(colors[1, 0], PALETTE[0])
    assert same_color(colors[0, 0], PALETTE[0])
    assert same_color(colors[0, 1], PALETTE[1])


def test_all_groups_that_are_allowed_differ_in_color_or_shape() -> None:
    assert len(set(group_styles(MOST_GROUPS))) == MOST_GROUPS
    with pytest.raises(ValueError, match="groups cannot be told apart"):
        group_styles(MOST_GROUPS + 1)


def test_nothing_of_the_plane_is_cut_off() -> None:
    figure = cone_weight_plane(weights((1, 1, 1)), ["luminance-preferring"])
    check_within(figure)


@pytest.mark.parametrize(
    ("shown", "groups", "words"),
    [
        (weights((1, 1, 1)).rename(cone="color"), None, "along unit, color, not along unit, cone"),
        (weights((1, 1, 1)).assign_coords(cone=["r", "g", "b"]), None, "label them L, M, S"),
        (weights((1, 1, 1)).drop_vars("cone"), None, "label them L, M, S"),
        (weights((1, 1, 1)), [1, 2], "one for each of 1 units"),
    ],
)
def test_what_are_no_cone_weights_is_refused(
    shown: xr.DataArray, groups: list[int] | None, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        cone_weight_plane(shown, groups)


# Groups.


def test_numbered_groups_are_in_order_and_words_as_they_come() -> None:
    numbers = members([10, 2, 10], 3)
    assert {name: units.tolist() for name, units in numbers.items()} == {
        "group 2": [1],
        "group 10": [0, 2],
    }
    words = members(["", "simple", "complex", "simple"], 4)
    assert list(words) == ["simple", "complex", "none"]
    assert words["simple"].tolist() == [1, 3]


def test_a_group_that_is_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="unit 1 is NaN"):
        members([0.0, np.nan], 2)


# Hues.


def test_hues_of_dkl_are_isoluminant_and_0_is_seen_by_l_and_not_by_s() -> None:
    colors = hue_colors(AZIMUTHS)
    np.testing.assert_allclose(luminance(colors), 0.5, rtol=1e-9)
    el, em, es = cone_contrasts(colors[0], 0.5)
    assert el > 0.05
    assert em < -0.05
    np.testing.assert_allclose(es, 0, atol=1e-9)
    assert cone_contrasts(colors[3], 0.5)[2] > 0.5


def test_hues_of_hsl_are_red_green_and_blue() -> None:
    np.testing.assert_allclose(hue_colors([0, 120, 240], "hsl"), np.eye(3), atol=1e-12)


def test_other_hues_are_refused() -> None:
    with pytest.raises(ValueError, match="'lab' is none of dkl, hsl"):
        hue_colors([0], "lab")  # type: ignore[arg-type]


def test_the_line_goes_around_and_the_ring_is_the_blank() -> None:
    (ax,) = hue_tuning(curves(cosine(90))).axes
    response, blank = (np.asarray(line.get_xydata(), float) for line in ax.lines)
    np.testing.assert_allclose(response[:-1, 0], np.deg2rad(AZIMUTHS))
    np.testing.assert_allclose(response[:-1, 1], cosine(90))
    assert response[-1].tolist() == pytest.approx([2 * np.pi, cosine(90)[0]])
    np.testing.assert_allclose(blank[:, 1], 1)
    assert ax.get_ylim()[0] < response[:, 1].min()
    assert ax.get_xlabel() == "\N{MINUS SIGN}1 to 3"


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((0.0, 1523.4), "0 to 1520"),
        ((-0.00123456, 99_400.0), "\N{MINUS SIGN}0.00123 to 99400"),
        ((0.0002, 250_000.0), "0.0002 to 2.5e+05"),
    ],
)
def test_ends_of_a_response_have_three_digits_and_rarely_an_exponent(
    ends: tuple[float, float], words: str
) -> None:
    low, high = ends
    (ax,) = hue_tuning(curves(low + (high - low) * (AZIMUTHS == 90), blank=low)).axes
    assert ax.get_xlabel() == words


def test_hues_around_the_curve_look_as_they_were_shown() -> None:
    (ax,) = hue_tuning(curves(cosine(90))).axes
    for patch, angle, color in zip(ax.patches, AZIMUTHS, hue_colors(AZIMUTHS), strict=True):
        middle = patch.get_x() + patch.get_width() / 2  # type: ignore[attr-defined]
        assert middle == pytest.approx(np.deg2rad(angle))
        assert patch.get_y() > cosine(90).max()  # type: ignore[attr-defined]
        np.testing.assert_allclose(looks(patch), color)
    shown = np.random.default_rng(0).random((12, 3))
    (ax,) = hue_tuning(curves(cosine(90))[:, ::-1], rgb=shown[::-1]).axes
    np.testing.assert_allclose([looks(patch) for patch in ax.patches], shown)


def looks(patch: Patch) -> np.ndarray:
    return np.array(patch.get_facecolor(), float)[:3]


def test_hues_in_any_order_are_drawn_around() -> None:
    shuffled = curves(cosine(90))[:, np.random.default_rng(0).permutation(12)]
    (ax,) = hue_tuning(shuffled).axes
    np.testing.assert_allclose(np.asarray(ax.lines[0].get_ydata())[:-1], cosine(90))


def test_part_of_the_circle_is_not_closed() -> None:
    (ax,) = hue_tuning(curves(cosine(90))[:, :5]).axes
    assert len(np.asarray(ax.lines[0].get_xdata())) == 5


def test_each_unit_has_its_panel_and_its_name() -> None:
    many = curves(*[cosine(preferred) for preferred in range(9)])
    named = many.assign_coords(channel=("unit", np.arange(9) + 5))
    assert titles(hue_tuning(many))[:2] == ["unit 0", "unit 1"]
    assert titles(hue_tuning(named)) == [f"channel {5 + unit}" for unit in range(9)]
    assert titles(hue_tuning(many[:2], titles=["a", "b"])) == ["a", "b"]


def titles(figure: Figure) -> list[str]:
    return [ax.get_title() for ax in figure.axes if ax.axison]


def test_silent_and_flat_units_and_those_without_a_blank_are_drawn() -> None:
    figure = hue_tuning(curves(0 * AZIMUTHS, np.nan * AZIMUTHS, blank=np.nan))
    figure.draw_without_rendering()
    assert [ax.get_xlabel() for ax in figure.axes] == ["0 to 0", "no response"]
    assert all(len(ax.lines) == 1 for ax in figure.axes)


def test_the_note_says_which_space() -> None:
    def note(figure: Figure) -> str:
        text = figure.get_supxlabel()
        return text.replace("\n", " ")

    assert "azimuth (degrees)" in note(hue_tuning(curves(cosine(0))))
    assert "up +S" in note(hue_tuning(curves(cosine(0))))
    in_hsl = note(hue_tuning(curves(cosine(0)).rename(azimuth="hue")))
    assert "hue (degrees)" in in_hsl
    assert "+S" not in in_hsl


@pytest.mark.parametrize("count", [1, 3, 9])
def test_nothing_of_hue_tuning_is_cut_off(count: int) -> None:
    check_within(hue_tuning(curves(*[cosine(0)] * count)))


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (curves(cosine(0))[0], "along azimuth, not along unit and an angle"),
        (curves(cosine(0))[:0], "curves of 0 units"),
        (curves(*[cosine(0)] * 97), "curves of 97 units; choose 1 to 96"),
    ],
)
def test_what_are_no_curves_is_refused(shown: xr.DataArray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        hue_tuning(shown)


def test_other_numbers_of_titles_and_colors_are_refused() -> None:
    with pytest.raises(ValueError, match="2 titles for 1 units"):
        hue_tuning(curves(cosine(0)), titles=["a", "b"])
    with pytest.raises(ValueError, match="3 numbers for 12 hues"):
        hue_tuning(curves(cosine(0)), rgb=np.zeros((11, 3)))


def test_pyplot_hears_nothing() -> None:
    cone_weight_plane(weights((1, 1, 1)))
    hue_tuning(curves(cosine(0)))
    assert plt.get_fignums() == []


def check_within(figure: Figure) -> None:
    """Whether all that is drawn is on the page."""
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    pixel = 1 / figure.dpi
    assert box.x0 >= -pixel
    assert box.y0 >= -pixel
    assert box.x1 <= width + pixel
    assert box.y1 <= height + pixel


# What a protocol shows.


def of_units(**measures: list[Any]) -> xr.Dataset:
    return xr.Dataset({name: ("unit", np.array(values)) for name, values in measures.items()})


def test_preferred_hues_are_at_their_angle_and_selectivity_with_two_units_curves() -> None:
    shown = curves(cosine(0, 1), cosine(90, 3), cosine(180, 2), cosine(0, 0))
    found = of_units(
        resultant_azimuth=[0.0, 90, 180, np.nan], hue_selectivity=[0.7, 0.8, np.nan, np.nan]
    )
    hues, most, median = color_figure({"conv1": found}, {"conv1": shown}).axes
    assert hues.get_title() == "layer conv1\npreferred hue (n = 2 of 4)"
    places = np.asarray(hues.collections[0].get_offsets())
    np.testing.assert_allclose(places, [[0, 0.7], [np.pi / 2, 0.8]])
    assert hues.get_ylim()[0] == 0
    for ax, title, curve in ((most, "most modulated", cosine(90, 3)), (median, "median", None)):
        assert ax.get_title().startswith(title)
        if curve is not None:
            np.testing.assert_allclose(np.asarray(ax.lines[0].get_ydata())[:-1], curve)
    np.testing.assert_allclose(np.asarray(median.lines[0].get_ydata())[:-1], cosine(180, 2))


def test_planes_of_several_layers_are_side_by_side() -> None:
    one = of_units(cone_weight_l=[0.5], cone_weight_m=[-0.25], cone_weight_s=[0.25])
    figure = color_figure({"a": one, "b": one})
    assert [ax.get_title() for ax in figure.axes] == ["layer a\nn = 1", "layer b\nn = 1"]
    filled, _ = figure.axes[0].collections[:2]
    np.testing.assert_allclose(np.asarray(filled.get_offsets()), [[0.5, -0.25]])


def test_ratios_are_in_octaves_and_classes_are_counted() -> None:
    found = of_units(
        sensitivity_ratio=[0.0, 0.3, 1.0, 3.0, 1e9, np.nan],
        color_class=["luminance-preferring"] * 2 + ["color-luminance"] + ["color-preferring"] * 3,
        opponency_class=["non-opponent"] * 2 + ["double-opponent"] * 2 + ["single-opponent", ""],
    )
    ratios, table = color_figure({"conv1": found}).axes
    heights = {
        round(bar.get_x() + bar.get_width() / 2, 2): bar.get_height()  # type: ignore[attr-defined]
        for bar in ratios.patches
    }
    assert {middle: count for middle, count in heights.items() if count} == {
        -3.75: 1,
        -1.75: 1,
        0.25: 1,
        1.75: 1,
        3.75: 1,
    }
    assert "n = 5 of 6" in ratios.get_title()
    counts: Any = table.images[0].get_array()
    names = [tick.get_text().replace("\n", "") for tick in table.get_xticklabels()]
    assert names == ["single-opponent", "double-opponent", "non-opponent", "none"]
    assert np.asarray(counts).tolist() == [[0, 0, 2, 0], [0, 1, 0, 0], [1, 1, 0, 1]]
    assert "n = 6" in table.get_title()


def test_curves_of_spatial_frequency_are_means_of_shares() -> None:
    values = np.array([[[1.0, 2], [0, 1], [4, 0]], [[10, 10], [0, 0], [0, 0]], [[0, 0]] * 3])
    parts = {"part": ["L-M", "S", "luminance"], "spatial_frequency": [1.0, 2]}
    shown = xr.DataArray(values, parts, ("unit", "part", "spatial_frequency"))
    found = of_units(sensitivity_ratio=[1.0, 1, np.nan])
    _, means = color_figure({"a": found}, {"a": shown}).axes
    lines = [np.asarray(line.get_ydata(), float).tolist() for line in means.lines]
    assert lines == [[0.625, 0.75], [0, 0.125], [0.5, 0]]
    assert "n = 2" in means.get_title()


def test_every_layer_has_its_row_also_one_that_answers_nothing() -> None:
    found = of_units(resultant_hue=[10.0], hue_selectivity=[0.5])
    shown = curves(cosine(0)).rename(azimuth="hue")
    figure = color_figure(
        {"a": found, "silent": found * np.nan, "b": found},
        {"a": shown, "silent": 0 * shown, "b": shown},
    )
    check_within(figure)
    heads = [ax.get_title() for ax in figure.axes if ax.get_title().startswith("layer")]
    assert [head.split("\n")[0] for head in heads] == ["layer a", "layer silent", "layer b"]
    left = {round(ax.get_position().x0, 1) for ax in figure.axes if "layer" in ax.get_title()}
    assert len(left) == 1


def test_what_has_nothing_of_color_is_refused() -> None:
    with pytest.raises(ValueError, match="layers conv1 have no measures of color"):
        color_figure({"conv1": of_units(osi=[0.5])})
    with pytest.raises(ValueError, match="layers none"):
        color_figure({})


@pytest.mark.parametrize(
    ("name", "titles"),
    [
        ("hue", ["layer a\npreferred hue", "most modulated", "median unit"]),
        ("cone_weights", ["layer a\nn = "]),
        ("isoluminant_frequency", ["layer a\ncolor over", "units of each", "tuning, mean"]),
        (
            "opponency",
            ["layer a\npreferred hue", "units of each", "most modulated", "median unit"],
        ),
    ],
)
def test_the_protocols_of_color_show_their_figure(name: str, titles: list[str]) -> None:
    table = PROTOCOLS[name]().table
    count = table.sizes["stimulus"]
    units = {"layer": ("unit", ["a", "a"]), "channel": ("unit", [0, 1])}
    response = np.random.default_rng(0).uniform(1, 2, (count, 2))
    responses = xr.Dataset(
        {"response": (("stimulus", "unit"), response), "blank": ("unit", [1.5, 1.2])},
        {**{key: ("stimulus", table[key].values) for key in table}, **units},
    )
    drawn = protocol_figure(responses, 0).axes
    for ax, title in zip(drawn, titles, strict=True):
        assert ax.get_title().startswith(title)
