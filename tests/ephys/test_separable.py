"""Separable least squares against the general kind, and what it does with gaps and bounds."""

from collections.abc import Callable

import numpy as np
import pytest

from ephys import separable
from ephys.separable import separable_least_squares
from ephys.solver import least_squares

X = np.linspace(0, 1, 15)
SAME = 1e-8  # of the variance; either may stop with a fall of 1e-10 left for some steps


class Decays:
    """Two exponentials, of rates exp(shape): one gain or two, of any sign or none below 0."""

    def __init__(self, gains: int = 1, positive: bool = False, baseline: bool = True) -> None:
        self.gains, self.positive, self.baseline = gains, positive, baseline
        self.lower, self.upper = np.log([1.0, 1.5]), np.log([30.0, 4.0])
        rates, ratios = (
            np.linspace(*ends) for ends in zip(self.lower, self.upper, (30, 8), strict=True)
        )
        self.nodes = np.stack(np.meshgrid(rates, ratios, indexing="ij"), -1)

    def basis(self, shape: np.ndarray) -> np.ndarray:
        rate, ratio = np.exp(shape.T[..., None])
        slow, fast = np.exp(-rate * X), np.exp(-rate * ratio * X)
        return np.stack([slow, fast]) if self.gains == 2 else (slow - fast)[None]

    def slopes(self, shape: np.ndarray, gains: np.ndarray, basis: np.ndarray) -> np.ndarray:
        rate, ratio = np.exp(shape.T[..., None])
        first, second = gains if self.gains == 2 else (gains[0], -gains[0])
        slow = -first * rate * X * np.exp(-rate * X)
        fast = -second * rate * ratio * X * np.exp(-rate * ratio * X)
        return np.stack([slow + fast, fast])


def draw(curves: Decays, parameters: np.ndarray) -> np.ndarray:
    linear = parameters.shape[1] - 2
    values = (parameters.T[: curves.gains, :, None] * curves.basis(parameters[:, linear:])).sum(0)
    return values + parameters[:, curves.gains, None] if curves.baseline else values


