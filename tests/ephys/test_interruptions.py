"""Recordings that were killed, interrupted, out of disk or damaged come to the same end.

Run as a program, this file is the rig of its own tests: a process that has torch imported, and for
each job on stdin forks another that records. Starting one afresh would take seconds each time.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ctypes import CDLL, c_uint32
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from torch import nn

from ephys import recording
from ephys.analysis import by_layer, read_responses
from ephys.models.input_format import InputFormat
from ephys.recording import record
from ephys.responses import open_store
from ephys.stimuli import grating, sweep

FORMAT = InputFormat(channels=1, height_px=16, width_px=16, pixels_per_degree=4)
STIMULI = sweep(
    grating,
    spatial_frequency=[0.5, 1],
    contrast=np.arange(1, 6) / 5,
    orientation=np.arange(0, 180, 5),
    phase=np.arange(0, 360, 45),
)
CHUNK = recording.MOST_AT_ONCE  # stimuli in a chunk: 2880 are eleven such and 64
INTERRUPTED, REFUSED = 130, 1  # exit statuses of a recording, besides signals
PATIENCE = 120  # seconds in which a recording of a fraction of a second must have ended

Content = tuple[list[str], dict[str, Any], dict[str, tuple[Any, ...]]]


def go_on(path: Path) -> None:
    """Record, or go on with what is recorded already."""
    model = nn.Sequential(nn.Conv2d(1, 4, 5, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 8, 3))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator) - 0.5)
    record(model, STIMULI, ["0", "2"], input_format=FORMAT, path=path, resume=True)


# What is done in a process of its own.


def plainly(path: str) -> None:
    go_on(Path(path))


def signaled(path: str, number: int, write: int) -> None:
    """Record until the signal comes, just before the folder is changed for so many times."""
    changes = count(1)

    def send(_: str) -> None:
        if next(changes) == write:
            os.kill(os.getpid(), number)

    on_change(path, send)
    go_on(Path(path))


def limited(path: str, limit: int, fatal: bool) -> None:
    """Record where no file may have more bytes, and a longer one is refused, or fatal."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if fatal else signal.SIG_IGN)
    go_on(Path(path))


def without_privilege(path: str) -> None:
    """Record as somebody to whom the modes of files apply, which they do not to root."""
    if os.geteuid() == 0:
        header, no_capabilities = (c_uint32 * 2)(0x20080522, 0), (c_uint32 * 6)()
        assert CDLL(None).capset(header, no_capabilities) == 0
    go_on(Path(path))


def on_full_disk(path: str, copy: str, files: Sequence[str]) -> None:
    """Record on a disk that is full by the time of each file, and in the end has space again."""
    ballast, upcoming = Path(path).with_name("ballast"), list(files)

    def fill(changed: str) -> None:
        if upcoming and upcoming[0] in changed:
            del upcoming[0]
            with ballast.open("wb", buffering=0) as everything:
                for size in (4096, 1):
                    while written(everything.write, bytes(size)):
                        pass

    on_change(path, fill)
    for _ in files:
        try:
            go_on(Path(path))
        except OSError as error:
            print(error)
        ballast.unlink()
    go_on(Path(path))
    shutil.copytree(path, copy)


def written(write: Callable[[bytes], int], values: bytes) -> bool:
    try:
        return write(values) > 0
    except OSError:
        return False


def peaks(folder: str) -> None:
    """Print the most memory used after a few stimuli, many stimuli, and many layers."""
    stimuli = sweep(
        grating,
        spatial_frequency=[0.5, 1],
        contrast=np.arange(1, 51) / 50,
        orientation=np.arange(0, 180, 7.2),
        phase=np.arange(0, 360, 45),
    )
    wide = nn.Sequential(nn.Conv2d(1, 64, 1))
    small = InputFormat(channels=1, height_px=8, width_px=8, pixels_per_degree=4)
    for number, some in enumerate((stimuli[:1000], stimuli)):
        path = Path(folder) / str(number)
        responses = record(wide, some, ["0"], input_format=small, readout="map", path=path)
        print(peak(), responses["response"].nbytes)
    deep = nn.Sequential(nn.Conv2d(1, 8, 1), *(nn.Conv2d(8, 8, 1) for _ in range(39)))
    larger = InputFormat(channels=1, height_px=32, width_px=32, pixels_per_degree=4)
    for layers in (["38", "39"], ["*"]):
        record(deep, stimuli[:CHUNK], layers, input_format=larger, readout="mean")
        print(peak(), 40 * CHUNK * 8 * 32 * 32 * 4)


