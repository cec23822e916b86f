"""The gratings of Brain-Score, against their formula pixel by pixel and their preprocessing."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ephys.stimuli.gratings import grating
from ephys.stimuli.marques import (
    canvas,
    check_marques_grating,
    from_theirs,
    marques_grating,
    range_marques_grating,
)
from ephys.visual_field import VisualField

# Their grids.
RADII = 2 ** np.linspace(-2.25, 3.25, 12) / 2
FREQUENCIES = 2 ** np.linspace(-1.375, 3.875, 22)
THETAS = np.arange(0, 180, 15)
PHIS = np.arange(0, 360, 45)
PLACES = np.linspace(-2.5, 2.5, 21)

SCREEN = VisualField(224, 224, 28.0)  # 8 degrees
SMALL = VisualField(48, 48, 15.0)  # 3.2 degrees
GRATING: dict[str, Any] = {"spatial_frequency": 2.0, "radius": 1.0, "x": 0.5, "y": -0.5}

theirs = st.fixed_dictionaries(
    {
        "radius": st.sampled_from([*RADII, 1 / 6, 0.75, 2.25, *(1 / FREQUENCIES)]),
        "spatial_frequency": st.sampled_from([*FREQUENCIES, 3.0]),
        "theta": st.sampled_from(THETAS.tolist()),
        "phi": st.sampled_from(PHIS.tolist()),
        "position_x": st.sampled_from([0.5, *PLACES]),
        "position_y": st.sampled_from([0.5, *PLACES]),
    }
)


def ours(one: dict[str, Any]) -> dict[str, Any]:
    places = {name: one[name] for name in ("position_x", "position_y")}
    translated = from_theirs(orientation=one["theta"], phase=one["phi"], **places)
    return {name: one[name] for name in ("radius", "spatial_frequency")} | translated


def pixel(one: dict[str, Any], i: int, j: int, contrast: float = 1.0) -> int:
    """The pixel in column i and row j of their canvas."""
    x = (i - 672 / 2) / 56 - one["position_x"]
    y = (j - 672 / 2) / 56 - one["position_y"]
    if x**2 + y**2 > one["radius"] ** 2:
        return 128
    theta, phi = (one[name] / 180 * math.pi for name in ("theta", "phi"))
    along = x * math.cos(theta) + y * math.sin(theta)
    wave = math.sin(along * one["spatial_frequency"] * 2 * math.pi + phi) * contrast
    return int((wave + 1) / 2 * 255)


@given(one=theirs, data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_canvas_is_that_of_the_formula_to_the_bit(
    one: dict[str, Any], data: st.DataObject
) -> None:
    (drawn,) = canvas(**ours(one))
    assert drawn.shape == (672, 672)
    assert drawn.dtype == np.uint8
    center = 336 + 56 * one["position_x"], 336 + 56 * one["position_y"]
    reach = 56 * one["radius"] + 2
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    # Half of the places within the square around the aperture, edge included, half anywhere.
    around = np.rint(np.array(center) + rng.uniform(-reach, reach, (400, 2))).astype(int)
    anywhere = rng.integers(672, size=(400, 2))
    for i, j in np.clip(np.concatenate([around, anywhere]), 0, 671).tolist():
        assert drawn[j, i] == pixel(one, i, j), (i, j)


def test_a_whole_canvas_is_that_of_the_formula() -> None:
    # Of 42 pixels, so that the rim goes through centres of pixels: those are in it.
    one = {"radius": 0.75, "spatial_frequency": FREQUENCIES[7], "theta": 105, "phi": 45}
    one |= {"position_x": -0.5, "position_y": 1.5}
    expected = [[pixel(one, i, j) for i in range(672)] for j in range(672)]
    np.testing.assert_array_equal(canvas(**ours(one))[0], expected)


@pytest.mark.parametrize("contrast", [0, 0.01, 0.3, 0.999])
def test_contrast_scales_the_wave_before_it_is_cut_to_8_bits(contrast: float) -> None:
    one = {"radius": 1, "spatial_frequency": 3.0, "theta": 30, "phi": 90}
    one |= {"position_x": 0.5, "position_y": 0.5}
    (drawn,) = canvas(**ours(one), contrast=contrast)
    row = [pixel(one, i, 380, contrast) for i in range(672)]
    np.testing.assert_array_equal(drawn[380], row)
    low, high = range_marques_grating(contrast=contrast)
    assert drawn.min() / 128 - 1 == low
    assert drawn.max() / 128 - 1 <= high
    if not contrast:
        assert set(np.unique(drawn)) == {127, 128}


@given(one=theirs, x=st.floats(-2, 2), y=st.floats(-2, 2))
@settings(max_examples=60, deadline=None)
def test_parameters_mean_what_those_of_other_gratings_mean(
    one: dict[str, Any], x: float, y: float
) -> None:
    """But for half a pixel of the canvas, to the right and downward, and the 8 bits."""
    asked = ours(one | {"radius": 3}) | {"x": x, "y": y}
    (drawn,) = canvas(**asked)
    names = ("spatial_frequency", "orientation", "phase")
    whole = VisualField(672, 672, 56.0)
    (wave,) = grating(
        whole, **{name: asked[name] for name in names}, x=x + 1 / 112, y=y - 1 / 112
    ).numpy()
    inside = np.hypot(whole.x - x - 1 / 112, whole.y[:, None] - y + 1 / 112) < 2.99
    # Cut off: up to a level of 255 lower. The wave is float32.
    off = ((wave + 1) / 2 * 255 - drawn)[inside]
    assert off.min() >= -1e-3
    assert off.max() <= 1 + 1e-3


@given(
    theta=st.integers(-720, 720),
    phi=st.integers(-720, 720),
    u=st.floats(-1, 1),
    v=st.floats(-1, 1),
)
def test_their_sine_is_our_cosine(theta: int, phi: int, u: float, v: float) -> None:
    """At u to the right and v downward, for angles beyond those of their grids too."""
    translated = from_theirs(orientation=theta, phase=phi, position_x=u, position_y=v)
    (orientation,), (phase,) = translated["orientation"], translated["phase"]
    assert 0 <= orientation < 180
    assert 0 <= phase < 360
    along = u * np.cos(np.deg2rad(theta)) + v * np.sin(np.deg2rad(theta))
    x, y = translated["x"][0], translated["y"][0]
    across = y * np.cos(np.deg2rad(orientation)) - x * np.sin(np.deg2rad(orientation))
    sine = np.sin(2 * np.pi * along + np.deg2rad(phi))
    assert np.cos(2 * np.pi * across + np.deg2rad(phase)) == pytest.approx(sine, abs=1e-12)


def test_their_grids_of_orientations_and_of_eight_phases_are_ours() -> None:
    theta, phi = (grid.ravel() for grid in np.meshgrid(THETAS, PHIS))
    found = from_theirs(orientation=theta, phase=phi)
    pairs = set(zip(found["orientation"].tolist(), found["phase"].tolist(), strict=True))
    assert pairs == {(float(o), float(p)) for o in THETAS for p in PHIS}


@pytest.mark.parametrize("degrees", [0.5, 3.2, 7, 8, 11.99, 12, 14, 17.3])
def test_what_is_seen_is_the_middle_of_the_canvas(degrees: float) -> None:
    """As Brain-Score's screen cuts an image or puts it on grey: round(size), round(border)."""
    asked = GRATING | {"radius": 7, "orientation": 20, "x": 1.1}  # over the edge of the canvas
    seen = int(np.round(degrees / 12 * 672))
    whole = Image.fromarray(canvas(**asked)[0])
    if degrees < 12:
        start = int(np.round((672 - seen) / 2))
        expected = whole.crop((start, start, start + seen, start + seen))
    else:
        start = int(np.round((seen - 672) / 2))
        expected = Image.new("L", (seen, seen), "gray")
        expected.paste(whole, (start, start))
    np.testing.assert_array_equal(canvas(**asked, degrees=degrees)[0], np.asarray(expected))


