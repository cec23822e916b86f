"""What the pixels of stimuli show, and beside it what was asked for.

Nothing here looks at how a stimulus is drawn. Waves are fitted to the pixels (:mod:`ephys.waves`),
first from where they were asked for, and where they are not found there, from the peak of the
spectrum. Apertures are formulas of their own. Each quantity comes as *asked*, *measured* and
*uncertainty*: how far the rounding of float32 pixels can move it, at most. Edges are an exception,
since a pixel shows the side of an edge that its centre is on:

- Of a square wave the fundamental is fitted. Harmonics above the Nyquist limit come back as waves
  of other frequencies, and edges can be anywhere between two pixels: the phase is uncertain by
  half a pixel, and frequency and orientation by a pixel from one side to the other, and all three
  by three standard errors, with what the fundamental leaves for noise that may be the same along
  a row or a column. That no pixel is on the wrong side of an edge is told by the residual.
- A diameter is measured as in the middle between the last pixel within and the first one beyond,
  and is uncertain by the distance of the two.
"""

from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ephys.stimuli.colors import LUMINANCE_WEIGHTS, cone_contrasts, decode_srgb
from ephys.visual_field import VisualField
from ephys.waves import Fit, Pictures, fit_waves

ROUNDING = 2.0**-24  # of float32, relative
SRGB_ROUNDING = 14 * ROUNDING  # of light, by the powers and products of the sRGB curve
ON_THE_EDGE = 1e-3  # pixels: a centre this near an edge counts as on it, and within
CUT = 1e-5  # of a cosine: nearer to 0, rounding may decide on which side it is
KNOWN, SQUARE_KNOWN = 1e-3, 2.0  # radians, or fractions: what is less certain is not given
FEWEST_CYCLES = 2  # of a square wave, for its fundamental to be told from the others

Parameters = dict[str, np.ndarray]
Found = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]  # asked, measured, uncertainty


@dataclass
class Shown:
    """Stimuli of one family, color system and encoding, and their pixels.

    Parameters
    ----------
    parameters : of the family, with all defaults, (stimulus,) each.
    difference : what full contrast adds to the grey, as asked for, (stimulus, channel).
    pixels : (stimulus, channel, y, x).
    """

    family: str
    color: str
    encoding: str
    parameters: Parameters
    difference: np.ndarray
    pixels: np.ndarray
    field: VisualField

    @cached_property
    def light(self) -> np.ndarray:
        return decode_srgb(self.pixels) if self.encoding == "srgb" else self.pixels

    @cached_property
    def luminance(self) -> np.ndarray:
        """(stimulus, y, x)"""
        return _luminance(self.light)

    @property
    def grey(self) -> np.ndarray:
        return self.parameters["mean_luminance"]

    @cached_property
    def weights(self) -> np.ndarray:
        """Of the channels in the modulation: (stimulus, channel)."""
        square = (self.difference**2).sum(1, keepdims=True)
        return np.divide(self.difference, square, np.zeros_like(self.difference), where=square > 0)

    def modulation(self, light: np.ndarray) -> np.ndarray:
        """Light as a fraction of what full contrast adds: (stimulus, y, x)."""
        if light.shape[1] == 1:
            return light[:, 0] * self.weights[:, :, None]
        return np.einsum("ncyx,nc->nyx", light, self.weights)

    @cached_property
    def error(self) -> np.ndarray:
        """How far rounding moves the light of a pixel, at most: (stimulus,).

        Rounded are the sum of grey and modulation; before it the modulation, four times; and the
        distances that a soft edge depends on.
        """
        low, high = self.light.min((1, 2, 3)), self.light.max((1, 2, 3))
        edge = np.nan_to_num(self.parameters["edge_width"])
        size = np.fmax(self.parameters["diameter"], self.parameters["inner_diameter"])
        distance = np.nan_to_num(size) + edge
        steepness = np.divide(distance, edge, np.zeros_like(edge), where=edge > 0)
        encoded = SRGB_ROUNDING * high if self.encoding == "srgb" else 0
        return ROUNDING * (high + 2 * (high - low) * (1 + steepness)) + encoded

    @property
    def x(self) -> np.ndarray:
        return self.field.x - self.parameters["x"][:, None]

    @property
    def y(self) -> np.ndarray:
        return self.field.y - self.parameters["y"][:, None]

    def distance(self, rows: slice = slice(None)) -> np.ndarray:
        """Of pixels from the centre: (stimulus, y, x)."""
        return np.hypot(self.x[rows, None, :], self.y[rows, :, None])

    @cached_property
    def aperture(self) -> np.ndarray | None:
        """(stimulus, y, x), or (1, y, x) where all are alike, or None where there is none."""
        names = ("diameter", "inner_diameter", "edge_width", "envelope_sd")
        if not any(np.isfinite(self.parameters[name]).any() for name in names):
            return None
        rows = self._apart(*(self.parameters[name] for name in names))
        outer, inner, edge, sd = (self.parameters[name][rows] for name in names)
        distance, edge, rim = self.distance(rows), np.nan_to_num(edge), self._rim
        shown = _disc(distance, _or(outer, np.inf), edge, rim)
        shown *= 1 - _disc(distance, _or(inner, -np.inf), edge, -rim)
        return shown * np.exp(-0.5 * (distance / _or(sd, np.inf)[:, None, None]) ** 2)

    def disc(self, diameter: np.ndarray) -> np.ndarray:
        """1 within, 0 beyond, as the aperture."""
        rows = self._apart(diameter)
        return _disc(self.distance(rows), diameter[rows], np.zeros_like(diameter[rows]), self._rim)

    @property
    def _rim(self) -> float:
        return ON_THE_EDGE / self.field.pixels_per_degree

    def _apart(self, *values: np.ndarray) -> slice:
        """The first stimulus, if as far as these values go it stands for all."""
        placed = (*values, self.parameters["x"], self.parameters["y"])
        return slice(0, 1) if all(len(np.unique(value)) == 1 for value in placed) else slice(None)


