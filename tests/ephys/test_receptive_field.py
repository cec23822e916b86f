"""Receptive fields against what reaches the layers of whole networks, and worked out by hand."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision import models as zoo
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.maxvit import MaxVit
from torchvision.models.swin_transformer import (
    PatchMergingV2,
    SwinTransformer,
    SwinTransformerBlockV2,
)

from ephys.electrodes import Contact, listening
from ephys.models import load, vgg
from ephys.models.built_in import NETWORKS, unloaded
from ephys.models.gabor_bank import GaborBank
from ephys.models.sources import SHIPPED
from ephys.receptive_field import Geometry, geometry, survey

Size = tuple[int, int, int]
Build = Callable[[], nn.Module]


def noise(size: Size, batch: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(batch, *size, generator=torch.Generator().manual_seed(0), dtype=dtype)


def poisoned(model: nn.Module, geometries: dict[str, Geometry], size: Size) -> dict[str, Any]:
    """By layer, the boxes of all its positions, (position, 4), as what NaN in an image reaches.

    A NaN spreads to all that is made of it, whatever the weights are: one image for each row,
    and one for each column, that is NaN show the first and the last that a unit sees.
    """
    _, height, width = size
    images = noise(size, height + width)
    for row in range(height):
        images[row, :, row] = torch.nan
    for column in range(width):
        images[height + column, :, :, column] = torch.nan
    contacts = {layer: Contact.parse(layer) for layer in geometries}
    found: dict[str, np.ndarray] = {}

    def hear(name: str, call: int, output: Any) -> bool:
        for layer, contact in contacts.items():
            if (contact.name, contact.call or 1) == (name, call):
                answer = geometries[layer].sites(contact.tensor(output))
                reached = answer.isnan().any(1).numpy()  # (image, position)
                found[layer] = np.concatenate([_span(reached[:height]), _span(reached[height:])]).T
        return len(found) == len(contacts)

    names = {contact.name for contact in contacts.values()}
    with torch.no_grad(), listening(model, names, hear) as run:
        run(images)
    return found


def _span(reached: np.ndarray) -> np.ndarray:
    """First and last line from which each position is reached, NaN where there is none."""
    span = np.stack([reached.argmax(0), len(reached) - 1 - reached[::-1].argmax(0)])
    return np.where(reached.any(0), span, np.nan)


def filled(network: nn.Module) -> nn.Module:
    """One that was built without weights, with some that keep its numbers small."""
    network = network.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in [*network.parameters(), *network.buffers()]:
            tensor.fill_(1 / tensor[0].numel() if tensor.ndim > 1 else 1)
    return network


def built_in(name: str) -> nn.Module:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vgg, "WIDTHS", (2,) * 5)  # receptive fields do not depend on them
        network = unloaded(name)
    for child in {"classifier", "fc6", "fc7", "fc8"} & dict(network.named_children()).keys():
        setattr(network, child, nn.Identity())  # they see what they are given, and are large
    return filled(network)


def torchvisions(name: str, **options: Any) -> nn.Module:
    with torch.device("meta"):  # to draw weights takes longer than all the rest
        return filled(zoo.get_model(name, weights=None, **options))


def convnext() -> nn.Module:
    return ConvNeXt([CNBlockConfig(8, 16, 2), CNBlockConfig(16, 24, 1), CNBlockConfig(24, None, 1)])


def swin() -> nn.Module:
    """Windows of 4 x 4 patches of 4 x 4 pixels, which every second block shifts by 2 patches."""
    return SwinTransformer([4, 4], 8, [2, 2], [2, 2], [4, 4])


def swin_v2() -> nn.Module:
    return SwinTransformer(
        *([4, 4], 8, [2, 2], [2, 2], [4, 4]),
        block=SwinTransformerBlockV2,
        downsample_layer=PatchMergingV2,
    )


def vit() -> nn.Module:
    return zoo.VisionTransformer(64, 16, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32)


def maxvit() -> nn.Module:
    return MaxVit(
        input_size=(64, 64),
        stem_channels=8,
        partition_size=2,
        block_channels=[8, 16],
        block_layers=[1, 1],
        head_dim=4,
        stochastic_depth_prob=0,
    )


SMALL = (3, 32, 40)
SIDES = (3, 32, 32)  # of a classifier, which has to be shown all of its image
ARCHITECTURES: dict[str, tuple[Build, Size]] = {
    **{name: (partial(load, name), (1, 36, 44)) for name in SHIPPED if "superres" in name},
    **{name: (partial(load, name), SIDES) for name in SHIPPED if name.endswith("independent")},
    **{name: (partial(built_in, name), (3, 40, 36)) for name in NETWORKS if "vgg" in name},
    "alexnet": (partial(built_in, "alexnet"), (3, 79, 64)),
    "caffenet": (partial(built_in, "caffenet"), (3, 83, 67)),
    "torchvision alexnet": (partial(torchvisions, "alexnet"), (3, 64, 80)),
    "vgg11_bn of torchvision": (
        partial(torchvisions, "vgg11_bn", init_weights=False),
        (3, 32, 40),
    ),
    "resnet18": (partial(torchvisions, "resnet18"), (3, 64, 72)),
    "resnext50_32x4d": (partial(torchvisions, "resnext50_32x4d"), SMALL),
    "squeezenet1_1": (partial(torchvisions, "squeezenet1_1"), (3, 64, 72)),
    "densenet121": (partial(torchvisions, "densenet121"), SMALL),
    "googlenet": (partial(torchvisions, "googlenet", init_weights=False), (3, 56, 48)),
    "inception_v3": (partial(torchvisions, "inception_v3", init_weights=False), (3, 75, 79)),
    "shufflenet_v2_x0_5": (partial(torchvisions, "shufflenet_v2_x0_5"), (3, 64, 72)),
    "mobilenet_v2": (partial(torchvisions, "mobilenet_v2"), SMALL),
    "mobilenet_v3_small": (partial(torchvisions, "mobilenet_v3_small"), SMALL),
    "mnasnet0_5": (partial(torchvisions, "mnasnet0_5"), (3, 64, 72)),
    "efficientnet_b0": (partial(torchvisions, "efficientnet_b0"), SMALL),
    "regnet_y_400mf": (partial(zoo.get_model, "regnet_y_400mf"), SMALL),
    "ConvNeXt": (convnext, (3, 64, 72)),
    "Swin": (swin, (3, 64, 80)),
    "Swin V2": (swin_v2, (3, 48, 64)),
    "ViT": (vit, (3, 64, 64)),
    "MaxViT": (maxvit, (3, 64, 64)),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_layer_sees_what_reaches_it(name: str) -> None:
    build, size = ARCHITECTURES[name]
    model = build().eval()
    layers = [layer for layer, _ in model.named_modules() if layer]
    found = survey(model, layers, noise(size))
    assert len(found.geometries) > len(layers) / 3
    measured = poisoned(model, found.geometries, size)
    for layer, known in found.geometries.items():
        assert known.status in ("exact", "whole input"), layer
        np.testing.assert_array_equal(known.boxes, measured[layer], err_msg=layer)


def smooth(model: nn.Module) -> nn.Module:
    """Without thresholds and choices, so that all that is seen has a derivative."""
    model = copy.deepcopy(model).double()
    for parent in list(model.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.ReLU):
                setattr(parent, name, nn.Softplus())
            if isinstance(layer, nn.MaxPool2d):
                options = (layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode)
                setattr(parent, name, nn.AvgPool2d(*options))
    return model


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("superres-divnormei", ["encoder.gabor_bank", "encoder.normalization", "decoder.3"]),
        ("superres-gabor", ["encoder.gabor_bank", "decoder.6"]),
        ("resnet18", ["maxpool", "layer1.0", "layer2.0.conv1", "layer3.1"]),
        ("googlenet", ["conv3", "inception3b", "inception4c"]),
    ],
)
def test_derivatives_reach_as_far(name: str, layers: list[str]) -> None:
    """An independent measure, of the middle and of the corners of some layers."""
    build, size = ARCHITECTURES[name]
    model = smooth(build()).eval()
    found = survey(model, layers, noise(size, dtype=torch.float64)).geometries
    for layer, known in found.items():
        last = len(known.boxes) - 1
        for site in (0, known.central(*size[1:]), last):
            seen = np.zeros(size[1:], bool)
            for seed in range(2):
                images = torch.rand(
                    *(1, *size), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
                ).requires_grad_()

                def hear(
                    heard: str, call: int, output: Tensor, known: Geometry = known, site: int = site
                ) -> bool:
                    known.sites(output)[..., site].sum().backward()  # type: ignore[no-untyped-call]
                    return True

                with listening(model, [layer], hear) as run:
                    run(images)
                assert images.grad is not None
                seen |= (images.grad[0].abs().sum(0) != 0).numpy()
            rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
            box = [rows[0], rows[-1], columns[0], columns[-1]]
            np.testing.assert_array_equal(known.boxes[site], box, err_msg=f"{layer}, {site}")


@dataclass(frozen=True)
class Step:
    """One layer of a chain, the same in both directions."""

    kernel: int
    stride: int
    padding: int
    dilation: int
    pools: bool = False

    def layer(self) -> nn.Module:
        if self.pools:
            return nn.MaxPool2d(self.kernel, self.stride, min(self.padding, self.kernel // 2))
        return nn.Conv2d(1, 1, self.kernel, self.stride, self.padding, self.dilation)


steps = st.builds(
    Step,
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    pools=st.booleans(),
)


def by_arithmetic(chain: list[Step]) -> tuple[float, int, int]:
    """Pixel above which the first unit stands, stride and size: in one direction, layer after
    layer (Araujo, Norris & Sim 2019, doi:10.23915/distill.00021)."""
    first, stride, size = 0.0, 1, 1
    for step in chain:
        reach = (step.kernel - 1) * (1 if step.pools else step.dilation)
        padding = min(step.padding, step.kernel // 2) if step.pools else step.padding
        first += (reach / 2 - padding) * stride
        size += reach * stride
        stride *= step.stride
    return first, stride, size


@settings(deadline=None, max_examples=50)
@given(chain=st.lists(steps, min_size=1, max_size=4))
def test_chains_of_convolutions_and_pools_have_the_geometry_of_their_arithmetic(
    chain: list[Step],
) -> None:
    height, width = 96, 93  # the largest field has 1 + 4 (1 + 2 + 4 + 8) = 61 pixels
    names = [str(index) for index in range(len(chain))]
    model = nn.Sequential(*(step.layer() for step in chain))
    found = survey(model, names, noise((1, height, width))).geometries
    for index, name in enumerate(names):
        first, stride, size = by_arithmetic(chain[: index + 1])
        known = found[name]
        middle = first + stride * known.positions
        np.testing.assert_array_equal(known.homes, middle)
        reach = np.concatenate([middle - (size - 1) / 2, middle + (size - 1) / 2], axis=1)
        reach = reach[:, [0, 2, 1, 3]]  # first and last row, first and last column
        ends = np.array([0, height - 1, 0, width - 1])
        outside = (reach - ends) * [1, -1, 1, -1] < 0
        inside = ~outside.any(1)
        np.testing.assert_array_equal(known.boxes[inside], reach[inside])
        np.testing.assert_array_equal(known.centers[inside], middle[inside])
        assert not known.padded[inside].any()
        assert known.align == (stride, stride)
        assert not known.anchored
        assert known.status == "exact"
        if inside.any():
            assert known.size == (size, size)


def convolution() -> nn.Module:
    """In 7 x 9 pixels, rows stand above 0, 2, 4, 6, columns above 0, 2, .. 8, and see one more."""
    return nn.Sequential(nn.Conv2d(1, 3, 3, stride=2, padding=1))


def test_a_layer_worked_out_by_hand() -> None:
    known = geometry(convolution(), "0", (1, 7, 9))
    assert (known.status, known.shape, known.units) == ("exact", (3, 4, 5), 3)
    assert (known.unit_dims, known.site_dims) == ((1,), (2, 3))
    assert known.positions[[0, 4, 5, 19]].tolist() == [[0, 0], [0, 4], [1, 0], [3, 4]]
    rows, columns = [(0, 1), (1, 3), (3, 5), (5, 6)], [(0, 1), (1, 3), (3, 5), (5, 7), (7, 8)]
    assert known.boxes.tolist() == [[*row, *column] for row in rows for column in columns]
    assert known.padded.tolist() == [
        [row == 0, row == 3, column == 0, column == 4] for row in range(4) for column in range(5)
    ]
    places = [[2.0 * row, 2.0 * column] for row in range(4) for column in range(5)]
    assert known.homes.tolist() == places
    assert known.centers.tolist() == places  # also where cut off: of what it would be without
    assert known.size == (3, 3)
    assert known.align == (2, 2)
    # Rows 2 and 4 are as near to 3, the middle: the upper one.
    assert known.positions[known.central(7, 9)].tolist() == [1, 2]


def test_without_padding_the_center_is_that_of_the_box() -> None:
    known = geometry(nn.Sequential(nn.Conv2d(1, 1, (4, 2), dilation=(1, 3))), "0", (1, 6, 9))
    assert known.boxes[0].tolist() == [0, 3, 0, 3]
    assert known.centers[0].tolist() == [1.5, 1.5]
    assert known.boxes[-1].tolist() == [2, 5, 5, 8]
    assert known.size == (4, 4)


def test_a_field_that_fills_the_image_has_the_center_of_what_it_would_be_without_borders() -> None:
    """5 rows of 3: rows -2 .. 2, -1 .. 3 and 0 .. 4 see the whole image, and stand apart."""
    known = geometry(nn.Sequential(nn.Conv2d(1, 1, 5, padding=2)), "0", (1, 3, 3))
    assert known.status == "whole input"
    assert known.boxes.tolist() == [[0, 2, 0, 2]] * 9
    assert known.centers[:, 0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert known.positions[known.central(3, 3)].tolist() == [1, 1]


def test_a_position_that_sees_nothing_but_padding_has_no_box() -> None:
    """Rows and columns stand on pixels -1, 1 and 3 of 4."""
    known = geometry(nn.Sequential(nn.Conv2d(1, 2, 1, padding=1, stride=2)), "0", (1, 4, 4))
    on_image = (known.positions > 0).all(1)
    assert np.isnan(known.boxes[~on_image]).all()
    assert known.boxes[on_image].tolist() == [[r, r, c, c] for r in (1, 3) for c in (1, 3)]
    np.testing.assert_array_equal(known.homes, 2 * known.positions - 1)
    assert known.size == (1, 1)
    assert known.status == "exact"


def test_the_two_directions_are_told_each_on_its_own() -> None:
    layer = nn.Conv2d(1, 3, (5, 2), stride=(3, 1), padding=(0, 1), dilation=(1, 4))
    known = geometry(nn.Sequential(layer), "0", (1, 20, 30))
    first, second, below = known.boxes[[3, 4, 33]]  # 28 columns: 3 of the first are cut off
    assert first.tolist() == [0, 4, 2, 6]
    assert second.tolist() == [0, 4, 3, 7]
    assert below.tolist() == [3, 7, 4, 8]
    assert known.align == (3, 1)


def test_the_gabor_bank_sees_21_pixels_around_every_fourth() -> None:
    known = geometry(nn.Sequential(GaborBank(stride=4)), "0", (1, 48, 48))
    assert known.size == (21, 21)
    assert known.homes.tolist() == (4 * known.positions).tolist()
    assert known.boxes[3 * 12 + 4].tolist() == [2, 22, 6, 26]


def test_the_normalization_of_the_super_resolution_network_sees_69_pixels() -> None:
    """The divisor's 5 positions, then 9 more at 4 px each: 21 + 4 * (2 * 2 + 2 * 4) = 69."""
    model = load("superres-divnormei")
    known = geometry(model, "encoder.normalization", (1, 80, 96))
    assert known.size == (69, 69)
    middle = known.central(80, 96)
    assert known.positions[middle].tolist() == [10, 12]  # above pixels 40, of 39.5, and 48
    assert known.boxes[middle].tolist() == [6, 74, 14, 82]


