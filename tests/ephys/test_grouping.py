"""Groups: planted ones found, chance at its own rate, every number beside a plain loop's."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from scipy import stats
from scipy.spatial.distance import pdist, squareform

from ephys.grouping import STATISTICS, grouping_test
from ephys.groups import clustered, contiguous, declared, of_layer
from ephys.multiple_comparisons import Method, correct
from ephys.similarity import circular, cosine, scalar

EPS = np.finfo(float).eps
METHODS: tuple[Method, ...] = ("holm", "fdr_bh")
SPREAD = 25.0  # degrees, of units around the mean of their group
SIZES = np.repeat(np.arange(4), [2, 5, 1, 6])  # groups of all sizes, one of a single unit


def only(similarity: xr.DataArray, groups: object, **options: object) -> xr.Dataset:
    return grouping_test({"it": similarity}, groups, **options).sel(property="it")  # type: ignore[arg-type]


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def looped(matrix: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """The definitions, pair by pair."""
    units = range(len(labels))
    pairs = {True: [0.0, 0.0], False: [0.0, 0.0]}
    for i, j in itertools.combinations(units, 2):
        alike, weight = pairs[bool(labels[i] == labels[j])], weights[i] * weights[j]
        alike[0] += weight * matrix[i, j]
        alike[1] += weight

    def squares(members: list[int]) -> float:
        pairs = itertools.combinations(members, 2)
        total = sum(weights[i] * weights[j] * (2 - 2 * matrix[i, j]) for i, j in pairs)
        return float(total / weights[members].sum())

    def apart(i: int, group: int) -> float:
        others = [j for j in units if labels[j] == group and j != i]
        if not others:
            return np.nan
        distances = [np.sqrt(max(2 - 2 * matrix[i, j], 0)) for j in others]
        return float(np.average(distances, weights=weights[others]))

    groups = set(labels.tolist())
    within = sum(squares([i for i in units if labels[i] == group]) for group in groups)
    silhouettes = []
    for i in units:
        a, b = apart(i, labels[i]), min(apart(i, g) for g in groups - {labels[i]})
        silhouettes.append(0 if np.isnan(a) else (b - a) / max(a, b))
    return {
        "difference": pairs[True][0] / pairs[True][1] - pairs[False][0] / pairs[False][1],
        "variance_explained": 1 - within / squares(list(units)),
        "silhouette": float(np.average(silhouettes, weights=weights)),
    }


# what is measured


@pytest.mark.parametrize("weighted", [False, True])
def test_statistics_are_those_of_plain_loops(weighted: bool) -> None:
    weights = np.random.default_rng(3).uniform(0.1, 1, len(SIZES)) if weighted else None
    for similarity in [
        scalar(normal(1, len(SIZES)), weight=weights),
        circular(100 * normal(1, len(SIZES)), period=180, weight=weights),
        cosine(normal(1, len(SIZES), 6), axes=True, weight=weights),
    ]:
        found = only(similarity, SIZES, resamples=1)["observed"]
        expected = looped(
            similarity.values, SIZES, np.ones(len(SIZES)) if weights is None else weights
        )
        for statistic, value in expected.items():
            assert found.sel(statistic=statistic) == pytest.approx(value, abs=1000 * EPS)


def test_the_share_of_variance_of_a_number_is_that_of_an_analysis_of_variance() -> None:
    values = normal(1, len(SIZES)) + SIZES
    f = stats.f_oneway(*(values[group == SIZES] for group in range(4))).statistic
    between, within = 3, len(SIZES) - 4
    found = only(scalar(values), SIZES, resamples=1)["observed"].sel(statistic="variance_explained")
    assert found == pytest.approx(between * f / (between * f + within), rel=1000 * EPS)


def test_a_weight_of_2_is_in_sums_of_squares_a_unit_that_is_there_twice() -> None:
    angle, twice = 100 * normal(1, len(SIZES)), np.where(np.arange(len(SIZES)) % 2, 1, 2)
    weighted = only(circular(angle, period=180, weight=twice), SIZES, resamples=1)
    repeated = only(circular(angle.repeat(twice), period=180), SIZES.repeat(twice), resamples=1)
    assert weighted["observed"].sel(statistic="variance_explained") == pytest.approx(
        repeated["observed"].sel(statistic="variance_explained").item(), abs=1000 * EPS
    )


def test_by_chance_variance_is_explained_by_the_number_of_groups() -> None:
    found = only(scalar(normal(1, len(SIZES)) ** 3), SIZES, keep_permuted=True)
    for statistic, expected in [("difference", 0), ("variance_explained", 3 / 13)]:
        one = found.sel(statistic=statistic)
        error = one["permuted"].std() / np.sqrt(one.sizes["permutation"])
        assert one["expected"] == pytest.approx(expected, abs=4 * error.item())


def test_in_groups_of_a_size_the_difference_and_the_share_of_variance_are_one_thing() -> None:
    found = only(scalar(normal(1, 24)), contiguous(24, 4))
    difference, share = (found.sel(statistic=name) for name in list(STATISTICS)[:2])
    for key in ("p", "effect_size"):
        assert difference[key] == pytest.approx(share[key].item(), rel=1e-9)


# planted structure


def test_groups_that_are_alike_are_found() -> None:
    angle = np.repeat([0, 40, 80, 120], 8) + 5 * normal(1, 32)
    found = only(circular(angle, period=180), contiguous(32, 8))
    assert (found["p"] == 2 / 10_001).all()
    assert (found["effect_size"] > 5).all()
    assert (found["low"] > found["expected"]).all()


def test_groups_of_one_of_everything_show_as_plainly() -> None:
    # Eight orientations evenly around the circle, turned in each group: their sum is 0, so that of
    # pairs within is -8 / (8 * 7), that between is 0, and groups have the same mean.
    angle = np.arange(8) * 22.5 + 180 * np.random.default_rng(1).uniform(size=(8, 1))
    found = only(circular(angle.ravel(), period=180), contiguous(64, 8))
    of = {name: found.sel(statistic=name) for name in STATISTICS}
    assert of["difference"]["observed"] == pytest.approx(-1 / 7, abs=1000 * EPS)
    assert of["variance_explained"]["observed"] == pytest.approx(0, abs=1000 * EPS)
    for name in ("difference", "variance_explained"):
        assert of[name]["p"] < 0.001
        assert of[name]["effect_size"] < -2
        assert of[name]["high"] < of[name]["expected"]


def test_who_weighs_little_hides_little() -> None:
    angle = np.concatenate([np.repeat([0.0, 90.0], 8), np.tile([90.0, 0.0], 8)])
    groups = np.concatenate([np.repeat([0, 1], 8), np.repeat([0, 1], 8)])
    weight = np.repeat([1, 1e-3], 16)
    found = only(circular(angle, period=180, weight=weight), groups)
    assert found["observed"].sel(statistic="variance_explained") > 0.98
    assert found["observed"].sel(statistic="difference") > 1.98


def test_the_halves_of_caffenet_are_grey_and_colored(
    shared_data: Callable[[str], Path],
) -> None:
    weights = load_file(shared_data("alexnet_imagenet") / "caffenet_conv_head.safetensors")
    filters = weights["conv1.weight"].astype(float)
    opponent = filters - filters.mean(1, keepdims=True)
    chromatic = (opponent**2).sum((1, 2, 3)) / (filters**2).sum((1, 2, 3))
    similarity, halves = scalar(chromatic), of_layer(96, 2)
    found = only(similarity, halves)
    assert (found["p"] < 0.001).all()
    assert (found["low"] > found["expected"]).all()
    assert found["observed"].sel(statistic="variance_explained") > 0.5

    rng = np.random.default_rng(1)
    shuffled = [
        only(similarity, rng.permutation(halves), resamples=1999, seed=seed)["p"].values
        for seed in range(40)
    ]
    assert (np.min(shuffled, axis=0) > 0.001).all()
    assert stats.kstest(np.array(shuffled)[:, 0], "uniform").pvalue > 0.01


# p


def test_p_counts_the_splits_that_are_as_far_out() -> None:
    values, labels = normal(1, 6), np.repeat([0, 1], 3)
    similarity = scalar(values)
    splits = [np.isin(range(6), members) for members in itertools.combinations(range(6), 3)]
    every = np.array([list(looped(similarity.values, s, np.ones(6)).values()) for s in splits])
    actual = every[[(split == (labels == 0)).all() for split in splits]]
    tails = [(every >= actual - 1e-9).mean(0), (every <= actual + 1e-9).mean(0)]
    expected = np.minimum(1, 2 * np.minimum(*tails))
    resamples = 20_000
    error = 4 * 2 * np.sqrt(0.25 / resamples) + 2 / resamples
    found = only(similarity, labels, resamples=resamples)
    np.testing.assert_allclose(found["p"], expected, atol=error)
    sigmas = (found["expected"] - every.mean(0)) / (every.std(0) / np.sqrt(resamples))
    assert (np.abs(sigmas) < 4).all()


def lognormal(rng: np.random.Generator) -> xr.DataArray:
    return scalar(rng.lognormal(size=24))


def angles(rng: np.random.Generator) -> xr.DataArray:
    return circular(rng.uniform(0, 180, 24), period=180, weight=rng.uniform(0.1, 1, 24))


def filters(rng: np.random.Generator) -> xr.DataArray:
    return cosine(rng.normal(size=(24, 5)), axes=True)


@pytest.mark.parametrize("drawn", [lognormal, angles, filters])
@pytest.mark.parametrize("sizes", [[12, 12], [1, 2, 5, 16]])
def test_p_is_uniform_where_there_is_nothing(
    drawn: Callable[[np.random.Generator], xr.DataArray], sizes: list[int]
) -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    found = [
        grouping_test({str(i): drawn(rng) for i in range(10)}, labels, resamples=199, seed=seed)[
            "p"
        ]
        for seed in range(40)
    ]
    for p in np.concatenate(found).T:
        assert stats.kstest(p, "uniform").pvalue > 0.001


def test_no_p_is_0_and_none_above_1() -> None:
    alike = only(scalar(np.repeat([0.0, 1.0], 20)), contiguous(40, 20), resamples=99)
    assert (alike["p"] == 2 / 100).all()
    # of one unit against a pair, every other unit is as good
    same = only(circular([0, 60, 120], period=180), [0, 0, 1], resamples=99)
    assert (same["p"] == 1).all()
    assert same["effect_size"].isnull().all()


def test_p_is_corrected_for_the_properties_that_there_are() -> None:
    properties = {str(seed): scalar(normal(seed, 24) + 0.1 * np.arange(24)) for seed in range(4)}
    properties["none"] = scalar(np.ones(24))
    for method in METHODS:
        found = grouping_test(properties, contiguous(24, 8), method=method)
        for statistic in STATISTICS:
            one = found.sel(statistic=statistic)
            alone = correct(one["p"].drop_sel(property="none"), method)
            np.testing.assert_array_equal(one["p_corrected"][:4], alone)
    assert found["p_corrected"].sel(property="none").isnull().all()


# intervals


def wrapped(rng: np.random.Generator, means: list[float], size: int) -> xr.DataArray:
    spread = 25.0
    return circular(
        np.repeat(means, size) + spread * rng.normal(size=size * len(means)), period=180
    )


def scattered(rng: np.random.Generator, means: list[float], size: int) -> xr.DataArray:
    return scalar(np.repeat(means, size) + rng.normal(size=size * len(means)))


@pytest.mark.parametrize(
    ("drawn", "means", "size"),
    [
        (wrapped, [0, 5, 20, 40, 60, 70, 100, 140], 8),
        (wrapped, [0, 0, 0, 0], 8),
        (scattered, [0, 0.7], 40),
        (scattered, [0, 0, 0, 2, 2, 2, 4, 4], 4),
    ],
)
def test_intervals_hold_what_other_units_of_the_groups_show_on_average(
    drawn: Callable[..., xr.DataArray], means: list[float], size: int
) -> None:
    rng = np.random.default_rng(1)
    groups = contiguous(size * len(means), size)
    samples = {str(sample): drawn(rng, means, size) for sample in range(200)}
    found = grouping_test(samples, groups, resamples=99)
    truth = found["observed"].mean("property").values
    if drawn is wrapped:  # of which the mean of the first statistic is known
        two_theta = 2 * np.deg2rad(means)
        resultant = np.exp(-((2 * np.deg2rad(SPREAD)) ** 2) / 2)
        between = np.cos(two_theta[:, None] - two_theta)[~np.eye(len(means), dtype=bool)].mean()
        truth[0] = resultant**2 * (1 - between)
    covered = ((found["low"] <= truth) & (truth <= found["high"])).mean("property")
    assert (covered > 0.9).all()  # 0.95 less three times the error of 200
    width = (found["high"] - found["low"]).mean("property") / found["observed"].std("property")
    assert (width < 2.5 * 2 * 2).all()  # of +-2 errors; wide, but two and a half times at most


def unlike(sizes: list[int], means: list[float], spread: float) -> tuple[xr.Dataset, np.ndarray]:
    """Of 200 samples of orientations around means, which intervals hold, and how wide they are."""
    rng = np.random.default_rng(1)
    around = np.repeat(means, sizes)
    samples = {
        str(sample): circular(around + spread * rng.normal(size=len(around)), period=180)
        for sample in range(200)
    }
    found = grouping_test(samples, around, resamples=99)
    truth = found["observed"].mean("property")
    found["covered"] = ((found["low"] <= truth) & (truth <= found["high"])).mean("property")
    width = (found["high"] - found["low"]).mean("property") / found["observed"].std("property")
    return found, width.values / 4


def test_intervals_beside_a_group_of_two_hold_less_often_of_the_share_of_variance() -> None:
    difference, share, silhouette = unlike([2, 40], [0, 45], SPREAD)[0]["covered"].values
    assert difference > 0.92 - 3 * np.sqrt(0.92 * 0.08 / 200)
    assert silhouette > 0.92 - 3 * np.sqrt(0.92 * 0.08 / 200)
    assert abs(share - 0.89) < 0.02 + 3 * np.sqrt(0.89 * 0.11 / 200)


def test_intervals_of_groups_far_apart_are_too_wide_and_may_end_above_1() -> None:
    found, (difference, share, silhouette) = unlike([8] * 4, [0, 45, 90, 135], 5)
    assert 6 < difference < 8
    assert 6 < share < 8
    assert 1 < silhouette < 2
    assert found["high"].sel(statistic="variance_explained").max() > 1


def test_a_silhouette_beside_a_single_unit_has_no_interval() -> None:
    found = only(circular(100 * normal(1, 12), period=180), np.repeat([0, 1, 2], [8, 3, 1]))
    for end in ("low", "high"):
        assert found[end].sel(statistic="silhouette").isnull()
        assert found[end].drop_sel(statistic="silhouette").notnull().all()
    assert found["p"].notnull().all()


# units without a property, and groups without units


def test_units_without_the_property_or_in_no_group_are_left_out() -> None:
    values = normal(1, 12)
    labels = np.array(["a"] * 6 + ["b"] * 6)
    kept = np.arange(12) % 4 > 0
    expected = only(scalar(values[kept]), labels[kept])
    missing = only(scalar(np.where(kept, values, np.nan)), labels)
    weightless = only(scalar(values, weight=kept), labels)
    assert expected["n_units"] == 9
    for found in (missing, weightless):
        xr.testing.assert_allclose(found, expected, rtol=1e-9)
    ungrouped = only(scalar(values), np.where(kept, labels, ""))  # in variances of all units
    scale = values[kept].var(ddof=1) / values.var(ddof=1)
    for key in ("observed", "low", "high", "p", "effect_size"):
        of_difference = scale if key in ("observed", "low", "high") else 1
        scaled = expected[key].values * np.array([of_difference, 1, 1])
        np.testing.assert_allclose(ungrouped[key].values, scaled)


def test_properties_of_the_same_units_are_tested_on_the_same_permutations() -> None:
    values = normal(1, 16)
    found = grouping_test(
        {"one": scalar(values), "other": scalar(3 - 2 * values)},
        contiguous(16, 4),
        keep_permuted=True,
    )
    one, other = found["permuted"].values
    np.testing.assert_allclose(one, other, atol=1e-9)


@pytest.mark.parametrize(
    ("similarity", "units", "groups"),
    [
        (scalar([0.1] * 6), 6, 2),
        (circular([0.1] * 6, period=180), 6, 2),
        (cosine([[0.1, 0.3]] * 6), 6, 2),
        (scalar([1, 2, 3] + [np.nan] * 3), 3, 1),
        (scalar([1, np.nan, np.nan, 2, np.nan, np.nan]), 2, 2),
        (scalar([np.nan] * 6), 0, 0),
    ],
)
def test_where_nothing_differs_or_is_left_to_compare_nothing_is_said(
    similarity: xr.DataArray, units: int, groups: int
) -> None:
    found = only(similarity, contiguous(6, 3), keep_permuted=True)
    assert found["n_units"] == units
    assert found["n_groups"] == groups
    for name in ("observed", "expected", "effect_size", "low", "high", "p", "p_corrected"):
        assert found[name].isnull().all()
    assert found["permuted"].isnull().all()


def test_a_pair_beside_a_single_unit_has_no_interval_of_its_similarity() -> None:
    found = only(scalar([0.0, 1.0, 5.0]), [0, 0, 1], resamples=99)
    assert found["observed"].notnull().all()
    assert found["low"].sel(statistic="difference").isnull()


# clusters


def test_on_what_clusters_were_made_of_no_p_is_given() -> None:
    made_of, other = scalar(normal(1, 30)), scalar(normal(2, 30))
    groups = clustered(made_of, 3)
    with pytest.warns(UserWarning, match=r"^other: the groups were clustered on another sim"):
        found = grouping_test({"made of": made_of, "other": other}, groups)
    circular = found.sel(property="made of")
    assert circular["observed"].notnull().all()
    for name in ("expected", "effect_size", "low", "high", "p", "p_corrected"):
        assert circular[name].isnull().all()
    assert found["p"].sel(property="other").notnull().all()
    # the reason: of numbers in which there are no clusters, such a p is never large
    assert (only(made_of, groups.values)["p"].sel(statistic="silhouette") < 0.001).all()


@pytest.mark.parametrize("again", [lambda v: 3 * v, np.float32], ids=["gain", "float32"])
def test_what_clusters_were_made_of_is_known_again(
    again: Callable[[np.ndarray], np.ndarray],
) -> None:
    vectors = normal(1, 30, 5)
    groups = clustered(cosine(vectors), 4)
    found = only(cosine(again(vectors)), groups, resamples=9)
    assert found["observed"].notnull().all()
    assert found["p"].isnull().all()


@pytest.mark.parametrize("units", [slice(28), slice(None, None, -1)], ids=["some", "turned"])
def test_of_other_units_or_another_order_a_warning_says_that_p_may_say_nothing(
    units: slice,
) -> None:
    vectors = normal(1, 30, 5)
    groups = clustered(cosine(vectors), 4)[units]
    with pytest.warns(UserWarning, match="if this one goes with that, p says nothing"):
        only(cosine(vectors[units]), groups, resamples=9)


# which units


def test_units_in_another_order_than_their_groups_are_refused() -> None:
    order = np.random.default_rng(1).permutation(32)
    angle = xr.DataArray(
        np.repeat([0.0, 45.0, 90.0, 135.0], 8), {"channel": ("unit", np.arange(32))}, dims="unit"
    )
    groups = contiguous(32, 8)[angle["channel"]]
    assert (only(circular(angle, period=180), groups, resamples=99)["p"] == 0.02).all()
    with pytest.raises(
        ValueError,
        match=r"^it: channel of the similarity is not that of the groups; sort both alike$",
    ):
        only(circular(angle[order], period=180), groups)
    own = contiguous(32, 8)[angle[order]["channel"]]
    assert (only(circular(angle[order], period=180), own, resamples=99)["p"] == 0.02).all()


# laws


@given(st.permutations(range(4)), st.integers(0, 100))
@settings(max_examples=20)
def test_what_groups_are_called_changes_nothing(names: list[int], seed: int) -> None:
    similarity = scalar(normal(seed, len(SIZES)))
    plain = only(similarity, SIZES, resamples=99)
    renamed = only(similarity, np.array(names)[SIZES], resamples=99)
    words = only(similarity, np.array(["c", "a", "dd", "b"])[SIZES], resamples=99)
    xr.testing.assert_allclose(plain, renamed, rtol=1e-9)
    xr.testing.assert_allclose(plain, words, rtol=1e-9)


@given(st.permutations(range(len(SIZES))))
@settings(max_examples=20)
def test_the_order_of_units_changes_nothing(order: list[int]) -> None:
    angle = 100 * normal(1, len(SIZES))
    plain = only(circular(angle, period=180), SIZES, resamples=1)
    sorted_ = only(circular(angle[order], period=180), SIZES[order], resamples=1)
    np.testing.assert_allclose(plain["observed"], sorted_["observed"], atol=1e-12)


@given(st.floats(0.01, 100), st.floats(-100, 100), st.sampled_from([-1, 1]))
@settings(max_examples=20)
def test_the_unit_of_a_number_is_nothing(scale: float, offset: float, sign: int) -> None:
    values = normal(1, len(SIZES))
    plain = only(scalar(values), SIZES, resamples=99)
    other = only(scalar(sign * scale * values + offset), SIZES, resamples=99)
    xr.testing.assert_allclose(plain, other, rtol=1e-6)


@pytest.mark.parametrize("size", [1e-3, 1e-4, 1e-5])
def test_units_that_hardly_differ_are_tested_as_well(size: float) -> None:
    # To first order 1 - S is size^2 times a squared distance, whose rounding is EPS / size^2 of it.
    groups = contiguous(32, 8)
    vectors = normal(1, 4, 40)[groups] + 0.5 * normal(2, 32, 40)
    apart = squareform(pdist(vectors - vectors.mean(1, keepdims=True), "sqeuclidean"))
    expected = only(xr.DataArray(1 - apart / apart.max(), dims=("unit", "unit_2")), groups)
    found = only(cosine(1 + size * vectors), groups)
    np.testing.assert_array_equal(found["p"], expected["p"])
    first_order = 20 * size + 1e4 * EPS / size**2
    np.testing.assert_allclose(found["effect_size"], expected["effect_size"], rtol=first_order)


def test_splits_that_are_the_same_tie_also_where_units_hardly_differ() -> None:
    # Any split of two and two parts two of the one vector from two of the other, or mixes them.
    vectors = 1 + 1e-5 * np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0]])
    found = only(cosine(vectors), [0, 1, 0, 1], resamples=999)
    assert (found["p"] == 1).all()


def test_the_same_seed_gives_the_same_and_another_does_not() -> None:
    similarity = scalar(normal(1, len(SIZES)))
    first, again, other = (only(similarity, SIZES, seed=seed) for seed in (1, 1, 2))
    xr.testing.assert_identical(first, again)
    assert (first["expected"] != other["expected"]).all()


def test_portions_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    similarity = scalar(normal(1, len(SIZES)))
    at_once = only(similarity, SIZES, resamples=50)
    monkeypatch.setattr("ephys.statistics.CHUNK_VALUES", 3 * 4 * len(SIZES))
    xr.testing.assert_allclose(at_once, only(similarity, SIZES, resamples=50), rtol=1e-9)


# the table


def test_the_result_is_a_table() -> None:
    groups = declared(24, {"a": range(8), "b": range(8, 24)})
    properties = {"x": scalar(normal(1, 24)), "y": circular(normal(2, 24), period=180)}
    found = grouping_test(properties, groups, resamples=20)
    table = found.to_dataframe()
    assert list(table.index) == list(itertools.product("xy", STATISTICS))
    kept = grouping_test(properties, groups, resamples=20, keep_permuted=True)
    assert kept["permuted"].dims == ("property", "statistic", "permutation")
    np.testing.assert_allclose(kept["permuted"].mean("permutation"), found["expected"])
    np.testing.assert_allclose(
        kept["permuted"].std("permutation") * found["effect_size"],
        found["observed"] - found["expected"],
    )
    xr.testing.assert_identical(kept.drop_vars("permuted"), found)


def test_what_cannot_be_tested_is_refused() -> None:
    similarity = scalar([1.0, 2, 3, 4])
    with pytest.raises(ValueError, match=r"^no properties; give a similarity for each"):
        grouping_test({}, [0, 0, 1, 1])
    with pytest.raises(ValueError, match=r"give a similarity for each, by name: {'hue': "):
        grouping_test(similarity, [0, 0, 1, 1])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^hue: a similarity is .* this is {'dim_0': 4, 'dim_1'"):
        grouping_test({"hue": np.eye(4)}, [0, 0, 1, 1])  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=r"^hue: groups: there are 1; two or more"):
        grouping_test({"hue": similarity}, [0, 0, 0, 0])
    with pytest.raises(ValueError, match=r"^hue: groups are of shape \(3,\); .* 4 units"):
        grouping_test({"hue": similarity}, [0, 0, 1])
    with pytest.raises(ValueError, match=r"^hue: a similarity is \(unit, unit_2\), of all pairs"):
        grouping_test({"hue": xr.DataArray([1.0, 2, 3, 4], dims="unit")}, [0, 0, 1, 1])
    with pytest.raises(ValueError, match=r"^resamples=0 is below 1"):
        grouping_test({"hue": similarity}, [0, 0, 1, 1], resamples=0)
    with pytest.raises(ValueError, match=r"^level=95 is not between 0 and 1"):
        grouping_test({"hue": similarity}, [0, 0, 1, 1], level=95)
    with pytest.raises(KeyError, match=r"method='none' is none of holm"):
        grouping_test({"hue": similarity}, [0, 0, 1, 1], method="none")  # type: ignore[arg-type]


def test_another_method_is_refused_before_any_permutation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("ephys.grouping._permuted")
    with pytest.raises(KeyError, match="method='bh' is none of holm, fdr_bh, bonferroni"):
        only(scalar([1.0, 2, 3, 4]), [0, 0, 1, 1], method="bh")