def measure(shown: Shown) -> Found:
    """All that can be told of some stimuli, by the names in ``QUANTITIES``: (stimulus,) each."""
    low, high = shown.luminance.min((1, 2)), shown.luminance.max((1, 2))
    mean, sd = shown.luminance.mean((1, 2)), shown.luminance.std((1, 2))
    nothing, error = np.full(len(mean), np.nan), shown.error
    found: Found = {
        "average_luminance": (nothing, mean, error),
        "rms_contrast": (nothing, sd / mean, 2 * error / mean),
        "michelson_contrast": (nothing, (high - low) / (high + low), error / mean),
        "lowest_pixel": (nothing, shown.pixels.min((1, 2, 3)), error),
        "highest_pixel": (nothing, shown.pixels.max((1, 2, 3)), error),
    }
    for families, of_these in MEASURES:
        if shown.family in families:
            found |= of_these(shown, found)
    return found


class Wave(NamedTuple):
    """A wave that is asked for, and the disc that it fills, or around which it is."""

    spatial_frequency: np.ndarray
    orientation: np.ndarray
    phase: np.ndarray
    contrast: np.ndarray
    within: np.ndarray | None = None
    beyond: np.ndarray | None = None

    @property
    def k(self) -> np.ndarray:
        """Radians per degree to the right and upward: (stimulus, 2)."""
        angle = np.deg2rad(self.orientation)
        turned = np.stack([-np.sin(angle), np.cos(angle)], axis=1)
        return 2 * np.pi * self.spatial_frequency[:, None] * turned

    @property
    def canonical(self) -> "Wave":
        """The same wave with an orientation from 0 to 180, and without negative contrast."""
        half_turns = np.floor(self.orientation / 180)
        phase = np.where(half_turns % 2 == 0, self.phase, -self.phase)
        phase = (phase + 180 * (self.contrast < 0)) % 360
        orientation = self.orientation - 180 * half_turns
        return Wave(self.spatial_frequency, orientation, phase, abs(self.contrast))


def _grating(p: Parameters) -> list[Wave]:
    return [Wave(p["spatial_frequency"], p["orientation"], p["phase"], p["contrast"])]


def _drifting(p: Parameters) -> list[Wave]:
    moved = p["phase"] - 360 * p["temporal_frequency"] * p["time"]
    return [Wave(p["spatial_frequency"], p["direction"] - 90, moved, p["contrast"])]


def _counterphase(p: Parameters) -> list[Wave]:
    now = p["contrast"] * np.cos(2 * np.pi * p["temporal_frequency"] * p["time"])
    return [Wave(p["spatial_frequency"], p["orientation"], p["phase"], now)]


