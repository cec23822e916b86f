"""What is recorded is what the network computes: run by hand, and by two other tools.

The networks are torchvision's, with random weights. Numbers are compared exactly where a recording
does the same arithmetic on the same images. Where it draws and runs only part of each image, the
networks are in double precision: then the order of sums is of no account, and which pixels reach a
unit decides over the number.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import torchlens
import torchvision.models as zoo
import xarray as xr
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

from ephys.models.input_format import InputFormat
from ephys.recording import record
from ephys.stimuli import StimulusSet, gabor, grating, sweep

STIMULI = sweep(grating, spatial_frequency=1, orientation=[20, 110], contrast=1) + sweep(
    gabor, spatial_frequency=2, orientation=65, phase=90, contrast=0.7, envelope_sd=1
)
FLOAT = 2.0**-24  # by how much rounding to float32 changes a number of size 1
DOUBLE = 2.0**-40  # far more than sums of another order do in double precision, through 50 layers
TAILS = ("avgpool", "classifier", "fc", "head", "heads", "aux1", "aux2", "AuxLogits")

ByHand = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """A network, and how to run it up to some of its layers.

    ``rectified`` are layers whose output is changed in place by what comes next, ``last`` those
    that have the channels in the last dimension, ``beneath`` those that torchvision's extractor
    does not enter. ``uncut`` are those whose units see all of an image, or tell where in it they
    are, and those of a network that takes images of one size only.
    """

    build: Callable[[], nn.Module]
    size_px: int
    layers: dict[str, ByHand]
    rectified: tuple[str, ...]
    last: tuple[str, ...] = ()
    beneath: tuple[str, ...] = ()
    uncut: tuple[str, ...] = ()
    device: str = "meta"

    @property
    def format(self) -> InputFormat:
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        return InputFormat(3, self.size_px, self.size_px, mean=mean, std=std)

    def sites(self, layer: str, output: Tensor) -> Tensor:
        """(stimulus, channel, position)."""
        return (output.movedim(-1, 1) if layer in self.last else output).flatten(2)


def through(x: Tensor, *modules: Any) -> Tensor:
    for module in modules:
        x = module(x)
    return x


def up_to(x: Tensor, modules: Any, count: int) -> Tensor:
    """Through the first few of a container."""
    return through(x, *list(modules)[:count])


def resnet_stem(m: Any, x: Tensor) -> Tensor:
    return through(x, m.conv1, m.bn1, m.relu, m.maxpool)


def dense_layer(layer: Any, x: Tensor) -> Tensor:
    return through(x, layer.norm1, layer.relu1, layer.conv1, layer.norm2, layer.relu2, layer.conv2)


def densenet_second(m: Any, x: Tensor) -> Tensor:
    first = up_to(x, m.features, 4)
    second = m.features.denseblock1.denselayer2
    both = torch.cat([first, dense_layer(m.features.denseblock1.denselayer1, first)], dim=1)
    return through(both, second.norm1, second.relu1, second.conv1)


def inception_stem(m: Any, x: Tensor) -> Tensor:
    return through(
        x,
        *(m.Conv2d_1a_3x3, m.Conv2d_2a_3x3, m.Conv2d_2b_3x3, m.maxpool1),
        *(m.Conv2d_3b_1x1, m.Conv2d_4a_3x3, m.maxpool2),
    )


def googlenet_stem(m: Any, x: Tensor) -> Tensor:
    return through(x, m.conv1, m.maxpool1, m.conv2, m.conv3, m.maxpool2)


def vit_mlp(m: Any, x: Tensor, block: int) -> Tensor:
    """The first linear layer of a block's perceptron."""
    patches = m.conv_proj(x).flatten(2).transpose(1, 2)
    x = torch.cat([m.class_token.expand(len(x), -1, -1), patches], dim=1) + m.encoder.pos_embedding
    for layer in list(m.encoder.layers)[: block + 1]:
        normed = layer.ln_1(x)
        attended = x + layer.self_attention(normed, normed, normed, need_weights=False)[0]
        hidden = layer.mlp[0](layer.ln_2(attended))
        x = attended + through(hidden, *list(layer.mlp)[1:])
    return hidden


def swin_block(m: Any, x: Tensor) -> Tensor:
    first = m.features[1][0]
    embedded = m.features[0](x)
    attended = embedded + first.attn(first.norm1(embedded))
    return first.mlp[0](first.norm2(attended))