class Gate(nn.Module):
    """Squeeze and excitation (Hu, Shen & Sun 2018): each channel times what its mean makes."""

    def forward(self, images: Tensor) -> Tensor:
        return images * images.mean((2, 3), keepdim=True).sigmoid()


class Attention(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        tokens = images.flatten(2).transpose(1, 2)
        mixed = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
        return mixed.transpose(1, 2).reshape(images.shape)


class Call(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Any:
        return self.function(images)


@pytest.mark.parametrize(
    "layer",
    [
        Gate(),
        Attention(),
        nn.AdaptiveAvgPool2d(1),
        nn.Sequential(nn.Flatten(), nn.Linear(4 * 80, 3)),
        nn.GroupNorm(2, 4),
        nn.InstanceNorm2d(4),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.LayerNorm([4, 8, 10]),
        nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Upsample(scale_factor=3)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_what_mixes_all_positions_sees_the_whole_input(layer: nn.Module) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), layer, nn.Identity())
    found = survey(model, ["0", "1", "2"], noise((1, 8, 10))).geometries
    assert found["0"].status == "exact"
    for name in "12":
        assert found[name].status == "whole input"
        assert (found[name].boxes == [0, 7, 0, 9]).all()
        assert found[name].size == (8, 10)


def test_a_gate_leaves_units_where_they_are() -> None:
    known = geometry(nn.Sequential(Gate()), "0", (1, 5, 7))
    assert known.centers.tolist() == known.positions.tolist()
    assert known.positions[known.central(5, 7)].tolist() == [2, 3]


def test_normalization_by_stored_statistics_is_local() -> None:
    model = nn.Sequential(nn.BatchNorm2d(1)).train()  # the electrodes put it in evaluation mode
    assert geometry(model, "0", (1, 4, 5)).size == (1, 1)


def test_features_have_one_position() -> None:
    known = geometry(nn.Sequential(nn.Flatten()), "0", (1, 3, 4))
    assert (known.unit_dims, known.site_dims, known.units) == ((1,), (), 12)
    assert known.boxes.tolist() == [[0, 2, 0, 3]]
    assert np.isnan(known.positions).all()
    assert known.positions.shape == (1, 2)
    assert known.central(3, 4) == 0


def test_the_class_token_sees_nothing_at_first_and_stands_nowhere() -> None:
    found = survey(vit(), ["encoder.dropout", "encoder.layers.encoder_layer_0"], noise((3, 64, 64)))
    embedded, mixed = found.geometries.values()
    assert (embedded.status, embedded.site_dims, embedded.unit_dims) == ("exact", (1,), (2,))
    assert np.isnan(embedded.boxes[0]).all()
    assert np.isnan(embedded.positions[0]).all()
    assert not embedded.padded.any()
    np.testing.assert_array_equal(embedded.positions[1:], np.indices((4, 4)).reshape(2, -1).T)
    first = 16 * embedded.positions[1:]
    np.testing.assert_array_equal(embedded.boxes[1:, [0, 2]], first)
    np.testing.assert_array_equal(embedded.boxes[1:, [1, 3]], first + 15)
    np.testing.assert_array_equal(embedded.centers[1:], first + 7.5)
    assert embedded.size == (16, 16)
    assert embedded.anchored  # each position has its own embedding
    assert embedded.positions[embedded.central(64, 64)].tolist() == [1, 1]
    assert mixed.status == "whole input"
    assert (mixed.boxes == [0, 63, 0, 63]).all()  # the class token too
    np.testing.assert_array_equal(mixed.positions, embedded.positions)
    np.testing.assert_array_equal(mixed.homes, embedded.homes)


def test_the_windows_of_swin() -> None:
    """16 pixels wide; shifted by 8, those at the borders hold both ends of the image."""
    found = survey(swin(), ["features.1.0", "features.1.1"], noise((3, 64, 48))).geometries
    straight, shifted = found.values()
    assert straight.site_dims == (1, 2)
    window = straight.positions // 4
    np.testing.assert_array_equal(straight.boxes[:, [0, 2]], 16 * window)
    np.testing.assert_array_equal(straight.boxes[:, [1, 3]], 16 * window + 15)
    np.testing.assert_array_equal(straight.homes, 4 * straight.positions + 1.5)
    assert not straight.padded.any()
    # A shifted window, of patches 2 .. 5, say, holds parts of two that were mixed before.
    seen = [tuple(box) for box in shifted.boxes[::12, :2]]  # of the 16 rows
    whole, upper, lower = (0, 63), (0, 31), (16, 47)
    expected = [whole] * 2 + [upper] * 4 + [lower] * 4 + [(32, 63)] * 4 + [whole] * 2
    assert seen == expected
    padded = shifted.padded[::12, :2].any(1).tolist()
    assert padded == [row < 2 or row >= 14 for row in range(16)]


def test_channels_may_come_last() -> None:
    found = survey(convnext(), ["features.1.0.block.0", "features.1.0.block.2"], noise((3, 32, 40)))
    first, last = found.geometries.values()
    assert (first.shape, first.unit_dims, first.site_dims) == ((8, 8, 10), (1,), (2, 3))
    assert (last.shape, last.unit_dims, last.site_dims) == ((8, 10, 8), (3,), (1, 2))
    np.testing.assert_array_equal(first.boxes, last.boxes)
    np.testing.assert_array_equal(first.positions, last.positions)


LAYOUTS: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...], tuple[int, ...]]] = {
    "one column": (lambda x: x.mean(3, keepdim=True), (1,), (2, 3)),
    "one row": (lambda x: x.mean(2, keepdim=True), (1,), (2, 3)),
    "one row, channels last": (lambda x: x[:, :, :1].permute(0, 2, 3, 1), (3,), (1, 2)),
    "one column, channels last": (lambda x: x[..., :1].permute(0, 2, 3, 1), (3,), (1, 2)),
    "no channels": (lambda x: x[:, 0], (), (1, 2)),
    "(batch, token, feature)": (lambda x: x.flatten(2).transpose(1, 2), (2,), (1,)),
    "(batch, feature, token)": (lambda x: x.flatten(2), (1,), (2,)),
    "(batch, head, token, feature)": (
        lambda x: x.flatten(2).transpose(1, 2).reshape(2, -1, 2, 2).transpose(1, 2),
        (1, 3),
        (2,),
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_positions_are_told_by_what_they_see(name: str) -> None:
    function, unit_dims, site_dims = LAYOUTS[name]
    model = nn.Sequential(nn.Conv2d(1, 4, 1), Call(function))
    known = geometry(model, "1", (1, 3, 5))
    assert (known.unit_dims, known.site_dims) == (unit_dims, site_dims)
    assert known.units == math.prod(known.shape) / len(known.boxes)
    assert not (known.positions - np.floor(known.positions)).any()
    output = model(noise((1, 3, 5)))
    assert known.sites(output).shape == (2, known.units, len(known.boxes))
    between = (known.boxes[:, [0, 2]] <= known.homes) & (known.homes <= known.boxes[:, [1, 3]])
    assert between.all()


def test_sites_are_the_units_at_each_position() -> None:
    output = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    known = geometry(nn.Sequential(nn.Conv2d(1, 3, 1)), "0", (1, 4, 5))
    assert torch.equal(known.sites(output), output.reshape(2, 3, 20))
    last = Call(lambda x: x.repeat(1, 3, 1, 1).permute(0, 2, 3, 1))
    known = geometry(nn.Sequential(last), "0", (1, 4, 5))
    assert torch.equal(known.sites(output.permute(0, 2, 3, 1)), output.reshape(2, 3, 20))


def test_what_has_no_rule_is_unknown() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), Call(lambda x: x.sort(2).values), nn.ReLU())
    found = survey(model, ["0", "2"], noise((1, 8, 9))).geometries
    assert found["0"].status == "exact"
    known = found["2"]
    assert known.status == "unknown"
    for numbers in (known.boxes, known.homes, known.centers):
        assert np.isnan(numbers).all()
    assert not known.padded.any()
    assert known.size == (0, 0)
    assert known.positions[known.central(8, 9)].tolist() == [3, 3]  # the middle of 6 x 7
    assert known.anchored  # nothing is promised


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x: x[:, :, None], "(2, 1, 1, 4, 6)"),
        (lambda x: x.reshape(2, 1, 2, 2, 2, 3), "(2, 1, 2, 2, 2, 3)"),
        (lambda x: x.reshape(2, 2, 2, 6).flatten(0, 1), "(4, 2, 6)"),
        (lambda x: x.transpose(0, 2), "(4, 1, 2, 6)"),
        (lambda x: x.flatten(2).permute(2, 0, 1), "(24, 2, 1)"),
        (lambda x: x.mean((1, 2, 3)), "(2,)"),
        (lambda x: x.mean(), "()"),
        (lambda x: x[0], "(1, 4, 6)"),
    ],
)
def test_other_outputs_are_refused_by_name(
    function: Callable[[Tensor], Tensor], shape: str
) -> None:
    model = nn.Sequential(nn.Identity(), Call(function))
    with pytest.raises(ValueError, match="layer '1' answers with shape") as refusal:
        geometry(model, "1", (1, 4, 6))
    assert f"shape {shape} to 2 images; units are read from (batch, channel," in str(refusal.value)
    found = survey(model, ["0", "1"], noise((1, 4, 6)))
    assert list(found.geometries) == ["0"]
    assert found.refused == {"1": str(refusal.value)}


