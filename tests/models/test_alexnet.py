"""AlexNet is torchvision's, CaffeNet is Caffe's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from ephys.electrodes import electrodes
from ephys.models.alexnet import AlexNet, CaffeNet
from ephys.models.input_format import INPUT_FORMATS
from ephys.models.state_dicts import fill, read_state_dict


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build().eval()


def layer(name: str) -> nn.Module:
    return on_meta(CaffeNet).get_submodule(name)


def test_alexnets_layers_and_weights_are_torchvisions() -> None:
    ours, theirs = on_meta(AlexNet), on_meta(torchvision.models.alexnet)
    assert repr(ours) == repr(theirs)  # every layer with its settings
    shapes = [
        [(name, tensor.shape) for name, tensor in network.state_dict().items()]
        for network in (ours, theirs)
    ]
    assert shapes[0] == shapes[1]


def test_alexnet_answers_exactly_as_torchvisions_with_the_same_weights() -> None:
    ours, theirs = on_meta(AlexNet), on_meta(torchvision.models.alexnet)
    generator = torch.Generator().manual_seed(1)
    weights = {
        # One row for all units of a large layer, so that it holds no memory.
        name: torch.randn(1, *tensor.shape[1:], generator=generator).expand(tensor.shape)
        if tensor.numel() > 1e6
        else torch.randn(tensor.shape, generator=generator)
        for name, tensor in ours.state_dict().items()
    }
    for network in (ours, theirs):
        fill(network, weights, partly=True)
    images = torch.rand(2, 3, 95, 127, generator=generator)
    with torch.inference_mode():
        answer = ours(images)
        assert torch.equal(answer, theirs(images))
    assert answer.shape == (2, 1000)
    assert answer.std() > 0


def test_caffenets_layers_are_caffes() -> None:
    # bvlc_reference_caffenet/train_val.prototxt, but for its data and its softmax
    names = (
        "conv1 relu1 pool1 norm1 conv2 relu2 pool2 norm2 conv3 relu3 conv4 relu4 conv5 relu5 pool5 "
        "fc6 relu6 drop6 fc7 relu7 drop7 fc8"
    )
    assert [name for name, _ in on_meta(CaffeNet).named_modules() if name] == names.split()


def test_caffenet_has_as_many_parameters_as_krizhevsky_says() -> None:
    count = sum(parameter.numel() for parameter in on_meta(CaffeNet).parameters())
    assert count == 60_965_224  # 60 millions (2012, section 3.5)


def test_the_shapes_of_caffenets_maps_are_those_of_the_paper() -> None:
    model = on_meta(CaffeNet)
    layers = ["conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5", "fc6", "fc8"]
    with torch.inference_mode(), electrodes(model, layers) as show:
        caught = show(torch.empty(2, 3, 227, 227, device="meta"))
    assert [tuple(caught[layer].shape[1:]) for layer in layers] == [
        *((96, 55, 55), (96, 27, 27), (256, 27, 27), (256, 13, 13)),
        *((384, 13, 13), (384, 13, 13), (256, 13, 13), (256, 6, 6)),
        *((4096,), (1000,)),
    ]


def test_the_published_first_layers_answer_the_check_image_as_their_source_says(
    shared_data: Callable[[str], Path],
) -> None:
    model = on_meta(CaffeNet)
    path = shared_data("alexnet_imagenet") / "caffenet_conv_head.safetensors"
    fill(model, read_state_dict(path), partly=True)
    y, x = np.mgrid[:227, :227]
    colors = torch.from_numpy(np.stack([x % 256, y % 256, (x + y) // 2 % 256])[None] / 255)
    layers = ("relu1", "relu2")
    with torch.inference_mode(), electrodes(model.double(), layers) as show:
        caught = show(INPUT_FORMATS["caffenet"].encode(colors))
    means = [caught[layer].mean().item() for layer in layers]
    np.testing.assert_allclose(means, [17.478238, 5.165428], rtol=0, atol=6e-7)  # its SOURCE.txt


def test_caffenet_normalizes_after_pooling_by_five_channels() -> None:
    generator = torch.Generator().manual_seed(2)
    pooled = 30 * torch.rand(1, 96, 3, 3, generator=generator, dtype=torch.float64)
    squares = F.pad(pooled**2, (0, 0, 0, 0, 2, 2))
    summed = torch.stack([squares[:, k : k + 96] for k in range(5)]).sum(0)
    expected = pooled / (1 + 1e-4 / 5 * summed) ** 0.75  # Caffe divides alpha by the size
    np.testing.assert_allclose(layer("norm1")(pooled), expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["conv2", "conv4", "conv5"])
def test_the_groups_of_caffenet_do_not_see_each_other(name: str) -> None:
    convolution: Any = layer(name)
    half = convolution.in_channels // 2
    shape = convolution.weight.shape
    fill(convolution, {"weight": torch.ones(shape), "bias": torch.zeros(shape[0])}, partly=True)
    images = torch.zeros(1, 2 * half, 5, 5)
    images[:, half:] = 1
    answer = convolution(images)
    assert not answer[:, : shape[0] // 2].any()
    assert (answer[:, shape[0] // 2 :] > 0).all()


def test_caffenets_pools_round_up_as_caffes() -> None:
    maps = torch.arange(36.0).reshape(1, 1, 6, 6)
    pooled = layer("pool1")(maps)
    assert pooled.tolist() == [[[[14, 16, 17], [26, 28, 29], [32, 34, 35]]]]
