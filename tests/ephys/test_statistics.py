"""Bootstrap intervals: that they cover what they say, and agree with scipy's."""

import os
import subprocess
import sys
from typing import Literal

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from ephys.modulation import f1_f0
from ephys.selectivity import gosi
from ephys.statistics import _drawn_medians, _median, bootstrap_interval, bootstrap_over

EPS = np.finfo(float).eps
Statistic = Literal["mean", "median"]


def units(values: np.ndarray | list[float]) -> xr.DataArray:
    values = np.asarray(values, float)
    return xr.DataArray(values, dims=("unit", "contrast")[: values.ndim])


def ends(interval: xr.Dataset) -> tuple[float, float, float]:
    """Low, estimate and high of an interval of one number."""
    return interval["low"].item(), interval["estimate"].item(), interval["high"].item()


# Closed form.


def test_of_two_units_every_quantile_of_the_mean_is_known() -> None:
    # Means of two draws from {0, 1}: 0, 1/2, 1 with chances of 1/4, 1/2, 1/4. Quantiles at 0.1 and
    # 0.9, and at 0.4 and 0.6, are 15 s.d. of a count among 2000 away from the steps at 1/4, 3/4.
    wide = bootstrap_interval(units([0, 1]), level=0.8, seed=1)
    narrow = bootstrap_interval(units([0, 1]), level=0.2, seed=2)
    assert ends(wide) == (0, 0.5, 1)
    assert ends(narrow) == (0.5, 0.5, 0.5)


def test_of_three_units_every_quantile_of_the_median_is_known() -> None:
    # The median of three draws from {1, 2, 4} is 1 with a chance of 7/27 = 0.26, 4 as often.
    wide = bootstrap_interval(units([2, 1, 4]), statistic="median", level=0.8, seed=3)
    narrow = bootstrap_interval(units([2, 1, 4]), statistic="median", level=0.2, seed=4)
    assert ends(wide) == (1, 2, 4)
    assert ends(narrow) == (2, 2, 2)


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_units_that_all_agree_leave_no_doubt(statistic: Statistic) -> None:
    # 0.75 and its multiples are exact.
    interval = bootstrap_interval(units(np.full((9, 2), 0.75)), statistic=statistic, seed=5)
    for name in ("estimate", "low", "high"):
        np.testing.assert_array_equal(interval[name], [0.75, 0.75])


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says() -> None:
    """600 experiments with 50 normal units each."""
    experiments, count, resamples, level = 600, 50, 1000, 0.95
    values = np.random.default_rng(31415).normal(3, 2, (count, experiments))
    interval = bootstrap_interval(units(values), level=level, resamples=resamples, seed=6)
    covered = ((interval["low"] <= 3) & (interval["high"] >= 3)).mean().item()
    # The percentile interval is the mean +- z s sqrt((n-1)/n) / sqrt(n): of a t of n-1 degrees of
    # freedom, 0.942 for 50 units.
    half = stats.norm.ppf((1 + level) / 2) * np.sqrt((count - 1) / count)
    expected = 1 - 2 * stats.t.sf(half, count - 1)
    assert expected == pytest.approx(level, abs=0.01)
    # Binomial error of the experiments, and of the resamples, which they share: 4 s.d.
    error = 4 * np.sqrt(expected * (1 - expected) * (1 / experiments + 1 / resamples))
    assert covered == pytest.approx(expected, abs=error)


def test_a_wider_level_gives_a_wider_interval() -> None:
    values = units(np.random.default_rng(2718).normal(size=40))
    levels = [0.5, 0.8, 0.95, 0.99]
    intervals = [bootstrap_interval(values, level=level, seed=7) for level in levels]
    lows, highs = [i["low"].item() for i in intervals], [i["high"].item() for i in intervals]
    assert lows == sorted(lows, reverse=True)
    assert highs == sorted(highs)
    # Against the normal quantiles: quantile q of B resamples has an s.d. of
    # sqrt(q (1 - q) / B) / density, in units of the standard error of the mean. 5 of them, and
    # the skewness of 40 normal units, below 1 / sqrt(40) / 6 (z^2 - 1), at most 0.15.
    error = np.std(values.values) / np.sqrt(40)
    for level, low, high in zip(levels, lows, highs, strict=True):
        tail = (1 - level) / 2
        z = stats.norm.isf(tail)
        spread = 2 * (5 * np.sqrt(tail * (1 - tail) / 2000) / stats.norm.pdf(z) + 0.15)
        assert (high - low) / error == pytest.approx(2 * z, abs=spread)


