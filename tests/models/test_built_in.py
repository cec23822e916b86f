"""Networks that are built here come with a file's weights, published ones, or none."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

import ephys
from ephys.models.built_in import NETWORKS, fitting, load_built_in, unloaded
from ephys.models.input_format import INPUT_FORMATS, InputFormat
from ephys.models.loading import Request
from ephys.models.state_dicts import fill, read_state_dict
from ephys.stimuli import StimulusSet, grating, sweep

FETCHED = [name for name, network in NETWORKS.items() if network.published]
UNIT = InputFormat(channels=3, height_px=16, width_px=16, pixels_per_degree=8)


def first_layers(name: str = "vgg16", layers: int = 2) -> dict[str, Tensor]:
    """Every channel answers three times the red of one pixel."""
    weights = {}
    for key, tensor in list(unloaded(name).state_dict().items())[: 2 * layers]:
        weights[key] = torch.zeros(tensor.shape)
        if tensor.ndim == 4:
            weights[key][:, 0, tensor.shape[2] // 2, tensor.shape[3] // 2] = 1
    first = next(iter(weights))
    weights[first] *= 3
    return weights


def saved(path: Path, weights: dict[str, Tensor]) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)
    return path


def partial_vgg16(layers: int = 2) -> nn.Module:
    model = unloaded("vgg16", UNIT)
    fill(model, first_layers(layers=layers), partly=True)
    return model


def gratings() -> StimulusSet:
    return sweep(grating, spatial_frequency=1, contrast=[0.2, 0.9], phase=[0, 60, 180])


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    """Where torch keeps what it fetched."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path / "hub")
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    yield tmp_path / "hub" / "checkpoints"
    torch.hub.set_dir(before)


# What is published.


@pytest.mark.parametrize("name", FETCHED)
def test_the_published_files_are_torchvisions(name: str) -> None:
    published = torchvision.models.get_model_weights(name).IMAGENET1K_V1
    assert NETWORKS[name].published == published.url


@pytest.mark.parametrize("name", FETCHED)
def test_the_published_weights_take_what_torchvision_transforms_to(name: str) -> None:
    transforms = torchvision.models.get_model_weights(name).IMAGENET1K_V1.transforms()
    own = NETWORKS[name].format()
    assert [own.height_px, own.width_px] == 2 * transforms.crop_size
    assert (list(own.mean), list(own.std), own.scale) == (transforms.mean, transforms.std, 1)


def test_every_vgg_and_alexnet_of_torchvision_is_here() -> None:
    theirs = torchvision.models.list_models(include=["vgg*", "alexnet"])
    assert sorted(FETCHED) == sorted(theirs)


@pytest.mark.parametrize("name", ["vgg16", "alexnet"])
def test_without_weights_the_published_ones_are_taken(cache: Path, name: str) -> None:
    published = NETWORKS[name].published
    assert published
    torch.save(first_layers(name), cache / published.rsplit("/", 1)[-1])
    model = load_built_in(Request(name))
    for key, tensor in first_layers(name).items():
        assert torch.equal(model.state_dict()[key], tensor)
    assert model.input_format == NETWORKS[name].format()


def test_the_published_weights_take_no_other_input(cache: Path) -> None:
    with pytest.raises(ValueError, match=r"published weights do not take 'caffe' input"):
        load_built_in(Request("vgg16", input_format="caffe"))


def test_caffenet_is_not_fetched_but_asked_for(cache: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"^no weights of caffenet are .* --input-format caffenet, or .*caffenet@none",
    ):
        load_built_in(Request("caffenet"))


# Weights of a file.


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_may_hold_the_first_layers_only(tmp_path: Path, name: str) -> None:
    weights = first_layers(name, layers=1)
    path = saved(tmp_path / "head.safetensors", weights)
    model = load_built_in(Request(name, path, "unit"))
    held = {key: tensor for key, tensor in model.state_dict().items() if not tensor.is_meta}
    assert {key for key, tensor in held.items() if tensor.ndim} == set(weights)
    assert all(torch.equal(held[key], tensor) for key, tensor in weights.items())
    side = NETWORKS[name].size_px
    assert model.input_format == InputFormat(3, side, side)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_first_two_rectified_convolutions_are_recorded_by_default(name: str) -> None:
    model = unloaded(name)
    layers = dict(model.named_modules())
    assert isinstance(model.default_layers, tuple)
    assert [type(layers[layer]) for layer in model.default_layers] == [nn.ReLU, nn.ReLU]
    before = list(layers)[: list(layers).index(model.default_layers[1])]
    assert sum(isinstance(layers[layer], nn.Conv2d) for layer in before) == 2


