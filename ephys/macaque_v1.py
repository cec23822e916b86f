r"""Macaque V1: properties of single units, and how close they come to those of cells.

Marques, Schrimpf & DiCarlo (2021) asked of a network what had been asked of cells of macaque V1,
with gratings like those of the studies, and compared the distributions over units with the
published ones. Of their 22 properties these are the 15 that need no textures:

=========================== ================================================================
of tuning for orientation   (Ringach et al. 2002; the last: De Valois, Yund & Hepler 1982)
circular_variance           :math:`1 - |\sum_\theta R e^{2 i \theta}| / \sum_\theta R`
or_bandwidth                half-width at 0.707 of the peak, degrees
orth_pref_ratio             response 90 degrees from the largest, over the largest
or_selective                1 for a unit that has a bandwidth, else 0
cv_bandwidth_ratio          circular_variance / or_bandwidth
opr_cv_diff                 orth_pref_ratio - circular_variance
max_dc                      the largest mean over phases, spikes/s
modulation_ratio            :math:`F_1 / F_0` at the same grating, the blank not subtracted
pref_or                     direction at right angles to the bars of the peak, see below
of spatial frequency        (De Valois, Albrecht & Thorell 1982; Schiller et al. 1976)
peak_sf                     where the curve peaks, cycles/degree
sf_bandwidth                low over high cut at 0.707 of the peak, percent: small if broad
sf_selective                1 for a unit that has both cuts, else 0
of size                     (Cavanaugh, Bair & Movshon 2002)
surround_suppression_index  share of the peak that is lost at the largest size
grating_summation_field     smallest diameter that gives 0.95 of the peak, degrees
surround_diameter           diameter from which the response falls no further, degrees
=========================== ================================================================

Each is read from the curve through the largest response of its set of gratings: of orientation,
sf_bandwidth and sf_selective the largest mean F0 over phases, of peak_sf and size the largest of
either F0 above the blank or F1. A summation field and a surround have only units with a suppression
above 0.1.

``pref_or`` is an angle as Brain-Score's stimuli have it, since they compare this one with the
published histogram: the direction at right angles to the bars, degrees clockwise, from -22.5 to
below 157.5. It is 90 minus this package's orientation: 0 for vertical bars, 90 for horizontal ones.

References
----------
Marques, Schrimpf & DiCarlo (2021), bioRxiv 2021.03.01.433495; github.com/brain-score/vision.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr
from scipy.interpolate import CubicSpline

from ephys.frequency import schiller_bandwidth
from ephys.reference import distributions
from ephys.responses import grid
from ephys.selectivity import gosi, orthogonal_ratio
from ephys.suppression import summation_field, suppression_index, surround_diameter
from ephys.tuning import blockwise, check_circle, check_rising, half_width

Estimators = Literal["published", "corrected"]

WITHIN = 0.15  # degrees between the middles of receptive field and gratings
RESPONSIVE = 5.0  # spikes/s above the blank
# Of the 304 cells of Ringach et al. (2002), spikes/s: medians of the largest and the spontaneous
# rate, and the largest of all.
MEDIAN_MAX_DC, MEDIAN_SPONTANEOUS, LARGEST_MAX_DC = 33.8, 0.82, 243.1
FIELD_SHARE = 0.05  # of the largest response in the map; what is above belongs to the field
LEVEL = 0.707  # of the peak, of both bandwidths
SUPPRESSED = 0.1
SUMMATION = 0.95
MARGIN = 0.05
# Weights of three neighbours, and what the published curves are read at.
BANDWIDTH_WEIGHTS, PREFERRED_WEIGHTS, FREQUENCY_WEIGHTS = (
    (0.4, 1, 0.4),
    (0.2, 1, 0.2),
    (0.2, 1, 0.2),
)
DEGREES, DEGREES_FROM = np.arange(-180, 360), 180  # and the index of 0
FREQUENCIES = 100
TURN = 157.5  # degrees, from which preferred orientations are counted as negative

SAMPLES = 1000
MOST_UNDEFINED = 0.1  # of the samples
BLOCK_VALUES = 2**22  # at a time, which bounds the memory


def unit_properties(
    responses: xr.Dataset, *, estimators: Estimators = "published", within: float = WITHIN
) -> xr.Dataset:
    """The properties of every unit that looks at the gratings.

    Responses are rectified and become spikes/s by one straight line for all units, which gives the
    median unit the median of the cells of Ringach et al.: a largest mean response of 33.8 and
    0.82 to the blank. Medians are over units whose largest mean response exceeds the blank's by
    more than 5 / 243.1 of the largest such excess. Rates below 0 are 0.

    Units are selected by the middle of their receptive field, if they were shown gratings that stay
    where they are: the centroid of a map of small gratings, of which each place counts with the
    largest response above the blank, if that is above a twentieth of the largest in the map. Units
    recorded with stimuli centred on each are all taken.

    Parameters
    ----------
    responses : of one layer to ``stimuli.protocols.marques2020()``, recorded with
        ``readout="map"``, or to ``marques2020_corrected()``, with the ``blank``.
    estimators : ``"published"``, those of Marques et al.: curves of orientation and spatial
        frequency are smoothed with their neighbours, interpolated with a spline at whole degrees
        or a hundred frequencies, and cut at the first of these that is low enough. That makes the
        half-width of a von Mises curve 2.5 to 4 degrees too wide, and ``sf_bandwidth`` of a log
        Gaussian too broad by 1.5 to 5 of its percent; but Ringach et al. too measured curves that
        they had smoothed. ``"corrected"`` reads these two, and what depends on them, without
        smoothing and between points, by :func:`ephys.tuning.half_width` and
        :func:`ephys.frequency.schiller_bandwidth`. The others have no such bias.
    within : largest distance of the middles of receptive field and gratings, degrees.

    Returns
    -------
    Along ``unit``, with its coordinates: the properties, NaN where undefined; and
    ``response_<study>``, the largest response above the blank in spikes/s that the study's
    criterion judges, see :func:`score`. Attributes tell ``slope`` and ``offset`` of the rates, and
    how many units had been recorded. ``to_dataframe()`` gives a table with a row per unit.

    Raises
    ------
    KeyError : for responses without one of the four parts of the protocol, or the blank.
    ValueError : for units of several layers; if none looks at the gratings, or responds to any; for
        gratings at several places, or that are no grid; for options out of range.
    """
    _check_options(estimators, within)
    _check_responses(responses)
    kept = _looking(responses, within)
    looking = responses.isel(unit=kept)
    blank = looking["blank"].compute()
    oriented = _table(looking, "orientation", "disc", "theta")
    tuned = _table(looking, "spatial_frequency", "radius", "spatial_frequency", "theta")
    sized = _table(looking, "size", "radius", "spatial_frequency", "theta")
    rate = _rate(oriented, blank)
    curves = {
        "orientation": _best(oriented, "theta", blank, rate, larger=False),
        "frequency": _best(tuned, "spatial_frequency", blank, rate, larger=False),
        "either": _best(tuned, "spatial_frequency", blank, rate, larger=True),
        "size": _best(sized, "radius", blank, rate, larger=True),
    }
    curves = {name: best.compute() for name, best in curves.items()}
    size = curves["size"]["curve"].rename(radius="diameter")
    found = {
        **_of_orientation(curves["orientation"], estimators),
        **_of_frequency(curves["frequency"]["curve"], curves["either"]["curve"], estimators),
        **_of_size(size.assign_coords(diameter=2 * size["diameter"])),
        "response_ringach2002": curves["orientation"]["response"],
        "response_devalois1982a": curves["orientation"]["response"],
        "response_devalois1982b": curves["either"]["response"],
        "response_schiller1976": curves["frequency"]["response"],
        "response_cavanaugh2002": curves["size"]["response"],
    }
    about = {"estimators": estimators, "slope": rate.slope, "offset": rate.offset}
    about["recorded_units"] = responses.sizes["unit"]
    cells = distributions()
    described = {name: _described(values, cells.get(name)) for name, values in found.items()}
    described["pref_or"].attrs["period"] = 180.0  # an angle: it has no mean and no median
    return xr.Dataset(described, attrs=about)


def score(
    properties: xr.Dataset, *, samples: int = SAMPLES, level: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    r"""How close distributions over units come to the published ones: 1 for as close as can be.

    As many units as the study had cells are drawn with replacement, and their histogram compared
    with that of the cells, in the same bins; what lies beyond these counts in the first or last:

    .. math:: s = 1 - \frac{\max |F_{units} - F_{cells}|}
        {\max(\max |F_{first} - F_{cells}|, \max |F_{last} - F_{cells}|)}

    of cumulative distributions F; those in the denominator have all in the first, or the last, bin.
    ``similarity`` is the mean of s over the samples; ``ceiling`` the same of the cells themselves,
    drawn likewise; and ``score`` one over the other.

    Parameters
    ----------
    properties : of units, from :func:`unit_properties`: any of the properties. Units enter a
        property if ``response_<study>``, where there is one, is above 5 spikes/s.
    samples, seed : of the draws; the same seed gives the same scores, and every property has draws
        of its own, whichever others there are.
    level : of the interval.

    Returns
    -------
    A row for each property: ``study``; ``neurons``, how many cells it had; ``units``, how many
    enter, and of these ``defined``, that have a value; ``similarity``, ``ceiling`` and ``score``;
    and from ``low`` to ``high`` the interval of the score in which that share of the samples is:
    how much it varies among as few units as there were cells. Draws of units without a value count
    among those that are drawn, and nowhere else. If that leaves more than a tenth of the samples
    without any, the similarity is 0 and there is no interval. Where no unit enters, it is NaN.

    Raises
    ------
    ValueError : for a dataset without any of the properties, and for options out of range.
    """
    if samples < 1:
        raise ValueError(f"samples={samples} is below 1")
    if not 0 < level < 1:
        raise ValueError(f"level={level} is not between 0 and 1")
    published = distributions()
    if not set(published) & set(properties.data_vars):
        raise ValueError(f"there are none of the properties {', '.join(published)}")
    rows = {}
    for place, (name, cells) in enumerate(published.items()):
        if name not in properties:
            continue
        study, neurons, undefined = (cells.attrs[a] for a in ("study", "neurons", "undefined"))
        units = _counted(_entering(properties, name, study), cells)
        of_cells = np.append(cells.values, undefined)
        drawn = (
            _similarities(counts, cells.values, neurons, samples, [seed, place, stream])
            for stream, counts in enumerate((units, of_cells))
        )
        (similarity, spread), (ceiling, _) = (_summary(values, level) for values in drawn)
        if not units.sum():
            similarity = np.nan
        rows[name] = {
            "study": study,
            "neurons": neurons,
            "units": units.sum(),
            "defined": units[:-1].sum(),
            "similarity": similarity,
            "ceiling": ceiling,
            "score": similarity / ceiling,
            "low": spread[0] / ceiling,
            "high": spread[1] / ceiling,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("property")


@dataclass(frozen=True)
class _Rate:
    """Spikes/s of responses."""

    slope: float
    offset: float

    def __call__(self, responses: np.ndarray) -> np.ndarray:
        return np.maximum(self.slope * _rectified(responses) + self.offset, 0)


def _of_orientation(best: xr.Dataset, estimators: Estimators) -> dict[str, xr.DataArray]:
    curve = best["curve"]
    max_dc = curve.max("theta", skipna=False)
    variance, ratio = 1 - gosi(curve, "theta"), orthogonal_ratio(curve, "theta")
    if estimators == "published":
        width = _measured(_published_half_width, curve, "theta")
    else:
        width = half_width(curve, "theta", level=LEVEL)
    return {
        "circular_variance": variance,
        "or_bandwidth": width,
        "orth_pref_ratio": ratio,
        "or_selective": width.notnull().where(max_dc > 0).astype(float),
        "cv_bandwidth_ratio": variance / width,
        "opr_cv_diff": ratio - variance,
        "max_dc": max_dc,
        "modulation_ratio": best["modulation"] / max_dc.where(max_dc > 0),
        "pref_or": _measured(_published_preferred, curve, "theta"),
    }


def _of_frequency(
    curve: xr.DataArray, either: xr.DataArray, estimators: Estimators
) -> dict[str, xr.DataArray]:
    """From the curves of F0, and of the larger component."""
    if estimators == "published":
        width = _measured(_published_cut_ratio, curve, "spatial_frequency")
    else:
        width = schiller_bandwidth(curve, "spatial_frequency", level=LEVEL)
    responding = curve.max("spatial_frequency", skipna=False) > 0
    return {
        "peak_sf": _measured(_published_peak, either, "spatial_frequency"),
        "sf_bandwidth": width,
        "sf_selective": width.notnull().where(responding).astype(float),
    }


def _of_size(curve: xr.DataArray) -> dict[str, xr.DataArray]:
    index = suppression_index(curve)
    field = summation_field(curve, share=SUMMATION).where(index > SUPPRESSED)
    surround = surround_diameter(curve, margin=MARGIN, least_suppression=SUPPRESSED)
    return {
        "surround_suppression_index": index,
        "grating_summation_field": field,
        "surround_diameter": surround,
    }


def _check_options(estimators: str, within: float) -> None:
    if estimators not in get_args(Estimators):
        raise ValueError(f"estimators={estimators!r} is none of {', '.join(get_args(Estimators))}")
    if not within > 0:
        raise ValueError(f"within={within} is not above 0 degrees")


def _check_responses(responses: xr.Dataset) -> None:
    if "blank" not in responses:
        raise KeyError("there is no response to the blank, which rates are told by; record it too")
    layers = np.unique(responses["layer"].values) if "layer" in responses.coords else [""]
    if len(layers) > 1:
        raise ValueError(
            f"units of {len(layers)} layers ({', '.join(layers)}); select the one that is V1"
        )


def _part(responses: xr.Dataset, part: str) -> xr.Dataset:
    """Responses to one of the four sets of gratings, with coordinates as its authors have them.

    ``theta`` is the direction at right angles to the bars, degrees clockwise; ``disc`` counts the
    apertures and frequencies of the set of orientations, which are no grid of these two.
    """
    shown = responses["part"].values if "part" in responses.coords else np.array([])
    if part not in shown:
        raise KeyError(f"no stimulus has part={part!r}; show all of the protocol marques2020")
    own = responses.isel(stimulus=shown == part)
    faithful = "radius" in own.coords and bool(own["radius"].notnull().all())
    radius = own["radius"].values if faithful else own["diameter"].values / 2
    frequency = own["spatial_frequency"].values
    cycles = np.round(2 * radius * frequency, 6)  # of 2, 3 and 4, in this order
    discs = np.unique(np.stack([cycles, frequency], axis=1), axis=0, return_inverse=True)[1]
    theta = (90 - own["orientation"].values) % 180
    return own.assign_coords(
        radius=("stimulus", radius, {"units": "degree"}),
        disc=("stimulus", discs.ravel()),
        theta=("stimulus", theta, {"units": "degree"}),
    )


def _table(responses: xr.Dataset, part: str, *axes: str) -> xr.DataArray:
    """``(*axes, phase, unit)``, axes in the order in which its authors look for the largest."""
    table = grid(_part(responses, part), *axes, "phase")
    check_circle(table["theta"], 180.0)
    check_circle(table["phase"], 360.0, least=2 if part == "receptive_field" else 4)
    return table


def _looking(responses: xr.Dataset, within: float) -> np.ndarray:
    """Which units look at the gratings."""
    centered = responses.attrs.get("centered", 0) == 1
    if centered and responses.attrs.get("readout") not in ("map", "mean", "max"):
        return np.arange(responses.sizes["unit"])
    gratings = _part(responses, "orientation")
    places = np.unique(np.stack([gratings["x"].values, gratings["y"].values], axis=1), axis=0)
    if len(places) > 1:
        raise ValueError(f"x, y: gratings lie at {len(places)} places; select those at one")
    maps = _table(responses, "receptive_field", "y", "x", "theta")
    x, y = blockwise(
        _centroids,
        maps,
        responses["blank"],
        core=[["y", "x", "theta", "phase"], []],
        out=[[], []],
        dtypes=[float, float],
        kwargs={"x": maps["x"].values, "y": maps["y"].values},
    )
    distance = np.hypot(
        *(axis.values - middle for axis, middle in zip((x, y), places[0], strict=True))
    )
    kept = np.flatnonzero(distance <= within)
    if not kept.size:
        raise ValueError(
            f"none of {distance.size} units has a receptive field within {within:g} degrees of the "
            'gratings; record with readout="map"'
        )
    return kept


def _rate(table: xr.DataArray, blank: xr.DataArray) -> _Rate:
    """The straight line of Marques et al. from responses to spikes/s."""
    core = [str(name) for name in table.dims if name != "unit"]
    largest = blockwise(_largest_means, table, core=[core]).values
    spontaneous = _rectified(blank.values)
    excess = largest - spontaneous
    responsive = excess > RESPONSIVE / LARGEST_MAX_DC * np.fmax.reduce(excess)
    if not responsive.any():
        raise ValueError(
            f"none of {excess.size} units responds to a grating more than to the blank"
        )
    high, low = np.median(largest[responsive]), np.median(spontaneous[responsive])
    slope = (MEDIAN_MAX_DC - MEDIAN_SPONTANEOUS) / (high - low)
    return _Rate(float(slope), float(MEDIAN_SPONTANEOUS - slope * low))


def _best(
    table: xr.DataArray, along: str, blank: xr.DataArray, rate: _Rate, *, larger: bool
) -> xr.Dataset:
    """Of each unit the ``curve`` through its largest rate, by F0 or by the larger component.

    Also how far this is above the blank, ``response``, and the F1 there, ``modulation``.
    """
    if along != "theta":
        check_rising(table[along], above=0)
    axes = [str(name) for name in table.dims if name not in ("phase", "unit")]
    curve, response, modulation = blockwise(
        _best_curves,
        table,
        blank,
        core=[[*axes, "phase"], []],
        out=[[along], [], []],
        dtypes=[float, float, float],
        kwargs={"rate": rate, "along": axes.index(along), "larger": larger},
    )
    return xr.Dataset({"curve": curve, "response": response, "modulation": modulation})


def _measured(kernel: Callable[..., Any], curve: xr.DataArray, dim: str) -> xr.DataArray:
    return blockwise(kernel, curve, core=[[dim]], kwargs={"axis": curve[dim].values})


def _described(values: xr.DataArray, cells: xr.DataArray | None) -> xr.DataArray:
    about = {"long_name": "largest response above the blank", "units": "s-1"}
    if cells is not None:
        about = {"long_name": cells.attrs["long_name"], "units": cells["low"].attrs["units"]}
    return values.drop_attrs(deep=False).assign_attrs(about)


def _by_units(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Let a kernel work on a block of units at a time; arrays have units first."""

    @wraps(kernel)
    def in_blocks(*arrays: np.ndarray, **kwargs: Any) -> Any:
        step = max(1, BLOCK_VALUES // max(arrays[0][0].size, DEGREES.size))
        found = [
            kernel(*(array[start : start + step] for array in arrays), **kwargs)
            for start in range(0, len(arrays[0]), step)
        ]
        if isinstance(found[0], tuple):
            return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))
        return np.concatenate(found)

    return in_blocks