# Independent implementations.


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_the_interval_is_scipys(statistic: Statistic) -> None:
    values = np.random.default_rng(16180).gamma(2, size=61)
    resamples = 5000
    ours = bootstrap_interval(units(values), statistic=statistic, resamples=resamples, seed=8)
    reference = stats.bootstrap(
        (values,),
        getattr(np, statistic),
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(9),
        batch=500,
    )
    # The Monte Carlo error of a quantile: where the resamples' ranks 5 s.d. below and above it lie.
    drawn = reference.bootstrap_distribution
    for name, tail, theirs in [
        ("low", 0.025, reference.confidence_interval.low),
        ("high", 0.975, reference.confidence_interval.high),
    ]:
        ranks = 5 * np.sqrt(2 * tail * (1 - tail) / resamples)  # of the difference of two
        below, above = np.quantile(drawn, [max(tail - ranks, 0), min(tail + ranks, 1)])
        assert below <= ours[name].item() <= above
        assert below <= theirs <= above
    assert ours["estimate"].item() == pytest.approx(getattr(np, statistic)(values), rel=61 * EPS)


ragged = arrays(
    float,
    st.tuples(st.integers(1, 9), st.integers(1, 4)),
    elements=st.one_of(st.floats(-1e6, 1e6), st.just(np.nan)),
)


@given(values=ragged)
@settings(max_examples=60, deadline=None)
def test_estimates_are_numpys_over_the_units_that_have_a_value(values: np.ndarray) -> None:
    for statistic in ("mean", "median"):
        interval = bootstrap_interval(units(values), statistic=statistic, resamples=1)
        for column, estimate in zip(values.T, interval["estimate"].values, strict=True):
            defined = column[~np.isnan(column)]
            if defined.size == 0:
                assert np.isnan(estimate)
            elif statistic == "median":
                assert estimate == np.nanmedian(column)
            else:
                # Sums of up to 9 terms of up to 1e6.
                assert estimate == pytest.approx(np.nanmean(column), abs=9 * 1e6 * EPS)


# Laws.


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_the_same_seed_gives_the_same_interval_and_another_seed_another(
    statistic: Statistic,
) -> None:
    # Ends of a median's interval are units' values or between two: of 20, some move.
    values = units(np.random.default_rng(1123).normal(size=(30, 20)))
    one, same, other = (
        bootstrap_interval(values, statistic=statistic, seed=seed) for seed in (10, 10, 11)
    )
    xr.testing.assert_identical(one, same)
    assert (one["low"] != other["low"]).any()
    xr.testing.assert_identical(one["estimate"], other["estimate"])


MANY_COLUMNS = """
import numpy as np, xarray as xr
from ephys.statistics import bootstrap_interval
values = xr.DataArray(np.random.default_rng(0).normal(size=(300, 12)), dims=("unit", "contrast"))
print(bootstrap_interval(values)["low"].values.tobytes().hex())
"""


