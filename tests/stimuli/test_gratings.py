"""Gratings and Gabor patches: what is on the screen is what was asked for."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from scipy.optimize import least_squares
from torch import Tensor

from ephys.stimuli import gratings
from ephys.stimuli.sweep import paired
from ephys.visual_field import VisualField


def shown(family: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """What a family looks like, instead of its modulation: (stimulus, channel, y, x)."""

    def draw(field: VisualField, **parameters: ArrayLike) -> Tensor:
        return paired(family, **parameters).render(field)

    return draw


grating, gabor = shown(gratings.grating), shown(gratings.gabor)
square_grating, drifting_grating = shown(gratings.square_grating), shown(gratings.drifting_grating)
counterphase_grating, plaid = shown(gratings.counterphase_grating), shown(gratings.plaid)
center_surround = shown(gratings.center_surround)

# float32 rounds by at most u = 2^-24 of a value. A modulation c cos a cos b - c sin a sin b is
# three times rounded in each product (its two factors and itself) and once in their sum: 4 u c, as
# the two products together stay below c. The float64 arguments of the cosines add nothing at this
# scale.
MODULATION_ERROR = 4 * 2.0**-24
# A pixel m + m (modulation), with m the mean luminance, is rounded twice more in the product (m,
# and the product): 6 u m c; once in m (u m) and once in the end (u). With m (1 + c) <= 1 that is at
# most 4.5 u, reached at m = 0.5.
PIXEL_ERROR = 4.5 * 2.0**-24

WIDE = VisualField(40, 48, 16.0)  # 2.5 x 3 degrees: neither square, nor of an odd size
SQUARE = VisualField(31, 31, 10.0)

orientations = st.floats(0, 180)
phases = st.floats(0, 360)
contrasts = st.floats(0, 1)
frequencies = st.floats(0, 4.9)


def float64_grating(
    field: VisualField,
    *,
    spatial_frequency: float,
    orientation: float,
    phase: float,
    contrast: float,
    mean_luminance: float = 0.5,
    envelope_sd: float = np.inf,
) -> np.ndarray:
    """The formula of the docstring, pixel by pixel, without its separation into x and y."""
    x, y = np.meshgrid(field.x, field.y)
    u = y * np.cos(np.deg2rad(orientation)) - x * np.sin(np.deg2rad(orientation))
    envelope = np.exp(-(x**2 + y**2) / (2 * envelope_sd**2))
    wave = np.cos(2 * np.pi * spatial_frequency * u + np.deg2rad(phase))
    return mean_luminance * (1 + contrast * envelope * wave)


def only(images: Tensor) -> np.ndarray:
    """The one image of a set of one, as float64 (y, x)."""
    assert images.shape[:2] == (1, 1)
    return images[0, 0].double().numpy()


def error_of_fit(jacobian: np.ndarray, pixel_error: float | np.ndarray) -> np.ndarray:
    """How far errors of the pixels can move a least-squares solution, to first order."""
    return (np.abs(np.linalg.pinv(jacobian)) * pixel_error).sum(1)


# Closed form.


def test_orientation_0_is_horizontal_bars() -> None:
    image = only(grating(WIDE, spatial_frequency=2, orientation=0, phase=30))
    assert (image == image[:, :1]).all()
    expected = 0.5 + 0.5 * np.cos(2 * np.pi * 2 * WIDE.y + np.deg2rad(30))
    np.testing.assert_allclose(image[:, 0], expected, rtol=0, atol=PIXEL_ERROR)


def test_orientation_90_is_vertical_bars() -> None:
    image = only(grating(WIDE, spatial_frequency=2, orientation=90, phase=30))
    # cos(90 degrees) is 6e-17 in float64: far below what float32 can show.
    expected = 0.5 + 0.5 * np.cos(-2 * np.pi * 2 * WIDE.x + np.deg2rad(30))
    expected = np.broadcast_to(expected, image.shape)
    np.testing.assert_allclose(image, expected, rtol=0, atol=PIXEL_ERROR)


def test_orientation_45_goes_up_to_the_right() -> None:
    image = only(grating(SQUARE, spatial_frequency=1.7, orientation=45, phase=20))
    along = np.fliplr(image)  # x = y, from the lower left to the upper right, is its diagonal
    for offset in (-7, 0, 4):
        bar = np.diagonal(along.T, offset)
        np.testing.assert_allclose(bar, bar[0], rtol=0, atol=2 * PIXEL_ERROR)
    assert np.ptp(np.diagonal(image)) > 0.9  # across the bars, 5 cycles of them


def test_the_phase_is_that_of_the_cosine_at_the_origin() -> None:
    phases = np.arange(8) * 45.0
    images = grating(SQUARE, spatial_frequency=2.3, orientation=17, phase=phases, contrast=0.8)
    expected = 0.5 + 0.4 * np.cos(np.deg2rad(phases))
    np.testing.assert_allclose(images[:, 0, 15, 15], expected, rtol=0, atol=PIXEL_ERROR)


def test_a_field_of_no_frequency_is_even_at_the_luminance_of_its_phase() -> None:
    image = only(grating(WIDE, spatial_frequency=0, phase=60, contrast=0.6, mean_luminance=0.4))
    np.testing.assert_allclose(image, 0.4 * (1 + 0.6 * 0.5), rtol=0, atol=PIXEL_ERROR)


def test_a_grating_without_contrast_is_exactly_its_mean_luminance() -> None:
    images = grating(
        WIDE, spatial_frequency=3, orientation=[10, 100], contrast=0, mean_luminance=[0.25, 0.7]
    )
    for image, mean in zip(images, [0.25, 0.7], strict=True):
        assert (image == np.float32(mean)).all()


def test_the_brightest_and_darkest_pixel_have_the_michelson_contrast_asked_for() -> None:
    # Row y = 0 of a sine of 1 cycle/degree at 8 pixels a degree lies on its peaks and troughs.
    field = VisualField(1, 17, 8.0)
    image = only(grating(field, spatial_frequency=1, orientation=90, contrast=0.3))
    michelson = (image.max() - image.min()) / (image.max() + image.min())
    # Each extreme is off by a pixel's error; their sum is 1.
    assert michelson == pytest.approx(0.3, abs=3 * PIXEL_ERROR)


@given(
    columns=st.integers(-12, 12),
    rows=st.integers(-12, 12),
    phase=phases,
    contrast=contrasts,
)
@settings(max_examples=40, deadline=None)
def test_the_spectrum_is_one_line_at_the_frequency_asked_for(
    columns: int, rows: int, phase: float, contrast: float
) -> None:
    """Where the field holds whole cycles, to the right and upward."""
    rows = rows or 1  # of no cycles there would be a single line, at 0
    right, up = columns / WIDE.width, rows / WIDE.height
    image = only(
        grating(
            WIDE,
            spatial_frequency=np.hypot(right, up),
            orientation=np.rad2deg(np.arctan2(-right, up)),
            phase=phase,
            contrast=contrast,
        )
    )
    spectrum = np.fft.fft2(image) / image.size
    expected = np.zeros(image.shape, complex)
    expected[0, 0] = 0.5
    # The wave has its phase at the origin, half a pixel inside the middle; rows go downward.
    at_first_pixel = 2 * np.pi * (right * WIDE.x[0] + up * WIDE.y[0]) + np.deg2rad(phase)
    line = 0.25 * contrast * np.exp(1j * at_first_pixel)
    expected[-rows, columns] += line
    expected[rows, -columns] += line.conjugate()
    # A mean over pixels is off by no more than one of them.
    np.testing.assert_allclose(spectrum, expected, rtol=0, atol=PIXEL_ERROR)
    at_peak = np.abs(spectrum) > PIXEL_ERROR
    lines = np.fft.fftfreq(40, 1 / 16)[:, None] ** 2 + np.fft.fftfreq(48, 1 / 16) ** 2
    assert set(lines[at_peak]) <= {0.0, lines[rows, columns]}


@given(
    spatial_frequency=st.floats(1.5, 7.5),
    orientation=st.floats(1, 179),
    phase=phases,
    contrast=st.floats(0.05, 1),
    mean_luminance=st.floats(0.1, 0.5),
)
@settings(max_examples=40, deadline=None)
def test_a_fit_recovers_every_parameter_of_a_grating(
    spatial_frequency: float,
    orientation: float,
    phase: float,
    contrast: float,
    mean_luminance: float,
) -> None:
    """From the pixels alone: it starts at the peak of their spectrum."""
    image = only(
        grating(
            WIDE,
            spatial_frequency=spatial_frequency,
            orientation=orientation,
            phase=phase,
            contrast=contrast,
            mean_luminance=mean_luminance,
        )
    )
    x, y = (2 * np.pi * axis.ravel() for axis in np.meshgrid(WIDE.x, WIDE.y))

    def terms(right: float, up: float) -> tuple[np.ndarray, np.ndarray]:
        return np.cos(right * x + up * y), np.sin(right * x + up * y)

    def residual(p: np.ndarray) -> np.ndarray:
        cosine, sine = terms(p[3], p[4])
        return p[0] + p[1] * cosine - p[2] * sine - image.ravel()

    def jacobian(p: np.ndarray) -> np.ndarray:
        cosine, sine = terms(p[3], p[4])
        slope = -p[1] * sine - p[2] * cosine
        return np.stack([np.ones_like(x), cosine, -sine, slope * x, slope * y], axis=1)

    window = np.outer(np.hanning(42)[1:-1], np.hanning(50)[1:-1])
    power = np.abs(np.fft.fft2((image - image.mean()) * window, (256, 256)))
    row, column = np.unravel_index(power.argmax(), power.shape)
    right, up = np.fft.fftfreq(256, 1 / 16)[[column, row]] * [1, -1]
    cosine, sine = terms(right, up)
    start, *_ = np.linalg.lstsq(
        np.stack([np.ones_like(x), cosine, -sine], axis=1), image.ravel(), rcond=None
    )
    fit = least_squares(
        residual, [*start, right, up], jacobian, method="lm", xtol=1e-15, ftol=1e-15, gtol=1e-15
    )
    mean, cosine_part, sine_part, right, up = fit.x
    if right > 0:  # the same wave, counted from the other side
        sine_part, right, up = -sine_part, -right, -up
    amplitude = np.hypot(cosine_part, sine_part)
    d_mean, d_cosine, d_sine, d_right, d_up = error_of_fit(jacobian(fit.x), PIXEL_ERROR)
    d_amplitude, d_frequency = np.hypot(d_cosine, d_sine), np.hypot(d_right, d_up)
    assert mean == pytest.approx(mean_luminance, abs=d_mean)
    assert amplitude == pytest.approx(mean_luminance * contrast, abs=d_amplitude)
    assert np.hypot(right, up) == pytest.approx(spatial_frequency, abs=d_frequency)
    turned = np.rad2deg(np.arctan2(-right, up)) - orientation
    assert turned == pytest.approx(0, abs=np.rad2deg(d_frequency / spatial_frequency))
    shifted = (np.rad2deg(np.arctan2(sine_part, cosine_part)) - phase + 180) % 360 - 180
    assert shifted == pytest.approx(0, abs=np.rad2deg(d_amplitude / amplitude))


@pytest.mark.parametrize("envelope_sd", [0.2, 0.4, 1.0])
@pytest.mark.parametrize("orientation", [0, 33, 120])
def test_a_fit_recovers_the_envelope_of_a_gabor_patch(
    envelope_sd: float, orientation: float
) -> None:
    """Cosine and sine together show the envelope bare: log E^2 is a paraboloid."""
    cosine, sine = (
        only(
            gabor(
                WIDE,
                spatial_frequency=2.5,
                envelope_sd=envelope_sd,
                orientation=orientation,
                phase=phase,
                contrast=0.8,
            )
        )
        - 0.5
        for phase in (0, 90)
    )
    x, y = np.meshgrid(WIDE.x, WIDE.y)
    near = np.hypot(x, y) < 2 * envelope_sd
    x, y, energy = x[near], y[near], (cosine**2 + sine**2)[near]
    design = np.stack([np.ones_like(x), x**2, x * y, y**2], axis=1)
    solution, *_ = np.linalg.lstsq(design, np.log(energy), rcond=None)
    # d(E^2) = 2 (c dc + s ds) <= 2 sqrt(2) E PIXEL_ERROR, so d(log E^2) <= 2 sqrt(2) dp / E.
    error = error_of_fit(design, 2 * np.sqrt(2) * PIXEL_ERROR / np.sqrt(energy))
    expected = [2 * np.log(0.4), -1 / envelope_sd**2, 0, -1 / envelope_sd**2]
    assert (np.abs(solution - expected) <= error).all()


# Laws.


@given(spatial_frequency=frequencies, orientation=orientations, phase=phases, contrast=contrasts)
@settings(max_examples=40, deadline=None)
def test_half_a_turn_mirrors_the_phase(
    spatial_frequency: float, orientation: float, phase: float, contrast: float
) -> None:
    images = grating(
        WIDE,
        spatial_frequency=spatial_frequency,
        orientation=[orientation, orientation + 180],
        phase=[phase, -phase],
        contrast=contrast,
    )
    np.testing.assert_allclose(images[0], images[1], rtol=0, atol=2 * PIXEL_ERROR)


@given(spatial_frequency=frequencies, orientation=orientations, phase=phases)
@settings(max_examples=40, deadline=None)
def test_a_quarter_turn_of_the_image_is_a_quarter_turn_of_the_bars(
    spatial_frequency: float, orientation: float, phase: float
) -> None:
    images = grating(
        SQUARE,
        spatial_frequency=spatial_frequency,
        orientation=[orientation, orientation + 90],
        phase=phase,
    ).numpy()
    turned = np.rot90(images[0, 0])  # counter-clockwise as it is seen
    np.testing.assert_allclose(turned, images[1, 0], rtol=0, atol=2 * PIXEL_ERROR)


@given(orientation=orientations, phase=phases)
@settings(max_examples=40, deadline=None)
def test_a_mirrored_image_has_the_opposite_orientation(orientation: float, phase: float) -> None:
    images = grating(
        WIDE, spatial_frequency=3.1, orientation=[orientation, -orientation], phase=phase
    )
    np.testing.assert_allclose(images[0].flip(-1), images[1], rtol=0, atol=2 * PIXEL_ERROR)


@given(orientation=orientations, phase=phases, x=st.floats(-3, 3), y=st.floats(-3, 3))
@settings(max_examples=40, deadline=None)
def test_moving_the_origin_shifts_the_phase_by_the_cycles_on_the_way(
    orientation: float, phase: float, x: float, y: float
) -> None:
    way = y * np.cos(np.deg2rad(orientation)) - x * np.sin(np.deg2rad(orientation))
    moved = grating(
        WIDE.centered_on(x, y), spatial_frequency=2, orientation=orientation, phase=phase
    )
    stayed = grating(
        WIDE, spatial_frequency=2, orientation=orientation, phase=phase - 360 * 2 * way
    )
    np.testing.assert_allclose(moved, stayed, rtol=0, atol=2 * PIXEL_ERROR)


@st.composite
def spans(draw: st.DrawFn, length: int) -> slice:
    start = draw(st.integers(0, length - 1))
    return slice(start, draw(st.integers(start + 1, length)))


TURNING: dict[str, tuple[Callable[..., Tensor], dict[str, Any]]] = {
    "grating": (grating, {}),
    "gabor": (gabor, {"envelope_sd": 0.5}),
    "square_grating": (square_grating, {}),
    "counterphase_grating": (counterphase_grating, {"temporal_frequency": 3.0, "time": 0.1}),
    "plaid": (plaid, {"contrast": 0.6, "mask_contrast": 0.4, "mask_angle": 50.0}),
    "center_surround": (center_surround, {"center_diameter": 1.1, "surround_angle": 50.0}),
    "in a disc": (grating, {"diameter": 1.9, "edge_width": 0.4}),
    "in a ring": (square_grating, {"diameter": 2.0, "inner_diameter": 0.7}),
    "in color": (gabor, {"envelope_sd": 0.5, "color": "dkl", "azimuth": 0.0}),
}


@pytest.mark.parametrize("name", TURNING)
@given(rows=spans(40), columns=spans(48), orientation=orientations)
@settings(max_examples=30, deadline=None)
def test_a_crop_of_the_field_shows_exactly_the_pixels_of_the_cropped_image(
    name: str, rows: slice, columns: slice, orientation: float
) -> None:
    draw, others = TURNING[name]
    asked = {"spatial_frequency": 2.7, "orientation": orientation, **others}
    crop = draw(WIDE.crop(rows, columns), **asked)
    assert torch.equal(crop, draw(WIDE, **asked)[..., rows, columns])


@given(rows=spans(40), columns=spans(48), orientation=orientations)
@settings(max_examples=30, deadline=None)
def test_a_crop_of_an_encoded_image_is_the_image_but_for_the_last_bit(
    rows: slice, columns: slice, orientation: float
) -> None:
    """torch's power rounds by where in memory a pixel lies: to 1.7 u, measured; so twice 2 u."""
    asked = {"spatial_frequency": 2.7, "orientation": orientation, "encoding": "srgb"}
    crop = grating(WIDE.crop(rows, columns), **asked)
    whole = grating(WIDE, **asked)[..., rows, columns]
    np.testing.assert_allclose(crop, whole, rtol=0, atol=4 * 2.0**-24)


