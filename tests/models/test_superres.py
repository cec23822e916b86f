"""The super-resolution network: its sizes, its range, and how photographs are made coarse."""

import json
from typing import Literal, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ephys.electrodes import electrodes, find_layers
from ephys.models.divnormei import DivNormEI, Excitation, Projected
from ephys.models.gabor_bank import GaborBank
from ephys.models.superres import (
    SuperResolution,
    SuperResolutionSettings,
    coarsen,
    enlarge,
    reduce,
)

NORMALIZATIONS = ("divnormei", "divnorm", "none")
ODD = st.sampled_from([1, 3, 5])
SETTINGS = st.builds(
    SuperResolutionSettings,
    normalization=st.sampled_from(NORMALIZATIONS),
    excitation_from=st.sampled_from(get_args(Excitation)),
    divisive_size=ODD,
    excitation_size=ODD,
    inhibition_size=ODD,
    projected=st.sampled_from(get_args(Projected)),
)
TINY = SuperResolutionSettings(divisive_size=3, excitation_size=3, inhibition_size=3)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_48_pixels_go_through_maps_of_12_25_and_51_to_48(normalization: str) -> None:
    model = SuperResolution(SuperResolutionSettings(normalization=normalization))  # type: ignore[arg-type]
    layers = ["encoder.gabor_bank", "decoder.0", "decoder.3", "decoder.6", "decoder.9"]
    images = noise(2, 1, 48, 48)
    with torch.inference_mode():
        with electrodes(model, layers) as show:
            caught = show(images)
        output = model.eval()(images)
    assert [tuple(caught[layer].shape[1:]) for layer in layers] == [
        (64, 12, 12),
        (64, 12, 12),
        (64, 25, 25),
        (64, 51, 51),
        (1, 51, 51),
    ]
    assert output.shape == (2, 1, 48, 48)
    # The middle 48 of 51, through tanh, from [-1, 1] to [0, 1].
    middle = caught["decoder.9"][..., 1:49, 1:49]
    assert torch.equal(output, (torch.tanh(middle) + 1) / 2)


@settings(deadline=None, max_examples=12)
@given(
    fours=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    scale=st.sampled_from([1.0, 1e4]),
    training=st.booleans(),
)
def test_any_multiple_of_4_comes_back_in_its_size_within_0_to_1(
    fours: tuple[int, int], scale: float, training: bool
) -> None:
    height, width = 4 * fours[0], 4 * fours[1]
    model = SuperResolution(TINY).train(training)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(scale)  # however far the decoder overshoots
        output = model(noise(2, 1, height, width))
    assert output.shape == (2, 1, height, width)
    assert output.min() >= 0
    assert output.max() <= 1


def test_the_layers_to_record_from_have_the_documented_names() -> None:
    model = SuperResolution(TINY)
    assert find_layers(model, ["encoder.*"]) == ["encoder.gabor_bank", "encoder.normalization"]
    assert model.default_layers == ("encoder.gabor_bank", "encoder.normalization")
    bare = SuperResolution(SuperResolutionSettings(normalization="none"))
    assert find_layers(bare, ["encoder.*"]) == ["encoder.gabor_bank"]
    assert bare.default_layers == ("encoder.gabor_bank",)


def test_the_settings_reach_the_normalization() -> None:
    chosen = SuperResolutionSettings(
        excitation_from="drive",
        divisive_size=3,
        excitation_size=7,
        inhibition_size=5,
        projected="lateral",
    )
    layer = SuperResolution(chosen).encoder.normalization
    assert isinstance(layer, DivNormEI)
    assert layer.excitation_from == "drive"
    assert layer.projected == "lateral"
    assert layer.divisive.shape == (64, 1, 3, 3)
    assert layer.excitation is not None
    assert layer.excitation.weight.shape == (64, 64, 7, 7)
    assert layer.inhibition is not None
    assert layer.inhibition.weight.shape == (64, 64, 5, 5)
    alone = SuperResolution(SuperResolutionSettings(normalization="divnorm")).encoder.normalization
    assert isinstance(alone, DivNormEI)
    assert alone.excitation is None
    assert alone.inhibition is None


@settings(deadline=None, max_examples=15)
@given(chosen=SETTINGS)
def test_settings_come_back_from_what_a_model_says_of_itself(
    chosen: SuperResolutionSettings,
) -> None:
    described = json.loads(json.dumps(SuperResolution(chosen).describe()))
    assert SuperResolutionSettings(**described) == chosen


def test_an_unknown_normalization_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'batchnorm' is none of .*divnormei.*divnorm.*none"):
        SuperResolutionSettings(normalization="batchnorm")  # type: ignore[arg-type]


