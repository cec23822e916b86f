"""VGG-16 is the published network, and only as much of it as there are weights for."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ephys
from ephys.electrodes import electrodes
from ephys.models.input_format import InputFormat
from ephys.models.sources import read_state_dict
from ephys.models.vgg import INPUT_FORMATS, VGG16, vgg16
from ephys.stimuli import StimulusSet, grating, sweep

UNIT = INPUT_FORMATS["unit"]
CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
CHANNELS = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
POOLED_AFTER = (2, 7, 14, 21, 28)


def small(input_format: InputFormat = UNIT, size_px: int = 16) -> InputFormat:
    return replace(input_format, height_px=size_px, width_px=size_px, pixels_per_degree=8)


def expected_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of torchvision's state_dict, by rule."""
    shapes: dict[str, tuple[int, ...]] = {}
    for index, before, after in zip(CONVOLUTIONS, CHANNELS[:-1], CHANNELS[1:], strict=True):
        shapes[f"features.{index}.weight"] = (after, before, 3, 3)
        shapes[f"features.{index}.bias"] = (after,)
    for index, before, after in ((0, 512 * 7 * 7, 4096), (3, 4096, 4096), (6, 4096, 1000)):
        shapes[f"classifier.{index}.weight"] = (after, before)
        shapes[f"classifier.{index}.bias"] = (after,)
    return shapes


def random_weights(convolutions: int, seed: int = 5) -> dict[str, Tensor]:
    """The first layers, with a gain that keeps the responses of all of them alike."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for number, index in enumerate(CONVOLUTIONS[:convolutions]):
        before, after = CHANNELS[number : number + 2]
        scale = math.sqrt(2 / (9 * before))
        weights[f"features.{index}.weight"] = scale * torch.randn(
            after, before, 3, 3, generator=generator
        )
        weights[f"features.{index}.bias"] = 0.1 * torch.randn(after, generator=generator)
    return weights


def passing_weights(convolutions: int, gain: float = 1.0) -> dict[str, Tensor]:
    """Every channel answers the red of one pixel."""
    weights = random_weights(convolutions)
    for tensor in weights.values():
        tensor.zero_()
        if tensor.ndim == 4:
            tensor[:, 0, 1, 1] = 1
    weights["features.0.weight"] *= gain
    return weights


def gratings() -> StimulusSet:
    return sweep(grating, spatial_frequency=1, contrast=[0.2, 0.9], phase=[0, 60, 180])


def layer_outputs(model: nn.Module, images: Tensor, *layers: str) -> list[Tensor]:
    with torch.inference_mode(), electrodes(model, layers) as show:
        caught = show(images)
    return [caught[layer] for layer in layers]


def check_image() -> Tensor:
    """The picture of the data's SOURCE.txt, as luminances in [0, 1], float64."""
    y, x = np.mgrid[:32, :32]
    colors = np.stack([8 * x % 256, 8 * y % 256, 4 * (x + y) % 256])
    return torch.from_numpy(colors[None] / 255)


# The published weights.


def test_the_published_first_layers_answer_the_check_image_as_their_source_says(
    shared_data: Callable[[str], Path],
) -> None:
    path = shared_data("vgg16_imagenet") / "vgg16_conv_head.safetensors"
    model = vgg16(read_state_dict(path), INPUT_FORMATS["caffe"]).double()
    layers = ("features.1", "features.3", "features.6", "features.8")
    outputs = layer_outputs(model, model.input_format.encode(check_image()), *layers)
    means = [output.mean().item() for output in outputs]
    expected = [29.335972, 138.433018, 196.257763, 261.834208]  # its SOURCE.txt, to six digits
    np.testing.assert_allclose(means, expected, rtol=0, atol=6e-7)


def test_weights_refolded_for_another_input_are_the_same_function_inside_the_border(
    shared_data: Callable[[str], Path],
) -> None:
    folder = shared_data("vgg16_imagenet")
    answers = []
    for name, format_name in (
        ("vgg16_conv_head", "caffe"),
        ("vgg16_conv1_1_torchvision_norm", "torchvision"),
    ):
        state = read_state_dict(folder / f"{name}.safetensors")
        model = vgg16(state, INPUT_FORMATS[format_name]).double()
        answers += layer_outputs(model, model.input_format.encode(check_image()), "features.0")
    caffe, torchvision = answers
    inside = (..., slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(torchvision[inside], caffe[inside], rtol=0, atol=1e-3)
    difference = (torchvision - caffe).abs().amax((0, 1))
    difference[inside] = 0
    assert difference.max() > 1  # where the padding stands for another grey


# The architecture.


def test_names_and_shapes_of_the_weights_are_torchvisions() -> None:
    with torch.device("meta"):
        state = VGG16(UNIT).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == expected_shapes()


def test_there_are_as_many_parameters_as_the_paper_says() -> None:
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in VGG16(UNIT).parameters())
    assert count == 138_357_544  # 138 millions, table 2, configuration D


