"""Forms of tuning curves against their formulas and against finite differences."""

import numpy as np
import pytest
from scipy.special import erf

from ephys.curve_shapes import (
    DifferenceOfGaussians,
    Form,
    LogGaussian,
    NakaRushton,
    Normalization,
    RatioOfGaussians,
    Supersaturating,
    VonMises,
)

ANGLES = np.arange(12) * 15.0
DIRECTIONS = np.arange(16) * 22.5
FREQUENCIES = 2 ** np.linspace(-2, 3, 11)
CONTRASTS = np.array([0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1])
DIAMETERS = np.geomspace(0.25, 8, 12)
NOTHING = (
    1e-40  # a contrast of 0 to the least exponent that is looked for, where it is taken as e^-1000
)
TEST, MASK = (v.ravel() for v in np.meshgrid(CONTRASTS, CONTRASTS[::2], indexing="ij"))
FORMS: dict[str, Form] = {
    "von Mises": VonMises(ANGLES, 180.0, 1),
    "two lobes": VonMises(DIRECTIONS, 360.0, 2),
    "log-Gaussian": LogGaussian(FREQUENCIES, False),
    "Naka-Rushton": NakaRushton(CONTRASTS),
    "supersaturating": Supersaturating(CONTRASTS),
    "difference of Gaussians": DifferenceOfGaussians(DIAMETERS, False),
    "ratio of Gaussians": RatioOfGaussians(DIAMETERS, True),
    "normalization": Normalization(TEST, MASK),
}


def random_shapes(form: Form, units: int = 40) -> np.ndarray:
    """Within the middle half of the bounds, where nothing is so small that differences round."""
    rng = np.random.default_rng(2)
    low, high = (
        np.where(np.isfinite(b), b, side) for b, side in ((form.lower, 0), (form.upper, 6))
    )
    return low + (high - low) * rng.uniform(0.25, 0.75, (units, len(low)))


@pytest.mark.parametrize("name", FORMS)
def test_slopes_are_those_of_finite_differences(name: str) -> None:
    form = FORMS[name]
    shapes = random_shapes(form)
    gains = np.random.default_rng(3).uniform(0.5, 2, (form.gains, len(shapes), 1))
    slopes = form.slopes(shapes, gains, form.basis(shapes))
    step = 1e-5
    for i, slope in enumerate(slopes):
        ahead, behind = (shapes + sign * step * np.eye(shapes.shape[1])[i] for sign in (1, -1))
        rise = (gains * (form.basis(ahead) - form.basis(behind))).sum(0) / (2 * step)
        # Rounding of 1e-16 over a step of 1e-5, and its square times the third derivative.
        size = abs(gains * form.basis(shapes)).sum(0).max()
        np.testing.assert_allclose(slope, rise, rtol=1e-5, atol=1e-7 * size)


def test_the_functions_are_those_of_their_formulas() -> None:
    shape = {name: random_shapes(form) for name, form in FORMS.items()}
    value = {name: FORMS[name].basis(shape[name]) for name in FORMS}

    def columns(name: str) -> np.ndarray:
        return shape[name].T[..., None]

    center, log_kappa = columns("von Mises")
    lobe = np.exp(np.exp(log_kappa) * (np.cos(2 * np.deg2rad(ANGLES) - center) - 1))
    np.testing.assert_allclose(value["von Mises"], lobe[None], rtol=1e-9)
    center, log_kappa = columns("two lobes")
    for i, turn in enumerate((0, np.pi)):
        lobe = np.exp(np.exp(log_kappa) * (np.cos(np.deg2rad(DIRECTIONS) - center - turn) - 1))
        np.testing.assert_allclose(value["two lobes"][i], lobe, rtol=1e-9)
    center, log_sd = columns("log-Gaussian")
    bell = np.exp(-((np.log2(FREQUENCIES) - center) ** 2) / (2 * np.exp(log_sd) ** 2))
    np.testing.assert_allclose(value["log-Gaussian"], bell[None], rtol=1e-9)
    c50, n = np.exp(columns("Naka-Rushton"))
    ratio = CONTRASTS**n / (c50**n + CONTRASTS**n)
    np.testing.assert_allclose(value["Naka-Rushton"], ratio[None], rtol=1e-9, atol=NOTHING)
    c50, n = np.exp(columns("supersaturating")[:2])
    s = columns("supersaturating")[2]
    falling = CONTRASTS**n / (c50 ** (s * n) + CONTRASTS ** (s * n))
    np.testing.assert_allclose(value["supersaturating"], falling[None], rtol=1e-9, atol=NOTHING)
    center, ratio = np.exp(columns("difference of Gaussians"))
    both = np.stack([erf(DIAMETERS / center), -erf(DIAMETERS / (center * ratio))])
    np.testing.assert_allclose(value["difference of Gaussians"], both, rtol=1e-9)
    center, ratio, k = np.exp(columns("ratio of Gaussians"))
    divided = erf(DIAMETERS / center) ** 2 / (1 + k * erf(DIAMETERS / (center * ratio)) ** 2)
    np.testing.assert_allclose(value["ratio of Gaussians"], divided[None], rtol=1e-9)
    c50, n = np.exp(columns("normalization"))
    pool = c50**n + np.hypot(TEST, MASK) ** n
    drives = np.stack([TEST**n, MASK**n]) / pool
    np.testing.assert_allclose(value["normalization"], drives, rtol=1e-9, atol=NOTHING)


