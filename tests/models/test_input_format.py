"""What a model takes: values, channels and visual scale."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ephys.models.input_format import INPUT_FORMATS, InputFormat, named_format, own_format
from ephys.visual_field import VisualField

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NUMBERS = st.floats(-200, 200)
SPREADS = st.floats(0.01, 100)


@st.composite
def formats(draw: st.DrawFn) -> InputFormat:
    channels = draw(st.sampled_from([1, 3]))
    count = st.sampled_from([1, channels])
    means, spreads = draw(count), draw(count)
    return InputFormat(
        channels=channels,
        height_px=3,
        width_px=4,
        scale=draw(st.sampled_from([1.0, 255.0])),
        mean=tuple(draw(st.lists(NUMBERS, min_size=means, max_size=means))),
        std=tuple(draw(st.lists(SPREADS, min_size=spreads, max_size=spreads))),
    )


@settings(deadline=None, max_examples=50)
@given(input_format=formats(), given_channels=st.sampled_from([1, 3]), seed=st.integers(0, 2**31))
def test_encoding_is_the_written_formula_for_each_channel(
    input_format: InputFormat, given_channels: int, seed: int
) -> None:
    given_channels = min(given_channels, input_format.channels)
    images = np.random.default_rng(seed).random((2, given_channels, 3, 4))
    encoded = input_format.encode(torch.from_numpy(images)).numpy()
    assert encoded.shape == (2, input_format.channels, 3, 4)
    for channel in range(input_format.channels):
        image = images[:, channel if given_channels > 1 else 0]
        mean = input_format.mean[channel if len(input_format.mean) > 1 else 0]
        std = input_format.std[channel if len(input_format.std) > 1 else 0]
        expected = (image * input_format.scale - mean) / std  # the same three float64 operations
        np.testing.assert_array_equal(encoded[:, channel], expected)


def test_a_grey_image_becomes_what_torchvision_makes_of_it() -> None:
    input_format = InputFormat(3, 8, 8, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    encoded = input_format.encode(torch.full((2, 1, 8, 8), 0.5))
    assert encoded.shape == (2, 3, 8, 8)
    assert encoded.dtype == torch.float32
    by_hand = [(0.5 - mean) / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    # Mean and image are rounded to float32 before a subtraction that leaves as little as 0.015.
    assert encoded[1, :, 4, 4].tolist() == pytest.approx(by_hand, abs=4 * 2**-25 / 0.224)


def test_the_plain_format_changes_nothing() -> None:
    image = torch.rand(2, 1, 5, 7, generator=torch.Generator().manual_seed(5))
    assert torch.equal(InputFormat(1, 5, 7).encode(image), image)


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_other_numbers_of_channels_are_refused(channels: int) -> None:
    with pytest.raises(ValueError, match=rf"channels={channels}; .* 1 or 3"):
        InputFormat(channels, 8, 8)


@pytest.mark.parametrize("name", ["mean", "std"])
def test_a_mean_or_std_for_other_channels_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} has 2 values for 3 channels"):
        InputFormat(3, 8, 8, **{name: (0.5, 0.5)})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=rf"{name} has 3 values for 1 channels"):
        InputFormat(1, 8, 8, **{name: (0.5, 0.5, 0.5)})  # type: ignore[arg-type]


@settings(deadline=None)
@given(scale=st.floats(0.5, 100), height=st.integers(1, 300), width=st.integers(1, 300))
def test_the_field_has_the_models_own_scale(scale: float, height: int, width: int) -> None:
    field = InputFormat(1, height, width, pixels_per_degree=scale).field
    assert field == VisualField(height, width, scale)


def test_an_image_without_a_natural_scale_covers_8_degrees() -> None:
    assert InputFormat(3, 112, 224).field == VisualField(112, 224, 28.0)


@pytest.mark.parametrize("scale", [0.0, -15.0])
def test_a_scale_that_is_not_positive_is_refused_not_replaced(scale: float) -> None:
    with pytest.raises(ValueError, match=rf"pixels_per_degree={scale} is not above 0"):
        InputFormat(1, 48, 48, pixels_per_degree=scale).field  # noqa: B018


def test_another_size_keeps_the_pixels_per_degree() -> None:
    own = InputFormat(1, 24, 48, pixels_per_degree=15, mean=(0.3,))
    assert own.resized(96) == InputFormat(1, 96, 96, pixels_per_degree=15, mean=(0.3,))
    # Without a natural scale: those of 8 degrees across the image that the model is made for.
    assert InputFormat(1, 24, 48).resized(96).field == VisualField(96, 96, 6.0)


@settings(deadline=None)
@given(
    degrees=st.floats(0.1, 100),
    size=st.none() | st.integers(1, 300),
    scale=st.none() | st.floats(1, 60),
)
def test_stated_degrees_are_the_width_whatever_the_models_own_scale(
    degrees: float, size: int | None, scale: float | None
) -> None:
    chosen = InputFormat(1, 24, 48, pixels_per_degree=scale).resized(size, degrees)
    assert (chosen.height_px, chosen.width_px) == ((24, 48) if size is None else (size, size))
    # Two divisions, each rounded by half an ulp at most.
    assert chosen.field.width == pytest.approx(degrees, rel=2**-51)


def test_resizing_to_nothing_else_changes_no_picture() -> None:
    own = InputFormat(3, 24, 48, scale=255.0, mean=(1.0, 2.0, 3.0))
    assert own.resized().field == own.field
    assert own.resized().resized() == own.resized()


@pytest.mark.parametrize("degrees", [0.0, -2.5, float("nan")])
def test_an_image_without_extent_is_refused(degrees: float) -> None:
    with pytest.raises(ValueError, match=re.escape(f"degrees={degrees}; ") + ".* above 0"):
        InputFormat(1, 8, 8).resized(degrees=degrees)


@pytest.mark.parametrize("size", [0, -4])
def test_an_image_without_pixels_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=rf"height_px={size}"):
        InputFormat(1, 8, 8).resized(size)


@pytest.mark.parametrize(
    ("name", "color", "encoded"),
    [
        # ImageNet's mean color, and mean plus one s.d. (torchvision's documentation).
        ("torchvision", (0.485, 0.456, 0.406), (0, 0, 0)),
        ("torchvision", (0.485 + 0.229, 0.456 + 0.224, 0.406 + 0.225), (1, 1, 1)),
        # The VGG team's mean color, RGB; white is 255 in every channel.
        ("caffe", (123.68 / 255, 116.779 / 255, 103.939 / 255), (0, 0, 0)),
        ("caffe", (1, 1, 1), (131.32, 138.221, 151.061)),
        # The mean of Caffe's ilsvrc_2012_mean.npy, RGB.
        ("caffenet", (122.679 / 255, 116.669 / 255, 104.007 / 255), (0, 0, 0)),
        ("caffenet", (1, 0, 1), (132.321, -116.669, 150.993)),
        ("unit", (0.1, 0.5, 0.9), (0.1, 0.5, 0.9)),
    ],
)
def test_each_named_format_encodes_known_colors_as_published(
    name: str, color: tuple[float, ...], encoded: tuple[float, ...]
) -> None:
    image = torch.tensor(color, dtype=torch.float64)[None, :, None, None].expand(1, 3, 2, 2)
    result = INPUT_FORMATS[name].encode(image)
    expected = torch.tensor(encoded, dtype=torch.float64)[:, None, None].expand(1, 3, 2, 2)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-9)


def test_a_named_format_is_for_images_of_any_size() -> None:
    assert named_format("caffe") == INPUT_FORMATS["caffe"]
    assert named_format("caffe", height_px=20, width_px=30) == InputFormat(
        3, 20, 30, scale=255.0, mean=(123.68, 116.779, 103.939)
    )
    assert named_format("unit", channels=1, height_px=20, width_px=30) == InputFormat(1, 20, 30)


def test_a_format_of_colors_is_refused_for_one_channel() -> None:
    with pytest.raises(ValueError, match="mean has 3 values for 1 channels"):
        named_format("torchvision", channels=1)


def test_an_unknown_format_is_answered_with_the_known() -> None:
    with pytest.raises(KeyError, match="no input format 'keras'; there are") as refused:
        named_format("keras")
    assert all(f"{name} (" in refused.value.args[0] for name in INPUT_FORMATS)


class Model(nn.Module):
    def __init__(self, says: object) -> None:
        super().__init__()
        self.input_format = says


def test_a_model_says_what_it_takes() -> None:
    assert own_format(Model(InputFormat(1, 8, 8))) == InputFormat(1, 8, 8)


def test_a_model_that_does_not_say_what_it_takes_is_refused_with_the_way_out() -> None:
    for model in (nn.Conv2d(1, 1, 1), Model((1, 8, 8)), Model(None)):
        name = type(model).__name__
        with pytest.raises(ValueError, match=rf"{name} does not say .* input_format=InputFormat\("):
            own_format(model)
