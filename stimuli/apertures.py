"""Windows through which a stimulus is seen: discs, annuli, Gaussians; hard or smooth edges."""

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ephys.stimuli.parameters import at_most, column, tensor, vectors
from ephys.visual_field import VisualField

ON_THE_EDGE = 1e-3  # pixels: far above what rounding does to a distance, far below a pixel


def aperture(
    field: VisualField,
    *,
    diameter: ArrayLike = np.nan,
    inner_diameter: ArrayLike = np.nan,
    edge_width: ArrayLike = np.nan,
    envelope_sd: ArrayLike = np.nan,
    x: ArrayLike = 0.0,
    y: ArrayLike = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    r"""How much of the stimulus each pixel shows, from 0 to 1.

    With r the distance from the centre, the product of a disc, of the complement of a disc, and of
    a Gaussian :math:`e^{-r^2 / 2 \sigma^2}`. A disc of diameter d is 1 up to r = d/2, d/2 included,
    and 0 beyond. With an ``edge_width`` w it falls as a raised cosine,

    .. math:: \tfrac12 (1 + \cos \pi \frac{r - (d - w) / 2}{w})

    between (d - w)/2 and (d + w)/2, so that ``diameter`` is the full width at half height.

    Parameters
    ----------
    field : where the pixels lie.
    diameter : of the disc, degrees; NaN for none.
    inner_diameter : of the disc that is cut out of it, NaN for none.
    edge_width : of both edges, degrees; 0 or NaN for hard ones.
    envelope_sd : standard deviation of the Gaussian, degrees; NaN for none.
    x, y : centre, degrees from the origin.
    device : where to draw.

    Each parameter is a number, or a vector with one number per stimulus.

    Returns
    -------
    float32 (stimulus, y, x).
    """
    across, down = (field.x - column(x)) ** 2, (field.y - column(y)) ** 2  # (stimulus, n)
    diameter, inner, edge, sd = vectors(diameter, inner_diameter, edge_width, envelope_sd)
    squared = tensor(down, device)[:, :, None] + tensor(across, device)[:, None, :]
    edge = np.nan_to_num(edge)
    rim = np.where(edge > 0, 0, ON_THE_EDGE / field.pixels_per_degree)
    shown = torch.ones_like(squared)
    if np.isfinite(diameter).any():
        radius = np.where(np.isnan(diameter), np.inf, diameter / 2)
        shown = shown * _disc(squared, radius + rim, edge, device)
    if np.isfinite(inner).any():
        radius = np.where(np.isnan(inner), -np.inf, inner / 2)
        shown = shown * (1 - _disc(squared, radius - rim, edge, device))
    if np.isfinite(sd).any():
        falloff = -1 / (2 * np.where(np.isnan(sd), np.inf, sd) ** 2)[:, None]
        along_x, along_y = np.exp(falloff * across), np.exp(falloff * down)
        shown = shown * (tensor(along_y, device)[:, :, None] * tensor(along_x, device)[:, None])
    return shown


def check_aperture(
    field: VisualField,
    *,
    diameter: np.ndarray,
    inner_diameter: np.ndarray,
    edge_width: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
) -> None:
    """Refuse, with a ValueError, an aperture that does not fit on the screen.

    Where the screen's origin was moved, onto a receptive field say, does not matter: what then
    lies beyond the edge is not seen, as in the laboratory.
    """
    edge = np.nan_to_num(edge_width)
    screen = field.screen
    for size, place, name in [(screen.width, x, "x"), (screen.height, y, "y")]:
        reach = 2 * np.abs(place) + diameter + edge
        if (bad := reach > size * (1 + 1e-9)).any():
            i = int(bad.argmax())
            fits = at_most(max(size - 2 * abs(place[i]) - edge[i], 0))
            raise ValueError(
                f"diameter={diameter[i]:g}{f' with edge_width={edge[i]:g}' if edge[i] else ''} at "
                f"{name}={place[i]:g} reaches beyond the field of {size:g} degrees; use at most "
                f"diameter={fits} there, or a larger field (more degrees)"
            )
    pixel = 1 / field.pixels_per_degree
    if (bad := diameter < pixel * (1 - 1e-9)).any():
        raise ValueError(
            f"diameter={diameter[bad][0]:g} is below a pixel, of {pixel:g} degrees; use a larger "
            "one, or a finer field"
        )
    if (bad := inner_diameter >= diameter).any():
        i = int(bad.argmax())
        raise ValueError(
            f"inner_diameter={inner_diameter[i]:g} is not below diameter={diameter[i]:g}, so that "
            "nothing is seen"
        )
    ring = diameter - np.nan_to_num(inner_diameter)
    widest = np.where(inner_diameter > 0, np.fmin(ring / 2, inner_diameter), diameter)
    if (bad := edge > widest * (1 + 1e-9)).any():
        i = int(bad.argmax())
        both = {"diameter": diameter[i], "inner_diameter": inner_diameter[i]}
        given = ", ".join(f"{name}={size:g}" for name, size in both.items() if not np.isnan(size))
        raise ValueError(
            f"edge_width={edge[i]:g} is wider than {given} leaves room for; use at most "
            f"{at_most(widest[i])}"
        )
    if (bad := (edge > 0) & np.isnan(diameter) & np.isnan(inner_diameter)).any():
        raise ValueError(f"edge_width={edge[bad][0]:g} is of an aperture; give its diameter too")


def _disc(
    squared: Tensor, radius: np.ndarray, edge: np.ndarray, device: torch.device | str
) -> Tensor:
    """1 within the radius, 0 beyond, from squared distances (stimulus, y, x)."""
    if not edge.any():
        limit = np.where(radius < 0, -1.0, radius**2)
        return (squared <= tensor(limit, device)[:, None, None]).to(squared.dtype)
    # A hard edge is one over which the cosine falls at once.
    start, slope = radius - edge / 2, 1 / np.maximum(edge, 1e-12)
    share = (squared.sqrt() - tensor(start, device)[:, None, None]) * tensor(slope, device)[
        :, None, None
    ]
    return torch.cos(share.clamp_(0, 1) * torch.pi).add_(1).div_(2)
