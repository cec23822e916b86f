"""At a glance: what units answer to any stimuli, where no measure is made for these.

Everything is told from the blank: a unit *answers* if a stimulus changes its response by more than
rounding does. Which stimulus it answers most says what is best for it; and the mean response
along each parameter, over all stimuli that share the value, says what the parameter does. Angles
of which every unit has another best one are told from that.
"""

import json
from typing import Any

import numpy as np
import xarray as xr

from ephys.panels import choose_panels
from ephys.rounding import layer_rounding
from ephys.statistics import bootstrap_interval
from ephys.stimuli.colors import COLORS, difference, encode_srgb
from ephys.stimuli.families import PARAMETERS
from ephys.stimuli.sweep import StimulusSet
from ephys.tuning import align, check_circle
from ephys.visual_field import VisualField

PARTS = ("part", "family", "color")  # the first that varies divides the stimuli into parts
MOST_PARTS = 8  # of more, each would have few stimuli
LABELS = ("seed", "file_row", "file_column")  # numbers that tell stimuli apart, and are no axis
# Of which a median over units would say nothing.
NO_PREFERENCE = ("position", "x", "y", "time", "polarity")
PHASES = ("phase", "mask_phase", "surround_phase", "time")  # axes only where there are no others
RELATIVE = ("mask_angle", "surround_angle")  # angles from that of another grating
MOST_RANKS = 50
UNITS_AT_ONCE = 256  # sorted
MOST_EXAMPLES = 6
RESAMPLES = 500  # of the bands in a figure


def varied(responses: xr.Dataset) -> list[str]:
    """The parameters of the stimuli, words and numbers, that take more than one value.

    Not to be given, NaN or empty, counts as a value. Numbers are in the order of ``PARAMETERS``.
    """
    order = {name: place for place, name in enumerate(PARAMETERS)}
    names = [
        str(name)
        for name, c in responses.coords.items()
        if c.dims == ("stimulus",) and np.unique(c.values).size > 1
    ]
    return sorted(names, key=lambda name: (order.get(name, -1), name))


def unit_measures(responses: xr.Dataset) -> xr.Dataset:
    """Of each unit of a layer the largest and smallest response, and what it answers most.

    ``max``, ``min``, ``answers``, and for each varied parameter ``best_<parameter>``: its value at
    the stimulus of the largest response, of several the first. That is NaN, or an empty word, if
    the unit answers nothing otherwise than the blank, or the stimulus does not have the parameter.
    Each has ``long_name``, ``units`` and ``baseline``, and an angle on a circle its ``period``.
    """
    response, blank = _values(responses)
    largest, smallest = np.fmax.reduce(response, 0), np.fmin.reduce(response, 0)
    answers = np.maximum(largest - blank, blank - smallest) > layer_rounding(responses)
    best = (response == largest).argmax(0)
    differs = "some response differs from the blank's by more than rounding"
    found = {
        "max": (largest, {"long_name": "largest single response", "units": "1"}),
        "min": (smallest, {"long_name": "smallest single response", "units": "1"}),
        "answers": (answers, {"long_name": differs, "units": "1"}),
    }
    for name in varied(responses):
        values = responses[name].values
        is_word = values.dtype.kind in "UO"
        about: dict[str, Any] = {
            "long_name": f"{name.replace('_', ' ')} at the largest single response",
            "units": PARAMETERS[name].units if name in PARAMETERS else "" if is_word else "1",
        }
        if period := _period(name):
            about["period"] = period
        found[f"best_{name}"] = np.where(answers, values[best], "" if is_word else np.nan), about
    return xr.Dataset(
        {
            name: ("unit", values, about | {"baseline": "raw"})
            for name, (values, about) in found.items()
        }
    )


def population_measures(responses: xr.Dataset) -> dict[str, xr.DataArray]:
    """What of the units of a layer has a mean or a median, ``(unit)`` each.

    ``answering`` is 1 for a unit that answers any stimulus otherwise than the blank, else 0;
    ``above_blank`` and ``below_blank`` are by how much at most, 0 up to rounding;
    ``best_<parameter>`` are of the axes of the stimuli, but for angles, which have no median; and
    ``best_part: <name>`` is 1 for an answering unit that answers a stimulus of that part most.
    """
    units = unit_measures(responses)
    blank, limit = responses["blank"], layer_rounding(responses)
    above, below = units["max"] - blank, blank - units["min"]
    found: dict[str, xr.DataArray] = {
        "answering": units["answers"].astype(float),
        "above_blank": above.where(~(above <= limit), 0),  # NaN stays
        "below_blank": below.where(~(below <= limit), 0),
    }
    parts = _parts(responses)
    for name in dict.fromkeys(name for which in parts.values() for name in _axes(responses, which)):
        if name not in NO_PREFERENCE and _period(name) is None:
            found[f"best_{name}"] = units[f"best_{name}"]
    for part in parts if len(parts) > 1 else ():
        best = (units[f"best_{_division(responses)}"] == part).drop_attrs()
        found[f"best_part: {part}"] = best.astype(float).where(units["answers"])
    return found


