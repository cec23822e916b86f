"""Functional forms of tuning curves: their slopes, where to look for them, and what they mean.

Each is a sum of one or two functions times gains, with a baseline or without. The functions have
a shape of two or three parameters, which ``separable_least_squares`` looks for.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import erf

LEVELS = {"half_width": 0.5, "half_width_0707": np.sqrt(0.5)}  # shares of a lobe's amplitude
FLATTEST = 0.1  # kappa: such a lobe is a cosine to within 3 % of its amplitude
NARROWEST = 0.5  # full width at half height, in steps between the points
WIDEST = 4.0  # full width at half height, in ranges of what was shown
BEYOND = 10.0  # c50 is looked for up to so many times the highest contrast, and below the lowest
EXPONENTS = (0.1, 20.0)
SATURATIONS = (0.5, 4.0)  # exponents s of Peirce (2007)
CENTERS = (0.25, 2.0)  # of the smallest and the largest diameter
SURROUNDS = (1.1, 32.0)  # in sizes of the center
DIVISORS = (1e-3, 1e3)  # gains of a surround that divides
SUMMATION = 0.95  # share of the peak at the diameter of the summation field
MOST_CENTERS = 64  # of lobes, on the grid of starts
NOTHING = -1e3  # log of a contrast of 0: to any exponent that is looked for it gives 0
FLAGS = ("extrapolated", "at_bound", "converged")

Axis = Sequence[float] | np.ndarray


class Form(ABC):
    """Functions of a shape on the points of a curve."""

    function: str  # its name
    baseline: bool
    positive: bool  # no gain is below 0
    gains: int
    lower: np.ndarray  # of the shape
    upper: np.ndarray
    nodes: np.ndarray  # (node, ..., shape): a grid of shapes to search for starts
    measures: tuple[str, ...]  # the names of what it is described by

    @abstractmethod
    def basis(self, shape: np.ndarray) -> np.ndarray:
        """(unit, shape) to the functions' values, (gain, unit, point)."""

    @abstractmethod
    def slopes(self, shape: np.ndarray, gains: np.ndarray, basis: np.ndarray) -> np.ndarray:
        """Derivatives (shape, unit, point) of the sum by the shape; gains are (gain, unit, 1)."""

    @abstractmethod
    def describe(self, gains: np.ndarray, shape: np.ndarray) -> dict[str, np.ndarray]:
        """What gains (gain, unit) and shape (shape, unit) mean, by the names of ``measures``."""

    def shows(self, gains: np.ndarray, shape: np.ndarray) -> np.ndarray:
        """What of a shape shows in the curve, (shape, unit): nothing where all gains are 0."""
        return np.broadcast_to((gains != 0).any(0), shape.shape)

    def at_bound(self, gains: np.ndarray, shape: np.ndarray) -> np.ndarray:
        """Whether the search for what shows of a shape (shape, unit) ended at its edge."""
        at_edge = (shape <= self.lower[:, None]) | (shape >= self.upper[:, None])
        return np.any(at_edge & self.shows(gains, shape), axis=0)


