"""A command answers on stdout, refuses in one line on stderr, and can be interrupted."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import save_file

from ephys import experiment
from ephys.cli import main
from ephys.models import training
from ephys.models.checkpoint import load_checkpoint
from ephys.models.sources import BUILT_IN, PATTERNS, SHIPPED
from ephys.models.superres import SuperResolution
from ephys.responses import open_store
from ephys.stimuli.protocols import BATTERIES, PROTOCOLS, contrast_invariance

STIMULI = 3 * 6 * 4
SMALL = {"spatial_frequencies": 2, "contrasts": (0.1, 0.5, 0.9), "orientations": 6, "phases": 4}
ZOOS = "torchvision's and timm's are named torchvision:NAME and timm:NAME (see: ephys models)"


@pytest.fixture(autouse=True, scope="module")
def small_protocol() -> Iterator[None]:
    """A protocol that takes no time, beside the others."""
    small = partial(contrast_invariance, **SMALL)  # type: ignore[arg-type]
    small.__doc__ = "A few gratings.\n\nMore about them."
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROTOCOLS, "small", small)
        patch.setitem(PROTOCOLS, "too_fine", partial(small, spatial_frequencies=9))
        yield


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in an empty folder, and are told nothing by the environment."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("EPHYS_DATA", raising=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A run, not to be changed, and what the command said."""
    out = tmp_path_factory.mktemp("runs") / "gabor"
    return out, probe("-o", out)


