"""Tests of ranks: their size, and every number beside a count of all cases or scipy's."""

import itertools
from typing import Literal

import numpy as np
import pytest
from scipy import stats

from ephys.rank_tests import RESULTS, Pair, differences

EPS = np.finfo(float).eps
Statistic = Literal["median", "share"]


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def one(a: np.ndarray, b: np.ndarray, statistic: Statistic = "median", **how: int) -> dict:
    (found,) = differences([(np.asarray(a, float), np.asarray(b, float))], [statistic], **how)
    return found


def brunner_munzel(a: np.ndarray, b: np.ndarray) -> float:
    """By the definition: midranks of both together less those of each alone; of a above b."""
    together = stats.rankdata(np.concatenate([a, b]))
    of_a = together[: len(a)] - stats.rankdata(a)  # units of b below
    of_b = together[len(a) :] - stats.rankdata(b)
    win = of_a.mean() / len(b) - 0.5
    variances = [np.var(of_a, ddof=1) / len(b) ** 2, np.var(of_b, ddof=1) / len(a) ** 2]
    error = np.sqrt(variances[0] / len(a) + variances[1] / len(b))
    return float(win / error) if error else float(np.sign(win)) * np.inf if win else 0.0


def test_the_statistic_written_down_here_is_scipys() -> None:
    a, b = normal(1, 12) + 0.5, np.round(2 * normal(2, 20))
    assert brunner_munzel(a, b) == pytest.approx(-stats.brunnermunzel(a, b).statistic, rel=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "statistic"),
    [
        (normal(3, 4) + 1, 2 * normal(4, 7), "median"),
        (np.round(normal(5, 6) + 0.8), np.round(2 * normal(6, 6)), "median"),  # ties
        (np.arange(5.0) + 9, np.arange(5.0), "median"),  # apart
        (np.array([1, 1, 1, 1, 0, 1]), np.array([1, 0, 0, 0, 0]), "share"),
    ],
    ids=["plain", "ties", "apart", "shares"],
)
def test_p_is_the_share_of_all_relabelings(
    a: np.ndarray, b: np.ndarray, statistic: Statistic
) -> None:
    pooled, size = np.concatenate([a, b]), abs(brunner_munzel(a, b))
    sizes = []
    for chosen in itertools.combinations(range(len(pooled)), len(a)):
        others = [i for i in range(len(pooled)) if i not in chosen]
        sizes.append(abs(brunner_munzel(pooled[list(chosen)], pooled[others])))
    exact = np.mean(np.array(sizes) >= size * (1 - 1e-9))
    p = one(a, b, statistic, permutations=40_000)["p"]
    assert p == pytest.approx(exact, abs=5 * np.sqrt(exact * (1 - exact) / 40_000) + 1 / 40_000)


def test_the_statistic_of_shares_is_welchs() -> None:
    """So that p is the same as by Welch's t of all relabelings."""
    a, b = np.array([1, 1, 1, 0, 1, 1, 0]), np.array([0, 1, 0, 0, 0])
    exact = stats.permutation_test(
        (a, b),
        lambda x, y: _welch(x, y),
        n_resamples=1000,  # more than the 792 there are: all of them
        alternative="greater",
        vectorized=False,
    ).pvalue
    p = one(a, b, "share", permutations=40_000)["p"]
    assert p == pytest.approx(exact, abs=5 * np.sqrt(exact * (1 - exact) / 40_000))


def _welch(x: np.ndarray, y: np.ndarray) -> float:
    difference = abs(x.mean() - y.mean())
    error = np.sqrt(x.var(ddof=1) / len(x) + y.var(ddof=1) / len(y))
    return float(difference / error) if error else np.inf if difference else 0.0


def test_cliffs_delta_is_that_of_all_pairs() -> None:
    rng = np.random.default_rng(7)
    a, b = rng.integers(0, 6, 170).astype(float), rng.integers(1, 9, 230).astype(float)
    dominance = np.sign(a[:, None] - b).mean()
    assert one(a, b, permutations=1)["effect_size"] == pytest.approx(dominance, abs=8 * EPS)


def test_of_shares_delta_is_their_difference() -> None:
    a, b = np.repeat([1, 0], [3, 5]), np.repeat([1, 0], [1, 9])
    found = one(a, b, "share", permutations=1)
    assert (found["value_a"], found["value_b"]) == (3 / 8, 1 / 10)
    assert found["difference"] == found["value_a"] - found["value_b"]
    assert found["effect_size"] == pytest.approx(3 / 8 - 1 / 10, abs=4 * EPS)


@pytest.mark.parametrize("values", [range(5), range(6)], ids=["odd", "even"])
def test_the_interval_is_that_of_the_medians_of_all_draws(values: range) -> None:
    medians = [np.median(draw) for draw in itertools.product(values, repeat=len(values))]
    found = one(np.array(values), np.zeros(3), permutations=1, resamples=40_000)
    low, high = np.quantile(medians, [0.025, 0.975])
    for end, tail in ((low, 0.025), (high, 0.975)):  # no step is as near as the error of the draws
        error = 5 * np.sqrt(tail * (1 - tail) / 40_000)
        assert np.ptp(np.quantile(medians, [tail - error, tail + error])) == 0, end
    assert (found["low"], found["high"]) == (low, high)


def test_the_interval_of_shares_is_binomial() -> None:
    a, b = np.repeat([1, 0], [30, 70]), np.zeros(10)
    found = one(a, b, "share", permutations=1, resamples=40_000)
    for end, tail in (("low", 0.025), ("high", 0.975)):
        error = 5 * np.sqrt(tail * (1 - tail) / 40_000)
        least, most = (float(stats.binom.ppf(at, 100, 0.3)) for at in (tail - error, tail + error))
        assert least / 100 <= found[end] <= most / 100


