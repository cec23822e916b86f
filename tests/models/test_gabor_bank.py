"""The Gabor bank against the formula and the numbers of Veerabadran, Raina & de Sa (2021)."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from ephys.models.gabor_bank import GaborBank
from ephys.stimuli import grating
from ephys.visual_field import VisualField

HALF_ULP = 2.0**-25  # of a float32 between 1/4 and 1/2, the largest value of a filter; with slack

# Size (px), theta (degrees, of the modulation), cycles per window, phase (degrees): slowest first.
CHANNELS = [
    (size, theta, cycles, phase)
    for size in (15, 21)
    for theta in (0, 45, 90, 135)
    for cycles in (2, 3)
    for phase in (0, 90, 180, 270)
]


def gabor_value(x: int, y: int, size: int, theta: float, cycles: int, phase: float) -> float:
    """The formula of the paper's code at one pixel, x to the right and y downward."""
    angle = math.radians(theta)
    along = x * math.cos(angle) + y * math.sin(angle)
    across = -x * math.sin(angle) + y * math.cos(angle)
    sigma = size / 4
    envelope = math.exp(-(along**2 + across**2) / (2 * sigma**2))
    return 0.5 * envelope * math.cos(2 * math.pi * cycles / size * along + math.radians(phase))


def expected_filter(size: int, theta: float, cycles: int, phase: float) -> np.ndarray:
    """21 x 21 pixels, nothing outside the filter's own window."""
    kernel = np.zeros((21, 21))
    for y in range(-(size // 2), size // 2 + 1):
        for x in range(-(size // 2), size // 2 + 1):
            kernel[10 + y, 10 + x] = gabor_value(x, y, size, theta, cycles, phase)
    return kernel


def test_each_filter_is_the_formula_at_each_pixel() -> None:
    filters = GaborBank().filters
    assert filters.shape == (64, 1, 21, 21)
    expected = np.stack([expected_filter(*channel) for channel in CHANNELS])
    np.testing.assert_allclose(filters[:, 0].double().numpy(), expected, rtol=0, atol=HALF_ULP)


def test_channels_run_over_size_orientation_frequency_and_phase() -> None:
    cells = GaborBank().cells
    assert cells.index.name == "channel"
    assert len(cells) == 64
    for channel, (size, theta, cycles, phase) in enumerate(CHANNELS):
        row = cells.loc[channel]
        assert row["size"] == size
        # Bars are at right angles to the modulation; y downward turns clockwise to the other sense.
        assert row["orientation"] == (90 - theta) % 180
        assert row["spatial_frequency"] == cycles / size
        assert row["phase"] == phase


def test_the_small_filters_are_zero_outside_their_15_pixel_window() -> None:
    filters = GaborBank().filters[:, 0]
    outside = torch.ones(21, 21, dtype=torch.bool)
    outside[3:-3, 3:-3] = False
    assert (filters[:32, outside] == 0).all()
    assert (filters[:32, 3:-3, 3:-3] != 0).flatten(1).any(1).all()
    assert (filters[32:, outside] != 0).flatten(1).any(1).all()


def test_the_norms_are_those_measured_on_the_authors_bank() -> None:
    norms = GaborBank().filters.double().flatten(1).norm(dim=1).numpy()
    # Quoted to two decimals as one number for all filters of a size; with the sign of the phase
    # each differs from their mean by less than 0.0025.
    assert round(norms[:32].mean(), 2) == 2.34
    assert round(norms[32:].mean(), 2) == 3.27
    np.testing.assert_allclose(norms[:32], 2.34, rtol=0, atol=0.005 + 0.0025)
    np.testing.assert_allclose(norms[32:], 3.27, rtol=0, atol=0.005 + 0.0025)
    # Twice the size is four times the pixels under the same heights: the norm goes with the size.
    np.testing.assert_allclose(norms[32:].mean() / norms[:32].mean(), 21 / 15, rtol=1e-3)


@pytest.mark.parametrize(
    ("size", "theta", "cycles", "dc"),
    [
        (15, 0, 2, -0.41),
        (15, 45, 2, 0.20),
        (15, 0, 3, 0.35),
        (15, 45, 3, 0.00),
        (21, 0, 2, -0.83),
        (21, 45, 2, 0.41),
        (21, 0, 3, 0.72),
        (21, 45, 3, 0.00),
    ],
)
def test_cosine_filters_keep_their_dc(size: int, theta: int, cycles: int, dc: float) -> None:
    sums = GaborBank().filters.double().sum((1, 2, 3)).numpy()
    # The quoted numbers have two decimals.
    assert sums[CHANNELS.index((size, theta, cycles, 0))] == pytest.approx(dc, abs=0.005)
    assert sums[CHANNELS.index((size, theta, cycles, 180))] == pytest.approx(-dc, abs=0.005)
    for phase in (90, 270):  # odd filters: 441 float32 roundings is all that is left
        assert abs(sums[CHANNELS.index((size, theta, cycles, phase))]) <= 441 * HALF_ULP


@pytest.mark.parametrize("stride", [1, 3, 4])
def test_cells_answer_the_rectified_inner_product_at_every_stride(stride: int) -> None:
    rng = np.random.default_rng(stride)
    image = rng.random((13, 17))
    answers = GaborBank(stride=stride).double()(torch.from_numpy(image)[None, None])[0].numpy()
    rows, columns = math.ceil(13 / stride), math.ceil(17 / stride)
    assert answers.shape == (64, rows, columns)
    padded = np.pad(image, 10)  # unit (r, c) looks at pixel stride * (r, c)
    for channel in (0, 5, 27, 36, 63):
        kernel = expected_filter(*CHANNELS[channel])
        for row in range(rows):
            for column in range(columns):
                window = padded[stride * row :, stride * column :][:21, :21]
                expected = max(0.0, float((kernel * window).sum()))
                # The filters were rounded to float32: at most HALF_ULP at each of 441 pixels.
                assert answers[channel, row, column] == pytest.approx(expected, abs=441 * HALF_ULP)


def test_each_cell_prefers_the_orientation_that_cells_says() -> None:
    bank = GaborBank()
    cells = bank.cells
    field = VisualField(41, 41, 15)
    orientations = np.arange(0, 180, 7.5)
    phases = np.arange(8) * 45.0
    orientation, phase = (axis.ravel() for axis in np.meshgrid(orientations, phases, indexing="ij"))
    for frequency, group in cells.groupby("spatial_frequency"):
        images = grating(
            field,
            spatial_frequency=float(str(frequency)) * 15,  # cycles/px at 15 px/degree
            orientation=orientation,
            phase=phase,
        )
        with torch.inference_mode():
            # Looks at pixel 20, the middle one of 41.
            center = bank(0.5 + 0.5 * images[:, None])[:, :, 5, 5]
        curves = center.reshape(len(orientations), len(phases), 64).mean(1).numpy()
        preferred = orientations[curves.argmax(0)]
        for channel in group.index:
            assert preferred[channel] == cells.loc[channel, "orientation"]


def test_opposite_phases_share_out_the_linear_response() -> None:
    bank = GaborBank()
    image = torch.from_numpy(np.random.default_rng(2).random((1, 1, 24, 24)))
    positive = bank.double()(image)
    linear = torch.nn.functional.conv2d(image, bank.filters, stride=4, padding=10)
    by_phase = positive.reshape(1, 16, 4, 6, 6)
    linear_by_phase = linear.reshape(1, 16, 4, 6, 6)
    for phase in (0, 1):
        difference = by_phase[:, :, phase] - by_phase[:, :, phase + 2]
        # The opposite filter was rounded to float32 on its own.
        torch.testing.assert_close(
            difference, linear_by_phase[:, :, phase], rtol=0, atol=441 * 2 * HALF_ULP
        )


def test_the_filters_are_neither_trained_nor_saved() -> None:
    bank = GaborBank()
    assert list(bank.parameters()) == []
    assert bank.state_dict() == {}
    network = nn.Sequential(bank, nn.Conv2d(64, 1, 1))
    assert set(network.state_dict()) == {"1.weight", "1.bias"}


def test_two_banks_are_the_same_whatever_the_random_state() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = GaborBank()
        torch.manual_seed(2)
        second = GaborBank()
    image = torch.full((1, 1, 21, 21), 0.5)
    assert torch.equal(first.filters, second.filters)
    assert torch.equal(first(image), second(image))  # no random bias