def test_the_interval_does_not_depend_on_the_number_of_threads() -> None:
    def interval(threads: str) -> str:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        return subprocess.run(
            [sys.executable, "-c", MANY_COLUMNS],
            env=os.environ | dict.fromkeys(names, threads),
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert interval("1") == interval("2")


def test_the_global_random_state_is_neither_used_nor_moved() -> None:
    values = units(np.random.default_rng(5813).normal(size=20))
    before = np.random.get_state()  # noqa: NPY002
    one = bootstrap_interval(values, seed=12)
    after = np.random.get_state()  # noqa: NPY002
    np.testing.assert_equal(after, before)
    np.random.seed(99)  # noqa: NPY002
    try:
        xr.testing.assert_identical(bootstrap_interval(values, seed=12), one)
    finally:
        np.random.set_state(before)  # noqa: NPY002


@pytest.mark.parametrize("statistic", ["mean", "median"])
@given(shift=st.floats(-1e3, 1e3), gain=st.floats(1e-3, 1e3), mirrored=st.booleans())
@settings(max_examples=20, deadline=None)
def test_shifted_and_scaled_units_have_the_shifted_and_scaled_interval(
    statistic: Statistic, shift: float, gain: float, mirrored: bool
) -> None:
    gain = -gain if mirrored else gain
    values = np.random.default_rng(2134).normal(size=25)
    original = bootstrap_interval(units(values), statistic=statistic, resamples=200, seed=13)
    changed = bootstrap_interval(
        units(shift + gain * values), statistic=statistic, resamples=200, seed=13
    )
    low, high = ("low", "high") if gain >= 0 else ("high", "low")
    # Sums of 25 terms, of at most shift + 4 gain each.
    rounding = 2 * 25 * EPS * (abs(shift) + 4 * abs(gain))
    for ours, theirs in [("low", low), ("high", high), ("estimate", "estimate")]:
        expected = shift + gain * original[theirs].item()
        assert changed[ours].item() == pytest.approx(expected, abs=rounding)


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_columns_are_measured_as_each_is_alone(statistic: Statistic) -> None:
    values = np.random.default_rng(5589).normal(size=(20, 4))
    values[3, 1], values[:, 2] = np.nan, np.nan
    together = bootstrap_interval(units(values), statistic=statistic, resamples=300, seed=14)
    for column in range(4):
        alone = bootstrap_interval(
            units(values[:, column]), statistic=statistic, resamples=300, seed=14
        )
        # Sums of 20 terms of up to 4 are made in another order along another axis.
        xr.testing.assert_allclose(together.isel(contrast=column), alone, rtol=0, atol=20 * 4 * EPS)


def test_what_belongs_to_one_unit_stays_together() -> None:
    """The two halves of each unit always sum to 8, and so do their means."""
    values = np.random.default_rng(1442).integers(0, 8, size=15).astype(float)
    halves = xr.DataArray(np.stack([values, 8 - values], axis=1), dims=("unit", "half"))
    interval = bootstrap_interval(halves, seed=15)
    # Means of 15 whole numbers, each rounded once, and interpolated.
    sums = interval["low"][0] + interval["high"][1], interval["high"][0] + interval["low"][1]
    assert [s.item() for s in sums] == pytest.approx([8, 8], abs=8 * 8 * EPS)


def test_the_order_of_dimensions_does_not_matter() -> None:
    values = units(np.random.default_rng(377).normal(size=(20, 4)))
    xr.testing.assert_identical(
        bootstrap_interval(values.transpose("contrast", "unit"), seed=16),
        bootstrap_interval(values, seed=16),
    )


def test_coordinates_of_units_go_and_others_stay() -> None:
    values = units(np.random.default_rng(610).normal(size=(6, 2))).assign_coords(
        channel=("unit", np.arange(6)), contrast=[0.1, 0.9], layer="conv"
    )
    interval = bootstrap_interval(values, seed=17)
    assert set(interval.coords) == {"contrast", "layer"}
    assert set(interval) == {"estimate", "low", "high", "count"}
    assert all(variable.dims == ("contrast",) for variable in interval.values())


# Units without a value.


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_units_without_a_value_are_left_out_and_not_counted(statistic: Statistic) -> None:
    values = np.random.default_rng(987).normal(5, 1, size=(12, 3))
    values[[0, 5], 0], values[:, 1] = np.nan, np.nan
    interval = bootstrap_interval(units(values), statistic=statistic, seed=18)
    np.testing.assert_array_equal(interval["count"], [10, 0, 12])
    expected = getattr(np, statistic)(values[:, [0, 2]][[*range(1, 5), *range(6, 12)]], axis=0)
    assert interval["estimate"][0].item() == pytest.approx(expected[0], rel=12 * EPS)
    for name in ("estimate", "low", "high"):
        assert np.isnan(interval[name][1])
        assert np.isfinite(interval[name][[0, 2]]).all()
    assert (interval["low"] < interval["high"])[[0, 2]].all()


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_draws_without_any_value_are_left_out(statistic: Statistic) -> None:
    # One draw in four of these two units holds nothing but NaN.
    interval = bootstrap_interval(units([2, np.nan]), statistic=statistic, seed=19)
    assert ends(interval) == (2, 2, 2)
    assert interval["count"] == 1


def test_where_there_is_no_unit_at_all_there_is_no_interval() -> None:
    interval = bootstrap_interval(units(np.empty((0, 2))), seed=20)
    np.testing.assert_array_equal(interval["count"], [0, 0])
    for name in ("estimate", "low", "high"):
        assert np.isnan(interval[name]).all()


# Refusals.


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, -0.1, np.nan])
def test_a_level_that_is_not_between_0_and_1_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match=f"level={level} is not between 0 and 1"):
        bootstrap_interval(units([1, 2, 3]), level=level)