def test_an_aperture_beyond_what_is_seen_leaves_the_background() -> None:
    asked = GRATING | {"x": [0, 5, 0.5], "y": [0, 0, -30]}
    assert (canvas(**asked, degrees=8)[1:] == 128).all()
    assert (canvas(**asked, degrees=8)[0] != 128).any()


@pytest.mark.parametrize("field", [SCREEN, SMALL, VisualField(299, 299, 299 / 8)])
def test_a_model_sees_what_torchvision_makes_of_the_image(field: VisualField) -> None:
    from torchvision import transforms

    asked = GRATING | {"orientation": [0, 30, 135], "spatial_frequency": [1, 6, 14]}
    prepare = transforms.Compose(
        [transforms.Resize((field.height_px, field.width_px)), transforms.ToTensor()]
    )
    images = []
    for grey in canvas(**asked, degrees=field.width):
        image = Image.new("RGB", grey.shape)
        image.paste(Image.fromarray(grey))
        images.append(prepare(image))
    expected = torch.stack(images)
    shown = marques_grating(field, **asked)
    assert shown.dtype == torch.float32
    # The background times what the modulation adds; exact as numbers of 8 bits.
    levels = 128 * (1 + shown)
    assert torch.equal(levels, levels.round())
    for channel in range(3):
        assert torch.equal(levels, (255 * expected[:, channel]).round())


