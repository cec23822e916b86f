"""Spectrally, spatially and double opponent, by the rule of Harris, Mihai & Hare.

They show uniform hues and gratings of luminance, and ask whether these take the response to both
sides of a baseline. :mod:`ephys.opponency` has what physiologists call single and double opponent.
"""

from collections.abc import Collection

import numpy as np
import xarray as xr

from ephys.tuning import blockwise

BASELINES = {"black": 0.0, "grey": None, "white": 1.0}  # luminances; grey is that of the background
RULE = ("unresponsive", "non-opponent", "opponent")
BOTH = (
    *("unresponsive", "non-opponent", "spectrally opponent", "spatially opponent"),
    "double-opponent",
)


def harris_classes(
    responses: xr.Dataset,
    *,
    baseline: str = "black",
    margin: float | None = None,
    rectified: str | Collection[str] = ("grating",),
) -> xr.Dataset:
    """Spectrally, spatially and double opponent, as Harris, Mihai & Hare classify units.

    Spectrally opponent by :func:`spectral_opponency` of the hues, spatially opponent by
    :func:`spatial_opponency` of the gratings, and double-opponent if both.

    Parameters
    ----------
    responses : of the protocol ``opponency``: ``part`` "hue", "grating" and "baseline". Of a layer
        before its nonlinearity, for the defaults to be theirs.
    baseline : the uniform field that responses are compared with: "black", as theirs, "grey", the
        background, or "white".
    margin : None for their rule, else as in :func:`spectral_opponency`.
    rectified : the part, or parts, of "hue" and "grating", of which responses and baseline are
        rectified first, as after a ReLU. They take hues before it and gratings after it; () takes
        both as recorded, and of a layer that was recorded after its ReLU all is the same.

    Returns
    -------
    ``spectral`` and ``spatial``, each "opponent", "non-opponent" or "unresponsive", and ``both``:
    "double-opponent", "spectrally opponent" or "spatially opponent" (alone), "non-opponent" or
    "unresponsive" (to both); ``""`` where a response is missing.

    Raises
    ------
    KeyError : for another baseline, or without ``part``.
    ValueError : for a part that is missing or is none, and a baseline that was not shown.

    References
    ----------
    Harris, Mihai & Hare (2019), SVRHM workshop at NeurIPS, arXiv:1910.11086;
    github.com/ecs-vlc/opponency.
    """
    rectified = {rectified} if isinstance(rectified, str) else set(rectified)
    if unknown := rectified - {"hue", "grating"}:
        raise ValueError(f"rectified={sorted(unknown)} are no parts; there are hue and grating")
    level = _baseline(responses, baseline)
    found = {}
    for name, part, rule in (
        ("spectral", "hue", spectral_opponency),
        ("spatial", "grating", spatial_opponency),
    ):
        shown, base = _rows(responses, responses["part"].values == part, f"part={part!r}"), level
        if part in rectified:
            shown, base = shown.clip(min=0), base.clip(min=0)
        found[name] = rule(shown, base, margin=margin)
    both = blockwise(_both, *found.values(), core=[[], []], dtypes=["<U19"])
    both.attrs = {"long_name": "spectrally, spatially or double opponent", "units": "1"}
    return xr.Dataset({**found, "both": both})


def spectral_opponency(
    responses: xr.DataArray,
    baseline: xr.DataArray,
    dim: str = "stimulus",
    *,
    margin: float | None = None,
) -> xr.DataArray:
    """``"opponent"`` if hues take the response above and below the baseline.

    ``"unresponsive"`` if all responses are the baseline's, else ``"non-opponent"``.

    Parameters
    ----------
    responses : to hues.
    baseline : response to a uniform field.
    margin : None for the published rule: the largest response is above the baseline, the smallest
        below it, by however little, *and the baseline above 0*. So a unit whose baseline is a hair
        below 0 is non-opponent however far it swings to both sides, and one that differs from the
        baseline by rounding alone is opponent. A number, from 0 to below 1: whatever the sign of
        the baseline, the smaller of the two swings is above that share of the larger one.

    Returns
    -------
    The array without ``dim``; ``""`` where a response is missing.

    Raises
    ------
    ValueError : for a margin out of range.

    References
    ----------
    As of :func:`harris_classes`; the rule is that of their code.
    """
    named = _rule(responses, baseline, dim, margin, above_zero=margin is None)
    return named.assign_attrs(long_name="spectral opponency")


def spatial_opponency(
    responses: xr.DataArray,
    baseline: xr.DataArray,
    dim: str = "stimulus",
    *,
    margin: float | None = None,
) -> xr.DataArray:
    """``"opponent"`` if gratings take the response above and below the baseline.

    As :func:`spectral_opponency`, but for the sign of the baseline, which the published rule for
    gratings does not ask for.
    """
    named = _rule(responses, baseline, dim, margin, above_zero=False)
    return named.assign_attrs(long_name="spatial opponency")


def _rule(
    responses: xr.DataArray,
    baseline: xr.DataArray,
    dim: str,
    margin: float | None,
    *,
    above_zero: bool,
) -> xr.DataArray:
    if margin is not None and not 0 <= margin < 1:
        raise ValueError(f"margin={margin} is not from 0 to below 1")
    options = {"margin": margin or 0.0, "above_zero": above_zero}
    named: xr.DataArray = blockwise(
        _opponent, responses, baseline, core=[[dim], []], dtypes=["<U12"], kwargs=options
    )
    named.attrs = {"units": "1"}
    return named


def _baseline(responses: xr.Dataset, name: str) -> xr.DataArray:
    """Response to a uniform field."""
    if name not in BASELINES:
        raise KeyError(f"baseline={name!r} is none of {', '.join(BASELINES)}")
    if "part" not in responses.coords:
        raise KeyError("'part' is no parameter of these stimuli; show the protocol opponency")
    grey = responses["mean_luminance"].values
    luminance = grey * (1 + responses["polarity"].values * responses["contrast"].values)
    level = BASELINES[name]
    shown = np.isclose(luminance, grey if level is None else level, rtol=0, atol=1e-9)
    rows = (responses["part"].values == "baseline") & shown
    return _rows(responses, rows, f"a uniform {name} field").isel(stimulus=0)


def _rows(responses: xr.Dataset, rows: np.ndarray, what: str) -> xr.DataArray:
    if not rows.any():
        raise ValueError(f"no stimulus is {what}; show the protocol opponency")
    units = [name for name, c in responses.coords.items() if "stimulus" in c.dims]
    return responses["response"].drop_vars(units).isel(stimulus=np.flatnonzero(rows))


def _opponent(
    responses: np.ndarray, baseline: np.ndarray, *, margin: float, above_zero: bool
) -> np.ndarray:
    """Kernel of the rules: (..., stimulus) and (...) to (...)."""
    up, down = responses.max(-1) - baseline, baseline - responses.min(-1)
    opponent = (np.minimum(up, down) > margin * np.maximum(up, down)) & (
        (baseline > 0) | (not above_zero)
    )
    place = np.where((up == 0) & (down == 0), 0, 1 + opponent)
    return np.where(np.isnan(up + down), "", np.array(RULE)[place])


def _both(spectral: np.ndarray, spatial: np.ndarray) -> np.ndarray:
    swings = (spectral == "opponent") + 2 * (spatial == "opponent")
    silent = (spectral == "unresponsive") & (spatial == "unresponsive")
    named = np.array(BOTH)[np.where(silent, 0, 1 + swings)]
    return np.where((spectral == "") | (spatial == ""), "", named)