class VonMises(Form):
    """exp(kappa (cos(angle - center) - 1)), and with two lobes one more half a circle away.

    Shape: center (radians of the circle), log kappa.
    """

    function = "von_mises"
    baseline, positive = True, True

    def __init__(self, angles: np.ndarray, period: float, lobes: int) -> None:
        self.gains, self.to_degrees, self.period = lobes, period / (2 * np.pi), period
        self.cosine, self.sine = np.cos(angles / self.to_degrees), np.sin(angles / self.to_degrees)
        narrowest = NARROWEST * 2 * np.pi / len(angles)
        sharpest = np.log(2) / (1 - np.cos(narrowest / 2))
        self.lower = np.array([-np.inf, np.log(FLATTEST)])
        self.upper = np.array([np.inf, np.log(sharpest)])
        # Either of two lobes may be the first, so half the circle is enough.
        count = min(2 * len(angles), MOST_CENTERS)
        centers = np.arange(count) * 2 * np.pi / lobes / count
        self.nodes = _grid(centers, np.linspace(self.lower[1], self.upper[1], 12))
        of_two = ("amplitude_null", "direction_index") if lobes == 2 else ()
        self.measures = ("preferred", "kappa", *LEVELS, "amplitude", *of_two)

    def basis(self, shape: np.ndarray) -> np.ndarray:
        center, kappa = shape[:, :1], np.exp(shape[:, 1:])
        along = (kappa * np.cos(center)) * self.cosine + (kappa * np.sin(center)) * self.sine
        if self.gains == 1:
            return np.exp(along - kappa)[None]
        return np.exp(np.stack([along, -along]) - kappa)

    def slopes(self, shape: np.ndarray, gains: np.ndarray, basis: np.ndarray) -> np.ndarray:
        c, s, kappa = np.cos(shape[:, :1]), np.sin(shape[:, :1]), np.exp(shape[:, 1:])
        lobes = kappa * gains * basis
        sides = lobes[0] - lobes[1] if self.gains == 2 else lobes[0]
        by_center = (c * self.sine - s * self.cosine) * sides
        return np.stack([by_center, (c * self.cosine + s * self.sine) * sides - lobes.sum(0)])

    def describe(self, gains: np.ndarray, shape: np.ndarray) -> dict[str, np.ndarray]:
        amplitude, null = gains.max(0), gains.min(0)
        center = shape[0] + np.pi * (gains[0] < amplitude)
        kappa = np.where(amplitude > 0, np.exp(shape[1]), np.nan)
        preferred = center * self.to_degrees % self.period % self.period  # -1e-20 % 180 is 180
        with np.errstate(invalid="ignore"):  # a flat lobe does not fall so far
            widths = {
                name: np.arccos(1 + np.log(level) / kappa) * self.to_degrees
                for name, level in LEVELS.items()
            }
        found = {
            "preferred": np.where(amplitude > 0, preferred, np.nan),
            "kappa": kappa,
            **widths,
            "amplitude": amplitude,
            "amplitude_null": null,
            "direction_index": _ratio(amplitude - null, amplitude + null),
        }
        return {name: found[name] for name in self.measures}


class LogGaussian(Form):
    """exp(-(octaves from the center)^2 / 2 sd^2). Shape: center (octaves), log sd."""

    function = "log_gaussian"
    gains, positive = 1, True
    measures = ("preferred", "bandwidth", "low_cut", "high_cut", "amplitude")

    def __init__(self, frequencies: np.ndarray, baseline: bool) -> None:
        self.baseline = baseline
        self.octaves = np.log2(frequencies)
        self.lowest, self.highest = self.octaves.min(), self.octaves.max()
        shown = np.unique(self.octaves)
        widths = np.array([NARROWEST * np.diff(shown).min(), WIDEST * np.ptp(shown)])
        narrow, wide = np.log(widths / _full_width(1.0))
        self.lower, self.upper = np.array([self.lowest, narrow]), np.array([self.highest, wide])
        centers = np.linspace(self.lowest, self.highest, min(2 * len(shown) - 1, MOST_CENTERS))
        self.nodes = _grid(centers, np.linspace(narrow, wide, 12))

    def basis(self, shape: np.ndarray) -> np.ndarray:
        away = (self.octaves - shape[:, :1]) * np.exp(-shape[:, 1:])
        return np.exp(-0.5 * away**2)[None]

    def slopes(self, shape: np.ndarray, gains: np.ndarray, basis: np.ndarray) -> np.ndarray:
        steepness = np.exp(-shape[:, 1:])
        away = (self.octaves - shape[:, :1]) * steepness
        by_center = gains[0] * basis[0] * away
        return np.stack([by_center * steepness, by_center * away])

    def describe(self, gains: np.ndarray, shape: np.ndarray) -> dict[str, np.ndarray]:
        center, log_sd = np.where(gains[0] > 0, shape, np.nan)
        bandwidth = _full_width(np.exp(log_sd))
        low, high = center - bandwidth / 2, center + bandwidth / 2
        return {
            "preferred": np.exp2(center),
            "bandwidth": bandwidth,
            "low_cut": np.exp2(np.where(low >= self.lowest, low, np.nan)),
            "high_cut": np.exp2(np.where(high <= self.highest, high, np.nan)),
            "amplitude": gains[0],
        }