def peak() -> int:
    """Of this process's resident memory, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def on_change(path: str, do: Callable[[str], None]) -> None:
    """From now on do something just before anything at or below a path is changed."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            changes = "w" in str(arguments[1])
        else:
            changes = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir")
        if changes and str(arguments[0]).startswith(path):
            do(str(arguments[0]))

    sys.addaudithook(hook)


Job = Callable[..., None]
ALL: tuple[Job, ...] = (plainly, signaled, limited, without_privilege, on_full_disk, peaks)
JOBS = {job.__name__: job for job in ALL}


def serve() -> None:
    """Do each job of stdin in a fork, and say how that ended and what it wrote."""
    import torch._dynamo  # the first forward pass would import it, for seconds

    torch.set_num_threads(1)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which a fork cannot cope with
    print("ready", flush=True)
    for line in sys.stdin:
        job, arguments, after = json.loads(line)
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            os.dup2(theirs, 1)
            os.dup2(theirs, 2)
            do(JOBS[job], arguments)
        os.close(theirs)
        if after is not None:
            number, seconds = after
            time.sleep(seconds)
            os.kill(child, number)
        with open(ours) as pipe:
            said = pipe.read().splitlines()
        _, status = os.waitpid(child, 0)
        print(json.dumps([os.waitstatus_to_exitcode(status), said]), flush=True)


def do(job: Job, arguments: dict[str, Any]) -> None:
    status = INTERRUPTED
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.alarm(PATIENCE)
        job(**arguments)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        status = 0
    except Exception:
        status = REFUSED
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)  # tearing torch down would take a second


# What the tests do with it.


class Rig:
    """A process that does jobs, each in a fork of it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []  # that the last job wrote
        self.disk: Path | None = None  # a small one

    def ready(self) -> bool:
        assert self.process.stdout is not None
        return self.process.stdout.readline() == "ready\n"

    def do(self, job: Job, after: tuple[int, float] | None = None, **arguments: Any) -> int:
        """The exit status of a job, to which a signal is sent after so many seconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = json.dumps([job.__name__, arguments, after], default=str)
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        status, self.lines = json.loads(self.process.stdout.readline())
        return int(status)