def ephys(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def probe(*arguments: object) -> Result:
    return ephys("probe", "superres-gabor", "--protocol", "small", *arguments)


def refused(*arguments: object) -> str:
    """The one line with which a command is refused, with status 1 and nothing on stdout."""
    result = ephys(*arguments)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("Error: ").rstrip("\n")


def nothing_was_written() -> bool:
    return list(Path().iterdir()) == []


def commands(group: click.Group, *path: str) -> Iterator[tuple[list[str], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield [*path, name], command


COMMANDS = {" ".join(path): path for path, _ in commands(main)}


# Help and lists.


@pytest.mark.parametrize("path", COMMANDS.values(), ids=COMMANDS)
def test_every_command_says_what_it_does_with_an_example(path: list[str]) -> None:
    result = ephys(*path, "--help")
    assert result.exit_code == 0
    assert f"Example: ephys {' '.join(path)}" in result.stdout
    assert ephys(*path, "-h").stdout == result.stdout


@pytest.mark.parametrize("path", COMMANDS.values(), ids=COMMANDS)
def test_every_example_is_a_command_line_that_parses(path: list[str]) -> None:
    text = ephys(*path, "--help").stdout
    examples = re.findall(r"^\s*(?:Example: )?ephys (.+)$", text, flags=re.MULTILINE)
    assert examples
    for example in examples:
        context: click.Context = click.Context(main)
        command: click.Command = main
        words = example.split()
        while isinstance(command, click.Group):
            found = command.get_command(context, words.pop(0))
            assert found is not None
            command = found
        command.make_context(command.name, words)


def test_every_option_has_help() -> None:
    for path, command in commands(main):
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.show_default:
                assert parameter.help, f"{path} {parameter.name}"


def test_the_version_is_the_packages() -> None:
    assert ephys("--version").stdout.strip().endswith(version("ephys"))


def test_the_models_that_can_be_named_are_listed() -> None:
    result = ephys("models")
    lines = result.stdout.splitlines()
    for name, what in {**SHIPPED, **BUILT_IN, **PATTERNS}.items():
        (line,) = [line for line in lines if line.startswith(f"{name}  ")]
        assert line.endswith(f"  {what}")
    assert len(lines) == len(SHIPPED) + len(BUILT_IN) + len(PATTERNS)


def test_the_protocols_are_listed_with_their_size_and_purpose() -> None:
    printed = ephys("protocols").stdout.splitlines()
    lines = {line.split()[0]: line for line in printed if line.strip() and line[0] != " "}
    assert set(lines) == {*PROTOCOLS, *BATTERIES}
    assert lines["small"].split(maxsplit=2)[1:] == [str(STIMULI), "A few gratings."]
    # 25 orientations, 4 spatial frequencies, 7 contrasts and 8 phases.
    assert lines["contrast_invariance"].split()[1] == "5600"


def test_the_layers_of_a_model_are_listed_and_its_own_are_starred() -> None:
    header, *lines, legend = ephys("layers", "superres-divnormei").stdout.splitlines()
    assert legend == "* recorded by default"
    assert header.split() == ["layer", "type", "output", "receptive", "field", "status"]
    starred = [line.split()[1] for line in lines if line.startswith("*")]
    assert starred == ["encoder.gabor_bank", "encoder.normalization"]
    rows = {
        line.removeprefix("*").split()[0]: re.split(" {2,}", line.strip("* ")) for line in lines
    }
    # Filters of up to 21 pixels, shown one image in four pixels.
    assert rows["encoder.gabor_bank"][1:] == ["GaborBank", "64 x 12 x 12", "21 x 21 px", "exact"]
    assert rows["encoder.normalization.excitation"][1] == "Conv2d"
    assert set(rows) == {name for name, _ in SuperResolution().named_modules() if name}


def test_the_layers_of_a_network_are_listed_without_its_weights() -> None:
    lines = ephys("layers", "vgg16", "--layers", "type:Conv2d").stdout.splitlines()[1:]
    sizes = [int(re.search(r"(\d+) px", line)[1]) for line in lines]  # type: ignore[index]
    # Each convolution of three pixels adds two steps of its stride, each pool one.
    assert sizes == [3, 5, 10, 14, 24, 32, 40, 60, 76, 92, 132, 164, 196]


def test_a_run_is_exported(finished: tuple[Path, Result]) -> None:
    run, _ = finished
    assert ephys("export", run, "-o", "out.nc").stdout == "out.nc\n"
    with xr.open_dataset("out.nc") as exported, open_store(run / "responses.zarr" / "small") as own:
        xr.testing.assert_identical(exported, own)
    line = refused("export", run, "--protocol", "none", "-o", "none.nc")
    assert line == f"{run} has no protocol 'none'; there are small"
    assert not Path("none.nc").exists()
    assert ephys("export", run, "-o", "out.csv").stdout == "out.csv\n"
    table = pd.read_csv("out.csv")
    with open_store(str(run / "responses.zarr" / "small")) as own:
        assert len(table) == own.sizes["stimulus"]
        np.testing.assert_allclose(table["measured:contrast"], table["contrast"], rtol=0.01)


# A run.


def test_a_probe_answers_with_a_line_per_layer_and_names_its_report(
    finished: tuple[Path, Result],
) -> None:
    out, result = finished
    assert result.exit_code == 0
    assert result.stderr == ""
    *_, layer, report = result.stdout.splitlines()
    assert layer.split()[0] == "encoder.gabor_bank"
    assert report == str(out / "report.html")
    assert (out / "report.html").is_file()


def test_the_command_line_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    arguments = ["probe", "superres-gabor", "--protocol", "small", "-o", str(out), "--seed", "4"]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/ephys", *arguments])
    ephys(*arguments)
    about = json.loads((out / "run.json").read_text())
    assert about["command"] == "ephys " + " ".join(arguments)
    assert about["model"] == "superres-gabor"
    assert about["seed"] == 4


def test_the_answer_as_json_is_the_table_of_the_population(
    finished: tuple[Path, Result], tmp_path: Path
) -> None:
    out, _ = finished
    result = probe("-o", out, "--resume", "--json")
    assert result.exit_code == 0
    assert result.stderr == ""
    rows = json.loads(result.stdout)
    table = pd.read_csv(out / "population.csv")
    assert len(rows) == len(table)
    assert list(rows[0]) == list(table)
    for name in ("measure", "count"):
        assert [row[name] for row in rows] == table[name].tolist()
    medians = [np.nan if row["median"] is None else row["median"] for row in rows]
    np.testing.assert_allclose(medians, table["median"], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("quiet", "said"), [([], 1), (["-q"], 0)])
def test_a_terminal_is_told_that_the_recording_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet: list[str], said: int
) -> None:
    monkeypatch.setattr(experiment, "analyze", lambda run, about: None)
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda stream: True)
    result = probe("-o", tmp_path / "run", *quiet)
    assert result.stderr.count("tables and figures ...\n") == said


def test_an_analysis_gives_the_same_answer(finished: tuple[Path, Result]) -> None:
    out, result = finished
    assert ephys("analyze", out).stdout == result.stdout


def test_a_plot_names_its_picture(finished: tuple[Path, Result]) -> None:
    out, _ = finished
    picture = Path("figure2.png")
    result = ephys("plot", out, out, "-o", picture)  # of its only protocol
    assert result.exit_code == 0
    assert result.stdout == "figure2.png\n"
    with Image.open(picture) as opened:
        assert opened.format == "PNG"


def test_a_dry_run_says_what_would_be_recorded_and_records_nothing() -> None:
    result = probe("--dry-run")
    assert result.exit_code == 0
    heads, line = result.stdout.splitlines()
    assert heads.endswith("seconds to record")
    row = dict(zip(heads.split()[:-2], line.split(), strict=True))
    assert row["protocol"] == "small"
    assert int(row["stimuli"]) == STIMULI
    assert int(row["units"]) == 64
    assert nothing_was_written()


def test_the_run_is_called_by_the_model_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "analyze", lambda run, about: None)
    probe("--size", 24, "--degrees", 3)
    run = Path("runs") / "superres-gabor"
    with open_store(run / "responses.zarr" / "small") as responses:
        shape = json.loads(responses.attrs["input_format"])
        assert (shape["height_px"], shape["width_px"]) == (24, 24)
        assert responses.attrs["pixels_per_degree"] == 8