def test_angles_are_refused_until_what_they_are_is_no_angle() -> None:
    angles = units([350, 352, 2]).assign_attrs(period=360.0, units="degree")
    with pytest.raises(ValueError, match=r"^values: an angle of period=360 has no mean, .*drop"):
        bootstrap_interval(angles)
    bootstrap_interval(angles.drop_attrs())


@pytest.mark.parametrize("resamples", [0, -5])
def test_fewer_than_one_resample_are_refused(resamples: int) -> None:
    with pytest.raises(ValueError, match=f"resamples={resamples}"):
        bootstrap_interval(units([1, 2, 3]), resamples=resamples)


# Dask arrays.


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_an_interval_over_a_dask_array_is_that_over_its_numbers(statistic: Statistic) -> None:
    values = units(np.random.default_rng(12).normal(size=(9, 2)))
    values[3, 1] = np.nan
    interval = bootstrap_interval(values.chunk(unit=2), statistic=statistic, seed=8)
    assert not interval.chunks  # computed: it needs all units
    xr.testing.assert_identical(interval, bootstrap_interval(values, statistic=statistic, seed=8))


# Over the repeats of the stimuli.


def shown(values: np.ndarray | list, dims: str = "unit phase") -> xr.DataArray:
    return xr.DataArray(np.asarray(values, float), dims=dims.split())


def over_phase(drawn: xr.DataArray) -> xr.DataArray:
    return drawn.mean("phase")


def contrast_of(drawn: xr.DataArray) -> xr.DataArray:
    """The mean of the last condition over that of the first."""
    return (drawn.isel(orientation=-1) - drawn.isel(orientation=0)).mean("phase")


def test_of_two_phases_every_quantile_of_the_mean_is_known() -> None:
    wide = bootstrap_over(shown([[0, 1]]), over_phase, level=0.8)
    narrow = bootstrap_over(shown([[0, 1]]), over_phase, level=0.2)
    assert ends(wide) == (0, 0.5, 1)
    assert ends(narrow) == (0.5, 0.5, 0.5)
    assert wide["defined"] == 1


@pytest.mark.parametrize("independent", [False, True])
def test_the_interval_over_phases_covers_a_measure_as_often_as_it_says(independent: bool) -> None:
    """500 units that answer two orientations at 12 random phases each, the second by 1 more."""
    experiments, count, resamples = 500, 12, 1000
    values = np.random.default_rng(101).normal(size=(experiments, 2, count))
    values[:, 1] += 1
    interval = bootstrap_over(
        shown(values, "unit orientation phase"),
        contrast_of,
        independent=independent,
        resamples=resamples,
    )
    # As of a mean over units, of t; with degrees of freedom of the pairs, or of either.
    half = stats.norm.ppf(0.975) * np.sqrt((count - 1) / count)
    expected = 1 - 2 * stats.t.sf(half, (1 + independent) * (count - 1))
    error = 4 * np.sqrt(expected * (1 - expected) * (1 / experiments + 1 / resamples))
    # The sum of few draws is flatter than the normal: its kurtosis, -1.2 / count at the most,
    # moves a tail by kurtosis / 24 (z^3 - 3 z) pdf(z).
    flat = 2 * 1.2 / count / 24 * (1.96**3 - 3 * 1.96) * stats.norm.pdf(1.96)
    covered = ((interval["low"] <= 1) & (interval["high"] >= 1)).mean().item()
    assert covered == pytest.approx(expected, abs=error + flat)