def test_a_gabor_patch_fades_into_its_mean_luminance() -> None:
    far = VisualField(20, 20, 10.0).centered_on(30, 40)  # 50 degrees away
    image = only(gabor(far, spatial_frequency=2, envelope_sd=1, mean_luminance=0.3))
    assert (image == np.float32(0.3)).all()


def test_a_gabor_patch_is_a_grating_in_the_middle_of_a_wide_envelope() -> None:
    sd = 1e4
    wide: dict[str, Any] = {"spatial_frequency": 3.0, "orientation": 50.0, "phase": 20.0}
    # 1 - exp(-r^2 / 2 sd^2) is below r^2 / 2 sd^2 = 2e-8 at the corners, r < 2, times 0.5.
    np.testing.assert_allclose(
        gabor(WIDE, envelope_sd=sd, **wide),
        grating(WIDE, **wide),
        rtol=0,
        atol=2 * PIXEL_ERROR + 0.5 * 2 / sd**2,
    )


# An independent implementation: the formula itself, in float64.


@given(
    spatial_frequency=st.floats(0, 7.9),
    orientation=st.floats(-360, 720),
    phase=st.floats(-720, 720),
    contrast=contrasts,
    mean_luminance=st.floats(0, 0.5),
    x=st.floats(-5, 5),
    y=st.floats(-5, 5),
)
@settings(max_examples=60, deadline=None)
def test_separating_x_from_y_changes_no_grating(
    spatial_frequency: float,
    orientation: float,
    phase: float,
    contrast: float,
    mean_luminance: float,
    x: float,
    y: float,
) -> None:
    asked: dict[str, Any] = {
        "spatial_frequency": spatial_frequency,
        "orientation": orientation,
        "phase": phase,
        "contrast": contrast,
        "mean_luminance": mean_luminance,
    }
    field = WIDE.centered_on(x, y)
    expected = float64_grating(field, **asked)
    np.testing.assert_allclose(only(grating(field, **asked)), expected, rtol=0, atol=PIXEL_ERROR)


