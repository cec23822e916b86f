"""What a physiologist would report of each unit, chosen by what the stimuli vary.

======================= ======================================== ==================================
kind of set             what varies                              measures
======================= ======================================== ==================================
orientation             orientation of gratings; at most their   osi, gosi, orthogonal_ratio,
                        spatial frequency and phase besides      half_width, half_width_0707,
                                                                 f1_f0, cell_class, von_mises
spatial_frequency *     spatial frequency; orientation or        low_cut, high_cut, bandwidth,
                        direction, phase, time                   band, log_gaussian
contrast                contrast; all of the above               naka_rushton, supersaturating
size *                  diameter; as contrast                    suppression_index,
                                                                 summation_field,
                                                                 surround_diameter,
                                                                 difference_of_gaussians,
                                                                 ratio_of_gaussians
direction               direction and time of drifting gratings; dsi, gdsi, f1_f0, cell_class,
                        spatial frequency, phase                 von_mises, of two lobes
surround *              ``part`` and angle of the surround of    surround_suppression_iso and
                        center_surround                          _cross, iso_minus_cross
cross_orientation *     contrast and mask_contrast of plaids at  cross_orientation_index,
                        right angles                             maximal_inhibition, normalization
azimuth, hue *          azimuth in DKL space, or hue in HSL or   resultant_azimuth or resultant_hue,
                        HSV, of uniform fields                   hue_half_width, hue_selectivity
cone_weights *          ``part`` and the cones that see it, of   cone_weight_l, _m and _s,
                        gratings; at most orientation, spatial   cone_magnitude_l, _m and _s,
                        frequency and phase besides              chromatic_energy
isoluminant_frequency * ``part``, the axis of DKL space; as      sensitivity_ratio,
                        cone_weights, and spatial frequency      friedman_color_index,
                                                                 rafegas_color_index, color_class,
                                                                 opponency_class, color_axis,
                                                                 chromatic_energy, and the band and
                                                                 the preferred frequency of color
                                                                 and of luminance
opponency               ``part``: hues, gratings and baselines   spectral_opponency,
                        of Harris et al.                         spatial_opponency, harris_class,
                                                                 the same by a margin, those of hue
                                                                 and friedman_color_index
sparse_noise,           places and polarity of spots side by     gaussian and gabor, receptive
white_noise             side; seeds                              fields, see below
natural_images          photographs                              lifetime_sparseness
======================= ======================================== ==================================

and of gratings the parameters of the largest mean response in the whole table, at which the
others are measured: ``preferred_orientation``, ``preferred_diameter``, ... What is measured along
has four values or more. Gratings that vary in spatial frequency and in orientation or direction
are of both kinds; of those that vary in contrast or diameter too, only that is measured. Functions
are fitted (:mod:`ephys.curve_fits`) where there are at least two points more than parameters.

Responses are means over phases and frames (F0), which of a linear unit are nothing: record it after
its rectification. Measures of the kinds with * are of the response above the blank, as
physiologists subtract what a cell fires anyway where they ask what a stimulus adds. So are hue
tuning and Friedman's index of the kind opponency. Those of color take the modulation (F1) of units
in which it is the larger, and rafegas_color_index is of the response as it is. The others, and
the fit of the normalization model, are of the response as it is: circular variance and F1/F0 are
defined of rates, and the functions of contrast and orientation have a baseline of their own. The
attribute ``baseline`` of a measure says which. The blank is also the response to contrast 0, where
that was not shown.

Receptive fields are fitted (:mod:`ephys.fits`) on the grid of the checks (:mod:`ephys.check_maps`):
a Gaussian to how far each moves the response from the blank's, whether light or dark, and a Gabor
to the reverse correlation, which of a unit that answers light and dark alike is nothing. Their
centres are on the field, as ``rf_x`` and ``rf_y`` are. A field of few checks is hardly seen: widths
end at a bound, a quarter of a check.

What differs by no more than rounding does not differ: a mean that is as near to the blank's is the
blank's, and a curve that varies as little is flat. Without that, the mean over phases of a linear
unit, which is 0, would be tuned by its rounding. Nor does a unit prefer one of two opposite
directions that it answers alike.
"""