def test_phases_evenly_around_the_circle_leave_less_to_chance() -> None:
    """Of cosines of any phase, all means are 0, and no interval misses that."""
    phases = np.arange(0, 360, 45)
    shifts = np.random.default_rng(102).uniform(0, 360, size=(50, 1))
    interval = bootstrap_over(shown(np.cos(np.deg2rad(phases - shifts))), over_phase)
    assert (interval["low"] < -0.2).all()
    assert (interval["high"] > 0.2).all()
    np.testing.assert_allclose(interval["estimate"], 0, atol=8 * EPS)


def test_what_stands_at_one_place_stays_together_unless_drawn_apart() -> None:
    """Two orientations that are answered alike at every phase."""
    one = np.random.default_rng(103).normal(size=(3, 1, 9))
    values = shown(np.repeat(one, 2, axis=1), "unit orientation phase")
    together = bootstrap_over(values, contrast_of, seed=1)
    assert (together["low"] == 0).all()
    assert (together["high"] == 0).all()
    apart = bootstrap_over(values, contrast_of, independent=True, seed=1)
    assert (apart["low"] < 0).all()
    assert (apart["high"] > 0).all()


@pytest.mark.parametrize("independent", [False, True])
def test_all_units_see_the_same_draws(independent: bool) -> None:
    values = np.random.default_rng(104).normal(size=(2, 9))
    both = shown(np.stack([values, 8 - values]), "unit orientation phase")
    of_both = bootstrap_over(both, over_phase, independent=independent)
    for end, other in (("low", "high"), ("high", "low")):
        sums = of_both[end][0] + of_both[other][1]
        np.testing.assert_allclose(sums, 8, atol=9 * 8 * EPS)
    alone = bootstrap_over(both.isel(unit=[1]), over_phase, independent=independent)
    xr.testing.assert_allclose(of_both.isel(unit=[1]), alone, rtol=0, atol=9 * 8 * EPS)


def test_the_interval_of_a_selectivity_index_is_scipys() -> None:
    resamples, orientations = 1500, np.arange(0, 180, 45.0)
    values = np.random.default_rng(105).gamma(2, size=(4, 11)) * np.array([[1], [2], [4], [2]])
    curve = shown(values, "orientation phase").assign_coords(orientation=orientations)
    ours = bootstrap_over(curve, lambda r: gosi(r.mean("phase")), resamples=resamples)

    def index(*rates: np.ndarray, axis: int) -> np.ndarray:
        means = [r.mean(axis) for r in rates]
        return np.hypot(means[0] - means[2], means[1] - means[3]) / sum(means)

    reference = stats.bootstrap(
        tuple(values),
        index,
        paired=True,
        vectorized=True,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(9),
    )
    drawn = np.asarray(reference.bootstrap_distribution)
    for name, tail in (("low", 0.025), ("high", 0.975)):
        ranks = 5 * np.sqrt(2 * tail * (1 - tail) / resamples)  # of the difference of two
        below, above = np.quantile(drawn, [max(tail - ranks, 0), min(tail + ranks, 1)])
        assert below <= ours[name].item() <= above
    assert ours["estimate"].item() == pytest.approx(float(index(*values, axis=-1)), rel=16 * EPS)
    assert ours["low"].attrs["long_name"] == "global orientation selectivity index"


def test_dimensions_may_come_in_any_order_and_stay() -> None:
    values = shown(np.random.default_rng(106).normal(size=(5, 3, 7)), "unit orientation phase")
    values = values.assign_coords(orientation=[0, 60, 120], channel=("unit", np.arange(5)))
    interval = bootstrap_over(values, over_phase, resamples=50)
    assert interval["low"].dims == interval["estimate"].dims == ("unit", "orientation")
    assert set(interval.coords) == {"orientation", "channel"}
    turned = bootstrap_over(
        values.transpose("phase", "unit", "orientation"), over_phase, resamples=50
    )
    xr.testing.assert_allclose(
        turned.transpose("unit", "orientation"), interval, rtol=0, atol=28 * EPS
    )
    lazy = bootstrap_over(values.chunk(unit=2), over_phase, resamples=50)
    xr.testing.assert_identical(lazy, interval)