@given(
    spatial_frequency=st.floats(0, 7.9),
    envelope_sd=st.floats(0.05, 5),
    orientation=orientations,
    phase=phases,
    contrast=contrasts,
)
@settings(max_examples=60, deadline=None)
def test_separating_x_from_y_changes_no_gabor_patch(
    spatial_frequency: float,
    envelope_sd: float,
    orientation: float,
    phase: float,
    contrast: float,
) -> None:
    asked: dict[str, Any] = {
        "spatial_frequency": spatial_frequency,
        "envelope_sd": envelope_sd,
        "orientation": orientation,
        "phase": phase,
        "contrast": contrast,
    }
    expected = float64_grating(WIDE, **asked)
    np.testing.assert_allclose(only(gabor(WIDE, **asked)), expected, rtol=0, atol=PIXEL_ERROR)


@pytest.mark.parametrize("size", [(40, 48), (1, 1), (7, 3), (64, 1)])
def test_a_batch_is_what_its_stimuli_are_one_by_one(size: tuple[int, int]) -> None:
    field = VisualField(*size, 16.0)
    rng = np.random.default_rng(4171)
    columns: dict[str, Any] = {
        "spatial_frequency": rng.uniform(0, 8, 37),
        "orientation": rng.uniform(0, 180, 37),
        "phase": rng.uniform(0, 360, 37),
        "contrast": rng.uniform(0, 1, 37),
        "mean_luminance": rng.uniform(0, 0.5, 37),
    }
    sd = rng.uniform(0.1, 2, 37)
    rows = [{name: column[i] for name, column in columns.items()} for i in range(37)]
    one_by_one = torch.cat([grating(field, **row) for row in rows])
    assert torch.equal(grating(field, **columns), one_by_one)
    one_by_one = torch.cat([gabor(field, envelope_sd=sd[i], **row) for i, row in enumerate(rows)])
    assert torch.equal(gabor(field, envelope_sd=sd, **columns), one_by_one)