class NakaRushton(Form):
    """c^n / (c50^n + c^n). Shape: log c50, log n."""

    function: str = "naka_rushton"
    gains, positive, baseline = 1, False, True
    measures: tuple[str, ...] = ("r_max", "c50", "exponent", "extrapolated")

    def __init__(self, contrasts: np.ndarray) -> None:
        self.log_contrast = _log(contrasts)
        self.lowest, self.highest = contrasts[contrasts > 0].min(), contrasts.max()
        contrast = (self.lowest / BEYOND, self.highest * BEYOND)
        self.lower, self.upper = np.log([contrast, EXPONENTS]).T
        self.nodes = _even_grid(self.lower, self.upper, 24, 7)

    def basis(self, shape: np.ndarray) -> np.ndarray:
        return _logistic(np.exp(shape[:, 1:]) * (self.log_contrast - shape[:, :1]))[None]

    def slopes(self, shape: np.ndarray, gains: np.ndarray, basis: np.ndarray) -> np.ndarray:
        exponent = np.exp(shape[:, 1:])
        steep = gains[0] * basis[0] * (1 - basis[0]) * exponent
        return np.stack([-steep, steep * (self.log_contrast - shape[:, :1])])

    def describe(self, gains: np.ndarray, shape: np.ndarray) -> dict[str, np.ndarray]:
        c50, exponent = np.exp(shape[:2])
        outside = (c50 < self.lowest) | (c50 > self.highest)
        return {"r_max": gains[0], "c50": c50, "exponent": exponent, "extrapolated": outside}


class Supersaturating(NakaRushton):
    """c^n / (c50^(s n) + c^(s n)). Shape: log c50, log n, s."""

    function = "supersaturating"
    measures = ("r_max", "c50", "exponent", "saturation", "peak_contrast", "extrapolated")

    def __init__(self, contrasts: np.ndarray) -> None:
        super().__init__(contrasts)
        low, high = SATURATIONS
        self.lower, self.upper = np.append(self.lower, low), np.append(self.upper, high)
        self.nodes = _even_grid(self.lower, self.upper, 16, 7, 5)

    def basis(self, shape: np.ndarray) -> np.ndarray:
        log_c50, log_exponent, saturation = shape.T[..., None]
        exponent = np.exp(log_exponent)
        power = saturation * exponent
        below = np.logaddexp(0, power * (self.log_contrast - log_c50))
        return np.exp(exponent * self.log_contrast - power * log_c50 - below)[None]

    def slopes(self, shape: np.ndarray, gains: np.ndarray, basis: np.ndarray) -> np.ndarray:
        log_c50, log_exponent, saturation = shape.T[..., None]
        exponent = np.exp(log_exponent)
        away = self.log_contrast - log_c50
        half = _logistic(saturation * exponent * away)
        value = gains[0] * basis[0] * exponent
        by_exponent = self.log_contrast - saturation * (log_c50 + half * away)
        return np.stack(
            [value * saturation * (half - 1), value * by_exponent, -value * (log_c50 + half * away)]
        )

    def describe(self, gains: np.ndarray, shape: np.ndarray) -> dict[str, np.ndarray]:
        found = super().describe(gains, shape)
        saturation, power = shape[2], shape[2] * np.exp(shape[1])
        # There d/dc of n log c - log(c50^(s n) + c^(s n)) is 0.
        falls = saturation > 1
        log_peak = shape[0] - np.log(np.where(falls, saturation - 1, 1)) / power
        shown = falls & (log_peak <= np.log(self.highest))
        peak = np.exp(np.where(shown, log_peak, np.nan))
        return found | {"saturation": saturation, "peak_contrast": peak}


