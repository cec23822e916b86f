"""The two-layer network is what its settings say, and its filters begin as alike as is said."""

from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn

from ephys.models.channel_norm import ChannelGroupNorm
from ephys.models.twolayer import (
    Initialization,
    Normalization,
    TwoLayerCNN,
    TwoLayerSettings,
    initialize,
    within_group_correlation,
)


@pytest.mark.parametrize("normalization", get_args(Normalization))
@pytest.mark.parametrize("rectified", [False, True])
def test_every_normalization_gives_scores_that_can_be_learned(
    normalization: Any, rectified: bool
) -> None:
    torch.manual_seed(0)
    model = TwoLayerCNN(TwoLayerSettings(normalization, rectified))
    scores = model(torch.randn(4, 3, 32, 32))
    assert scores.shape == (4, 10)
    torch.autograd.backward(scores.square().sum())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert isinstance(model.relu1, nn.ReLU) == rectified


@pytest.mark.parametrize(
    ("normalization", "kinds"),
    [
        ("competition", [ChannelGroupNorm, nn.BatchNorm2d]),
        ("group", [nn.GroupNorm, nn.BatchNorm2d]),
        ("layer", [nn.GroupNorm, nn.BatchNorm2d]),
        ("local_response", [nn.LocalResponseNorm, nn.BatchNorm2d]),
        ("batch", [nn.BatchNorm2d]),
        ("none", []),
    ],
)
def test_batch_norm_comes_last(normalization: Any, kinds: list[type]) -> None:
    model = TwoLayerCNN(TwoLayerSettings(normalization))
    assert [type(layer) for layer in model.norm1] == kinds
    assert [type(layer) for layer in model.norm2] == kinds


def test_competition_and_group_norm_have_the_same_groups() -> None:
    competing = TwoLayerCNN(TwoLayerSettings("competition", groups_of=16))
    grouped = TwoLayerCNN(TwoLayerSettings("group", groups_of=16))
    for name, channels in [("norm1", 64), ("norm2", 128)]:
        first, second = competing.get_submodule(name)[0], grouped.get_submodule(name)[0]  # type: ignore[index]
        assert first.groups == second.num_groups == channels // 16


@pytest.mark.parametrize("size", [16, 32, 33, 47, 64])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_images_of_any_size_are_read_out(size: int, stride: int) -> None:
    settings = TwoLayerSettings(filters=8, filters_2=8, size_px=size, stride=stride)
    assert TwoLayerCNN(settings)(torch.zeros(2, 3, size, size)).shape == (2, 10)


def test_it_is_rebuilt_from_its_description() -> None:
    settings = TwoLayerSettings("group", True, "kaiming_gaussian", groups_of=4, phi="abs")
    assert TwoLayerCNN.of(TwoLayerCNN(settings).describe()).settings == settings


@pytest.mark.parametrize("initialization", get_args(Initialization))
def test_filters_begin_as_alike_as_is_said(initialization: Any) -> None:
    """Correlation of weights within a group, over many groups, against the formula."""
    torch.manual_seed(1)
    convolution = nn.Conv2d(3, 4096, 7)
    initialize(convolution, initialization, 8)
    filters = convolution.weight.detach().numpy().reshape(512, 8, 147)
    normal = filters / filters.std()
    total = normal.sum(1) ** 2 - (normal**2).sum(1)
    found = float(total.mean() / 56)
    expected = within_group_correlation(initialization, 147)
    # 512 x 147 = 75,264 independent means of products; the s.d. of one is below 1.5.
    assert abs(found - expected) < 5 * 1.5 / np.sqrt(75_264)
    assert convolution.bias is not None
    assert not convolution.bias.any()


def test_how_alike_they_are_in_numbers() -> None:
    assert within_group_correlation("kaiming", 147) == 0
    assert within_group_correlation("kaiming_gaussian", 147) == pytest.approx(0.921, abs=5e-4)
    assert within_group_correlation("kaiming_gaussian", 576) == pytest.approx(0.855, abs=5e-4)
    assert within_group_correlation("multivariate_gaussian", 147) == pytest.approx(0.0099, abs=5e-5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"normalization": "batches"}, "normalization='batches' is none of 'competition'"),
        ({"initialization": "zeros"}, "initialization='zeros' is none of 'kaiming'"),
        ({"filters": 0}, "filters=0 is below 1"),
        ({"groups_of": 0}, "groups_of=0 is below 1; None is for the default"),
        ({"normalization": "batch", "phi": "cube"}, "phi='cube' is none of 'square'"),
        ({"kernel_px": 6}, "kernel_px=6 is even"),
        ({"classes": 1}, "classes=1; there are 2 or more"),
        ({"size_px": 7}, "size_px=7 is below 8: nothing is left to read out"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TwoLayerSettings(**changed)


def test_groups_that_do_not_divide_the_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="64 channels do not divide into groups of 7"):
        TwoLayerCNN(TwoLayerSettings("batch", groups_of=7))