@_by_units
def _centroids(
    responses: np.ndarray, blank: np.ndarray, *, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel of ``_looking``: (unit, y, x, theta, phase) to x and y, NaN without a response."""
    above = _rectified(responses).max((-1, -2)) - _rectified(blank)[:, None, None]
    above = np.maximum(above, 0)
    field = np.where(above > FIELD_SHARE * above.max((-1, -2), keepdims=True), above, 0)
    total = field.sum((-1, -2))
    total = np.where(total > 0, total, np.nan)
    return (field.sum(-2) * x).sum(-1) / total, (field.sum(-1) * y).sum(-1) / total


@_by_units
def _largest_means(responses: np.ndarray) -> np.ndarray:
    """Kernel of ``_rate``: (unit, ..., phase) to (unit)."""
    return _rectified(responses).mean(-1).reshape(len(responses), -1).max(-1)


@_by_units
def _best_curves(
    responses: np.ndarray, blank: np.ndarray, *, rate: _Rate, along: int, larger: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kernel of ``_best``: (unit, *axes, phase) to (unit, along), (unit) and (unit)."""
    rates, baseline = rate(responses), rate(blank)
    f0, f1 = rates.mean(-1), _first_harmonic(rates)  # (unit, *axes)
    above = f0 - baseline.reshape(-1, *[1] * (f0.ndim - 1))
    judged = np.stack([above, f1], axis=-1) if larger else f0[..., None]  # (..., component)
    best = judged.reshape(len(judged), -1).argmax(-1)
    units = np.arange(len(judged))
    places = list(np.unravel_index(best, judged.shape[1:]))
    response = (judged if larger else above[..., None])[units, *places]
    modulation = f1[units, *places[:-1]]
    del places[along]
    curves = np.moveaxis(judged, 1 + along, -1)[units, *places]
    return curves, response, modulation


def _rectified(responses: np.ndarray) -> np.ndarray:
    return np.maximum(responses, 0, dtype=float)


def _first_harmonic(rates: np.ndarray) -> np.ndarray:
    """F1 of (..., phase)."""
    count = rates.shape[-1]
    angles = 2 * np.pi * np.arange(count) / count
    even, odd = ((rates * wave).sum(-1) for wave in (np.cos(angles), np.sin(angles)))
    return 2 / count * np.hypot(even, odd)


@_by_units
def _published_half_width(curves: np.ndarray, *, axis: np.ndarray) -> np.ndarray:
    """Kernel of or_bandwidth: (unit, theta) to (unit), NaN for more than a circle."""
    fine = _around_the_circle(curves, axis, BANDWIDTH_WEIGHTS)
    peak = fine[:, DEGREES_FROM : DEGREES_FROM + 180].argmax(-1) + DEGREES_FROM
    before, after = _cuts(fine, peak)
    width = after - before  # degrees
    return np.where(width <= 180, width / 2, np.nan)


@_by_units
def _published_preferred(curves: np.ndarray, *, axis: np.ndarray) -> np.ndarray:
    """Kernel of pref_or: (unit, theta) to (unit), degrees."""
    fine = _around_the_circle(curves, axis, PREFERRED_WEIGHTS)
    peak = fine[:, DEGREES_FROM : DEGREES_FROM + 180].argmax(-1)
    preferred = np.where(peak >= TURN, peak - 180.0, peak)
    return np.where(curves.max(-1) > curves.min(-1), preferred, np.nan)


@_by_units
def _published_peak(curves: np.ndarray, *, axis: np.ndarray) -> np.ndarray:
    """Kernel of peak_sf: (unit, frequency) to (unit)."""
    fine, octaves = _over_frequencies(curves, axis)
    return np.where(curves.max(-1) > curves.min(-1), 2 ** octaves[fine.argmax(-1)], np.nan)


@_by_units
def _published_cut_ratio(curves: np.ndarray, *, axis: np.ndarray) -> np.ndarray:
    """Kernel of sf_bandwidth: (unit, frequency) to (unit), percent."""
    fine, octaves = _over_frequencies(curves, axis)
    before, after = _cuts(fine, fine.argmax(-1))
    step = octaves[1] - octaves[0]
    return 100 * 2 ** ((before - after) * step)


def _around_the_circle(
    curves: np.ndarray, angles: np.ndarray, weights: Sequence[float]
) -> np.ndarray:
    """Smoothed curves at DEGREES, of three turns: (unit, theta) to (unit, degree)."""
    turns = np.concatenate([angles - 180, angles, angles + 180])
    tiled = np.tile(np.eye(len(angles)), 3)
    return _read(curves, CubicSpline(turns, _smoothed(tiled, weights), axis=-1)(DEGREES))


def _over_frequencies(curves: np.ndarray, frequencies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smoothed curves, and where they are read, log2."""
    octaves = np.log2(frequencies)
    fine = np.linspace(octaves[0], octaves[-1], FREQUENCIES)
    padded = np.pad(np.eye(len(octaves)), ((0, 0), (1, 1)), "edge")
    smoothed = _smoothed(padded, FREQUENCY_WEIGHTS)[:, 1:-1]
    return _read(curves, CubicSpline(octaves, smoothed, axis=-1)(fine)), fine


def _smoothed(curves: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """With neighbours, and nothing beyond the ends: (..., n)."""
    before, own, after = np.array(weights) / np.sum(weights)
    padded = np.pad(curves, ((0, 0), (1, 1)))
    return before * padded[:, :-2] + own * curves + after * padded[:, 2:]


def _read(curves: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Curves (unit, n) between their points, by what each point of one adds: basis (n, fine).

    Point by point, so that a unit's does not depend on which others there are, to the last bit.
    """
    fine = np.zeros((len(curves), basis.shape[1]))
    for values, added in zip(curves.T, basis, strict=True):
        fine += values[:, None] * added
    return fine


def _cuts(fine: np.ndarray, peak: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points nearest the peak that are low enough, before it and after it, or NaN."""
    places = np.arange(fine.shape[-1])
    top = np.take_along_axis(fine, peak[:, None], axis=-1)
    low = (fine <= LEVEL * top) & (top > 0)
    before = np.where(low & (places < peak[:, None]), places, -np.inf).max(-1)
    after = np.where(low & (places > peak[:, None]), places, np.inf).min(-1)
    found = np.isfinite(before), np.isfinite(after)
    return np.where(found[0], before, np.nan), np.where(found[1], after, np.nan)


def _entering(properties: xr.Dataset, name: str, study: str) -> np.ndarray:
    """The values of units that respond enough for the study."""
    values = properties[name].values.astype(float)
    response = properties.get(f"response_{study}")
    return values if response is None else values[response.values > RESPONSIVE]


def _counted(values: np.ndarray, cells: xr.DataArray) -> np.ndarray:
    """How many are in each bin of the cells, the outer ones open, and last how many are NaN."""
    starts = cells["low"].values
    bins = np.maximum(np.searchsorted(starts, values, side="right") - 1, 0)
    return np.bincount(np.where(np.isnan(values), len(starts), bins), minlength=len(starts) + 1)


def _similarities(
    units: np.ndarray, cells: np.ndarray, neurons: int, samples: int, seed: Sequence[int]
) -> np.ndarray:
    """Of so many samples: (sample), NaN for one of units without any value.

    How often each bin is drawn is all that matters of a draw of units, and is multinomial.

    Parameters
    ----------
    units : how many are in each bin, and last how many in none.
    cells : how many are in each bin.
    """
    if not units.sum():
        return np.full(samples, np.nan)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(neurons, units / units.sum(), size=samples)[:, :-1]
    total = drawn.sum(-1, keepdims=True)
    of_cells = cells.cumsum() / cells.sum()
    of_units = drawn.cumsum(-1) / np.where(total > 0, total, np.nan)
    farthest = max(of_cells[-1] - of_cells[0], of_cells[:-1].max())
    return 1 - np.abs(of_units - of_cells).max(-1) / farthest


def _summary(similarities: np.ndarray, level: float) -> tuple[float, np.ndarray]:
    """Mean and interval."""
    defined = similarities[~np.isnan(similarities)]
    if similarities.size - defined.size > MOST_UNDEFINED * similarities.size:
        return 0.0, np.full(2, np.nan)
    tail = (1 - level) / 2
    return float(defined.mean()), np.quantile(defined, [tail, 1 - tail])
