"""DivNormEI against a plain loop over the equations of the paper."""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ephys.models.divnormei import DivNormEI, Excitation, Projected

PARAMETERS = {
    "divisive",
    "semi_saturation",
    "excitation.weight",
    "excitation.bias",
    "inhibition.weight",
    "inhibition.bias",
    "batch_norm.weight",
    "batch_norm.bias",
}


def windows(maps: np.ndarray, size: int, row: int, column: int) -> np.ndarray:
    """All channels of size x size positions around one, zero outside the map."""
    half = size // 2
    padded = np.pad(maps, [(0, 0), (half, half), (half, half)])
    return padded[:, row : row + size, column : column + size]


def divided(layer: DivNormEI, drive: np.ndarray) -> np.ndarray:
    """Equation 2, for one image (channel, row, column)."""
    weights = layer.divisive.detach().numpy()[:, 0]
    sigma = layer.semi_saturation.detach().numpy()[:, 0, 0]
    result = np.empty_like(drive)
    for k in range(drive.shape[0]):
        for i in range(drive.shape[1]):
            for j in range(drive.shape[2]):
                around = windows(drive, weights.shape[-1], i, j)[k]
                pool = (weights[k] * around**2).sum()
                result[k, i, j] = drive[k, i, j] ** 2 / (pool + sigma[k] ** 2 + 1e-5)
    return result


def across_channels(convolution: torch.nn.Conv2d, maps: np.ndarray) -> np.ndarray:
    """Equations 3 and 4, for one image."""
    assert convolution.bias is not None
    weights = convolution.weight.detach().numpy()
    bias = convolution.bias.detach().numpy()
    result = np.empty_like(maps)
    for k in range(maps.shape[0]):
        for i in range(maps.shape[1]):
            for j in range(maps.shape[2]):
                around = windows(maps, weights.shape[-1], i, j)
                result[k, i, j] = (weights[k] * around).sum() + bias[k]
    return result


def by_the_equations(layer: DivNormEI, drive: np.ndarray) -> np.ndarray:
    """Equations 2 to 6 in evaluation mode, for one image."""
    normalized = output = divided(layer, drive)
    if layer.excitation is not None and layer.inhibition is not None:
        exciting = {"drive": drive, "normalized": normalized}[layer.excitation_from]
        output = normalized + across_channels(layer.excitation, exciting)
        output = output - across_channels(layer.inhibition, normalized)
    norm = layer.batch_norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, variance, scale, shift = (
        values.detach().numpy()[:, None, None]
        for values in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return np.maximum((output - mean) / np.sqrt(variance + norm.eps) * scale + shift, 0)


def randomize(layer: DivNormEI, generator: torch.Generator) -> None:
    """Every parameter and running statistic away from its simple initial value."""
    with torch.no_grad():
        for name, values in [*layer.named_parameters(), *layer.named_buffers()]:
            if values.is_floating_point():
                values.copy_(torch.rand(values.shape, generator=generator, dtype=values.dtype))
                if name not in ("divisive", "semi_saturation", "batch_norm.running_var"):
                    values.sub_(0.5)  # lateral weights, biases and normalization of both signs
        layer.semi_saturation.add_(0.5)
        assert layer.batch_norm.running_var is not None
        layer.batch_norm.running_var.add_(0.5)


@settings(deadline=None, max_examples=30)
@given(
    excitation_from=st.sampled_from(get_args(Excitation)),
    lateral=st.booleans(),
    sizes=st.tuples(*[st.sampled_from([1, 3, 5, 7, 9])] * 3),
    height=st.integers(1, 5),
    width=st.integers(1, 6),
    seed=st.integers(0, 2**31),
)
def test_a_layer_computes_equations_2_to_6(
    excitation_from: Excitation,
    lateral: bool,
    sizes: tuple[int, int, int],
    height: int,
    width: int,
    seed: int,
) -> None:
    divisive, excitation, inhibition = sizes
    layer = DivNormEI(
        4,
        divisive_size=divisive,
        excitation_size=excitation,
        inhibition_size=inhibition,
        excitation_from=excitation_from,
        lateral=lateral,
    ).double()
    layer.eval()
    generator = torch.Generator().manual_seed(seed)
    randomize(layer, generator)
    drive = 3 * torch.rand(2, 4, height, width, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        answer = layer(drive).numpy()
    expected = np.stack([by_the_equations(layer, image) for image in drive.numpy()])
    # Two sums of at most 4 * 81 products, in any order, in float64. A weight is at most 0.5, and a
    # normalized response at most 3^2 / 0.5^2; batch normalization divides by more than 0.7.
    rounding = 2 * (4 * 81) * (4 * 81 * 0.5 * 36) * 2**-53 / 0.7
    np.testing.assert_allclose(answer, expected, rtol=0, atol=rounding)


@settings(deadline=None, max_examples=30)
@given(drive=st.floats(0, 100))
def test_a_lone_position_saturates_as_naka_and_rushton_with_exponent_2(drive: float) -> None:
    layer = DivNormEI(4).double()
    with torch.no_grad():
        answer = layer.normalize(torch.full((1, 4, 1, 1), drive, dtype=torch.float64))
    expected = drive**2 / (drive**2 + 1 + 1e-5)  # the centre of each pool and sigma begin at 1
    np.testing.assert_allclose(answer.numpy().ravel(), expected, rtol=1e-14)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), gain=st.floats(0.1, 10))