def test_draws_that_have_no_measure_are_left_out_and_their_share_is_told() -> None:
    # One draw in four of the first unit is 0 and has no measure; none of the second has one.
    interval = bootstrap_over(
        shown([[0, 1], [0, 0]]), lambda r: over_phase(r).where(over_phase(r) > 0)
    )
    assert interval["defined"][0].item() == pytest.approx(0.75, abs=5 * np.sqrt(3 / 16 / 1000))
    assert ends(interval.isel(unit=0)) == (0.5, 0.5, 1)
    assert interval.isel(unit=1).to_array().isnull().all()
    # Nor is there an interval around what is not defined, though draws be.
    interval = bootstrap_over(shown([[0, 1]]), lambda r: over_phase(r).where(over_phase(r) != 0.5))
    assert interval.to_array().isnull().all()


def test_a_seed_gives_the_same_interval_over_phases_and_another_another() -> None:
    values = shown(np.random.default_rng(107).normal(size=(5, 9)))
    one, same, other = (bootstrap_over(values, over_phase, resamples=99, seed=s) for s in (1, 1, 2))
    xr.testing.assert_identical(one, same)
    assert (one["low"] != other["low"]).any()


def test_what_cannot_be_resampled_is_refused() -> None:
    values = shown(np.ones((2, 8))).assign_coords(phase=np.arange(0, 360, 45.0))
    with pytest.raises(ValueError, match="phase has 1 entry; resampling takes two or more"):
        bootstrap_over(values.isel(phase=[0]), over_phase)
    with pytest.raises(ValueError, match="the measure leaves phase"):
        bootstrap_over(values, lambda r: 2 * r)
    assert (f1_f0(values) < 8 * EPS).all()
    with pytest.raises(ValueError, match="phase runs 0 to 7"):  # what is drawn is on no circle
        bootstrap_over(values, f1_f0)
    with pytest.raises(ValueError, match="level=2 is not"):
        bootstrap_over(values, over_phase, level=2)
    with pytest.raises(ValueError, match="resamples=0 is below 1"):
        bootstrap_over(values, over_phase, resamples=0)


@pytest.mark.parametrize("share", [1.0, 0.6, 0.002])
@pytest.mark.parametrize("units", [5000, 5001])
def test_medians_of_many_units_are_drawn_as_if_the_units_were(units: int, share: float) -> None:
    rng = np.random.default_rng(units)
    values = np.where(rng.random(units) < share, rng.lognormal(size=units), np.nan)
    draws = 4000
    fast = _drawn_medians(values, draws, np.random.default_rng(1))
    rows = np.random.default_rng(2).integers(units, size=(draws, units))
    slow = np.concatenate([_median(values[part], axis=1) for part in np.array_split(rows, 20)])
    assert np.isnan(fast).sum() == pytest.approx(np.isnan(slow).sum(), abs=5 * np.sqrt(draws) / 2)
    # Two samples of one distribution, by Kolmogorov and Smirnov.
    p = stats.ks_2samp(fast[np.isfinite(fast)], slow[np.isfinite(slow)]).pvalue
    assert p > 1e-4


def test_the_interval_of_a_median_of_many_units_is_that_of_its_ranks() -> None:
    values = xr.DataArray(np.random.default_rng(0).normal(size=20_000), dims="unit")
    interval = bootstrap_interval(values, statistic="median", resamples=4000)
    # A median of n normal values has the standard error sqrt(pi / 2 n). The bootstrap's is off by a
    # share of the order of n^(-1/4), here 0.08, and an end is 1.96 of them away: thrice at most.
    error = np.sqrt(np.pi / 2 / 20_000)
    for end, sign in [("low", -1), ("high", 1)]:
        expected = float(interval["estimate"]) + sign * 1.96 * error
        assert float(interval[end]) == pytest.approx(expected, abs=0.5 * error)
