"""Shapes are the functions that the fits say they are, and their slopes are those."""

import numpy as np
import pytest

from ephys.shapes import Gabor, Gaussian, Shape
from ephys.visual_field import VisualField

FIELD = VisualField(21, 26, 10.0).centered_on(0.3, -0.2)


def shapes() -> dict[str, tuple[Shape, np.ndarray]]:
    """Each with parameters of many units, within their bounds."""
    rng = np.random.default_rng(12)
    found: dict[str, tuple[Shape, np.ndarray]] = {}
    for family in (Gabor, Gaussian):
        shape = family(FIELD.x, FIELD.y)
        low = np.where(np.isfinite(shape.lower), shape.lower, -7)
        high = np.where(np.isfinite(shape.upper), shape.upper, 7)
        found[family.__name__] = (shape, rng.uniform(low, high, (200, len(low))))
    return found


@pytest.mark.parametrize("name", ["Gabor", "Gaussian"])
def test_slopes_are_the_derivatives(name: str) -> None:
    """By a step into the complex plane, of which nothing is lost to rounding."""
    shape, p = shapes()[name]
    step = 1e-30
    for parameter, slopes in enumerate(np.moveaxis(shape.jacobian(p), 1, 0)):
        aside = p.astype(complex)
        aside[:, parameter] += 1j * step
        expected = shape.model(aside).imag / step
        largest = abs(expected).max(1, keepdims=True) + 1e-300
        np.testing.assert_allclose(slopes / largest, expected / largest, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["Gabor", "Gaussian"])
def test_the_first_parameters_are_linear(name: str) -> None:
    shape, p = shapes()[name]
    basis = shape.jacobian(p)[:, : shape.linear]
    combined = (p[:, : shape.linear, None] * basis).sum(1)
    np.testing.assert_allclose(shape.model(p), combined, rtol=0, atol=1e-13)


def bell(numbers: dict[str, np.ndarray], along: str, across: str) -> tuple[np.ndarray, np.ndarray]:
    """The envelope at each pixel, and the distance across: (unit, point)."""
    x, y = (axis.ravel() for axis in np.meshgrid(FIELD.x, FIELD.y))
    right, up = x - numbers["center_x"][:, None], y - numbers["center_y"][:, None]
    angle = np.deg2rad(numbers["orientation"])[:, None]
    s = right * np.cos(angle) + up * np.sin(angle)
    u = up * np.cos(angle) - right * np.sin(angle)
    widths = numbers[along][:, None], numbers[across][:, None]
    return np.exp(-(s**2) / (2 * widths[0] ** 2) - u**2 / (2 * widths[1] ** 2)), u


def test_a_gabor_is_the_formula_of_its_numbers() -> None:
    shape, p = shapes()["Gabor"]
    numbers = shape.describe(p)
    envelope, u = bell(numbers, "sd_along", "sd_across")
    phase = np.deg2rad(numbers["phase"])[:, None]
    wave = np.cos(2 * np.pi * numbers["spatial_frequency"][:, None] * u + phase)
    expected = numbers["baseline"][:, None] + numbers["amplitude"][:, None] * envelope * wave
    np.testing.assert_allclose(shape.model(p), expected, rtol=0, atol=1e-12)
    assert ((numbers["orientation"] >= 0) & (numbers["orientation"] < 180)).all()
    assert ((numbers["phase"] >= 0) & (numbers["phase"] < 360)).all()
    assert (numbers["amplitude"] >= 0).all()
    np.testing.assert_allclose(
        numbers["aspect"], numbers["sd_along"] / numbers["sd_across"], rtol=1e-14
    )


def test_a_gaussian_is_the_formula_of_its_numbers() -> None:
    shape, p = shapes()["Gaussian"]
    numbers = shape.describe(p)
    envelope, _ = bell(numbers, "sd_major", "sd_minor")
    expected = numbers["baseline"][:, None] + numbers["amplitude"][:, None] * envelope
    # The widths come out of eigenvalues, which lose as many digits as their ratio has.
    np.testing.assert_allclose(shape.model(p), expected, rtol=0, atol=1e-8)
    assert (numbers["sd_major"] >= numbers["sd_minor"]).all()
    assert ((numbers["orientation"] >= 0) & (numbers["orientation"] < 180)).all()


def test_an_angle_just_below_0_is_0() -> None:
    shape = Gabor(FIELD.x, FIELD.y)
    p = np.array([[1.0, 0.5, 0, 0, 0, angle, 1, 0, 0] for angle in (-1e-20, 0, np.pi, -np.pi)])
    numbers = shape.describe(p)
    np.testing.assert_array_equal(numbers["orientation"], 0)
    phase = np.rad2deg(np.arctan2(0.5, 1))
    np.testing.assert_allclose(numbers["phase"], [phase, phase, 360 - phase, 360 - phase])
    waves = shape.model(p)
    np.testing.assert_allclose(waves[0], waves[1], atol=1e-12)
    p[0, 1] = -1e-30
    assert shape.describe(p)["phase"][0] == 0


@pytest.mark.parametrize("name", ["Gabor", "Gaussian"])
def test_one_of_the_starts_is_near_the_shape(name: str) -> None:
    shape, _ = shapes()[name]
    p = {
        "Gabor": [1.0, 0.5, 0, 0.2, -0.1, 0.6, 2.0, np.log(0.3), np.log(0.25)],
        "Gaussian": [-2.0, 0, 0.2, -0.1, 4, 1, 3],
    }[name]
    image = shape.model(np.array([p])).reshape(1, 21, 26)
    starts = shape.starts(image - image.mean())[0]  # (start, parameter)
    assert ((shape.lower <= starts) & (starts <= shape.upper)).all()
    place = shape.linear + np.arange(2)
    near = np.hypot(*(starts[:, place] - np.array(p)[place]).T) < 0.15  # pixels are 0.1
    if name == "Gabor":
        (angle, frequency), turned = starts[:, 5:7].T, np.array(p[5])
        wave = np.exp(2j * (angle - turned))  # of half a turn
        near &= (wave.real > np.cos(2 * 0.3)) & (abs(frequency - 2) < 0.5)
    assert near.any()