def test_the_divisor_ignores_the_sign_and_scales_with_the_semi_saturation(
    seed: int, gain: float
) -> None:
    layer = DivNormEI(4).double()
    generator = torch.Generator().manual_seed(seed)
    drive = torch.randn(1, 4, 6, 6, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        answer = layer.normalize(drive)
        assert torch.equal(layer.normalize(-drive), answer)
        # Drive and sqrt(sigma^2 + epsilon) larger by the same factor: the same response.
        layer.semi_saturation.fill_(np.sqrt(gain**2 * (1 + 1e-5) - 1e-5))
        scaled = layer.normalize(gain * drive)
    # A few dozen operations in float64 on positive numbers, the subtraction of 1e-5 from 0.01
    # or more included.
    torch.testing.assert_close(scaled, answer, rtol=1e-13, atol=0)


def test_a_channel_is_divided_by_its_own_neighbours_alone() -> None:
    layer = DivNormEI(4)
    drive = torch.zeros(1, 4, 9, 9)
    drive[0, 1] = 1
    drive[0, 2, 0, 0] = 5
    with torch.no_grad():
        before = layer.normalize(drive)
        drive[0, 2, 4, 4] = 7  # another channel
        drive[0, 1, 8, 8] = 9  # further than 2 positions from the middle
        after = layer.normalize(drive)
    assert torch.equal(after[0, 1, :6, :6], before[0, 1, :6, :6])
    assert (after[0, 1, 6:, 6:] != before[0, 1, 6:, 6:]).all()


def test_the_excitation_that_the_paper_prints_comes_from_the_drive() -> None:
    answers = {}
    for excitation_from in get_args(Excitation):
        layer = DivNormEI(4, excitation_from=excitation_from).double()
        layer.eval()
        assert layer.excitation is not None
        assert layer.excitation.bias is not None
        assert layer.inhibition is not None
        with torch.no_grad():
            for parameter in [*layer.excitation.parameters(), *layer.inhibition.parameters()]:
                parameter.zero_()
            layer.excitation.weight[:, 0, 4, 4] = 1  # everyone is excited by channel 0 right there
            drive = torch.full((1, 4, 1, 1), 3.0, dtype=torch.float64)
            answers[excitation_from] = layer(drive)[0, 0, 0, 0].item()
    normalized = 9 / (9 + 1 + 1e-5)
    initial_norm = np.sqrt(1 + 1e-5)  # running variance 1, and the epsilon of batch normalization
    assert answers["drive"] == pytest.approx((normalized + 3) / initial_norm, rel=1e-14)
    assert answers["normalized"] == pytest.approx(2 * normalized / initial_norm, rel=1e-14)


@pytest.mark.parametrize("size", [1, 3, 5, 9])
def test_every_initial_pool_is_1_at_its_centre_and_symmetric(size: int) -> None:
    pools = DivNormEI(16, divisive_size=size).divisive.detach()
    assert pools.shape == (16, 1, size, size)
    assert (pools[:, 0, size // 2, size // 2] == 1).all()
    assert torch.equal(pools, pools.flip(2))
    assert torch.equal(pools, pools.flip(3))
    assert torch.equal(pools, pools.transpose(2, 3))


def test_the_four_initial_widths_are_dealt_equally_often_with_the_published_sums() -> None:
    sums = np.sort(DivNormEI(64).divisive.detach().double().sum((1, 2, 3)).numpy())
    for start, published, decimals in [(0, 6.17, 2), (16, 15.8, 1), (32, 22.1, 1), (48, 23.7, 1)]:
        assert np.round(sums[start : start + 16], decimals).tolist() == [published] * 16


def test_an_initial_pool_falls_off_as_a_gaussian_over_two_half_kernels() -> None:
    pools = DivNormEI(4).divisive.detach()[:, 0].double().numpy()
    widths = sorted(float(w) for w in np.sqrt(-1 / (2 * np.log(pools[:, 2, 4]))))
    # The edge of the kernel is at distance 1: exp(-1 / (2 sd^2)). Rounded to float32, and with
    # d(sd)/sd = sd^2 d(ln p), at most 9 ulp.
    assert widths == pytest.approx([0.5, 1, 2, 3], rel=2 * 9 * 2**-24)
    for pool in pools:
        # corner = edge squared, half way = edge to the power 1/4
        assert pool[0, 0] == pytest.approx(pool[2, 4] ** 2, rel=4 * 2**-23)
        assert pool[2, 3] == pytest.approx(pool[2, 4] ** 0.25, rel=4 * 2**-23)


def test_the_widths_are_dealt_to_the_channels_at_random() -> None:
    with torch.random.fork_rng():
        deals = []
        for seed in range(5):
            torch.manual_seed(seed)
            deals.append(tuple(DivNormEI(64).divisive.detach().sum((1, 2, 3)).tolist()))
    assert len(set(deals)) == 5  # of 64! / 16!^4 deals


def projected_names(projected: Projected) -> set[str]:
    return {
        "all": PARAMETERS,
        "lateral": {"divisive", "excitation.weight", "inhibition.weight"},
        "divisive": {"divisive"},
        "none": set(),
    }[projected]


@pytest.mark.parametrize("projected", get_args(Projected))
def test_projecting_sets_the_negative_of_the_named_parameters_to_zero(projected: Projected) -> None:
    layer = DivNormEI(4, projected=projected)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for values in [*layer.parameters(), *layer.buffers()]:
            if values.is_floating_point():
                values.copy_(torch.randn(values.shape, generator=generator))
    before = {name: values.clone() for name, values in layer.state_dict().items()}
    layer.project()
    assert {name for name, _ in layer.named_parameters()} == PARAMETERS
    for name, values in layer.state_dict().items():
        if name in projected_names(projected):
            assert torch.equal(values, before[name].clamp(min=0))
            assert (before[name] < 0).any(), "the test would show nothing"
        else:
            assert torch.equal(values, before[name])
    assert all(parameter.requires_grad for parameter in layer.parameters())


@pytest.mark.parametrize("projected", get_args(Projected))
def test_without_lateral_connections_there_is_nothing_lateral(projected: Projected) -> None:
    layer = DivNormEI(8, lateral=False, projected=projected)
    names = {name for name, _ in layer.named_parameters()}
    assert names == {"divisive", "semi_saturation", "batch_norm.weight", "batch_norm.bias"}
    with torch.no_grad():
        layer.divisive.fill_(-1)
    layer.project()
    assert (layer.divisive == (-1 if projected == "none" else 0)).all()


def test_the_numbers_of_parameters_are_those_of_the_paper() -> None:
    counts = {name: p.numel() for name, p in DivNormEI(64).named_parameters()}
    assert counts["divisive"] == 1_600
    assert counts["excitation.weight"] + counts["excitation.bias"] == 331_840
    assert counts["inhibition.weight"] + counts["inhibition.bias"] == 200_768
    assert counts["semi_saturation"] == 64
    assert counts["batch_norm.weight"] + counts["batch_norm.bias"] == 128


@pytest.mark.parametrize("channels", [1, 6, 63])
def test_channels_that_4_does_not_divide_are_refused(channels: int) -> None:
    with pytest.raises(ValueError, match=rf"channels={channels} is not a multiple of 4"):
        DivNormEI(channels)


@pytest.mark.parametrize("name", ["divisive_size", "excitation_size", "inhibition_size"])
@pytest.mark.parametrize("size", [2, 8])
def test_an_even_pool_is_refused_by_name(name: str, size: int) -> None:
    with pytest.raises(ValueError, match=rf"{name}={size} is even.*odd"):
        DivNormEI(4, **{name: size})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["excitation_from", "projected"])
def test_a_misspelt_choice_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}='normalised'"):
        DivNormEI(4, **{name: "normalised"})  # type: ignore[arg-type]
