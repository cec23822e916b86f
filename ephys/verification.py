"""Whether what was shown is what was asked for: every stimulus drawn, and its pixels measured.

How, and how exactly, is said in :mod:`ephys.photometry`.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from ephys.photometry import Shown, measure
from ephys.stimuli.sweep import StimulusSet
from ephys.visual_field import VisualField

PIXELS_AT_ONCE = 2**18  # which caches hold
UNITS = {"1": "", "degree": " degrees", "cycles degree-1": " cycles/degree"}


class Quantity(NamedTuple):
    """What is measured: its units, and by how much it may be off, or by what fraction."""

    units: str
    tolerance: float
    relative: bool = False


WAVE = {
    "contrast": Quantity("1", 1e-5),
    "spatial_frequency": Quantity("cycles degree-1", 1e-6, relative=True),
    "orientation": Quantity("degree", 1e-4),
    "phase": Quantity("degree", float(np.rad2deg(1e-5))),
}
QUANTITIES = {
    "mean_luminance": Quantity("1", 1e-6),
    **WAVE,
    **{f"second_{name}": quantity for name, quantity in WAVE.items()},
    "residual": Quantity("1", 1e-6),
    "luminance_contrast": Quantity("1", 1e-5),
    "l_cone_contrast": Quantity("1", 1e-5),
    "m_cone_contrast": Quantity("1", 1e-5),
    "s_cone_contrast": Quantity("1", 1e-5),
    "diameter": Quantity("degree", 1e-6),
    "inner_diameter": Quantity("degree", 1e-6),
    "envelope_sd": Quantity("degree", 1e-5, relative=True),
    "power_out_of_band": Quantity("1", 1e-10),
    "average_luminance": Quantity("1", 1e-6),
    "rms_contrast": Quantity("1", 1e-5),
    "michelson_contrast": Quantity("1", 1e-5),
    "lowest_pixel": Quantity("1", 1e-6),
    "highest_pixel": Quantity("1", 1e-6),
}


def verify(stimuli: StimulusSet, field: VisualField) -> xr.Dataset:
    """Draw stimuli and measure them.

    All is in linear light. Quantities are

    - of gratings, ``contrast`` (Michelson's of the fitted wave; of colors the fraction of full
      contrast), ``spatial_frequency``, ``orientation`` and ``phase``, at the time that is shown;
      ``second_...``, the same of a plaid's mask or of a surround; ``mean_luminance``, what the
      waves are added to; and ``residual``, the largest difference of a pixel from the fit;
    - of what has two luminances (checks, bars, patches, square waves), ``contrast``, negative for
      dark ones on grey, ``mean_luminance`` where both are seen, and ``residual``, the largest
      difference of a pixel from the two or from grey;
    - of colors, how much of the light and of the dark side ``luminance_contrast`` and the contrasts
      to the cones are;
    - of apertures, ``diameter``, ``inner_diameter`` and ``envelope_sd``;
    - of filtered noise ``power_out_of_band``, a share, and ``rms_contrast``, where the field is one
      period of it; of photographs that are matched, ``average_luminance`` and ``rms_contrast``;
    - of everything, the average, the r.m.s. contrast (standard deviation over mean) and the
      Michelson contrast of the luminance of pixels, and their lowest and highest values, as they
      are stored.

    Parameters
    ----------
    stimuli : drawn some at a time, so that memory does not grow with their number.
    field : where they are drawn.

    Returns
    -------
    ``asked``, ``measured`` and ``uncertainty``, (stimulus, quantity), with ``family`` of each
    stimulus and ``units``, ``tolerance`` and ``relative`` of each quantity. NaN is what a family
    does not have, or is not asked for, or, if measured, what the pixels cannot tell, such as the
    orientation of a tenth of a cycle. Angles are given within half a turn of those asked for, so
    that ``measured - asked`` is the deviation.

    Raises
    ------
    ValueError : for stimuli that the field cannot show.
    """
    stimuli.check(field)
    names = list(QUANTITIES)
    tables = {
        table: np.full((len(stimuli), len(names)), np.nan)
        for table in ("asked", "measured", "uncertainty")
    }
    step = max(1, PIXELS_AT_ONCE // (stimuli.channels * field.height_px * field.width_px))
    for group in stimuli.groups():
        for start in range(0, len(group.rows), step):
            part = group[start : start + step]
            pixels = stimuli[part.rows].render(field, check=False).cpu().double().numpy()
            difference = part.difference[:, : pixels.shape[1]]
            kind = (part.name, part.color, part.encoding)
            shown = Shown(*kind, part.parameters, difference, pixels, field)
            with np.errstate(divide="ignore", invalid="ignore"):
                for name, values in measure(shown).items():
                    for table, value in zip(tables.values(), values, strict=True):
                        table[part.rows, names.index(name)] = value
    about = zip(Quantity._fields, zip(*QUANTITIES.values(), strict=True), strict=True)
    return xr.Dataset(
        {name: (("stimulus", "quantity"), table) for name, table in tables.items()},
        {
            "family": ("stimulus", stimuli.table["family"].values),
            "quantity": names,
            **{name: ("quantity", np.array(values)) for name, values in about},
        },
    )


def deviations(verified: xr.Dataset) -> xr.DataArray:
    """By how much what is measured differs from what was asked for, relative where that counts."""
    off = abs(verified["measured"] - verified["asked"])
    return off / abs(verified["asked"]).where(verified["relative"], 1)


def worst(verified: xr.Dataset) -> pd.DataFrame:
    """The largest deviation of each quantity, by family, beside what may be.

    Frequencies are relative. Left out are quantities of which none is asked for. What is
    beyond the tolerance may still be within the ``uncertainty``.
    """
    families = pd.Index(verified["family"].values, name="family")
    off = pd.DataFrame(deviations(verified).values, families, verified["quantity"].values)
    table = off.groupby("family", sort=False).max().T.dropna(how="all")
    table.insert(0, "tolerance", verified["tolerance"].to_series())
    return table


def wrong(verified: xr.Dataset) -> list[str]:
    """What is not as asked for, by more than the tolerance and the uncertainty, in words."""
    allowed = verified["tolerance"] * abs(verified["asked"]).where(verified["relative"], 1)
    off = abs(verified["measured"] - verified["asked"])
    bad = off > allowed + verified["uncertainty"].fillna(0)
    found = []
    for stimulus in np.flatnonzero(~_in_range(verified)).tolist():
        found.append(f"{_name(verified, stimulus)}: pixels are not all within 0 to 1")
    for stimulus, quantity in np.argwhere(bad.transpose("stimulus", "quantity").values).tolist():
        one = verified.isel(stimulus=stimulus, quantity=quantity)
        measured, asked = one["measured"].item(), one["asked"].item()
        found.append(
            f"{_name(verified, stimulus)}: {one['quantity'].item()} is {measured:.9g} and not "
            f"{asked:.9g}{UNITS[one['units'].item()]}"
        )
    return found


def _in_range(verified: xr.Dataset) -> np.ndarray:
    lowest, highest = (
        verified["measured"].sel(quantity=name).values for name in ("lowest_pixel", "highest_pixel")
    )
    return (lowest >= 0) & (highest <= 1)


def _name(verified: xr.Dataset, stimulus: int) -> str:
    return f"stimulus {stimulus} ({verified['family'].values[stimulus]})"
