"""Plane waves in pictures: frequency, orientation, phase and amplitude, of many pictures at once.

A picture is a constant and one wave or more, each in a window that is known,

    p(x, y) = b + sum_a w_a(x, y) Re(A_a exp(i k_a . r)),

and is fitted by least squares, after Gauss and Newton. A plane wave is a product of a function of x
and a function of y, so all sums over pixels that a step needs are products of matrices.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement

import numpy as np

MOST_STEPS = 50
CONVERGED = 1e-7  # radians by which a step moves a wave at the edge of the picture
LONGEST = 1.0  # likewise: no step goes further
DOUBTFUL = 0.1  # likewise: a step is held back that errors of the pixels could make as long as this
RIDGE = 1e-14  # of normal equations with ones on their diagonal
SLOPES = ((0, 0), (1, 0), (0, 1))  # powers of x and y that the derivatives by A and by k have


@dataclass
class Pictures:
    """What is to be fitted.

    Parameters
    ----------
    pixels : float64 (picture, channel, y, x).
    x, y : positions of the columns, (picture, x), and of the rows, downward, (picture, y).
    windows : of each wave, (picture, y, x) or (1, y, x); None where it is open everywhere.
    color : weights of the channels in the sum that tells k, (picture, channel).
    error : of a pixel of this sum, at most, (picture,).
    limit : r.m.s. of this sum that a fit may leave, (picture,).
    """

    pixels: np.ndarray
    x: np.ndarray
    y: np.ndarray
    windows: list[np.ndarray | None]
    color: np.ndarray
    error: np.ndarray
    limit: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> "Pictures":
        windows = [w if w is None or len(w) == 1 else w[rows] for w in self.windows]
        own = (self.color[rows], self.error[rows], self.limit[rows])
        return Pictures(self.pixels[rows], self.x[rows], self.y[rows], windows, *own)

    @property
    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        return self.x, self.y

    @property
    def reach(self) -> np.ndarray:
        """Half the width and half the height: (picture, 2)."""
        return np.stack([np.ptp(self.x, axis=1), np.ptp(self.y, axis=1)], axis=1) / 2


def fit_waves(pictures: Pictures, start: np.ndarray) -> "Fit":
    """The waves that the pixels show, whatever the search for them starts with.

    Where more is left than may be, the weakest wave starts again at the peak of the spectrum of
    what is left, and the better of the two fits is kept.

    Parameters
    ----------
    start : of k, (picture, wave, 2), radians per unit of x and of y.
    """
    fit = _search(pictures, start)
    for _ in pictures.windows:
        rows = np.flatnonzero(fit.squares > pictures.limit**2)
        if not rows.size:
            break
        part, again = pictures[rows], fit.k[rows]
        weakest = abs(fit.strength[rows]).argmin(1)
        again[np.arange(rows.size), weakest] = _peak(part, fit.left[rows])
        found = _search(part, again)
        better = found.squares < fit.squares[rows]
        k = fit.k.copy()
        k[rows[better]] = found.k[better]
        fit = Fit(pictures, k)
    if len(pictures.windows) == 2 and pictures.windows[0] is pictures.windows[1]:
        fit = Fit(pictures, _in_order(fit.k, start))
    return fit


class Fit:
    """The constant and the amplitudes that fit best to waves of some k.

    Parameters
    ----------
    k : radians per unit of x and of y, (picture, wave, 2).

    Attributes
    ----------
    constant : (picture, channel).
    amplitude : complex, with the phase at x = y = 0, (picture, wave, channel).
    """

    def __init__(self, pictures: Pictures, k: np.ndarray) -> None:
        self.pictures, self.k = pictures, k
        # Wave 0 is the constant. A term is a wave times powers of x and y. Derivatives are terms
        # times complex numbers, of which the real part is taken.
        self._across, self._down = (
            _unit_waves(axis, k[:, :, i]) for i, axis in enumerate(pictures.axes)
        )
        self._windows = [None, *pictures.windows]
        self._terms = [(0, 0, 0), *((a + 1, *s) for a in range(k.shape[1]) for s in SLOPES)]
        self._sums, self._differences = self._products()
        self._data = self._projections()  # (picture, channel, term)
        firsts = [1 + 3 * a for a in range(k.shape[1])]
        terms = np.array([0, *np.repeat(firsts, 2)])
        factors = np.tile([1, *[1, 1j] * k.shape[1]], (len(k), 1))
        normal, data = (
            self._normal(terms, factors),
            (factors[:, None] * self._data[..., terms]).real,
        )
        solved = _solve(normal, data.swapaxes(1, 2))  # (picture, 1 + 2 waves, channel)
        self.constant = solved[:, 0]
        self.amplitude = solved[:, 1::2] + 1j * solved[:, 2::2]

    @property
    def strength(self) -> np.ndarray:
        """Amplitudes of the sum of channels that tells k: complex (picture, wave)."""
        return (self.amplitude * self.pictures.color[:, None]).sum(-1)

    @cached_property
    def rest(self) -> np.ndarray:
        """The pictures less their fits: (picture, channel, y, x)."""
        rest = self.pictures.pixels - self.constant[:, :, None, None]
        for a, window in enumerate(self.pictures.windows):
            wave = self.wave(a)
            rest -= wave if window is None else window[:, None] * wave
        return rest

    @cached_property
    def left(self) -> np.ndarray:
        """The same of the sum of channels that tells k: (picture, y, x)."""
        color = self.pictures.color
        if color.shape[1] == 1:
            return self.rest[:, 0] * color[:, :, None]
        return np.einsum("ncyx,nc->nyx", self.rest, color)

    @property
    def squares(self) -> np.ndarray:
        """Mean square of what is left: (picture,)."""
        return np.einsum("nyx,nyx->n", self.left, self.left) / self.left[0].size

    def wave(self, a: int) -> np.ndarray:
        """A wave as it would be without its window: (picture, channel, y, x)."""
        across, down = self._across[a + 1], self._down[a + 1]
        scaled = self.amplitude[:, a, :, None] * down[:, None]  # (picture, channel, y)
        rows = np.stack([scaled.real, -scaled.imag], axis=-1)
        return rows @ np.stack([across.real, across.imag], axis=1)[:, None]

    def step(self) -> np.ndarray:
        """Where Gauss and Newton go from here: what to add to k."""
        terms, factors = self._derivatives()
        normal, strength = self._normal(terms, factors), self.strength
        data = (self._data * self.pictures.color[:, :, None]).sum(1)[:, terms]
        # The constant and the amplitudes have been solved for: their part of the gradient is 0.
        shown = np.zeros((*data.shape, 1))
        shown[:, 0, 0] = (self.constant * self.pictures.color).sum(1)
        shown[:, 1::4, 0], shown[:, 2::4, 0] = strength.real, strength.imag
        gradient = (factors * data).real[..., None] - normal @ shown
        slopes = np.arange(terms.size)[1:].reshape(-1, 4)[:, 2:].ravel()
        noise = self.pictures.error[:, None] * self.pictures.reach / DOUBTFUL
        size = self.pictures.pixels[0, 0].size
        normal[:, slopes, slopes] += size * np.tile(noise**2, self.k.shape[1])
        return _solve(normal, gradient)[:, slopes, 0].reshape(self.k.shape)

    def spread(self) -> np.ndarray:
        """How far errors of the pixels, of 1 at most, can move what was found.

        Returns
        -------
        Of the constant, and of each wave the size and the phase of the amplitude, and the length
        and the angle of k: (picture, 1 + 4 waves). Infinite where the picture cannot tell.
        """
        terms, factors = self._derivatives()
        covariance = _inverse(self._normal(terms, factors))
        turn = np.zeros_like(covariance)
        turn[:, 0, 0] = 1
        for a in range(self.k.shape[1]):
            strength = self.strength[:, a]
            k = np.where(strength == 0, np.nan, self.k[:, a, 0] + 1j * self.k[:, a, 1])
            for first, value in [(1 + 4 * a, strength), (3 + 4 * a, k)]:
                along = _direction(value)
                across = 1j * along / np.where(value == 0, np.nan, abs(value))
                for row, way in [(first, along), (first + 1, across)]:
                    turn[:, row, first], turn[:, row, first + 1] = way.real, way.imag
        squares = ((turn @ covariance) * turn).sum(-1) * self.pictures.pixels[0, 0].size
        return np.sqrt(np.where(squares >= 0, squares, np.inf))

    def _derivatives(self) -> tuple[np.ndarray, np.ndarray]:
        """Terms and factors of the derivatives by the constant, and by A and k of each wave."""
        own = [3 * a + one for a in range(self.k.shape[1]) for one in (1, 1, 2, 3)]
        by_k = 1j * self.strength
        one = np.ones_like(by_k)
        factors = np.stack([one, 1j * one, by_k, by_k], axis=-1).reshape(len(by_k), -1)
        return np.array([0, *own]), np.concatenate([one[:, :1], factors], axis=1)

    def _normal(self, terms: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """Sums over pixels of products of derivatives: (picture, parameter, parameter)."""
        left, right = factors[:, :, None], factors[:, None, :]
        sums = self._sums[:, terms[:, None], terms] * left * right
        return (sums + self._differences[:, terms[:, None], terms] * left * right.conj()).real / 2

    def _products(self) -> tuple[np.ndarray, np.ndarray]:
        """Sums over pixels of products of terms, and of terms with conjugates of terms."""
        shape = (len(self.k), len(self._terms), len(self._terms))
        sums, differences = np.empty(shape, complex), np.empty(shape, complex)
        for a, b in combinations_with_replacement(range(len(self._windows)), 2):
            window = _times(self._windows[a], self._windows[b])
            across, down = self._across, self._down
            of_sum = self._moments(window, across[a] * across[b], down[a] * down[b], 2)
            of_difference = self._moments(
                window, across[a] * across[b].conj(), down[a] * down[b].conj(), 2
            )
            for i, (wave, m, n) in enumerate(self._terms):
                for j, (other, s, t) in enumerate(self._terms):
                    if (wave, other) == (a, b):
                        sums[:, i, j] = sums[:, j, i] = of_sum[:, 0, m + s, n + t]
                        differences[:, i, j] = of_difference[:, 0, m + s, n + t]
                        differences[:, j, i] = differences[:, i, j].conj()
        return sums, differences

    def _projections(self) -> np.ndarray:
        """Sums over pixels of products of terms with the pixels: (picture, channel, term)."""
        pixels = self.pictures.pixels
        found = []
        for a, window in enumerate(self._windows):
            image = pixels if window is None else pixels * window[:, None]
            moments = self._moments(image, self._across[a], self._down[a], 1)
            found += [moments[:, :, m, n] for wave, m, n in self._terms if wave == a]
        return np.stack(found, axis=-1)

    def _moments(
        self, image: np.ndarray | None, across: np.ndarray, down: np.ndarray, highest: int
    ) -> np.ndarray:
        """Sums over pixels of image x^m y^n across down: complex (picture, channel, m, n).

        across, down : complex (picture, x) and (picture, y).
        """
        x, y = self.pictures.axes
        along_x, along_y = (
            np.stack([wave, wave * axis, wave * axis**2][: highest + 1], axis=-1)
            for wave, axis in [(across, x), (down, y)]
        )  # (picture, x, m) and (picture, y, n)
        if image is None:
            return along_x.sum(1)[:, None, :, None] * along_y.sum(1)[:, None, None, :]
        rows = (image @ along_x.view(float)[:, None]).view(complex)  # (picture, channel, y, m)
        return rows.swapaxes(-1, -2) @ along_y[:, None]


def _unit_waves(axis: np.ndarray, k: np.ndarray) -> list[np.ndarray]:
    """1, and exp(i k position) of each wave: complex (picture, position)."""
    angles = [part[:, None] * axis for part in k.T]
    return [np.ones_like(axis, complex), *(np.cos(a) + 1j * np.sin(a) for a in angles)]


def _search(pictures: Pictures, start: np.ndarray) -> Fit:
    """The fit at the nearest minimum of the squares."""
    k, active, part = start.copy(), np.arange(len(start)), pictures
    for _ in range(MOST_STEPS):
        step = Fit(part, k[active]).step()
        angle = abs(step * part.reach[:, None]).max((1, 2))
        k[active] += step * (LONGEST / np.maximum(angle, LONGEST))[:, None, None]
        going = angle > CONVERGED
        if not going.any():
            break
        if not going.all():
            active, part = active[going], part[going]
    return Fit(pictures, k)


def _peak(pictures: Pictures, left: np.ndarray) -> np.ndarray:
    """k at the peak of the spectrum: (picture, 2)."""
    shape = (2 * left.shape[1], 2 * left.shape[2])
    power = abs(np.fft.rfft2(left - left.mean((1, 2), keepdims=True), shape))
    row, column = np.unravel_index(power.reshape(len(left), -1).argmax(1), power.shape[1:])
    return np.stack(
        [
            2 * np.pi * np.fft.fftfreq(size)[index] / _pixel(axis)
            for size, index, axis in [(shape[1], column, pictures.x), (shape[0], row, pictures.y)]
        ],
        axis=1,
    )


def _pixel(axis: np.ndarray) -> np.ndarray:
    """From one position to the next, (picture,); 1 where there is but one."""
    return axis[:, 1] - axis[:, 0] if axis.shape[1] > 1 else np.ones(len(axis))


def _in_order(k: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Two waves, each beside the one that it started from, in so far as they differ."""
    off = np.minimum(
        *(np.linalg.norm(k[:, :, None] - sign * start[:, None], axis=-1) for sign in (1, -1))
    )  # (picture, found, started from)
    crossed = off[:, 0, 1] + off[:, 1, 0] < off[:, 0, 0] + off[:, 1, 1]
    return np.where(crossed[:, None, None], k[:, ::-1], k)


def _times(one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
    """The product of two windows, with a channel: (picture, 1, y, x)."""
    if one is None or other is None:
        both = other if one is None else one
        return None if both is None else both[:, None]
    return (one * other)[:, None]


def _direction(value: np.ndarray) -> np.ndarray:
    return np.exp(1j * np.angle(value))


def _solve(normal: np.ndarray, right: np.ndarray) -> np.ndarray:
    scale, scaled = _scaled(normal)
    return np.linalg.solve(scaled, right / scale) / scale


def _inverse(normal: np.ndarray) -> np.ndarray:
    scale, scaled = _scaled(normal)
    return np.linalg.inv(scaled) / (scale * scale.swapaxes(1, 2))


def _scaled(normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Root of the diagonal (picture, parameter, 1), and the equations with ones there."""
    scale = np.sqrt(np.maximum(np.diagonal(normal, axis1=1, axis2=2), 0))[..., None]
    scale = np.where(scale > 0, scale, 1)
    return scale, normal / (scale * scale.swapaxes(1, 2)) + RIDGE * np.eye(normal.shape[1])