def test_of_several_tensors_one_is_named() -> None:
    pair = Call(lambda x: (x, x[..., ::2]))
    model = nn.Sequential(pair, Call(lambda both: {"a": both[0], "b": both[1].flatten(1)}))
    with pytest.raises(ValueError, match="name one: 0/0, 0/1"):
        geometry(model, "0", (1, 4, 6))
    found = survey(model, ["0/1", "1/a", "1/b", "1/c", "1"], noise((1, 4, 6)))
    assert {layer: known.shape for layer, known in found.geometries.items()} == {
        "0/1": (1, 4, 3),
        "1/a": (1, 4, 6),
        "1/b": (12,),
    }
    assert found.geometries["0/1"].align == (1, 2)
    assert found.refused.keys() == {"1/c", "1"}


class Again(nn.Module):
    """One layer three times, the last time after a pool; another never."""

    def __init__(self) -> None:
        super().__init__()
        self.smooth = nn.Conv2d(1, 1, 3, padding=1)
        self.pool = nn.AvgPool2d(2)
        self.unused = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.smooth(self.pool(self.smooth(self.smooth(images))))


def test_calls_of_a_layer_are_counted() -> None:
    found = survey(Again(), ["smooth", "pool"], noise((1, 16, 16)))
    sizes = {layer: known.size for layer, known in found.geometries.items()}
    # In the order of the answers: 3 pixels, 5, with their neighbours 6, and two more pairs, 10.
    assert list(sizes.items()) == [
        ("smooth#1", (3, 3)),
        ("smooth#2", (5, 5)),
        ("pool", (6, 6)),
        ("smooth#3", (10, 10)),
    ]
    found = survey(Again(), ["smooth#2", "pool"], noise((1, 16, 16)))
    assert {layer: known.size[0] for layer, known in found.geometries.items()} == {
        "smooth#2": 5,
        "pool": 6,
    }
    found = survey(Again(), ["smooth"], noise((1, 16, 16)), every_call=False)
    assert {layer: known.size[0] for layer, known in found.geometries.items()} == {"smooth": 3}
    assert geometry(Again(), "smooth", (1, 16, 16)).size == (3, 3)