@pytest.mark.parametrize("name", FORMS)
def test_starts_are_within_the_bounds_and_reach_them(name: str) -> None:
    form = FORMS[name]
    nodes = form.nodes.reshape(-1, len(form.lower))
    assert (nodes >= form.lower).all()
    assert (nodes <= form.upper).all()
    limited = np.isfinite(form.lower)
    np.testing.assert_array_equal(nodes.min(0)[limited], form.lower[limited])
    np.testing.assert_array_equal(nodes.max(0)[limited], form.upper[limited])
    assert np.isfinite(form.basis(nodes)).all()


INSIDE = {name: random_shapes(form, 1)[0] for name, form in FORMS.items()}


@pytest.mark.parametrize(
    ("name", "gains", "edges", "expected"),
    [
        ("von Mises", [1], {}, False),
        ("von Mises", [1], {1: "lower"}, True),
        ("von Mises", [0], {1: "lower"}, False),
        ("two lobes", [0, 1], {1: "upper"}, True),
        ("two lobes", [0, 0], {1: "upper"}, False),
        ("log-Gaussian", [1], {0: "lower"}, True),
        ("log-Gaussian", [0], {0: "lower"}, False),
        ("Naka-Rushton", [-1], {0: "upper"}, True),
        ("difference of Gaussians", [1, 0.5], {}, False),
        ("difference of Gaussians", [1, 0.5], {1: "upper"}, True),
        ("difference of Gaussians", [1, 0], {1: "upper"}, False),
        ("difference of Gaussians", [1, 0], {0: "lower", 1: "upper"}, True),
        ("difference of Gaussians", [0, 0], {0: "lower", 1: "upper"}, False),
        ("ratio of Gaussians", [1], {1: "lower"}, True),
        ("ratio of Gaussians", [1], {2: "upper"}, True),
        ("ratio of Gaussians", [1], {2: "lower"}, False),
        ("ratio of Gaussians", [1], {1: "lower", 2: "lower"}, False),
        ("ratio of Gaussians", [1], {0: "upper", 2: "lower"}, True),
        ("ratio of Gaussians", [0], {0: "upper", 1: "lower", 2: "upper"}, False),
        ("normalization", [0, -1], {1: "lower"}, True),
    ],
)
def test_only_what_shows_in_the_curve_can_be_at_a_bound(
    name: str, gains: list[float], edges: dict[int, str], expected: bool
) -> None:
    form, shape = FORMS[name], INSIDE[name].copy()
    for axis, side in edges.items():
        shape[axis] = getattr(form, side)[axis]
    assert form.at_bound(np.array(gains)[:, None], shape[:, None]).tolist() == [expected]


def test_difference_and_ratio_are_of_integrals_of_gaussians() -> None:
    """erf(d / w) is the integral from -d/2 to d/2 of exp(-(2 y / w)^2), over the whole of it."""
    width = 1.7
    y = (np.arange(200_000) + 0.5) / 200_000 - 0.5  # of a diameter
    for d in (0.3, 1.0, 4.0):
        integral = np.exp(-((2 * y * d / width) ** 2)).mean() * d
        # The midpoint rule is off by d^3 / (24 N^2) times the second derivative.
        assert integral / (width * np.sqrt(np.pi) / 2) == pytest.approx(erf(d / width), abs=1e-9)