def test_the_convolutions_are_those_of_an_independent_implementation() -> None:
    weights = random_weights(13)
    images = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(1))
    rectified = [f"features.{index + 1}" for index in CONVOLUTIONS]
    *answers, pooled = layer_outputs(vgg16(weights, UNIT), images, *rectified, "features.30")
    expected = images.double()
    for index, answer in zip(CONVOLUTIONS, answers, strict=True):
        weight, bias = (weights[f"features.{index}.{name}"].double() for name in ("weight", "bias"))
        padded = F.pad(expected, (1, 1, 1, 1))
        patches = F.unfold(padded, 3)  # (image, 9 * channel, position)
        linear = weight.flatten(1) @ patches + bias[:, None]
        expected = linear.clamp(min=0).reshape(1, -1, *expected.shape[-2:])
        np.testing.assert_allclose(answer.double(), expected, rtol=1e-4, atol=1e-4)
        if index in POOLED_AFTER:
            rows, columns = (side // 2 for side in expected.shape[-2:])
            expected = expected.reshape(1, -1, rows, 2, columns, 2).amax((3, 5))
    np.testing.assert_allclose(pooled.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "color", "encoded"),
    [
        # ImageNet's mean color, and mean plus one s.d. (torchvision's documentation).
        ("torchvision", (0.485, 0.456, 0.406), (0, 0, 0)),
        ("torchvision", (0.485 + 0.229, 0.456 + 0.224, 0.406 + 0.225), (1, 1, 1)),
        # The VGG team's mean color, RGB; white is 255 in every channel.
        ("caffe", (123.68 / 255, 116.779 / 255, 103.939 / 255), (0, 0, 0)),
        ("caffe", (1, 1, 1), (131.32, 138.221, 151.061)),
        ("unit", (0.1, 0.5, 0.9), (0.1, 0.5, 0.9)),
    ],
)
def test_each_input_format_encodes_known_colors_as_published(
    name: str, color: tuple[float, ...], encoded: tuple[float, ...]
) -> None:
    image = torch.tensor(color, dtype=torch.float64)[None, :, None, None].expand(1, 3, 2, 2)
    result = INPUT_FORMATS[name].encode(image)
    expected = torch.tensor(encoded, dtype=torch.float64)[:, None, None].expand(1, 3, 2, 2)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-9)


# A file that holds only the first layers.


@pytest.mark.parametrize("layer", ["features.1", "features.3"])
def test_the_first_layers_record_what_they_were_built_to_answer(layer: str) -> None:
    model = vgg16(passing_weights(2, gain=3), small())
    responses = ephys.record(model, gratings(), [layer])
    # A grating is centred on the pixel that the unit answers: 3/2 (1 + c cos(phase)).
    wave = responses["contrast"] * np.cos(np.deg2rad(responses["phase"]))
    expected = 1.5 * (1 + wave).values[:, None] * np.ones(64)
    np.testing.assert_allclose(responses["response"], expected, rtol=2e-6)
    np.testing.assert_allclose(responses["blank"], 1.5, rtol=1e-6)


def test_a_layer_without_weights_refuses_by_its_name_when_it_is_recorded() -> None:
    model = vgg16(random_weights(4), small())
    for layers in (["features.10"], ["features.3", "features.30"]):
        with pytest.raises(ValueError, match="came without weights") as refused:
            ephys.record(model, gratings(), layers)
        assert str(refused.value) == (
            "layer 'features.10' came without weights; record from layers before it"
        )
    responses = ephys.record(model, gratings(), ["features.3"])  # and is as it was
    assert np.isfinite(responses["response"]).all()


def test_what_has_no_weights_answers_up_to_the_first_layer_that_lacks_them() -> None:
    weights = random_weights(4)
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    (rectified, pooled) = layer_outputs(vgg16(weights, UNIT), images, "features.8", "features.9")
    assert torch.equal(pooled, F.max_pool2d(rectified, 2))


@pytest.mark.parametrize("part", ["weight", "bias"])
def test_a_layer_with_half_its_weights_refuses_too(part: str) -> None:
    weights = random_weights(2)
    del weights[f"features.2.{part}"]
    model = vgg16(weights, small())
    with pytest.raises(ValueError, match=r"^layer 'features\.2' came without weights"):
        ephys.record(model, gratings(), model.default_layers)
    assert ephys.record(model, gratings(), ["features.1"]).sizes["unit"] == 64


def test_layers_without_weights_hold_no_memory() -> None:
    weights = random_weights(2)
    model = vgg16(weights, UNIT)
    held = {name: p for name, p in model.named_parameters() if not p.is_meta}
    assert set(held) == set(weights)
    assert all(torch.equal(held[name], tensor) for name, tensor in weights.items())


def test_the_model_comes_in_evaluation_mode() -> None:
    model = vgg16(random_weights(1), UNIT)
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_recorded_from(precision: torch.dtype) -> None:
    # All of the passing weights are exact in every precision.
    weights = {name: tensor.to(precision) for name, tensor in passing_weights(1).items()}
    responses = ephys.record(vgg16(weights, small()), gratings(), ["features.1"])
    expected = ephys.record(vgg16(passing_weights(1), small()), gratings(), ["features.1"])
    np.testing.assert_array_equal(responses["response"], expected["response"])


# Refusals.


def test_weights_of_another_network_are_refused_by_their_name() -> None:
    weights = random_weights(1) | {"conv1.weight": torch.zeros(96, 3, 11, 11)}
    with pytest.raises(
        ValueError, match=r"VGG-16 has no weights 'conv1\.weight'; its first are features\.0\.wei"
    ):
        vgg16(weights, UNIT)


def test_weights_of_another_shape_are_refused_with_both_shapes() -> None:
    weights = random_weights(2) | {"features.2.weight": torch.zeros(64, 64, 5, 5)}
    message = "features.2.weight has shape (64, 64, 5, 5), and in VGG-16 (64, 64, 3, 3)"
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}$"):
        vgg16(weights, UNIT)


def test_no_weights_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="the file holds no weights"):
        vgg16({}, UNIT)
