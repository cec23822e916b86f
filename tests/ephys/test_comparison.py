"""Planted differences are found, with their sign; and where there are none, none are."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from ephys.comparison import compare, compare_runs, read_units, write_differences
from ephys.multiple_comparisons import correct
from ephys.responses import create_store

FEW = 200  # permutations


def units(
    protocol: str = "orientation", layer: str = "one", count: int = 40, **measures: Any
) -> pd.DataFrame:
    """Rows of units.csv."""
    place = {"channel": range(count), "row": 3.0, "column": 4.0, "rf_x": 0.1, "rf_y": 0.2}
    return pd.DataFrame({"protocol": protocol, "layer": layer, **place, **measures})


def by_measure(table: pd.DataFrame, **how: Any) -> dict[str, dict[str, Any]]:
    """The rows of a comparison by their measures."""
    rows = compare({"run": table}, permutations=FEW, **how).to_dict("records")
    return {row["measure"]: {str(name): value for name, value in row.items()} for row in rows}


def normal(seed: int, count: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=count)


def values(row: dict[str, Any], *names: str) -> list[float]:
    return [row[name] for name in names]


def layers(**populations: np.ndarray) -> pd.DataFrame:
    """A layer for each measured population of ``osi``."""
    return pd.concat([units(layer=name, count=len(v), osi=v) for name, v in populations.items()])


def write_run(
    run: Path, table: pd.DataFrame, angles: Iterable[str] = (), sha256: dict[str, str] | None = None
) -> Path:
    """What ``ephys analyze`` leaves, of what is compared."""
    run.mkdir(parents=True)
    table.to_csv(run / "units.csv", index=False)
    period = [180.0 if name in angles else None for name in table.columns]
    columns = pd.DataFrame({"column": table.columns, "units": "1", "period": period})
    columns.to_csv(run / "units_columns.csv", index=False)
    for protocol, digest in (sha256 or {}).items():
        one = xr.Dataset({"blank": ("unit", np.zeros(1))}, attrs={"stimuli_sha256": digest})
        one = one.assign_coords(contrast=("stimulus", np.ones(1)))
        (run / "responses.zarr").mkdir(exist_ok=True)
        create_store(run / "responses.zarr" / protocol, one, chunk=1)
    return run


# What differs.


def test_a_planted_difference_is_found_as_the_later_layer_less_the_earlier() -> None:
    one, two = normal(1), normal(2, 50) + 2
    (row,) = compare({"run": layers(one=one, two=two)}).to_dict("records")
    assert (row["layer_a"], row["layer_b"], row["statistic"]) == ("two", "one", "median")
    assert (row["count_a"], row["count_b"]) == (50, 40)
    assert (row["value_a"], row["value_b"]) == (np.median(two), np.median(one))
    assert row["difference"] == np.median(two) - np.median(one)
    assert row["low"] < 2 < row["high"]
    assert row["effect_size"] == pytest.approx(np.sign(two[:, None] - one).mean(), abs=1e-12)
    assert row["p"] == row["p_corrected"] == 1 / 10_001
    assert row["permutations"] == 10_000
    assert "run_a" not in row


def test_layers_of_one_distribution_seldom_differ_in_any_of_many_measures() -> None:
    """Holm keeps the chance of a single false positive among ten below 0.05."""
    experiments, wrong = 200, 0
    for seed in range(experiments):
        rng = np.random.default_rng(seed)
        tables = [
            units(layer=layer, count=30).assign(**{f"m{i}": rng.normal(size=30) for i in range(10)})
            for layer in ("one", "two")
        ]
        found = compare({"run": pd.concat(tables)}, permutations=1000, measures=["m*"])
        assert len(found) == 10
        wrong += found["p_corrected"].min() <= 0.05
    assert wrong / experiments <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / experiments)
    assert wrong > 0  # it is no test that never finds anything


@pytest.mark.parametrize("correction", ["holm", "fdr_bh", "bonferroni"])
def test_p_is_corrected_across_the_whole_table(correction: Any) -> None:
    tables = [
        units(protocol, layer, osi=normal(seed) + shift, width=normal(seed + 10))
        for seed, (protocol, layer, shift) in enumerate(
            [("a", "one", 0), ("a", "two", 0.7), ("b", "one", 0), ("b", "two", 0.5)]
        )
    ]
    found = compare({"run": pd.concat(tables)}, permutations=500, correction=correction)
    assert found["protocol"].tolist() == ["a", "a", "b", "b"]
    assert found["measure"].tolist() == ["osi", "width"] * 2
    expected = correct(xr.DataArray(found["p"].to_numpy(), dims="test"), correction)
    np.testing.assert_array_equal(found["p_corrected"], expected)


def test_units_without_a_value_are_left_out_and_a_layer_without_any_has_no_test() -> None:
    some = normal(1)
    some[:15] = np.nan
    some[15] = np.inf
    table = pd.concat(
        [
            units(layer="one", osi=normal(2), width=normal(3), never=np.nan),
            units(layer="two", osi=some, width=np.nan, never=np.nan),
        ]
    )
    found = by_measure(table)
    assert list(found) == ["osi", "width"]
    assert found["osi"]["count_a"] == 24
    assert found["osi"]["value_a"] == np.median(some[16:])
    assert (found["width"]["count_a"], found["width"]["count_b"]) == (0, 40)
    empty = ["value_a", "difference", "low", "high", "effect_size", "p", "p_corrected"]
    assert all(np.isnan(found["width"][name]) for name in empty)
    # A test that was not made is not corrected for.
    assert found["osi"]["p"] == found["osi"]["p_corrected"]


def test_words_and_flags_are_shares() -> None:
    table = pd.concat(
        [
            units(
                layer=layer,
                count=5,
                cell_class=["simple", "complex", "complex", "", ""],
                best_part=["center", *4 * [part]],
                best_file=[f"{layer}_{i}.jpg" for i in range(5)],  # ten words, too many
                answers=[True, True, False, False, True],
                von_mises_converged=[1.0, 1.0, 1.0, 1.0, np.nan],
                osi=[0.0, 0.0, 1.0, 1.0, 1.0],  # and not a share by chance
            )
            for layer, part in (("one", "center"), ("two", "surround"))
        ]
    )
    found = by_measure(table)
    assert {name: row["statistic"] for name, row in found.items()} == {
        **{"cell_class: simple": "share", "best_part: center": "share"},
        **{"best_part: surround": "share", "answers": "share", "von_mises_converged": "share"},
        "osi": "median",
    }
    assert values(found["cell_class: simple"], "count_a", "value_a") == [3, 1 / 3]
    assert values(found["best_part: surround"], "value_a", "value_b") == [4 / 5, 0]
    assert values(found["answers"], "count_a", "value_a") == [5, 3 / 5]
    assert values(found["von_mises_converged"], "count_a", "value_a") == [4, 1]


def test_a_tables_columns_of_places_and_angles_are_no_measures() -> None:
    table = pd.concat(
        [
            units(
                layer=layer, osi=normal(1), best_x=normal(2), hue=normal(3), best_time=0.1
            ).assign(best_cone_l=1.0, best_elevation=90.0)
            for layer in ("one", "two")
        ]
    )
    found = compare({"run": table}, angles=["hue"], permutations=FEW)
    assert found["measure"].tolist() == ["osi"]
    with pytest.raises(ValueError, match=r"^hue is an angle, of which there is no median; name an"):
        compare({"run": table}, angles=["hue"], measures=["hue"])


def test_parameters_of_a_fit_that_failed_are_left_out() -> None:
    table = pd.concat(
        [
            units(
                layer=layer,
                count=4,
                von_mises_kappa=[1.0, 2.0, 50.0, 90.0],
                von_mises_r_squared=[0.9, 0.8, 0.7, 0.1],
                von_mises_at_bound=[0.0, 0.0, 0.0, 1.0],
                von_mises_converged=[1.0, 1.0, 0.0, 1.0],
                naka_rushton_c50=[0.1, 0.2, 9.0, 9.0],
                naka_rushton_extrapolated=[0.0, 0.0, 1.0, np.nan],
            )
            for layer in ("one", "two")
        ]
    )
    found = by_measure(table)
    assert values(found["von_mises_kappa"], "count_a", "value_a") == [2, 1.5]
    assert found["von_mises_r_squared"]["count_a"] == 4
    assert values(found["von_mises_at_bound"], "count_a", "value_a") == [4, 0.25]
    assert found["naka_rushton_c50"]["count_a"] == 2


def test_another_fit_whose_name_begins_alike_says_nothing_of_a_parameter() -> None:
    table = pd.concat(
        [
            units(
                layer=layer,
                count=4,
                gabor_converged=[1.0, 1.0, 1.0, 0.0],
                gabor_pair_gain=[1.0, 2.0, 3.0, 4.0],
                gabor_pair_converged=[0.0, 1.0, 1.0, 1.0],
            )
            for layer in ("one", "two")
        ]
    )
    assert values(by_measure(table)["gabor_pair_gain"], "count_a", "value_a") == [3, 3]


def test_properties_are_of_units_that_respond_enough_for_their_study() -> None:
    properties = dict.fromkeys(("max_dc", "response_ringach2002"), np.array([9.0, 8.0, 1.0]))
    table = pd.concat([units(layer=name, count=3).assign(**properties) for name in ("one", "two")])
    other = pd.concat([units("size", name, count=3, max_dc=[1.0, 2, 3]) for name in ("one", "two")])
    found = compare({"run": pd.concat([table, other])}, permutations=FEW)
    counts = found.set_index(["protocol", "measure"])["count_a"]
    assert counts["orientation", "max_dc"] == 2
    assert counts["orientation", "response_ringach2002"] == counts["size", "max_dc"] == 3


def test_the_same_seed_gives_the_same_table() -> None:
    table = layers(one=normal(1), two=normal(2))
    first, same, other = (compare({"run": table}, seed=s, permutations=FEW) for s in (1, 1, 2))
    pd.testing.assert_frame_equal(first, same)
    assert first["p"][0] != other["p"][0]


def test_so_many_tests_that_none_could_be_certain_are_warned_of() -> None:
    table = layers(one=normal(1), two=normal(2), three=normal(3))
    text = "3 tests by 50 permutations leave no p, corrected, below 0.059; compare fewer layers or"
    with pytest.warns(UserWarning, match=re.escape(text)):
        compare({"run": table}, permutations=50)
    compare({"run": table}, permutations=50, correction="fdr_bh")  # all of them could be


# What is compared with what.


def sides(found: pd.DataFrame) -> list[tuple[str, str]]:
    names = [
        found[f"layer_{side}"]
        if f"run_{side}" not in found
        else found[f"run_{side}"] + "/" + found[f"layer_{side}"]
        for side in "ab"
    ]
    return list(zip(*names, strict=True))


def test_in_a_run_every_layer_is_compared_with_those_before_it_or_with_the_last() -> None:
    table = layers(one=normal(1), two=normal(2), three=normal(3))
    assert sides(compare({"run": table}, permutations=FEW)) == [
        *(("two", "one"), ("three", "one"), ("three", "two"))
    ]
    successive = compare({"run": table}, successive=True, permutations=FEW)
    assert sides(successive) == [("two", "one"), ("three", "two")]
    chosen = compare({"run": table}, layers=["one", "re:th.*"], permutations=FEW)
    assert sides(chosen) == [("three", "one")]


def test_between_runs_layers_of_one_name_are_compared() -> None:
    first, second = layers(one=normal(1), two=normal(2)), layers(two=normal(3), four=normal(4))
    assert sides(compare({"old": first, "new": second}, permutations=FEW)) == [
        ("new/two", "old/two")
    ]
    assert sides(compare({"old": first, "new": second, "last": first}, permutations=FEW)) == [
        *(("new/two", "old/two"), ("last/one", "old/one"), ("last/two", "old/two")),
        ("last/two", "new/two"),
    ]


def test_between_runs_without_such_layers_all_are() -> None:
    first, second = layers(one=normal(1), two=normal(2)), layers(three=normal(3))
    assert sides(compare({"old": first, "new": second}, permutations=FEW)) == [
        *(("new/three", "old/one"), ("new/three", "old/two"))
    ]


def test_only_measures_of_both_runs_are_compared() -> None:
    first = pd.concat([units(osi=normal(1), dsi=normal(2))])
    second = units(osi=normal(3), width=normal(4))
    found = compare({"old": first, "new": second}, permutations=FEW)
    assert found["measure"].tolist() == ["osi"]
    with pytest.raises(ValueError, match="no measure is of both runs"):
        compare({"old": first, "new": second}, measures=["dsi"])


def test_protocols_are_those_of_all_runs_or_those_asked_for() -> None:
    two = pd.concat([units("size", osi=normal(1)), units(osi=normal(2)), units("hue", osi=0.5)])
    one = pd.concat([units(osi=normal(3)), units("hue", osi=0.5)])
    found = compare({"old": two, "new": one}, permutations=FEW)
    assert found["protocol"].tolist() == ["orientation", "hue"]
    found = compare({"old": two, "new": one}, protocols=["hue"], permutations=FEW)
    assert found["protocol"].tolist() == ["hue"]


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"protocols": ["orientatoin"]}, "no protocol 'orientatoin' was shown; did you mean orien"),
        ({"layers": ["tow"]}, "there is no layer 'tow'; did you mean two"),
        ({"measures": ["gosi"]}, "there is no measure 'gosi'; did you mean osi"),
    ],
)
def test_a_name_that_is_not_there_is_answered_with_the_nearest(
    asked: dict[str, Any], text: str
) -> None:
    with pytest.raises(KeyError, match=re.escape(text)):
        compare({"run": layers(one=normal(1), two=normal(2))}, **asked)


@pytest.mark.parametrize(
    ("tables", "asked", "text"),
    [
        (
            {"run": units()},
            {},
            "run has one layer, one, and nothing to compare it with; name another run, or more lay",
        ),
        (
            {"a": units("size"), "b": units("hue")},
            {},
            "the runs share no protocol (a has size; b has hue); probe them with the same one",
        ),
        (
            {"a": pd.concat([units("size"), units("hue")]), "b": units("hue")},
            {"protocols": ["size"]},
            "b was not shown size; it has hue",
        ),
        (
            {"a": units(layer="one"), "b": units(layer="two")},
            {"layers": ["one"]},
            "b has none of these layers; name some of each run",
        ),
        (
            {"run": layers(one=normal(1), two=normal(2))},
            {"layers": ["re:("]},
            "'re:(' is no regular expression",
        ),
        (
            {"run": layers(one=normal(1), two=normal(2))},
            {"permutations": 0},
            "permutations=0 is below 1",
        ),
        ({}, {}, "there are no tables; give one of two layers or more, or several"),
    ],
    ids=[
        *("alone", "no protocol", "other protocol", "no layer", "expression", "permutations"),
        "no table",
    ],
)
def test_what_cannot_be_compared_is_refused(
    tables: dict[str, pd.DataFrame], asked: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        compare(tables, **asked)


def test_another_correction_is_refused_before_any_permutation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("ephys.comparison.differences")
    with pytest.raises(KeyError, match="correction='none' is none of holm, fdr_bh, bonferroni"):
        compare({"run": layers(one=normal(1), two=normal(2))}, correction="none")  # type: ignore[arg-type]


# Runs.


def test_a_run_is_read_with_the_names_of_its_layers_and_its_angles(tmp_path: Path) -> None:
    table = units(layer="0", preferred_orientation=normal(1), pref_or=normal(2), osi=normal(3))
    run = write_run(tmp_path / "run", table, angles=["preferred_orientation", "pref_or"])
    read, angles = read_units(run)
    assert set(read["layer"]) == {"0"}
    assert angles == ["preferred_orientation", "pref_or"]
    np.testing.assert_allclose(read["osi"], table["osi"], rtol=1e-15)


def test_runs_are_called_by_their_folders_and_angles_are_told(tmp_path: Path) -> None:
    tables = [units(osi=normal(seed), hue=normal(seed), empty=np.nan) for seed in (1, 2)]
    runs = [
        write_run(tmp_path / name, table, angles=["hue", "empty"])
        for name, table in zip(("old", "new"), tables, strict=True)
    ]
    found, angles = compare_runs(runs, permutations=FEW)
    assert angles == ["hue"]
    assert sides(found) == [("new/one", "old/one")]
    alike = [write_run(tmp_path / name / "same", tables[0]) for name in ("a", "b")]
    found, _ = compare_runs(alike, permutations=FEW, measures=["osi"])
    assert sides(found) == [(f"{alike[1]}/one", f"{alike[0]}/one")]
    assert (found["difference"][0], found["effect_size"][0]) == (0, 0)


def test_what_differs_between_the_experiments_is_warned_of(tmp_path: Path) -> None:
    table = pd.concat([units("hue", osi=normal(1)), units("size", osi=normal(2))])
    one = write_run(tmp_path / "one", table, sha256={"hue": "0", "size": "0"})
    two = write_run(tmp_path / "two", table, sha256={"hue": "0", "size": "1"})
    other = write_run(tmp_path / "other", units("hue", osi=normal(3)), sha256={"hue": "0"})
    with pytest.warns(UserWarning, match="^size has other stimuli in one run than in another"):
        compare_runs([one, two], permutations=FEW)
    with pytest.warns(UserWarning, match="^not in all runs, and left out: size$"):
        compare_runs([one, other], permutations=FEW)
    compare_runs([one, other], protocols=["hue"], permutations=FEW)  # as asked for
    both = pd.concat([layers(one=normal(1), two=normal(2)), units("size", width=normal(3))])
    compare_runs([write_run(tmp_path / "both", both)], measures=["osi"], permutations=FEW)


def test_a_folder_that_was_not_analyzed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=re.escape(f"there is no run {tmp_path / 'none'}")):
        read_units(tmp_path / "none")
    run = write_run(tmp_path / "run", units(osi=1.0))
    columns = pd.read_csv(run / "units_columns.csv").drop(columns="period")
    columns.to_csv(run / "units_columns.csv", index=False)
    with pytest.raises(ValueError, match=r"units_columns\.csv tells no angles; make it anew with:"):
        read_units(run)
    for name in ("units_columns.csv", "units.csv"):
        (run / name).unlink()
        text = f"{run} has no {name}; make it with: ephys analyze {run}"
        with pytest.raises(FileNotFoundError, match=re.escape(text)):
            read_units(run)


def test_a_run_is_not_compared_with_itself(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", units(osi=1.0))
    with pytest.raises(ValueError, match="is named twice; nothing differs from itself"):
        compare_runs([run, run])


def test_a_run_has_the_differences_of_its_layers_in_a_file(tmp_path: Path) -> None:
    table = layers(one=normal(1), two=normal(2) + 1, three=normal(3))
    run = write_run(tmp_path / "run", table)
    write_differences(run, seed=4)
    written = pd.read_csv(run / "differences.csv")
    expected = compare({"run": table}, successive=True, seed=4)
    pd.testing.assert_frame_equal(written, expected, rtol=1e-12)
    assert written["permutations"].tolist() == [10_000] * 2
    layers(one=normal(1)).to_csv(run / "units.csv", index=False)
    write_differences(run, seed=4)
    assert not (run / "differences.csv").exists()