CASES = {
    "alexnet": Case(
        zoo.alexnet,
        64,
        {
            "features.0": lambda m, x: up_to(x, m.features, 1),
            "features.3": lambda m, x: up_to(x, m.features, 4),
        },
        rectified=("features.0", "features.3"),
    ),
    "vgg11": Case(
        zoo.vgg11,
        48,
        {
            "features.0": lambda m, x: up_to(x, m.features, 1),
            "features.3": lambda m, x: up_to(x, m.features, 4),
            "features.8": lambda m, x: up_to(x, m.features, 9),
        },
        rectified=("features.0", "features.3", "features.8"),
    ),
    "vgg11_bn": Case(
        zoo.vgg11_bn,
        48,
        {
            "features.4": lambda m, x: up_to(x, m.features, 5),
            "features.5": lambda m, x: up_to(x, m.features, 6),
            "features.9": lambda m, x: up_to(x, m.features, 10),
        },
        rectified=("features.5", "features.9"),
    ),
    "resnet18": Case(
        zoo.resnet18,
        64,
        {
            "conv1": lambda m, x: m.conv1(x),
            "bn1": lambda m, x: m.bn1(m.conv1(x)),
            "layer1.0.conv1": lambda m, x: m.layer1[0].conv1(resnet_stem(m, x)),
            "layer1.0.bn1": lambda m, x: through(
                resnet_stem(m, x), m.layer1[0].conv1, m.layer1[0].bn1
            ),
            "layer1.0": lambda m, x: m.layer1[0](resnet_stem(m, x)),
        },
        rectified=("bn1", "layer1.0.bn1"),
    ),
    "resnext50": Case(
        zoo.resnext50_32x4d,
        64,
        {
            "bn1": lambda m, x: m.bn1(m.conv1(x)),
            "layer1.0.bn1": lambda m, x: through(
                resnet_stem(m, x), m.layer1[0].conv1, m.layer1[0].bn1
            ),
            "layer1.0.bn2": lambda m, x: up_to(
                resnet_stem(m, x),
                [
                    *(m.layer1[0].conv1, m.layer1[0].bn1, m.layer1[0].relu),
                    *(m.layer1[0].conv2, m.layer1[0].bn2),
                ],
                5,
            ),
        },
        rectified=("bn1", "layer1.0.bn1", "layer1.0.bn2"),
    ),
    "squeezenet": Case(
        zoo.squeezenet1_0,
        64,
        {
            "features.0": lambda m, x: up_to(x, m.features, 1),
            "features.3.squeeze": lambda m, x: m.features[3].squeeze(up_to(x, m.features, 3)),
            "features.4.expand3x3": lambda m, x: through(
                up_to(x, m.features, 4),
                *(m.features[4].squeeze, m.features[4].squeeze_activation),
                m.features[4].expand3x3,
            ),
        },
        rectified=("features.0", "features.3.squeeze", "features.4.expand3x3"),
    ),
    "densenet": Case(
        zoo.densenet121,
        64,
        {
            "features.norm0": lambda m, x: up_to(x, m.features, 2),
            "features.denseblock1.denselayer1.norm1": lambda m, x: (
                m.features.denseblock1.denselayer1.norm1(up_to(x, m.features, 4))
            ),
            "features.denseblock1.denselayer2.conv1": densenet_second,
        },
        rectified=("features.norm0", "features.denseblock1.denselayer1.norm1"),
    ),
    "inception": Case(
        lambda: zoo.inception_v3(init_weights=False),
        75,
        {
            "Conv2d_1a_3x3.bn": lambda m, x: through(x, m.Conv2d_1a_3x3.conv, m.Conv2d_1a_3x3.bn),
            "Mixed_5b.branch1x1.bn": lambda m, x: through(
                inception_stem(m, x), m.Mixed_5b.branch1x1.conv, m.Mixed_5b.branch1x1.bn
            ),
        },
        rectified=("Conv2d_1a_3x3.bn", "Mixed_5b.branch1x1.bn"),
    ),
    "googlenet": Case(
        lambda: zoo.googlenet(init_weights=False),
        64,
        {
            "conv1.bn": lambda m, x: through(x, m.conv1.conv, m.conv1.bn),
            "inception3a.branch1.bn": lambda m, x: through(
                googlenet_stem(m, x), m.inception3a.branch1.conv, m.inception3a.branch1.bn
            ),
        },
        rectified=("conv1.bn", "inception3a.branch1.bn"),
    ),
    "shufflenet": Case(
        zoo.shufflenet_v2_x0_5,
        64,
        {
            "conv1.1": lambda m, x: up_to(x, m.conv1, 2),
            "stage2.0.branch2.1": lambda m, x: up_to(
                through(x, m.conv1, m.maxpool), m.stage2[0].branch2, 2
            ),
            "stage2.1": lambda m, x: up_to(through(x, m.conv1, m.maxpool), m.stage2, 2),
        },
        rectified=("conv1.1", "stage2.0.branch2.1"),
    ),
    "mobilenet_v2": Case(
        zoo.mobilenet_v2,
        64,
        {
            "features.0.1": lambda m, x: up_to(x, m.features[0], 2),
            "features.1": lambda m, x: up_to(x, m.features, 2),
            "features.2.conv.0.1": lambda m, x: up_to(
                up_to(x, m.features, 2), m.features[2].conv[0], 2
            ),
        },
        rectified=("features.0.1", "features.2.conv.0.1"),
        beneath=("features.0.1", "features.2.conv.0.1"),
    ),
    "mobilenet_v3": Case(
        zoo.mobilenet_v3_small,
        64,
        {
            "features.0.1": lambda m, x: up_to(x, m.features[0], 2),
            "features.0": lambda m, x: m.features[0](x),
            "features.1.block.0.1": lambda m, x: up_to(m.features[0](x), m.features[1].block[0], 2),
            "features.1": lambda m, x: up_to(x, m.features, 2),
        },
        rectified=("features.0.1", "features.1.block.0.1"),
        beneath=("features.0.1", "features.1.block.0.1"),
        uncut=("features.1",),
    ),
    "mnasnet": Case(
        zoo.mnasnet0_5,
        64,
        {
            "layers.1": lambda m, x: up_to(x, m.layers, 2),
            "layers.8.0.layers.1": lambda m, x: up_to(
                up_to(x, m.layers, 8), m.layers[8][0].layers, 2
            ),
        },
        rectified=("layers.1", "layers.8.0.layers.1"),
    ),
    "efficientnet": Case(
        zoo.efficientnet_b0,
        64,
        {
            "features.0.1": lambda m, x: up_to(x, m.features[0], 2),
            "features.0": lambda m, x: m.features[0](x),
            "features.1.0.block.0.1": lambda m, x: up_to(
                m.features[0](x), m.features[1][0].block[0], 2
            ),
            "features.2.0.block.0.1": lambda m, x: up_to(
                up_to(x, m.features, 2), m.features[2][0].block[0], 2
            ),
        },
        rectified=("features.0.1", "features.1.0.block.0.1", "features.2.0.block.0.1"),
        beneath=("features.0.1", "features.1.0.block.0.1", "features.2.0.block.0.1"),
        uncut=("features.2.0.block.0.1",),
    ),
    "regnet": Case(
        zoo.regnet_x_400mf,
        64,
        {
            "stem.1": lambda m, x: up_to(x, m.stem, 2),
            "stem": lambda m, x: m.stem(x),
            "trunk_output.block1.block1-0.f.a.1": lambda m, x: up_to(
                m.stem(x), m.trunk_output.block1[0].f.a, 2
            ),
        },
        rectified=("stem.1", "trunk_output.block1.block1-0.f.a.1"),
        beneath=("stem.1", "trunk_output.block1.block1-0.f.a.1"),
        device="cpu",
    ),
    "convnext": Case(
        zoo.convnext_tiny,
        64,
        {
            "features.0.0": lambda m, x: m.features[0][0](x),
            "features.1.0.block.0": lambda m, x: up_to(m.features[0](x), m.features[1][0].block, 1),
            "features.1.0.block.3": lambda m, x: up_to(m.features[0](x), m.features[1][0].block, 4),
            "features.1.0": lambda m, x: through(x, m.features[0], m.features[1][0]),
        },
        rectified=(),
        last=("features.1.0.block.3",),
        beneath=("features.0.0",),
    ),
    "vit": Case(
        lambda: zoo.VisionTransformer(64, 16, 3, 4, 64, 128),
        64,
        {
            "conv_proj": lambda m, x: m.conv_proj(x),
            "encoder.layers.encoder_layer_1.mlp.0": lambda m, x: vit_mlp(m, x, 1),
        },
        rectified=(),
        last=("encoder.layers.encoder_layer_1.mlp.0",),
        beneath=("encoder.layers.encoder_layer_1.mlp.0",),
        uncut=("conv_proj", "encoder.layers.encoder_layer_1.mlp.0"),
    ),
    "swin": Case(
        zoo.swin_t,
        64,
        {
            "features.0": lambda m, x: m.features[0](x),
            "features.1.0.mlp.0": swin_block,
        },
        rectified=(),
        last=("features.0", "features.1.0.mlp.0"),
        beneath=("features.1.0.mlp.0",),
        uncut=("features.1.0.mlp.0",),
    ),
}