def test_the_pass_stops_where_nothing_more_is_wanted() -> None:
    shown: list[Tensor] = []
    model = nn.Sequential(nn.Conv2d(1, 1, 3), Call(shown.append))
    survey(model, ["0"], noise((1, 8, 8)), every_call=False)
    assert not shown
    survey(model, ["0"], noise((1, 8, 8)))
    assert len(shown) == 1


def test_a_layer_that_is_not_reached_is_refused() -> None:
    found = survey(Again(), ["unused", "pool", "smooth#4"], noise((1, 16, 16)))
    assert list(found.geometries) == ["pool"]
    assert found.refused == {
        "unused": "the forward pass does not reach layer 'unused'",
        "smooth#4": "the forward pass does not reach layer 'smooth#4'",
    }
    with pytest.raises(ValueError, match="does not reach layer 'unused'"):
        geometry(Again(), "unused", (1, 16, 16))


def test_a_layer_that_does_not_exist_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="did you mean smooth"):
        survey(Again(), ["smoth"], noise((1, 16, 16)))


def test_what_fails_behind_the_wanted_layers_does_not_matter() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten(), nn.Linear(7, 2))
    assert geometry(model, "0", (1, 9, 9)).size == (3, 3)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        survey(model, ["0", "2"], noise((1, 9, 9)))