# Refusals.


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["probe", "xyz"],
            "no model 'xyz'; did you mean superres-divnormei or superres-divnormei-eq3 or "
            f"superres-divnorm? {ZOOS}",
        ),
        (
            ["layers", "vgg61"],
            f"no model 'vgg61'; did you mean vgg19 or vgg16 or vgg13? {ZOOS}",
        ),
        (
            ["probe", "superres-gabor", "--layers", "encoder.gabor", "--protocol", "small"],
            "the model has no layer 'encoder.gabor'; did you mean "
            "encoder.gabor_bank or encoder or decoder.9?",
        ),
        (
            ["probe", "superres-gabor", "--protocol", "contrast_invarience"],
            "no protocol 'contrast_invarience'; did you mean "
            "contrast_invariance or contrast_invariance_patches or contrast?",
        ),
        (
            ["probe", "superres-gabor", "--protocol", "too_fine"],
            "spatial_frequency=9 is not below the Nyquist limit of 7.5 cycles/degree; "
            "use a finer field (pixels_per_degree > 18: more pixels or fewer degrees)",
        ),
        (["probe", "my.safetensors"], "there is no file my.safetensors"),
        (
            ["analyze", "runs/none"],
            "runs/none is not a finished run: there is no runs/none/run.json",
        ),
        (
            ["probe", "superres-gabor", "--weights", "a.pth"],
            "superres-gabor brings its own weights and input format; drop --weights and "
            "--input-format",
        ),
        (
            ["probe", "vgg16", "--weights", "a.pth", "--input-format", "unit"],
            "there is no file a.pth",
        ),
        (
            ["train", "superres", "-o", "my.safetensors"],
            "where is bsds500? set EPHYS_DATA to the folder that holds it, or give its path",
        ),
        (
            ["train", "superres", "--data", "BSDS", "-o", "my.safetensors"],
            "no folder BSDS; give that of BSDS500",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_not_there_is_answered_in_one_line(arguments: list[str], line: str) -> None:
    assert refused(*arguments) == line
    assert nothing_was_written()


@pytest.mark.parametrize("device", ["abacus", "cuda:99", "cpu:cpu", "meta"])
def test_a_device_that_is_not_here_is_refused_by_its_name(device: str) -> None:
    assert f"device {device!r}" in refused("probe", "superres-gabor", "--device", device)
    assert nothing_was_written()


@pytest.mark.parametrize(
    ("option", "value"),
    [("--size", 0), ("--degrees", 0), ("--degrees", -3), ("--batch-size", 0)],
)
def test_a_number_that_makes_no_sense_is_refused_with_its_value(option: str, value: int) -> None:
    line = refused("probe", "superres-gabor", "--protocol", "small", option, value)
    assert f"={value}" in line
    assert nothing_was_written()


def test_a_seed_below_zero_is_refused_before_anything_is_recorded() -> None:
    assert probe("--seed", -1).exit_code in (1, 2)
    assert nothing_was_written()


def test_an_existing_run_is_refused_with_both_ways_out(finished: tuple[Path, Result]) -> None:
    out, _ = finished
    before = (out / "run.json").stat().st_mtime_ns
    line = refused("probe", "superres-gabor", "--protocol", "small", "-o", out)
    assert line == f"{out} exists; pass --overwrite or --resume, or another -o"
    assert (out / "run.json").stat().st_mtime_ns == before


def test_a_folder_of_something_else_is_not_overwritten() -> None:
    (thesis := Path("thesis")).mkdir()
    (thesis / "chapter.tex").write_text("years")
    line = refused("probe", "superres-gabor", "-o", thesis, "--overwrite")
    assert line == "thesis exists and is not a run; choose another place"
    assert (thesis / "chapter.tex").read_text() == "years"


def test_another_experiment_is_not_resumed(finished: tuple[Path, Result]) -> None:
    out, _ = finished
    arguments = ("--protocol", "small", "-o", out, "--resume", "--readout", "mean")
    line = refused("probe", "superres-gabor", *arguments)
    assert "was recorded with readout='center', not 'mean'; overwrite it" in line


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_checkpoint_is_refused_by_its_name(kept: float) -> None:
    shipped = Path(training.__file__).parent / "weights" / "superres-gabor.safetensors"
    content = shipped.read_bytes()
    path = Path("mine.safetensors")
    path.write_bytes(content[: int(kept * len(content))])
    line = refused("probe", path)
    assert line.startswith("mine.safetensors is damaged or not a safetensors file")
    assert list(Path().iterdir()) == [path]


class Malice:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("mark"),)