@cache
def network(name: str) -> Any:
    """A network without its last layers, of random weights that keep what passes of one size."""
    with torch.device(CASES[name].device):  # where torchvision's own weights cost nothing
        model: Any = CASES[name].build()
    for tail in TAILS:
        if isinstance(getattr(model, tail, None), nn.Module):
            setattr(model, tail, nn.Identity())
    model.aux_logits = False
    model = model.to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter, values in [*model.named_parameters(), *model.named_buffers()]:
            if not values.is_floating_point():
                values.zero_()
            elif values.ndim > 1:
                size = math.sqrt(2 / values[0].numel())
                values.copy_(size * torch.randn(values.shape, generator=generator))
            elif parameter.endswith(("weight", "running_var")):
                values.copy_(0.5 + torch.rand(values.shape, generator=generator))
            else:
                values.copy_(0.2 * torch.randn(values.shape, generator=generator))
    for module in model.modules():
        if hasattr(module, "define_relative_position_index"):
            module.define_relative_position_index()
    return model


@pytest.fixture(autouse=True)
def same_attention() -> Iterator[None]:
    """The fused form of attention rounds otherwise, and passes by the layers within."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(fused)


def shown(case: Case, x: float = 0.0, y: float = 0.0, stimuli: StimulusSet = STIMULI) -> Tensor:
    """Whole images, with the stimuli centred on a place in degrees."""
    return case.format.encode(stimuli.render(case.format.field.centered_on(x, y))).contiguous()


def by_hand(case: Case, model: Any, layer: str, images: Tensor) -> Tensor:
    with torch.no_grad():
        return case.layers[layer](model, images)


def recorded(case: Case, model: Any, layers: Sequence[str] = (), **options: Any) -> xr.Dataset:
    defaults: dict[str, Any] = {"input_format": case.format, "batch_size": len(STIMULI)}
    return record(model, STIMULI, list(layers or case.layers), **defaults | options)


def of_layer(responses: xr.Dataset, layer: str) -> xr.Dataset:
    return responses.isel(unit=np.flatnonzero(responses["layer"].values == layer))


def by_torchlens(model: nn.Module, layers: list[str], images: Tensor) -> dict[str, Tensor]:
    capture = torchlens.options.CaptureOptions(
        layers_to_save=layers, stop_after=layers[-1], unwrap_when_done=True
    )
    with torch.no_grad():
        trace = torchlens.trace(model, images, capture=capture)
    return {layer: trace.modules[layer].out for layer in layers}


def by_torchvision(model: nn.Module, layer: str, images: Tensor) -> Tensor:
    """Of one layer at a time: of several it gives what operations in place have made of them."""
    extractor = create_feature_extractor(model, [layer], suppress_diff_warning=True)
    with torch.no_grad():
        return extractor(images)[layer]


@pytest.mark.parametrize("name", CASES)
def test_all_that_a_layer_answers_is_what_others_read_from_it(name: str) -> None:
    case, model = CASES[name], network(name)
    responses = recorded(case, model, readout="map", centered=False, crop=False)
    assert list(dict.fromkeys(responses["layer"].values)) == list(case.layers)
    images = shown(case)
    seen_by_torchlens = by_torchlens(model, list(case.layers), images)
    for layer in case.layers:
        ours = of_layer(responses, layer)["response"].values
        others = [by_hand(case, model, layer, images), seen_by_torchlens[layer]]
        if layer not in case.beneath:
            others.append(by_torchvision(model, layer, images))
        for theirs in others:
            sites = case.sites(layer, theirs)
            np.testing.assert_array_equal(ours, sites.transpose(1, 2).flatten(1))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.rectified])
def test_an_operation_in_place_changes_nothing_that_was_recorded_before_it(name: str) -> None:
    case, model = CASES[name], network(name)
    kept: dict[str, Tensor] = {}
    handles = [
        model.get_submodule(layer).register_forward_hook(
            lambda module, inputs, output, layer=layer: kept.update({layer: output})
        )
        for layer in case.rectified
    ]
    with torch.no_grad():
        model(shown(case))
    for handle in handles:
        handle.remove()
    responses = recorded(case, model, centered=False, crop=False)
    for layer in case.rectified:
        answer = by_hand(case, model, layer, shown(case))
        assert not torch.equal(kept[layer], answer)  # a plain hook is fooled
        one, sites = of_layer(responses, layer), case.sites(layer, answer)
        ours = one["response"].values
        np.testing.assert_array_equal(ours, sites[..., central(one, sites)])
        assert (ours < 0).any()


def test_a_layer_that_is_called_again_is_recorded_at_every_call() -> None:
    case, model = CASES["resnext50"], network("resnext50")
    options = {"readout": "map", "centered": False, "crop": False}
    responses = recorded(case, model, ["layer1.0.relu"], **options)
    block = model.layer1[0]
    with torch.no_grad():
        images = shown(case)
        stem = resnet_stem(model, images)
        first = through(stem, block.conv1, block.bn1, block.relu)
        second = through(first, block.conv2, block.bn2, block.relu)
        third = block(stem)
        extractor = create_feature_extractor(model, ["layer1.0.relu_1"])
        assert torch.equal(extractor(images)["layer1.0.relu_1"], second)
    calls = {f"layer1.0.relu#{i + 1}": call for i, call in enumerate([first, second, third])}
    assert list(dict.fromkeys(responses["layer"].values)) == list(calls)
    for layer, call in calls.items():
        ours = of_layer(responses, layer)["response"].values
        np.testing.assert_array_equal(ours, call.flatten(2).transpose(1, 2).flatten(1))


def central(one: xr.Dataset, sites: Tensor) -> int:
    """The index of the position that is recorded, which is one in the middle."""
    (row,), (column,) = np.unique(one["row"]), np.unique(one["column"])
    side = math.isqrt(sites.shape[-1])
    assert np.abs(np.array([row, column]) - (side - 1) / 2).max() <= 1
    return int(sites.shape[-1] - side**2 + row * side + column)  # after a class token


def assert_same_but_rounded(ours: np.ndarray, theirs: Tensor, largest: float) -> None:
    """A number in float32 is the nearest to one in double precision."""
    assert theirs.dtype == torch.float64
    off = np.abs(ours - theirs.numpy())
    assert (off <= FLOAT * np.abs(theirs.numpy()) + DOUBLE * largest).all()


@pytest.mark.parametrize("name", CASES)
def test_a_unit_in_a_crop_answers_as_in_the_whole_image(name: str) -> None:
    case, model = CASES[name], network(name).double()
    cut = [layer for layer in case.layers if layer not in case.uncut]
    try:
        for layers in filter(None, (cut, case.uncut)):
            responses = recorded(case, model, layers)
            crops = json.loads(responses.attrs["crops"])
            assert all(crops) if layers is cut else not any(crops)
            for layer in layers:
                one = of_layer(responses, layer)
                (x,), (y,) = np.unique(one["rf_x"]), np.unique(one["rf_y"])
                answer = by_hand(case, model, layer, shown(case, x, y).double())
                sites = case.sites(layer, answer)
                ours, theirs = one["response"].values, sites[..., central(one, sites)]
                assert_same_but_rounded(ours, theirs, sites.abs().max().item())
                assert np.ptp(ours, axis=0).max() > DOUBLE  # the stimuli differ there
    finally:
        model.float()


@pytest.mark.parametrize("readout", ["mean", "max"])
@pytest.mark.parametrize("name", ["alexnet", "resnet18", "convnext", "vit", "swin"])
def test_a_pooled_channel_is_the_pool_of_its_positions(name: str, readout: Any) -> None:
    case, model = CASES[name], network(name).double()
    try:
        responses = recorded(case, model, readout=readout)
        for layer in case.layers:
            sites = case.sites(layer, by_hand(case, model, layer, shown(case).double()))
            pooled = sites.mean(-1) if readout == "mean" else sites.amax(-1)
            ours = of_layer(responses, layer)["response"].values
            assert_same_but_rounded(ours, pooled, sites.abs().max().item())
    finally:
        model.float()
