"""Units answer to a crop as they do to the whole image, and it is no larger than it has to be."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision import models as zoo

from ephys.cropping import Crop, find_crop
from ephys.electrodes import electrodes
from ephys.models import load, vgg
from ephys.receptive_field import Geometry, survey

ROUNDING = 1e-12  # of the largest answer: double precision, summed in another order


def noise(channels: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, channels, height, width, generator=generator, dtype=torch.float64)


def seeded(model: nn.Module) -> nn.Module:
    """In double precision, with weights of a standard deviation of 1, and none by chance 0."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.double().parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model.eval()


def answers(
    model: nn.Module, geometries: Mapping[str, Geometry], images: Tensor
) -> dict[str, Tensor]:
    """By layer: (image, unit, position)."""
    with torch.no_grad(), electrodes(model, list(geometries)) as show:
        return {layer: geometries[layer].sites(answer) for layer, answer in show(images).items()}


def assert_same_answers(
    model: nn.Module,
    sites: Mapping[str, int],
    geometries: Mapping[str, Geometry],
    images: Tensor,
    crop: Crop,
) -> None:
    wanted = {layer: geometries[layer] for layer in sites}
    whole = answers(model, wanted, images)
    part = answers(model, wanted, images[..., crop.rows, crop.columns])
    for layer, site in sites.items():
        assert crop.holds(geometries[layer].boxes[site])
        expected = whole[layer][..., site]
        torch.testing.assert_close(
            part[layer][..., crop.sites[layer]],
            expected,
            rtol=0,
            atol=ROUNDING * float(whole[layer].abs().max()),
        )


def crop_of(model: nn.Module, layer: str, images: Tensor, position: tuple[int, int]) -> Crop | None:
    """For the unit at one position of a layer; checked if there is one."""
    geometries = survey(model, [layer], images).geometries
    (site,) = np.flatnonzero((geometries[layer].positions == position).all(1))
    crop = find_crop(model, {layer: int(site)}, geometries, images)
    if crop is not None:
        assert_same_answers(model, {layer: int(site)}, geometries, images, crop)
    return crop


class Sum(nn.Module):
    """Two ways at once, of which the larger is cut to the size of the other."""

    def __init__(self, one: nn.Module, other: nn.Module) -> None:
        super().__init__()
        self.one, self.other = one, other

    def forward(self, images: Tensor) -> Tensor:
        a, b = self.one(images), self.other(images)
        height, width = min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3])
        return a[..., :height, :width] + b[..., :height, :width]


