"""Cone weights: what the L, M and S cones add to the response of a unit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from ephys.display import CARDINAL_CONTRASTS, CONES
from ephys.modulation import check_cycle
from ephys.responses import grid, varied_parameters
from ephys.rounding import SHARE
from ephys.tuning import blockwise


@dataclass(frozen=True)
class Axis:
    """A direction of color space, along which gratings go.

    Parameters
    ----------
    where : the parameters that say so.
    contrasts : of the L, M and S cones, at contrast 1.
    """

    where: Mapping[str, float]
    contrasts: tuple[float, float, float]


_L_M, _S, _ = (tuple(contrasts.tolist()) for contrasts in CARDINAL_CONTRASTS)
# By the color of the stimuli and their ``part``. The cardinal axes of DKL space are those of the
# display, around a background of at most half its light.
AXES = {
    "cones": {
        "L": Axis({"cone_l": 1, "cone_m": 0, "cone_s": 0}, (1, 0, 0)),
        "M": Axis({"cone_l": 0, "cone_m": 1, "cone_s": 0}, (0, 1, 0)),
        "S": Axis({"cone_l": 0, "cone_m": 0, "cone_s": 1}, (0, 0, 1)),
    },
    "dkl": {
        "L-M": Axis({"azimuth": 0, "elevation": 0}, _L_M),
        "S": Axis({"azimuth": 90, "elevation": 0}, _S),
        "luminance": Axis({"elevation": 90}, (1, 1, 1)),
    },
}


def cone_weights(responses: xr.Dataset) -> xr.Dataset:
    r"""What each class of cones adds to the response, from gratings that modulate cones.

    .. math:: w_c = \pm |F_1(c)| / \sum_k |F_1(k)|

    with :math:`F_1(c)` the first harmonic over phase of the response per contrast of cone c, at the
    one grating with the largest of them. Each has the sign of its phase relative to that of the
    largest: within 90 degrees, it is positive. So the largest weight is positive, and of equally
    large ones the first of L, M and S: an ON and an OFF cell are the same, an opponent one is told
    from them. Exact for a linear unit in which all cones have the same spatial profile, and for
    such a unit half-rectified at 0.

    +L-M therefore says that the L weight is the larger one, and not that the unit is excited by L:
    its polarity is in no weight. A filter that weights red, green and blue alike has the weights
    0.54, -0.32 and 0.14 (see :func:`ephys.filters.cone_weights`).

    A unit that is modulated less than its mean is raised above the blank (a complex cell) has no
    phase: its magnitudes are :math:`|F_0(c) - blank|` instead, and it has no signs.

    Parameters
    ----------
    responses : to gratings of color "cones" with ``part`` "L", "M" and "S", each seen by one class
        of cones (the protocol ``cone_weights``), or of color "dkl" with ``part`` "L-M", "S" and
        "luminance" along the three axes (the protocol ``isoluminant_frequency``), from which the
        cones' are solved, :math:`F_1(axis) = \sum_c C_{axis,c} F_1(c)`, with C in cone contrasts;
        of complex cells that gives none. Other parts are left out. Phases evenly around the circle,
        and ``blank``.

    Returns
    -------
    ``weight (unit, cone)``, NaN for complex cells, and ``magnitude (unit, cone)``, its absolute
    value; both sum to 1 without their signs. NaN without any response, or with one missing.

    Raises
    ------
    KeyError : without ``part``, phase or color.
    ValueError : if a part is missing, of other contrasts than its name says, or of other gratings
        than another, or the phases do not go evenly around the circle.

    References
    ----------
    Johnson, Hawken & Shapley (2004), Journal of Neurophysiology 91:2501.
    """
    if "color" not in responses.coords:
        raise KeyError("'color' is no parameter of these stimuli; show the protocol cone_weights")
    names = list(AXES["cones" if "cones" in responses["color"].values else "dkl"])
    contrasts = cone_contrasts(responses, names)
    table = laid_out(responses, names)
    if "phase" not in table.dims:
        raise KeyError("'phase' was not varied; show every grating at four phases or more")
    others = [str(name) for name in table.dims if name not in ("unit", "part", "phase")]
    weight, magnitude = blockwise(
        _cone_weights,
        table,
        responses["blank"].reset_coords(drop=True),
        core=[["part", *others, "phase"], []],
        out=[["cone"], ["cone"]],
        sizes={"cone": len(CONES)},
        dtypes=[float, float],
        kwargs={"contrasts": contrasts},
    )
    weight.attrs = {"long_name": "cone weight", "units": "1"}
    magnitude.attrs = {"long_name": "magnitude of the cone weight", "units": "1"}
    found = xr.Dataset({"weight": weight, "magnitude": magnitude})
    return found.assign_coords(cone=list(CONES))


def cone_contrasts(responses: xr.Dataset, parts: Sequence[str]) -> np.ndarray:
    """What the L, M and S cones see of the gratings of each part: contrasts (part, cone).

    Parameters
    ----------
    responses : to gratings of color "cones" or "dkl", each part of one contrast.
    parts : names of ``AXES``.

    Raises
    ------
    KeyError : without ``part`` or ``color``.
    ValueError : for a part that is missing, or not of the color that it is named for.
    """
    return np.array([_cone_contrasts(_part(responses, name), name) for name in parts])


def laid_out(responses: xr.Dataset, parts: Sequence[str]) -> xr.DataArray:
    """The grids of the parts side by side: (part, *parameters, unit).

    Raises
    ------
    KeyError : without ``part``.
    ValueError : if a part is missing or no grid, they are of different gratings, or their phases
        are fewer than four or do not go evenly around the circle.
    """
    grids: list[xr.DataArray] = []
    for name in parts:
        part = _part(responses, name)
        grids.append(grid(part, *varied_parameters(part)).reset_coords(drop=True))
        first, last = grids[0], grids[-1]
        if first.dims != last.dims or not all(last[d].equals(first[d]) for d in last.dims[:-1]):
            raise ValueError(f"part={name!r} is of other gratings than part={parts[0]!r}")
    table = xr.concat(grids, "part").assign_coords(part=list(parts))
    if "phase" in table.dims:
        check_cycle(table["phase"], 360.0)
    return table


def first_harmonic(values: np.ndarray) -> np.ndarray:
    """Complex amplitudes at one cycle along the last axis, which is once around the circle.

    0 where that has fewer than four values, of which nothing is told: of three the second harmonic
    would count as the first.
    """
    count = values.shape[-1]
    if count < 4:
        return np.zeros(values.shape[:-1], complex)
    return 2 * (values * np.exp(-2j * np.pi * np.arange(count) / count)).mean(-1)


def _part(responses: xr.Dataset, name: str) -> xr.Dataset:
    if "part" not in responses.coords:
        raise KeyError("'part' is no parameter of these stimuli; show a protocol of color")
    rows = np.flatnonzero(responses["part"].values == name)
    if not rows.size:
        known = ", ".join(np.unique(responses["part"].values))
        raise ValueError(f"no stimulus has part={name!r}; there are {known}")
    return responses.isel(stimulus=rows)


def _cone_contrasts(part: xr.Dataset, name: str) -> np.ndarray:
    color = str(part["color"].values[0])
    if name not in AXES.get(color, {}):
        known = "; ".join(f"{other}: {', '.join(parts)}" for other, parts in AXES.items())
        raise ValueError(f"part={name!r} of color={color!r} is no axis; there are {known}")
    axis = AXES[color][name]
    for parameter, value in {**axis.where, "color": color}.items():
        if (bad := part[parameter].values != value).any():
            other = part[parameter].values[bad][0]
            raise ValueError(f"part={name!r} has {parameter}={other}, not {value}; name it another")
    contrast, grey = (_one(part, parameter, name) for parameter in ("contrast", "mean_luminance"))
    room = min(1.0, 1 / grey - 1) if color == "dkl" else 1.0  # above the background, than below it
    return contrast * room * np.array(axis.contrasts)


def _one(part: xr.Dataset, parameter: str, name: str) -> float:
    values = np.unique(part[parameter].values)
    if values.size > 1:
        raise ValueError(f"part={name!r} has {values.size} values of {parameter}; select one")
    return float(values[0])


def _cone_weights(
    table: np.ndarray, blank: np.ndarray, *, contrasts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel of ``cone_weights``: (unit, part, *others, phase) and (unit) to (unit, cone) twice."""
    values = table.reshape(*table.shape[:2], -1, table.shape[-1]).astype(float)
    present = np.isfinite(values).all((1, 2, 3)) & np.isfinite(blank)
    above = np.where(present[:, None, None, None], values - blank[:, None, None, None], 0.0)
    f1, f0 = first_harmonic(above), above.mean(-1)  # (unit, part, grating)
    simple = abs(f1).max((1, 2)) >= abs(f0).max((1, 2))
    solve = np.linalg.inv(contrasts)  # (cone, part)
    waves, means = (np.einsum("cp,upg->ugc", solve, amplitudes) for amplitudes in (f1, f0))
    isolating = np.array_equal(contrasts, np.diag(np.diag(contrasts)))
    strengths = abs(np.where(simple[:, None, None], waves, means))
    best = strengths.max(-1).argmax(-1)[:, None, None]
    waves, strengths = (np.take_along_axis(v, best, 1)[:, 0] for v in (waves, strengths))
    largest = strengths.max(-1, keepdims=True)
    first = (strengths >= (1 - SHARE) * largest).argmax(-1)[:, None]
    along = (waves * np.take_along_axis(waves, first, 1).conj()).real
    total = strengths.sum(-1, keepdims=True)
    defined = present[:, None] & (total > 0) & (simple[:, None] | isolating)
    magnitude = np.divide(strengths, total, out=np.full(strengths.shape, np.nan), where=defined)
    weight = np.where(simple[:, None], np.where(along < 0, -magnitude, magnitude), np.nan)
    return weight, magnitude
