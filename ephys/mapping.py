"""Receptive-field maps: what each pixel does to a unit, by reverse correlation and by gradients."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from ephys.electrodes import copy, electrodes, find_layers
from ephys.models.devices import placement
from ephys.models.input_format import InputFormat, own_format
from ephys.receptive_field import Geometry, geometry
from ephys.responses import UNIT_ATTRIBUTES, stimulus_origins
from ephys.stimuli.sweep import StimulusSet
from ephys.visual_field import VisualField

CORRELATED = 64  # stimuli rendered at a time
DIFFERENTIATED = 16  # images at a time, of which all activations are kept


def reverse_correlation(
    responses: xr.Dataset, stimuli: StimulusSet, field: VisualField
) -> xr.DataArray:
    r"""Map receptive fields from responses to noise: the spike-triggered average, for rates.

    .. math:: M_p = \frac{\sum_s (r_s - \bar r) \, d_{sp}}{\sum_s n_{sp} \, d_{sp}^2}

    where :math:`r_s` is the response to stimulus s, :math:`d_{sp}` the luminance of pixel p less
    that of the background (both encoded, if the stimuli are), and :math:`n_{sp}` the number of
    pixels of the check that p is in. For a unit that is a linear filter of luminance this is the
    filter, averaged over each check, in response per unit luminance per pixel. With white noise it
    is so in expectation; the variance of a pixel is the sum over pixels of the averaged filter's
    square, over n times the number of stimuli. With sparse noise that shows light and dark alike at
    all places of a grid it is so exactly; places nearer to each other than the size of the spot
    blur the filter, and spots of one polarity alone leave out the map's mean. Of a unit that
    answers light and dark alike, a complex cell, the map is 0: see ``rms`` of :func:`gradient_map`.

    Parameters
    ----------
    responses : as :func:`ephys.record` gives them.
    stimuli : what was shown: white noise, sparse noise, or both.
    field : on which it was shown, that is ``input_format.field``.

    Returns
    -------
    (unit, y, x), on the pixels of the image in degrees from the centre of the field, also where
    stimuli were centred on the units' receptive fields: a unit's own is at its ``rf_x``, ``rf_y``,
    and ``maps.x - maps.rf_x`` is the distance from it. NaN where no stimulus had a check.

    Raises
    ------
    ValueError : for stimuli that are not those of the responses, are not made of checks, or are
        colored.

    References
    ----------
    Jones & Palmer (1987), Journal of Neurophysiology 58:1187.
    DeAngelis, Ohzawa & Freeman (1993), Journal of Neurophysiology 69:1091.
    Chichilnisky (2001), Network 12:199.
    """
    _check_same(responses, stimuli)
    if stimuli.colored:
        raise ValueError("maps are by luminance; show noise without a color")
    grey = float(stimuli.blank.render(field)[0, 0, 0, 0])
    answered = responses["response"]
    places = stimulus_origins(responses)
    origins, group = np.unique(places, axis=1, return_inverse=True)  # (2, group)
    members = [np.flatnonzero(group.reshape(-1) == g) for g in range(origins.shape[1])]
    pixels = field.height_px * field.width_px
    maps = np.zeros((answered.sizes["unit"], pixels))  # sum over stimuli of r d
    total = np.zeros(len(maps))  # of r
    deviation, energy = np.zeros((2, len(members), pixels))  # of d, and of n d^2
    for start in range(0, len(stimuli), CORRELATED):
        rows = slice(start, start + CORRELATED)
        part = stimuli[rows]
        response = answered.isel(stimulus=rows).transpose("stimulus", "unit").values.astype(float)
        total += response.sum(0)
        for g, units in enumerate(members):
            shown = field.centered_on(*origins[:, g])
            d = part.render(shown).double().numpy().reshape(len(part), -1) - grey
            maps[units] += response[:, units].T @ d
            deviation[g] += d.sum(0)
            energy[g] += (part.check_pixels(shown).reshape(len(part), -1) * d**2).sum(0)
    for g, units in enumerate(members):
        maps[units] -= total[units, None] / len(stimuli) * deviation[g]
        maps[units] /= np.where(energy[g] > 0, energy[g], np.nan)
    of_units = {n: c.variable for n, c in responses.coords.items() if c.dims == ("unit",)}
    return xr.DataArray(
        maps.reshape(-1, field.height_px, field.width_px),
        {**of_units, **_axes(field)},
        ("unit", "y", "x"),
        "receptive_field",
        {"long_name": "response per luminance and pixel", "units": "1"},
    )


def gradient_map(
    model: nn.Module,
    stimuli: StimulusSet,
    layers: Sequence[str],
    *,
    position: Literal["center"] | tuple[int, int] = "center",
    input_format: InputFormat | None = None,
) -> xr.Dataset:
    """Map receptive fields by differentiating units with respect to the luminance of each pixel.

    A grey pixel moves all color channels alike. The gradient of a linear unit is its filter, the
    same at every image; that of others is averaged over the stimuli, which stay at the centre of
    the field. The model runs in evaluation mode on the device it is on, and is left as it was, its
    weights' gradients included.

    Parameters
    ----------
    model : takes (batch, channel, y, x).
    stimuli : the images around which to differentiate, say 20 of white noise.
    layers : names or patterns of layers that :func:`ephys.record` takes.
    position : (row, column) of the units; by default those whose receptive field is nearest the
        centre of the field, as in a recording.
    input_format : what the model takes; by default ``model.input_format``.

    Returns
    -------
    ``mean``, the signed mean over stimuli, and ``rms``, the root of the mean square, both
    (unit, y, x) in response per unit luminance per pixel, on the pixels of the image in degrees
    from the centre of the field. Coordinates of ``unit`` are ``layer``, ``channel``, ``row`` and
    ``column``, and the centre of the receptive field ``rf_x``, ``rf_y``, NaN where there is none.

    Raises
    ------
    KeyError : for layers that the model does not have or does not reach.
    ValueError : for no stimuli, those that the field cannot show, layers without units or a
        gradient, and a position that a layer does not have.
    """
    if not len(stimuli):
        raise ValueError("there are 0 stimuli to differentiate at; show at least one")
    input_format = input_format or own_format(model)
    field = input_format.field
    stimuli.check(field)
    channels = min(stimuli.channels, input_format.channels)
    device, dtype = placement(model)
    size = (input_format.channels, field.height_px, field.width_px)
    geometries = {layer: geometry(model, layer, size) for layer in find_layers(model, layers)}
    sites = {layer: _site(layer, g, position, field) for layer, g in geometries.items()}
    sums: dict[str, np.ndarray] = {}
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        electrodes(model, list(sites), readout=copy) as show,
    ):
        for start in range(0, len(stimuli), DIFFERENTIATED):
            part = stimuli[start : start + DIFFERENTIATED]
            images = part.render(field, device=device, channels=channels, check=False)
            grey = torch.zeros_like(images[:, :1], requires_grad=True)  # added to all channels
            outputs = show(input_format.encode(images + grey).to(dtype))
            for layer, site in sites.items():
                if not outputs[layer].requires_grad:
                    raise ValueError(f"layer {layer!r} passes no gradient on to the image")
                units = geometries[layer].sites(outputs[layer])[..., site]  # (image, unit)
                found = _moments(units, grey)
                sums[layer] = sums[layer] + found if layer in sums else found
    mean, square = np.concatenate(list(sums.values()), axis=1) / len(stimuli)
    counts = [found.shape[1] for found in sums.values()]
    places = [_place(geometries[layer], site, field) for layer, site in sites.items()]
    row, column, x, y = np.repeat(places, counts, axis=0).T
    return xr.Dataset(
        {
            "mean": (("unit", "y", "x"), mean, {"long_name": "mean gradient", "units": "1"}),
            "rms": (
                ("unit", "y", "x"),
                np.sqrt(square),
                {"long_name": "rms gradient", "units": "1"},
            ),
        },
        {
            "layer": ("unit", np.repeat(list(sites), counts)),
            "channel": ("unit", np.concatenate([np.arange(count) for count in counts])),
            "row": ("unit", row),
            "column": ("unit", column),
            "rf_x": ("unit", x, UNIT_ATTRIBUTES["rf_x"]),
            "rf_y": ("unit", y, UNIT_ATTRIBUTES["rf_y"]),
            **_axes(field),
        },
    )


def _check_same(responses: xr.Dataset, stimuli: StimulusSet) -> None:
    if responses.sizes["stimulus"] != len(stimuli):
        raise ValueError(
            f"responses to {responses.sizes['stimulus']} stimuli, but a set of {len(stimuli)}; "
            "pass the set that was shown"
        )
    for name in ["family", *stimuli.parameters]:
        if name not in responses.coords:
            raise ValueError(f"responses to stimuli without a {name}; pass the set that was shown")
        shown, given = responses[name].values, stimuli.table[name].values
        different = (shown != given) & ~((shown != shown) & (given != given))  # NaN is NaN
        if different.any():
            first = int(different.argmax())
            raise ValueError(
                f"stimulus {first} was shown with {name}={shown[first]}, but the set has "
                f"{given[first]}; pass the set that was shown"
            )


def _site(
    layer: str,
    seen: Geometry,
    position: Literal["center"] | tuple[int, int],
    field: VisualField,
) -> int:
    """The index of a position of a layer."""
    if position == "center":
        return seen.central(field.height_px, field.width_px)
    found = np.flatnonzero((seen.positions == position).all(1))
    if not found.size:
        raise ValueError(
            f"layer {layer!r} has no position={position}, but {len(seen.positions)}, "
            f"the last of which is {tuple(seen.positions[-1].tolist())}"
        )
    return int(found[0])


def _place(seen: Geometry, site: int, field: VisualField) -> tuple[float, float, float, float]:
    """Row and column of a position, and x and y of its receptive field, in degrees."""
    row, column = seen.positions[site]
    down, right = seen.centers[site] - ((field.height_px - 1) / 2, (field.width_px - 1) / 2)
    return row, column, right / field.pixels_per_degree, -down / field.pixels_per_degree


def _moments(units: Tensor, luminance: Tensor) -> np.ndarray:
    """Sums over images of the gradient of each unit and of its square: (2, unit, y, x)."""
    sums = np.empty((2, units.shape[1], *luminance.shape[2:]))
    # One at a time: all at once, by vmap, needs more memory and is no faster.
    for unit in range(units.shape[1]):
        (gradient,) = torch.autograd.grad(
            units[:, unit].sum(), luminance, retain_graph=True, materialize_grads=True
        )
        values = gradient[:, 0].cpu().double().numpy()  # (image, y, x)
        sums[:, unit] = values.sum(0), (values**2).sum(0)
    return sums


def _axes(field: VisualField) -> dict[str, tuple[str, np.ndarray, dict[str, str]]]:
    return {
        "y": ("y", field.y, {"units": "degree", "long_name": "above the centre"}),
        "x": ("x", field.x, {"units": "degree", "long_name": "right of the centre"}),
    }