@pytest.mark.parametrize(
    "vector", ["spatial_frequency", "orientation", "phase", "contrast", "mean_luminance"]
)
def test_one_vector_among_numbers_makes_as_many_stimuli(vector: str) -> None:
    numbers: dict[str, Any] = {
        "spatial_frequency": 2.0,
        "orientation": 30.0,
        "phase": 40.0,
        "contrast": 0.5,
        "mean_luminance": 0.25,
    }
    values = numbers[vector] * np.array([1.0, 0.5, 0.75])
    images = grating(WIDE, **numbers | {vector: values})
    assert images.shape == (3, 1, 40, 48)
    assert images.dtype == torch.float32
    for image, value in zip(images, values, strict=True):
        expected = float64_grating(WIDE, **numbers | {vector: value})
        np.testing.assert_allclose(image[0], expected, rtol=0, atol=PIXEL_ERROR)


def test_lists_tuples_and_whole_numbers_are_as_good_as_arrays() -> None:
    plain = grating(WIDE, spatial_frequency=[1, 2], orientation=(0, 90), phase=range(2))
    arrays = grating(
        WIDE,
        spatial_frequency=np.array([1.0, 2.0]),
        orientation=np.array([0.0, 90.0]),
        phase=np.array([0.0, 1.0]),
    )
    assert torch.equal(plain, arrays)


def test_full_contrast_at_half_luminance_stays_within_0_and_1() -> None:
    # Bars that rounding alone could push beyond.
    images = grating(
        VisualField(33, 33, 8.0),
        spatial_frequency=np.linspace(0, 3.9, 50),
        orientation=np.linspace(0, 179, 50),
    )
    assert images.min() >= 0
    assert images.max() <= 1