class Call(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Any:
        return self.function(images)


def pool(kind: type, kernel: int, stride: int, padding: int, rounding_up: bool) -> nn.Module:
    layer: nn.Module = kind(kernel, stride, min(padding, kernel // 2), ceil_mode=rounding_up)
    return layer


few = partial(st.integers, 1)
convolutions = st.builds(
    partial(nn.Conv2d, 2, 2),
    st.tuples(few(4), few(4)),
    stride=st.tuples(few(3), few(2)),
    padding=st.integers(0, 3),
    dilation=few(2),
)
pools = st.builds(
    pool, st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]), few(4), few(3), few(2), st.booleans()
)
blocks = st.one_of(
    convolutions,
    pools,
    st.builds(partial(nn.Conv2d, 2, 2, padding="same"), st.sampled_from([1, 3]), dilation=few(2)),
    st.builds(partial(nn.ConvTranspose2d, 2, 2), st.tuples(few(4), few(4)), stride=few(3)),
    st.builds(
        nn.Upsample,
        scale_factor=st.sampled_from([2, 3, 1.5, 0.5]),
        mode=st.sampled_from(["nearest", "nearest-exact", "bilinear", "bicubic"]),
    ),
    st.builds(
        lambda kind: kind((1, 2, 0, 1)),
        st.sampled_from([nn.ZeroPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d]),
    ),
    st.builds(
        lambda stride: Sum(nn.Conv2d(2, 2, 3, stride, 1), nn.Conv2d(2, 2, 1, stride)), few(3)
    ),
    st.builds(nn.PixelShuffle, st.just(1)),
    st.builds(nn.Tanh),
)


@settings(deadline=None, max_examples=80)
@given(
    chain=st.lists(blocks, min_size=1, max_size=5),
    size=st.tuples(st.integers(12, 40), st.integers(12, 40)),
    chosen=st.lists(st.integers(0), min_size=2, max_size=2),
)
def test_a_crop_is_answered_as_the_whole_image(
    chain: list[nn.Module], size: tuple[int, int], chosen: list[int]
) -> None:
    """At the center, at a corner, and anywhere."""
    model, images = seeded(nn.Sequential(*chain)), noise(2, *size)
    last = str(len(chain) - 1)
    try:
        geometries = survey(model, [last], images).geometries
    except RuntimeError:
        assume(False)  # the image is too small
    known = geometries[last]
    count = len(known.boxes)
    for site in {known.central(*size), 0, count - 1, *(number % count for number in chosen)}:
        crop = find_crop(model, {last: site}, geometries, images)
        if crop is not None:
            assert 0 <= crop.rows.start < crop.rows.stop <= size[0]
            assert 0 <= crop.columns.start < crop.columns.stop <= size[1]
            assert crop.area < size[0] * size[1]
            assert_same_answers(model, {last: site}, geometries, images, crop)


def thin_vgg16() -> nn.Module:
    with pytest.MonkeyPatch.context() as patch, torch.device("meta"):
        patch.setattr(vgg, "WIDTHS", (2,) * 5)  # receptive fields do not depend on them
        network = vgg.VGG(16)
    return seeded(network.features.to_empty(device="cpu"))


# Layer, its receptive field, and the crop's side, that starts on a whole step of the layer's grid.
# conv1_1 sees 3, each further convolution 2 steps more, each pool one: of 1, 2, 4, 8, 16 pixels.
# Unit i of a layer of step s sees pixels from i * s on, less half of what its convolutions add:
# 1 and 2 pixels; 4 and 6 of steps of 2; 10, 14 and 18 of steps of 4, which start 2 pixels below;
# 26, 34 and 42 of steps of 8, 6, 6 and 6 below; 58, 74 and 90 of steps of 16.
VGG16 = {
    "0": ("conv1_1", 3, 3),
    "2": ("conv1_2", 5, 5),
    "5": ("conv2_1", 10, 10),
    "7": ("conv2_2", 14, 14),
    "10": ("conv3_1", 24, 26),
    "12": ("conv3_2", 32, 34),
    "14": ("conv3_3", 40, 42),
    "17": ("conv4_1", 60, 66),
    "19": ("conv4_2", 76, 82),
    "21": ("conv4_3", 92, 98),
    "24": ("conv5_1", 132, 138),
    "26": ("conv5_2", 164, 170),
}


def test_the_crops_of_vgg16_are_as_large_as_its_receptive_fields() -> None:
    model, images = thin_vgg16(), noise(3, 224, 224)
    geometries = survey(model, list(VGG16), images).geometries
    for layer, (name, size, side) in VGG16.items():
        known = geometries[layer]
        assert known.size == (size, size), name
        site = known.central(224, 224)
        crop = find_crop(model, {layer: site}, {layer: known}, images)
        assert crop is not None, name
        assert crop.area <= side**2, name
        assert_same_answers(model, {layer: site}, geometries, images, crop)


@pytest.mark.parametrize(
    ("build", "layer", "size"),
    [
        (partial(load, "superres-divnormei"), "encoder.gabor_bank", (1, 96, 96)),
        (partial(load, "superres-divnormei"), "encoder.normalization", (1, 96, 96)),
        (partial(load, "superres-divnormei-eq3"), "encoder.normalization", (1, 96, 96)),
        (partial(load, "superres-gabor"), "decoder.9", (1, 96, 96)),
        (zoo.shufflenet_v2_x0_5, "stage2.0", (3, 96, 128)),
        (zoo.resnet18, "layer1.1", (3, 96, 96)),
        (zoo.squeezenet1_1, "features.6", (3, 96, 96)),
    ],
)
def test_networks_answer_the_crop_as_the_whole(
    build: Callable[[], nn.Module], layer: str, size: tuple[int, int, int]
) -> None:
    torch.manual_seed(0)
    model, images = build().double().eval(), noise(*size).abs()
    geometries = survey(model, [layer], images).geometries
    known = geometries[layer]
    for site in (known.central(*size[1:]), 0, len(known.boxes) - 1):
        crop = find_crop(model, {layer: site}, geometries, images)
        assert crop is not None
        assert crop.area < 0.8 * size[1] * size[2]
        assert_same_answers(model, {layer: site}, geometries, images, crop)


@pytest.mark.parametrize(
    ("position", "rows", "columns", "site"),
    [
        ((0, 9), (0, 3), (7, 12), 2),
        ((1, 9), (0, 4), (7, 12), 5 + 2),  # one row of padding is seen from here
        ((2, 9), (0, 5), (7, 12), 2 * 5 + 2),  # and none from here
        ((19, 29), (17, 20), (27, 30), 2 * 3 + 2),
        ((17, 0), (15, 20), (0, 3), 2 * 3),
    ],
)
def test_a_unit_at_the_border_keeps_its_border(
    position: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int], site: int
) -> None:
    """Where it sees 2 pixels to each side, of which some are padding."""
    model = seeded(nn.Sequential(nn.Conv2d(1, 2, 5, padding=2)))
    crop = crop_of(model, "0", noise(1, 20, 30), position)
    assert crop is not None
    assert (crop.rows, crop.columns) == (slice(*rows), slice(*columns))
    assert crop.sites == {"0": site}


