"""Permutation tests: their size, and every number beside scipy's or a count of all cases."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import ephys.statistics
from ephys.permutation import permutation_test

EPS = np.finfo(float).eps
Statistic = Literal["mean", "median"]
STATISTICS = pytest.mark.parametrize("statistic", ["mean", "median"])
PAIRED = pytest.mark.parametrize("paired", [False, True])


def units(values: np.ndarray | list[float], **coords: object) -> xr.DataArray:
    values = np.asarray(values, float)
    return xr.DataArray(values, coords, dims=("unit", "contrast")[: values.ndim])


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def test_two_pairs_of_units_apart_are_as_far_apart_in_one_split_of_three() -> None:
    a, b = units([10, 11]), units([0, 1])
    for statistic in ("mean", "median"):
        p = permutation_test(a, b, statistic=statistic, resamples=9999)["p"].item()
        assert p == pytest.approx(1 / 3, abs=5 * np.sqrt(2 / 9 / 9999))


def test_no_p_is_zero() -> None:
    a, b = units(normal(1, 30) + 50), units(normal(2, 30))
    assert permutation_test(a, b, resamples=99)["p"] == 1 / 100
    assert permutation_test(a, b, resamples=99, paired=True)["p"] == 1 / 100


@STATISTICS
@PAIRED
def test_where_all_units_agree_nothing_is_unlikely(statistic: Statistic, paired: bool) -> None:
    # 0.1 is not exact, and the means of 7 and of 5 of them differ by rounding.
    a, b = units([0.1] * 7), units([0.1] * (7 if paired else 5))
    found = permutation_test(a, b, statistic=statistic, paired=paired, resamples=200)
    assert found["p"] == 1
    assert abs(found["difference"]) <= EPS
    if statistic == "mean":
        assert np.isnan(found["effect_size"])
        assert np.isnan(found["effect_low"])
    else:
        assert found["effect_size"] == 0


def test_constants_that_differ_are_apart_in_no_other_split() -> None:
    found = permutation_test(units([0.3] * 4), units([0.1] * 4), resamples=20_000)
    assert found["p"].item() == pytest.approx(2 / 70, abs=5 * np.sqrt(2 / 70 / 20_000))


# Independent implementations.


def error_of_median(sample: np.ndarray) -> float:
    """Price & Bonett (2001), their equation 2, one number at a time."""
    ordered, n = sorted(sample), len(sample)
    c = max(1, round((n + 1) / 2 - n**0.5))
    tail = sum(stats.binom.pmf(k, n, 0.5) for k in range(c))
    return float(ordered[n - c] - ordered[c - 1]) / (2 * float(stats.norm.isf(tail)))


def student_median(*samples: np.ndarray) -> float:
    difference = float(np.median(samples[0])) - sum(float(np.median(s)) for s in samples[1:])
    return difference / float(np.sqrt(sum(error_of_median(s) ** 2 for s in samples)))


def welch(*samples: np.ndarray) -> float:
    if len(samples) == 1:
        return float(stats.ttest_1samp(samples[0], 0).statistic)
    return float(stats.ttest_ind(*samples, equal_var=False).statistic)


@pytest.mark.parametrize(("statistic", "by_hand"), [("mean", welch), ("median", student_median)])
def test_p_is_the_share_of_all_relabelings(
    statistic: Statistic, by_hand: Callable[..., float]
) -> None:
    a, b = normal(3, 3) + 1, 2 * normal(4, 8)
    exact = stats.permutation_test(
        (a, b),
        lambda x, y: abs(by_hand(x, y)),
        n_resamples=1000,  # more than the 165 there are: all of them
        alternative="greater",
        vectorized=False,
    ).pvalue
    p = permutation_test(units(a), units(b), statistic=statistic, resamples=20_000)["p"].item()
    assert p == pytest.approx(exact, abs=5 * np.sqrt(exact * (1 - exact) / 20_000))


@pytest.mark.parametrize(("statistic", "by_hand"), [("mean", welch), ("median", student_median)])
def test_p_of_pairs_is_the_share_of_all_signs(
    statistic: Statistic, by_hand: Callable[..., float]
) -> None:
    a, b = normal(5, 7) + 0.7, normal(6, 7)
    signs = [np.array(s) for s in itertools.product([-1, 1], repeat=7)]
    sizes = np.array([abs(by_hand(s * (a - b))) for s in signs])
    exact = (sizes >= sizes[-1] * (1 - 1e-9)).mean()
    found = permutation_test(units(a), units(b), statistic=statistic, paired=True, resamples=20_000)
    assert found["p"].item() == pytest.approx(exact, abs=5 * np.sqrt(exact / 20_000))


def test_cliffs_delta_is_that_of_all_pairs_and_of_mann_and_whitney() -> None:
    rng = np.random.default_rng(7)
    a, b = rng.integers(0, 6, 17).astype(float), rng.integers(1, 9, 23).astype(float)  # ties
    found = permutation_test(units(a), units(b), statistic="median", resamples=10)
    assert found["effect_size"].attrs["long_name"] == "Cliff's delta"
    dominance = np.sign(a[:, None] - b).mean()
    assert found["effect_size"].item() == pytest.approx(dominance, abs=8 * EPS)
    u = stats.mannwhitneyu(a, b).statistic
    assert found["effect_size"].item() == pytest.approx(2 * u / (17 * 23) - 1, abs=8 * EPS)


def test_hedges_g_of_two_and_of_pairs_by_hand() -> None:
    # Means 3 and 1, both of variance 1, 4 degrees of freedom: J = Gamma(2) / sqrt(2) / Gamma(3/2).
    j = 1 / (np.sqrt(2) * np.sqrt(np.pi) / 2)
    found = permutation_test(units([2, 3, 4]), units([0, 1, 2]), resamples=10)
    assert found["effect_size"].attrs["long_name"] == "Hedges' g"
    assert found["effect_size"].item() == pytest.approx(2 * j, rel=16 * EPS)
    # Differences 1, 2, 3: mean 2, variance 1, 2 degrees of freedom: J = 1 / Gamma(1/2).
    found = permutation_test(units([1, 3, 5]), units([0, 1, 2]), paired=True, resamples=10)
    assert found["effect_size"].attrs["long_name"] == "Hedges' g of the differences"
    assert found["effect_size"].item() == pytest.approx(2 / np.sqrt(np.pi), rel=16 * EPS)


def test_hedges_g_is_unbiased() -> None:
    """Of five units each, whose plain d would be a tenth too large."""
    a, b = normal(8, 5, 4000) + 1, normal(9, 5, 4000)
    g = permutation_test(units(a), units(b), resamples=1)["effect_size"].values
    error = g.std() / np.sqrt(g.size)
    assert g.mean() == pytest.approx(1, abs=4 * error)
    assert 5 * error < 3 / 31  # the bias would be seen


# Simulations: every column is an experiment. Columns share the permutations, whose error of a p
# is at most 0.5 / sqrt(resamples) and adds to that of the experiments.


@STATISTICS
@PAIRED
def test_p_is_uniform_where_nothing_differs(statistic: Statistic, paired: bool) -> None:
    experiments, resamples = 300, 600
    a, b = normal(11, 15, experiments), normal(12, 15 if paired else 11, experiments)
    p = permutation_test(
        units(a), units(b), statistic=statistic, paired=paired, resamples=resamples, seed=1
    )["p"].values
    # Medians of few units are a few numbers, and p as many: it may not be too small.
    alternative: Literal["two-sided", "greater"] = "two-sided" if statistic == "mean" else "greater"
    distance = stats.kstest(p, "uniform", alternative=alternative).statistic
    critical = stats.kstwo.isf(1e-3, experiments)
    assert distance < critical + 4 * 0.5 / np.sqrt(resamples)


@STATISTICS
def test_a_wider_and_smaller_population_with_the_same_middle_is_no_difference(
    statistic: Statistic,
) -> None:
    experiments, resamples = 120, 200
    wide, narrow = 4 * normal(13, 40, experiments), normal(14, 200, experiments)
    p = permutation_test(
        units(wide), units(narrow), statistic=statistic, resamples=resamples, seed=2
    )["p"].values
    error = np.sqrt(0.05 * 0.95 * (1 / experiments + 1 / resamples))
    assert (p <= 0.05).mean() < 0.05 + 4 * error
    # The bare difference would fail: among relabelings both sides have the variance of the mixture.
    mixture = (40 * 16 + 200 * 1) / 240 * (1 / 40 + 1 / 200)
    share = np.sqrt(mixture / (16 / 40 + 1 / 200))
    assert 2 * stats.norm.sf(1.96 * share) > 0.05 + 8 * error  # 0.32


def test_the_power_is_that_of_students_t() -> None:
    """To which that of the permutation test goes, for normal units (Hoeffding 1952)."""
    experiments, resamples, count, shift = 300, 500, 30, 0.7
    p = permutation_test(
        units(normal(15, count, experiments) + shift),
        units(normal(16, count, experiments)),
        resamples=resamples,
    )["p"].values
    freedom, noncentral = 2 * count - 2, shift * np.sqrt(count / 2)
    limit = stats.t.isf(0.025, freedom)
    power = stats.nct.sf(limit, freedom, noncentral) + stats.nct.cdf(-limit, freedom, noncentral)
    assert 0.5 < power < 0.9
    # The limit of p = 0.05 is off by the error of the resamples, in t by that over the density.
    off = np.sqrt(0.05 * 0.95 / resamples) / (2 * stats.t.pdf(limit, freedom))
    sloped = off * stats.nct.pdf(limit, freedom, noncentral)
    error = np.sqrt(power * (1 - power) / experiments + sloped**2)
    assert (p <= 0.05).mean() == pytest.approx(power, abs=4 * error)


def test_the_interval_of_a_difference_covers_it_as_often_as_it_says() -> None:
    experiments, resamples, count = 400, 1000, 40
    found = permutation_test(
        units(normal(17, count, experiments) + 0.5),
        units(normal(18, count, experiments)),
        resamples=resamples,
    )
    # As of one mean (see test_statistics), with twice the degrees of freedom.
    half = stats.norm.ppf(0.975) * np.sqrt((count - 1) / count)
    expected = 1 - 2 * stats.t.sf(half, 2 * count - 2)
    error = 4 * np.sqrt(expected * (1 - expected) * (1 / experiments + 1 / resamples))
    covered = ((found["low"] <= 0.5) & (found["high"] >= 0.5)).mean().item()
    assert covered == pytest.approx(expected, abs=error)
    # g too is 0.5; that of a resample is larger by its bias, which 40 units make 1 %.
    covered = ((found["effect_low"] <= 0.5) & (found["effect_high"] >= 0.5)).mean().item()
    assert covered == pytest.approx(expected, abs=error + 0.01)


def test_the_interval_of_cliffs_delta_covers_it() -> None:
    experiments, resamples, count = 200, 300, 40
    found = permutation_test(
        units(normal(19, count, experiments) + 0.5),
        units(normal(20, count, experiments)),
        statistic="median",
        resamples=resamples,
    )
    delta = 2 * stats.norm.cdf(0.5 / np.sqrt(2)) - 1
    covered = ((found["effect_low"] <= delta) & (found["effect_high"] >= delta)).mean().item()
    error = 4 * np.sqrt(0.05 * 0.95 * (1 / experiments + 1 / resamples))
    assert covered == pytest.approx(0.94, abs=error + 0.01)  # about that of a mean of 40


# Laws.


@STATISTICS
@PAIRED
def test_swapped_sides_turn_the_sign(statistic: Statistic, paired: bool) -> None:
    a, b = units(normal(21, 12, 3) + 0.4), units(normal(22, 12, 3))
    tested = partial(permutation_test, statistic=statistic, paired=paired, resamples=4000)
    there, back = tested(a, b), tested(b, a)
    np.testing.assert_allclose(there["difference"], -back["difference"], atol=16 * EPS)
    np.testing.assert_allclose(there["effect_size"], -back["effect_size"], atol=64 * EPS)
    p = there["p"].values
    error = 5 * np.sqrt(2 * p * (1 - p) / 4000)
    assert (np.abs(p - back["p"].values) <= error).all()


@STATISTICS
@PAIRED
def test_p_and_effects_know_no_scale(statistic: Statistic, paired: bool) -> None:
    a, b = normal(23, 12, 3) + 0.4, normal(24, 12, 3)
    tested = partial(permutation_test, statistic=statistic, paired=paired, resamples=300)
    one = tested(units(a), units(b))
    other = tested(units(4 * a + 8), units(4 * b + 8))
    np.testing.assert_array_equal(one["p"], other["p"])
    for name in ("effect_size", "effect_low", "effect_high"):  # sums of 12 of up to 8 + 4 * 4
        np.testing.assert_allclose(one[name], other[name], atol=300 * EPS)
    for name in ("difference", "low", "high"):
        np.testing.assert_allclose(4 * one[name], other[name], atol=300 * EPS)


@STATISTICS
@PAIRED
def test_ties_are_ties_whatever_their_sums_are_rounded_to(
    statistic: Statistic, paired: bool
) -> None:
    """Tenths are not exact, whole numbers are."""
    rng = np.random.default_rng(40)
    a, b = (rng.integers(0, 4, (9, 20)).astype(float) for _ in range(2))
    tested = partial(permutation_test, statistic=statistic, paired=paired, resamples=300)
    tenths = tested(units(a / 10), units(b / 10))
    np.testing.assert_array_equal(tenths["p"], tested(units(a), units(b))["p"])


@STATISTICS
@PAIRED
def test_columns_are_tested_as_each_is_alone_without_the_units_that_have_no_value(
    statistic: Statistic, paired: bool
) -> None:
    a, b = normal(25, 10, 4), normal(26, 10, 4) + 0.5
    a[[2, 7], 1], b[[2, 5], 1], a[:, 2] = np.nan, np.nan, np.nan
    tested = partial(permutation_test, statistic=statistic, paired=paired, resamples=200, seed=3)
    found = tested(units(a), units(b))
    lost = (3, 3) if paired else (2, 2)
    np.testing.assert_array_equal(found["count_a"], [10, 10 - lost[0], 0, 10])
    np.testing.assert_array_equal(found["count_b"], [10, 10 - lost[1], 0 if paired else 10, 10])
    for column in (0, 1, 3):
        x, y = a[:, column], b[:, column]
        kept = ~np.isnan(x + y)
        x, y = (x[kept], y[kept]) if paired else (x[~np.isnan(x)], y[~np.isnan(y)])
        alone = tested(units(x), units(y))
        together = found.isel(contrast=column)
        xr.testing.assert_allclose(together, alone, rtol=0, atol=100 * EPS)
    for name in ("difference", "low", "high", "p", "effect_size", "effect_low", "effect_high"):
        assert np.isnan(found[name][2])


def test_portions_of_draws_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = units(normal(27, 9, 3)), units(normal(28, 7, 3))
    whole = permutation_test(a, b, resamples=500)
    monkeypatch.setattr(ephys.statistics, "CHUNK_VALUES", 1000)
    xr.testing.assert_allclose(whole, permutation_test(a, b, resamples=500), rtol=1e-12)


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others() -> None:
    a, b = units(normal(29, 20)), units(normal(30, 20))
    one, same, other = (permutation_test(a, b, resamples=500, seed=s) for s in (1, 1, 2))
    xr.testing.assert_identical(one, same)
    assert one["p"] != other["p"]
    assert one["low"] != other["low"]


def test_labels_that_agree_stay_and_others_go() -> None:
    a = units(normal(31, 6, 2), contrast=[0.1, 1], layer="one", model="net")
    b = units(normal(32, 8, 2), contrast=[0.1, 1], layer="two", model="net")
    found = permutation_test(a, b.transpose("contrast", "unit"), resamples=10)
    assert set(found.coords) == {"contrast", "model"}
    assert found["p"].dims == ("contrast",)


def test_one_population_is_compared_with_each_of_several() -> None:
    a, b = units(normal(33, 6, 2), contrast=[0.1, 1]), units(normal(34, 8))
    found = permutation_test(a, b, resamples=50)
    alone = permutation_test(a.sel(contrast=1).drop_vars("contrast"), b, resamples=50)
    xr.testing.assert_allclose(found.sel(contrast=1, drop=True), alone, rtol=1e-12)


# Too little to say.


@PAIRED
def test_one_unit_is_no_test(paired: bool) -> None:
    found = permutation_test(units([1]), units([2]), paired=paired, resamples=10)
    assert found["difference"] == -1
    assert np.isnan(found["p"])
    assert np.isnan(found["effect_size"])


def test_no_unit_at_all_is_no_number() -> None:
    found = permutation_test(units(np.empty((0, 2))), units(normal(35, 5, 2)), resamples=10)
    np.testing.assert_array_equal(found["count_a"], [0, 0])
    np.testing.assert_array_equal(found["count_b"], [5, 5])
    assert np.isnan(found["difference"]).all()


# Refusals.


def test_pairs_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="a has 3 along unit, b 2"):
        permutation_test(units([1, 2, 3]), units([1, 2]), paired=True)
    a = units([1, 2], channel=("unit", [0, 1]), row=("unit", [np.nan, np.nan]))
    assert permutation_test(a, a, paired=True, resamples=5)["p"] == 1
    b = a.assign_coords(channel=("unit", [1, 0]))
    with pytest.raises(ValueError, match="channel of a is not that of b"):
        permutation_test(a, b, paired=True)


def test_other_dimensions_that_differ_are_refused() -> None:
    a = units(normal(36, 4, 2), contrast=[0.1, 1])
    b = units(normal(37, 4, 2), contrast=[0.1, 0.5])
    with pytest.raises(ValueError, match="contrast of a is not that of b"):
        permutation_test(a, b)


def test_angles_are_refused() -> None:
    a, b = units([350, 352, 358]), units([2, 4, 9])
    angles = a.assign_attrs(period=360.0)
    with pytest.raises(ValueError, match=r"^a: an angle of period=360 has no mean, .*circular"):
        permutation_test(angles, b)
    with pytest.raises(ValueError, match=r"^b: an angle of period=360 has no mean"):
        permutation_test(b, angles)


def test_numbers_out_of_range_and_unknown_statistics_are_refused() -> None:
    a = units([1, 2, 3])
    with pytest.raises(ValueError, match="resamples=0 is below 1"):
        permutation_test(a, a, resamples=0)
    with pytest.raises(ValueError, match="level=95 is not between 0 and 1"):
        permutation_test(a, a, level=95)
    with pytest.raises(KeyError, match="statistic='mode' is none of mean, median"):
        permutation_test(a, a, statistic="mode")  # type: ignore[arg-type]


def test_dask_arrays_are_tested_as_their_numbers() -> None:
    a, b = units(normal(38, 9, 2)), units(normal(39, 7, 2))
    found = permutation_test(a.chunk(unit=2), b.chunk(unit=3), resamples=50)
    assert not found.chunks
    xr.testing.assert_identical(found, permutation_test(a, b, resamples=50))
