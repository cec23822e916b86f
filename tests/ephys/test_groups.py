"""Groups: who is in which, and what is refused."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from ephys.groups import SAME, clustered, contiguous, declared, fingerprint, numbered, of_layer
from ephys.similarity import circular, cosine, scalar


def test_neighbors_are_together() -> None:
    np.testing.assert_array_equal(contiguous(64, 8), np.repeat(np.arange(8), 8))
    np.testing.assert_array_equal(of_layer(96, 2), np.repeat([0, 1], 48))


def test_some_channels_of_a_layer_take_their_groups() -> None:
    channel = xr.DataArray([9, 0, 63], dims="unit")
    np.testing.assert_array_equal(contiguous(64, 8)[channel], [1, 0, 7])


def test_who_is_not_declared_is_in_no_group() -> None:
    found = declared(5, {"grey": range(2), "a longer name": [4]})
    assert found.values.tolist() == ["grey", "grey", "", "", "a longer name"]
    np.testing.assert_array_equal(
        numbered(declared(5, {"b": [0, 1], "a": [3]}), 5), [1, 1, -1, 0, -1]
    )


@pytest.mark.parametrize("method", ["average", "complete", "ward"])
def test_units_in_clusters_are_found(method: str) -> None:
    planted = np.random.default_rng(1).integers(4, size=40)
    angle = 45.0 * planted + np.random.default_rng(2).uniform(-8, 8, 40)
    found = clustered(circular(angle, period=180), 4, method)  # type: ignore[arg-type]
    pairs = set(zip(planted.tolist(), found.values.tolist(), strict=True))
    assert len(pairs) == 4  # one name for one


def test_there_are_as_many_clusters_as_asked_for_also_of_units_that_tie() -> None:
    found = clustered(circular([0, 60, 120] * 3, period=180), 5)
    assert len(np.unique(found)) == 5


def test_a_unit_without_the_property_is_in_no_cluster() -> None:
    found = clustered(scalar([0, np.nan, 5, 6, 0.5], weight=[1, 1, 1, 1, 0]), 2)
    assert found.values.tolist() == ["cluster 1", "", "cluster 2", "cluster 2", ""]


@pytest.mark.parametrize(
    "labels", [[3, 3, 7, 7], [True, True, False, False], ["b", "b", "a", "a"], [0.5, 0.5, 1, 1]]
)
def test_any_labels_do(labels: list[object]) -> None:
    first, second = numbered(np.array(labels), 4)[[0, 2]]
    assert {first, second} == {0, 1}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 0, 0], r"^groups: there are 1; two or more"),
        (["", "a", "a"], r"^groups: there are 1; two or more"),
        ([0, 1, 2], r"^groups: all 3 have one unit, and no two to compare"),
        ([0, 1], r"^groups are of shape \(2,\); give one for each of 3 units"),
        ([0, 1, np.nan], r"^groups: that of unit 2 is nan; name it, or give '' to leave it out$"),
        (["a", None, "a"], r"^groups: that of unit 1 is None; name it, or give ''"),
        (["a", "a", np.nan], r"^groups: that of unit 2 is nan; name it"),
        (pd.array(["a", pd.NA, "a"], dtype="string"), r"^groups: that of unit 1 is <NA>; name it"),
        (pd.Categorical(["a", "a", None]), r"^groups: that of unit 2 is nan; name it"),
    ],
)
def test_what_divides_nothing_is_refused(labels: list[object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        numbered(labels, 3)  # type: ignore[arg-type]


def test_an_empty_word_leaves_a_unit_out_also_among_numbers() -> None:
    np.testing.assert_array_equal(numbered([0.5, "", 1.5, 1.5], 4), [0, -1, 1, 1])  # type: ignore[arg-type]


def test_a_fingerprint_is_that_of_one_similarity_in_one_order() -> None:
    vectors = np.random.default_rng(1).normal(size=(30, 5))
    similarity = cosine(vectors).values
    own = fingerprint(similarity)
    for same in (3 * vectors, 0.1 * vectors, vectors.astype(np.float32)):
        assert abs(fingerprint(cosine(same).values) - own) < SAME
    assert abs(fingerprint(1 - 0.3 * (1 - similarity)) - own) < SAME  # in another unit
    for other in (vectors[::-1], vectors[:28], vectors + 0.01, np.abs(vectors)):
        assert abs(fingerprint(cosine(other).values) - own) > 10 * SAME
    # of angles evenly around the circle, the same number of all pairs are as far apart
    even, turned = (
        circular([0, 45, 90, 135] * 8, period=180),
        circular([0, 90, 45, 135] * 8, period=180),
    )
    assert abs(fingerprint(even.values) - fingerprint(turned.values)) > 10 * SAME


def test_other_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^size=7 does not divide 64 units into whole groups$"):
        contiguous(64, 7)
    with pytest.raises(ValueError, match=r"^size=0 does not divide 64 units"):
        contiguous(64, 0)
    with pytest.raises(ValueError, match=r"^groups=1: the layer has no groups"):
        of_layer(64, 1)
    with pytest.raises(ValueError, match=r"^groups=3 do not divide 64 units"):
        of_layer(64, 3)
    with pytest.raises(ValueError, match=r"^unit 1 is in 'a' and in 'b'; choose one"):
        declared(3, {"a": [0, 1], "b": [1]})
    with pytest.raises(ValueError, match=r"^group 'a': unit 3 is not one of 0 to 2"):
        declared(3, {"a": [3]})
    with pytest.raises(ValueError, match=r"^group 'a': unit -1 is not one of 0 to 2"):
        declared(3, {"a": [-1]})
    for units in ([0.7, 1.9], np.array([0.7])):
        with pytest.raises(ValueError, match=r"^group 'a': unit 0.7 is not one of 0 to 4"):
            declared(5, {"a": units})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=r"^the empty word is for units in no group"):
        declared(3, {"": [0]})
    with pytest.raises(ValueError, match=r"^count=4 is not between 2 and the 3 units"):
        clustered(scalar([1, 2, 3]), 4)
    with pytest.raises(KeyError, match=r"method='single' is none of average, complete, ward"):
        clustered(scalar([1, 2, 3]), 2, "single")  # type: ignore[arg-type]