def curves(responses: xr.Dataset, seed: int = 0) -> dict[str, dict[str, xr.Dataset]]:
    """What each parameter does to a layer: by part of the stimuli, and by parameter.

    For every value of a parameter, each unit's mean response to all stimuli of the part that have
    it, less the response to the blank, and divided by the unit's largest such difference in any
    part. Units without one are left out. An angle that goes evenly around its circle, other than a
    hue or one that is told from another angle, is from the value of the unit's largest mean, by
    which the mean over units is largest at 0; units whose means are the same up to rounding are
    left out. Phase and time are only axes where nothing else varies.

    Of positions, ``"position"``, where both x and y vary, the mean is of the size of the
    difference. Where there is no axis at all, ``"rank"``: each unit's stimuli from the largest
    response to the smallest.

    Returns
    -------
    Mean over units with its 95 % bootstrap interval: ``estimate``, ``low``, ``high`` and ``count``
    along the parameter, or ``relative_<parameter>``; without an interval along ``position``, with
    ``x`` and ``y``. Axes of color have ``rgb``, what they look like.
    """
    parts = _parts(responses)
    found = {
        part: {name: _curve(responses, which, name) for name in _axes(responses, which)}
        for part, which in parts.items()
    }
    found = {part: axes for part, axes in found.items() if axes}
    found = found or {"": {"rank": _ranked(responses)}}
    limit = layer_rounding(responses)
    for name in dict.fromkeys(name for axes in found.values() for name in axes):
        having = [axes for axes in found.values() if name in axes]
        sizes = [np.fmax.reduce(np.abs(axes[name].values), 0) for axes in having]
        largest = np.max(sizes, axis=0)
        for axes in having:
            turned = _from_best(axes[name], name, limit)
            axes[name] = turned / np.where(largest > limit, largest, np.nan)
    results = {}
    for part, axes in found.items():
        results[part] = {name: _over_units(curve, seed) for name, curve in axes.items()}
        for name in filter(_is_color, axes):
            colors = _looks(responses, parts[part], name)
            results[part][name] = results[part][name].assign_coords(rgb=((name, "rgb"), colors))
    return results


def examples(responses: xr.Dataset) -> list[tuple[np.ndarray, str]]:
    """A few of the stimuli as the model sees them, and what each is.

    Returns
    -------
    Images in [0, 1], (y, x) or for a model of color (y, x, 3), and captions.

    Raises
    ------
    ValueError, OSError : for photographs that are not there.
    """
    names = sorted(str(name) for name, c in responses.coords.items() if c.dims == ("stimulus",))
    stimuli = StimulusSet(xr.Dataset({name: responses[name].variable for name in names}))
    division = _division(responses)
    captions: dict[int, str] = {}
    for row in [row for block in choose_panels(stimuli) for row in block.rows]:
        for stimulus, caption in zip(row.stimuli, row.captions, strict=True):
            part = str(responses[division].values[stimulus]) if division else ""
            said = f"{row.axis.replace('_', ' ')} {caption.splitlines()[0]}" if caption else ""
            captions.setdefault(stimulus, "\n".join(filter(None, [part, said])))
    count = min(MOST_EXAMPLES, len(captions))
    chosen = np.array(list(captions))[np.linspace(0, len(captions) - 1, count).astype(int)]
    images = as_seen(stimuli[chosen], responses)
    return [(image, captions[int(i)]) for image, i in zip(images, chosen, strict=True)]


def as_seen(stimuli: StimulusSet, responses: xr.Dataset) -> np.ndarray:
    """Stimuli on the display of the model that responded.

    Returns
    -------
    In [0, 1], (stimulus, y, x), or if there is color and the model sees it (stimulus, y, x, 3).
    """
    shape = json.loads(responses.attrs["input_format"])
    field = VisualField(shape["height_px"], shape["width_px"], responses.attrs["pixels_per_degree"])
    channels = min(stimuli.channels, shape["channels"])
    images = stimuli.render(field, channels=channels).permute(0, 2, 3, 1).numpy()
    return images[..., 0] if channels == 1 else images


