"""Several processes record what one records, even if one of them is killed on the way.

Run by ``torchrun``, this file is the program of its own tests: it does the steps that its argument
lists, and each rank notes beside the store what it did.
"""

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from click.testing import CliRunner
from torch import nn

from ephys.cli import main
from ephys.models.input_format import InputFormat
from ephys.ranks import Ranks, ranks
from ephys.recording import record
from ephys.stimuli import StimulusSet, grating, sweep
from ephys.stimuli.protocols import PROTOCOLS, contrast_invariance

FORMAT = InputFormat(channels=1, height_px=16, width_px=16, pixels_per_degree=4)
STIMULI = sweep(
    grating,
    spatial_frequency=[0.5, 1],
    contrast=np.arange(1, 6) / 5,
    orientation=np.arange(0, 180, 5),
    phase=np.arange(0, 360, 45),
)
CHUNKS = 12  # eleven of 256 stimuli, and one of 64
FEW = partial(
    contrast_invariance,
    spatial_frequencies=2,
    contrasts=(0.1, 0.5, 0.9),
    orientations=12,
    phases=16,
)
PROBE = ["probe", "superres-gabor", "--protocol", "few", "--device", "cpu", "-q"]
PATIENCE = 300  # seconds that a launch of a few may take on a busy machine

Content = tuple[list[str], dict[str, Any], dict[str, tuple[Any, ...]]]


def recorded(path: Path | None, stimuli: StimulusSet = STIMULI, resume: bool = True) -> xr.Dataset:
    model = nn.Sequential(nn.Conv2d(1, 4, 5, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 8, 3))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator) - 0.5)
    return record(model, stimuli, ["0", "2"], input_format=FORMAT, path=path, resume=resume)


# The program.


def share(path: str) -> None:
    """Record, and note which chunks were written by this rank, which at last waits for all."""
    mine: list[str] = []
    on_chunk(path, mine.append)
    recorded(Path(path))
    us = ranks()
    time.sleep(0.2 * us.rank)  # so that the first would be too early, were it not to wait
    notes_of(path, us.rank).write_text(json.dumps([us.rank, us.count, mine]))
    us.wait()
    assert all(notes_of(path, rank).exists() for rank in range(us.count))


def be_refused(path: str) -> None:
    """Ask for what all ranks refuse, which leaves them in step."""
    for refusal, attempt in [
        (FileExistsError, partial(recorded, Path(path), resume=False)),
        (ValueError, partial(recorded, Path(path), STIMULI[::-1])),
    ]:
        with pytest.raises(refusal):
            attempt()


def die(path: str, rank: int) -> None:
    """Record until the given rank has written one chunk, and is about to finish another."""
    written: list[str] = []

    def count(chunk: str) -> None:
        written.append(chunk)
        if len(written) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    if ranks().rank == rank:
        on_chunk(path, count)
    recorded(Path(path))


def probe(out: str) -> None:
    """``python -m ephys probe``, of a few stimuli, in the place of another run."""
    PROTOCOLS["few"] = FEW
    for options in (["-o", out], ["--overwrite", "-o", out]):
        sys.argv = ["ephys", *PROBE, *options]
        with suppress(SystemExit):
            runpy.run_module("ephys", run_name="__main__")


def on_chunk(path: str, do: Callable[[str], None]) -> None:
    """Do something just before a chunk of responses is in its place."""
    folder = Path(path) / "response"

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename" and Path(arguments[1]).parent == folder:
            chunk = Path(arguments[1]).name
            if chunk[0].isdigit():
                do(chunk)

    sys.addaudithook(hook)


def notes_of(path: str | Path, rank: int) -> Path:
    return Path(f"{path}.{rank}.json")


STEPS: dict[str, Callable[..., None]] = {
    step.__name__: step for step in (share, be_refused, die, probe)
}


# The tests.