@contextmanager
def started(*before: str) -> Iterator[Rig]:
    process = subprocess.Popen(
        [*before, sys.executable, "-P", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    with process:
        yield Rig(process)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    disk = tmp_path_factory.mktemp("disk")
    mount = 'mount -t tmpfs -o size=8m tmpfs "$0" && exec "$@"'  # which only the rig will see
    small_disk = ("unshare", "--mount", "--map-root-user", "sh", "-c", mount, str(disk))
    if shutil.which("unshare"):
        with started(*small_disk) as rig:
            if rig.ready():
                rig.disk = disk
                yield rig
                return
    with started() as rig:
        assert rig.ready()
        yield rig


@pytest.fixture(scope="module")
def whole(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording that nothing happened to."""
    path = tmp_path_factory.mktemp("whole") / "responses.zarr"
    assert rig.do(plainly, path=path) == 0
    response = open_store(path)["response"].values
    assert response.shape == (len(STIMULI), 12)
    assert np.isfinite(response).all()
    assert np.unique(response, axis=0).shape[0] > CHUNK  # so that chunks cannot be mixed up
    assert len(chunks(path)) == 12
    return path


def content(path: Path) -> Content:
    """The files of a store, its attributes, and all of its arrays, bit for bit."""
    group = zarr.open_group(path, mode="r")
    files = sorted(str(file.relative_to(path)) for file in path.rglob("*"))
    arrays = {
        name: (a.shape, a.chunks, a.dtype, dict(a.attrs), np.asarray(a[...]).tobytes())
        for name, a in group.arrays()
    }
    return files, dict(group.attrs), arrays


def chunks(path: Path) -> list[Path]:
    """The files of responses, in the order of the stimuli."""
    return sorted((path / "response").glob("[0-9]*.0"), key=lambda file: int(file.stem))


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "responses.zarr" / "gratings")


# Killed.


@pytest.mark.parametrize(
    ("number", "status", "step"),
    [(signal.SIGKILL, -signal.SIGKILL, 29), (signal.SIGINT, INTERRUPTED, 59)],
)
def test_stopped_before_any_change_of_the_disk_a_recording_goes_on_to_the_same_end(
    rig: Rig, whole: Path, tmp_path: Path, number: int, status: int, step: int
) -> None:
    path = tmp_path / "responses.zarr"
    starts = 0
    while not path.exists():
        # Some 350 changes until the store is there, among them the clearing of the one before.
        assert rig.do(signaled, path=path, number=number, write=1 + step * starts) == status
        starts += 1
    assert starts > 5
    # From here on a chunk is two changes; before and in between them, and further each time.
    writes = count(1, 1 if number == signal.SIGKILL else 3)
    while (ended := rig.do(signaled, path=path, number=number, write=next(writes))) != 0:
        assert ended == status
    assert content(path) == content(whole)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "status", "times"),
    [(signal.SIGKILL, -signal.SIGKILL, 20), (signal.SIGINT, INTERRUPTED, 5)],
)
def test_stopped_at_random_moments_a_recording_goes_on_to_the_same_end(
    rig: Rig, whole: Path, tmp_path: Path, number: int, status: int, times: int
) -> None:
    path = tmp_path / "responses.zarr"
    begun = time.monotonic()
    assert rig.do(plainly, path=path) == 0
    duration = time.monotonic() - begun
    shutil.rmtree(path)
    moments = np.random.default_rng(25)
    while times:
        ended = rig.do(plainly, after=(number, moments.uniform(0, 1.2 * duration)), path=path)
        if ended == 0:  # faster than that
            assert content(path) == content(whole)
            shutil.rmtree(path)
        else:
            assert ended == status, rig.lines
            times -= 1
    assert rig.do(plainly, path=path) == 0
    assert content(path) == content(whole)
    assert list(tmp_path.iterdir()) == [path]


def test_killed_in_the_middle_of_a_write_a_chunk_is_not_there(
    rig: Rig, whole: Path, tmp_path: Path
) -> None:
    path = tmp_path / "responses.zarr"
    middle = chunks(whole)[0].stat().st_size // 2
    assert rig.do(limited, path=path, limit=middle, fatal=True) == -signal.SIGXFSZ
    (torso,) = (path / "response").glob("*.partial")
    assert torso.stat().st_size == middle
    assert chunks(path) == []
    assert rig.do(plainly, path=path) == 0
    assert content(path) == content(whole)


def test_what_is_left_of_a_store_that_was_never_complete_is_replaced(
    rig: Rig, whole: Path, tmp_path: Path
) -> None:
    path, left = tmp_path / "responses.zarr", tmp_path / "responses.zarr.partial"
    shutil.copytree(whole, left)
    (left / "phase" / ".zarray").write_text("{")
    shutil.copytree(left / "orientation", left / "of_before")
    assert rig.do(plainly, path=path) == 0
    assert content(path) == content(whole)
    assert not left.exists()


# Refused by the system.

KEPT = "cannot be written; what was before is kept, and can be resumed"


def test_a_disk_that_takes_no_more_is_said_and_what_is_there_is_resumed(
    rig: Rig, whole: Path, copy: Path, tmp_path: Path
) -> None:
    reason, fresh = "OSError: [Errno 27] File too large", tmp_path / "responses"
    assert rig.do(limited, path=fresh, limit=100, fatal=False) == REFUSED
    assert rig.lines[-1] == f"{reason}: the store cannot be created: '{fresh}'"
    assert not fresh.exists()
    assert rig.do(plainly, path=fresh) == 0
    assert content(fresh) == content(whole)
    for file in chunks(copy)[3:]:
        file.unlink()
    limit = chunks(whole)[3].stat().st_size // 2
    assert rig.do(limited, path=copy, limit=limit, fatal=False) == REFUSED
    assert rig.lines[-1] == f"{reason}: stimuli 768 to 1023 {KEPT}: '{copy}'"
    assert len(chunks(copy)) == 3
    assert rig.do(plainly, path=copy) == 0
    assert content(copy) == content(whole)


def test_a_full_disk_is_said_and_what_is_there_is_resumed(
    rig: Rig, whole: Path, tmp_path: Path
) -> None:
    if rig.disk is None:
        pytest.skip("a small disk cannot be mounted here")
    path, copy = rig.disk / "responses.zarr", tmp_path / "copy"
    files = ["orientation", "response/.zattrs", "response/0.", "response/5."]
    assert rig.do(on_full_disk, path=path, copy=copy, files=files) == 0
    reason = "[Errno 28] No space left on device"
    assert rig.lines == [
        f"{reason}: the store cannot be created: '{path}'",
        f"{reason}: the store cannot be created: '{path}'",
        f"{reason}: stimuli 0 to 255 {KEPT}: '{path}'",
        f"{reason}: stimuli 1280 to 1535 {KEPT}: '{path}'",
    ]
    assert content(copy) == content(whole)


def test_lost_rights_are_said_and_what_is_there_is_resumed(
    rig: Rig, whole: Path, copy: Path
) -> None:
    chunks(copy)[3].unlink()
    (copy / "response").chmod(0o555)
    assert rig.do(without_privilege, path=copy) == REFUSED
    reason = "[Errno 13] Permission denied"
    assert rig.lines[-1] == f"PermissionError: {reason}: stimuli 768 to 1023 {KEPT}: '{copy}'"
    (copy / "response").chmod(0o755)
    assert rig.do(plainly, path=copy) == 0
    assert content(copy) == content(whole)


def test_a_file_in_the_place_of_a_folder_is_said(rig: Rig, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("precious")
    path = tmp_path / "results" / "responses.zarr"
    assert rig.do(plainly, path=path) == REFUSED
    assert f"the store cannot be created: '{path}'" in rig.lines[-1]
    assert (tmp_path / "results").read_text() == "precious"


# Damaged.


def flipped(values: bytes) -> bytes:
    return bytes([values[0] ^ 1]) + values[1:]


DAMAGES: dict[str, Callable[[Path], object]] = {
    "emptied": lambda file: file.write_bytes(b""),
    "shortened": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "halved": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "flipped": lambda file: file.write_bytes(flipped(file.read_bytes())),
    "another's": lambda file: file.write_bytes(b"PK\x03\x04" * 1000),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_chunk_is_refused_and_recorded_anew(
    rig: Rig, whole: Path, copy: Path, damage: str
) -> None:
    DAMAGES[damage](chunks(copy)[5])
    with pytest.raises(ValueError, match=rf"^{copy}: response is damaged \(.*\); record it again"):
        list(by_layer(read_responses(copy.parent.parent, copy.name)))
    assert rig.do(plainly, path=copy) == 0
    (warning,) = [line for line in rig.lines if "Warning" in line]
    assert f"UserWarning: {copy}: stimuli 1280 to 1535 are damaged (" in warning
    assert warning.endswith(") and recorded anew")
    assert content(copy) == content(whole)


def test_lost_chunks_are_refused_and_recorded_anew(rig: Rig, whole: Path, copy: Path) -> None:
    for lost in (chunks(copy)[5], chunks(copy)[-1]):
        lost.unlink()
    reason = r"response is damaged \(2 of 12 chunks missing\); record it again with --resume"
    with pytest.raises(ValueError, match=rf"^{copy}: {reason}"):
        list(by_layer(read_responses(copy.parent.parent, copy.name)))
    assert rig.do(plainly, path=copy) == 0
    assert rig.lines == []
    assert content(copy) == content(whole)


@pytest.mark.parametrize("name", ["blank", "orientation"])
def test_a_recording_that_has_lost_its_labels_is_not_gone_on_with(
    rig: Rig, copy: Path, name: str
) -> None:
    DAMAGES["flipped"](copy / name / "0")
    assert rig.do(plainly, path=copy) == REFUSED
    assert rig.lines[-1].startswith(f"ValueError: {copy}: {name} is damaged (")
    assert rig.lines[-1].endswith("); overwrite it")


# Memory.


def test_memory_grows_neither_with_stimuli_nor_with_layers(rig: Rig, tmp_path: Path) -> None:
    assert rig.do(peaks, folder=tmp_path) == 0, rig.lines
    lines = [map(int, line.split()) for line in rig.lines]
    (few_stimuli, _), (stimuli, responses), (few_layers, _), (layers, maps) = lines
    assert stimuli - few_stimuli < recording.REGION_BYTES < responses / 4
    assert layers - few_layers < recording.REGION_BYTES < maps / 4


if __name__ == "__main__":
    serve()
    os._exit(0)
