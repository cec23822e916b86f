"""Maps of receptive fields on the grid of the checks that noise is made of."""

import json
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from ephys.tuning import blockwise
from ephys.visual_field import VisualField

if TYPE_CHECKING:
    from ephys.stimuli.sweep import StimulusSet

FAMILIES = ("sparse_noise", "white_noise")
LEAST = 4  # checks in a row or column
EVEN = 1e-6  # of a step, by which the places of spots may be off
ON_THE_EDGE = 1e-6  # of a pixel
MEASURED = 64  # stimuli of which the largest luminance is looked for


def check_maps(
    responses: xr.Dataset, *, rounding: xr.DataArray | float = 0.0
) -> tuple[xr.DataArray, xr.DataArray]:
    """What light in each check of sparse or of white noise does to units, and what any change does.

    A map has a pixel for each check: no noise says more of where a receptive field is.

    Parameters
    ----------
    responses : with ``response (stimulus, unit)``, ``blank``, and the stimuli's parameters: sparse
        noise with spots that lie side by side, or overlap, on an even grid, or white noise of one
        size.
    rounding : by how much responses differ without being different; a map of no more is flat.

    Returns
    -------
    ``linear``, the reverse correlation (:func:`ephys.mapping.reverse_correlation`), in response per
    unit luminance and square degree: 0 of a unit that answers light and dark alike. ``magnitude``,
    of sparse noise the mean size of the deviation from the response to the blank, of white noise
    the size of ``linear``. Both are (unit, y, x), in degrees from where the stimuli were centred,
    and NaN for a unit of which a response is missing.

    Raises
    ------
    ValueError : for stimuli that are no such noise, or colored.
    """
    stimuli = _shown(responses)
    field = _grid(stimuli)
    linear, magnitude = blockwise(
        _maps,
        responses["response"].reset_coords(drop=True),
        responses["blank"].reset_coords(drop=True),
        rounding,
        core=[["stimulus"], [], []],
        out=[["y", "x"], ["y", "x"]],
        sizes={"y": field.height_px, "x": field.width_px},
        dtypes=[float, float],
        kwargs={"stimuli": stimuli, "field": field},
    )
    axes = {"y": ("y", field.y, {"units": "degree"}), "x": ("x", field.x, {"units": "degree"})}
    return (
        linear.assign_coords(axes).assign_attrs(units="degree-2"),
        magnitude.assign_coords(axes).assign_attrs(units="1"),
    )


def drawn_at(responses: xr.Dataset, origins: np.ndarray) -> np.ndarray:
    """Where on the display the origin of each unit's map is, degrees: (2, unit).

    Checks whose edges fall on the middle of pixels are drawn half a pixel beside their place.

    Parameters
    ----------
    responses : as for ``check_maps``; without the display in the attributes, nothing is known of
        pixels.
    origins : where stimuli were centred, (2, unit), :func:`ephys.responses.stimulus_origins`.
    """
    if not {"input_format", "pixels_per_degree"} <= set(responses.attrs):
        return origins
    stimuli = _shown(responses)
    shape, density = (
        json.loads(responses.attrs["input_format"]),
        responses.attrs["pixels_per_degree"],
    )
    display = VisualField(shape["height_px"], shape["width_px"], density)
    (group,) = stimuli.groups()
    checks, half = _grid(stimuli), _alike(group.own, "check_size") / 2
    places = []
    for origin, pixels, middles in zip(
        origins, (display.x, display.y), (checks.x, checks.y), strict=True
    ):
        inside = (pixels[0] - origin[:, None] - middles + half) * density  # pixels from the edge
        beside = (inside + ON_THE_EDGE) % 1 - 0.5
        places.append(origin + beside.mean(1) / density)
    return np.stack(places)


def _shown(responses: xr.Dataset) -> "StimulusSet":
    from ephys.stimuli.sweep import StimulusSet  # draws, and so loads torch

    table = {name: c.variable for name, c in responses.coords.items() if c.dims == ("stimulus",)}
    return StimulusSet(xr.Dataset(table))