@pytest.mark.parametrize("projected", get_args(Projected))
def test_projecting_after_a_step_leaves_no_projected_weight_negative(projected: Projected) -> None:
    model = SuperResolution(
        SuperResolutionSettings(excitation_size=3, inhibition_size=3, projected=projected)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=100.0)
    images = noise(2, 1, 16, 16)
    (model(images) - images).square().sum().backward()
    optimizer.step()
    before = {name: values.clone() for name, values in model.state_dict().items()}
    model.project()
    lateral = {
        f"encoder.normalization.{name}"
        for name in ("divisive", "excitation.weight", "inhibition.weight")
    }
    encoder = {name for name, _ in model.named_parameters() if name.startswith("encoder.")}
    chosen = {
        "all": encoder,
        "lateral": lateral,
        "divisive": {"encoder.normalization.divisive"},
        "none": set[str](),
    }[projected]
    for name, values in model.state_dict().items():
        if name in chosen:
            assert torch.equal(values, before[name].clamp(min=0))
        else:
            assert torch.equal(values, before[name])
    assert projected == "none" or any((before[name] < 0).any() for name in chosen)


def test_without_normalization_there_is_nothing_to_project() -> None:
    model = SuperResolution(SuperResolutionSettings(normalization="none"))
    before = {name: values.clone() for name, values in model.state_dict().items()}
    model.project()
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())


def sampling(length: int) -> np.ndarray:
    """(length / 4, length): the mean of the two central pixels of each four."""
    matrix = np.zeros((length // 4, length))
    for i in range(length // 4):
        matrix[i, [4 * i + 1, 4 * i + 2]] = 0.5
    return matrix


def interpolating(length: int) -> np.ndarray:
    """(length, length / 4): linear between the centres of the large pixels, held at the ends."""
    matrix = np.zeros((length, length // 4))
    for j in range(length):
        place = min(max((j + 0.5) / 4 - 0.5, 0), length // 4 - 1)
        left = int(place)
        right = min(left + 1, length // 4 - 1)
        matrix[j, left] += 1 - (place - left)
        matrix[j, right] += place - left
    return matrix


@settings(deadline=None, max_examples=25)
@given(fours=st.tuples(st.integers(1, 6), st.integers(1, 6)), seed=st.integers(0, 2**31))
def test_coarsening_is_sampling_and_interpolating_by_hand(
    fours: tuple[int, int], seed: int
) -> None:
    height, width = 4 * fours[0], 4 * fours[1]
    image = np.random.default_rng(seed).random((height, width))
    small = sampling(height) @ image @ sampling(width).T
    expected = interpolating(height) @ small @ interpolating(width).T
    given_image = torch.from_numpy(image)[None, None]
    # Weights are multiples of 1/8; four products and sums of numbers below 1, twice, in float64.
    rounding = 16 * 2**-53
    np.testing.assert_allclose(reduce(given_image)[0, 0], small, rtol=0, atol=rounding)
    np.testing.assert_allclose(coarsen(given_image)[0, 0], expected, rtol=0, atol=rounding)


def test_coarsening_sees_only_the_two_central_pixels_of_each_four() -> None:
    image = noise(1, 1, 16, 20)
    changed = image.clone()
    edges = torch.tensor([0, 3])
    for four in range(4):
        changed[:, :, 4 * four + edges] = 0.123
    for four in range(5):
        changed[:, :, :, 4 * four + edges] = 0.987
    assert not torch.equal(changed, image)
    assert torch.equal(coarsen(changed), coarsen(image))


def test_bilinear_enlarging_keeps_a_ramp_linear_up_to_half_a_large_pixel_from_its_ends() -> None:
    small = torch.arange(8, dtype=torch.float64).expand(1, 1, 8, 8)
    large = enlarge(small, "bilinear")[0, 0].numpy()
    assert large.shape == (32, 32)
    expected = np.clip((np.arange(32) + 0.5) / 4 - 0.5, 0, 7)  # where the centre of pixel j lies
    # Weights are multiples of 1/8 and values whole numbers: nothing is rounded.
    np.testing.assert_array_equal(large, np.broadcast_to(expected, (32, 32)))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_enlarging_keeps_a_flat_image_flat_and_a_mirrored_one_mirrored(
    mode: Literal["bilinear", "bicubic"],
) -> None:
    flat = enlarge(torch.full((1, 1, 3, 5), 0.25, dtype=torch.float64), mode)
    assert flat.shape == (1, 1, 12, 20)
    # The bicubic weights are of either sign and sum to 1: 16 products of at most 0.25 in float64.
    torch.testing.assert_close(flat, torch.full_like(flat, 0.25), rtol=0, atol=16 * 2**-53)
    image = noise(1, 1, 6, 5).double()
    for axis in (2, 3):
        mirrored = enlarge(image.flip(axis), mode)
        there_and_back = mirrored.flip(axis)
        torch.testing.assert_close(there_and_back, enlarge(image, mode), rtol=0, atol=64 * 2**-53)


@pytest.mark.parametrize(("height", "width"), [(50, 48), (48, 3)])
def test_sizes_that_4_does_not_divide_are_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=rf"{height} x {width} pixels are not multiples of 4"):
        coarsen(torch.zeros(1, 1, height, width))


def test_the_gabors_have_the_cycles_per_degree_of_the_paper_at_the_models_scale() -> None:
    model = SuperResolution(TINY)
    scale = model.input_format.pixels_per_degree
    assert scale is not None
    bank = model.encoder.gabor_bank
    assert isinstance(bank, GaborBank)
    small = bank.cells[bank.cells["size"] == 15]
    assert set(small["spatial_frequency"] * scale) == {2.0, 3.0}
    assert model.input_format.field.width == pytest.approx(3.2, rel=2**-52)
