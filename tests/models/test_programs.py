"""Programs of torch.export are put on the rig if they are trusted, and do not run if not."""

import io
import json
import re
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.export import Dim, export, save

from ephys.electrodes import electrodes
from ephys.models.input_format import InputFormat
from ephys.models.loading import Request
from ephys.models.programs import from_program

Export = Callable[..., Path]
ANY_BATCH = ({0: Dim("batch")},)


class Network(nn.Module):
    """A small one that calls its rectifier twice."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4))
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout()
        self.head = nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.relu(self.stem(images))
        return self.relu(self.head(self.dropout(maps.mean((2, 3)))))


def network(channels: int = 3) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        made = Network(channels)
        made.stem.get_buffer("1.running_mean").uniform_()
    return made.eval()


@pytest.fixture
def exported(tmp_path: Path) -> Export:
    """Writes a network's program for images of a size, by default for batches of any size."""

    def write(
        model: nn.Module, shape: tuple[int, ...], dynamic: Any = ANY_BATCH, **how: Any
    ) -> Path:
        path = tmp_path / "program.pt2"
        images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about itself
            save(export(model, (images,), dynamic_shapes=dynamic, **how), path)
        return path

    return write


def load(path: Path, input_format: InputFormat | str | None = "unit") -> nn.Module:
    return from_program(Request(str(path), input_format=input_format, trust_pickle=True))


def names(model: nn.Module) -> list[str]:
    return [name for name, _ in model.named_modules()]


def caught(model: nn.Module, images: Tensor, *layers: str) -> dict[str, Tensor]:
    with torch.inference_mode(), electrodes(model, layers) as show:
        return show(images)


def images(count: int, channels: int, size: int) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(2))


# What a program is on the rig.


@pytest.mark.parametrize("count", [1, 2, 7])
def test_its_layers_have_their_names_and_answer_as_before_the_export(
    exported: Export, count: int
) -> None:
    original = network()
    program = load(exported(original, (3, 12, 10)))
    assert names(program) == names(original)
    shown = torch.rand(count, 3, 12, 10, generator=torch.Generator().manual_seed(2))
    layers = ("stem.0", "stem.1", "relu", "head")
    expected, answers = caught(original, shown, *layers), caught(program, shown, *layers)
    for layer in layers:
        assert torch.equal(answers[layer], expected[layer])
    with torch.inference_mode():
        assert torch.equal(program(shown), original(shown))


def test_a_resnet_of_torchvisions_is_on_the_rig_as_before_the_export(exported: Export) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        original = torchvision.models.resnet18().eval()
    program = load(exported(original, (3, 64, 64)))
    assert names(program) == names(original)
    layers = ("relu", "layer1.0.relu", "layer2.0", "layer2.0.downsample.0", "layer4.1.conv2", "fc")
    shown = images(3, 3, 64)
    expected, answers = caught(original, shown, *layers), caught(program, shown, *layers)
    for layer in layers:
        assert torch.equal(answers[layer], expected[layer])


def test_its_input_format_is_of_the_images_it_was_exported_with(exported: Export) -> None:
    path = exported(network(), (3, 12, 10))
    mean = {"scale": 255.0, "mean": (123.68, 116.779, 103.939)}
    assert load(path, "caffe").input_format == InputFormat(3, 12, 10, **mean)  # type: ignore[arg-type]
    whole = InputFormat(3, 12, 10, pixels_per_degree=4, mean=(0.5,))
    assert load(path, whole).input_format == whole


def test_a_program_of_one_channel_takes_one_channel(exported: Export) -> None:
    path = exported(network(channels=1), (1, 12, 12))
    assert load(path).input_format == InputFormat(1, 12, 12)
    with pytest.raises(ValueError, match="mean has 3 values for 1 channels"):
        load(path, "torchvision")


def test_sides_that_may_vary_are_those_of_the_example(exported: Export) -> None:
    dynamic = ({0: Dim("batch"), 2: Dim("height", min=4), 3: Dim("width", min=4)},)
    program = load(exported(network(), (3, 12, 10), dynamic))
    assert program.input_format == InputFormat(3, 12, 10)
    with torch.inference_mode():
        assert torch.equal(program(images(2, 3, 20)), network()(images(2, 3, 20)))


def test_the_value_range_is_asked_for(exported: Export) -> None:
    with pytest.raises(ValueError, match=r"program\.pt2 take\? pass --input-format torchvision \("):
        load(exported(network(), (3, 12, 10)), None)


def test_it_can_be_set_to_evaluation_and_back(exported: Export) -> None:
    program = load(exported(network(), (3, 12, 12)))
    assert not any(module.training for module in program.eval().modules())
    flags = {name: name != "head" for name in names(program)}
    for name, module in program.named_modules():
        module.training = flags[name]
    before = program.eval()(images(2, 3, 12))
    for name, module in program.named_modules():
        module.training = flags[name]
    caught(program, images(1, 3, 12), "relu")
    assert {name: module.training for name, module in program.named_modules()} == flags
    assert torch.equal(program(images(2, 3, 12)), before)  # no flag is a part of the program