import math
from collections.abc import Callable, Set
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import xarray as xr

from ephys import color, curve_fits, frequency, harris, opponency, suppression
from ephys.check_maps import FAMILIES as NOISES
from ephys.check_maps import check_maps, drawn_at
from ephys.cones import cone_weights, laid_out
from ephys.fits import fit_gabor, fit_gaussian
from ephys.modulation import check_cycle, f1_f0, simple_or_complex
from ephys.responses import blocks, stimulus_origins
from ephys.rounding import unit_rounding
from ephys.selectivity import dsi, gdsi, gosi, lifetime_sparseness, orthogonal_ratio, osi
from ephys.tuning import half_width, preferred, tuning_curve

RAW, ABOVE_BLANK = "raw", "above blank"
PERIODS = {"orientation": 180.0, "direction": 360.0, "azimuth": 360.0, "hue": 360.0}
# Preferred by what exceeds the blank.
ABOVE = ("spatial_frequency", "diameter", "center_diameter", "azimuth", "hue")
TUNED = ("orientation", "direction", *ABOVE)
HARRIS_MARGIN = 0.1  # of the larger swing, where their rule has none
BAND_WORDS = ("low-pass", "band-pass", "high-pass", "all-pass")
HARRIS_WORDS = {
    "spectral_opponency": harris.RULE,
    "spatial_opponency": harris.RULE,
    "harris_class": harris.BOTH,
}
WORDS: dict[str, tuple[str, ...]] = {
    "cell_class": ("simple",),
    **dict.fromkeys(("band", "color_band", "luminance_band"), BAND_WORDS),
    "color_axis": ("L-M", "S"),
    "color_class": opponency.COLOR_CLASSES,
    "opponency_class": ("single-opponent", "double-opponent", "non-opponent"),
    **HARRIS_WORDS,
    **{f"{name}_margin": words for name, words in HARRIS_WORDS.items()},
}

Measures = dict[str, xr.DataArray]


def protocol_measures(responses: xr.Dataset) -> xr.Dataset:
    """The measures that apply to responses to one protocol, a value per unit each.

    Parameters
    ----------
    responses : of one layer, with ``blank``: a numpy array, which is measured some units at a time,
        or a dask array, of which nothing is read.

    Returns
    -------
    Along ``unit``, with its coordinates. Every measure has ``long_name``, ``units`` and
    ``baseline``, and one that is an angle on a circle its ``period``. Those of a fit begin with the
    name of the function; its flags (``converged``, ``at_bound``, ``extrapolated``) are 1 or 0.
    NaN, or an empty word, is what is not defined: everything, of a unit that answers all as it
    answers the blank. Nothing for stimuli that are of no kind: that vary something else too, are no
    grid, are in parts, or do not go evenly around their circles.

    Raises
    ------
    KeyError : for responses without the blank.
    """
    if "blank" not in responses:
        raise KeyError("there is no response to the blank, which others are told from; record it")
    found = kinds(responses)
    units = {name: c for name, c in responses.coords.items() if c.dims == ("unit",)}
    measured = [_measured(block, found) for block in blocks(responses)]
    measures = measured[0] if len(measured) == 1 else xr.concat(measured, "unit")
    return measures.assign_coords(units)


def kinds(responses: xr.Dataset) -> list[str]:
    """The kinds of set that the stimuli are, by their parameters alone."""
    shown = {name: c for name, c in responses.coords.items() if c.dims == ("stimulus",)}
    values = {str(name): np.unique(c.values).size for name, c in shown.items()}
    varied = {name for name, count in values.items() if count > 1}
    if "family" not in shown:
        return []
    families = set(shown["family"].values.tolist())
    silent = {
        "response": (("stimulus", "unit"), np.zeros((responses.sizes["stimulus"], 1))),
        "blank": ("unit", np.zeros(1)),
    }
    table = xr.Dataset(silent, shown)
    return [
        name
        for name, kind in KINDS.items()
        if families <= set(kind.families)
        and len(families) == (len(kind.families) if kind.together else 1)
        and all(values.get(name, 0) >= kind.least for name in kind.along)
        and (kind.beside is None or varied <= kind.along | kind.beside)
        and _accepted(kind, table)
    ]


