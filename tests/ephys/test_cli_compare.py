"""``ephys compare`` says in what layers and runs differ, and refuses in one line."""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from ephys.cli import main
from ephys.comparison import compare

HEAD = "protocol,layer,channel,row,column,rf_x,rf_y,preferred_orientation,osi,cell_class\n"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def ephys(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    """The one line with which a command is refused, with status 1 and nothing on stdout."""
    result = ephys(*arguments)
    assert isinstance(result.exception, SystemExit), result.exception
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("Error: ").rstrip("\n")


def write_run(name: str, **layers: list[float]) -> Path:
    """Tables of a run whose layers have a selectivity each, and simple cells where it is above 0.5.

    With two units or more, the first has none.
    """
    run = Path(name)
    run.mkdir()
    lines = [
        f"orientation,{layer},{i},0,0,0.0,0.0,{i},{osi if i else ''},"
        f"{'simple' if osi > 0.5 else 'complex'}\n"
        for layer, values in layers.items()
        for i, osi in enumerate(values)
    ]
    (run / "units.csv").write_text(HEAD + "".join(lines))
    columns = HEAD.strip().split(",")
    period = [180.0 if column == "preferred_orientation" else None for column in columns]
    pd.DataFrame({"column": columns, "period": period}).to_csv(run / "units_columns.csv")
    return run


FLAT, TUNED = [0.1] * 21, [0.8] * 21


def test_the_layers_of_a_run_are_compared() -> None:
    run = write_run("run", conv1=FLAT, conv2=TUNED)
    result = ephys("compare", run)
    assert (result.exit_code, result.stderr) == (0, "")
    # All of one exceed all of the other, and no permutation was like that: 2 / 10,001.
    assert result.stdout.splitlines() == [
        "orientation: conv2 less conv1",
        "                       units  difference [95 %]  delta        p",
        "  osi                 20, 20     0.7 [0.7, 0.7]   1.00  ≤0.0002",
        "  cell_class: simple  21, 21  100% [100%, 100%]   1.00  ≤0.0002",
        "Differences are of medians over units, or shares of them (%), with bootstrap intervals.",
        "delta is Cliff's: P(a unit of the first exceeds one of the second) - P(the reverse).",
        "p is of permutation tests of delta, corrected for all 2 of them by Holm.",
        "≤ is before the least p that so many permutations can tell.",
        "Angles have no median, and are left out: preferred_orientation.",
    ]


def test_runs_are_compared_layer_by_layer() -> None:
    old, new = write_run("old", conv1=TUNED, conv2=FLAT), write_run("new", conv1=FLAT, conv2=FLAT)
    arguments = ("compare", old, new, "--measure", "o*", "--correction", "fdr_bh")
    lines = ephys(*arguments).stdout.splitlines()
    assert lines[:6] == [
        "orientation: new: conv1 less old: conv1",
        "        units  difference [95 %]  delta        p",
        "  osi  20, 20  -0.7 [-0.7, -0.7]  -1.00  ≤0.0002",
        "orientation: new: conv2 less old: conv2",
        "        units  difference [95 %]  delta        p",
        "  osi  20, 20           0 [0, 0]   0.00        1",
    ]
    assert lines[-2].endswith("corrected for all 2 of them by Benjamini and Hochberg.")


def test_how_fits_went_is_only_said_where_that_was_asked() -> None:
    run = write_run("run", conv1=FLAT, conv2=TUNED)
    table = (run / "units.csv").read_text().replace("osi", "fit_r_squared")
    (run / "units.csv").write_text(table)
    assert "fit_r_squared" not in ephys("compare", run).stdout
    assert "  fit_r_squared  20, 20 " in ephys("compare", run, "--measure", "fit_*").stdout
    rows = json.loads(ephys("compare", run, "--json").stdout)
    assert rows[0]["measure"] == "fit_r_squared"


def test_the_table_is_written_where_that_was_asked() -> None:
    rng = np.random.default_rng(0)
    run = write_run("run", conv1=rng.random(30).tolist(), conv2=rng.random(30).tolist())
    result = ephys("compare", run, "-o", "table.csv", "--seed", 3, "--permutations", 500)
    assert result.stdout.splitlines()[-1] == "table.csv"
    names = {"protocol": str, "layer": str}
    units = pd.read_csv(run / "units.csv", dtype=names)
    expected = compare({"run": units}, angles=["preferred_orientation"], permutations=500, seed=3)
    pd.testing.assert_frame_equal(pd.read_csv("table.csv"), expected, rtol=1e-12)
    assert sorted(path.name for path in run.iterdir()) == ["units.csv", "units_columns.csv"]


def test_json_has_every_number_and_nothing_else() -> None:
    run = write_run("run", conv1=[0.2], conv2=TUNED)
    result = ephys("compare", run, "--json")
    rows = {row["measure"]: row for row in json.loads(result.stdout)}
    assert set(rows) == {"osi", "cell_class: simple"}
    assert rows["osi"]["count_b"] == 0
    assert rows["osi"]["p"] is None
    assert rows["cell_class: simple"]["difference"] == 1


def test_what_is_undefined_is_a_dash_and_comes_last() -> None:
    lines = ephys("compare", write_run("run", conv1=[0.2, 0.3], conv2=TUNED)).stdout.splitlines()
    assert lines[3].split() == ["osi", "20,", "1", "0.5", "[0.5,", "0.5]", "1.00", "–"]
    lines = ephys("compare", write_run("other", conv1=[0.2], conv2=TUNED)).stdout.splitlines()
    assert lines[3].split() == ["osi", "20,", "0", "–", "–", "–"]


def test_other_protocols_are_left_out_with_a_warning() -> None:
    run, more = write_run("run", conv1=FLAT), write_run("more", conv1=FLAT)
    with (more / "units.csv").open("a") as file:
        file.write("size,conv1,0,0,0,0.0,0.0,0,0.5,\n")
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # the command prints it, where pytest would raise it
        result = ephys("compare", run, more)
    assert result.stderr == "Warning: not in all runs, and left out: size\n"
    assert result.stdout.startswith("orientation: more: conv1 less run: conv1\n")


def test_what_cannot_be_compared_is_refused_in_a_line() -> None:
    run = write_run("run", conv1=FLAT)
    assert refused("compare", run) == (
        "run has one layer, conv1, and nothing to compare it with; name another run, or more layers"
    )
    assert refused("compare", "nowhere") == "there is no run nowhere"
    Path("empty").mkdir()
    assert refused("compare", "empty", run) == (
        "empty has no units.csv; make it with: ephys analyze empty"
    )
    assert refused("compare", run, run) == "the run run is named twice; nothing differs from itself"
    other = write_run("other", conv1=FLAT)
    table = (other / "units.csv").read_text()
    assert refused("compare", run, other, "--measure", "preferred_orientation") == (
        "preferred_orientation is an angle, of which there is no median; name another"
    )
    assert refused("compare", run, other, "--layers", "conv") == (
        "there is no layer 'conv'; did you mean conv1?"
    )
    (other / "units.csv").write_text(table.replace("orientation,conv", "size,conv"))
    assert refused("compare", run, other) == (
        "the runs share no protocol (run has orientation; other has size); probe them with the "
        "same one"
    )
    (other / "units.csv").write_text(table.replace("osi,cell_class", "dsi,dsi_class"))
    assert refused("compare", run, other) == (
        "no measure is of both runs; choose other protocols or measures"
    )
    assert ephys("compare").exit_code == 2


def test_a_probe_leaves_the_differences_of_its_layers_in_its_folder_and_report() -> None:
    Path("small.yaml").write_text(
        "name: small\nstimuli:\n- family: grating\n  orientation: {start: 0, step: 30, count: 6}\n"
        "  spatial_frequency: [1, 2]\n  phase: [0, 90, 180, 270]\n"
    )
    arguments = ("superres-divnormei", "--protocol", "small.yaml", "-o", "run", "-q")
    result = ephys("probe", *arguments)
    assert result.exit_code == 0, result.output
    assert ephys("compare", "run", "-o", "table.csv").exit_code == 0
    assert Path("run/differences.csv").read_bytes() == Path("table.csv").read_bytes()
    table = pd.read_csv("table.csv").set_index("measure")
    assert {"gosi", "half_width", "cell_class: simple", "blank"} <= set(table.index)
    angles = {"preferred_orientation", "best_orientation", "best_phase", "von_mises_preferred"}
    assert not angles & set(table.index)
    units = pd.read_csv("run/units.csv").groupby("layer")["gosi"].median()
    for column, layer in (("value_a", "normalization"), ("value_b", "gabor_bank")):
        assert table[column]["gosi"] == pytest.approx(units[f"encoder.{layer}"], rel=1e-12)
    assert "encoder.normalization less encoder.gabor_bank" in Path("run/report.html").read_text()