def _plaid(p: Parameters) -> list[Wave]:
    frequency = _or(p["mask_spatial_frequency"], p["spatial_frequency"])
    crossed = p["orientation"] + p["mask_angle"]
    return [*_grating(p), Wave(frequency, crossed, p["mask_phase"], p["mask_contrast"])]


def _center_surround(p: Parameters) -> list[Wave]:
    size = p["center_diameter"]
    surround = Wave(
        _or(p["surround_spatial_frequency"], p["spatial_frequency"]),
        p["orientation"] + p["surround_angle"],
        _or(p["surround_phase"], p["phase"]),
        _or(p["surround_contrast"], p["contrast"]),
        beyond=_or(p["surround_inner_diameter"], size),
    )
    return [_grating(p)[0]._replace(within=size), surround]


WAVES: dict[str, Callable[[Parameters], list[Wave]]] = {
    "grating": _grating,
    "gabor": _grating,
    "square_grating": _grating,
    "drifting_grating": _drifting,
    "counterphase_grating": _counterphase,
    "plaid": _plaid,
    "center_surround": _center_surround,
}
# Of one luminance beside the grey, or of two around it; and what fills all of its aperture.
ONE_SIDED = ("patch", "bar", "sparse_noise")
TWO_SIDED = ("square_grating", "checkerboard", "white_noise")
FILLED = ("patch", "square_grating", "checkerboard")


def _waves(shown: Shown, found: Found) -> Found:
    """Of fitted waves."""
    waves = WAVES[shown.family](shown.parameters)
    square = shown.family == "square_grating"
    places = [_place(shown, wave) for wave in waves]
    whole, error = shown.modulation(shown.light), shown.error * abs(shown.weights).sum(1)
    windows = [_times(place, shown.aperture) for place in places]
    limit = 0.5 * whole.std((1, 2)) if square else 2 * error
    pictures = Pictures(shown.light, shown.x, shown.y, windows, shown.weights, error, limit)
    fit = fit_waves(pictures, np.stack([wave.k for wave in waves], axis=1))
    if square:
        spread, known = _of_edges(shown, fit, waves[0]), SQUARE_KNOWN
    else:
        spread, known = fit.spread() * error[:, None], KNOWN
    mean = _luminance(fit.constant)
    off = spread[:, 0] * abs(shown.difference).max(1)
    # Without contrast, or a frequency, waves and grey are not to be told apart.
    silent = np.all([wave.contrast == 0 for wave in waves], axis=0)
    even = np.any([(wave.spatial_frequency == 0) & (wave.contrast != 0) for wave in waves], axis=0)
    measured: Found = {
        "mean_luminance": (
            np.where(even, np.nan, shown.grey),
            np.where(silent, found["average_luminance"][1], _if(off <= known, mean)),
            np.where(silent, shown.error, off),
        ),
        "residual": (np.zeros_like(mean), abs(fit.rest).max((1, 2, 3)), 2 * shown.error),
    }
    for a, (wave, prefix) in enumerate(zip(waves, ("", "second_"), strict=False)):
        asked = wave.canonical
        size, turn, length, angle = spread[:, 1 + 4 * a : 5 + 4 * a].T
        strength, (right, up) = fit.strength[:, a], fit.k[:, a].T
        contrast = abs(strength) * (shown.grey / mean if shown.color == "luminance" else 1)
        orientation, phase = np.rad2deg([np.arctan2(-right, up), np.angle(strength)])
        half_turns = np.rint((orientation - asked.orientation) / 180)
        phase = np.where(half_turns % 2 == 0, phase, -phase)
        phase -= 360 * np.rint((phase - asked.phase) / 360)
        orientation -= 180 * half_turns
        cycles = np.hypot(right, up) / (2 * np.pi)
        slow = length / (2 * np.pi)
        measured |= {
            f"{prefix}contrast": (
                np.where(even, np.nan, asked.contrast),
                np.where(silent, found["michelson_contrast"][1], _if(size <= known, contrast)),
                np.where(silent, found["michelson_contrast"][2], size),
            ),
            f"{prefix}spatial_frequency": (
                *(asked.spatial_frequency, _if(slow <= known * cycles, cycles), slow),
            ),
            f"{prefix}orientation": (
                *(asked.orientation, _if(angle <= known, orientation), np.rad2deg(angle)),
            ),
            f"{prefix}phase": (asked.phase, _if(turn <= known, phase), np.rad2deg(turn)),
        }
    if shown.light.shape[1] == 3:
        facing = np.exp(-1j * np.angle(fit.strength[:, :1]))
        light = (fit.amplitude[:, 0] * facing).real
        size = spread[:, 1]
        measured |= _colors(shown, measured["contrast"][0], light, fit.constant, size)
    if shown.aperture is not None and not square:
        measured |= _edges(shown, *_openness(shown, fit, places))
    return measured