def test_an_error_of_the_model_is_its_own() -> None:
    with pytest.raises(RuntimeError, match="channels"):
        geometry(nn.Sequential(nn.Conv2d(3, 2, 3)), "0", (1, 9, 9))


def test_the_largest_operation_is_told_for_one_image() -> None:
    model = nn.Sequential(nn.Conv2d(1, 6, 1, bias=False), nn.ReLU(), nn.AvgPool2d(2), nn.ReLU())
    found = survey(model, ["1"], noise((1, 8, 8)))
    assert found.largest == 4 * 64 * (6 + 6)
    found = survey(nn.Sequential(nn.Upsample(scale_factor=2)), ["0"], noise((1, 8, 8), batch=3))
    assert found.largest == 4 * 64 * (1 + 4)


class Failing(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        raise RuntimeError("this model fails")


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(fails: bool) -> None:
    last = Failing() if fails else nn.Identity()
    attending = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    row = Call(lambda x: x.flatten(2).transpose(1, 2))
    model = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), row, attending, last)
    ).train()
    model[1].eval()
    before = {name: values.clone() for name, values in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    images = noise((1, 6, 6))
    for fastpath in (True, False):
        torch.backends.mha.set_fastpath_enabled(fastpath)
        try:
            if fails:
                with pytest.raises(RuntimeError, match="this model fails"):
                    survey(model, ["0", "5"], images)
            else:
                survey(model, ["0", "4.self_attn/0", "5"], images)
            assert torch.backends.mha.get_fastpath_enabled() == fastpath
        finally:
            torch.backends.mha.set_fastpath_enabled(True)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    with torch.no_grad():
        assert torch.equal(images + 0, noise((1, 6, 6)))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_it_does_not_matter_whether_the_caller_wants_gradients(mode: type) -> None:
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(1, 2, 3))
    with mode():
        assert geometry(model, "1", (1, 9, 9)).size == (3, 3)
        # What a model does in place to its input is done to a copy.
        images = noise((1, 9, 9)) - 1
        assert survey(model, ["1"], images).geometries["1"].size == (3, 3)
        assert torch.equal(images, noise((1, 9, 9)) - 1)


def test_the_numbers_of_the_images_do_not_matter() -> None:
    """Nor the weights: a unit that answers nothing sees as far as one that does."""
    silent = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True))
    with torch.no_grad():
        for parameter in silent.parameters():
            parameter.fill_(-1)
    for images in (noise((1, 9, 9)), torch.zeros(2, 1, 9, 9)):
        assert survey(silent, ["1"], images).geometries["1"].size == (3, 3)


def test_a_model_in_double_precision_is_shown_double_precision() -> None:
    assert geometry(convolution().double(), "0", (1, 7, 9)).size == (3, 3)