# What a family's function itself takes and gives.


def test_a_modulation_is_around_0_and_on_the_device_asked_for() -> None:
    drawn = gratings.grating(WIDE, spatial_frequency=2, contrast=[0.5, 0.0], phase=20, device="cpu")
    assert (drawn.shape, drawn.dtype, drawn.device.type) == ((2, 40, 48), torch.float32, "cpu")
    expected = np.tile(0.5 * np.cos(2 * np.pi * 2 * WIDE.y + np.deg2rad(20))[:, None], 48)
    np.testing.assert_allclose(drawn[0], expected, rtol=0, atol=MODULATION_ERROR)
    assert (drawn[1] == 0).all()


@given(x=st.floats(-2, 2), y=st.floats(-2, 2), orientation=orientations)
@settings(max_examples=30, deadline=None)
def test_a_grating_at_a_place_is_one_at_an_origin_moved_there(
    x: float, y: float, orientation: float
) -> None:
    asked: dict[str, Any] = {"spatial_frequency": 2.5, "orientation": orientation, "phase": 20}
    placed = gratings.gabor(WIDE, envelope_sd=0.6, x=x, y=y, **asked)
    moved = gratings.gabor(WIDE.centered_on(x, y), envelope_sd=0.6, **asked)
    assert torch.equal(placed, moved)


# Square waves.


def test_bars_of_a_square_wave_are_half_a_period_wide() -> None:
    image = only(square_grating(WIDE, spatial_frequency=2, orientation=90, contrast=0.4))
    light = np.abs((WIDE.x + 0.125) % 0.5 - 0.125) < 0.125  # 4 of every 8 pixels
    assert (image == np.where(light, np.float32(0.7), np.float32(0.3))).all()


def test_a_pixel_where_the_cosine_is_0_is_light() -> None:
    # Of the 8 pixels of a period two are on a zero, at which float64 gives anything but 0.
    field = VisualField(5, 801, 8.0)
    asked: dict[str, Any] = {"spatial_frequency": 1, "phase": 90, "orientation": 90}
    image = only(square_grating(field, **asked))
    light = (np.arange(-400, 401) % 8) <= 4  # cos(90 degrees - 2 pi x) = sin(2 pi x) >= 0 ...
    assert (image == light).all()


@given(
    spatial_frequency=frequencies,
    orientation=orientations,
    phase=phases,
    contrast=contrasts,
    mean_luminance=st.floats(0, 0.5),
)
@settings(max_examples=60, deadline=None)
def test_a_square_wave_is_light_where_the_cosine_is_and_has_two_luminances(
    spatial_frequency: float,
    orientation: float,
    phase: float,
    contrast: float,
    mean_luminance: float,
) -> None:
    asked: dict[str, Any] = {
        "spatial_frequency": spatial_frequency,
        "orientation": orientation,
        "phase": phase,
    }
    image = only(square_grating(WIDE, contrast=contrast, mean_luminance=mean_luminance, **asked))
    cosine = 2 * float64_grating(WIDE, contrast=1, **asked) - 1
    # The docstring's 0 is one to 1e-6, and a cosine is off by its own error.
    sure = np.abs(cosine) > 1e-6 + MODULATION_ERROR
    sign = np.where(cosine >= 0, 1, -1)
    expected = mean_luminance * (1 + sign * contrast)
    # m, c and their product are rounded, then the pixel: 3 u m c + u m + u <= 3 u.
    np.testing.assert_allclose(image[sure], expected[sure], rtol=0, atol=3 * 2.0**-24)
    assert np.unique(image).size <= 2