class DifferenceOfGaussians(Form):
    """erf(d / center) - erf(d / surround). Shape: log center, log surround / center."""

    function = "difference_of_gaussians"
    gains, positive = 2, True
    measures = (
        *("center_size", "surround_size", "center_gain", "surround_gain"),
        *("summation_field", "suppression_index"),
    )

    def __init__(self, diameters: np.ndarray, baseline: bool) -> None:
        self.baseline, self.diameters = baseline, diameters
        smallest, largest = (
            CENTERS[0] * diameters[diameters > 0].min(),
            CENTERS[1] * diameters.max(),
        )
        self.lower, self.upper = np.log([(smallest, largest), SURROUNDS]).T
        self.nodes = _even_grid(self.lower, self.upper, 32, 6)

    def basis(self, shape: np.ndarray) -> np.ndarray:
        center, surround = _sizes(shape)
        return np.stack([erf(self.diameters / center), -erf(self.diameters / surround)])

    def slopes(self, shape: np.ndarray, gains: np.ndarray, basis: np.ndarray) -> np.ndarray:
        center, surround = _sizes(shape)
        by_surround = gains[1] * _erf_slope(self.diameters / surround)
        return np.stack([by_surround - gains[0] * _erf_slope(self.diameters / center), by_surround])

    def shows(self, gains: np.ndarray, shape: np.ndarray) -> np.ndarray:
        return np.stack([(gains != 0).any(0), gains[1] != 0])

    def describe(self, gains: np.ndarray, shape: np.ndarray) -> dict[str, np.ndarray]:
        center, surround = _sizes(shape.T)
        _, has_surround = self.shows(gains, shape)

        def response(diameters: np.ndarray) -> np.ndarray:
            first, second = erf(diameters / center), erf(diameters / surround)
            return gains[0][:, None] * first - gains[1][:, None] * second

        return {
            "center_size": np.where(gains[0] > 0, center[:, 0], np.nan),
            "surround_size": np.where(has_surround, surround[:, 0], np.nan),
            "center_gain": gains[0],
            "surround_gain": gains[1],
            **_summation(response, self.diameters),
        }


class RatioOfGaussians(Form):
    """C / (1 + k S) with C = erf(d / center)^2 and S = erf(d / surround)^2.

    Shape: log center, log surround / center, log k.
    """

    function = "ratio_of_gaussians"
    gains, positive = 1, True
    measures = DifferenceOfGaussians.measures

    def __init__(self, diameters: np.ndarray, baseline: bool) -> None:
        sizes = DifferenceOfGaussians(diameters, baseline)
        self.baseline, self.diameters = baseline, diameters
        low, high = np.log(DIVISORS)
        self.lower, self.upper = np.append(sizes.lower, low), np.append(sizes.upper, high)
        self.nodes = _even_grid(self.lower, self.upper, 20, 6, 6)

    def basis(self, shape: np.ndarray) -> np.ndarray:
        return _divided(self.diameters, shape)[None]

    def slopes(self, shape: np.ndarray, gains: np.ndarray, basis: np.ndarray) -> np.ndarray:
        center, surround = (self.diameters / size for size in _sizes(shape))
        inner, outer = erf(center), erf(surround)
        strength = np.exp(shape[:, 2:])
        whole = gains[0] / (1 + strength * outer**2)
        share = strength * whole * basis[0]
        by_surround = 2 * share * outer * _erf_slope(surround)
        by_center = by_surround - 2 * whole * inner * _erf_slope(center)
        return np.stack([by_center, by_surround, -share * outer**2])

    def shows(self, gains: np.ndarray, shape: np.ndarray) -> np.ndarray:
        has_center = gains[0] != 0
        has_surround = has_center & (shape[2] > self.lower[2])  # else it divides by nothing
        return np.stack([has_center, has_surround, has_surround])

    def describe(self, gains: np.ndarray, shape: np.ndarray) -> dict[str, np.ndarray]:
        center, surround = _sizes(shape.T)
        has_center, has_surround, _ = self.shows(gains, shape)

        def response(diameters: np.ndarray) -> np.ndarray:
            return gains[0][:, None] * _divided(diameters, shape.T)

        return {
            "center_size": np.where(has_center, center[:, 0], np.nan),
            "surround_size": np.where(has_surround, surround[:, 0], np.nan),
            "center_gain": gains[0],
            "surround_gain": np.where(has_center, np.exp(shape[2]), np.nan),
            **_summation(response, self.diameters),
        }


