"""Colors: what cones, displays and other people's formulas say they are."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ephys.display import RGB_TO_XYZ, XYZ_TO_LMS
from ephys.stimuli import colors
from ephys.stimuli.colors import (
    COLORS,
    LUMINANCE_WEIGHTS,
    cone_contrasts,
    decode_srgb,
    encode_srgb,
    hsl_to_srgb,
    hsv_to_srgb,
    lab_to_xyz,
    largest_contrast,
    lch_to_lab,
    luminance,
    rgb_to_xyz,
    xyz_to_lms,
    xyz_to_rgb,
)

with np.printoptions():  # which colour sets to those of an old numpy, for all
    import colour

difference: Any = colors.difference  # whose components are given by their names

SRGB = colour.RGB_COLOURSPACES["sRGB"]
# XYZ of the primaries of an sRGB display by Vos's correction, and what their cones make of it:
# Vienot, Brettel & Mollon (1999), equations 3 and 4.
JUDD_VOS = np.array(
    [[40.9568, 35.5041, 17.9167], [21.3389, 70.6743, 7.98680], [1.86297, 11.4620, 91.2367]]
)
VIENOT_LMS = np.array(
    [[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]]
)
ROUNDING = 1e-14  # a few dozen operations on numbers of about 1, in float64

greys = st.floats(0.01, 0.99)
angles = st.floats(-720, 720)
elevations = st.floats(-90, 90)
fractions = st.floats(0, 1)


def grid(*ranges: tuple[float, float], points: int = 8) -> np.ndarray:
    """(points^3, 3)"""
    axes = [np.linspace(low, high, points) for low, high in ranges]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


RGB = grid((0, 1), (0, 1), (0, 1))


# Displays.


def test_the_primaries_have_the_standards_luminances() -> None:
    np.testing.assert_array_equal(luminance(np.eye(3)).round(4), [0.2126, 0.7152, 0.0722])
    np.testing.assert_array_equal(luminance(np.eye(3)), LUMINANCE_WEIGHTS)
    np.testing.assert_allclose(luminance([1, 1, 1]), 1, atol=ROUNDING)


def test_the_matrix_is_the_standards_before_rounding() -> None:
    np.testing.assert_array_equal(RGB_TO_XYZ.round(4), SRGB.matrix_RGB_to_XYZ)
    exact = colour.normalised_primary_matrix(SRGB.primaries, SRGB.whitepoint)
    np.testing.assert_allclose(RGB_TO_XYZ, exact, atol=ROUNDING)


def test_every_grey_has_the_chromaticity_of_d65() -> None:
    xyz = rgb_to_xyz(np.linspace(0.1, 1, 7)[:, None] * np.ones(3))
    d65 = np.broadcast_to([0.3127, 0.3290], (7, 2))
    np.testing.assert_allclose(xyz[:, :2] / xyz.sum(1, keepdims=True), d65, atol=ROUNDING)


def test_xyz_and_back_is_the_same_light() -> None:
    np.testing.assert_allclose(xyz_to_rgb(rgb_to_xyz(RGB)), RGB, atol=ROUNDING)
    assert rgb_to_xyz(RGB.reshape(4, -1, 3)).shape == (4, len(RGB) // 4, 3)


def test_srgb_is_the_standards_curve() -> None:
    values = np.linspace(0, 1, 4097)
    np.testing.assert_allclose(
        encode_srgb(values), colour.models.eotf_inverse_sRGB(values), atol=ROUNDING
    )
    np.testing.assert_allclose(decode_srgb(values), colour.models.eotf_sRGB(values), atol=ROUNDING)


def test_srgb_has_the_values_that_everyone_knows() -> None:
    np.testing.assert_array_equal(encode_srgb(np.array([0.0, 1.0])).round(15), [0, 1])
    np.testing.assert_allclose(decode_srgb(np.array([128 / 255])), [0.2158605], atol=5e-8)
    np.testing.assert_allclose(encode_srgb(np.array([0.18])), [0.461356], atol=5e-7)


@given(light=fractions)
def test_decoding_undoes_encoding(light: float) -> None:
    back = decode_srgb(encode_srgb(np.array([light])))
    # Between its two roundings of the knee, 5e-9 of light wide, the standard is on the other
    # branch on the way back: 2.9e-8 / 12.92 away.
    knee = 0.0031308 <= light <= 0.04045 / 12.92
    np.testing.assert_allclose(back, light, atol=3e-9 if knee else ROUNDING)


def test_the_knee_of_srgb_is_closed_to_3e_9() -> None:
    light = np.linspace(0.00313, 0.00314, 100_001)
    error = abs(decode_srgb(encode_srgb(light)) - light)
    assert 1e-9 < error.max() < 3e-9


def test_images_are_encoded_like_arrays() -> None:
    light = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    light[0, 0, 0] = torch.linspace(0, 0.006, 7)
    before = light.clone()
    pixels = encode_srgb(light)
    assert pixels.dtype == torch.float32
    assert torch.equal(light, before)
    # In float32: a power, a product and a sum, each rounded; the way back is up to 2.3 times as
    # steep, and rounds as often.
    np.testing.assert_allclose(pixels, encode_srgb(light.double().numpy()), atol=4 * 2.0**-24)
    np.testing.assert_allclose(decode_srgb(pixels), light, atol=(2.3 * 4 + 4) * 2.0**-24)


# Formulas of colors.


def test_hsl_is_everyones() -> None:
    hsl = grid((0, 360), (0, 1), (0, 1), points=13)
    other = colour.HSL_to_RGB(hsl / [360, 1, 1])
    np.testing.assert_allclose(hsl_to_srgb(hsl), other, atol=ROUNDING)


def test_rounding_makes_no_pixel_negative() -> None:
    hsl = [[0, 1, lightness] for lightness in np.linspace(0, 1, 1001)]  # -3e-17 for 82 of them
    np.testing.assert_array_equal(np.clip(hsl_to_srgb(hsl), 0, 1), hsl_to_srgb(hsl))


def test_hsv_is_everyones() -> None:
    hsv = grid((0, 360), (0, 1), (0, 1), points=13)
    other = colour.HSV_to_RGB(hsv / [360, 1, 1])
    np.testing.assert_allclose(hsv_to_srgb(hsv), other, atol=ROUNDING)


@given(hue=angles, saturation=fractions, third=fractions)
def test_hues_go_round_and_pixels_stay_pixels(hue: float, saturation: float, third: float) -> None:
    for convert in (hsl_to_srgb, hsv_to_srgb):
        pixels = convert([hue, saturation, third])
        assert ((pixels >= 0) & (pixels <= 1)).all()
        np.testing.assert_allclose(convert([hue + 360, saturation, third]), pixels, atol=1e-13)


def test_lab_is_the_cies() -> None:
    lab = grid((0, 100), (-120, 120), (-120, 120))
    other = colour.Lab_to_XYZ(lab, SRGB.whitepoint)
    np.testing.assert_allclose(lab_to_xyz(lab), other, atol=ROUNDING)
    np.testing.assert_allclose(  # both ways, on both branches; 116 times the rounding
        colour.XYZ_to_Lab(lab_to_xyz(lab), SRGB.whitepoint), lab, atol=1e-11
    )


def test_lch_is_lab_in_polar_coordinates() -> None:
    lch = grid((0, 100), (0, 150), (0, 360))
    # Defined when colour is imported, which type checkers do not see.
    other = colour.models.LCHab_to_Lab(lch)  # type: ignore[attr-defined]
    np.testing.assert_allclose(lch_to_lab(lch), other, atol=1e-12)


def test_the_lab_of_greys_has_no_color() -> None:
    lightness = np.linspace(0, 100, 9)[:, None] * [1, 0, 0]
    rgb = xyz_to_rgb(lab_to_xyz(lightness))
    np.testing.assert_allclose(rgb, rgb[:, :1] * np.ones(3), atol=ROUNDING)
    np.testing.assert_allclose(rgb[[0, -1], 0], [0, 1], atol=ROUNDING)


# Cones.


def test_l_and_m_make_luminance() -> None:
    xyz = np.random.default_rng(0).random((100, 3))
    lms = xyz_to_lms(xyz)
    np.testing.assert_allclose(lms[:, 0] + lms[:, 1], 0.99996 * xyz[:, 1], atol=ROUNDING)


def test_the_cones_of_a_display_are_those_of_vienot() -> None:
    lms = xyz_to_lms(JUDD_VOS.T).T
    # The paper's products have six digits.
    np.testing.assert_allclose(lms, VIENOT_LMS, rtol=5e-6)


def test_the_cones_are_the_tabulated_smith_and_pokorny() -> None:
    table = colour.MSDS_CMFS["Smith & Pokorny 1975 Normal Trichromats"]
    observer = colour.MSDS_CMFS["CIE 1931 2 Degree Standard Observer"]
    v = colour.SDS_LEFS["Judd-Vos Modified CIE 1978 Photopic Standard Observer"]
    wavelengths = np.arange(400, 705, 5)  # the table is zeros beyond
    xyz = np.array([observer[w] for w in wavelengths])
    y = np.array([v[w] for w in wavelengths])
    cones = xyz_to_lms(vos(xyz, y))
    tabulated = np.array([table[w] for w in wavelengths])
    # DeMarco, Pokorny & Smith (1992), from whom the table is, made it in the same way from other
    # roundings of the same tables; cvrl.org finds a difference in the third decimal place. Without
    # Vos's correction it would be 0.016 in L and M.
    np.testing.assert_allclose(cones / cones.max(0), tabulated, atol=4e-3)
    # Their weights in luminance, by which MacLeod & Boynton's diagram scales the table.
    np.testing.assert_allclose(cones.max(0)[:2], [0.6373, 0.3924], atol=5e-4)


def vos(xyz: np.ndarray, y: np.ndarray) -> np.ndarray:
    """XYZ of Judd and Vos from those of 1931, and from the luminances (Vos 1978)."""
    a, b = (xyz[:, :2] / xyz.sum(1, keepdims=True)).T
    denominator = 0.03845 * a + 0.01496 * b + 1
    a, b = (
        (1.0271 * a - 0.00008 * b - 0.00009) / denominator,
        (0.00376 * a + 1.0072 * b + 0.00764) / denominator,
    )
    return np.stack([a, b, 1 - a - b], axis=-1) * (y / b)[:, None]


def test_the_correction_of_this_test_is_vos() -> None:
    primaries = RGB_TO_XYZ.T
    np.testing.assert_allclose(vos(primaries, JUDD_VOS[1]).T, JUDD_VOS, rtol=1e-5)


@given(grey=greys, contrasts=st.tuples(*[st.floats(-2, 2)] * 3))
def test_cones_see_the_contrasts_asked_for(
    grey: float, contrasts: tuple[float, float, float]
) -> None:
    names = ("cone_l", "cone_m", "cone_s")
    (added,) = difference("cones", grey, **dict(zip(names, contrasts, strict=True)))
    np.testing.assert_allclose(cone_contrasts(grey + added, grey), contrasts, atol=1e-12)


@pytest.mark.parametrize("cone", [0, 1, 2])
def test_a_stimulus_for_one_cone_is_silent_for_the_others(cone: int) -> None:
    contrast = dict.fromkeys(COLORS["cones"], 0.0) | {list(COLORS["cones"])[cone]: 0.1}
    (added,) = difference("cones", 0.5, **contrast)
    np.testing.assert_allclose(
        cone_contrasts(0.5 + added, 0.5), 0.1 * np.eye(3)[cone], atol=ROUNDING
    )


def test_contrasts_are_against_any_background() -> None:
    background = np.array([[0.2, 0.5, 0.3], [0.9, 0.1, 0.4]])
    np.testing.assert_allclose(cone_contrasts(1.5 * background, background), 0.5, atol=ROUNDING)
    lms, grey = xyz_to_lms(rgb_to_xyz(RGB)), xyz_to_lms(rgb_to_xyz([0.5] * 3))
    np.testing.assert_allclose(cone_contrasts(RGB, 0.5), lms / grey - 1, atol=ROUNDING)


def test_black_gives_no_contrast() -> None:
    assert np.isnan(cone_contrasts(np.array([[0.5] * 3, [0.0] * 3]), 0.0)).all()


# The space of Derrington, Krauskopf & Lennie.


@given(grey=greys, azimuth=angles)
def test_every_azimuth_is_isoluminant(grey: float, azimuth: float) -> None:
    (added,) = difference("dkl", grey, azimuth=azimuth)
    assert abs(luminance(added)) < ROUNDING
    assert abs(added).max() > 0.1 * min(grey, 1 - grey)


@given(grey=greys, azimuth=angles, elevation=elevations)
def test_opposite_directions_are_opposite_lights(
    grey: float, azimuth: float, elevation: float
) -> None:
    there = difference("dkl", grey, azimuth=azimuth, elevation=elevation)
    back = difference("dkl", grey, azimuth=azimuth + 180, elevation=-elevation)
    np.testing.assert_allclose(back, -there, atol=ROUNDING)


def test_the_axes_are_those_of_the_cones() -> None:
    axes = difference("dkl", 0.4, azimuth=[0, 90, 0], elevation=[0, 0, 90])
    (dl, dm, ds), (sl, sm, ss) = xyz_to_lms(rgb_to_xyz(axes[:2]))
    assert dl > 0
    assert ss > 0
    np.testing.assert_allclose([dl + dm, ds, sl, sm], 0, atol=ROUNDING)
    np.testing.assert_allclose(axes[2], 0.4, atol=ROUNDING)


@given(grey=greys, azimuth=angles, elevation=elevations)
def test_directions_between_the_axes_are_sums(
    grey: float, azimuth: float, elevation: float
) -> None:
    axes = difference("dkl", grey, azimuth=[0, 90, 0], elevation=[0, 0, 90])
    a, e = np.deg2rad([azimuth, elevation])
    along = [np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)]
    (added,) = difference("dkl", grey, azimuth=azimuth, elevation=elevation)
    np.testing.assert_allclose(added, along @ axes, atol=ROUNDING)


@given(grey=greys)
def test_contrast_1_is_the_most_that_the_display_gives_both_ways(grey: float) -> None:
    axes = difference("dkl", grey, azimuth=[0, 90, 180, 270, 0, 0], elevation=[*[0] * 4, 90, -90])
    fits = largest_contrast(np.full((6, 3), grey), axes)
    np.testing.assert_allclose(fits, 1, rtol=1e-13)


@given(grey=greys, azimuth=angles)
def test_nearly_as_much_fits_at_every_azimuth(grey: float, azimuth: float) -> None:
    added = difference("dkl", grey, azimuth=[azimuth, 10])
    fits = largest_contrast(np.full((2, 3), grey), added)
    assert fits[0] > 0.98
    assert fits[1] < 0.99


def test_cones_see_what_the_docstrings_say() -> None:
    added = difference("dkl", 0.5, azimuth=[0, 90])
    (l, m, _), (_, _, s) = cone_contrasts(0.5 + added, 0.5)  # noqa: E741
    np.testing.assert_allclose([l, m, s], [0.073, -0.139, 0.859], atol=5e-4)
    as_vos = xyz_to_lms(added[1] @ JUDD_VOS.T) / xyz_to_lms(JUDD_VOS.T).sum(0) / 0.5
    np.testing.assert_allclose(as_vos, [0.009, 0.009, 0.86], atol=1.5e-3)


# Stimuli.


def test_luminance_is_as_much_grey_again() -> None:
    np.testing.assert_array_equal(
        difference("luminance", [0.0, 0.25, 0.5]), [[0] * 3, [0.25] * 3, [0.5] * 3]
    )


@given(grey=fractions, hue=st.floats(0, 360), saturation=fractions, third=fractions)
def test_hsl_and_hsv_are_about_pixels(
    grey: float, hue: float, saturation: float, third: float
) -> None:
    """Whether pixels are light or are encoded."""
    asked = {"hue": hue, "saturation": saturation}
    for color, last, convert in [
        ("hsl", "lightness", colour.HSL_to_RGB),
        ("hsv", "value", colour.HSV_to_RGB),
    ]:
        pixels = convert(np.array([hue / 360, saturation, third]))
        light = grey + difference(color, grey, **asked, **{last: third})
        np.testing.assert_allclose(light, [pixels], atol=ROUNDING)
        light = grey + difference(color, grey, encoding="srgb", **asked, **{last: third})
        # The two sides of the standard's knee are 2.9e-8 apart.
        np.testing.assert_allclose(encode_srgb(light), [pixels], atol=4e-8)


def test_lab_is_of_the_light_itself() -> None:
    lab = grid((20, 80), (-30, 30), (-30, 30), points=4)
    lightness, a, b = lab.T
    of_lab = difference("lab", 0.3, lab_lightness=lightness, lab_a=a, lab_b=b)
    shown = colour.XYZ_to_Lab(rgb_to_xyz(0.3 + of_lab), SRGB.whitepoint)
    np.testing.assert_allclose(shown, lab, atol=1e-11)
    chroma, hue = np.hypot(a, b), np.rad2deg(np.arctan2(b, a))
    of_lch = difference("lch", 0.3, lab_lightness=lightness, chroma=chroma, lab_hue=hue)
    np.testing.assert_allclose(of_lch, of_lab, atol=ROUNDING)


@pytest.mark.parametrize("color", COLORS)
def test_many_stimuli_are_each_one(color: str) -> None:
    rng = np.random.default_rng(0)
    grey = rng.uniform(0.2, 0.8, 5)
    components = {name: rng.uniform(0.1, 0.9, 5) for name in COLORS[color]}
    one_by_one = [
        difference(color, grey[i], **{name: values[i] for name, values in components.items()})
        for i in range(5)
    ]
    together = difference(color, grey, **components)
    assert together.shape == (5, 3)
    np.testing.assert_allclose(together, np.concatenate(one_by_one), atol=ROUNDING)


@pytest.mark.parametrize("color", ["hsl", "hsv", "lab", "lch", "luminance"])
def test_black_can_be_a_background(color: str) -> None:
    components = dict.fromkeys(COLORS[color], 0.5)
    assert np.isfinite(difference(color, 0.0, **components)).all()


@pytest.mark.parametrize(
    ("color", "grey", "components", "error", "message"),
    [
        ("dkl", 0.0, {"azimuth": 0}, ValueError, "mean_luminance=0 leaves no room"),
        ("dkl", [0.5, 1], {"azimuth": 0}, ValueError, "mean_luminance=1 leaves no room"),
        ("dkl", np.nan, {"azimuth": 0}, ValueError, "mean_luminance=nan leaves no room"),
        ("cones", 0.0, dict.fromkeys(COLORS["cones"], 0.1), ValueError, "excites no cone"),
        ("dkk", 0.5, {}, KeyError, "no color 'dkk'; did you mean dkl"),
        ("dkl", 0.5, {}, KeyError, "needs azimuth"),
        ("cones", 0.5, {"cone_m": 0.1}, KeyError, "needs cone_l, cone_s"),
        ("hsl", 0.5, {"value": 1}, KeyError, "it has hue, saturation, lightness"),
        ("luminance", 0.5, {"hue": 1}, KeyError, "it has none"),
    ],
)
def test_what_is_no_color_is_refused(
    color: str,
    grey: float,
    components: dict[str, float],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        difference(color, grey, **components)


# What the display can show.

triples = st.tuples(*[st.floats(-1, 1).map(lambda v: round(v, 6))] * 3)


@given(
    background=st.tuples(*[fractions] * 3),
    added=triples.filter(any),
    low=st.floats(-1, 0),
    high=st.floats(0.01, 1),
)
def test_the_largest_contrast_ends_at_the_edge_of_the_gamut(
    background: tuple[float, ...], added: tuple[float, ...], low: float, high: float
) -> None:
    grey, light = np.array([background]), np.array([added])
    (fits,) = largest_contrast(grey, light, [low], [high])
    ends = np.stack([grey + fits * low * light, grey + fits * high * light])
    # The rounding of a quotient, two products and a sum, where the farther end is at most
    # 1 / 0.01 times as far as the edge.
    outside = np.maximum(-ends, ends - 1)
    assert abs(outside.max()) < 1e-12


def test_the_extremes_need_not_be_alike() -> None:
    background = np.full((4, 3), 0.25)
    added = np.array([[0.25, 0.25, 0.25], [0.25, 0.25, 0.25], [0, -0.5, 0], [0, 0, 0]])
    fits = largest_contrast(background, added, [-1, 0, -1, -1], [1, 1, 0, 1])
    np.testing.assert_array_equal(fits, [1, 3, 1.5, np.inf])


def test_saturated_colors_on_black_fit() -> None:
    hues = np.arange(0, 360, 7.5)
    added = difference("hsl", 0.0, hue=hues, saturation=1, lightness=0.5)
    background = np.zeros_like(added)
    np.testing.assert_array_equal(largest_contrast(background, added, 0, 1), 1)
    np.testing.assert_array_equal(largest_contrast(background, added, -1, 1), 0)


def test_the_rounding_of_nothing_does_not_count() -> None:
    red = colour.XYZ_to_Lab(rgb_to_xyz([1.0, 0.0, 0.0]), SRGB.whitepoint)
    added = difference("lab", 0.0, lab_lightness=red[0], lab_a=red[1], lab_b=red[2])
    assert added.min() < 1e-14  # 0 but for rounding, whichever way
    np.testing.assert_allclose(largest_contrast(np.zeros((1, 3)), added, 0, 1), 1, rtol=1e-12)
    np.testing.assert_array_equal(largest_contrast(np.zeros((1, 3)), -1e-17 * np.eye(3)), np.inf)


def test_the_matrix_of_the_cones_is_not_singular() -> None:
    rgb = xyz_to_rgb(np.linalg.solve(XYZ_TO_LMS, xyz_to_lms(rgb_to_xyz(RGB)).T).T)
    np.testing.assert_allclose(rgb, RGB, atol=1e-12)
