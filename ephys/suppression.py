"""Suppression: what a larger grating, a grating around it, or one across it takes away.

Suppression is the share of a response that is lost, 1 - with / without: 0 for nothing, 1 for all of
it, and negative for a response that is made larger. Curves may be above the blank
(``curve - curve["blank"]``); what is then suppressed to below the blank is suppressed by more than
1. What is suppressed has to be a response, above 0; otherwise its suppression is NaN.
"""

import numpy as np
import xarray as xr

from ephys.tuning import blockwise, check_rising, tuning_curve


def suppression_index(curve: xr.DataArray, dim: str = "diameter") -> xr.DataArray:
    r"""Share of the largest response that is lost at the largest size.

    .. math:: (R_{peak} - R_{largest}) / R_{peak}

    0 for a response that does not fall with size.

    Parameters
    ----------
    curve : with ``dim`` rising.

    Returns
    -------
    The array without ``dim``, 0 or more; NaN for a curve that has no response above 0, or holds a
    NaN. Above 1 where the largest grating takes the response to below 0.

    Raises
    ------
    ValueError : for sizes that do not rise.

    References
    ----------
    Cavanaugh, Bair & Movshon (2002), Journal of Neurophysiology 88:2530.
    """
    check_rising(curve[dim])
    index = blockwise(_suppression_index, curve, core=[[dim]])
    return index.assign_attrs(long_name="surround suppression index", units="1")


def summation_field(
    curve: xr.DataArray, dim: str = "diameter", *, share: float = 0.95
) -> xr.DataArray:
    """Grating summation field: the smallest size shown that gives a share of the largest response.

    It may be the largest size shown, and the field be larger still. Marques et al. tell it of
    units that a surround suppresses: ``field.where(suppression_index(curve) > 0.1)``.

    Parameters
    ----------
    curve : with ``dim`` rising.
    share : above 0, at most 1.

    Returns
    -------
    The array without ``dim``, in its units; NaN for a curve that has no response above 0, or holds
    a NaN.

    Raises
    ------
    ValueError : for sizes that do not rise, and for a share out of range.

    References
    ----------
    Cavanaugh, Bair & Movshon (2002), Journal of Neurophysiology 88:2530. Marques, Schrimpf &
    DiCarlo (2021), bioRxiv 2021.03.01.433495.
    """
    check_rising(curve[dim])
    if not 0 < share <= 1:
        raise ValueError(f"share={share} is not above 0, and at most 1")
    field = blockwise(
        _summation_field, curve, curve[dim], core=[[dim], [dim]], kwargs={"share": share}
    )
    units = curve[dim].attrs.get("units", "1")
    return field.assign_attrs(long_name="grating summation field", units=units)


def surround_diameter(
    curve: xr.DataArray,
    dim: str = "diameter",
    *,
    margin: float = 0.05,
    least_suppression: float = 0.1,
) -> xr.DataArray:
    r"""The smallest size shown, beyond the preferred one, from which the response falls no further.

    The first at which :math:`R \le R_{largest} + margin \, |R_{largest}|`.

    Parameters
    ----------
    curve : with ``dim`` rising.
    margin : how far above the response to the largest size, as a share of it; 0 or more.
    least_suppression : what ``suppression_index`` has to be above, for there to be a surround.

    Returns
    -------
    The array without ``dim``, in its units; NaN for a curve of less suppression, or of none that is
    defined.

    Raises
    ------
    ValueError : for sizes that do not rise, and for a margin or a least suppression below 0.

    References
    ----------
    Cavanaugh, Bair & Movshon (2002), Journal of Neurophysiology 88:2530. Marques, Schrimpf &
    DiCarlo (2021), bioRxiv 2021.03.01.433495.
    """
    check_rising(curve[dim])
    for name, value in {"margin": margin, "least_suppression": least_suppression}.items():
        if not value >= 0:
            raise ValueError(f"{name}={value} is below 0")
    diameter = blockwise(
        _surround_diameter,
        curve,
        curve[dim],
        core=[[dim], [dim]],
        kwargs={"margin": margin, "least": least_suppression},
    )
    units = curve[dim].attrs.get("units", "1")
    return diameter.assign_attrs(long_name="diameter of the surround", units=units)


