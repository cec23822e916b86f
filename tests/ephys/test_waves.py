"""Plane waves are found in pictures that are drawn here, in float64, by formulas of their own."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from ephys.waves import Fit, Pictures, fit_waves

# 3 x 2 degrees, 16 pixels each; the middle of them is not at 0.
X = (np.arange(48) - 20) / 16
Y = (17 - np.arange(32)) / 16
# Of float64: of sums over 1536 pixels, by normal equations. Far below any error of float32 pixels.
EXACT = 1e-9

frequencies = st.floats(1.5, 7.5)
angles = st.floats(0, 180)
phases = st.floats(-np.pi, np.pi)


def vector(frequency: float, orientation: float) -> np.ndarray:
    """k of bars of an orientation."""
    angle = np.deg2rad(orientation)
    return 2 * np.pi * frequency * np.array([-np.sin(angle), np.cos(angle)])


def draw(k: np.ndarray, phase: float, amplitude: float = 1.0) -> np.ndarray:
    """(y, x)"""
    return amplitude * np.cos(k[0] * X[None, :] + k[1] * Y[:, None] + phase)


def pictures(*images: np.ndarray, windows: Any = (None,), error: float = 1e-12) -> Pictures:
    """Of one channel."""
    count = len(images)
    return Pictures(
        np.stack(images)[:, None],
        np.tile(X, (count, 1)),
        np.tile(Y, (count, 1)),
        list(windows),
        np.ones((count, 1)),
        np.full(count, error),
        np.full(count, 2 * error),
    )


def disc(diameter: float) -> np.ndarray:
    return 1.0 * (np.hypot(X[None, :], Y[:, None]) <= diameter / 2)[None]


def assert_wave(
    fit: Fit, wave: int, k: np.ndarray, phase: float, amplitude: float, tolerance: float = EXACT
) -> None:
    """Up to the sign of k, which turns that of the phase."""
    sign = np.sign(fit.k[0, wave] @ k)
    np.testing.assert_allclose(sign * fit.k[0, wave], k, rtol=0, atol=10 * tolerance)
    found = fit.amplitude[0, wave, 0]
    expected = amplitude * np.exp(1j * sign * phase)
    np.testing.assert_allclose(found, expected, rtol=0, atol=10 * tolerance)


@given(frequency=frequencies, orientation=angles, phase=phases, off=st.floats(-0.15, 0.15))
@settings(max_examples=30, deadline=None)
def test_a_wave_is_found_from_a_start_beside_it(
    frequency: float, orientation: float, phase: float, off: float
) -> None:
    k = vector(frequency, orientation)
    fit = fit_waves(pictures(0.5 + draw(k, phase, 0.3)), k[None, None] * (1 + off / frequency))
    assert_wave(fit, 0, k, phase, 0.3)
    assert fit.constant[0, 0] == pytest.approx(0.5, abs=EXACT)
    assert abs(fit.rest).max() < EXACT


@given(frequency=frequencies, orientation=angles, phase=phases, wrong=angles)
@settings(max_examples=30, deadline=None)
def test_a_wave_is_found_wherever_the_search_starts(
    frequency: float, orientation: float, phase: float, wrong: float
) -> None:
    k = vector(frequency, orientation)
    fit = fit_waves(pictures(0.5 + draw(k, phase, 0.3)), vector(4.0, wrong)[None, None])
    assert_wave(fit, 0, k, phase, 0.3)


@given(frequency=frequencies, orientation=angles, phase=phases, amplitude=st.floats(0.01, 1))
@settings(max_examples=20, deadline=None)
def test_scipy_finds_the_same_wave(
    frequency: float, orientation: float, phase: float, amplitude: float
) -> None:
    """In noise, where the minimum is nowhere special."""
    k = vector(frequency, orientation)
    noise = np.random.default_rng(0).normal(scale=0.01 * amplitude, size=(32, 48))
    image = 0.5 + draw(k, phase, amplitude) + noise

    def residual(p: np.ndarray) -> np.ndarray:
        turn = p[3] * X[None, :] + p[4] * Y[:, None]
        return (p[0] + p[1] * np.cos(turn) - p[2] * np.sin(turn) - image).ravel()

    start = [0.5, amplitude * np.cos(phase), amplitude * np.sin(phase), *k]
    tight: Any = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15, "x_scale": "jac"}
    theirs = least_squares(residual, start, **tight)
    fit = fit_waves(pictures(image, error=1e-3 * amplitude), k[None, None])
    found = [fit.constant[0, 0], *fit.amplitude[0, 0].view(float), *fit.k[0, 0]]
    # A sum of squares is flat: at its minimum scipy's finite differences see 1e-8 of a parameter.
    np.testing.assert_allclose(found, theirs.x, rtol=0, atol=1e-6)
    deviation = np.sqrt((theirs.fun**2).mean())
    assert np.sqrt(fit.squares[0]) == pytest.approx(deviation, rel=1e-9)


@given(columns=st.integers(-20, 20), rows=st.integers(1, 14), phase=phases)
@settings(max_examples=20, deadline=None)
def test_a_wave_of_whole_cycles_is_the_line_of_its_spectrum(
    columns: int, rows: int, phase: float
) -> None:
    k = 2 * np.pi * np.array([columns / 3, rows / 2])
    image = 0.5 + draw(k, phase, 0.4)
    spectrum = np.fft.fft2(image) / image.size
    line = 2 * spectrum[-rows, columns] * np.exp(-1j * (k[0] * X[0] + k[1] * Y[0]))
    fit = fit_waves(pictures(image), k[None, None] * 1.01)
    assert_wave(fit, 0, k, float(np.angle(line)), float(abs(line)))


@given(first=angles, between=st.floats(30, 150), phase=phases, start=angles)
@settings(max_examples=20, deadline=None)
def test_two_waves_are_found_together(
    first: float, between: float, phase: float, start: float
) -> None:
    one, other = vector(3.0, first), vector(4.0, first + between)
    image = 0.5 + draw(one, phase, 0.3) + draw(other, 1.0, 0.1)
    beside = fit_waves(pictures(image, windows=(None, None)), np.stack([one, other])[None] * 1.02)
    nowhere = fit_waves(
        pictures(image, windows=(None, None)), np.stack([one, vector(6.5, start)])[None]
    )
    for fit in (beside, nowhere):
        assert_wave(fit, 0, one, phase, 0.3)
        assert_wave(fit, 1, other, 1.0, 0.1)


def test_two_waves_are_in_the_order_of_their_starts() -> None:
    one, other = vector(3.0, 20), vector(4.0, 80)
    image = 0.5 + draw(one, 0.0, 0.3) + draw(other, 1.0, 0.1)
    fit = fit_waves(pictures(image, windows=(None, None)), np.stack([other, one])[None] * 1.01)
    assert_wave(fit, 0, other, 1.0, 0.1)
    assert_wave(fit, 1, one, 0.0, 0.3)


@given(frequency=st.floats(2.5, 7.5), orientation=angles, phase=phases)
@settings(max_examples=20, deadline=None)
def test_a_wave_is_found_in_its_window(frequency: float, orientation: float, phase: float) -> None:
    k, window = vector(frequency, orientation), disc(1.5)
    image = 0.5 + window[0] * draw(k, phase, 0.3)
    fit = fit_waves(pictures(image, windows=(window,)), k[None, None] * 1.01)
    assert_wave(fit, 0, k, phase, 0.3)


def test_waves_in_two_places_are_found() -> None:
    inside, one, other = disc(1.2), vector(3.0, 20), vector(4.0, 110)
    image = 0.5 + inside[0] * draw(one, 0.2, 0.3) + (1 - inside[0]) * draw(other, 1.0, 0.4)
    starts = np.stack([one, vector(4.0, 20)])[None]
    fit = fit_waves(pictures(image, windows=(inside, 1 - inside)), starts)
    assert_wave(fit, 0, one, 0.2, 0.3)
    assert_wave(fit, 1, other, 1.0, 0.4)


def test_channels_have_amplitudes_of_their_own() -> None:
    k = vector(3.0, 20)
    image = np.stack([0.5 + draw(k, 0.2, a) for a in (0.3, -0.1, 0.2)])[None]
    of_one = pictures(image[0, 0])
    all_three = Pictures(
        *(image, of_one.x, of_one.y, of_one.windows, np.array([[1.0, -1.0, 0.5]])),
        *(of_one.error, of_one.limit),
    )
    fit = fit_waves(all_three, k[None, None] * 1.01)
    expected = np.array([0.3, -0.1, 0.2]) * np.exp(0.2j)
    np.testing.assert_allclose(fit.amplitude[0, 0], expected, rtol=0, atol=10 * EXACT)


@given(seed=st.integers(0, 100), frequency=frequencies, orientation=angles)
@settings(max_examples=20, deadline=None)
def test_errors_of_pixels_move_nothing_farther_than_the_spread(
    seed: int, frequency: float, orientation: float
) -> None:
    """Not even those that move it most: errors along the rows of the pseudoinverse."""
    k, size = vector(frequency, orientation), 1e-6
    clean, noise = 0.5 + draw(k, 0.4, 0.3), np.random.default_rng(seed).uniform(-1, 1, (32, 48))
    across = (k[1] * X[None, :] - k[0] * Y[:, None]) / np.linalg.norm(k)
    worst = draw(k, 0.4 + np.pi / 2) * across  # what turns the wave
    starts = np.tile(k, (2, 1, 1))
    images = [clean + size * noise, clean + size * np.sign(worst)]
    fit = fit_waves(pictures(*images, error=size), starts)
    frequencies, (right, up) = np.linalg.norm(fit.k[:, 0], axis=1), fit.k[:, 0].T
    turned = (k[0] * up - k[1] * right) / (np.linalg.norm(k) * frequencies)
    moved = np.stack(
        [
            fit.constant[:, 0] - 0.5,
            abs(fit.amplitude[:, 0, 0]) - 0.3,
            np.angle(fit.amplitude[:, 0, 0]) - 0.4,
            frequencies - np.linalg.norm(k),
            np.arcsin(turned),
        ],
        axis=1,
    )
    bound = fit.spread() * size
    # The bound is of first order: what is beyond is of the order of size relative to the amplitude.
    assert (abs(moved) <= bound * (1 + 1e-3) + EXACT).all()
    assert abs(moved[1, 4]) > 0.5 * bound[1, 4]  # and it is not far from what can happen


def test_what_a_picture_cannot_tell_has_no_bound() -> None:
    column = Pictures(
        np.cos(2 * np.pi * Y)[None, None, :, None],
        np.zeros((1, 1)),
        Y[None],
        [None],
        *(np.ones((1, 1)), np.full(1, 1e-9), np.full(1, 1e-9)),
    )
    fit = fit_waves(column, vector(1.0, 0)[None, None])
    _, size, phase, length, angle = fit.spread()[0]
    assert max(size, phase, length) < 100
    assert angle > 1e6  # of a single column the orientation of bars is not seen
    empty = fit_waves(pictures(np.full((32, 48), 0.5)), vector(3.0, 0)[None, None])
    assert empty.spread()[0, 2:].min() > 1e6
    assert abs(empty.amplitude).max() < EXACT
