"""A fixed bank of Gabor filters: the simple cells of Veerabadran, Raina & de Sa (2021).

The filter of size ``sz`` pixels has the value, at the integer offset (x, y) from its centre pixel,

    g = 1/2 exp(-(x'^2 + y'^2) / (2 sigma^2)) cos(2 pi f x' + phi),    sigma = sz / 4,
    x' = x cos(theta) + y sin(theta),    y' = -x sin(theta) + y cos(theta),

with x to the right and y *downward*, and f = 2 or 3 cycles per filter window. Nothing is
normalized: the cosine filters keep their DC, and the larger ones their larger gain, as in the
authors' code (desa-lab/early_vision, commit 79ca421).
"""

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZES = (15, 21)  # pixels
THETAS = (0.0, 45.0, 90.0, 135.0)  # degrees, of the modulation, clockwise from rightward
CYCLES_PER_WINDOW = (2.0, 3.0)
PHASES = (0.0, 90.0, 180.0, 270.0)  # degrees


class GaborBank(nn.Module):
    """64 half-wave rectified Gabor filters: (batch, 1, y, x) to (batch, 64, row, column).

    Channels run over size (slowest), theta, spatial frequency and phase (fastest); ``cells`` says
    which is which. The filters are computed, never trained and never saved. The authors' bank also
    has a random bias that is neither trained nor saved; here there is none.

    Parameters
    ----------
    stride : distance between neighbouring cells, in pixels.
    """

    filters: Tensor

    def __init__(self, *, stride: int = 4) -> None:
        super().__init__()
        self.stride = stride
        filters = torch.from_numpy(_filters()).float()
        self.register_buffer("filters", filters, persistent=False)  # (64, 1, 21, 21)

    def extra_repr(self) -> str:
        return f"stride={self.stride}"

    @property
    def cells(self) -> pd.DataFrame:
        """One row per channel: size (px), orientation of the bars (degrees counter-clockwise from
        horizontal), spatial frequency (cycles/px) and phase (degrees)."""
        size, theta, cycles, phase = _grid()
        return pd.DataFrame(
            {
                "size": size.astype(int),
                "orientation": (90.0 - theta) % 180.0,  # bars at right angles, and y turned upward
                "spatial_frequency": cycles / size,
                "phase": phase,
            }
        ).rename_axis("channel")

    def forward(self, images: Tensor) -> Tensor:
        # Zeros around the 15-px filters make one convolution of both sizes.
        padding = self.filters.shape[-1] // 2
        return F.relu(F.conv2d(images, self.filters, stride=self.stride, padding=padding))


def _grid() -> list[np.ndarray]:
    """Size, theta, cycles per window and phase of each of the 64 filters."""
    axes = np.meshgrid(SIZES, THETAS, CYCLES_PER_WINDOW, PHASES, indexing="ij")
    return [axis.ravel().astype(float) for axis in axes]


def _filters() -> np.ndarray:
    """All filters, zero outside their own window: (64, 1, 21, 21), float64."""
    size, theta, cycles, phase = (parameter[:, None, None] for parameter in _grid())
    theta, phase = np.deg2rad(theta), np.deg2rad(phase)
    half = max(SIZES) // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    along = x * np.cos(theta) + y * np.sin(theta)
    envelope = np.exp(-(x**2 + y**2) / (2 * (size / 4) ** 2))
    window = np.maximum(abs(x), abs(y)) <= size // 2
    gabors = 0.5 * window * envelope * np.cos(2 * np.pi * cycles / size * along + phase)
    return gabors[:, None]
