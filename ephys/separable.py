"""Least squares of curves that are linear in their gains, for thousands of units at once."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from ephys.solver import Downhill, Solution

CHUNK_VALUES = 2**15  # of data at a time, so that what is made of them stays in the cache
CHUNK_NODES = 2**16  # of the search for starts at a time
VALLEYS = 2  # of the search that are gone down
# A way down is given up if it leaves more of the data unexplained than so many times what the best
# way of the unit leaves, and so much of the variance: at its start, after a trial, and later.
DOUBTS = ((1.5, 0.15), (1.5, 0.05), (1.05, 0.005))
TRIAL_STEPS = 2
APART = 0.05  # of a parameter; nearer ways down end in the same place
FEW_STEPS = 15  # after which the slow units of all chunks go on together
TOLERANCE = 1e-10  # of the sum of squares: a hundred thousandth of the parameters' errors
RELEASED = 1e-9  # share of the squared residuals by which a hidden shape has to be better
HIDDEN = 1e-24  # sum of squares of a function that is as good as 0 wherever there are data
COLLINEAR = 1e-12  # share of the product of two squares that is left beside their overlap


class Curves(Protocol):
    """Sums of one or two functions times gains, and a baseline if there is one.

    The functions have a shape of a few parameters.
    """

    baseline: bool
    positive: bool  # no gain is below 0
    gains: int
    lower: np.ndarray  # of the shape
    upper: np.ndarray
    nodes: np.ndarray  # (node, ..., shape): a grid of shapes to search for starts

    def basis(self, shape: np.ndarray) -> np.ndarray:
        """(unit, shape) to the functions' values, (gain, unit, point)."""

    def slopes(self, shape: np.ndarray, gains: np.ndarray, basis: np.ndarray) -> np.ndarray:
        """Derivatives (shape, unit, point) of the sum by the shape; gains are (gain, unit, 1)."""


def separable_least_squares(curves: Curves, data: np.ndarray, *, max_steps: int = 200) -> Solution:
    """Fit curves to the data of every unit by variable projection, all units in step.

    The best gains and baseline of a shape are known in closed form, so only the shape is looked
    for: on the grid of nodes, and from its deepest valleys downhill as in
    :func:`ephys.solver.least_squares`. What is found for a unit does not depend on the others.

    Parameters
    ----------
    curves : what to fit.
    data : (unit, point); points that are not finite are left out.
    max_steps : after which a unit has not converged.

    Returns
    -------
    As of :func:`ephys.solver.least_squares`; the parameters are the gains, the baseline (if the
    curves have one) and the shape.

    References
    ----------
    Golub & Pereyra (1973), SIAM Journal on Numerical Analysis 10:413.
    Kaufman (1975), BIT 15:49: the slopes, without a part that is small where the fit is good.
    """
    with np.errstate(all="ignore"):  # of shapes that are tried and given up
        return _solve(curves, np.asarray(data, float), max_steps)


