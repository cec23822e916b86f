r"""DivNormEI: divisive normalization with lateral excitation and inhibition.

Veerabadran, Raina & de Sa (2021), *Bio-inspired learnable divisive normalization for ANNs*, SVRHM
workshop at NeurIPS. For the response :math:`Y` of channel :math:`k` at position :math:`(i, j)`, and
:math:`(m, n)` running over the positions around it, equations 2 to 6 of the paper are

.. math::

    \tilde Y_{ijk} &= \frac{Y_{ijk}^2}
        {\sum_{mn} w^{div}_{mnk} Y_{mnk}^2 + \sigma_k^2}                       &(2) \\
    E_{ijk} &= \sum_{mno} w^{exc}_{mnok} Y_{mno}                               &(3) \\
    I_{ijk} &= \sum_{mno} w^{inh}_{mnok} \tilde Y_{mno}                        &(4) \\
    \tilde Z_{ijk} &= \tilde Y_{ijk} + E_{ijk} - I_{ijk}                       &(5) \\
    Z_{ijk} &= \mathrm{ReLU}(\mathrm{BatchNorm}(\tilde Z_{ijk}))               &(6)

The divisor pools each channel over space alone; excitation and inhibition cross channels. The
centre of a pool belongs to it.

Paper and released code (desa-lab/early_vision, commit 79ca421) disagree on three things, each of
which is a switch:

* ``excitation_from``: Eq. 3 as printed excites from the drive Y (``"drive"``); the code excites
  from the normalized response of Eq. 2 (``"normalized"``).
* ``inhibition_size``: 7 in the paper, 5 in the code.
* ``projected``: the paper keeps the lateral weights non-negative (``"lateral"``); the code clamps
  every parameter of the block, biases and batch normalization included (``"all"``), and in its
  classification network only the divisor's weights (``"divisive"``).
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-5  # the authors', added to the squared semi-saturation
INITIAL_WIDTHS = (0.5, 1.0, 2.0, 3.0)  # s.d. of the first divisive pools, in half-kernels

Excitation = Literal["normalized", "drive"]
Projected = Literal["all", "lateral", "divisive", "none"]


class DivNormEI(nn.Module):
    """Normalize (batch, channel, row, column) by Eq. 2 to 6, keeping the shape.

    Parameters
    ----------
    channels : a multiple of 4, so that each of the four initial pool widths gets as many.
    divisive_size, excitation_size, inhibition_size : extent of the three pools, in positions; odd.
    excitation_from : what excites, see above.
    lateral : without it, only Eq. 2 and 6: no excitation, no inhibition.
    projected : which parameters ``project`` keeps non-negative.

    Raises
    ------
    ValueError : for a size that is not odd, or a number of channels that 4 does not divide.
    """

    def __init__(
        self,
        channels: int,
        *,
        divisive_size: int = 5,
        excitation_size: int = 9,
        inhibition_size: int = 7,
        excitation_from: Excitation = "normalized",
        lateral: bool = True,
        projected: Projected = "all",
    ) -> None:
        super().__init__()
        if channels < 1 or channels % len(INITIAL_WIDTHS):
            raise ValueError(f"channels={channels} is not a multiple of {len(INITIAL_WIDTHS)}")
        for name, choice, choices in [
            ("excitation_from", excitation_from, get_args(Excitation)),
            ("projected", projected, get_args(Projected)),
        ]:
            if choice not in choices:
                raise ValueError(f"{name}={choice!r} is none of {', '.join(choices)}")
        for name, size in [
            ("divisive_size", divisive_size),
            ("excitation_size", excitation_size),
            ("inhibition_size", inhibition_size),
        ]:
            if size < 1 or size % 2 == 0:
                raise ValueError(
                    f"{name}={size} is even, or below 1; a pool around a position has odd extent"
                )
        self.excitation_from = excitation_from
        self.projected = projected
        self.divisive = nn.Parameter(_gaussian_pools(channels, divisive_size))
        self.semi_saturation = nn.Parameter(torch.ones(channels, 1, 1))  # sigma
        self.excitation: nn.Conv2d | None = None
        self.inhibition: nn.Conv2d | None = None
        if lateral:
            self.excitation = _same_convolution(channels, excitation_size)
            self.inhibition = _same_convolution(channels, inhibition_size)
        self.batch_norm = nn.BatchNorm2d(channels)

    def forward(self, drive: Tensor) -> Tensor:
        normalized = self.normalize(drive)
        output = normalized
        if self.excitation is not None and self.inhibition is not None:
            exciting = drive if self.excitation_from == "drive" else normalized
            output = normalized + self.excitation(exciting) - self.inhibition(normalized)
        return F.relu(self.batch_norm(output))

    def normalize(self, drive: Tensor) -> Tensor:
        """Eq. 2: each squared response over its weighted neighbours of the same channel."""
        energy = drive**2
        channels, _, size, _ = self.divisive.shape
        pool = F.conv2d(energy, self.divisive, padding=size // 2, groups=channels)
        return energy / (pool + self.semi_saturation**2 + EPSILON)

    def extra_repr(self) -> str:
        return f"excitation_from={self.excitation_from}, projected={self.projected}"

    @torch.no_grad()
    def project(self) -> None:
        """Set the negative among the projected parameters to zero; call it after each step."""
        lateral = ("divisive", "excitation.weight", "inhibition.weight")
        names = {"all": None, "lateral": lateral, "divisive": lateral[:1], "none": ()}
        chosen = names[self.projected]
        for name, parameter in self.named_parameters():
            if chosen is None or name in chosen:
                parameter.clamp_(min=0)


def _same_convolution(channels: int, size: int) -> nn.Conv2d:
    """Every channel to every channel over size x size positions, the map's size kept."""
    return nn.Conv2d(channels, channels, size, padding=size // 2)


def _gaussian_pools(channels: int, size: int) -> Tensor:
    """Gaussians of four widths, 1 at the centre, dealt to the channels at random.

    Shape (channels, 1, size, size). Positions run from -1 to 1 across the kernel.
    """
    position = (torch.arange(size) - size // 2) / max(size // 2, 1)
    squared_distance = position[:, None] ** 2 + position**2
    widths = torch.tensor(INITIAL_WIDTHS).repeat_interleave(channels // len(INITIAL_WIDTHS))
    widths = widths[torch.randperm(channels)]
    return torch.exp(-squared_distance / (2 * widths[:, None, None, None] ** 2))
