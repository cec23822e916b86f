"""Spatial frequency: which ones pass, read from the tuning curve.

A curve is followed from its peak, among the frequencies that were shown, to either side, along
straight lines over the logarithm of frequency, to where it first falls to a share of the peak. A
curve that never falls so far on one side has no cut there: NaN, never the end of the range. The
curve may be above the blank (``curve - curve["blank"]``), and so be negative away from its peak.
"""

import numpy as np
import xarray as xr

from ephys.tuning import blockwise, check_rising

HALF_POWER = 1 / np.sqrt(2)
BANDS = np.array(["", "all-pass", "low-pass", "high-pass", "band-pass"])


def bandwidth(
    curve: xr.DataArray, dim: str = "spatial_frequency", *, level: float = 0.5
) -> xr.DataArray:
    r"""Width of the curve in octaves, from its low to its high cut.

    .. math:: \log_2 (f_{high} / f_{low})

    Parameters
    ----------
    curve : with ``dim`` rising from above 0.
    level : between 0 and 1; 0.5 gives the full width at half height, as of De Valois et al.

    Returns
    -------
    The array without ``dim``; NaN for a curve that has not both cuts.

    Raises
    ------
    ValueError : for frequencies that do not rise from above 0, and for a level out of range.

    References
    ----------
    De Valois, Albrecht & Thorell (1982), Vision Research 22:545.
    """
    low, high = _cuts(curve, dim, level)
    name = f"bandwidth at {level:.3g} of the peak"
    return (high - low).assign_attrs(long_name=name, units="octave")


def schiller_bandwidth(
    curve: xr.DataArray, dim: str = "spatial_frequency", *, level: float = HALF_POWER
) -> xr.DataArray:
    r"""The other bandwidth: the low cut as a percentage of the high one.

    .. math:: 100 f_{low} / f_{high} = 100 \cdot 2^{-octaves}

    It is *small* for a broad curve, and 100 at most. Parameters, NaN and refusals are those of
    :func:`bandwidth`; the level is that of Marques et al.

    References
    ----------
    Schiller, Finlay & Volman (1976), Journal of Neurophysiology 39:1334. Marques, Schrimpf &
    DiCarlo (2021), bioRxiv 2021.03.01.433495.
    """
    low, high = _cuts(curve, dim, level)
    name = f"low cut over high cut at {level:.3g} of the peak"
    return (100 * 2 ** (low - high)).assign_attrs(long_name=name, units="percent")


def low_cut(
    curve: xr.DataArray, dim: str = "spatial_frequency", *, level: float = 0.5
) -> xr.DataArray:
    """Frequency below the peak at which the curve first falls to a share of it.

    Parameters and refusals are those of :func:`bandwidth`.

    Returns
    -------
    The array without ``dim``, in its units; NaN for a curve that never falls so far below its peak,
    that has no response above 0, or holds a NaN.
    """
    low, _ = _cuts(curve, dim, level)
    return _frequency(low, curve[dim], f"low cut at {level:.3g} of the peak")


def high_cut(
    curve: xr.DataArray, dim: str = "spatial_frequency", *, level: float = 0.5
) -> xr.DataArray:
    """Frequency above the peak at which the curve first falls to a share of it.

    As :func:`low_cut`, on the other side; at half height, the resolution of a low-pass unit.
    """
    _, high = _cuts(curve, dim, level)
    return _frequency(high, curve[dim], f"high cut at {level:.3g} of the peak")


def band(
    curve: xr.DataArray, dim: str = "spatial_frequency", *, level: float = 0.5
) -> xr.DataArray:
    """Which frequencies pass: ``"band-pass"`` for a curve with both cuts, and what is left of it.

    ``"low-pass"`` without a low cut, ``"high-pass"`` without a high cut, ``"all-pass"`` without
    either, as far as the frequencies that were shown tell; ``""`` for a curve that has no response
    above 0, or holds a NaN. Parameters and refusals are those of :func:`bandwidth`.
    """
    _check(curve[dim], level)
    found = blockwise(_band, curve, core=[[dim]], dtypes=[BANDS.dtype], kwargs={"level": level})
    found.attrs = {"long_name": f"pass-band at {level:.3g} of the peak"}
    return found


def _cuts(curve: xr.DataArray, dim: str, level: float) -> tuple[xr.DataArray, xr.DataArray]:
    """Low and high cut, log2."""
    _check(curve[dim], level)
    low, high = blockwise(
        _crossings,
        curve,
        np.log2(curve[dim].astype(float)),
        core=[[dim], [dim]],
        out=[[], []],
        dtypes=[float, float],
        kwargs={"level": level},
    )
    return low, high


def _check(frequencies: xr.DataArray, level: float) -> None:
    check_rising(frequencies, above=0)
    if not 0 < level < 1:
        raise ValueError(f"level={level} is not between 0 and 1")


def _frequency(octaves: xr.DataArray, axis: xr.DataArray, name: str) -> xr.DataArray:
    return (2**octaves).assign_attrs(long_name=name, units=axis.attrs.get("units", "1"))


def _crossings(
    curves: np.ndarray, places: np.ndarray, *, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel of ``_cuts``: (..., n), of rising places, to where it crosses below and above."""
    values, threshold, before, after = _around_peak(curves, level)
    low = _crossing(values, places, threshold, before, 1)
    high = _crossing(values, places, threshold, after, -1)
    return low, high


def _around_peak(
    curves: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The curves, the level, and the nearest points at most so high on either side of the peak.

    Those are -1 and n where there is none, as for a curve without a peak, of which the level is
    NaN. Curves that hold a NaN become 0, and so have no peak.
    """
    values = np.where(np.isfinite(curves).all(-1, keepdims=True), curves, 0.0).astype(float)
    top = values.max(-1)
    threshold = np.where(top > 0, level * top, np.nan)
    low = values <= threshold[..., None]
    place, peak = np.arange(values.shape[-1]), values.argmax(-1)[..., None]
    before = np.where(low & (place < peak), place, -1).max(-1)
    after = np.where(low & (place > peak), place, place.size).min(-1)
    return values, threshold, before, after


def _crossing(
    values: np.ndarray, places: np.ndarray, threshold: np.ndarray, below: np.ndarray, step: int
) -> np.ndarray:
    """Where the line from the point below the level to the next one, above it, reaches it."""
    found = (below >= 0) & (below < values.shape[-1])
    first = np.where(found, below, 0 if step > 0 else 1)  # any that has a next one
    second = first + step
    low, high = (
        np.take_along_axis(values, place[..., None], axis=-1)[..., 0] for place in (first, second)
    )
    rise = high - low
    share = np.divide(threshold - low, rise, out=np.zeros(rise.shape), where=found)
    return np.where(found, places[first] + share * (places[second] - places[first]), np.nan)


def _band(curves: np.ndarray, *, level: float) -> np.ndarray:
    values, threshold, before, after = _around_peak(curves, level)
    kind = 1 + (after < values.shape[-1]) + 2 * (before >= 0)
    return BANDS[np.where(np.isnan(threshold), 0, kind)]