def test_a_screen_of_56_pixels_per_degree_shows_the_canvas() -> None:
    asked = GRATING | {"orientation": [0, 30]}
    shown = marques_grating(VisualField(448, 448, 56.0), **asked)
    np.testing.assert_array_equal(128 * (1 + shown), canvas(**asked)[:, 112:560, 112:560])


@pytest.mark.parametrize("frequency", [1.542, 3.084, 6.169, 12.338])
def test_resizing_takes_the_contrast_that_a_triangle_takes(frequency: float) -> None:
    """Of four pixels each way, with weights 1/8, 3/8, 3/8, 1/8."""
    shown = marques_grating(
        SCREEN, spatial_frequency=frequency, radius=7, orientation=90, phase=[0, 90]
    )
    left = 0.75 * np.cos(np.pi * frequency / 56) + 0.25 * np.cos(3 * np.pi * frequency / 56)
    # cos^2 + sin^2 wherever. Levels are cut off to 1 of 127.5, and rounded in two passes.
    contrast = np.hypot(*(shown[:, 112].numpy() * 128 / 127.5 + 1 / 127.5))
    # Of the first and the last pixel an eighth is beyond the image.
    np.testing.assert_allclose(contrast[1:-1], left, rtol=0, atol=3 / 127.5)


@st.composite
def spans(draw: st.DrawFn, length: int) -> slice:
    start = draw(st.integers(0, length - 1))
    return slice(start, draw(st.integers(start + 1, length)))


@pytest.mark.parametrize("field", [SMALL, VisualField(51, 51, 6.0)], ids=["even", "odd"])
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_a_crop_of_the_field_shows_exactly_the_pixels_of_the_cropped_image(
    field: VisualField, data: st.DataObject
) -> None:
    rows = data.draw(spans(field.height_px))
    columns = data.draw(spans(field.width_px))
    asked = GRATING | {"orientation": [0, 30]}
    drawn = marques_grating(field.crop(rows, columns), **asked)
    assert torch.equal(drawn, marques_grating(field, **asked)[:, rows, columns])


def test_a_moved_origin_is_refused() -> None:
    view = SCREEN.centered_on(0.5, 0).crop(slice(9), slice(9))
    message = r"^the origin was moved to \(0.5, 0\) degrees, .* record them with centered=False$"
    with pytest.raises(ValueError, match=message):
        check_marques_grating(view, **GRATING)
    with pytest.raises(ValueError, match=message):
        marques_grating(view, **GRATING)


def test_a_screen_that_is_not_square_is_refused() -> None:
    check_marques_grating(SCREEN.crop(slice(3), slice(9)), **GRATING)
    with pytest.raises(ValueError, match=r"^the screen has 48 x 40 pixels, .* a square one"):
        check_marques_grating(VisualField(40, 48, 16.0), **GRATING)


def test_what_the_canvas_cannot_show_is_refused() -> None:
    check_marques_grating(SCREEN, **GRATING | {"spatial_frequency": FREQUENCIES})
    with pytest.raises(
        ValueError, match=r"^spatial_frequency=28 is not below .*, 28 cycles/degree"
    ):
        check_marques_grating(SCREEN, **GRATING | {"spatial_frequency": [3, 28]})