@pytest.mark.parametrize("arguments", [["probe"], ["layers"], ["probe", "--dry-run"]])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(arguments: list[str]) -> None:
    plain, wrapped = Path("plain.pth"), Path("wrapped.pth")
    plain.write_bytes(pickle.dumps(Malice()))
    torch.save({"features.0.weight": Malice()}, wrapped)
    for path in (plain, wrapped):
        weights = ("--weights", path, "--input-format", "unit")
        line = refused(*arguments, "vgg16", *weights)
        assert line.startswith(f"{path} is refused: ")
        assert "save a state_dict() instead" in refused(*arguments, path)
    assert sorted(Path().iterdir()) == [plain, wrapped]


@pytest.mark.parametrize("kept", [0, 10, 200, 3000, 6000])
def test_a_truncated_state_dict_is_refused_by_its_name(kept: int) -> None:
    path = Path("vgg.pth")
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, path)
    path.write_bytes(path.read_bytes()[:kept])
    line = refused("probe", "vgg16", "--weights", path, "--input-format", "unit")
    assert line.startswith("vgg.pth is ")


def vgg_weights(count: int) -> Path:
    """VGG-16's first layers, as a file."""
    shapes = {
        "features.0": (64, 3, 3, 3),
        "features.2": (64, 64, 3, 3),
        "features.5": (128, 64, 3, 3),
    }
    generator = torch.Generator().manual_seed(1)
    weights = {}
    for name, shape in list(shapes.items())[:count]:
        weights[f"{name}.weight"] = torch.randn(shape, generator=generator) / 10
        weights[f"{name}.bias"] = torch.zeros(shape[0])
    path = Path("head.safetensors")
    save_file(weights, path)
    return path


def test_a_layer_beyond_the_weights_is_refused_by_its_name() -> None:
    arguments = ("--weights", vgg_weights(1), "--input-format", "caffe", "--size", 16)
    line = refused("probe", "vgg16", *arguments, "--protocol", "small", "--degrees", 3)
    assert line == "layer 'features.2' came without weights; record from layers before it"
    assert not Path("runs").exists()


