"""Least squares of many units against scipy's of one, and against certified answers."""

import numpy as np
import pytest
from scipy import optimize

from ephys import solver
from ephys.solver import Solution, least_squares

X = np.linspace(0.1, 4, 40)


def hump(p: np.ndarray) -> np.ndarray:
    """p0 + p1 exp(-((x - p2) / p3)^2), of any number of units."""
    return p[:, :1] + p[:, 1:2] * np.exp(-(((X - p[:, 2:3]) / p[:, 3:4]) ** 2))


def hump_slopes(p: np.ndarray) -> np.ndarray:
    u = (X - p[:, 2:3]) / p[:, 3:4]
    bell = np.exp(-(u**2))
    steep = 2 * p[:, 1:2] * bell * u / p[:, 3:4]
    return np.stack([np.ones_like(u), bell, steep, steep * u], axis=1)


def humps(units: int, noise: float, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Parameters and data."""
    rng = np.random.default_rng(seed)
    p = np.stack(
        [
            rng.normal(size=units),
            rng.uniform(1, 3, units),
            rng.uniform(1, 3, units),
            rng.uniform(0.3, 1, units),
        ],
        axis=1,
    )
    return p, hump(p) + noise * rng.normal(size=(units, X.size))


def by_scipy(
    data: np.ndarray,
    start: np.ndarray,
    lower: np.ndarray | float = -np.inf,
    upper: np.ndarray | float = np.inf,
) -> np.ndarray:
    """Sums of squares, one unit after the other."""

    def lowest(values: np.ndarray, first: np.ndarray) -> float:
        kept = np.isfinite(values)

        def residual(p: np.ndarray) -> np.ndarray:
            return (hump(p[None])[0] - values)[kept]

        def slopes(p: np.ndarray) -> np.ndarray:
            return hump_slopes(p[None])[0].T[kept]

        fit = optimize.least_squares(
            residual,
            first,
            slopes,
            bounds=(lower, upper),
            xtol=1e-15,
            ftol=1e-15,
            gtol=1e-15,
            max_nfev=2000,
        )
        return 2 * float(fit.cost)

    return np.array([lowest(*unit) for unit in zip(data, start, strict=True)])


START = np.array([0.0, 1.0, 2.0, 0.7])


def test_planted_parameters_are_recovered_from_clean_data() -> None:
    planted, data = humps(200, noise=0)
    found = least_squares(hump, hump_slopes, np.tile(START, (200, 1)), data)
    assert found.converged.all()
    near = found.sse < 1e-20  # from one start, some units find another valley
    assert near.mean() > 0.9
    found.parameters[:, 3] = abs(found.parameters[:, 3])  # the hump is that of either sign
    # A residual of 1e-10, over slopes of the order of 1.
    np.testing.assert_allclose(found.parameters[near], planted[near], rtol=0, atol=1e-8)


@pytest.mark.parametrize("noise", [0.02, 0.3])
def test_no_unit_is_left_higher_than_where_scipy_leaves_it(noise: float) -> None:
    planted, data = humps(100, noise)
    found = least_squares(hump, hump_slopes, planted, data)
    assert found.converged.all()
    assert (found.sse <= by_scipy(data, planted) * (1 + 1e-9)).all()
    np.testing.assert_allclose(found.sse, ((hump(found.parameters) - data) ** 2).sum(1), rtol=1e-12)


def test_where_it_says_it_converged_the_slopes_are_0() -> None:
    planted, data = humps(100, noise=0.3)
    found = least_squares(hump, hump_slopes, planted, data)
    residual = hump(found.parameters) - data
    slopes = hump_slopes(found.parameters)
    along = (slopes @ residual[..., None])[..., 0]
    cosine = along / np.linalg.norm(slopes, axis=2) / np.linalg.norm(residual, axis=1)[:, None]
    # A fall of the sum of squares by a share of 1e-12 is left, so a slope of 1e-6.
    assert abs(cosine).max() < 2e-6


def test_within_bounds_it_finds_what_scipy_finds() -> None:
    planted, data = humps(100, noise=0.1)
    lower, upper = np.array([-0.5, 0.5, 1.4, 0.4]), np.array([0.5, 2.0, 2.5, 0.8])
    start = np.clip(planted, lower + 0.01, upper - 0.01)
    found = least_squares(hump, hump_slopes, start, data, lower=lower, upper=upper)
    assert found.converged.all()
    assert ((lower <= found.parameters) & (found.parameters <= upper)).all()
    assert (found.sse <= by_scipy(data, start, lower, upper) * (1 + 1e-6)).all()
    at_bounds = (found.parameters == lower) | (found.parameters == upper)
    assert at_bounds.any(1).mean() > 0.5  # the bounds were felt


def test_a_bound_that_is_left_behind_holds_nothing_back() -> None:
    """Starts on the bounds, of a problem whose answer is inside."""
    planted, data = humps(50, noise=0)
    reach = np.array([1, 0.5, 0.2, 0.1])
    lower, upper = planted - reach, planted + reach
    for one in range(50):
        found = least_squares(
            hump,
            hump_slopes,
            lower[one : one + 1],
            data[one : one + 1],
            lower=lower[one],
            upper=upper[one],
        )
        np.testing.assert_allclose(found.parameters[0], planted[one], atol=1e-8)


def test_a_linear_problem_has_the_answer_of_the_normal_equations() -> None:
    rng = np.random.default_rng(8)
    basis, data = rng.normal(size=(3, 20)), rng.normal(size=(30, 20))
    start = np.zeros((30, 3))
    for linear in (0, 3):
        found = least_squares(
            lambda p: p @ basis,
            lambda p: np.broadcast_to(basis, (len(p), 3, 20)),
            start,
            data,
            linear=linear,
        )
        expected = np.linalg.lstsq(basis.T, data.T)[0].T
        off = (found.parameters - expected) @ basis
        # The sum of squares may be higher than it need be by a share of 1e-12.
        assert ((off**2).sum(1) <= 1e-12 * found.sse).all()


# Misra1a of NIST's Statistical Reference Datasets, nonlinear regression, lower difficulty.
MISRA_X = np.array(
    [77.6, 114.9, 141.1, 190.8, 239.9, 289.0, 332.8, 378.4, 434.8, 477.3, 536.8, 593.1, 689.1, 760]
)
MISRA_Y = np.array(
    [
        *[10.07, 14.73, 17.94, 23.93, 29.61, 35.18, 40.02],
        *[44.82, 50.76, 55.05, 61.01, 66.40, 75.47, 81.78],
    ]
)


def test_the_certified_answer_of_nist_is_found_from_both_of_its_starts() -> None:
    def model(p: np.ndarray) -> np.ndarray:
        return p[:, :1] * (1 - np.exp(-p[:, 1:] * MISRA_X))

    def slopes(p: np.ndarray) -> np.ndarray:
        decay = np.exp(-p[:, 1:] * MISRA_X)
        return np.stack([1 - decay, p[:, :1] * MISRA_X * decay], axis=1)

    start = np.array([[500, 0.0001], [250, 0.0005]])
    found = least_squares(model, slopes, start, np.tile(MISRA_Y, (2, 1)))
    assert found.converged.all()
    certified = np.array([2.3894212918e02, 5.5015643181e-04])
    # Eleven digits are certified. The sum of squares is flat to 1e-12, hence parameters to 1e-6
    # of their standard errors, which are 1 % of them.
    np.testing.assert_allclose(found.parameters, np.tile(certified, (2, 1)), rtol=1e-7)
    np.testing.assert_allclose(found.sse, 1.2455138894e-01, rtol=1e-10)


def test_rosenbrocks_valley_is_followed_to_its_end() -> None:
    def model(p: np.ndarray) -> np.ndarray:
        return np.stack([10 * (p[:, 1] - p[:, 0] ** 2), 1 - p[:, 0]], axis=1)

    def slopes(p: np.ndarray) -> np.ndarray:
        one, none = np.ones(len(p)), np.zeros(len(p))
        return np.stack([np.stack([-20 * p[:, 0], -one], 1), np.stack([10 * one, none], 1)], 1)

    start = np.array([[-1.2, 1], [6, 6], [-30, 20]])
    found = least_squares(model, slopes, start, np.zeros((3, 2)))
    assert found.converged.all()
    np.testing.assert_allclose(found.parameters, 1, atol=1e-8)


# Many at once.


def test_a_unit_is_fitted_alike_in_any_company(monkeypatch: pytest.MonkeyPatch) -> None:
    _, data = humps(30, noise=0.2)
    start = np.tile(START, (30, 1))
    together = least_squares(hump, hump_slopes, start, data)
    order = np.random.default_rng(1).permutation(30)
    shuffled = least_squares(hump, hump_slopes, start, data[order])
    monkeypatch.setattr(solver, "CHUNK_VALUES", 4 * X.size * 7)  # 7 units at a time
    sizes: list[int] = []

    def counting(p: np.ndarray) -> np.ndarray:
        sizes.append(len(p))
        return hump(p)

    chunked = least_squares(counting, hump_slopes, start, data)
    assert max(sizes) == 7
    for whole, mixed, part in zip(together, shuffled, chunked, strict=True):
        # The same sums in the same order; the last bits are those of the library.
        np.testing.assert_allclose(mixed, whole[order], rtol=1e-10)
        np.testing.assert_allclose(part, whole, rtol=1e-10)


def test_units_that_have_converged_are_not_worked_on() -> None:
    planted, data = humps(50, noise=0)
    start = planted.copy()
    start[17] = START  # the only one with a way to go
    sizes: list[int] = []

    def counting(p: np.ndarray) -> np.ndarray:
        sizes.append(len(p))
        return hump(p)

    found = least_squares(counting, hump_slopes, start, data)
    assert found.converged.all()
    assert sizes[0] == 50
    assert set(sizes[1:]) == {1}
    assert len(sizes) < 30  # and neither is that one, once it has


def waves(p: np.ndarray) -> np.ndarray:
    return np.sin(p[:, :1] * X)


def wave_slopes(p: np.ndarray) -> np.ndarray:
    return (X * np.cos(p[:, :1] * X))[:, None]


def test_of_several_starts_the_best_end_is_kept() -> None:
    """Of a sine's frequency there are many valleys, and each start finds its own."""
    planted = np.linspace(2, 12, 20)[:, None]
    starts = np.tile(np.arange(1, 14, 0.5)[None, :, None], (20, 1, 1))
    data = waves(planted)
    found = least_squares(waves, wave_slopes, starts, data)
    np.testing.assert_allclose(found.parameters, planted, atol=1e-8)
    alone = least_squares(waves, wave_slopes, starts[:, 0], data)
    assert (alone.sse > 1).any()


def test_linear_parameters_need_no_start() -> None:
    planted, data = humps(20, noise=0.1)
    start = planted.copy()
    start[:, :2] = 1e6
    found = least_squares(hump, hump_slopes, start, data, linear=2)
    expected = least_squares(hump, hump_slopes, planted, data)
    np.testing.assert_allclose(found.sse, expected.sse, rtol=1e-9)
    # With the others given, the answer is there from the start.
    exact = least_squares(hump, hump_slopes, start, hump(planted), linear=2, max_steps=3)
    np.testing.assert_allclose(exact.parameters, planted, atol=1e-8)


def test_points_that_are_not_finite_are_left_out() -> None:
    planted, data = humps(20, noise=0.1)
    gaps = np.random.default_rng(4).random(data.shape) < 0.3
    holey = np.where(gaps, np.nan, data)
    holey[0, 0] = np.inf
    found = least_squares(hump, hump_slopes, planted, holey)
    assert (found.sse <= by_scipy(holey, planted) * (1 + 1e-9)).all()
    with_linear = least_squares(hump, hump_slopes, planted, holey, linear=2)
    np.testing.assert_allclose(with_linear.sse, found.sse, rtol=1e-9)


# What is undefined or refused.


def undefined(found: Solution) -> np.ndarray:
    nothing = np.isnan(found.parameters).all(1)
    np.testing.assert_array_equal(np.isnan(found.sse), nothing)
    assert not found.converged[nothing].any()
    return nothing


def test_a_unit_with_fewer_points_than_parameters_or_no_start_is_nan() -> None:
    planted, data = humps(4, noise=0.1)
    data[1, 3:] = np.nan
    data[2] = np.nan
    planted[3, 2] = np.nan
    found = least_squares(hump, hump_slopes, planted, data, linear=1)
    assert undefined(found).tolist() == [False, True, True, True]
    assert found.converged[0]


def test_a_start_that_overflows_is_nan_and_leaves_the_others_alone() -> None:
    def model(p: np.ndarray) -> np.ndarray:
        return np.exp(p[:, :1] * X)

    def slopes(p: np.ndarray) -> np.ndarray:
        return (X * model(p))[:, None]

    start = np.array([[1e4], [0.5]])
    found = least_squares(model, slopes, start, np.exp(np.tile(0.7 * X, (2, 1))))
    assert undefined(found).tolist() == [True, False]
    np.testing.assert_allclose(found.parameters[1], 0.7, atol=1e-8)


def test_a_unit_whose_slopes_are_no_numbers_is_given_up() -> None:
    planted, data = humps(3, noise=0.1)
    sizes: list[int] = []

    def counting(p: np.ndarray) -> np.ndarray:
        sizes.append(len(p))
        return hump(p)

    def broken(p: np.ndarray) -> np.ndarray:
        slopes = hump_slopes(p)
        slopes[(p == planted[1]).all(1)] = np.nan
        return slopes

    found = least_squares(counting, broken, planted, data)
    assert found.converged.tolist() == [True, False, True]
    np.testing.assert_array_equal(found.parameters[1], planted[1])
    assert len(sizes) < 30


def test_a_parameter_that_does_nothing_stays_where_it_was() -> None:
    planted, data = humps(10, noise=0.1)

    def model(p: np.ndarray) -> np.ndarray:
        return hump(p[:, :4])

    def slopes(p: np.ndarray) -> np.ndarray:
        return np.concatenate([hump_slopes(p[:, :4]), np.zeros((len(p), 1, X.size))], axis=1)

    start = np.concatenate([planted, np.full((10, 1), 5.0)], axis=1)
    found = least_squares(model, slopes, start, data)
    assert found.converged.all()
    assert (found.parameters[:, 4] == 5).all()
    expected = least_squares(hump, hump_slopes, planted, data)
    np.testing.assert_allclose(found.sse, expected.sse, rtol=1e-9)


def test_who_is_stopped_has_not_converged() -> None:
    _, data = humps(20, noise=0.2)
    found = least_squares(hump, hump_slopes, np.tile(START, (20, 1)), data, max_steps=2)
    assert not found.converged.any()
    assert np.isfinite(found.parameters).all()


def test_no_units_are_no_trouble() -> None:
    found = least_squares(hump, hump_slopes, np.empty((0, 4)), np.empty((0, X.size)))
    assert found.parameters.shape == (0, 4)


def test_bounds_the_wrong_way_round_are_refused() -> None:
    _, data = humps(1, noise=0)
    with pytest.raises(ValueError, match=r"^lower=\[0.0, 0.0, 1.0, 0.0\] is not below upper=\[1"):
        least_squares(hump, hump_slopes, START[None], data, lower=[0, 0, 1, 0], upper=1)