def population_measures(measures: xr.Dataset) -> Measures:
    """What of the measures has a mean or a median over units, ``(unit)`` each.

    Not preferred angles, which go around a circle; and of words one measure each,
    ``"band: low-pass"``: 1 for the units that are, 0 for those that are something else.
    """
    found: Measures = {}
    for name, values in measures.data_vars.items():
        if name in WORDS:
            for word in WORDS[str(name)]:
                share = (values == word).astype(float).where(values != "")
                found[f"{name}: {word}"] = share.assign_attrs(values.attrs)
        elif "period" not in values.attrs:
            found[str(name)] = values
    return found


@dataclass(frozen=True)
class Kind:
    """A kind of set of stimuli.

    Parameters
    ----------
    families : of the stimuli.
    along : parameters that have to vary.
    beside : those that may vary too; None for any.
    measure : gives the measures.
    least : values of each parameter ``along``.
    together : whether all of the families are shown, rather than one of them.
    """

    families: tuple[str, ...]
    along: Set[str]
    beside: Set[str] | None
    measure: Callable[[xr.Dataset], Measures]
    least: int = 4
    together: bool = False


def _of_orientation(responses: xr.Dataset) -> Measures:
    curve = _curve(responses, "orientation")
    found = {
        "osi": osi(curve),
        "gosi": gosi(curve),
        "orthogonal_ratio": orthogonal_ratio(curve),
        "half_width": half_width(curve),
        "half_width_0707": half_width(curve, level=1 / np.sqrt(2)),
        **_modulation(responses, "phase", 360.0),
        **_fitted("von_mises", curve_fits.fit_von_mises, curve, 4, period=180.0),
    }
    return _preferred(responses) | _described(found, RAW)


def _of_direction(responses: xr.Dataset) -> Measures:
    curve = _curve(responses, "direction")
    (frequency_hz,) = np.unique(responses["temporal_frequency"].values)
    two_lobes = partial(curve_fits.fit_von_mises, dim="direction", lobes=2, period=360.0)
    found = {
        "dsi": dsi(curve),
        "gdsi": gdsi(curve),
        **_modulation(responses, "time", 1 / frequency_hz if frequency_hz else np.inf),
        **_fitted("von_mises", two_lobes, curve, 5, period=360.0),
    }
    if "von_mises_preferred" in found:
        told = _tells_direction(curve, responses)
        found["von_mises_preferred"] = found["von_mises_preferred"].where(told)
    return _preferred(responses) | _described(found, RAW)


def _of_spatial_frequency(responses: xr.Dataset) -> Measures:
    curve = _above_blank(_curve(responses, "spatial_frequency"), responses)
    found = {
        "low_cut": frequency.low_cut(curve),
        "high_cut": frequency.high_cut(curve),
        "bandwidth": frequency.bandwidth(curve),
        "band": frequency.band(curve).assign_attrs(units="1"),
        **_fitted("log_gaussian", curve_fits.fit_log_gaussian, curve, 3),
    }
    return _preferred(responses) | _described(found, ABOVE_BLANK)


def _of_contrast(responses: xr.Dataset) -> Measures:
    curve = _with_blank(_curve(responses, "contrast"), responses)
    found = {
        **_fitted("naka_rushton", curve_fits.fit_naka_rushton, curve, 4),
        **_fitted("supersaturating", curve_fits.fit_supersaturating, curve, 5),
    }
    return _preferred(responses) | _described(found, RAW)


