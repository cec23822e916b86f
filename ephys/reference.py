"""What the cortex does: published numbers to put beside the model's."""

import json
from importlib.resources import files

import numpy as np
import xarray as xr

# Carandini & Ferster (2000), Journal of Neuroscience 20:470: half-width at half height of the
# spike tuning of cat simple cells, mean and s.d. over cells, degrees.
CAT_HALF_WIDTH, CAT_HALF_WIDTH_SD = 23.0, 8.0
# Albrecht & Hamilton (1982), Journal of Neurophysiology 48:217, as quoted by later models.
CONTRAST_EXPONENT, SEMI_SATURATION = 2.9, 0.193
# Nowak & Barone (2009), PLoS ONE 4:e4781: width in marmoset V1 at low and at medium contrast,
# relative to high contrast, stimuli of 200 ms at interleaved contrasts; medians over cells.
MARMOSET_RELATIVE_WIDTH = {"low": 0.76, "medium": 0.89}


def parametric_tuning(contrasts: np.ndarray, *, relative_width: float = 1.0) -> xr.DataArray:
    r"""A contrast-invariant cell drawn from published constants; a model, nobody's data.

    .. math:: R(d, c) = \frac{c^{n}}{c^{n} + c_{50}^{n}} e^{-d^2 / (2 s^2)}

    with n = 2.9 and c50 = 0.193 (Albrecht & Hamilton 1982) and s such that the half-width at half
    height is 23 degrees (Carandini & Ferster 2000).

    Parameters
    ----------
    contrasts : Michelson, 0 to 1.
    relative_width : factor on the width.

    Returns
    -------
    ``(contrast, relative_orientation)``, orientation from -90 to 90 degrees.
    """
    distance = np.linspace(-90, 90, 181)
    sd = relative_width * CAT_HALF_WIDTH / np.sqrt(2 * np.log(2))
    power = np.asarray(contrasts, float) ** CONTRAST_EXPONENT
    gain = power / (power + SEMI_SATURATION**CONTRAST_EXPONENT)
    return xr.DataArray(
        gain[:, None] * np.exp(-(distance**2) / (2 * sd**2)),
        {
            "contrast": ("contrast", np.asarray(contrasts, float), {"units": "1"}),
            "relative_orientation": (
                "relative_orientation",
                distance,
                {"units": "degree", "long_name": "orientation from preferred"},
            ),
        },
        name="response",
    )


def distributions() -> dict[str, xr.DataArray]:
    """How properties of single units are distributed over cells of macaque V1, by property.

    Those that :mod:`ephys.macaque_v1` measures: of tuning for orientation (Ringach, Shapley &
    Hawken 2002; De Valois, Yund & Hepler 1982), spatial frequency (De Valois, Albrecht & Thorell
    1982; Schiller, Finlay & Volman 1976) and size (Cavanaugh, Bair & Movshon 2002).

    Returns
    -------
    Numbers of cells along ``bin``, from the edge ``low`` to the edge ``high``, which the last bin
    alone includes; edges are in the units of the property. Attributes: its ``long_name``;
    ``species`` and ``area``; the ``study`` and its ``citation``; the ``source`` of the counts;
    ``neurons``, the size of the study, and ``undefined``, how many of these have no such value.

    Examples
    --------
    >>> counts = distributions()["surround_suppression_index"]
    >>> counts.values.tolist(), counts.attrs["neurons"]
    ([66, 44, 38, 23, 16, 3, 0, 0, 0, 0], 190)
    """
    published = json.loads(files("ephys").joinpath("macaque_v1.json").read_text("utf-8"))
    where = {name: published[name] for name in ("species", "area")}
    found = {}
    for name, one in published["properties"].items():
        study = published["studies"][one["study"]]
        about = {key: one[key] for key in ("long_name", "study", "undefined")}
        edges = {"low": one["edges"][:-1], "high": one["edges"][1:]}
        found[name] = xr.DataArray(
            np.array(one["counts"]),
            {side: ("bin", values, {"units": one["units"]}) for side, values in edges.items()},
            ("bin",),
            name=name,
            attrs={**about, "units": "1", **where, **study},
        )
    return found