def _levels(shown: Shown, found: Found) -> Found:
    """Of what has one luminance beside the grey, or two around it."""
    p, one_sided = shown.parameters, shown.family in ONE_SIDED
    window = np.ones((1, 1, 1)) if shown.aperture is None else shown.aperture
    whole = shown.modulation(shown.light - shown.grey[:, None, None, None])
    level = np.where(window >= 0.5, whole / window, 0).reshape(len(whole), -1)
    farthest = abs(level).argmax(1)
    drawn = level[np.arange(len(level)), farthest]
    contrast = drawn if one_sided else abs(drawn)
    asked = p["contrast"] * p["polarity"] if one_sided else p["contrast"]
    asked = np.where(_in_sight(shown, window), asked, np.nan)
    scaled = shown.error * abs(shown.weights).sum(1)
    side = np.rint(np.clip(whole / (window * contrast[:, None, None]), -1, 1))
    if shown.family == "square_grating":
        wave = _cosine(shown, _grating(p)[0])
        side = np.where(abs(wave) > CUT, np.sign(wave), side)
    fitted = np.where(window > 0, np.nan_to_num(side) * window, 0) * contrast[:, None, None]
    asked_for = (
        shown.grey[:, None, None, None] + fitted[:, None] * shown.difference[..., None, None]
    )
    rest = abs(shown.light - asked_for).max((1, 2, 3))
    measured: Found = {
        "contrast": (asked, contrast, 2 * scaled),
        "residual": (np.zeros_like(rest), rest, 4 * shown.error),
    }
    if shown.color == "luminance" and not one_sided:
        low, high = level.min(1), level.max(1)
        mean = _if((low < 0) & (high > 0), shown.grey * (1 + (low + high) / 2))
        measured["mean_luminance"] = (shown.grey, mean, 2 * shown.error)
    if shown.light.shape[1] == 3:
        flat = (shown.light - shown.grey[:, None, None, None]).reshape(*shown.light.shape[:2], -1)
        open_there = np.broadcast_to(window, whole.shape).reshape(level.shape)
        rows = np.arange(len(level))
        light = flat[rows, :, farthest] / open_there[rows, farthest][:, None]
        light *= np.sign(drawn * contrast)[:, None]
        measured |= _colors(shown, asked, light, shown.grey[:, None] + 0 * light, 2 * scaled)
    if shown.aperture is not None and shown.family in FILLED:
        openness = abs(whole / contrast[:, None, None])
        measured |= _edges(shown, openness, np.ones_like(openness, bool), scaled / abs(contrast))
    return measured


def _filtered_noise(shown: Shown, found: Found) -> Found:
    """Of noise, where the field is one period of it: on the lattice of its frequencies."""
    p, field = shown.parameters, shown.field
    off = np.abs([p["period"] - field.width, p["period"] - field.height]).max(0)
    whole = (off < 1e-9) & (shown.aperture is None)
    modulation = shown.modulation(shown.light - shown.grey[:, None, None, None])
    power = abs(np.fft.fft2(modulation)) ** 2
    up, right = (np.fft.fftfreq(n, 1 / field.pixels_per_degree) for n in power.shape[1:])
    frequency = np.hypot(up[:, None], right)
    low, high = (p[f"{end}_frequency"][:, None, None] for end in ("low", "high"))
    near = 1e-6 / field.width
    beyond = (frequency < low - near) | (frequency > high + near)
    share = (power * beyond).sum((1, 2)) / power.sum((1, 2))
    # Of rounding, which is white: its mean square over that of the noise.
    unsure = (shown.error * abs(shown.weights).sum(1)) ** 2 / (modulation**2).mean((1, 2))
    nothing = np.zeros_like(share)
    measured: Found = {"power_out_of_band": (_if(whole, nothing), _if(whole, share), unsure)}
    if shown.color == "luminance":
        measured["rms_contrast"] = (_if(whole, p["rms_contrast"]), *found["rms_contrast"][1:])
    return measured