def _values(responses: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Responses (stimulus, unit), and those to the blank."""
    return responses["response"].transpose("stimulus", "unit").values, responses["blank"].values


def _division(responses: xr.Dataset) -> str:
    """The name of what divides the stimuli into parts; empty if nothing does."""
    names = varied(responses)
    for name in PARTS:
        if name in names and np.unique(responses[name].values).size <= MOST_PARTS:
            return name
    return ""


def _parts(responses: xr.Dataset) -> dict[str, np.ndarray]:
    """Which stimuli are of each part, in the order of the stimuli."""
    name = _division(responses)
    if not name:
        return {"": np.arange(responses.sizes["stimulus"])}
    words = responses[name].values
    return {str(word): np.flatnonzero(words == word) for word in dict.fromkeys(words.tolist())}


def _axes(responses: xr.Dataset, which: np.ndarray) -> list[str]:
    """The numbers that vary within a part: ``position`` first, and phases if none else."""
    part = responses.drop_vars("response", errors="ignore").isel(stimulus=which)
    names = [n for n in varied(part) if part[n].dtype.kind in "fiu" and n not in LABELS]
    names = [n for n in names if np.unique(part[n].values[~np.isnan(part[n].values)]).size > 1]
    names = sorted(set(names) - set(PHASES)) or sorted(names)
    if {"x", "y"} <= set(names):
        names = ["position", *(name for name in names if name not in ("x", "y"))]
    return names


def _curve(responses: xr.Dataset, which: np.ndarray, name: str) -> xr.DataArray:
    """Mean differences from the blank, (value, unit)."""
    response, blank = _values(responses)
    if name == "position":
        xy = np.stack([responses[axis].values[which] for axis in ("x", "y")], axis=1)
        places, inverse = np.unique(xy, axis=0, return_inverse=True)
        values = [
            np.abs(response[which[inverse.ravel() == i]] - blank).mean(0, dtype=float)
            for i in range(len(places))
        ]
        coordinates = {
            axis: ("position", place, responses[axis].attrs)
            for axis, place in zip(("x", "y"), places.T, strict=True)
        }
        return xr.DataArray(np.array(values), coordinates, ("position", "unit"))
    column = responses[name].values[which]
    shown = np.unique(column[~np.isnan(column)])
    values = [response[which[column == value]].mean(0, dtype=float) - blank for value in shown]
    coordinates = {name: (name, shown, responses[name].attrs)}
    return xr.DataArray(np.array(values), coordinates, (name, "unit"))


def _from_best(curve: xr.DataArray, name: str, limit: float) -> xr.DataArray:
    """Of an angle, each unit's means from its largest one on, NaN if they are within a limit."""
    period = _period(name)
    if period is None or name in RELATIVE or _is_color(name):
        return curve
    try:
        check_circle(curve[name], period)
    except ValueError:  # a few angles cannot be turned
        return curve
    differ = curve.max(name) - curve.min(name) > limit
    return align(curve.where(differ), name, period=period).transpose(..., "unit")


def _ranked(responses: xr.Dataset) -> xr.DataArray:
    """Differences from the blank from the largest to the smallest: (rank, unit)."""
    response, blank = _values(responses)
    count = len(response)
    ranks = np.unique(np.linspace(0, count - 1, min(count, MOST_RANKS)).astype(int))
    some = [slice(start, start + UNITS_AT_ONCE) for start in range(0, blank.size, UNITS_AT_ONCE)]
    ordered = [-np.sort(-response[:, units], axis=0)[ranks] for units in some]  # NaN comes last
    values = np.concatenate(ordered, axis=1, dtype=float) - blank
    return xr.DataArray(values, {"rank": ranks + 1}, ("rank", "unit"))


def _over_units(curve: xr.DataArray, seed: int) -> xr.Dataset:
    if "position" in curve.dims:
        count = curve.count("unit")
        mean = curve.sum("unit") / count.where(count > 0)
        result = xr.Dataset({"estimate": mean, "count": count})
    else:
        result = bootstrap_interval(curve.astype(float), resamples=RESAMPLES, seed=seed)
    return result.assign_attrs(units=curve.sizes["unit"])


def _is_color(name: str) -> bool:
    """Whether a parameter goes around a circle of colors."""
    return _period(name) is not None and any(name in components for components in COLORS.values())


def _looks(responses: xr.Dataset, which: np.ndarray, name: str) -> np.ndarray:
    """The pixels of the first stimulus at each value of a color's angle: (value, 3)."""
    column = responses[name].values[which]
    shown, first = np.unique(column, return_index=True)
    stimuli = responses.drop_vars("response").isel(stimulus=which[first[~np.isnan(shown)]])
    color = str(stimuli["color"].values[0])
    components = {n: stimuli[n].values for n in COLORS[color] if n in stimuli.coords}
    encoding = str(stimuli["encoding"].values[0]) if "encoding" in stimuli.coords else ""
    mean, contrast = (stimuli[n].values[:, None] for n in ("mean_luminance", "contrast"))
    added = difference(color, mean[:, 0], encoding=encoding or "linear", **components)
    light = np.nan_to_num(np.clip(mean + contrast * added, 0, 1))
    return encode_srgb(light) if encoding == "srgb" else light


def _period(name: str) -> float | None:
    return PARAMETERS[name].period if name in PARAMETERS else None
