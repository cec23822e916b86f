"""Measured receptive fields against the arithmetic of convolutions."""

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ephys.models.gabor_bank import GaborBank
from ephys.models.input_format import InputFormat
from ephys.models.superres import SuperResolution, SuperResolutionSettings
from ephys.receptive_field import Geometry, measure

FORMAT = InputFormat(channels=1, height_px=40, width_px=40)


@dataclass(frozen=True)
class Step:
    """One layer of a chain, the same in both directions."""

    kernel: int
    stride: int
    padding: int
    dilation: int
    pools: bool = False

    def layer(self, channels_in: int) -> nn.Module:
        if self.pools:
            return nn.AvgPool2d(self.kernel, self.stride, min(self.padding, self.kernel // 2))
        return nn.Conv2d(
            channels_in, 2, self.kernel, self.stride, self.padding, self.dilation, bias=True
        )


steps = st.builds(
    Step,
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    pools=st.booleans(),
)


def by_arithmetic(chain: list[Step]) -> tuple[float, int, int]:
    """First pixel looked at, stride and size: in one direction, layer after layer."""
    first, stride, size = 0.0, 1, 1
    for step in chain:
        reach = (step.kernel - 1) * (1 if step.pools else step.dilation)
        padding = min(step.padding, step.kernel // 2) if step.pools else step.padding
        first += (reach / 2 - padding) * stride
        size += reach * stride
        stride *= step.stride
    return first, stride, size


def local(first: float, stride: float, size: int) -> Geometry:
    return Geometry("local", (first, first), (stride, stride), (size, size))


def positive(model: nn.Module) -> nn.Module:
    """Weights and biases above 0, so that a ReLU lets every unit answer."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator) + 0.1)
    return model


@settings(deadline=None, max_examples=40)
@given(chain=st.lists(steps, min_size=1, max_size=3))
def test_chains_of_convolutions_and_pools_have_the_geometry_of_their_arithmetic(
    chain: list[Step],
) -> None:
    channels, layers = 1, []
    for step in chain:
        layers.append(step.layer(channels))
        channels = channels if step.pools else 2
    model = positive(nn.Sequential(*layers))
    names = [str(index) for index in range(len(chain))]
    measured = measure(model, names, FORMAT)
    for index, name in enumerate(names):
        assert measured[name] == local(*by_arithmetic(chain[: index + 1]))


def test_the_two_directions_are_measured_each_on_its_own() -> None:
    model = positive(nn.Conv2d(1, 3, (5, 2), stride=(3, 1), padding=(0, 1), dilation=(1, 4)))
    expected = Geometry("local", (2.0, 1.0), (3.0, 1.0), (5, 5))
    assert measure(nn.Sequential(model), ["0"], FORMAT) == {"0": expected}


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 3, 0)])
def test_max_pooling_sees_its_whole_window_though_one_pixel_wins(
    kernel: int, stride: int, padding: int
) -> None:
    model = nn.Sequential(nn.Identity(), nn.MaxPool2d(kernel, stride, padding))
    expected = by_arithmetic([Step(kernel, stride, padding, 1)])
    assert measure(model, ["1"], FORMAT) == {"1": local(*expected)}


def test_a_few_channels_before_a_max_pool_are_enough() -> None:
    chain = [Step(3, 1, 1, 1), Step(2, 2, 0, 1), Step(3, 1, 1, 1), Step(2, 2, 0, 1)]
    first, second = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
    model = positive(nn.Sequential(first, nn.MaxPool2d(2), second, nn.MaxPool2d(2)))
    measured = measure(model, ["1", "3"], FORMAT)
    assert measured["1"] == local(*by_arithmetic(chain[:2]))
    assert measured["3"] == local(*by_arithmetic(chain))


def test_a_relu_in_place_after_a_layer_does_not_silence_it() -> None:
    def model(inplace: bool) -> nn.Sequential:
        network = positive(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace), nn.Conv2d(2, 2, 1)))
        assert isinstance(network, nn.Sequential)
        bias = network[0].bias
        assert isinstance(bias, Tensor)
        with torch.no_grad():
            bias.fill_(-100)  # below threshold for every image
        return network

    for inplace in (False, True):
        measured = measure(model(inplace), ["0", "1"], FORMAT)
        assert measured["0"] == local(1, 1, 3)
        assert measured["1"].status == "unknown"


def test_the_gabor_bank_sees_21_pixels_around_every_fourth() -> None:
    bank = nn.Sequential(GaborBank(stride=4))
    expected = local(0, 4, 21)
    assert measure(bank, ["0"], InputFormat(1, 48, 48)) == {"0": expected}
    # On an image so small that all are cut off, from larger images.
    assert measure(bank, ["0"], InputFormat(1, 20, 20)) == {"0": expected}


def test_the_normalization_of_the_super_resolution_network_sees_69_pixels() -> None:
    model = SuperResolution(SuperResolutionSettings())
    layers = ["encoder.gabor_bank", "encoder.normalization"]
    assert measure(model, layers, model.input_format) == {
        "encoder.gabor_bank": local(0, 4, 21),
        # the divisor's 5 positions, then 9 more at 4 px each: 21 + 4 * (2 * 2 + 2 * 4) = 69
        "encoder.normalization": local(0, 4, 69),
    }


class Mixing(nn.Module):
    """A map, then everything mixed with everything, then a map again."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.map = nn.Conv2d(1, 1, 3, padding=1, stride=2)
        self.mix = nn.Linear(pixels, pixels)
        self.again = nn.Conv2d(1, 2, 3, padding=1)
        self.last = nn.AdaptiveAvgPool2d(1)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.map(images)
        mixed = self.mix(maps.flatten(1)).view(maps.shape)
        return self.last(self.again(mixed))


WHOLE = Geometry("whole input", (9.5, 9.5), (0, 0), (20, 20))


def test_units_behind_a_full_connection_see_the_whole_input() -> None:
    model = positive(Mixing(100))
    measured = measure(model, ["map", "again", "last"], InputFormat(1, 20, 20))
    assert measured == {"map": local(0, 2, 3), "again": WHOLE, "last": WHOLE}


def test_global_pooling_sees_the_whole_input_of_any_size() -> None:
    model = positive(nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(2, 2, 1)))
    measured = measure(model, ["0", "1", "2"], InputFormat(1, 20, 20))
    assert measured == {"0": local(1, 1, 3), "1": WHOLE, "2": WHOLE}


def test_a_field_cut_off_by_the_image_is_measured_though_another_layer_takes_no_other_size() -> (
    None
):
    class Wide(Mixing):
        def __init__(self) -> None:
            super().__init__(100)
            self.map = nn.Conv2d(1, 1, 19, padding=9, stride=2)

    measured = measure(positive(Wide()), ["map", "again"], InputFormat(1, 20, 20))
    assert measured == {"map": local(0, 2, 19), "again": WHOLE}


def test_a_position_that_sees_nothing_but_padding_does_not_hide_the_others() -> None:
    layer = nn.Conv2d(1, 1, 5, stride=4, padding=1)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 0, 0, 0] = 1  # 12 pixels: rows look at pixels -1, 3 and 7
    measured = measure(nn.Sequential(layer), ["0"], InputFormat(1, 12, 12))
    assert measured == {"0": local(-1, 4, 1)}


def test_a_layer_that_no_pixel_moves_is_unknown() -> None:
    silent = nn.Conv2d(1, 2, 3)
    constant = nn.Conv2d(1, 2, 3)
    with torch.no_grad():
        silent.weight.fill_(1)
        assert silent.bias is not None
        silent.bias.fill_(-10)  # nine pixels of at most 1 never reach the threshold
        constant.weight.zero_()
    for model in (nn.Sequential(silent, nn.ReLU()), nn.Sequential(constant, nn.Identity())):
        geometry = measure(model, ["1"], FORMAT)["1"]
        assert geometry.status == "unknown"
        assert all(math.isnan(number) for number in (*geometry.first, *geometry.stride))
        assert geometry.size == (0, 0)


def test_a_color_model_is_measured_through_its_own_format() -> None:
    model = nn.Sequential(positive(nn.Conv2d(3, 2, 7, stride=2, padding=3)))
    color = InputFormat(3, 32, 48, mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2))
    assert measure(model, ["0"], color) == {"0": local(0, 2, 7)}


def test_a_unit_looks_at_first_plus_stride_times_its_position() -> None:
    geometry = Geometry("local", (1.5, -2.0), (4.0, 3.0), (5, 6))
    assert geometry.center(0, 0) == (1.5, -2.0)
    assert geometry.center(3, 5) == (13.5, 13.0)


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5)).train()
    model[1].eval()
    before = {name: values.clone() for name, values in model.state_dict().items()}
    state = torch.get_rng_state()
    first = measure(model, ["0", "2"], FORMAT)
    assert measure(model, ["0", "2"], FORMAT) == first
    assert [module.training for module in model] == [True, False, True]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_does_not_matter_whether_the_caller_wants_gradients(mode: type) -> None:
    model = nn.Sequential(positive(nn.Conv2d(1, 2, 3)))
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with mode():
        assert measure(model, ["0"], FORMAT) == {"0": local(1, 1, 3)}


def test_an_error_of_the_model_is_not_taken_for_a_matter_of_size() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 3))  # wants three channels
    with pytest.raises(RuntimeError, match="channels"):
        measure(model, ["0"], FORMAT)