def surround_curve(responses: xr.Dataset, dim: str = "surround_angle") -> xr.DataArray:
    """Response to a centre with a surround, of either orientation: ``(unit, surround_angle)``.

    Of the centre, each unit's preferred orientation, size and spatial frequency are taken, when
    it is shown alone; the response to that is the coordinate ``center``. Phases are averaged over.

    Parameters
    ----------
    responses : to the protocol ``surround``, whose ``part`` is ``"center"`` or ``"surround"``.
    dim : parameter of the surround.

    Raises
    ------
    KeyError : for stimuli without ``part``, or without ``dim``.
    ValueError : for stimuli of which one part is not there, or is no grid.
    """
    center, surround = (_part(responses, part) for part in ("center", "surround"))
    curve = tuning_curve(surround, dim, preferred_by=center)
    alone = tuning_curve(center).max("orientation", skipna=True)
    attributes = {**responses["response"].attrs, "long_name": "response to the center alone"}
    return curve.assign_coords(center=("unit", alone.data, attributes))


def surround_suppression(curve: xr.DataArray, center: xr.DataArray) -> xr.DataArray:
    r"""Share of the response to the centre alone that each surround takes away.

    .. math:: 1 - R_{center + surround} / R_{center}

    Parameters
    ----------
    curve : from :func:`surround_curve`.
    center : response to the centre alone, ``curve["center"]``.

    Returns
    -------
    The array of suppression by each surround, negative where a surround makes the response larger;
    NaN where the centre alone has no response above 0.

    References
    ----------
    Cavanaugh, Bair & Movshon (2002), Journal of Neurophysiology 88:2547.
    """
    suppression = 1 - curve / center.where(center > 0)
    return suppression.assign_attrs(long_name="suppression by the surround", units="1")


def iso_minus_cross(suppression: xr.DataArray, dim: str = "surround_angle") -> xr.DataArray:
    """How much more a surround of the centre's orientation suppresses than one across it.

    Above 0 for a surround that is tuned as most in V1 are, 0 for one that is not tuned.

    Parameters
    ----------
    suppression : from :func:`surround_suppression`, at 0 and at 90 degrees or more.

    Returns
    -------
    The array without ``dim``.

    Raises
    ------
    ValueError : if no surround of 0, or of 90 degrees was shown.

    References
    ----------
    Cavanaugh, Bair & Movshon (2002), Journal of Neurophysiology 88:2547.
    """
    angles = suppression[dim].values % 180
    at = []
    for wanted in (0, 90):
        (found,) = np.nonzero(np.abs((angles - wanted + 90) % 180 - 90) < 1e-6)
        if not len(found):
            raise ValueError(
                f"{dim}={suppression[dim].values.tolist()} has no {wanted} degrees; show the "
                "surround at 0 and at 90"
            )
        at.append(suppression.isel({dim: found[0]}, drop=True))
    difference = at[0] - at[1]
    return difference.assign_attrs(long_name="suppression, iso minus cross-oriented", units="1")


def plaid_curves(responses: xr.Dataset) -> xr.DataArray:
    """Response to plaids at each unit's preferred orientation: ``(unit, contrast, mask_contrast)``.

    The preferred orientation and spatial frequency are those of the gratings without a mask. Plaids
    are shown twice, with their two gratings exchanged, so the largest response of all may be at the
    preferred orientation or across it. Phases are averaged over.

    Parameters
    ----------
    responses : to the protocol ``cross_orientation``.

    Raises
    ------
    KeyError : for stimuli that are no plaids.
    ValueError : for stimuli of which none has no mask, or that are no grid.
    """
    if "mask_contrast" not in responses.coords:
        raise KeyError("'mask_contrast' is no parameter of these stimuli: they are no plaids")
    unmasked = responses["mask_contrast"].values == 0
    if not unmasked.any():
        raise ValueError("mask_contrast is never 0; show the gratings without a mask too")
    gratings = responses.isel(stimulus=unmasked)
    return tuning_curve(responses, "mask_contrast", by="contrast", preferred_by=gratings)