def _grid(stimuli: "StimulusSet") -> VisualField:
    """The checks as pixels."""
    groups = list(stimuli.groups())
    if len(groups) != 1 or groups[0].name not in FAMILIES or stimuli.colored:
        raise ValueError(
            "maps on a grid of checks are of sparse noise or white noise without color"
        )
    own, name = groups[0].own, groups[0].name
    size = _alike(own, "check_size")
    if name == "white_noise":
        count = round(_alike(own, "side") / size)
        shape, step, middle = (count, count), size, (_alike(own, "y"), _alike(own, "x"))
    else:
        places = [np.unique(own[axis]) for axis in ("y", "x")]
        steps = np.concatenate([np.diff(axis) for axis in places])
        if min(map(len, places)) < 2 or np.ptp(steps) > EVEN * steps.min():
            raise ValueError("the spots of sparse noise do not lie on an even grid")
        step, shape = float(steps.mean()), (len(places[0]), len(places[1]))
        middle = float(places[0][[0, -1]].mean()), float(places[1][[0, -1]].mean())
        if step > size * (1 + EVEN):
            raise ValueError(f"spots of {size:g} degrees, {step:g} apart, leave gaps between them")
    if min(shape) < LEAST:
        raise ValueError(f"{shape[0]} x {shape[1]} checks are no map")
    return VisualField(*shape, 1 / step, origin_y=-middle[0], origin_x=-middle[1])


def _alike(parameters: dict[str, np.ndarray], name: str) -> float:
    values = np.unique(parameters[name])
    if values.size > 1:
        raise ValueError(f"{name} has {values.size} values; maps on a grid of checks are of one")
    return float(values[0])


def _maps(
    values: np.ndarray,
    blank: np.ndarray,
    rounding: np.ndarray,
    *,
    stimuli: "StimulusSet",
    field: VisualField,
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel of ``check_maps``: (unit, stimulus), (unit) and (unit) to (unit, y, x), twice."""
    from ephys.mapping import reverse_correlation  # loads torch

    shape = (field.height_px, field.width_px)
    linear, magnitude = np.zeros((2, len(values), *shape))
    deviation = np.abs(values - blank[:, None].astype(float))
    deviation[np.isnan(deviation).any(1)] = np.nan
    limit = np.broadcast_to(rounding, len(values))
    moved = np.flatnonzero(~(deviation.max(1, initial=0) <= limit))
    deviation, limit = deviation[moved], limit[moved]
    table = stimuli.table.set_coords([str(name) for name in stimuli.table.data_vars])
    shown = table.assign(response=(("unit", "stimulus"), values[moved]))
    found = reverse_correlation(shown, stimuli, field).values  # (unit, y, x)
    light = stimuli[:MEASURED].render(field) - stimuli.blank.render(field)
    linear[moved] = _flattened(found, limit / float(light.abs().max()))
    linear *= field.pixels_per_degree**2
    (group,) = stimuli.groups()
    if group.name == "white_noise":
        magnitude = np.abs(linear)
    else:
        row, column = (np.unique(group.own[axis], return_inverse=True)[1] for axis in ("y", "x"))
        place = np.ravel_multi_index((shape[0] - 1 - row, column), shape)  # y falls along rows
        total = np.zeros((shape[0] * shape[1], len(moved)))
        np.add.at(total, place, deviation.T)
        count = np.bincount(place, minlength=len(total))[:, None]
        mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        magnitude[moved] = _flattened(mean.T.reshape(-1, *shape), limit)
    return linear, magnitude


def _flattened(maps: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """0 where the whole map is no more than a limit, of each unit."""
    peak = np.fmax.reduce(np.abs(maps), (1, 2))  # NaN of a unit of which a response is missing
    return np.where((peak <= limit)[:, None, None], 0, maps)
