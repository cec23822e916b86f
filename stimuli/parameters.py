"""What the parameters of stimuli are: their units and the range that they may lie in."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Parameter:
    """A number that says something of a stimulus.

    Parameters
    ----------
    units : as in the CF conventions; ``"1"`` for a pure number.
    low, high : smallest and largest value.
    above : whether ``low`` itself is excluded.
    period : after which values repeat, such as 360 degrees; None for one that does not.
    default : None where a stimulus cannot do without; NaN for "none", an aperture say.
    """

    units: str
    low: float = -np.inf
    high: float = np.inf
    above: bool = False
    period: float | None = None
    default: float | None = None

    def refused(self, values: np.ndarray) -> np.ndarray:
        """Which values are out of the range, or no numbers."""
        below = values <= self.low if self.above else values < self.low
        return below | (values > self.high) | ~np.isfinite(values)

    @property
    def range(self) -> str:
        """The range in words, to follow "is not"."""
        if not np.isfinite([self.low, self.high]).any():
            return "a finite number"
        if not np.isfinite(self.high):
            return f"above {self.low:g}" if self.above else f"{self.low:g} or more"
        if self.above:
            return f"above {self.low:g} and at most {self.high:g}"
        return f"within {self.low:g} to {self.high:g}"


def at_most(value: float) -> str:
    """A limit in six decimals, rounded so that it is kept."""
    return f"{np.floor(value * 1e6 * (1 + 1e-12)) / 1e6:.10g}"


def vectors(*values: object) -> tuple[np.ndarray, ...]:
    """Parameters with one number per stimulus: float64, all of one length."""
    return np.broadcast_arrays(*(np.atleast_1d(np.asarray(value, float)) for value in values))


def column(values: object) -> np.ndarray:
    """A parameter beside the pixels of a row: float64 (stimulus, 1)."""
    return np.atleast_1d(np.asarray(values, float))[:, None]


def tensor(values: np.ndarray, device: torch.device | str) -> Tensor:
    """Numbers where images are drawn: float32."""
    return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(device)