def _of_size(responses: xr.Dataset) -> Measures:
    curve = _above_blank(_curve(responses, "diameter"), responses)
    of_differences, of_ratios = (
        curve_fits.fit_difference_of_gaussians,
        curve_fits.fit_ratio_of_gaussians,
    )
    found = {
        "suppression_index": suppression.suppression_index(curve),
        "summation_field": suppression.summation_field(curve),
        "surround_diameter": suppression.surround_diameter(curve),
        **_fitted("difference_of_gaussians", of_differences, curve, 4),
        **_fitted("ratio_of_gaussians", of_ratios, curve, 4),
    }
    return _preferred(responses) | _described(found, ABOVE_BLANK)


def _of_surround(responses: xr.Dataset) -> Measures:
    curve = suppression.surround_curve(responses)
    suppressed = suppression.surround_suppression(
        _above_blank(curve, responses), _above_blank(curve["center"], responses)
    )
    found = {"iso_minus_cross": suppression.iso_minus_cross(suppressed)}
    for name, angle in {"iso": 0.0, "cross": 90.0}.items():
        at = _at_angle(suppressed, angle)
        long_name = f"suppression by the {name}-oriented surround"
        found[f"surround_suppression_{name}"] = at.assign_attrs(long_name=long_name)
    center = responses.isel(stimulus=responses["part"].values == "center")
    return _preferred(center) | _described(found, ABOVE_BLANK)


def _of_cross_orientation(responses: xr.Dataset) -> Measures:
    if not np.allclose(responses["mask_angle"].values % 180, 90):
        raise ValueError("mask_angle is not 90 degrees throughout")
    plaids = _answered(suppression.plaid_curves(responses), responses)
    above = _above_blank(plaids, responses)
    above = above.isel(contrast=np.flatnonzero(above["contrast"].values > 0))
    index = suppression.cross_orientation_index(above).isel(contrast=-1)
    index.attrs["long_name"] += " at the highest contrast"
    found = {
        "cross_orientation_index": index,
        "maximal_inhibition": suppression.maximal_inhibition(above),
    }
    gratings = responses.isel(stimulus=responses["mask_contrast"].values == 0)
    fit = _fitted("normalization", curve_fits.fit_normalization, plaids, 5)
    return _preferred(gratings) | _described(found, ABOVE_BLANK) | _described(fit, RAW)


def _of_noise(responses: xr.Dataset) -> Measures:
    linear, magnitude = check_maps(responses, rounding=responses["rounding"])
    found = _described(_fitted("gaussian", fit_gaussian, magnitude, 7), ABOVE_BLANK)
    found |= _described(_fitted("gabor", fit_gabor, linear, 9), RAW)
    origins = np.stack([responses["origin_x"].values, responses["origin_y"].values])
    at = dict(zip("xy", drawn_at(responses, origins), strict=True))
    for function, axis in product(("gaussian", "gabor"), "xy"):
        center = found[name := f"{function}_center_{axis}"]  # on the map
        found[name] = (center + at[axis]).assign_attrs(center.attrs)
    return found


def _of_photographs(responses: xr.Dataset) -> Measures:
    shown = _answered(responses["response"], responses)
    return _described({"lifetime_sparseness": lifetime_sparseness(shown)}, RAW)


def _of_hue(responses: xr.Dataset, *, dim: str) -> Measures:
    curve = _above_blank(_curve(responses, dim), responses)
    found = {
        f"resultant_{dim}": color.resultant_hue(curve, dim),
        "hue_half_width": color.hue_half_width(curve, dim),
        "hue_selectivity": color.hue_selectivity(curve, dim),
    }
    return _preferred(responses) | _described(found, ABOVE_BLANK)


def _of_cone_weights(responses: xr.Dataset) -> Measures:
    weights = cone_weights(_snapped(responses))
    found = {
        f"cone_{name}_{cone.lower()}": weights[name].sel(cone=cone)
        for name in ("weight", "magnitude")
        for cone in weights["cone"].values.tolist()
    }
    for name, values in found.items():
        values.attrs["long_name"] = values.attrs["long_name"].replace("cone", name[-1].upper(), 1)
    found["chromatic_energy"] = opponency.chromatic_energy(weights["weight"])
    return _described(found, ABOVE_BLANK)