def _solve(curves: Curves, data: np.ndarray, max_steps: int) -> Solution:
    units, points = data.shape
    chunk = max(1, CHUNK_VALUES // max(points, 1))
    unit, shapes, total = np.empty(0, int), np.empty((0, curves.lower.size)), np.zeros(units)
    for rows in _split(np.arange(units), chunk):
        kept, begun, total[rows] = _begin(curves, data[rows])
        unit, shapes = np.append(unit, rows[kept]), np.concatenate([shapes, begun])
    # From here on a unit has as many ways down as there is doubt about which is the best.
    sse, converged = np.full(len(unit), np.nan), np.zeros(len(unit), bool)
    left = np.arange(len(unit))
    for last in (False, True):
        for ways in _split(left, chunk):
            problem = _Projected(curves, data[unit[ways]])
            found = problem.descend(shapes[ways], max_steps if last else min(FEW_STEPS, max_steps))
            shapes[ways], sse[ways], converged[ways] = found
            if not last:
                shapes[ways], released = problem.release(found.parameters)
                converged[ways] &= ~released
        lowest = np.full(units, np.inf)
        np.fmin.at(lowest, unit, sse)
        left = np.flatnonzero(~converged & (sse <= _doubtful(lowest, total, 2)[unit]))
    best = np.lexsort((sse, unit))  # NaN last
    best = best[np.diff(unit[best], prepend=-1) > 0]
    parameters = [
        _Projected(curves, data[rows]).with_gains(shapes[best[rows]])
        for rows in _split(np.arange(units), chunk)
    ]
    size = curves.gains + curves.baseline + curves.lower.size
    return Solution(np.concatenate([np.empty((0, size)), *parameters]), sse[best], converged[best])


def _begin(curves: Curves, data: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of data, each at least once, shapes (way, shape) to go on from, and the variance."""
    whole = _Projected(curves, data)
    starts, total = whole.search(), whole.total
    ways = np.nonzero(np.isfinite(starts[..., 0]))  # start, row
    shapes, sse = np.full(starts.shape, np.nan), np.full(starts.shape[:2], np.inf)
    tried = _Projected(curves, data[ways[1]]).descend(starts[ways], TRIAL_STEPS)
    shapes[ways], sse[ways] = tried.parameters, np.nan_to_num(tried.sse, nan=np.inf)
    best = sse.argmin(0)[None]
    elsewhere = abs(shapes - np.take_along_axis(shapes, best[..., None], 0)).max(2) > APART
    going_on = elsewhere & (sse <= _doubtful(np.take_along_axis(sse, best, 0), total, 1))
    np.put_along_axis(going_on, best, True, 0)
    start, row = np.nonzero(going_on)
    return row, shapes[start, row], total


def _doubtful(best: np.ndarray, total: np.ndarray, stage: int) -> np.ndarray:
    """Squared residuals up to which a way may still end below the best so far."""
    times, share = DOUBTS[stage]
    return times * best + share * total


def _split(rows: np.ndarray, chunk: int) -> Iterator[np.ndarray]:
    return (rows[first : first + chunk] for first in range(0, len(rows), chunk))


class _Projected(Downhill):
    """Curves at their best gains, and the data of some units."""

    tolerance = TOLERANCE
    secant = True

    def __init__(self, curves: Curves, data: np.ndarray) -> None:
        size = curves.gains + curves.baseline + curves.lower.size
        super().__init__(data, curves.lower, curves.upper, least=size)
        self.curves = curves
        self.count = np.maximum(self.present.sum(1), 1)
        self.centered = self._beside_baseline(self.data, slice(None))
        self.total = np.einsum("up,up->u", self.centered, self.centered)
        self.gains = np.zeros((curves.gains, len(data)))

    def search(self) -> np.ndarray:
        """Nodes (start, unit, shape) to go down from; NaN where there are fewer."""
        nodes = self.curves.nodes.reshape(-1, self.lower.size)
        basis = self.curves.basis(nodes)  # (gain, node, point)
        basis = np.where(np.isfinite(basis), basis, 0)  # a node that overflows explains nothing
        products = basis[:, None] * basis[None]  # (gain, gain, node, point)
        width = np.indices(self.curves.nodes.shape[:-1])[1].ravel()  # the place on the second axis
        starts = np.full((VALLEYS + 1, len(self.data), self.lower.size), np.nan)
        step = max(1, CHUNK_NODES // len(nodes))
        for first in range(0, len(self.data), step):
            rows = slice(first, first + step)
            centered = self.centered[rows]
            weight = self.present[:1] if self.complete else self.present[rows]
            gram = np.einsum("up,abnp->abun", weight.astype(float), products)
            if self.curves.baseline:
                sums = np.einsum("up,anp->aun", weight.astype(float), basis)
                gram -= sums[:, None] * sums[None] / np.maximum(weight.sum(1), 1)[:, None]
            moment = np.einsum("up,anp->aun", centered, basis)
            explained = (_best_gains(gram, moment, self.curves.positive) * moment).sum(0)
            total = self.total[rows, None]
            depth = _valleys(explained.reshape(-1, *self.curves.nodes.shape[:-1]))
            depth = depth.reshape(explained.shape)
            deepest = depth.argmax(1)[:, None]
            # A bent valley may have a second bottom that no node is low enough to show.
            bend = np.where(abs(width - width[deepest]) > 1, explained, -np.inf)
            best = np.take_along_axis(depth, deepest, 1)
            least = total - _doubtful(total - best, total, 0)
            for start, among in zip(starts[:, rows], [*[depth] * VALLEYS, bend], strict=True):
                best = among.argmax(1)[:, None]
                deep = np.take_along_axis(among, best, 1) >= least
                start[:] = np.where(deep, nodes[best[:, 0]], np.nan)
                np.put_along_axis(among, best, -np.inf, 1)
        return starts

    def release(self, shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shapes (unit, shape) with a better one where a gain of 0 hid it, and where that is.

        What is multiplied by 0 has no slope to go down on: its shape may be anything.
        """
        raw, _, gains = self._project(shape, slice(None))
        hidden = (self.curves.slopes(shape, gains[..., None], raw) == 0).all(2)  # (shape, unit)
        stuck = np.flatnonzero(hidden.any(0) & (gains == 0).any(0))
        start = shape[stuck]
        best, least = start, self._squares(start, stuck) * (1 - RELEASED)
        for axis in range(self.lower.size if stuck.size else 0):
            for value in np.unique(self.curves.nodes[..., axis]):
                other = start.copy()
                other[:, axis] = np.where(hidden[axis, stuck], value, start[:, axis])
                sse = self._squares(other, stuck)
                best = np.where((sse < least)[:, None], other, best)
                least = np.fmin(sse, least)
        released, moved = shape.copy(), np.zeros(len(shape), bool)
        released[stuck], moved[stuck] = best, (best != start).any(1)
        return released, moved

    def with_gains(self, shape: np.ndarray) -> np.ndarray:
        """Gains, baseline and shape, (unit, parameter)."""
        raw, _, gains = self._project(shape, np.arange(len(shape)))
        parameters = [*gains]
        if self.curves.baseline:
            left = self.data - np.where(self.present, (gains[..., None] * raw).sum(0), 0)
            parameters.append(left.sum(1) / self.count)
        defined = np.isfinite(shape).all(1)
        return np.where(defined[:, None], np.stack([*parameters, *shape.T], axis=1), np.nan)

    def residual(self, p: np.ndarray, rows: np.ndarray) -> np.ndarray:
        _, basis, gains = self._project(p, rows)
        self.gains[:, rows] = gains
        return np.einsum("gu,gup->up", gains, basis) - self.centered[rows]

    def slopes(
        self, p: np.ndarray, residual: np.ndarray, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        gains = self.gains[:, rows]  # of p, whose residual was asked for last
        basis = self.curves.basis(p)
        slopes = self.curves.slopes(p, gains[..., None], basis)
        if not self.complete:
            slopes *= self.present[rows]
        gradient = np.einsum("sup,up->us", slopes, residual)
        curvature = np.einsum("sup,tup->ust", slopes, slopes)
        # What a baseline and the gains that are not held at 0 can make up for is no slope.
        if self.curves.baseline:
            sums = np.einsum("sup->us", slopes)
            curvature -= sums[:, :, None] * (sums / self.count[rows, None])[:, None]
        taken: list[np.ndarray] = []
        for one, gain in zip(self._beside_baseline(basis, rows), gains, strict=True):
            for other in taken:
                one = one - np.einsum("up,up->u", other, one)[:, None] * other
            square = np.einsum("up,up->u", one, one)
            used = (square > HIDDEN) & (gain != 0)
            one = one * np.where(used, 1 / np.sqrt(np.where(used, square, 1)), 0)[:, None]
            along = np.einsum("sup,up->us", slopes, one)
            curvature -= along[:, :, None] * along[:, None]
            taken.append(one)
        return gradient, curvature

    def _squares(self, shape: np.ndarray, rows: np.ndarray) -> np.ndarray:
        residual = self.residual(shape, rows)
        return np.einsum("up,up->u", residual, residual)

    def _project(
        self, shape: np.ndarray, rows: np.ndarray | slice
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The functions (gain, unit, point), beside the baseline too, and gains (gain, unit)."""
        raw = self.curves.basis(shape)
        basis = self._beside_baseline(raw, rows)
        gram = np.einsum("aup,bup->abu", basis, basis)
        moment = np.einsum("aup,up->au", basis, self.centered[rows])
        return raw, basis, _best_gains(gram, moment, self.curves.positive)

    def _beside_baseline(self, values: np.ndarray, rows: np.ndarray | slice) -> np.ndarray:
        """What a baseline cannot explain of values (..., unit, point), and 0 at gaps."""
        if not self.complete:
            values = np.where(self.present[rows], values, 0)
        if self.curves.baseline:
            mean = np.einsum("...p->...", values) / self.count[rows]
            values = values - mean[..., None]
            if not self.complete:
                values *= self.present[rows]
        return values


def _best_gains(gram: np.ndarray, moment: np.ndarray, positive: bool) -> np.ndarray:
    """Gains (gain, ...) from products of functions (gain, gain, ...) and with the data (gain, ...).

    The best two gains of at least 0 are those without that limit, or else one of them is 0 and the
    other is the best alone.
    """
    squares = np.stack([gram[i, i] for i in range(len(gram))])
    seen = squares > HIDDEN
    alone = moment * np.divide(1, squares, out=np.zeros(squares.shape), where=seen)
    if positive:
        alone = np.maximum(alone, 0)
    if len(gram) == 1:
        return alone
    product, overlap = squares[0] * squares[1], gram[0, 1]
    left = product - overlap**2
    apart = (left > COLLINEAR * product) & seen.all(0)
    both = squares[::-1] * moment - overlap * moment[::-1]
    both *= np.divide(1, left, out=np.zeros(left.shape), where=apart)
    if positive:
        apart = apart & (both >= 0).all(0)
    first = alone[0] * moment[0] >= alone[1] * moment[1]
    return np.where(apart, both, np.where([first, ~first], alone, 0))


def _valleys(explained: np.ndarray) -> np.ndarray:
    """What the nodes (unit, node, ...) explain; -inf where one beside it explains more."""
    deepest = np.ones(explained.shape, bool)
    for axis in range(1, explained.ndim):
        found, values = (np.moveaxis(v, axis, 0) for v in (deepest, explained))
        deeper = values[1:] > values[:-1]
        found[1:] &= deeper
        found[:-1] &= ~deeper
    return np.where(deepest, explained, -np.inf)