def test_an_image_too_small_for_the_layers_is_refused_in_one_line() -> None:
    arguments = ("--weights", vgg_weights(3), "--input-format", "unit", "--size", 1)
    line = refused("probe", "vgg16", *arguments, "--degrees", 0.01, "--layers", "features.5")
    assert line  # torch says which size, in its words
    assert not Path("runs").exists()


def test_a_missing_input_format_is_asked_for() -> None:
    line = refused("probe", "vgg16", "--weights", "head.safetensors")
    assert line.startswith("which input does head.safetensors take? pass --input-format")


def test_an_unknown_input_format_is_answered_with_the_known() -> None:
    line = refused("probe", "vgg16", "--weights", vgg_weights(1), "--input-format", "keras")
    assert line.startswith("no input format 'keras'; there are torchvision")


def test_an_error_of_the_disk_says_what_the_disk_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(experiment, "probe", full)
    assert refused("probe", "superres-gabor") == "No space left on device"

    def denied(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", "runs")

    monkeypatch.setattr(experiment, "probe", denied)
    assert refused("probe", "superres-gabor") == "runs: Permission denied"


def test_only_debug_shows_where_an_error_comes_from() -> None:
    result = ephys("--debug", "probe", "xyz")
    assert result.exit_code == 1
    assert isinstance(result.exception, KeyError)


@pytest.mark.parametrize(
    "arguments", [["prob"], ["probe", "--colour"], ["probe", "--readout", "median"], ["plot", "a"]]
)
def test_wrong_usage_has_status_2(arguments: list[str]) -> None:
    result = ephys(*arguments)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr


# Training.


def write_photographs(folder: Path, size_px: int = 52, *, splits: str = "train val test") -> Path:
    rng = np.random.default_rng(3)
    for split in splits.split():
        (folder / split).mkdir(parents=True)
        for index in range(2):
            pixels = rng.integers(0, 256, (size_px, size_px), np.uint8)
            Image.fromarray(pixels).save(folder / split / f"{index}.png")
    return folder


def test_an_empty_photograph_folder_is_refused() -> None:
    data = write_photographs(Path("BSDS"), splits="val test")
    (data / "train").mkdir()
    line = refused("train", "superres", "--data", data, "-o", "my.safetensors")
    assert line == "BSDS/train holds no photograph (.jpeg, .jpg, .png)"
    assert list(Path().iterdir()) == [data]


def test_a_photograph_smaller_than_the_crop_is_refused() -> None:
    data = write_photographs(Path("BSDS"))
    Image.new("L", (60, 40)).save(data / "val" / "small.png")
    line = refused("train", "superres", "--data", data, "-o", "my.safetensors")
    assert line.startswith(
        "BSDS/val/small.png has 60 x 40 pixels, smaller than the crop of 48; remove it"
    )
    assert list(Path().iterdir()) == [data]


def test_an_existing_checkpoint_is_refused_and_kept() -> None:
    data, out = write_photographs(Path("BSDS")), Path("my.safetensors")
    out.write_text("weeks")
    line = refused("train", "superres", "--data", data, "-o", out)
    assert line == "my.safetensors exists; pass --overwrite, or another -o"
    assert out.read_text() == "weeks"


@pytest.mark.parametrize(
    ("option", "value"),
    [("--steps", "0"), ("--batch-size", "1"), ("--seed", "-1"), ("--learning-rate", "0.0")],
)
def test_settings_of_no_training_are_refused(option: str, value: str) -> None:
    data = write_photographs(Path("BSDS"))
    line = refused("train", "superres", "--data", data, "-o", "my.safetensors", option, value)
    assert line.startswith(f"{option[2:].replace('-', '_')}={value} is ")
    assert list(Path().iterdir()) == [data]


def test_data_is_found_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPHYS_DATA", str(tmp_path / "data"))
    write_photographs(tmp_path / "data" / "bsds500", size_px=12)
    line = refused("train", "superres", "-o", "my.safetensors")
    assert line.startswith(str(tmp_path / "data" / "bsds500" / "train" / "0.png"))


# Light, and interrupted: these start real processes.


def test_help_loads_nothing_heavy() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "ephys", "--help"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.startswith("Usage: ")
    loaded = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert "ephys.cli" in loaded
    assert not loaded & {"torch", "numpy", "xarray", "matplotlib", "pandas", "zarr", "scipy"}


def interrupted_when(there: Callable[[], bool], slowed: str, arguments: list[str]) -> str:
    """Stderr of a command that gets Ctrl-C as soon as something is there, and has status 130.

    ``slowed`` is code that gives it the time to be interrupted in.
    """
    code = f"{slowed}\nfrom ephys.cli import main\nmain({arguments!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        deadline = time.monotonic() + 60
        while not there() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, stderr
    assert stdout == ""
    return stderr


ADVICE = "Interrupted. Run the same command with --resume to go on."


def test_ctrl_c_leaves_a_run_that_can_be_resumed() -> None:
    slowed = (  # so that it comes in the middle of a write
        "import asyncio\n"
        "from functools import partial\n"
        "from zarr.storage import LocalStore\n"
        "from ephys.stimuli import protocols\n"
        f"small = partial(protocols.contrast_invariance, **{SMALL!r})\n"
        "protocols.PROTOCOLS['small'] = small\n"
        "write = LocalStore.set\n"
        "async def slow(self, key, *a, **k):\n"
        "    await write(self, key, *a, **k)\n"
        "    await asyncio.sleep(0.5 if 'response/' in key else 0)\n"
        "LocalStore.set = slow"
    )
    run = Path("run")
    store = run / "responses.zarr" / "small"
    arguments = ["probe", "superres-gabor", "--protocol", "small", "-o", "run", "--batch-size", "3"]
    stderr = interrupted_when(lambda: (store / "response" / "0.0").exists(), slowed, arguments)
    assert stderr.strip() == ADVICE
    assert [path.name for path in run.iterdir()] == ["responses.zarr"]
    with open_store(store) as begun:
        response = begun["response"].values
    recorded = np.isfinite(response).all(axis=1)
    assert recorded[:3].all()
    assert not recorded.all()
    result = ephys(*arguments, "--resume")
    assert result.exit_code == 0, result.stderr
    with open_store(store) as resumed:
        assert np.isfinite(resumed["response"]).all()
        np.testing.assert_array_equal(resumed["response"][recorded], response[recorded])
    assert (run / "report.html").is_file()


def test_ctrl_c_leaves_a_training_that_can_be_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = {"VALIDATE_EVERY": 2, "VALIDATION_CROPS": 4}
    slowed = (
        "import time\n"
        "from ephys.models import training\n"
        f"vars(training).update({quick!r})\n"
        "step = training._step\n"
        "def slow(*a):\n"
        "    time.sleep(0.3)\n"
        "    return step(*a)\n"
        "training._step = slow"
    )
    data, out = write_photographs(Path("BSDS")), Path("my.safetensors")
    state = Path("my.safetensors.training")
    arguments = ["train", "superres", "--data", str(data), "-o", str(out)]
    arguments += ["--normalization", "none", "--steps", "8", "--batch-size", "2"]
    stderr = interrupted_when(state.exists, slowed, arguments)
    assert stderr.strip() == ADVICE
    assert sorted(path.name for path in Path().iterdir()) == ["BSDS", state.name]
    for name, value in quick.items():
        monkeypatch.setattr(training, name, value)
    result = ephys(*arguments, "--resume")
    assert result.exit_code == 0, result.stderr
    assert re.fullmatch(
        r"my\.safetensors: PSNR \d+\.\d\d dB \(bicubic \d+\.\d\d\), "
        r"SSIM -?\d\.\d{3} \(bicubic -?\d\.\d{3}\) on 2 test photographs\n",
        result.stdout,
    )
    assert isinstance(load_checkpoint(out), SuperResolution)
    assert sorted(path.name for path in Path().iterdir()) == ["BSDS", out.name]