def _of_isoluminant_frequency(responses: xr.Dataset) -> Measures:
    seen = _snapped(responses)
    curves = opponency.isoluminant_curves(seen)
    if (count := curves.sizes["spatial_frequency"]) < 4:
        raise ValueError(f"{count} values of spatial_frequency are no curve")
    peaks = curves.max("spatial_frequency", skipna=False)
    shown = [peaks.sel(part=axes, drop=True) for axes in (["L-M", "S"], "luminance")]
    sensitivity = curves / curves["cone_contrast"]
    hued, grey = opponency.preferred_axis(sensitivity), sensitivity.sel(part="luminance", drop=True)
    axis = hued["part"].assign_attrs(long_name="axis of color, the more sensitive", units="1")
    best, white = (curve.max("spatial_frequency", skipna=False) for curve in (hued, grey))
    band, weights = frequency.band(hued), cone_weights(seen)["weight"]
    found = {
        "sensitivity_ratio": color.sensitivity_ratio(best, white),
        "friedman_color_index": color.friedman_color_index(shown[0].max("part"), shown[1]),
        "color_class": opponency.color_class(best, white),
        "opponency_class": opponency.single_or_double_opponent(best, white, band, weights),
        "chromatic_energy": opponency.chromatic_energy(weights),
        "color_axis": axis,
    }
    for name, curve in {"color": hued, "luminance": grey}.items():
        best = preferred(curve, "spatial_frequency").where(curve.max("spatial_frequency") > 0)
        about = {"long_name": f"spatial frequency preferred in {name}"}
        found[f"{name}_spatial_frequency"] = best.assign_attrs(about)
        about = {"long_name": f"pass-band of {name}", "units": "1"}
        found[f"{name}_band"] = frequency.band(curve).assign_attrs(about)
    return _described(found, ABOVE_BLANK) | _described(_rafegas(responses), RAW)


def _rafegas(responses: xr.Dataset) -> Measures:
    """Both colors against the gratings of luminance, which are theirs without color."""
    images = []
    for parts in (["L-M", "S"], ["luminance", "luminance"]):
        table = laid_out(responses, parts)
        dims = [name for name in table.dims if name != "unit"]
        images.append(table.stack(image=dims, create_index=False).reset_coords(drop=True))
    index = color.rafegas_color_index(_answered(images[0], responses), images[1], "image")
    return {"rafegas_color_index": index}


def _of_opponency(responses: xr.Dataset) -> Measures:
    part = responses["part"].values
    hues = responses.isel(stimulus=np.flatnonzero(part == "hue"))
    if not (part == "baseline").any() or not hues.sizes["stimulus"]:
        raise ValueError("there are no hues or no baselines")
    rules = {
        "": ("published rule", harris.harris_classes(responses)),
        "_margin": (
            f"with a margin of {HARRIS_MARGIN:g}",
            harris.harris_classes(responses, margin=HARRIS_MARGIN),
        ),
    }
    found: Measures = {}
    for suffix, (rule, classes) in rules.items():
        for name, word in zip(HARRIS_WORDS, ("spectral", "spatial", "both"), strict=True):
            about = f"{classes[word].attrs['long_name']} ({rule})"
            found[f"{name}{suffix}"] = classes[word].assign_attrs(long_name=about)
    above = _above_blank(responses["response"], responses)
    hued, grey = (
        above.isel(stimulus=np.flatnonzero(part == name)).max("stimulus", skipna=False)
        for name in ("hue", "baseline")
    )
    index = {"friedman_color_index": color.friedman_color_index(hued, grey)}
    tuned = _of_hue(hues, dim="hue")
    return _described(found, RAW) | _described(index, ABOVE_BLANK) | tuned