def test_a_crop_starts_where_all_strides_fall_as_in_the_whole() -> None:
    """Rows 3 i .. 3 i + 1, two of which start at 6 i; so pixels 12 to 16 are seen from 2."""
    model = seeded(nn.Sequential(nn.Conv2d(1, 1, 2, stride=3), nn.Conv2d(1, 1, 2, stride=2)))
    crop = crop_of(model, "1", noise(1, 40, 40), (2, 3))
    assert crop is not None
    assert (crop.rows, crop.columns) == (slice(12, 17), slice(18, 23))
    # With a pixel of padding the same two see 11 to 15, and the step of 6 before that is 6.
    model = seeded(nn.Sequential(nn.Conv2d(1, 1, 2, 3, padding=1), nn.Conv2d(1, 1, 2, stride=2)))
    crop = crop_of(model, "1", noise(1, 40, 40), (2, 3))
    assert crop is not None
    assert (crop.rows.start, crop.columns.start) == (6, 12)


def test_one_crop_serves_units_of_several_layers() -> None:
    model, images = thin_vgg16(), noise(3, 96, 96)
    layers = ["2", "7", "14"]
    geometries = survey(model, layers, images).geometries
    sites = {layer: geometries[layer].central(96, 96) for layer in layers}
    crop = find_crop(model, sites, geometries, images)
    assert crop is not None
    assert crop.sites.keys() == sites.keys()
    assert crop.area <= 44**2  # conv3_3 sees 40 pixels, on a grid of 4
    assert_same_answers(model, sites, geometries, images, crop)


def test_a_third_of_a_pixel_is_a_place_too() -> None:
    model = seeded(nn.Sequential(nn.Upsample(scale_factor=3, mode="bilinear"), nn.Conv2d(1, 1, 3)))
    crop = crop_of(model, "1", noise(1, 30, 30), (40, 43))
    assert crop is not None
    assert crop.area <= 4 * 4


@pytest.mark.parametrize(
    "layers",
    [
        [nn.ZeroPad2d(1)],
        [nn.Conv2d(1, 1, 1, padding=2)],
        [nn.Upsample(scale_factor=2)],
        [nn.ConvTranspose2d(1, 1, 3, stride=2)],
        [nn.AvgPool2d(1, 2), nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding=1)],
        [nn.ConvTranspose2d(1, 1, 1, stride=2), nn.AvgPool2d(3, 2, padding=1)],
    ],
)
def test_what_sees_one_pixel_is_not_taken_for_its_neighbors(layers: list[nn.Module]) -> None:
    """In a map of a single element nothing tells the ways to look at it apart."""
    model, images = seeded(nn.Sequential(*layers)), noise(1, 8, 9)
    last = str(len(layers) - 1)
    geometries = survey(model, [last], images).geometries
    served = 0
    for site in range(len(geometries[last].boxes)):
        crop = find_crop(model, {last: site}, geometries, images)
        if crop is not None:
            served += 1
            assert_same_answers(model, {last: site}, geometries, images, crop)
    assert served > 20


def test_the_largest_operation_is_that_of_the_crop() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3)).double()
    crop = crop_of(model, "0", noise(1, 50, 50), (24, 24))
    assert crop is not None
    assert (crop.area, crop.largest) == (9, 8 * (9 + 4))  # bytes of an image and of its answer


def embedded(images: Tensor) -> Tensor:
    """Plus a row of numbers that is as long as the image."""
    return images + torch.linspace(-1, 1, images.shape[-1], dtype=images.dtype)


def with_coordinates(images: Tensor) -> Tensor:
    """Rows as another channel (Liu et al. 2018)."""
    rows = torch.linspace(-1, 1, images.shape[-2], dtype=images.dtype)
    return torch.cat([images, rows[:, None].expand_as(images)], 1)


