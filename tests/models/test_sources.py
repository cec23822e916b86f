"""Models come by name or from a file, and no file runs anything."""

import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ephys.models.checkpoint import save_checkpoint
from ephys.models.divnormei import DivNormEI
from ephys.models.gabor_bank import GaborBank
from ephys.models.input_format import INPUT_FORMATS, InputFormat
from ephys.models.sources import BUILT_IN, PATTERNS, SHIPPED, load, unloaded
from ephys.models.superres import SuperResolution, SuperResolutionSettings
from ephys.models.twolayer import TwoLayerCNN
from ephys.models.vgg import VGG

PROMISED = {
    "superres-divnormei": {"normalization": "divnormei", "excitation_from": "normalized"},
    "superres-divnormei-eq3": {"normalization": "divnormei", "excitation_from": "drive"},
    "superres-divnorm": {"normalization": "divnorm"},
    "superres-gabor": {"normalization": "none"},
}


def first_layer() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {
        "features.0.weight": torch.rand(64, 3, 3, 3, generator=generator),
        "features.0.bias": torch.rand(64, generator=generator),
    }


class Malice:
    """Its pickle creates a file when it is opened the careless way."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def saved(path: Path, content: Any) -> Path:
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path)
    return path


# By name.


SHARPENING = [name for name in SHIPPED if name.startswith("superres")]
CLASSIFYING = [name for name in SHIPPED if name.startswith("twolayer")]


def test_every_shipped_network_sharpens_or_classifies() -> None:
    assert [*SHARPENING, *CLASSIFYING] == list(SHIPPED)


@pytest.mark.parametrize("name", CLASSIFYING)
def test_a_shipped_classifier_is_what_its_name_promises(name: str) -> None:
    model = load(name)
    assert isinstance(model, TwoLayerCNN)
    _, normalization, start = name.split("-")
    assert model.settings.normalization == normalization
    assert model.settings.rectified == (normalization != "competition")
    initialization = {"independent": "kaiming", "alike": "kaiming_gaussian"}[start]
    assert model.settings.initialization == initialization
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("name", SHARPENING)
def test_a_shipped_network_is_what_its_name_promises(name: str) -> None:
    model = load(name)
    assert isinstance(model, SuperResolution)
    promised = {"projected": "all"} | PROMISED[name]
    assert {setting: getattr(model.settings, setting) for setting in promised} == promised
    assert not any(module.training for module in model.modules())
    bank = model.encoder[0]
    assert isinstance(bank, GaborBank)
    assert torch.equal(bank.filters, GaborBank().filters)


@pytest.mark.parametrize("name", sorted(set(SHARPENING) - {"superres-gabor"}))
def test_the_projected_parameters_of_a_shipped_network_are_non_negative(name: str) -> None:
    (normalization,) = (m for m in load(name).modules() if isinstance(m, DivNormEI))
    assert (normalization.excitation is not None) == (name != "superres-divnorm")
    for parameter in normalization.parameters():
        assert (parameter >= 0).all()
        assert parameter.any()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("superres-divnorme", "superres-divnormei or superres-divnorm"),
        ("vgg61", "vgg1"),
        ("vgg16@imagenet", "vgg16"),
        ("gabor", "superres-gabor"),
        ("xyz", "superres-divnormei or superres-divnormei-eq3 or superres-divnorm"),
        ("", "superres-divnormei"),
        ("a b:c", ""),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(
        KeyError, match=rf"no model '{name}'; did you mean {nearest}.*torchvision:NAME"
    ):
        load(name)


@pytest.mark.parametrize("options", [{"weights": Path("vgg.pth")}, {"input_format": "caffe"}])
def test_a_shipped_network_takes_no_other_weights(options: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match=r"^superres-gabor brings its own weights and input format"
    ):
        load("superres-gabor", **options)


def test_each_network_and_pattern_is_listed_with_one_line() -> None:
    listed = {**SHIPPED, **BUILT_IN, **PATTERNS}
    assert len(listed) == len(SHIPPED) + len(BUILT_IN) + len(PATTERNS)
    assert all(about and "\n" not in about for about in listed.values())
    assert max(len(name) + len(about) for name, about in listed.items()) < 98  # and two spaces


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_layers_of_every_network_built_here_can_be_listed_without_weights(name: str) -> None:
    model = unloaded(name)
    assert all(parameter.is_meta for parameter in model.parameters())
    side = model.input_format.height_px  # type: ignore[union-attr]
    scores = model.eval()(torch.empty(1, 3, side, side, device="meta"))  # type: ignore[arg-type]
    assert scores.shape == (1, 1000)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("alexnet@none", "AlexNet"),
        ("torchvision:squeezenet1_0@none", "SqueezeNet"),
        ("timm:test_resnet@none", "ResNet"),
        ("torch.nn:Identity", "Identity"),
    ],
)
def test_every_way_of_naming_leads_to_a_network_in_evaluation_mode(name: str, kind: str) -> None:
    format_name = "unit" if ":" in name[6:] else None
    model = load(name, input_format=format_name)
    assert type(model).__name__ == kind
    assert isinstance(model.input_format, InputFormat)
    assert not any(module.training for module in model.modules())


# From a checkpoint.


@pytest.mark.parametrize("kind", [str, Path])
def test_a_checkpoint_file_loads_by_its_path(tmp_path: Path, kind: type) -> None:
    settings = SuperResolutionSettings(excitation_size=3, inhibition_size=1)
    path = tmp_path / "mine.safetensors"
    save_checkpoint(path, SuperResolution(settings), {})
    model = load(kind(path))
    assert isinstance(model, SuperResolution)
    assert model.settings == settings
    with pytest.raises(ValueError, match=r"mine\.safetensors brings its own weights"):
        load(path, input_format="unit")


@pytest.mark.parametrize(
    "name", ["nothing.safetensors", "nothing.pth", "nothing.pt", "nothing.pt2", "."]
)
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(FileNotFoundError, match=rf"^there is no file {re.escape(str(path))}$"):
        load(path)


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors", "model.pt2", "model"])
@pytest.mark.parametrize("as_torch", [False, True])
def test_a_pickle_in_the_place_of_a_model_does_not_run(
    tmp_path: Path, name: str, as_torch: bool
) -> None:
    path, mark = tmp_path / name, tmp_path / "mark"
    if as_torch:
        torch.save(Malice(mark), path)
    else:
        path.write_bytes(pickle.dumps(Malice(mark)))
    for options in ({}, {"arch": "vgg16", "input_format": "unit"}):
        with pytest.raises(ValueError, match=rf"^{re.escape(str(path))} is ") as refused:
            load(path, **options)  # type: ignore[arg-type]
        assert "\n" not in str(refused.value)
    assert not mark.exists()


# From a file of weights.


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt", ".safetensors", ""])
@pytest.mark.parametrize("kind", [str, Path])
def test_a_network_and_a_file_may_be_named_either_way(
    tmp_path: Path, suffix: str, kind: type
) -> None:
    path = saved(tmp_path / f"vgg{suffix}", first_layer())
    for model in (
        load("vgg16", weights=kind(path), input_format="caffe"),
        load(kind(path), arch="vgg16", input_format="caffe"),
    ):
        assert isinstance(model, VGG)
        assert not any(module.training for module in model.modules())
        for name, tensor in first_layer().items():
            assert torch.equal(model.state_dict()[name], tensor)
        assert model.input_format == INPUT_FORMATS["caffe"]


def test_every_kind_of_name_may_be_that_of_the_network(tmp_path: Path) -> None:
    weights = load("torchvision:squeezenet1_1@none").state_dict()
    changed = {name: 2 * tensor for name, tensor in weights.items()}
    path = saved(tmp_path / "w.pth", {"state_dict": changed})
    for arch in ("torchvision:squeezenet1_1", "torchvision.models:squeezenet1_1"):
        model = load(path, arch=arch, input_format="unit")
        assert all(torch.equal(t, changed[name]) for name, t in model.state_dict().items())


def test_two_files_of_weights_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^weights=a\.pth and the file b\.pth: which of them"):
        load("b.pth", arch="vgg16", weights="a.pth")


@pytest.mark.parametrize("arch", ["superres-gabor", "net.pt2", "net.safetensors"])
def test_what_brings_its_own_weights_is_no_architecture(tmp_path: Path, arch: str) -> None:
    path = saved(tmp_path / "w.pth", first_layer())
    with pytest.raises(ValueError, match=rf"^{re.escape(arch)} brings its own weights"):
        load(path, arch=arch)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w"])
def test_weights_alone_are_answered_with_the_networks_they_could_be_of(
    tmp_path: Path, name: str
) -> None:
    path = saved(tmp_path / name, first_layer())
    with pytest.raises(
        ValueError, match=r"does not say of which network .*: --arch vgg11 or vgg13"
    ):
        load(path)
    path = saved(tmp_path / name, {"layer.weight": torch.zeros(2)})
    with pytest.raises(ValueError, match=r"name it: --arch NAME --input-format FORMAT$"):
        load(path)


# Modules that were saved whole.


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 64, 3))
        self.load_state_dict(first_layer())


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("__main__.Whole", Whole, raising=False)
    monkeypatch.setattr(Whole, "__module__", "__main__")
    return saved(tmp_path / "whole.pt", Whole())


def test_a_module_that_was_saved_whole_is_refused_with_the_ways_out(whole: Path) -> None:
    with pytest.raises(ValueError, match=r"save a state_dict\(\) instead, or pass --trust-pickle"):
        load(whole, input_format="unit")


def test_a_module_that_was_saved_whole_loads_if_it_is_trusted(whole: Path) -> None:
    model = load(whole, input_format="unit", trust_pickle=True)
    assert type(model) is Whole
    assert not model.training
    assert model.input_format == INPUT_FORMATS["unit"]
    with pytest.raises(
        ValueError, match=r"^which input does .*whole\.pt take\? pass --input-format"
    ):
        load(whole, trust_pickle=True)


def test_the_weights_of_a_trusted_module_go_into_a_network(whole: Path) -> None:
    model = load(whole, arch="vgg16", input_format="unit", trust_pickle=True)
    assert isinstance(model, VGG)
    assert torch.equal(model.state_dict()["features.0.bias"], first_layer()["features.0.bias"])
