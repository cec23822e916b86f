"""Nonlinear least squares for thousands of small problems at once."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

Function = Callable[[np.ndarray], np.ndarray]

CHUNK_VALUES = 2**20  # of Jacobians at a time: larger ones are slower, out of the cache
TOLERANCE = 1e-12  # relative: of the sum of squares, and of a step to where it leads
EXACT = 1e-28  # share of the squares of the data below which rounding is all that is left
TRIAL_STEPS = 3  # from each of several starts, before the best goes on alone
FIRST_DAMPING = 1e-3  # in squared lengths of the Jacobian's rows
RIDGE = 1e-9  # likewise, for starts of linear parameters that can hardly be told apart
DAMPINGS = (1e-12, 1e24)
SURE = 1e-8  # cosine between a step and what was wrong of its turn, below which nothing is learned


class Solution(NamedTuple):
    """What :func:`least_squares` found for each unit.

    Parameters
    ----------
    parameters : (unit, parameter); NaN where there is no start to go from, or where there are
        fewer points than parameters.
    sse : sum of the squared residuals, (unit,).
    converged : whether no step would lower it further, (unit,).
    """

    parameters: np.ndarray
    sse: np.ndarray
    converged: np.ndarray


def least_squares(
    model: Function,
    jacobian: Function,
    start: np.ndarray,
    data: np.ndarray,
    *,
    lower: ArrayLike = -np.inf,
    upper: ArrayLike = np.inf,
    linear: int = 0,
    max_steps: int = 200,
) -> Solution:
    """Fit one model to the data of every unit: Levenberg-Marquardt, all units in step.

    The parameters p of a unit minimize the sum over points of (model(p) - data)^2 within their
    bounds. Each step solves (J J' + damping diag(J J')) step = -J residual for the parameters that
    no bound holds back, and is cut off at the bounds. A unit that has converged drops out, so the
    work shrinks as units finish.

    Parameters
    ----------
    model : parameters (unit, parameter) to values (unit, point), for any number of units.
    jacobian : parameters to the derivatives of the values, (unit, parameter, point).
    start : (unit, parameter), or (unit, start, parameter) of several, from which a few steps are
        taken before the best goes on.
    data : (unit, point); points that are not finite are left out.
    lower, upper : bounds, one for each parameter or one for all.
    linear : how many of the first parameters the model is a linear combination with. They are
        solved for at the start, where their given values mean nothing.
    max_steps : after which a unit has not converged.

    Raises
    ------
    ValueError : for a lower bound that is not below the upper one.

    References
    ----------
    Moré (1978), The Levenberg-Marquardt algorithm: scaling and convergence.
    Nielsen (1999), Damping parameter in Marquardt's method: how the damping changes.
    """
    starts = np.asarray(start, float)
    starts = starts[:, None] if starts.ndim == 2 else starts  # (unit, start, parameter)
    units, count, size = starts.shape
    low, high = (np.broadcast_to(np.asarray(bound, float), size) for bound in (lower, upper))
    if not (low < high).all():
        raise ValueError(f"lower={low.tolist()} is not below upper={high.tolist()} everywhere")
    solution = Solution(
        np.full((units, size), np.nan), np.full(units, np.nan), np.zeros(units, bool)
    )
    chunk = max(1, CHUNK_VALUES // (max(data.shape[1], 1) * size))
    for first in range(0, units, chunk):
        rows = slice(first, min(first + chunk, units))
        problem = _Problem(model, jacobian, np.asarray(data[rows], float), low, high)
        begin = starts[rows]
        if linear:
            begin = np.stack([problem.solve_linear(b, linear) for b in np.moveaxis(begin, 1, 0)], 1)
        if count > 1:
            tried = [problem.descend(b, TRIAL_STEPS) for b in np.moveaxis(begin, 1, 0)]
            sse = np.stack([np.nan_to_num(t.sse, nan=np.inf) for t in tried])  # (start, unit)
            ends = np.stack([t.parameters for t in tried])
            begin = ends[sse.argmin(0), np.arange(len(begin))][:, None]
        found = problem.descend(begin[:, 0], max_steps)
        for kept, new in zip(solution, found, strict=True):
            kept[rows] = new
    return solution


class Downhill(ABC):
    """The data of some units, and the way down to where their squared residuals are least.

    Parameters
    ----------
    data : (unit, point); points that are not finite are left out.
    lower, upper : bounds, (parameter,).
    least : points that a unit needs.

    References
    ----------
    Dennis, Gay & Welsch (1981), ACM Transactions on Mathematical Software 7:348: what J J' leaves
    out of the curvature, learned from the steps; here by symmetric updates of rank one.
    """

    tolerance = TOLERANCE
    secant = False  # learn from the steps how the slopes change, where the residual is large

    def __init__(self, data: np.ndarray, lower: np.ndarray, upper: np.ndarray, least: int) -> None:
        self.lower, self.upper, self.least = lower, upper, least
        self.present = np.isfinite(data)
        self.complete = bool(self.present.all())
        self.data = np.where(self.present, data, 0)

    @abstractmethod
    def residual(self, p: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Of the units ``rows`` with parameters (unit, parameter): (unit, point), 0 at gaps."""

    @abstractmethod
    def slopes(
        self, p: np.ndarray, residual: np.ndarray, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """J residual (unit, parameter), and J J' (unit, parameter, parameter)."""

    def descend(self, start: np.ndarray, max_steps: int) -> Solution:
        """Go downhill from one start per unit."""
        units, size = start.shape
        p = np.clip(start, self.lower, self.upper)
        residual = self.residual(p, np.arange(units))  # (unit, point)
        sse = _squares(residual)
        defined = np.isfinite(sse) & np.isfinite(p).all(1) & (self.present.sum(1) >= self.least)
        exact = EXACT * _squares(self.data)
        gradient, scale = np.zeros((units, size)), np.zeros((units, size))
        curvature = np.zeros((units, size, size))
        bend = np.zeros((units, size, size))  # of the bowl, beside its curvature
        damping, growth = np.full(units, FIRST_DAMPING), np.full(units, 2.0)
        converged = defined & (sse <= exact)
        active = np.flatnonzero(defined & ~converged)
        # The units that have just moved, the steps that led there, and what is left there.
        moved, came, left = active, np.zeros((active.size, size)), residual[active]
        for _ in range(max_steps):
            if not active.size:
                break
            new_gradient, new_curvature = self.slopes(p[moved], left, moved)
            if self.secant:
                turn = new_gradient - gradient[moved] - _times(new_curvature, came)
                bend[moved] = _bent(bend[moved], turn, came)
            gradient[moved], curvature[moved] = new_gradient, new_curvature
            broken = moved[~np.isfinite(curvature[moved]).all((1, 2))]
            active = np.setdiff1d(active, broken) if broken.size else active
            scale[moved] = np.fmax(scale[moved], np.diagonal(curvature[moved], 0, 1, 2))
            bowl = curvature[active] + bend[active] if self.secant else curvature[active]
            here, spread = p[active], scale[active]
            trial, predicted = self._step(here, gradient[active], bowl, spread, damping[active])
            new_residual = self.residual(trial, active)
            new_sse = _squares(new_residual)
            gain = np.where(np.isfinite(new_sse), sse[active] - new_sse, -np.inf)
            better = (gain > 0) & (predicted > 0)
            small = self.tolerance * sse[active]
            length, reach = (
                np.sqrt(np.einsum("us,us,us->u", spread, v, v)) for v in (trial - here, here)
            )
            done = (
                (better & (new_sse <= exact[active]))
                | ((predicted <= small) & (abs(gain) <= small))
                | (length <= self.tolerance * reach)
            )
            ratio = gain / np.where(better, predicted, np.inf)
            factor = np.where(better, np.fmax(1 / 3, 1 - (2 * ratio - 1) ** 3), growth[active])
            damping[active] = np.clip(damping[active] * factor, *DAMPINGS)
            growth[active] = np.where(better, 2, 2 * growth[active])
            p[active[better]], sse[active[better]] = trial[better], new_sse[better]
            converged[active[done]] = True
            going_on = better & ~done
            moved, came, left = active[going_on], (trial - here)[going_on], new_residual[going_on]
            active = active[~done]
        return Solution(
            np.where(defined[:, None], p, np.nan), np.where(defined, sse, np.nan), converged
        )

    def _step(
        self,
        p: np.ndarray,
        gradient: np.ndarray,
        curvature: np.ndarray,
        scale: np.ndarray,
        damping: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where the damped step leads, and how far the sum of squares should fall on the way."""
        held = ((p <= self.lower) & (gradient > 0)) | ((p >= self.upper) & (gradient < 0))
        free = ~held & (scale > 0)
        root = np.sqrt(np.where(free, scale, 1))
        slope = np.where(free, gradient, 0) / root
        both = free[:, :, None] & free[:, None, :]
        bowl = np.where(both, curvature, 0) / (root[:, :, None] * root[:, None, :])
        damped = bowl + damping[:, None, None] * np.eye(p.shape[1])
        step = _solved(damped, -slope) / root
        trial = np.clip(p + step, self.lower, self.upper)
        step = (trial - p) * root
        predicted = -2 * (slope * step).sum(1) - (step * _times(bowl, step)).sum(1)
        return trial, predicted


class _Problem(Downhill):
    """A model and the data of some units."""

    def __init__(
        self,
        model: Function,
        jacobian: Function,
        data: np.ndarray,
        lower: np.ndarray,
        upper: np.ndarray,
    ) -> None:
        super().__init__(data, lower, upper, least=lower.size)
        self.model, self.jacobian = model, jacobian

    def solve_linear(self, start: np.ndarray, linear: int) -> np.ndarray:
        """The start with the best of its first parameters for the others."""
        p = np.clip(start, self.lower, self.upper)
        basis = self.jacobian(p)[:, :linear] * self.present[:, None]
        normal, projected = basis @ basis.swapaxes(1, 2), (basis @ self.data[..., None])[..., 0]
        ridge = RIDGE * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(linear)
        good = np.flatnonzero(np.isfinite(normal).all((1, 2)) & (ridge.max((1, 2)) > 0))
        solved = np.linalg.solve((normal + ridge)[good], projected[good][..., None])[..., 0]
        p[good, :linear] = solved
        return p

    def residual(self, p: np.ndarray, rows: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            residual = self.model(p) - self.data[rows]
        return residual if self.complete else np.where(self.present[rows], residual, 0)

    def slopes(
        self, p: np.ndarray, residual: np.ndarray, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(over="ignore", invalid="ignore"):
            slopes = self.jacobian(p)
            if not self.complete:
                slopes = np.where(self.present[rows, None], slopes, 0)
            return (slopes @ residual[..., None])[..., 0], slopes @ slopes.swapaxes(1, 2)


def _bent(bend: np.ndarray, turn: np.ndarray, came: np.ndarray) -> np.ndarray:
    """A bend (unit, parameter, parameter) corrected so that the steps that came give the turn."""
    miss = turn - _times(bend, came)
    along = (miss * came).sum(1)
    sure = abs(along) > SURE * np.linalg.norm(miss, axis=1) * np.linalg.norm(came, axis=1)
    weight = np.divide(1, along, out=np.zeros(along.shape), where=sure)
    return bend + weight[:, None, None] * miss[:, :, None] * miss[:, None, :]


def _solved(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """x of (unit, i, j) times x = (unit, i). Of two parameters it is faster by hand."""
    if right.shape[1] != 2:
        return np.linalg.solve(matrix, right[..., None])[..., 0]
    (a, b), (c, d) = np.moveaxis(matrix, 0, -1)
    first, second = right.T
    return np.stack([d * first - b * second, a * second - c * first], 1) / (a * d - b * c)[:, None]


def _times(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """(unit, i, j) times (unit, j)."""
    return (matrix @ vector[..., None])[..., 0]


def _squares(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.einsum("up,up->u", values, values)