class Normalization(Form):
    """c^n / (c50^n + c_rms^n) and mask^n / (c50^n + c_rms^n). Shape: log c50, log n."""

    function = "normalization"
    gains, positive, baseline = 2, False, True
    measures = ("r_max", "r_max_mask", "c50", "exponent", "extrapolated")

    def __init__(self, contrasts: np.ndarray, masks: np.ndarray) -> None:
        self.both = np.stack([_log(contrasts), _log(masks)])[:, None]  # (gain, 1, point)
        self.rms = _log(np.hypot(contrasts, masks))
        alone = NakaRushton(np.hypot(contrasts, masks))
        self.lowest, self.highest = alone.lowest, alone.highest
        self.lower, self.upper, self.nodes = alone.lower, alone.upper, alone.nodes

    def basis(self, shape: np.ndarray) -> np.ndarray:
        log_c50, exponent = shape[:, :1], np.exp(shape[:, 1:])
        pool = np.logaddexp(0, exponent * (self.rms - log_c50))
        return np.exp(exponent * (self.both - log_c50) - pool)

    def slopes(self, shape: np.ndarray, gains: np.ndarray, basis: np.ndarray) -> np.ndarray:
        log_c50, exponent = shape[:, :1], np.exp(shape[:, 1:])
        pool = _logistic(exponent * (self.rms - log_c50))
        value = exponent * gains * basis
        away = self.both - log_c50 - pool * (self.rms - log_c50)
        return np.stack([value.sum(0) * (pool - 1), (value * away).sum(0)])

    def describe(self, gains: np.ndarray, shape: np.ndarray) -> dict[str, np.ndarray]:
        c50, exponent = np.exp(shape)
        outside = (c50 < self.lowest) | (c50 > self.highest)
        found = {"r_max": gains[0], "r_max_mask": gains[1], "c50": c50, "exponent": exponent}
        return found | {"extrapolated": outside}


def _summation(
    response: Callable[[np.ndarray], np.ndarray], diameters: np.ndarray
) -> dict[str, np.ndarray]:
    """Summation field and suppression of a response (unit, 1 or diameter) up to the largest."""
    largest = diameters.max()
    scan = np.geomspace(diameters[diameters > 0].min() / 8, largest, 65)
    best = response(scan[None]).argmax(1)[:, None]
    low, high = scan[np.maximum(best - 1, 0)], scan[np.minimum(best + 1, len(scan) - 1)]
    golden = (np.sqrt(5) - 1) / 2
    for _ in range(40):  # to a part in 10^8
        inner, outer = high - golden * (high - low), low + golden * (high - low)
        rising = response(outer) >= response(inner)
        low, high = np.where(rising, inner, low), np.where(rising, high, outer)
    at_largest = response(np.full_like(high, largest))
    peak = np.maximum(response(high), at_largest)
    diameter = np.where(peak > at_largest, high, largest)
    low, high = np.zeros_like(diameter), diameter
    for _ in range(50):
        middle = (low + high) / 2
        enough = response(middle) >= SUMMATION * peak
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    index = _ratio(peak - at_largest, peak)
    return {
        "summation_field": np.where(peak > 0, high, np.nan)[:, 0],
        "suppression_index": index[:, 0],
    }


def _divided(diameters: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """The ratio of Gaussians at diameters (..., point)."""
    center, surround = _sizes(shape)
    strength = np.exp(shape[:, 2:])
    return erf(diameters / center) ** 2 / (1 + strength * erf(diameters / surround) ** 2)


def _sizes(shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the center and of the surround, (unit, 1)."""
    return np.exp(shape[:, :1]), np.exp(shape[:, :1] + shape[:, 1:2])


def _erf_slope(x: np.ndarray) -> np.ndarray:
    """d/dlog x of erf(x)."""
    return 2 / np.sqrt(np.pi) * x * np.exp(-(x**2))


def _logistic(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def _log(contrasts: np.ndarray) -> np.ndarray:
    return np.log(contrasts, out=np.full(contrasts.shape, NOTHING), where=contrasts > 0)


def _full_width(sd: np.ndarray | float) -> np.ndarray:
    """Of a Gaussian at half its height."""
    return np.sqrt(8 * np.log(2)) * np.asarray(sd)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """NaN where the whole is not above 0."""
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def _even_grid(lower: np.ndarray, upper: np.ndarray, *counts: int) -> np.ndarray:
    """Of so many values of each parameter from bound to bound."""
    return _grid(*(np.linspace(*ends) for ends in zip(lower, upper, counts, strict=True)))


def _grid(*axes: Axis) -> np.ndarray:
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