def test_the_fundamental_of_a_square_wave_is_stronger_than_the_sine_of_its_contrast() -> None:
    """By 4 / pi; sampled at N pixels a period, by 4 / (N sin(pi / N)) (a geometric series)."""
    for pixels in (8, 16, 24):
        field = VisualField(1, 48, 16.0)
        asked: dict[str, Any] = {"orientation": 90, "contrast": 0.3}
        image = only(square_grating(field, spatial_frequency=16 / pixels, **asked))
        amplitude = 2 * np.abs(np.fft.fft(image[0]))[48 // pixels] / 48
        expected = 0.15 * 4 / (pixels * np.sin(np.pi / pixels))
        assert amplitude == pytest.approx(expected, abs=2 * PIXEL_ERROR)


# Motion.

directions = st.floats(0, 360)


@pytest.mark.parametrize(
    ("direction", "rows", "columns"), [(0, 0, 3), (90, -3, 0), (180, 0, -3), (270, 3, 0)]
)
def test_the_bars_move_in_the_direction_asked_for(direction: int, rows: int, columns: int) -> None:
    """3 pixels to the right, up, to the left and down."""
    time = 3 / 16 / 4  # at 2 Hz over 0.5 cycles/degree: 4 degrees a second
    before, after = drifting_grating(
        *(WIDE,),
        spatial_frequency=0.5,
        temporal_frequency=2,
        direction=direction,
        phase=40,
        time=[0, time],
    )[:, 0].numpy()
    moved = np.roll(before, (rows, columns), (0, 1))
    inside = (slice(3, -3), slice(3, -3))
    np.testing.assert_allclose(after[inside], moved[inside], rtol=0, atol=2 * PIXEL_ERROR)
    assert np.abs(after - before).max() > 0.1


@given(
    spatial_frequency=st.floats(0.2, 4.9),
    temporal_frequency=st.floats(0, 8),
    direction=directions,
    phase=phases,
    time=st.floats(-2, 2),
)
@settings(max_examples=60, deadline=None)
def test_a_frame_is_the_first_one_moved_by_speed_times_time(
    spatial_frequency: float, temporal_frequency: float, direction: float, phase: float, time: float
) -> None:
    asked: dict[str, Any] = {
        "spatial_frequency": spatial_frequency,
        "temporal_frequency": temporal_frequency,
        "direction": direction,
        "phase": phase,
    }
    way = temporal_frequency / spatial_frequency * time
    angle = np.deg2rad(direction)
    moved = SQUARE.centered_on(way * np.cos(angle), way * np.sin(angle))
    frame = drifting_grating(SQUARE, time=time, **asked)
    np.testing.assert_allclose(
        frame, drifting_grating(moved, **asked), rtol=0, atol=2 * PIXEL_ERROR
    )


@given(direction=directions, phase=phases)
@settings(max_examples=30, deadline=None)
def test_what_moves_lies_at_right_angles_to_its_motion(direction: float, phase: float) -> None:
    moving = drifting_grating(
        WIDE, spatial_frequency=2.2, temporal_frequency=3, direction=direction, phase=phase
    )
    still = grating(WIDE, spatial_frequency=2.2, orientation=direction - 90, phase=phase)
    assert torch.equal(moving, still)


@pytest.mark.parametrize("temporal_frequency", [1, 4, 7])
def test_every_pixel_of_a_drifting_grating_has_the_temporal_frequency_asked_for(
    temporal_frequency: int,
) -> None:
    """One line in its spectrum, of the phase that its place has."""
    times = np.arange(24) / 24  # one second
    drifting = paired(
        gratings.drifting_grating,
        spatial_frequency=1.3,
        temporal_frequency=temporal_frequency,
        direction=25,
        phase=35,
        contrast=0.6,
    )
    movie = drifting.movie(SQUARE, times)[0, :, 0].double().numpy()
    spectrum = np.fft.fft(movie, axis=0) / 24
    x, y = np.meshgrid(SQUARE.x, SQUARE.y)
    place = 2 * np.pi * 1.3 * (x * np.cos(np.deg2rad(25)) + y * np.sin(np.deg2rad(25)))
    expected = np.zeros(spectrum.shape, complex)
    expected[0] = 0.5
    expected[-temporal_frequency] = 0.15 * np.exp(1j * (place + np.deg2rad(35)))
    expected[temporal_frequency] = expected[-temporal_frequency].conj()
    # A mean over frames is off by no more than one of them.
    np.testing.assert_allclose(spectrum, expected, rtol=0, atol=PIXEL_ERROR)


@given(
    spatial_frequency=frequencies,
    temporal_frequency=st.floats(0, 8),
    orientation=orientations,
    phase=phases,
    contrast=contrasts,
    time=st.floats(-2, 2),
)
@settings(max_examples=60, deadline=None)
def test_a_counterphase_grating_is_two_that_drift_in_opposite_directions(
    spatial_frequency: float,
    temporal_frequency: float,
    orientation: float,
    phase: float,
    contrast: float,
    time: float,
) -> None:
    asked: dict[str, Any] = {
        "spatial_frequency": spatial_frequency,
        "temporal_frequency": temporal_frequency,
        "time": time,
    }
    reversing = gratings.counterphase_grating(
        WIDE, orientation=orientation, phase=phase, contrast=contrast, **asked
    )
    there, back = gratings.drifting_grating(
        WIDE,
        direction=[orientation + 90, orientation - 90],
        phase=[phase, -phase],
        contrast=contrast / 2,
        **asked,
    )
    # One modulation, two of half the contrast, and the rounding of their sum.
    atol = 2 * MODULATION_ERROR + 2.0**-24
    np.testing.assert_allclose(reversing[0], there + back, rtol=0, atol=atol)


def test_a_counterphase_grating_reverses_in_place() -> None:
    """It is grey at a quarter of its period and upside down at a half; its zeros stand still."""
    reversing = paired(
        gratings.counterphase_grating,
        spatial_frequency=1,
        temporal_frequency=2,
        orientation=30,
        phase=10,
        contrast=0.8,
    )
    start, quarter, half, whole = reversing.movie(WIDE, [0, 1 / 8, 1 / 4, 1 / 2])[0, :, 0]
    np.testing.assert_allclose(quarter, np.full(quarter.shape, 0.5), rtol=0, atol=PIXEL_ERROR)
    np.testing.assert_allclose(half, 1 - start, rtol=0, atol=2 * PIXEL_ERROR)
    np.testing.assert_allclose(whole, start, rtol=0, atol=2 * PIXEL_ERROR)
    assert start.max() - start.min() > 0.7


# Two gratings at once.


@given(
    orientation=orientations,
    mask_angle=st.floats(-180, 180),
    phases=st.tuples(phases, phases),
    contrast=st.floats(0, 0.5),
    mask_contrast=st.floats(0, 0.5),
    mask_spatial_frequency=frequencies,
)
@settings(max_examples=60, deadline=None)
def test_a_plaid_is_the_sum_of_its_two_gratings(
    orientation: float,
    mask_angle: float,
    phases: tuple[float, float],
    contrast: float,
    mask_contrast: float,
    mask_spatial_frequency: float,
) -> None:
    image = only(
        plaid(
            WIDE,
            spatial_frequency=2.1,
            orientation=orientation,
            phase=phases[0],
            contrast=contrast,
            mask_angle=mask_angle,
            mask_spatial_frequency=mask_spatial_frequency,
            mask_phase=phases[1],
            mask_contrast=mask_contrast,
        )
    )
    first = float64_grating(
        WIDE,
        spatial_frequency=2.1,
        orientation=orientation,
        phase=phases[0],
        contrast=contrast,
    )
    second = float64_grating(
        WIDE,
        spatial_frequency=mask_spatial_frequency,
        orientation=orientation + mask_angle,
        phase=phases[1],
        contrast=mask_contrast,
    )
    # The sum of the two modulations is rounded once more than one is: u times 0.5 times at most 1.
    atol = PIXEL_ERROR + 0.5 * 2.0**-24
    np.testing.assert_allclose(image, first + second - 0.5, rtol=0, atol=atol)


def test_the_components_of_a_plaid_cross_at_right_angles_and_share_a_frequency_by_default() -> None:
    asked: dict[str, Any] = {"spatial_frequency": [2.0, 3.0], "orientation": 20.0}
    short = gratings.plaid(WIDE, contrast=0.5, mask_contrast=0.3, **asked)
    long = gratings.plaid(
        WIDE,
        contrast=0.5,
        mask_contrast=0.3,
        mask_angle=90,
        mask_spatial_frequency=[2.0, 3.0],
        mask_phase=0,
        **asked,
    )
    assert torch.equal(short, long)


def test_a_mask_without_contrast_leaves_a_grating() -> None:
    asked: dict[str, Any] = {"spatial_frequency": 2.0, "orientation": 20.0, "contrast": 0.7}
    assert torch.equal(plaid(WIDE, mask_contrast=0, **asked), grating(WIDE, **asked))


# One grating around another.


@given(
    center_diameter=st.floats(0.05, 2.5),
    surround_angle=st.floats(-90, 90),
    contrast=contrasts,
    surround_contrast=contrasts,
)
@settings(max_examples=40, deadline=None)
def test_within_is_the_grating_of_the_centre_and_outside_that_of_the_surround(
    center_diameter: float, surround_angle: float, contrast: float, surround_contrast: float
) -> None:
    image = center_surround(
        WIDE,
        spatial_frequency=2,
        orientation=20,
        phase=10,
        contrast=contrast,
        center_diameter=center_diameter,
        surround_angle=surround_angle,
        surround_spatial_frequency=3,
        surround_phase=50,
        surround_contrast=surround_contrast,
    )[0, 0]
    center = grating(WIDE, spatial_frequency=2, orientation=20, phase=10, contrast=contrast)[0, 0]
    surround = grating(
        WIDE,
        spatial_frequency=3,
        orientation=20 + surround_angle,
        phase=50,
        contrast=surround_contrast,
    )[0, 0]
    x, y = np.meshgrid(WIDE.x, WIDE.y)
    beyond = (np.hypot(x, y) - center_diameter / 2) * WIDE.pixels_per_degree
    inside = beyond < 1e-3 - 1e-5  # a pixel on the border to a thousandth is within
    outside = beyond > 1e-3 + 1e-5
    assert inside.any() or center_diameter < 0.1
    assert torch.equal(image[inside], center[inside])
    assert torch.equal(image[outside], surround[outside])


def test_a_pixel_on_the_border_is_the_centres() -> None:
    field = VisualField(9, 9, 4.0)  # pixels at multiples of 0.25
    image = only(
        center_surround(
            field, spatial_frequency=0, contrast=1, center_diameter=1.5, surround_contrast=0
        )
    )
    x, y = np.meshgrid(field.x, field.y)
    assert (image == np.where(np.hypot(x, y) <= 0.75, 1, 0.5)).all()
    assert image[4, 7] == 1  # x = 0.75, y = 0
    assert image[4, 8] == 0.5


def test_a_surround_has_what_its_centre_has_unless_told() -> None:
    asked: dict[str, Any] = {
        "spatial_frequency": [1.0, 2.0],
        "orientation": 35.0,
        "phase": 70.0,
        "contrast": [0.3, 0.8],
    }
    whole = center_surround(WIDE, center_diameter=1, **asked)
    assert torch.equal(whole, grating(WIDE, **asked))


def test_between_a_centre_and_its_surround_is_the_background() -> None:
    image = only(
        center_surround(
            WIDE, spatial_frequency=0, center_diameter=0.8, surround_inner_diameter=1.6, phase=60
        )
    )
    x, y = np.meshgrid(WIDE.x, WIDE.y)
    distance = np.hypot(x, y)
    gap = (distance > 0.4) & (distance < 0.8)
    assert (image[gap] == 0.5).all()
    np.testing.assert_allclose(image[~gap], 0.75, rtol=0, atol=PIXEL_ERROR)


def test_an_aperture_ends_the_surround() -> None:
    asked: dict[str, Any] = {"spatial_frequency": 0, "center_diameter": 0.8, "phase": 60}
    image = only(center_surround(WIDE, diameter=2, surround_contrast=0.5, **asked))
    x, y = np.meshgrid(WIDE.x, WIDE.y)
    distance = np.hypot(x, y)
    expected = np.select([distance <= 0.4, distance <= 1], [0.75, 0.625], 0.5)
    np.testing.assert_allclose(image, expected, rtol=0, atol=PIXEL_ERROR)


# Refusals.


@pytest.mark.parametrize("spatial_frequency", [8.0, 8.5, [1.0, 8.5]])
def test_a_grating_at_or_above_the_nyquist_limit_is_refused(
    spatial_frequency: float | list[float],
) -> None:
    value = np.max(spatial_frequency)
    message = rf"^spatial_frequency={value:g} .*Nyquist limit of 8 cycles.*> {2 * value:g}"
    with pytest.raises(ValueError, match=message):
        grating(WIDE, spatial_frequency=spatial_frequency)
    with pytest.raises(ValueError, match=message):
        gabor(WIDE, spatial_frequency=spatial_frequency, envelope_sd=1)


@pytest.mark.parametrize(
    ("draw", "name", "others"),
    [
        (plaid, "mask_spatial_frequency", {"mask_contrast": 0}),
        (center_surround, "surround_spatial_frequency", {"center_diameter": 1}),
    ],
)
def test_no_second_grating_is_above_the_nyquist_limit_either(
    draw: Callable[..., Tensor], name: str, others: dict[str, float]
) -> None:
    with pytest.raises(ValueError, match=rf"^{name}=9 is not below the Nyquist limit of 8 "):
        draw(WIDE, spatial_frequency=1, **{name: [np.nan, 9], **others})


def test_a_grating_just_below_the_nyquist_limit_is_shown() -> None:
    asked: dict[str, Any] = {
        "spatial_frequency": np.nextafter(8.0, 0),
        "orientation": 90.0,
        "phase": 45.0,
        "contrast": 1.0,
    }
    expected = float64_grating(WIDE, **asked)
    np.testing.assert_allclose(only(grating(WIDE, **asked)), expected, rtol=0, atol=PIXEL_ERROR)


@pytest.mark.parametrize("contrast", [-0.1, 1.01, 1.000000001])
def test_a_contrast_outside_0_to_1_is_refused(contrast: float) -> None:
    with pytest.raises(ValueError, match=rf"^contrast={contrast} is not within 0 to 1$"):
        grating(WIDE, spatial_frequency=1, contrast=[0.5, contrast], mean_luminance=0.1)


@pytest.mark.parametrize("mean_luminance", [-0.1, 1.1])
def test_a_mean_luminance_outside_0_to_1_is_refused(mean_luminance: float) -> None:
    with pytest.raises(ValueError, match=rf"^mean_luminance={mean_luminance} is not within 0 to 1"):
        grating(WIDE, spatial_frequency=1, contrast=0, mean_luminance=[0.2, mean_luminance])


@pytest.mark.parametrize(
    ("mean", "contrast", "limit"),
    [(0.6, 0.75, "0.666666"), (0.9, 0.6, "0.111111"), (1.0, 0.5, "0"), (0.75, 1.0, "0.333333")],
)
def test_bars_lighter_than_the_display_are_refused_with_the_contrast_that_fits(
    mean: float, contrast: float, limit: str
) -> None:
    message = (
        rf"^contrast={contrast:g} at mean_luminance={mean:g} goes beyond what a display shows; "
        rf"use at most contrast={limit}$"
    )
    asked: dict[str, Any] = {"spatial_frequency": 1, "mean_luminance": [0.2, mean]}
    with pytest.raises(ValueError, match=message):
        grating(WIDE, contrast=contrast, **asked)
    grating(WIDE, contrast=[contrast, float(limit)], **asked)  # the way out is one


def test_bars_are_judged_by_the_contrast_of_their_own_stimulus() -> None:
    # The brightest: 1 and 1.
    grating(WIDE, spatial_frequency=1, contrast=[1.0, 0.25], mean_luminance=[0.5, 0.8])
    with pytest.raises(ValueError, match=r"^contrast=1 at mean_luminance=0.8 goes beyond"):
        grating(WIDE, spatial_frequency=1, contrast=[0.25, 1.0], mean_luminance=[0.5, 0.8])


def test_a_plaid_of_more_than_full_contrast_is_refused_with_both_that_fit() -> None:
    asked: dict[str, Any] = {"spatial_frequency": 1, "contrast": 0.75}
    message = (
        r"^mask_contrast=0.5, contrast=0.75 at mean_luminance=0.5 goes beyond .*; "
        r"use at most mask_contrast=0.4, contrast=0.6$"
    )
    with pytest.raises(ValueError, match=message):
        plaid(WIDE, mask_contrast=[0.25, 0.5], **asked)
    plaid(WIDE, spatial_frequency=1, contrast=0.6, mask_contrast=0.4)


def test_a_surround_is_judged_as_its_centre_is() -> None:
    asked: dict[str, Any] = {"spatial_frequency": 1, "center_diameter": 1, "mean_luminance": 0.8}
    with pytest.raises(ValueError, match=r"^contrast=0.25, surround_contrast=0.5 at .*=0.125, "):
        center_surround(WIDE, contrast=0.25, surround_contrast=0.5, **asked)
    center_surround(WIDE, contrast=0.25, surround_contrast=0.25, **asked)


def test_a_centre_larger_than_the_field_is_refused_by_the_shorter_side() -> None:
    with pytest.raises(ValueError, match=r"^center_diameter=2.6 reaches beyond .* 2.5 degrees; "):
        center_surround(WIDE, spatial_frequency=1, center_diameter=[1, 2.6])
    crop = WIDE.crop(slice(0, 4), slice(0, 4))
    center_surround(crop, spatial_frequency=1, center_diameter=2.5)


def test_a_surround_within_its_centre_is_refused() -> None:
    message = r"^surround_inner_diameter=0.5 is below center_diameter=1; a surround lies around"
    with pytest.raises(ValueError, match=message):
        center_surround(
            WIDE, spatial_frequency=1, center_diameter=1, surround_inner_diameter=[1, 0.5]
        )


@pytest.mark.parametrize("name", ["orientation", "phase", "mean_luminance", "spatial_frequency"])
@pytest.mark.parametrize("as_vector", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_parameter_that_is_no_number_is_refused(name: str, as_vector: bool, value: float) -> None:
    asked: dict[str, Any] = {"spatial_frequency": 1.0}
    asked[name] = [0.5, value] if as_vector else value
    with pytest.raises(ValueError, match=rf"^{name}=\[.*{value}\] holds one that is not a number"):
        grating(WIDE, **asked)


def test_a_negative_frequency_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^spatial_frequency=-1 is not 0 or more$"):
        grating(WIDE, spatial_frequency=[1.0, -1.0])
    with pytest.raises(ValueError, match=r"^temporal_frequency=-2 is not 0 or more$"):
        drifting_grating(WIDE, spatial_frequency=1, temporal_frequency=-2)


@pytest.mark.parametrize("envelope_sd", [0, -1])
def test_an_envelope_without_a_width_is_refused(envelope_sd: int) -> None:
    with pytest.raises(ValueError, match=rf"^envelope_sd={envelope_sd} is not above 0$"):
        gabor(WIDE, spatial_frequency=1, envelope_sd=[0.5, envelope_sd])