def test_weights_without_an_input_format_are_asked_for_it(tmp_path: Path) -> None:
    path = saved(tmp_path / "head.safetensors", first_layers())
    with pytest.raises(ValueError, match=r"head\.safetensors take\? pass --input-format"):
        load_built_in(Request("vgg16", path))


def test_weights_of_another_network_are_refused_with_the_file_and_the_network(
    tmp_path: Path,
) -> None:
    path = saved(tmp_path / "w.safetensors", first_layers("caffenet"))
    message = (
        f"{path}: the network has no weights 'conv1.bias'; its first are features.0.weight; "
        "these could be weights of caffenet"
    )
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}$"):
        load_built_in(Request("alexnet", path, "unit"))
    path = saved(tmp_path / "other.safetensors", {"stem.weight": torch.zeros(2)})
    with pytest.raises(ValueError, match=r"has no weights 'stem\.weight'; its first are .*weight$"):
        load_built_in(Request("alexnet", path, "unit"))


def test_weights_fit_the_networks_that_have_them_all() -> None:
    assert fitting(first_layers("vgg16")) == ["vgg13", "vgg16", "vgg19"]
    assert fitting({f"module.{key}": t for key, t in first_layers("vgg11").items()}) == ["vgg11"]
    assert fitting(first_layers("alexnet")) == ["alexnet"]
    assert fitting({"conv1.weight": torch.zeros(64, 3, 7, 7)}) == []
    for name in NETWORKS:
        assert fitting(unloaded(name).state_dict()) == [name]


def test_the_weights_of_caffenet_are_recognized(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("alexnet_imagenet")
    assert fitting(read_state_dict(folder / "caffenet_conv_head.safetensors")) == ["caffenet"]


# Untrained.


def test_an_untrained_network_is_torchvisions_of_the_same_seed() -> None:
    torch.manual_seed(4)
    before = torch.get_rng_state()
    model = load_built_in(Request("alexnet@none"))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(0)
    theirs = torchvision.models.alexnet().state_dict()
    assert all(torch.equal(theirs[key], tensor) for key, tensor in model.state_dict().items())
    assert model.input_format == INPUT_FORMATS["torchvision"]


def test_an_untrained_network_takes_the_input_that_is_asked_for() -> None:
    model = load_built_in(Request("caffenet@none", input_format="unit"))
    assert model.input_format == InputFormat(3, 227, 227)


def test_an_untrained_network_takes_no_weights(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^vgg16@none is untrained; name vgg16 to pass it weigh"):
        load_built_in(Request("vgg16@none", tmp_path / "w.pth"))


# Recording from the first layers.


@pytest.mark.parametrize("layer", ["features.1", "features.3"])
def test_the_first_layers_record_what_they_were_built_to_answer(layer: str) -> None:
    responses = ephys.record(partial_vgg16(), gratings(), [layer])
    # A grating is centred on the pixel that the unit answers: 3/2 (1 + c cos(phase)).
    wave = responses["contrast"] * np.cos(np.deg2rad(responses["phase"]))
    expected = 1.5 * (1 + wave).values[:, None] * np.ones(64)
    np.testing.assert_allclose(responses["response"], expected, rtol=2e-6)
    np.testing.assert_allclose(responses["blank"], 1.5, rtol=1e-6)


def test_a_layer_without_weights_refuses_by_its_name_when_it_is_recorded() -> None:
    model = partial_vgg16(layers=4)
    for layers in (["features.10"], ["features.3", "features.30"]):
        with pytest.raises(ValueError, match="came without weights") as refused:
            ephys.record(model, gratings(), layers)
        assert str(refused.value) == (
            "layer 'features.10' came without weights; record from layers before it"
        )
    responses = ephys.record(model, gratings(), ["features.3"])  # and is as it was
    assert np.isfinite(responses["response"]).all()


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_recorded_from(
    tmp_path: Path, precision: torch.dtype
) -> None:
    # All of these weights are exact in every precision.
    weights = {name: tensor.to(precision) for name, tensor in first_layers().items()}
    path = saved(tmp_path / "w.safetensors", weights)
    model = load_built_in(Request("vgg16", path, replace(UNIT)))
    responses = ephys.record(model, gratings(), ["features.1"])
    expected = ephys.record(partial_vgg16(), gratings(), ["features.1"])
    np.testing.assert_array_equal(responses["response"], expected["response"])
