"""Adjusted p values beside scipy's, a plain loop, and the errors that they promise to bound."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ephys.multiple_comparisons import Method, correct

EPS = np.finfo(float).eps
METHODS = pytest.mark.parametrize("method", ["holm", "fdr_bh", "bonferroni"])


def labeled(values: np.ndarray | list[float]) -> xr.DataArray:
    values = np.asarray(values, float)
    return xr.DataArray(values, dims=("unit", "contrast")[: values.ndim])


def test_the_example_of_benjamini_and_hochberg() -> None:
    # Fifteen p values of their section 4; four pass at 0.05, three by Holm (and Bonferroni).
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
    p += [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000]
    passing = {m: int((correct(labeled(p), m) <= 0.05).sum()) for m in ("holm", "fdr_bh")}
    assert passing == {"holm": 3, "fdr_bh": 4}
    assert correct(labeled(p), "bonferroni")[2].item() == pytest.approx(15 * 0.0019, rel=2 * EPS)


def plain_holm(p: list[float]) -> list[float]:
    """Step down: refuse to go on at the first that fails."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, largest = [0.0] * len(p), 0.0
    for step, place in enumerate(order):
        largest = max(largest, (len(p) - step) * p[place])
        adjusted[place] = min(1.0, largest)
    return adjusted


values = st.lists(
    st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.5, 1.0]), st.just(np.nan)),
    min_size=1,
    max_size=12,
)


@given(p=values)
@settings(max_examples=100, deadline=None)
def test_adjusted_p_values_are_scipys_and_those_of_a_plain_loop(p: list[float]) -> None:
    defined = [v for v in p if not np.isnan(v)]
    nan = np.isnan(p)
    expected = {
        "fdr_bh": stats.false_discovery_control(defined) if defined else [],
        "holm": plain_holm(defined),
        "bonferroni": [min(1.0, len(defined) * v) for v in defined],
    }
    for method, theirs in expected.items():
        ours = correct(labeled(p), method).values  # type: ignore[arg-type]
        np.testing.assert_array_equal(np.isnan(ours), nan)
        np.testing.assert_allclose(ours[~nan], theirs, rtol=4 * EPS)


@METHODS
def test_the_tests_of_one_dimension_belong_together_or_all_do(method: Method) -> None:
    p = labeled(np.random.default_rng(1).uniform(size=(7, 3)))
    p[2, 1] = np.nan
    along = correct(p, method, "unit")
    assert along.dims == p.dims
    for column in range(3):
        alone = correct(p[:, column], method)
        np.testing.assert_array_equal(along[:, column], alone)
    every = correct(p, method)
    np.testing.assert_array_equal(every.values.ravel(), correct(labeled(p.values.ravel()), method))
    xr.testing.assert_identical(every, correct(p, method, ["contrast", "unit"]))
    xr.testing.assert_identical(correct(p.T, method, "unit"), along.T)


@METHODS
def test_order_is_kept_and_nothing_gets_smaller(method: Method) -> None:
    p = np.sort(np.random.default_rng(2).uniform(size=40))
    adjusted = correct(labeled(p), method).values
    assert (np.diff(adjusted) >= 0).all()
    assert (adjusted >= p * (1 - EPS)).all()
    assert adjusted.max() <= 1


def test_the_methods_stand_in_their_order() -> None:
    p = labeled(np.random.default_rng(3).uniform(size=40) ** 3)
    few, middle, many = (correct(p, m) for m in ("bonferroni", "holm", "fdr_bh"))
    assert (few >= middle).all()
    assert (middle >= many * (1 - 4 * EPS)).all()
    assert (few > middle).any()
    assert (middle > many).any()


def test_the_errors_are_as_few_as_promised() -> None:
    """20 tests, 8 of which are of something, many times."""
    experiments, null, alpha = 4000, 12, 0.1
    z = np.random.default_rng(4).normal(size=(20, experiments))
    z[null:] += 3
    p = labeled(2 * stats.norm.sf(np.abs(z)))
    found = {m: correct(p, m, "unit").values <= alpha for m in ("holm", "fdr_bh", "bonferroni")}
    # Of independent tests the rate of Benjamini & Hochberg is exactly alpha m0 / m. The share of
    # one experiment is in 0 to 1 and its mean 0.06, so its variance is below 0.06.
    false, positive = found["fdr_bh"][:null].sum(0), found["fdr_bh"].sum(0)
    rate = (false / np.maximum(positive, 1)).mean()
    expected = alpha * null / 20
    assert rate == pytest.approx(expected, abs=4 * np.sqrt(expected / experiments))
    # Bonferroni: 1 - (1 - alpha / 20)^12 of them with any false positive. Holm: alpha at most.
    any_false = {m: found[m][:null].any(0).mean() for m in found}
    expected = 1 - (1 - alpha / 20) ** null
    error = 4 * np.sqrt(alpha * (1 - alpha) / experiments)
    assert any_false["bonferroni"] == pytest.approx(expected, abs=error)
    assert any_false["holm"] <= alpha + error
    power = {m: found[m][null:].mean() for m in found}
    assert power["bonferroni"] < power["holm"] < power["fdr_bh"]


def test_coordinates_stay() -> None:
    p = xr.DataArray([0.1, 0.2], {"unit": [3, 4], "layer": "conv"}, dims="unit")
    assert set(correct(p).coords) == {"unit", "layer"}


@pytest.mark.parametrize("wrong", [-0.1, 1.5, np.inf])
def test_what_is_no_probability_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match=f"p={wrong:g} is not between 0 and 1"):
        correct(labeled([0.5, wrong, np.nan]))


def test_another_method_is_refused() -> None:
    with pytest.raises(KeyError, match="method='sidak' is none of holm, fdr_bh, bonferroni"):
        correct(labeled([0.5]), "sidak")  # type: ignore[arg-type]


def test_another_dimension_is_refused() -> None:
    with pytest.raises(KeyError, match="dim='x' is none of p, which has unit"):
        correct(labeled([0.5]), dim="x")


@METHODS
def test_a_dask_array_is_adjusted_as_its_numbers(method: Method) -> None:
    p = labeled(np.random.default_rng(5).uniform(size=(9, 2)))
    lazy = correct(p.chunk(unit=2), method)
    assert lazy.chunks
    xr.testing.assert_identical(lazy.compute(), correct(p, method))
