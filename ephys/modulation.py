"""Modulation: how much a response follows the phase of a grating, and which cells are simple.

A grating that drifts, or one shown at phases all around the circle, makes a response of a mean F0
and of a first harmonic F1: the amplitude with which it rises and falls once for every period.
"""

import numpy as np
import xarray as xr

from ephys.tuning import blockwise, check_circle


def f1_f0(
    curve: xr.DataArray,
    dim: str = "phase",
    *,
    period: float = 360.0,
    blank: xr.DataArray | None = None,
) -> xr.DataArray:
    r"""Modulation ratio: amplitude at the frequency of the stimulus, over the mean response.

    .. math:: F_1 / F_0 = \left. \frac{2}{n} \left| \sum_k R_k e^{-2 \pi i k / n} \right| \middle/
        \left( \frac{1}{n} \sum_k R_k - R_{blank} \right) \right.

    0 for a response that ignores the phase, and above 1 for the cells called simple: it is 1 for
    :math:`1 + \cos`, and near pi / 2 for a half-rectified cosine. (Of n phases, a multiple of 4
    with one at the peak, exactly (n / 2) tan(pi / n): 1.657 of eight, 2 of four.) Without a blank,
    it is at most 2.

    Parameters
    ----------
    curve : responses of at least 0, with ``dim`` evenly once around the circle in four values or
        more: ``tuning_curve(responses, "phase")``, or ``tuning_curve(responses, "time")`` of
        gratings that drift. With three, what a complex cell does at twice the frequency of the
        stimulus would look like F1.
    period : of ``dim``: 360 degrees of phase, or one over the temporal frequency.
    blank : response to the mean luminance, ``curve["blank"]``, to be subtracted from the mean, as
        is done where cells fire spontaneously; by default nothing is.

    Returns
    -------
    The array without ``dim``; NaN where the mean is not above 0, or not above the blank: nothing is
    modulated there. NaN also where a response is negative or missing; rectify it first. The mean of
    a linear response is 0 but for rounding, and so its ratio would be any number.

    Raises
    ------
    ValueError : if ``dim`` does not go evenly around the circle, or in fewer than four values.

    References
    ----------
    Skottun, De Valois, Grosof, Movshon, Albrecht & Bonds (1991), Vision Research 31:1079. Movshon,
    Thompson & Tolhurst (1978), Journal of Physiology 283:53.
    """
    f0, f1, lowest = _harmonics(curve, dim, period)
    above = f0 if blank is None else f0 - blank
    ratio = (f1 / above.where(above > 0)).where(lowest >= 0)
    return ratio.assign_attrs(long_name="modulation ratio F1/F0", units="1")


def f1_amplitude(curve: xr.DataArray, dim: str = "phase", *, period: float = 360.0) -> xr.DataArray:
    r"""Amplitude of the response at the frequency of the stimulus.

    .. math:: F_1 = \frac{2}{n} \left| \sum_k R_k e^{-2 \pi i k / n} \right|

    a of :math:`m + a \cos`, whatever its phase. Responses may be negative.

    Parameters
    ----------
    curve, period : as in :func:`f1_f0`.

    Returns
    -------
    The array without ``dim``, in the units of the response; NaN where a response is missing.

    Raises
    ------
    ValueError : as in :func:`f1_f0`.
    """
    _, f1, _ = _harmonics(curve, dim, period)
    units = curve.attrs.get("units", "1")
    return f1.assign_attrs(long_name="amplitude of the first harmonic", units=units)


def simple_or_complex(ratio: xr.DataArray) -> xr.DataArray:
    """``"simple"`` for a modulation ratio above 1, ``"complex"`` for one up to 1, else ``""``.

    Parameters
    ----------
    ratio : from :func:`f1_f0`; where it is NaN, the cell is neither.

    References
    ----------
    Skottun, De Valois, Grosof, Movshon, Albrecht & Bonds (1991), Vision Research 31:1079.
    """
    named = blockwise(_simple_or_complex, ratio, core=[[]], dtypes=["<U7"])
    named.attrs = {"long_name": "class of cell"}
    return named


def larger_component(
    curves: xr.DataArray,
    along: str,
    dim: str = "phase",
    *,
    period: float = 360.0,
    blank: xr.DataArray | float = 0.0,
) -> xr.DataArray:
    """The curve of a unit's mean response, or that of its modulation: the one of the larger peak.

    So are simple cells measured, whose mean says less than their modulation does, and units that
    were not rectified, whose mean is 0: by F1, and others by F0 above the blank.

    Parameters
    ----------
    curves : with ``dim`` as in :func:`f1_f0`, and ``along``, the parameter of the curve:
        ``tuning_curve(responses, "phase", by="diameter")``.
    along : dimension over which to look for the larger peak.
    blank : response to the mean luminance, ``curves["blank"]``, to be subtracted from the mean.

    Returns
    -------
    The array without ``dim``, with ``along`` as its last dimension. The coordinate ``component``
    says of every curve which it is, ``"F0"`` or ``"F1"``; ``""``, and a curve of NaN, where a
    response is missing.

    Raises
    ------
    ValueError : as in :func:`f1_f0`.

    References
    ----------
    Cavanaugh, Bair & Movshon (2002), Journal of Neurophysiology 88:2530. Marques, Schrimpf &
    DiCarlo (2021), bioRxiv 2021.03.01.433495.
    """
    check_cycle(curves[dim], period)
    larger, component = blockwise(
        _larger_component,
        curves,
        blank,
        core=[[along, dim], []],
        out=[[along], []],
        dtypes=[float, "<U2"],
    )
    return larger.assign_coords(component=component.variable).assign_attrs(curves.attrs)


def check_cycle(axis: xr.DataArray, period: float) -> None:
    """Refuse, with a ValueError, phases or times that do not show the modulation of a response.

    That is, fewer than four, or others than evenly around one cycle.
    """
    unit = "degrees" if axis.name != "time" else "seconds"
    check_circle(axis, period, least=4, unit=unit)


def _harmonics(
    curve: xr.DataArray, dim: str, period: float
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """F0, F1 and the smallest response."""
    check_cycle(curve[dim], period)
    f0, f1, lowest = blockwise(
        _mean_amplitude_and_lowest,
        curve,
        core=[[dim]],
        out=[[], [], []],
        dtypes=[float, float, float],
    )
    return f0, f1, lowest


def _mean_amplitude_and_lowest(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kernel of ``_harmonics``: (..., phase) to (...), three times; NaN for what holds a NaN."""
    values = np.where(np.isfinite(values).all(-1, keepdims=True), values, np.nan).astype(float)
    count = values.shape[-1]
    wave = np.exp(-2j * np.pi * np.arange(count) / count)
    return values.mean(-1), 2 * np.abs((values * wave).sum(-1)) / count, values.min(-1)


def _larger_component(curves: np.ndarray, blank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kernel of ``larger_component``: (..., along, phase) and (...) to (..., along) and (...)."""
    f0, f1, _ = _mean_amplitude_and_lowest(curves)
    f0 = f0 - blank[..., None]
    modulated = f1.max(-1) > f0.max(-1)
    present = np.isfinite(f0).all(-1)
    larger = np.where(modulated[..., None], f1, f0)
    names = np.where(modulated, "F1", "F0")
    return np.where(present[..., None], larger, np.nan), np.where(present, names, "")


def _simple_or_complex(ratio: np.ndarray) -> np.ndarray:
    return np.where(ratio > 1, "simple", np.where(ratio <= 1, "complex", ""))