GRATINGS = ("grating", "gabor", "square_grating", "drifting_grating")
STILL = frozenset({"spatial_frequency", "phase"})
WAVES = STILL | {"orientation", "direction", "time"}
KINDS = {
    "orientation": Kind(GRATINGS, {"orientation"}, STILL, _of_orientation),
    "direction": Kind(("drifting_grating",), {"direction", "time"}, STILL, _of_direction),
    "spatial_frequency": Kind(GRATINGS, {"spatial_frequency"}, WAVES, _of_spatial_frequency),
    "contrast": Kind(GRATINGS, {"contrast"}, WAVES, _of_contrast),
    "size": Kind(GRATINGS, {"diameter"}, WAVES, _of_size),
    "surround": Kind(
        ("center_surround",),
        {"part", "surround_angle"},
        WAVES | {"surround_contrast", "center_diameter"},
        _of_surround,
        least=2,
    ),
    "cross_orientation": Kind(
        ("plaid",),
        {"contrast", "mask_contrast"},
        WAVES | {"mask_phase"},
        _of_cross_orientation,
        least=2,
    ),
    "azimuth": Kind(("patch",), {"azimuth"}, frozenset(), partial(_of_hue, dim="azimuth")),
    "hue": Kind(("patch",), {"hue"}, frozenset(), partial(_of_hue, dim="hue")),
    "cone_weights": Kind(
        GRATINGS[:2],
        {"part", "cone_l", "cone_m", "cone_s"},
        STILL | {"orientation"},
        _of_cone_weights,
        least=2,
    ),
    "isoluminant_frequency": Kind(
        GRATINGS[:2],
        {"part", "azimuth", "elevation", "spatial_frequency"},
        STILL | {"orientation"},
        _of_isoluminant_frequency,
        least=2,
    ),
    "opponency": Kind(
        ("patch", "grating"), {"part", "hue"}, None, _of_opponency, least=2, together=True
    ),
    "sparse_noise": Kind(NOISES[:1], {"x", "y"}, frozenset({"polarity"}), _of_noise),
    "white_noise": Kind(NOISES[1:], {"seed"}, frozenset(), _of_noise),
    "natural_images": Kind(("photograph",), frozenset(), None, _of_photographs),
}


def _accepted(kind: Kind, silent: xr.Dataset) -> bool:
    """Whether the measures take the stimuli, told from a unit that answers nothing."""
    try:
        _measures(kind, silent)
    except ValueError:
        return False
    return True


def _measured(responses: xr.Dataset, names: list[str]) -> xr.Dataset:
    found: Measures = {}
    for name in names:
        found |= _measures(KINDS[name], responses)
    return xr.Dataset(found)


def _measures(kind: Kind, responses: xr.Dataset) -> Measures:
    blank = responses["blank"].reset_coords(drop=True)
    of_units = [name for name, c in responses.coords.items() if c.dims == ("unit",)]
    plain = responses.drop_vars(of_units).assign(blank=blank, rounding=unit_rounding(responses))
    x, y = stimulus_origins(responses)
    return kind.measure(plain.assign(origin_x=("unit", x), origin_y=("unit", y)))


def _curve(responses: xr.Dataset, dim: str) -> xr.DataArray:
    """Tuning curve, flat or NaN where it is so but for rounding."""
    return _answered(tuning_curve(responses, dim), responses)


def _answered(curves: xr.DataArray, responses: xr.Dataset) -> xr.DataArray:
    """The same, flat where it is but for rounding, and NaN where all is as the blank is."""
    curves = curves.reset_coords(drop=True)
    dims = [name for name in curves.dims if name != "unit"]
    lowest, highest = curves.min(dims, skipna=False), curves.max(dims, skipna=False)
    curves = curves.where(~(highest - lowest <= responses["rounding"]), lowest)
    differs = abs(curves - responses["blank"]) > responses["rounding"]
    return curves.where(differs.any(dims))


def _above_blank(curve: xr.DataArray, responses: xr.Dataset) -> xr.DataArray:
    above = curve.reset_coords(drop=True) - responses["blank"]
    return above.where(~(abs(above) <= responses["rounding"]), 0).assign_attrs(curve.attrs)


def _snapped(responses: xr.Dataset) -> xr.Dataset:
    """Responses that are the blank's but for rounding are the blank's."""
    values, blank = responses["response"], responses["blank"]
    near = abs(values - blank) <= responses["rounding"]
    return responses.assign(response=values.where(~near, blank))


