"""Gratings and Gabor patches: what is on the screen is what was asked for."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares
from torch import Tensor

from ephys.stimuli.gratings import check_gabor, check_grating, gabor, grating
from ephys.visual_field import VisualField

# float32 rounds by at most u = 2^-24 of a value. A pixel m + A cos a cos b - A sin a sin b, with
# A = m contrast, is three times rounded in each product and once in their sum (4 u A, as the two
# products together stay below A), once in m (u m) and once in the end (u): with A <= m and
# A + m <= 1 at most 3.5 u. The float64 arguments of the cosines add nothing at this scale.
PIXEL_ERROR = 3.5 * 2.0**-24

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


@pytest.mark.parametrize("family", ["grating", "gabor"])
@given(rows=spans(40), columns=spans(48), orientation=orientations)
@settings(max_examples=60, deadline=None)
def test_a_crop_of_the_field_shows_exactly_the_pixels_of_the_cropped_image(
    family: str, rows: slice, columns: slice, orientation: float
) -> None:
    def draw(field: VisualField) -> Tensor:
        if family == "grating":
            return grating(field, spatial_frequency=2.7, orientation=orientation, phase=70)
        return gabor(
            field, spatial_frequency=2.7, envelope_sd=0.5, orientation=orientation, phase=70
        )

    assert torch.equal(draw(WIDE.crop(rows, columns)), draw(WIDE)[..., rows, columns])


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
    gratings = torch.cat([grating(field, **row) for row in rows])
    gabors = torch.cat([gabor(field, envelope_sd=sd[i], **row) for i, row in enumerate(rows)])
    assert torch.equal(grating(field, **columns), gratings)
    assert torch.equal(gabor(field, envelope_sd=sd, **columns), gabors)


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


# Refusals.


@pytest.mark.parametrize("spatial_frequency", [8.0, 8.5, [1.0, 8.5], np.inf])
def test_a_grating_at_or_above_the_nyquist_limit_is_refused(
    spatial_frequency: float | list[float],
) -> None:
    value = np.max(spatial_frequency)
    message = rf"spatial_frequency={value} .*Nyquist limit of 8 cycles.*> {2 * value:g}"
    with pytest.raises(ValueError, match=message):
        grating(WIDE, spatial_frequency=spatial_frequency)
    with pytest.raises(ValueError, match=message):
        gabor(WIDE, spatial_frequency=spatial_frequency, envelope_sd=1)


def test_a_grating_just_below_the_nyquist_limit_is_shown() -> None:
    asked: dict[str, Any] = {
        "spatial_frequency": np.nextafter(8.0, 0),
        "orientation": 90.0,
        "phase": 45.0,
        "contrast": 1.0,
    }
    expected = float64_grating(WIDE, **asked)
    np.testing.assert_allclose(only(grating(WIDE, **asked)), expected, rtol=0, atol=PIXEL_ERROR)


@pytest.mark.parametrize("contrast", [-0.1, 1.01, np.nan, np.inf])
def test_a_contrast_outside_0_to_1_is_refused(contrast: float) -> None:
    with pytest.raises(ValueError, match=rf"contrast={contrast} is outside 0 to 1"):
        grating(WIDE, spatial_frequency=1, contrast=[0.5, contrast], mean_luminance=0.1)


@pytest.mark.parametrize(
    ("mean", "contrast", "limit"),
    [(0.6, 0.75, "0.571429"), (0.9, 0.6, "0.625"), (-0.1, 0.6, "0.625"), (1.1, 0.0, "1")],
)
def test_a_mean_luminance_with_bars_outside_0_to_1_is_refused(
    mean: float, contrast: float, limit: str
) -> None:
    message = rf"mean_luminance={mean} is outside 0 to {limit},.*contrast={contrast:g} "
    with pytest.raises(ValueError, match=message):
        grating(WIDE, spatial_frequency=1, contrast=contrast, mean_luminance=[0.2, mean])


def test_a_mean_luminance_is_judged_by_the_contrast_of_its_own_stimulus() -> None:
    allowed = {"contrast": [1.0, 0.25], "mean_luminance": [0.5, 0.8]}  # brightest: 1 and 1
    check_grating(WIDE, spatial_frequency=1, **allowed)
    with pytest.raises(ValueError, match=r"mean_luminance=0.8 is outside 0 to 0.5"):
        check_grating(WIDE, spatial_frequency=1, contrast=[0.25, 1.0], mean_luminance=[0.5, 0.8])


@pytest.mark.parametrize("name", ["orientation", "phase", "mean_luminance", "spatial_frequency"])
@pytest.mark.parametrize("as_vector", [False, True])
def test_a_parameter_that_is_no_number_is_refused(name: str, as_vector: bool) -> None:
    asked: dict[str, Any] = {"spatial_frequency": 1.0}
    asked[name] = [0.5, np.nan] if as_vector else np.nan
    with pytest.raises(ValueError, match=f"{name}=nan"):
        grating(WIDE, **asked)


@pytest.mark.parametrize("name", ["orientation", "phase"])
def test_an_infinite_angle_is_refused(name: str) -> None:
    angles: dict[str, Any] = {name: [0.0, np.inf]}
    with pytest.raises(ValueError, match=f"{name}=inf is not a number"):
        grating(WIDE, spatial_frequency=1, **angles)


def test_a_negative_spatial_frequency_is_refused() -> None:
    with pytest.raises(ValueError, match=r"spatial_frequency=-1.0 is below 0"):
        grating(WIDE, spatial_frequency=[1.0, -1.0])


@pytest.mark.parametrize("envelope_sd", [0.0, -1.0, np.nan, np.inf])
def test_an_envelope_without_a_width_is_refused(envelope_sd: float) -> None:
    with pytest.raises(ValueError, match=rf"envelope_sd={envelope_sd} is not above 0"):
        gabor(WIDE, spatial_frequency=1, envelope_sd=[0.5, envelope_sd])
    with pytest.raises(ValueError, match=rf"envelope_sd={envelope_sd} is not above 0"):
        check_gabor(WIDE, spatial_frequency=1, envelope_sd=envelope_sd)