class Twice(nn.Module):
    """Calls one layer twice; what it does depends on which call it is."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Scaled()

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(self.layer(images, 2.0), 3.0)


class Scaled(nn.Module):
    def forward(self, images: Tensor, factor: float) -> Tensor:
        return images * factor


def test_a_pass_that_was_cut_short_leaves_no_trace(exported: Export) -> None:
    path = exported(Twice(), (3, 4, 4), preserve_module_call_signature=("layer",))
    program = load(path)
    shown = images(2, 3, 4)
    for _ in range(3):  # the pass ends in the first call
        assert torch.equal(caught(program, shown, "layer")["layer"], 2 * shown)
    assert torch.equal(program(shown), 6 * shown)


def test_loading_says_nothing(
    exported: Export, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    path = exported(network(), (3, 12, 12))
    capfd.readouterr()
    recwarn.clear()
    load(path)
    assert capfd.readouterr() == ("", "")
    assert recwarn.list == []


# What cannot be put on it.


def test_a_program_for_one_size_of_batch_is_refused_with_how_to_export_it(
    exported: Export,
) -> None:
    with pytest.raises(
        ValueError, match=r"exported for batches of 2 and takes no other"
    ) as refused:
        load(exported(network(), (3, 12, 12), None))
    *_, how = str(refused.value).split("export it with ")
    scope = {"torch": torch, "network": network(), "images": images(2, 3, 12)}
    program = eval(how, scope)  # the advice works
    assert program.module()(images(5, 3, 12)).shape == (5, 5)


@pytest.mark.parametrize(
    ("model", "operation"),
    [
        (Network(), "aten.batch_norm"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout()), "aten.dropout"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout2d()), "aten.feature_dropout"),
    ],
)
def test_a_program_exported_in_training_mode_is_refused(
    exported: Export, model: nn.Module, operation: str
) -> None:
    path = exported(model.train(), (3, 12, 12))
    with pytest.raises(ValueError, match=rf"exported in training mode \({operation}"):
        load(path)


def test_normalization_by_the_batch_that_keeps_no_mean_is_no_training(exported: Export) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)).eval()
    program = load(exported(model, (3, 12, 12)))
    assert torch.equal(program(images(3, 3, 12)), model(images(3, 3, 12)))


class TakesTwo(nn.Module):
    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        return images + others


def test_a_program_of_other_inputs_is_refused(tmp_path: Path) -> None:
    batch = {0: Dim("batch")}
    path = tmp_path / "program.pt2"
    pair = (images(2, 3, 4), images(2, 3, 4))
    programs = [
        export(TakesTwo(), pair, dynamic_shapes=(batch, batch)),
        export(nn.Linear(3, 4), (torch.zeros(2, 3),), dynamic_shapes=(batch,)),
        export(nn.ReLU(), (), {"input": pair[0]}, dynamic_shapes={"input": batch}),
    ]
    for program in programs:
        save(program, path)
        with pytest.raises(
            ValueError, match=r"takes something else than \(batch, channel, row, col"
        ):
            load(path)


def test_damaged_files_are_refused_in_one_line_and_quietly(
    exported: Export, capfd: pytest.CaptureFixture[str]
) -> None:
    path = exported(network(), (3, 12, 12))
    content = path.read_bytes()
    capfd.readouterr()
    for damaged in (b"", b"hello", content[:100], content[:-200], content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=re.escape(str(path))) as refused:
            load(path)
        assert "is no program that can be read here" in str(refused.value)
        assert "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", "")


def test_a_program_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.pt2", tmp_path):
        with pytest.raises(FileNotFoundError, match=rf"^there is no file {re.escape(str(path))}$"):
            load(path)


def test_a_program_takes_no_weights(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"program\.pt2 brings its own weights"):
        from_program(Request("program.pt2", tmp_path / "w.pth", "unit", trust_pickle=True))


# What a file could do.


class Malice:
    """Its pickle creates a file when it is opened the careless way."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def rewritten(path: Path, member: str, content: Callable[[bytes], bytes]) -> None:
    """Replace one member of a program's archive."""
    copy = path.with_suffix(".copy")
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(copy, "w") as after:
        for item in before.infolist():
            data = before.read(item)
            after.writestr(item.filename, content(data) if item.filename.endswith(member) else data)
    shutil.move(copy, path)


def hidden_in_the_inputs(path: Path, malice: object) -> None:
    buffer = io.BytesIO()
    torch.save(((malice,), {}), buffer)
    rewritten(path, "sample_inputs/model.pt", lambda _: buffer.getvalue())


def hidden_in_the_weights(path: Path, malice: object) -> None:
    buffer = io.BytesIO()
    torch.save(malice, buffer)

    def pickled(content: bytes) -> bytes:
        config = json.loads(content)
        first = next(iter(config["config"].values()))
        first["use_pickle"] = True
        return json.dumps(config).encode()

    rewritten(path, "model_weights_config.json", pickled)
    rewritten(path, "weights/weight_0", lambda _: buffer.getvalue())


@pytest.mark.parametrize("hide", [hidden_in_the_inputs, hidden_in_the_weights])
def test_code_in_a_program_does_not_run_unless_it_is_trusted(
    exported: Export,
    tmp_path: Path,
    hide: Callable[[Path, object], None],
) -> None:
    path, mark = exported(network(), (3, 12, 12)), tmp_path / "mark"
    hide(path, Malice(mark))
    with pytest.raises(
        ValueError, match=r"program\.pt2 is a program, .* --trust-pickle"
    ) as refused:
        from_program(Request(str(path), input_format="unit"))
    assert "\n" not in str(refused.value)
    assert not mark.exists()
    with pytest.raises(ValueError, match=r"program\.pt2"):
        load(path)
    assert mark.exists()  # so this is what the refusal is for
