"""Shapes of receptive fields: functions of x and y, their slopes, and where to look for them."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.fft import fft2, fftfreq
from scipy.ndimage import gaussian_filter

SCALES = 5  # widths of envelope to start from, between a pixel and a quarter of the map
NARROWEST, WIDEST = 0.25, 4.0  # an envelope's s.d., in pixels and in sides of the map


class Shape(ABC):
    """A function of x and y with parameters, on the pixels of a map."""

    linear: int  # the first parameters, which the function is a linear combination with
    lower: np.ndarray
    upper: np.ndarray

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.pixel_x, self.pixel_y = (float(axis[1] - axis[0]) for axis in (x, y))
        self.shape = (len(y), len(x))
        self.x, self.y = (axis.ravel() for axis in np.meshgrid(x, y))  # (point,)
        self.pixel = min(abs(self.pixel_x), abs(self.pixel_y))
        self.side = max(len(x) * abs(self.pixel_x), len(y) * abs(self.pixel_y))
        self.frequencies = (0.5 / self.side, 0.5 / self.pixel)  # half a cycle per map, Nyquist
        self.scales = np.geomspace(1, max(min(self.shape) / 4, 1), SCALES) * self.pixel

    @abstractmethod
    def model(self, p: np.ndarray) -> np.ndarray:
        """(unit, parameter) to (unit, point)."""

    @abstractmethod
    def jacobian(self, p: np.ndarray) -> np.ndarray:
        """(unit, parameter) to (unit, parameter, point)."""

    @abstractmethod
    def starts(self, values: np.ndarray) -> np.ndarray:
        """Maps (unit, y, x) without a mean to (unit, start, parameter)."""

    @abstractmethod
    def describe(self, p: np.ndarray) -> dict[str, np.ndarray]:
        """What parameters (unit, parameter) mean, by the names that the field uses."""

    def blurred(self, values: np.ndarray, scale: float) -> np.ndarray:
        sd = (0, scale / abs(self.pixel_y), scale / abs(self.pixel_x))
        return gaussian_filter(values, sd, mode="constant")

    def highest(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where each of the maps (unit, y, x) has its largest value: x and y, (unit,)."""
        peak = values.reshape(len(values), -1).argmax(1)
        return self.x[peak], self.y[peak]

    def offsets(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.x - x[:, None], self.y - y[:, None]  # (unit, point)


class Gabor(Shape):
    """b + E (c cos 2 pi f u - d sin 2 pi f u): c, d, b, x0, y0, theta, f, log s.d. along, across.

    With c = A cos(phi) and d = A sin(phi) the function is smooth and linear in three of them.
    """

    linear = 3

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        super().__init__(x, y)
        narrow, wide = np.log([NARROWEST * self.pixel, WIDEST * self.side])
        lowest, highest = [self.x.min(), self.y.min()], [self.x.max(), self.y.max()]
        slowest, nyquist = self.frequencies
        self.lower = np.array([*[-np.inf] * 3, *lowest, -np.inf, slowest, narrow, narrow])
        self.upper = np.array([*[np.inf] * 3, *highest, np.inf, nyquist, wide, wide])

    def model(self, p: np.ndarray) -> np.ndarray:
        cosine, sine, baseline = p.T[:3, :, None]
        *_, even, odd = self._waves(p)
        return baseline + cosine * even - sine * odd

    def jacobian(self, p: np.ndarray) -> np.ndarray:
        cosine, sine = p.T[:2, :, None]
        *_, angle, frequency, log_along, log_across = p.T[:, :, None]
        along, across, even, odd = self._waves(p)
        value, quarter = cosine * even - sine * odd, -cosine * odd - sine * even
        by_log_along = value * (along * np.exp(-log_along)) ** 2
        by_log_across = value * (across * np.exp(-log_across)) ** 2
        by_along = -value * along * np.exp(-2 * log_along)
        by_phase = 2 * np.pi * quarter
        by_across = by_phase * frequency - value * across * np.exp(-2 * log_across)
        c, s = np.cos(angle), np.sin(angle)
        derivatives = [
            even,
            -odd,
            np.ones_like(even),
            by_across * s - by_along * c,
            -by_along * s - by_across * c,
            by_along * across - by_across * along,
            by_phase * across,
            by_log_along,
            by_log_across,
        ]
        return np.stack(derivatives, axis=1)

    def starts(self, values: np.ndarray) -> np.ndarray:
        """For each width of a round envelope: the frequency at which the spectrum, blurred as such
        an envelope blurs it, is highest, and the place at which a Gabor of both answers most."""
        padded = (2 * self.shape[0], 2 * self.shape[1])
        power = abs(fft2(values, padded)) ** 2
        f_y = fftfreq(padded[0], self.pixel_y)[:, None]
        f_x = fftfreq(padded[1], self.pixel_x)[None]
        frequency = np.hypot(f_x, f_y)
        # At the limit itself, sines of that frequency are 0 at the pixels' centres.
        allowed = (frequency >= self.frequencies[0]) & (frequency <= 0.9 * self.frequencies[1])
        nothing = np.zeros(len(values))
        found = []
        for scale in self.scales:
            # exp(-(2 pi f scale)^2) is the square of the envelope's spectrum.
            in_spectrum = 1 / (np.sqrt(8) * np.pi * scale)
            blur = (0, in_spectrum / f_y[1, 0], in_spectrum / f_x[0, 1])
            spectrum = gaussian_filter(power, np.abs(blur), mode="wrap")
            peak = np.where(allowed, spectrum, -np.inf).reshape(len(values), -1).argmax(1)
            row, column = np.unravel_index(peak, padded)
            right, up = f_x[0, column], f_y[row, 0]  # (unit,)
            wave = np.exp(-2j * np.pi * (right[:, None] * self.x + up[:, None] * self.y))
            answer = abs(self.blurred(values * wave.reshape(values.shape), scale))
            x, y = self.highest(answer)
            angle, width = np.arctan2(-right, up), nothing + np.log(scale)
            found.append([*[nothing] * 3, x, y, angle, np.hypot(right, up), width, width])
        return np.array(found).transpose(2, 0, 1)

    def describe(self, p: np.ndarray) -> dict[str, np.ndarray]:
        cosine, sine, baseline, x, y, angle, frequency, log_along, log_across = p.T
        half_turns = np.floor(angle / np.pi)
        orientation = np.rad2deg(angle - half_turns * np.pi)
        rounded_up = orientation >= 180  # an angle just below 0
        orientation, half_turns = orientation - 180 * rounded_up, half_turns + rounded_up
        # Half a turn further the same bars are counted from the other side.
        sine = np.where(half_turns % 2 == 1, -sine, sine)
        return {
            "center_x": x,
            "center_y": y,
            "orientation": orientation,
            "spatial_frequency": frequency,
            "phase": np.rad2deg(np.arctan2(sine, cosine)) % 360 % 360,  # -1e-20 % 360 is 360
            "sd_along": np.exp(log_along),
            "sd_across": np.exp(log_across),
            "aspect": np.exp(log_along - log_across),
            "amplitude": np.hypot(cosine, sine),
            "baseline": baseline,
        }

    def _waves(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Distances along the bars and across, and the even and odd Gabor: (unit, point)."""
        x, y, angle, frequency, log_along, log_across = p.T[3:]
        right, up = self.offsets(x, y)
        c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
        along, across = right * c + up * s, up * c - right * s
        envelope = np.exp(
            -0.5 * (along * np.exp(-log_along)[:, None]) ** 2
            - 0.5 * (across * np.exp(-log_across)[:, None]) ** 2
        )
        phase = 2 * np.pi * frequency[:, None] * across
        return along, across, envelope * np.cos(phase), envelope * np.sin(phase)


class Gaussian(Shape):
    """b + A exp(-(v^2 + w^2) / 2) with v = k (x - x0) + lean (y - y0), w = m (y - y0):
    A, b, x0, y0, k, lean, m.

    Unlike two widths and an angle, these are smooth where the Gaussian is round.
    """

    linear = 2

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        super().__init__(x, y)
        narrow, wide = 1 / (NARROWEST * self.pixel), 1 / (WIDEST * self.side)
        lowest, highest = [self.x.min(), self.y.min()], [self.x.max(), self.y.max()]
        self.lower = np.array([-np.inf, -np.inf, *lowest, wide, -narrow, wide])
        self.upper = np.array([np.inf, np.inf, *highest, narrow, narrow, narrow])

    def model(self, p: np.ndarray) -> np.ndarray:
        amplitude, baseline = p.T[:2, :, None]
        return baseline + amplitude * self._bell(p)[-1]

    def jacobian(self, p: np.ndarray) -> np.ndarray:
        amplitude, k, lean, m = p.T[[0, 4, 5, 6], :, None]
        right, up, v, w, bell = self._bell(p)
        by_v, by_w = -amplitude * bell * v, -amplitude * bell * w
        derivatives = [
            bell,
            np.ones_like(bell),
            -by_v * k,
            -by_v * lean - by_w * m,
            by_v * right,
            by_v * up,
            by_w * up,
        ]
        return np.stack(derivatives, axis=1)

    def starts(self, values: np.ndarray) -> np.ndarray:
        """For each width, the place at which a round Gaussian answers most."""
        nothing = np.zeros(len(values))
        found = []
        for scale in self.scales:
            x, y = self.highest(abs(self.blurred(values, scale)))
            steepness = nothing + 1 / scale
            found.append([nothing, nothing, x, y, steepness, nothing, steepness])
        return np.array(found).transpose(2, 0, 1)

    def describe(self, p: np.ndarray) -> dict[str, np.ndarray]:
        amplitude, baseline, x, y, k, lean, m = p.T
        # The exponent is -(a right^2 + 2 b right up + c up^2) / 2.
        a, b, c = k**2, k * lean, lean**2 + m**2
        middle, radius = (a + c) / 2, np.hypot((a - c) / 2, b)
        steepest = middle + radius
        return {
            "center_x": x,
            "center_y": y,
            "sd_major": np.sqrt(steepest) / (k * m),  # the product of the two is a c - b^2
            "sd_minor": 1 / np.sqrt(steepest),
            "orientation": np.rad2deg(np.arctan2(-2 * b, c - a) / 2) % 180 % 180,
            "amplitude": amplitude,
            "baseline": baseline,
        }

    def _bell(
        self, p: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        x, y, k, lean, m = p.T[2:]
        right, up = self.offsets(x, y)
        v, w = k[:, None] * right + lean[:, None] * up, m[:, None] * up
        return right, up, v, w, np.exp(-0.5 * (v**2 + w**2))