def _photograph(shown: Shown, found: Found) -> Found:
    """Of photographs, where all of a crop is seen: what it is matched to."""
    p, field = shown.parameters, shown.field
    moved = np.abs([p["x"] + field.origin_x, p["y"] + field.origin_y]).max(0) > 0
    cropped = (field.height_px, field.width_px) != (field.screen_height_px, field.screen_width_px)
    whole = ~moved & (not cropped) & (shown.aperture is None)
    return {
        quantity: (_if(whole, p[name]), *found[quantity][1:])
        for quantity, name in [("average_luminance", "luminance"), ("rms_contrast", "rms_contrast")]
    }


MEASURES: list[tuple[Container[str], Callable[[Shown, Found], Found]]] = [
    (WAVES, _waves),
    (ONE_SIDED + TWO_SIDED, _levels),
    (("filtered_noise",), _filtered_noise),
    (("photograph",), _photograph),
]


def _colors(
    shown: Shown,
    contrast: np.ndarray,
    light: np.ndarray,
    background: np.ndarray,
    uncertainty: np.ndarray,
) -> Found:
    """Of the light (stimulus, 3) that is added to a background where the stimulus is lightest.

    uncertainty : of the contrast.
    """
    asked, grey = contrast[:, None] * shown.difference, shown.grey[:, None]
    cones = cone_contrasts(grey + asked, grey), cone_contrasts(background + light, background)
    both = [
        np.column_stack([_luminance(one) / _luminance(around), by_cone])
        for one, around, by_cone in zip(
            (asked, light), (grey + 0 * asked, background), cones, strict=True
        )
    ]
    off = uncertainty * abs(shown.difference).max(1) / shown.grey
    names = ("luminance_contrast", "l_cone_contrast", "m_cone_contrast", "s_cone_contrast")
    return {
        name: (both[0][:, i], _if(off <= KNOWN, both[1][:, i]), off) for i, name in enumerate(names)
    }


def _edges(shown: Shown, openness: np.ndarray, seen: np.ndarray, error: np.ndarray) -> Found:
    """Of the aperture, from how much of the stimulus pixels show, in so far as that is seen.

    error : of the openness, at most, where the aperture is open.
    """
    p, distance = shown.parameters, shown.distance()
    bell = np.exp(-0.5 * (distance / _or(p["envelope_sd"], np.inf)[:, None, None]) ** 2)
    inside = seen & (openness > 0.5 * bell) & (bell > 0.01)
    outside = seen & ~inside & (bell > 0.01)
    far = np.where(inside, distance, -np.inf).max((1, 2))
    beyond = np.where(outside & (distance > far[:, None, None]), distance, np.inf).min((1, 2))
    near = np.where(inside, distance, np.inf).min((1, 2))
    within = np.where(outside & (distance < near[:, None, None]), distance, -np.inf).max((1, 2))
    edge = np.nan_to_num(p["edge_width"])
    unsure = 2 * shown._rim + 4 * error * edge
    # Of the Gaussian: the slope of the logarithm over the square of the distance.
    outer, inner = _or(p["diameter"], np.inf) / 2, _or(p["inner_diameter"], -np.inf) / 2
    flat = (distance < (outer - edge / 2)[:, None, None]) & (
        distance > (inner + edge / 2)[:, None, None]
    )
    weight = np.where(seen & flat & (openness > 0.05), openness**2, 0)
    square, log = distance**2, np.log(np.where(weight > 0, openness, 1))
    total = weight.sum((1, 2))
    square = square - ((weight * square).sum((1, 2)) / total)[:, None, None]
    spread = (weight * square**2).sum((1, 2))
    sd = (-2 * (weight * square * log).sum((1, 2)) / spread) ** -0.5
    unsure_sd = sd**3 * 4 * error * np.sqrt((weight > 0).sum((1, 2)) / spread)
    asked = {name: p[name] for name in ("diameter", "inner_diameter", "envelope_sd")}
    measured = far + beyond, near + within, _if(unsure_sd <= KNOWN * sd, sd)
    uncertainty = beyond - far + unsure, near - within + unsure, unsure_sd
    return {
        name: (wanted, _if(np.isfinite(wanted) & np.isfinite(value), value), off)
        for (name, wanted), value, off in zip(asked.items(), measured, uncertainty, strict=True)
    }