def cross_orientation_index(plaids: xr.DataArray, dim: str = "mask_contrast") -> xr.DataArray:
    r"""Share of the response to a grating that the mask of the highest contrast takes away.

    .. math:: 1 - R_{plaid} / R_{grating}

    Parameters
    ----------
    plaids : from :func:`plaid_curves`; ``dim`` rises from 0.

    Returns
    -------
    The array without ``dim``, so of every ``contrast`` of the grating; NaN where the grating alone
    has no response above 0.

    Raises
    ------
    ValueError : if ``dim`` does not rise from 0.

    References
    ----------
    Bonds (1989), Visual Neuroscience 2:41. Busse, Wade & Carandini (2009), Neuron 64:931.
    """
    index = _masked(plaids, dim).isel({dim: -1}, drop=True)
    return index.assign_attrs(long_name="cross-orientation index", units="1")


def maximal_inhibition(
    plaids: xr.DataArray, dim: str = "mask_contrast", *, by: str = "contrast"
) -> xr.DataArray:
    r"""The largest share that any mask takes away from the response to a grating of any contrast.

    .. math:: \max_{c, m} \left( 1 - R(c, m) / R(c, 0) \right)

    0 or more, for masks of no contrast are among them. So is a grating of no contrast, if it was
    shown: the maximum is then also of how far a mask alone takes the response below that to the
    blank. ``plaids.sel(contrast=slice(0.01, None))`` leaves it out.

    Parameters
    ----------
    plaids : from :func:`plaid_curves`; ``dim`` rises from 0.
    by : the contrast of the grating.

    Returns
    -------
    The array without ``dim`` and ``by``; NaN where no grating alone has a response above 0.

    Raises
    ------
    ValueError : if ``dim`` does not rise from 0.

    References
    ----------
    Burg, Cadena, Denfield, Walker, Tolias, Bethge & Ecker (2021), PLoS Computational Biology
    17:e1009028.
    """
    largest = _masked(plaids, dim).max([dim, by], skipna=True)
    return largest.assign_attrs(long_name="maximal cross-orientation inhibition", units="1")


def _part(responses: xr.Dataset, part: str) -> xr.Dataset:
    if "part" not in responses.coords:
        raise KeyError("'part' is no parameter of these stimuli; show the protocol surround")
    rows = responses["part"].values == part
    if not rows.any():
        raise ValueError(
            f"no stimulus has part={part!r}; show the centre both alone and with a surround"
        )
    return responses.isel(stimulus=rows)


def _masked(plaids: xr.DataArray, dim: str) -> xr.DataArray:
    """Share of the response without a mask that each mask takes away."""
    contrasts = plaids[dim]
    check_rising(contrasts)
    if contrasts.values[0] != 0:
        raise ValueError(
            f"{dim}={contrasts.values.tolist()} does not begin at 0; show the gratings without a "
            "mask too"
        )
    return blockwise(_inhibition, plaids, core=[[dim]], out=[[dim]])


def _suppression_index(curves: np.ndarray) -> np.ndarray:
    values, peak = _responding(curves)
    return (peak - values[..., -1]) / peak


def _summation_field(curves: np.ndarray, sizes: np.ndarray, *, share: float) -> np.ndarray:
    values, peak = _responding(curves)
    return _first(values >= share * peak[..., None], sizes)


def _surround_diameter(
    curves: np.ndarray, sizes: np.ndarray, *, margin: float, least: float
) -> np.ndarray:
    values, peak = _responding(curves)
    plateau = values[..., -1:]
    low = values <= plateau + margin * np.abs(plateau)
    beyond = np.arange(len(sizes)) > values.argmax(-1)[..., None]
    suppressed = (peak - plateau[..., 0]) / peak > least
    return np.where(suppressed, _first(low & beyond, sizes), np.nan)


def _inhibition(curves: np.ndarray) -> np.ndarray:
    alone = curves[..., :1].astype(float)
    return 1 - curves / np.where(alone > 0, alone, np.nan)


def _responding(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Curves and their peaks: 0 and NaN for those that hold a NaN, or have no response above 0."""
    values = np.where(np.isfinite(curves).all(-1, keepdims=True), curves, 0.0).astype(float)
    peak = values.max(-1)
    return values, np.where(peak > 0, peak, np.nan)


def _first(found: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The first size at which something holds; NaN where it never does."""
    return np.where(found.any(-1), sizes[found.argmax(-1)], np.nan)