def _with_blank(curve: xr.DataArray, responses: xr.Dataset) -> xr.DataArray:
    """The curve from contrast 0 on, which is the blank."""
    contrasts = curve["contrast"]
    if (contrasts.values == 0).any():
        return curve
    none = responses["blank"].expand_dims(contrast=np.zeros(1))
    whole = xr.concat([none, curve], "contrast", combine_attrs="drop").transpose("unit", "contrast")
    return whole.assign_coords(
        contrast=("contrast", whole["contrast"].values, contrasts.attrs)
    ).assign_attrs(curve.attrs)


def _preferred(responses: xr.Dataset) -> Measures:
    """Where, of every parameter that units are tuned to, the largest response is, if above 0."""
    found: Measures = {}
    for name in TUNED:
        if name not in responses.coords or np.unique(responses[name].values).size < 2:
            continue
        curve, baseline = _curve(responses, name), RAW
        if name in ABOVE:
            curve, baseline = _above_blank(curve, responses), ABOVE_BLANK
        about = {"long_name": f"preferred {name.replace('_', ' ')}, of the mean over phases"}
        best = preferred(curve, name).where(curve.max(name) > 0).assign_attrs(about)
        if name in PERIODS:
            best.attrs["period"] = PERIODS[name]
        if name == "direction":
            best = best.where(_tells_direction(curve, responses))
        found |= _described({f"preferred_{name}": best}, baseline)
    return found


def _tells_direction(curve: xr.DataArray, responses: xr.Dataset) -> xr.DataArray:
    """Whether the opposite of the preferred direction, if shown, is answered less."""
    angles, peak = curve["direction"].values, curve.max("direction")
    opposite = np.isclose((angles[:, None] - angles) % 360, 180)
    of_all = curve.rename(direction="opposite").where(
        xr.DataArray(opposite, dims=["direction", "opposite"])
    )
    of_peak = of_all.max("opposite").where(curve == peak).max("direction")
    return ~(peak - of_peak <= responses["rounding"])


def _modulation(responses: xr.Dataset, dim: str, period: float) -> Measures:
    """F1/F0 at the preferred grating, where one cycle was shown in four steps or more."""
    if dim not in responses.coords:
        return {}
    try:
        check_cycle(xr.DataArray(np.unique(responses[dim].values), name=dim), period)
    except ValueError:
        return {}
    ratio = f1_f0(_curve(responses, dim), dim, period=period)
    return {"f1_f0": ratio, "cell_class": simple_or_complex(ratio).assign_attrs(units="1")}


def _fitted(
    function: str,
    fit_to: Callable[[xr.DataArray], xr.Dataset],
    curve: xr.DataArray,
    parameters: int,
    *,
    period: float | None = None,
) -> Measures:
    """A fit's measures, by the name of the function, and flags as numbers.

    None of fewer than two points more than parameters: through as many it goes whatever they are,
    and one more says next to nothing of how well it describes them.
    """
    if math.prod(size for name, size in curve.sizes.items() if name != "unit") < parameters + 2:
        return {}
    fit, found = fit_to(curve), Measures()
    for name, values in fit.drop_vars("sse", errors="ignore").data_vars.items():
        about = dict(values.attrs)
        about["long_name"] += f", {function.replace('_', ' ')} fit"
        if name == "preferred" and period is not None:
            about["period"] = period
        if values.dtype == bool:
            values = values.astype(float).where(fit["r_squared"].notnull())
        found[f"{function}_{name}"] = values.assign_attrs(about)
    return found


def _described(measures: Measures, baseline: str) -> Measures:
    return {
        name: values.reset_coords(drop=True).assign_attrs(baseline=baseline)
        for name, values in measures.items()
    }


def _at_angle(suppressed: xr.DataArray, angle: float) -> xr.DataArray:
    away = (suppressed["surround_angle"].values - angle + 90) % 180 - 90
    return suppressed.isel(surround_angle=int(abs(away).argmin()))