def torchrun(processes: int, *steps: tuple[Any, ...]) -> subprocess.CompletedProcess[str]:
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run(
        [sys.executable, *launch, __file__, json.dumps(steps, default=str)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def content(path: Path) -> Content:
    """The files of a store, its attributes, and all of its arrays, bit for bit."""
    group = zarr.open_group(path, mode="r")
    files = sorted(str(file.relative_to(path)) for file in path.rglob("*"))
    arrays = {
        name: (a.shape, a.chunks, a.dtype, dict(a.attrs), np.asarray(a[...]).tobytes())
        for name, a in group.arrays()
    }
    return files, dict(group.attrs), arrays


def chunks(path: Path) -> list[int]:
    """Which are there."""
    return sorted(int(file.stem) for file in (path / "response").glob("*.0"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording by one process."""
    path = tmp_path_factory.mktemp("alone") / "responses.zarr"
    recorded(path)
    assert chunks(path) == list(range(CHUNKS))
    return path


@pytest.fixture(scope="module")
def two(alone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes recorded, resumed and probed, before the second was killed."""
    folder = tmp_path_factory.mktemp("two")
    fresh, resumed, run, torn = (folder / name for name in ("fresh", "resumed", "run", "torn"))
    shutil.copytree(alone, resumed)
    for chunk in (3, 5, 7, 9, 11):  # as the second of two leaves it when it is killed
        (resumed / "response" / f"{chunk}.0").unlink()
    (resumed / "response" / f"3.{'0' * 32}.partial").write_bytes(b"half")
    steps = ("share", fresh), ("be_refused", fresh), ("share", resumed), ("probe", run)
    launched = torchrun(2, *steps, ("die", torn, 1))
    assert launched.returncode == 1, launched.stderr
    assert "Signal 9 (SIGKILL)" in launched.stderr
    assert launched.stdout.splitlines()[-1] == str(run / "report.html")
    assert launched.stdout.count("report.html") == 2  # the first rank says it, of each run
    assert {chunk for chunk in chunks(torn) if chunk % 2} == {1}  # of 1, 3, 5, ...
    assert len(list((torn / "response").glob("*.partial"))) == 1
    return folder


@pytest.fixture(scope="module")
def four(two: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where four processes recorded and resumed, before the first was killed."""
    folder = tmp_path_factory.mktemp("four")
    fresh, resumed, torn = (folder / name for name in ("fresh", "resumed", "torn"))
    shutil.copytree(two / "torn", resumed)
    launched = torchrun(4, ("share", fresh), ("share", resumed), ("die", torn, 0))
    assert launched.returncode == 1, launched.stderr
    assert "Signal 9 (SIGKILL)" in launched.stderr
    assert {chunk for chunk in chunks(torn) if chunk % 4 == 0} == {0}  # of 0, 4 and 8
    return folder


@pytest.mark.parametrize(("folder", "processes"), [("two", 2), ("four", 4)])
def test_ranks_record_and_resume_what_one_process_records(
    request: pytest.FixtureRequest, alone: Path, folder: str, processes: int
) -> None:
    place: Path = request.getfixturevalue(folder)
    for path in (place / "fresh", place / "resumed"):
        assert content(path) == content(alone)
        notes = [json.loads(notes_of(path, rank).read_text()) for rank in range(processes)]
        assert [note[:2] for note in notes] == [[rank, processes] for rank in range(processes)]
        shares = [share for _, _, share in notes]
        assert len(set().union(*shares)) == sum(map(len, shares))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
        if path.name == "fresh":
            assert sum(map(len, shares)) == CHUNKS


def test_what_several_began_one_finishes(alone: Path, two: Path, four: Path) -> None:
    for begun in (two / "torn", four / "torn"):
        assert len(chunks(begun)) < CHUNKS
        recorded(begun)
        assert content(begun) == content(alone)


def test_ranks_probe_what_one_process_probes(
    two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROTOCOLS, "few", FEW)
    several, one = two / "run", tmp_path / "run"
    result = CliRunner().invoke(main, [*PROBE, "-o", str(one)])
    assert result.exit_code == 0, result.output
    stores = [content(run / "responses.zarr" / "few") for run in (several, one)]
    assert stores[0][1].pop("command") == f"ephys {' '.join(PROBE)} --overwrite -o {several}"
    del stores[1][1]["command"]
    assert stores[0] == stores[1]
    for table in ("units.csv", "population.csv"):
        assert (several / table).read_bytes() == (one / table).read_bytes()


def test_in_memory_each_rank_records_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = recorded(None)
    monkeypatch.setattr("ephys.recording.ranks", lambda: Ranks(1, 2))
    xr.testing.assert_identical(recorded(None), alone)


@pytest.mark.parametrize("world_size", [None, "1"])
def test_a_process_alone_waits_for_nobody(
    monkeypatch: pytest.MonkeyPatch, world_size: str | None
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if world_size:
        monkeypatch.setenv("WORLD_SIZE", world_size)
    assert ranks() == Ranks(rank=0, count=1)
    ranks().wait()


if __name__ == "__main__":
    for name, *arguments in json.loads(sys.argv[1]):
        STEPS[name](*arguments)