def planted(curves: Decays, noise: float, units: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    gains = rng.uniform(0.5, 2, (units, curves.gains))
    shape = rng.uniform(curves.lower, curves.upper, (units, 2))
    baseline = rng.normal(size=(units, int(curves.baseline)))
    parameters = np.concatenate([gains, baseline, shape], axis=1)
    clean = draw(curves, parameters)
    return parameters, clean + noise * rng.normal(size=clean.shape)


def general(curves: Decays) -> tuple[Callable[..., np.ndarray], Callable[..., np.ndarray]]:
    """Model and Jacobian of all parameters."""

    def jacobian(p: np.ndarray) -> np.ndarray:
        basis = curves.basis(p[:, -2:])
        rows = [*basis, np.ones_like(basis[0])] if curves.baseline else [*basis]
        gains = p.T[: curves.gains, :, None]
        return np.stack([*rows, *curves.slopes(p[:, -2:], gains, basis)], axis=1)

    return lambda p: draw(curves, p), jacobian


@pytest.mark.parametrize("gains", [1, 2])
@pytest.mark.parametrize("baseline", [False, True])
@pytest.mark.parametrize("noise", [0.0, 0.05, 0.5])
def test_no_unit_is_left_higher_than_by_the_general_solver(
    gains: int, baseline: bool, noise: float
) -> None:
    curves = Decays(gains, baseline=baseline)
    truth, data = planted(curves, noise)
    data[3, 5] = data[4, :2] = np.nan
    found = separable_least_squares(curves, data)
    assert found.converged.all()
    inf = np.full(truth.shape[1] - 2, np.inf)
    lower, upper = np.append(-inf, curves.lower), np.append(inf, curves.upper)
    reference = least_squares(*general(curves), truth, data, lower=lower, upper=upper)
    total = np.nansum((data - np.nanmean(data, 1, keepdims=True)) ** 2, axis=1)
    assert (found.sse <= reference.sse + SAME * total).all()
    residual = np.nansum((draw(curves, found.parameters) - data) ** 2, axis=1)
    np.testing.assert_allclose(found.sse, residual, rtol=1e-8, atol=1e-12)
    assert (found.parameters[:, -2:] >= curves.lower).all()
    assert (found.parameters[:, -2:] <= curves.upper).all()


def test_planted_parameters_are_found() -> None:
    truth, data = planted(Decays(), noise=0)
    found = separable_least_squares(Decays(), data)
    np.testing.assert_allclose(found.parameters, truth, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("gains", [1, 2])
def test_gains_are_never_below_0_where_they_may_not_be(gains: int) -> None:
    """And are the best of those: every sum with a gain turned on explains no more."""
    curves = Decays(gains, positive=True)
    _, data = planted(curves, noise=1.0)
    data[::2] *= -1
    found = separable_least_squares(curves, data)
    best = found.parameters[:, :gains]
    assert (best >= 0).all()
    assert (best == 0).any()
    assert found.converged.all()
    basis = curves.basis(found.parameters[:, -2:])
    basis = basis - basis.mean(2, keepdims=True)
    left = data - draw(curves, found.parameters)
    push = np.einsum("gup,up->ug", basis, left)
    size = np.linalg.norm(basis, axis=2).T * np.linalg.norm(left, axis=1)[:, None]
    assert (push[best == 0] <= 1e-9 * size[best == 0]).all()  # turning it on makes it worse
    assert (abs(push[best > 0]) <= 1e-9 * size[best > 0]).all()


def test_a_unit_is_fitted_alike_in_any_company(monkeypatch: pytest.MonkeyPatch) -> None:
    _, data = planted(Decays(2), noise=0.3)
    data[5, 2] = np.nan
    together = separable_least_squares(Decays(2), data)
    monkeypatch.setattr(separable, "CHUNK_VALUES", 7 * X.size)
    monkeypatch.setattr(separable, "CHUNK_NODES", 3 * 240)
    order = np.random.default_rng(1).permutation(len(data))
    apart = separable_least_squares(Decays(2), data[order])
    for whole, part in zip(together, apart, strict=True):
        np.testing.assert_allclose(part, whole[order], rtol=1e-6)


def test_what_is_hidden_behind_a_gain_of_0_is_found() -> None:
    """From a shape at which the second gain is 0, to the one at which it is not."""

    class Hidden(Decays):
        """The second function is of the second parameter alone."""

        def basis(self, shape: np.ndarray) -> np.ndarray:
            rate, place = shape.T[..., None]
            return np.stack([np.exp(-np.exp(rate) * X), np.exp(-((X - place) ** 2) / 0.02)])

        def slopes(self, shape: np.ndarray, gains: np.ndarray, basis: np.ndarray) -> np.ndarray:
            rate, place = shape.T[..., None]
            by_place = gains[1] * basis[1] * 2 * (X - place) / 0.02
            return np.stack([-gains[0] * np.exp(rate) * X * basis[0], by_place])

    curves = Hidden(2, positive=True, baseline=False)
    curves.lower, curves.upper = np.array([0.0, 0.0]), np.array([3.0, 1.0])
    rates, places = np.linspace(0, 3, 5), np.linspace(0, 1, 5)
    curves.nodes = np.stack(np.meshgrid(rates, places, indexing="ij"), -1)
    truth = np.array([[1.0, 0.3, 1.0, 0.8]])
    data = draw(curves, truth) - 0.2 * np.exp(-((X - 0.3) ** 2) / 0.005)
    problem = separable._Projected(curves, data)
    start = np.array([[1.0, 0.25]])
    assert problem.with_gains(start)[0, 1] == 0
    stuck = problem.descend(start, 200)
    assert stuck.converged
    assert stuck.parameters[0, 1] == 0.25
    released, moved = problem.release(stuck.parameters)
    assert moved
    assert released[0, 1] == 0.75
    assert problem.descend(released, 200).sse < 0.8 * stuck.sse


def test_who_is_stopped_has_not_converged() -> None:
    _, data = planted(Decays(), noise=0.3)
    found = separable_least_squares(Decays(), data, max_steps=1)
    assert not found.converged.all()
    assert np.isfinite(found.parameters).all()
    assert (found.sse >= separable_least_squares(Decays(), data).sse * (1 - 1e-9)).all()


def test_too_few_points_and_no_units_are_undefined_and_no_trouble() -> None:
    _, data = planted(Decays(), noise=0.1)
    data[1, 3:] = np.nan
    data[2] = np.nan
    found = separable_least_squares(Decays(), data)
    nothing = np.isnan(found.parameters).all(1)
    assert np.flatnonzero(nothing).tolist() == [1, 2]
    assert np.isnan(found.sse[nothing]).all()
    assert not found.converged[nothing].any()
    assert separable_least_squares(Decays(), np.empty((0, X.size))).parameters.shape == (0, 4)