# Simulations. Experiments share the permutations, whose error of a p is at most
# 0.5 / sqrt(permutations) and adds to that of the experiments.


@pytest.mark.parametrize("counts", [(15, 11), (900, 600)], ids=["few units", "blocks of many"])
def test_p_is_uniform_where_nothing_differs(counts: tuple[int, int]) -> None:
    experiments, permutations = 400, 2000
    a, b = (normal(10 + i, experiments, count) for i, count in enumerate(counts))
    found = differences(
        list(zip(a, b, strict=True)),
        ["median"] * experiments,
        permutations=permutations,
        resamples=1,
    )
    p = [each["p"] for each in found]
    distance = stats.kstest(p, "uniform").statistic
    assert distance < stats.kstwo.isf(1e-3, experiments) + 4 * 0.5 / np.sqrt(permutations)


def test_a_wider_and_smaller_population_with_the_same_middle_is_no_difference() -> None:
    experiments, permutations = 300, 1000
    wide, narrow = 4 * normal(13, experiments, 40), normal(14, experiments, 200)
    pairs = list(zip(wide, narrow, strict=True))
    found = differences(pairs, ["median"] * experiments, permutations=permutations, resamples=1)
    p = np.array([each["p"] for each in found])
    error = np.sqrt(0.05 * 0.95 * (1 / experiments + 1 / permutations))
    assert (p <= 0.05).mean() < 0.05 + 4 * error
    ranks = np.array([stats.mannwhitneyu(a, b).pvalue for a, b in pairs])
    assert (ranks <= 0.05).mean() > 0.05 + 4 * error  # as the sum of ranks would have it


def test_the_interval_of_a_difference_covers_it_as_often_as_it_says() -> None:
    experiments = 400
    a, b = normal(17, experiments, 40) + 0.5, normal(18, experiments, 50)
    pairs = list(zip(a, b, strict=True))
    found = differences(pairs, ["median"] * experiments, permutations=1, resamples=1000)
    covered = np.mean([each["low"] <= 0.5 <= each["high"] for each in found])
    assert covered == pytest.approx(0.95, abs=4 * np.sqrt(0.05 * 0.95 / experiments))


@pytest.mark.parametrize("count", [16, 64, 2000])
def test_populations_apart_are_apart_in_no_permutation(count: int) -> None:
    skewed = np.exp(normal(19, count))
    found = one(skewed + skewed.max() + 1, skewed, permutations=500)
    assert found["p"] == 1 / 501
    assert found["effect_size"] == 1


# Laws.


def test_swapped_sides_turn_the_sign() -> None:
    a, b = normal(21, 12) + 0.4, normal(22, 17)
    there, back = one(a, b, permutations=4000), one(b, a, permutations=4000)
    assert there["difference"] == -back["difference"]
    assert there["effect_size"] == pytest.approx(-back["effect_size"], abs=4 * EPS)
    p = there["p"]
    assert back["p"] == pytest.approx(p, abs=5 * np.sqrt(2 * p * (1 - p) / 4000))


def test_units_that_all_agree_do_not_differ() -> None:
    found = one(np.full(7, 0.1), np.full(5, 0.1), permutations=200)
    assert (found["difference"], found["effect_size"], found["p"]) == (0, 0, 1)


def test_a_pair_is_tested_as_it_is_alone() -> None:
    pairs: list[Pair] = [
        (normal(23, 9), normal(24, 9)),
        (np.round(normal(25, 9)), np.round(normal(26, 8))),
        (normal(27, 2000), normal(28, 1500)),
        (np.ones(4), np.zeros(6)),
    ]
    statistics: list[Statistic] = ["median", "median", "median", "share"]
    together = differences(pairs, statistics, permutations=300, seed=3)
    for pair, statistic, found in zip(pairs, statistics, together, strict=True):
        assert differences([pair], [statistic], permutations=300, seed=3) == [found]


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others() -> None:
    a, b = normal(29, 20), normal(30, 20)
    first, same, other = (one(a, b, permutations=500, seed=s) for s in (1, 1, 2))
    assert first == same
    assert first["p"] != other["p"]
    assert first["low"] != other["low"]


# Too little to say.


def test_one_unit_has_a_difference_and_no_p() -> None:
    for statistic in ("median", "share"):
        found = one(np.ones(1), np.zeros(5), statistic, permutations=10)
        assert (found["difference"], found["low"], found["high"]) == (1, 1, 1)
        assert np.isnan(found["p"])


def test_of_no_units_nothing_is_known() -> None:
    for statistic in ("median", "share"):
        found = one(np.zeros(0), np.zeros(5), statistic, permutations=10)
        assert set(found) == set(RESULTS)
        assert all(np.isnan(value) for value in found.values())


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="permutations=0 is below 1"):
        one(normal(1, 3), normal(2, 3), permutations=0)
    with pytest.raises(ValueError, match="level=1 is not between 0 and 1"):
        one(normal(1, 3), normal(2, 3), level=1)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_no_value_is_refused(wrong: float) -> None:
    pairs = [(np.ones(3), np.zeros(3)), (np.ones(3), np.array([1, wrong, 3]))]
    with pytest.raises(ValueError, match=f"^pair 1: a value is {wrong:g}, not finite; leave the"):
        differences(pairs, ["median"] * 2)
    with pytest.raises(
        ValueError, match=r"^pair 0: a value is 2, not 0 or 1; of it take the median$"
    ):
        one(np.array([0, 1, 2]), np.ones(3), "share")
    with pytest.raises(KeyError, match="statistic='mean' is none of median, share"):
        one(np.ones(3), np.ones(3), "mean")  # type: ignore[arg-type]