def _of_edges(shown: Shown, fit: Fit, wave: Wave) -> np.ndarray:
    """How far the constant, and the amplitude, phase, frequency and orientation of a square wave's
    fundamental, may be off: (stimulus, 5)."""
    p, shape = shown.parameters, shown.luminance[0].shape
    independent = shown.luminance[0].size / max(shape)  # pixels, if columns are alike, or rows
    spread = fit.spread() * (3 * np.sqrt(fit.squares / independent))[:, None]
    pixel = 1 / shown.field.pixels_per_degree
    size = np.minimum(_or(p["diameter"], np.inf), _or(3 * p["envelope_sd"], np.inf))
    size = np.minimum(size, min(shape) * pixel)
    length = np.linalg.norm(wave.k, axis=1)
    off = [length * pixel / 2, length * pixel / size, pixel / size]
    spread[:, 2:] += np.stack(off, axis=1)
    return np.where((wave.spatial_frequency * size < FEWEST_CYCLES)[:, None], np.inf, spread)


def _openness(
    shown: Shown, fit: Fit, places: list[np.ndarray | None]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How open the aperture is where the waves would be far from grey, where that is, and how far
    rounding can move it."""
    drawn = [_at(place, shown.modulation(fit.wave(a))) for a, place in enumerate(places)]
    squares = [
        _at(place, abs(fit.strength[:, a, None, None]) ** 2) for a, place in enumerate(places)
    ]
    wave, strength = sum(drawn[1:], drawn[0]), np.sqrt(sum(squares[1:], squares[0]))
    constant = (fit.constant * shown.weights).sum(1)[:, None, None]
    openness = (shown.modulation(shown.light) - constant) / wave
    strongest = abs(fit.strength).max(1, keepdims=True)
    shown_at_all = abs(fit.strength) > KNOWN * strongest
    weakest = np.where(shown_at_all, abs(fit.strength), strongest).min(1)
    seen = abs(wave) > np.maximum(0.5 * strength, KNOWN * strongest[..., None])
    return openness, seen, 2 * shown.error * abs(shown.weights).sum(1) / weakest


def _in_sight(shown: Shown, window: np.ndarray) -> np.ndarray:
    """Whether some of a stimulus is to be seen: (stimulus,)."""
    open_somewhere = np.asarray((window >= 0.5).any((1, 2)))
    if shown.family not in ("bar", "sparse_noise"):
        return open_somewhere
    half = 0.5 / shown.field.pixels_per_degree
    beside = [axis.min(1) <= half for axis in (shown.x, shown.y)]
    beside += [axis.max(1) >= -half for axis in (shown.x, shown.y)]
    return np.asarray(open_somewhere & np.logical_and.reduce(beside))


def _place(shown: Shown, wave: Wave) -> np.ndarray | None:
    if wave.within is not None:
        return shown.disc(wave.within)
    return None if wave.beyond is None else 1 - shown.disc(wave.beyond)


def _cosine(shown: Shown, wave: Wave) -> np.ndarray:
    right, up = wave.k.T[:, :, None]
    across, down = right * shown.x + np.deg2rad(wave.phase)[:, None], up * shown.y
    return np.cos(across[:, None, :] + down[:, :, None])


def _disc(distance: np.ndarray, diameter: np.ndarray, edge: np.ndarray, rim: float) -> np.ndarray:
    """1 within a disc and 0 beyond, falling as a raised cosine where the edge has a width."""
    radius, edge = diameter[:, None, None] / 2, edge[:, None, None]
    hard = (distance <= radius + rim).astype(float)
    if not edge.any():
        return hard
    fall = np.clip((distance - radius) / np.where(edge > 0, edge, 1) + 0.5, 0, 1)
    return np.where(edge > 0, 0.5 * (1 + np.cos(np.pi * fall)), hard)


def _times(one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
    if one is None or other is None:
        return other if one is None else one
    return one * other


def _at(place: np.ndarray | None, values: np.ndarray) -> np.ndarray:
    return values if place is None else place * values


def _luminance(light: np.ndarray) -> np.ndarray:
    """Of grey or rgb, of which the channels are the second axis."""
    if light.shape[1] == 1:
        return light[:, 0]
    return np.tensordot(light, LUMINANCE_WEIGHTS, (1, 0))


def _or(given: np.ndarray, otherwise: np.ndarray | float) -> np.ndarray:
    return np.where(np.isnan(given), otherwise, given)


def _if(known: np.ndarray, value: np.ndarray) -> np.ndarray:
    return np.where(known, value, np.nan)
