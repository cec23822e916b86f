"""Rounding: by how much responses may differ and be the same.

A thousand units in the last place of float32, by which the recorder too lets answers differ, or the
error that it noted for a lower precision, as a share of the largest response.
"""

import numpy as np
import xarray as xr

SHARE = 1000 * float(np.finfo(np.float32).eps)


def rounding_share(responses: xr.Dataset) -> float:
    """What share of the largest response is rounding: 1.2e-4, or the ``error`` noted if larger."""
    return max(SHARE, float(responses.attrs.get("error", 0)))


def unit_rounding(responses: xr.Dataset) -> xr.DataArray:
    """Of each unit, by its own largest response, the blank's included: ``(unit)``."""
    response, blank = (responses[name].reset_coords(drop=True) for name in ("response", "blank"))
    largest = response.max("stimulus").clip(min=-response.min("stimulus"))  # no copy of them all
    return rounding_share(responses) * largest.clip(min=abs(blank))


def layer_rounding(responses: xr.Dataset) -> float:
    """Of all units of a layer, by the largest response of any."""
    return float(np.fmax.reduce(unit_rounding(responses).values, initial=0))