SMOOTH = nn.Conv2d(1, 1, 3, padding=1)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(nn.Sequential(Call(embedded), SMOOTH), id="anchored by a sum"),
        pytest.param(
            nn.Sequential(Call(with_coordinates), nn.Conv2d(2, 1, 3)), id="anchored by coordinates"
        ),
        pytest.param(nn.Sequential(Call(lambda x: x.flip(2)), SMOOTH), id="upside down"),
        pytest.param(nn.Sequential(SMOOTH, Call(lambda x: x - x.mean())), id="global"),
        pytest.param(nn.Sequential(SMOOTH, nn.InstanceNorm2d(1)), id="normalized by all"),
        pytest.param(
            nn.Sequential(SMOOTH, nn.BatchNorm2d(1, track_running_stats=False)), id="by the batch"
        ),
        pytest.param(nn.Sequential(SMOOTH, nn.AdaptiveAvgPool2d(1)), id="pooled"),
        pytest.param(nn.Sequential(SMOOTH, Call(lambda x: x.cumsum(2))), id="unknown"),
        pytest.param(
            nn.Sequential(SMOOTH, nn.ConvTranspose2d(1, 1, 1, 3, output_padding=2)), id="a hole"
        ),
        pytest.param(nn.Sequential(nn.Conv2d(1, 1, 23, padding=11), SMOOTH), id="all is seen"),
    ],
)
def test_there_is_no_crop(model: nn.Module) -> None:
    model, images = seeded(model), noise(1, 12, 12)
    geometries = survey(model, ["1"], images).geometries
    known = geometries["1"]
    unseen = np.isnan(known.boxes).any(1)
    site = int(np.flatnonzero(unseen)[0]) if unseen.any() else known.central(12, 12)
    assert find_crop(model, {"1": site}, geometries, images) is None


class Insisting(nn.Module):
    """Takes images of its own size alone, as many networks do."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        self.first = nn.Conv2d(1, 2, 3)

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[-1] != self.side:
            raise ValueError(f"the images are not {self.side} pixels wide")
        return self.first(images)


def test_a_model_that_insists_on_its_size_is_shown_the_whole() -> None:
    model, images = seeded(Insisting(16)), noise(1, 16, 16)
    assert crop_of(model, "first", images, (5, 5)) is None


def test_a_size_that_only_later_layers_insist_on_does_not_matter() -> None:
    model = seeded(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 14 * 14, 3)))
    crop = crop_of(model, "0", noise(1, 16, 16), (5, 5))
    assert crop is not None
    assert crop.area == 9


def test_adaptive_pools_are_cut_only_where_they_would_pool_the_same() -> None:
    """Into 4 of 16 rows each takes 4; of fewer rows it would take fewer."""
    model = seeded(nn.Sequential(nn.AdaptiveAvgPool2d(4)))
    assert crop_of(model, "0", noise(1, 16, 16), (1, 2)) is None


def test_a_crop_tells_what_it_holds() -> None:
    crop = Crop(slice(2, 8), slice(4, 9), {}, 0)
    assert crop.area == 30
    assert crop.holds(np.array([2, 7, 4, 8]))
    for box in ([1, 7, 4, 8], [2, 8, 4, 8], [2, 7, 3, 8], [2, 7, 4, 9]):
        assert not crop.holds(np.array(box))


def test_the_images_and_the_model_are_left_as_they_were() -> None:
    model = seeded(nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(1, 2, 3))).train()
    images = noise(1, 16, 16)
    assert crop_of(model, "1", images.clone(), (5, 5)) is not None
    geometries = survey(model, ["1"], images).geometries
    find_crop(model, {"1": 40}, geometries, images)
    assert torch.equal(images, noise(1, 16, 16))
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_several_positions_share_the_crop_that_holds_them_all() -> None:
    model, images = seeded(nn.Sequential(nn.Conv2d(1, 2, 5, 2, 1), nn.ReLU())), noise(1, 40, 40)
    geometries = survey(model, ["0"], images).geometries
    near = np.hypot(*(geometries["0"].centers - (25, 21)).T) <= 4
    sites = tuple(np.flatnonzero(near).tolist())
    assert len(sites) == 13
    crop = find_crop(model, {"0": sites}, geometries, images)
    assert crop is not None
    boxes = geometries["0"].boxes[near]
    assert (crop.rows, crop.columns) == (slice(18, 32), slice(14, 28))
    assert (crop.rows.stop, crop.columns.stop) == tuple(boxes[:, [1, 3]].max(0) + 1)
    assert crop.holds(boxes)
    assert not crop.holds(geometries["0"].boxes)
    whole = answers(model, geometries, images)["0"][..., list(sites)]
    part = answers(model, geometries, images[..., crop.rows, crop.columns])["0"]
    found = crop.sites["0"]
    assert isinstance(found, tuple)
    bound = ROUNDING * float(whole.abs().max())
    torch.testing.assert_close(part[..., list(found)], whole, rtol=0, atol=bound)
