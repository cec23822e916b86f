"""VGG is the published network, as torchvision has it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from ephys.electrodes import electrodes
from ephys.models.input_format import INPUT_FORMATS
from ephys.models.state_dicts import fill, read_state_dict
from ephys.models.vgg import CONVOLUTIONS, VGG

NAMES = [f"vgg{depth}{suffix}" for depth in CONVOLUTIONS for suffix in ("", "_bn")]


def unloaded(name: str) -> VGG:
    with torch.device("meta"):
        return VGG(int(name[3:5]), batch_norm=name.endswith("_bn")).eval()


def torchvisions(name: str) -> nn.Module:
    with torch.device("meta"):
        return torchvision.models.get_model(name).eval()


def random_weights(network: nn.Module, part: str, seed: int = 5) -> dict[str, Tensor]:
    """For one part, with a gain that keeps the responses of all of its layers alike."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, tensor in network.state_dict().items():
        if name.startswith(part) and not name.endswith("num_batches_tracked"):
            gain = (2 / tensor[0].numel()) ** 0.5 if tensor.ndim == 4 else 0.1
            weights[name] = gain * torch.randn(tensor.shape, generator=generator)
            if name.endswith("running_var"):
                weights[name].abs_()
    return weights


def check_image() -> Tensor:
    """The picture of the data's SOURCE.txt, as luminances in [0, 1], float64."""
    y, x = np.mgrid[:32, :32]
    colors = np.stack([8 * x % 256, 8 * y % 256, 4 * (x + y) % 256])
    return torch.from_numpy(colors[None] / 255)


def answers_to_the_check_image(path: Path, format_name: str, *layers: str) -> list[Tensor]:
    model = unloaded("vgg16")
    fill(model, read_state_dict(path), partly=True)
    with torch.inference_mode(), electrodes(model.double(), layers) as show:
        caught = show(INPUT_FORMATS[format_name].encode(check_image()))
    return [caught[layer] for layer in layers]


# The published weights.


def test_the_published_first_layers_answer_the_check_image_as_their_source_says(
    shared_data: Callable[[str], Path],
) -> None:
    path = shared_data("vgg16_imagenet") / "vgg16_conv_head.safetensors"
    layers = ("features.1", "features.3", "features.6", "features.8")
    means = [output.mean().item() for output in answers_to_the_check_image(path, "caffe", *layers)]
    expected = [29.335972, 138.433018, 196.257763, 261.834208]  # its SOURCE.txt, to six digits
    np.testing.assert_allclose(means, expected, rtol=0, atol=6e-7)


def test_weights_refolded_for_another_input_are_the_same_function_inside_the_border(
    shared_data: Callable[[str], Path],
) -> None:
    folder = shared_data("vgg16_imagenet")
    caffe, torchvision = (
        answers_to_the_check_image(folder / f"{name}.safetensors", format_name, "features.0")[0]
        for name, format_name in [
            ("vgg16_conv_head", "caffe"),
            ("vgg16_conv1_1_torchvision_norm", "torchvision"),
        ]
    )
    inside = (..., slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(torchvision[inside], caffe[inside], rtol=0, atol=1e-3)
    difference = (torchvision - caffe).abs().amax((0, 1))
    difference[inside] = 0
    assert difference.max() > 1  # where the padding stands for another grey


# The architecture.


@pytest.mark.parametrize("name", NAMES)
def test_layers_and_weights_are_torchvisions(name: str) -> None:
    ours, theirs = unloaded(name), torchvisions(name)
    assert repr(ours) == repr(theirs)  # every layer with its settings
    shapes = [
        {name: (tensor.shape, tensor.dtype) for name, tensor in network.state_dict().items()}
        for network in (ours, theirs)
    ]
    assert shapes[0] == shapes[1]
    assert list(shapes[0]) == list(shapes[1])


@pytest.mark.parametrize(
    ("depth", "millions"), [(11, 133), (13, 133), (16, 138), (19, 144)], ids=str
)
def test_there_are_as_many_parameters_as_the_paper_says(depth: int, millions: int) -> None:
    count = sum(parameter.numel() for parameter in unloaded(f"vgg{depth}").parameters())
    assert round(count / 1e6) == millions  # table 2, configurations A, B, D and E


@pytest.mark.parametrize("name", ["vgg11", "vgg16", "vgg19_bn"])
def test_the_same_weights_answer_exactly_as_in_torchvisions(name: str) -> None:
    ours, theirs = unloaded(name), torchvisions(name)
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, 64, 32, generator=generator)
    head = nn.Linear(512 * 7 * 7, 5)  # in the place of 120 million weights
    for network in (ours, theirs):
        network.classifier = nn.Sequential(head)
        fill(network, random_weights(network, "features.") | _of(head), partly=True)
    with torch.inference_mode():
        answer = ours(images)
        assert torch.equal(answer, theirs(images))
    assert answer.std() > 0.01


def _of(head: nn.Module) -> dict[str, Tensor]:
    return {f"classifier.0.{name}": tensor for name, tensor in head.state_dict().items()}


@pytest.mark.parametrize("name", ["vgg11", "vgg16_bn"])
def test_first_weights_are_drawn_as_torchvision_draws_them(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    class Linear(nn.Linear):  # 120 million weights fewer
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__(min(inputs, 20), min(outputs, 20))

    monkeypatch.setattr(nn, "Linear", Linear)
    with torch.random.fork_rng():
        torch.manual_seed(6)
        ours = VGG(int(name[3:5]), batch_norm=name.endswith("_bn")).state_dict()
        torch.manual_seed(6)
        theirs = torchvision.models.get_model(name).state_dict()
    assert len(ours) == len(theirs)
    assert all(torch.equal(theirs[key], tensor) for key, tensor in ours.items())


def test_the_convolutions_are_those_of_an_independent_implementation() -> None:
    model = unloaded("vgg16")
    weights = random_weights(model, "features.")
    fill(model, weights, partly=True)
    images = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(1))
    convolutions = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    layers = [*(f"features.{index + 1}" for index in convolutions), "features.30"]
    with torch.inference_mode(), electrodes(model, layers) as show:
        caught = show(images)
    expected = images.double()
    for index in convolutions:
        weight, bias = (weights[f"features.{index}.{name}"].double() for name in ("weight", "bias"))
        padded = F.pad(expected, (1, 1, 1, 1))
        patches = F.unfold(padded, 3)  # (image, 9 * channel, position)
        linear = weight.flatten(1) @ patches + bias[:, None]
        expected = linear.clamp(min=0).reshape(1, -1, *expected.shape[-2:])
        answer = caught[f"features.{index + 1}"]
        np.testing.assert_allclose(answer.double(), expected, rtol=1e-4, atol=1e-4)
        if index in (2, 7, 14, 21, 28):
            rows, columns = (side // 2 for side in expected.shape[-2:])
            expected = expected.reshape(1, -1, rows, 2, columns, 2).amax((3, 5))
    np.testing.assert_allclose(caught["features.30"].double(), expected, rtol=1e-4, atol=1e-4)
