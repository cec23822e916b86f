"""Named experiments: which stimuli to show, what for, and whose experiment it was.

Where a protocol takes a ``field``, the sizes and frequencies it goes through are those which that
display can show: sizes in half octaves from four pixels to the whole field, frequencies in octaves
or half octaves from two cycles across the field to below the Nyquist limit. Angles are evenly
spaced around their circle, without its other end.
"""

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike

from ephys.nearest import nearest
from ephys.stimuli.gratings import center_surround, drifting_grating, gabor, grating, plaid
from ephys.stimuli.marques import BACKGROUND, WHITE, from_theirs, marques_grating
from ephys.stimuli.noises import sparse_noise
from ephys.stimuli.patches import patch
from ephys.stimuli.photographs import photograph, random_crops
from ephys.stimuli.sweep import StimulusSet, paired, sweep
from ephys.visual_field import VisualField

STANDARD = VisualField(224, 224, 28.0)  # 8 degrees, of a model without a natural scale
PAPER_CONTRASTS = (0.10, 0.50, 0.75, 0.90)
LOW_CONTRASTS = (0.02, 0.05, 0.20)
# The Gabor bank's 2 and 3 cycles per window of 15 and of 21 pixels, at 15 pixels per degree.
BANK_SPATIAL_FREQUENCIES = (2 * 15 / 21, 2.0, 3 * 15 / 21, 3.0)
# The authors' patches, of which the image is known, not the pixels; here 48 pixels, 3.2 degrees.
PATCH_SPATIAL_FREQUENCIES = (2.63 / 3.2, 3.91 / 3.2, 5.85 / 3.2)
PATCH_SD = 0.119 * 3.2


@dataclass(frozen=True)
class Protocol:
    """An experiment ready to be shown.

    Parameters
    ----------
    name : of letters, digits, - and _; also that of what is recorded.
    purpose : one sentence.
    citation : whose experiment it was; may be empty.
    stimuli : what to show.
    """

    name: str
    purpose: str
    citation: str
    stimuli: StimulusSet

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.name):
            raise ValueError(f"name={self.name!r} is not of letters, digits, - and _ alone")


def protocol(name: str, field: VisualField = STANDARD) -> Protocol:
    """A named protocol, for a display.

    Raises
    ------
    KeyError : for a name that is none, naming the nearest.
    FileNotFoundError, ValueError : for photographs that are not there.
    """
    if name not in PROTOCOLS:
        known = [*PROTOCOLS, *BATTERIES]
        raise KeyError(f"no protocol {name!r}; did you mean {nearest(name, known)}?")
    make = PROTOCOLS[name]
    takes_field = "field" in inspect.signature(make).parameters
    stimuli = make(field=field) if takes_field else make()
    return Protocol(name, purpose(name), citation(name), stimuli)


def purpose(name: str) -> str:
    """What a protocol or a battery is for, in one line."""
    return BATTERIES[name].purpose if name in BATTERIES else _document(name).splitlines()[0]


def citation(name: str) -> str:
    """Whose experiment a protocol is."""
    if name in BATTERIES:
        return ""
    _, _, references = _document(name).partition("References\n----------\n")
    return " ".join(references.split())


def orientation(
    *,
    field: VisualField = STANDARD,
    orientations: int = 24,
    phases: int = 8,
    spatial_frequencies: ArrayLike | None = None,
) -> StimulusSet:
    """Which orientation does a unit prefer, and how narrowly? Full-field gratings.

    References
    ----------
    Hubel & Wiesel (1962), Journal of Physiology 160:106. Ringach, Shapley & Hawken (2002), Journal
    of Neuroscience 22:5639.
    """
    return sweep(
        grating,
        spatial_frequency=_frequencies(field, spatial_frequencies),
        orientation=_around(180, orientations),
        phase=_around(360, phases),
    )


def spatial_frequency(
    *,
    field: VisualField = STANDARD,
    orientations: int = 8,
    phases: int = 8,
    spatial_frequencies: ArrayLike | None = None,
) -> StimulusSet:
    """Which spatial frequencies pass? Full-field gratings in half octaves.

    References
    ----------
    De Valois, Albrecht & Thorell (1982), Vision Research 22:545.
    """
    return sweep(
        grating,
        orientation=_around(180, orientations),
        spatial_frequency=_frequencies(field, spatial_frequencies, per_octave=2),
        phase=_around(360, phases),
    )


def contrast(
    *,
    field: VisualField = STANDARD,
    contrasts: ArrayLike = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0),
    orientations: int = 8,
    phases: int = 4,
    spatial_frequencies: ArrayLike | None = None,
) -> StimulusSet:
    """How does the response grow with contrast, and where does it saturate? Full-field gratings.

    References
    ----------
    Albrecht & Hamilton (1982), Journal of Neurophysiology 48:217.
    """
    return sweep(
        grating,
        orientation=_around(180, orientations),
        spatial_frequency=_frequencies(field, spatial_frequencies),
        contrast=contrasts,
        phase=_around(360, phases),
    )


def contrast_invariance(
    *,
    spatial_frequencies: ArrayLike = BANK_SPATIAL_FREQUENCIES,
    contrasts: ArrayLike = (*LOW_CONTRASTS, *PAPER_CONTRASTS),
    orientations: int = 25,
    phases: int = 8,
) -> StimulusSet:
    """Does orientation tuning survive a change of contrast? Full-field gratings.

    Every combination of evenly spaced orientations over [0, 180), spatial frequencies (cycles per
    degree), Michelson contrasts and evenly spaced phases. The paper shows 25 orientations at four
    contrasts from 0.1 to 0.9; 0.02, 0.05 and 0.2 are added, where invariance is put to the test.

    References
    ----------
    Veerabadran, Raina & de Sa (2021), SVRHM workshop at NeurIPS. Sclar & Freeman (1982),
    Experimental Brain Research 46:457.
    """
    return sweep(
        grating,
        spatial_frequency=spatial_frequencies,
        contrast=np.sort(np.atleast_1d(contrasts)),
        orientation=_around(180, orientations),
        phase=_around(360, phases),
    )


def contrast_invariance_patches(
    *,
    spatial_frequencies: ArrayLike = PATCH_SPATIAL_FREQUENCIES,
    envelope_sd: float = PATCH_SD,
    contrasts: ArrayLike = (*LOW_CONTRASTS, *PAPER_CONTRASTS),
    orientations: int = 25,
    phases: int = 8,
) -> StimulusSet:
    """The same question with the Gabor patches that the authors' released sheets show.

    Spatial frequencies and envelope were recovered from those sheets: 2.63, 3.91 and 5.85 cycles
    per image and an s.d. of 0.119 images, on an image of 3.2 degrees.

    References
    ----------
    Veerabadran, Raina & de Sa (2021), SVRHM workshop at NeurIPS.
    """
    return sweep(
        gabor,
        spatial_frequency=spatial_frequencies,
        envelope_sd=envelope_sd,
        contrast=np.sort(np.atleast_1d(contrasts)),
        orientation=_around(180, orientations),
        phase=_around(360, phases),
    )


def size(
    *,
    field: VisualField = STANDARD,
    diameters: ArrayLike | None = None,
    orientations: int = 6,
    phases: int = 4,
    spatial_frequencies: ArrayLike | None = None,
) -> StimulusSet:
    """How large is the summation field, and does a larger grating suppress? Gratings in a disc.

    References
    ----------
    Sceniak, Ringach, Hawken & Shapley (1999), Nature Neuroscience 2:733. Cavanaugh, Bair & Movshon
    (2002), Journal of Neurophysiology 88:2530.
    """
    return sweep(
        grating,
        orientation=_around(180, orientations),
        spatial_frequency=_frequencies(field, spatial_frequencies),
        diameter=_diameters(field) if diameters is None else diameters,
        phase=_around(360, phases),
    )


def surround(
    *,
    field: VisualField = STANDARD,
    center_diameters: ArrayLike | None = None,
    surround_angles: ArrayLike = (0, 30, 60, 90, 120, 150),
    orientations: int = 8,
    phases: int = 4,
    spatial_frequencies: ArrayLike | None = None,
) -> StimulusSet:
    """Does the surround suppress most at the orientation of the centre? Disc and annulus.

    ``part`` is ``"center"`` where the centre is shown alone, and ``"surround"``, with a grating of
    the same frequency, phase and contrast from the border of the centre to the edge of the field.

    References
    ----------
    Cavanaugh, Bair & Movshon (2002), Journal of Neurophysiology 88:2547.
    """
    whole = min(field.width, field.height)
    axes = {
        "orientation": _around(180, orientations),
        "spatial_frequency": _frequencies(field, spatial_frequencies),
        "center_diameter": (
            whole / np.array([16, 8, 4]) if center_diameters is None else center_diameters
        ),
        "phase": _around(360, phases),
    }
    alone = sweep(center_surround, **axes, surround_contrast=0, part="center")
    angles = {"surround_angle": surround_angles, "surround_contrast": 1}
    return alone + sweep(center_surround, **axes, **angles, part="surround")


def cross_orientation(
    *,
    field: VisualField = STANDARD,
    contrasts: ArrayLike = (0, 0.06, 0.12, 0.25, 0.5),
    orientations: int = 6,
    phases: int = 4,
    mask_phases: int = 4,
    spatial_frequencies: ArrayLike | None = None,
) -> StimulusSet:
    """Does a grating at right angles suppress? Plaids, every contrast with every contrast.

    References
    ----------
    Busse, Wade & Carandini (2009), Neuron 64:931. Carandini, Heeger & Movshon (1997), Journal of
    Neuroscience 17:8621.
    """
    return sweep(
        plaid,
        orientation=_around(180, orientations),
        spatial_frequency=_frequencies(field, spatial_frequencies),
        contrast=contrasts,
        mask_contrast=contrasts,
        phase=_around(360, phases),
        mask_phase=_around(360, mask_phases),
    )


def direction(
    *,
    field: VisualField = STANDARD,
    directions: int = 24,
    frames: int = 8,
    temporal_frequency: float = 4.0,
    spatial_frequencies: ArrayLike | None = None,
) -> StimulusSet:
    """Which direction of motion does a unit prefer? Drifting gratings, frame by frame.

    The frames of one cycle are shown as stimuli of their own, for models that see one image at a
    time; ``StimulusSet.movie`` gives them a time axis.

    References
    ----------
    De Valois, Yund & Hepler (1982), Vision Research 22:531.
    """
    return sweep(
        drifting_grating,
        direction=_around(360, directions),
        spatial_frequency=_frequencies(field, spatial_frequencies),
        temporal_frequency=temporal_frequency,
        time=np.arange(frames) / frames / temporal_frequency,
    )


def receptive_field(
    *, field: VisualField = STANDARD, side: float | None = None, positions: int | None = None
) -> StimulusSet:
    """Where is the receptive field? Light and dark squares, one at a time, at all places of a grid.

    The grid covers the middle ``side`` degrees of the field with squares side by side,
    ``positions`` in a row; by default the whole field, but for a margin, with squares of whole
    pixels, about 20 in a row. For ``ephys.mapping.reverse_correlation``.

    References
    ----------
    Jones & Palmer (1987), Journal of Neurophysiology 58:1187.
    """
    pixels = min(field.width_px, field.height_px)
    square = max(1, round(pixels / 20))
    if positions is None:
        positions = pixels // square if side is None else 20
    if side is None:
        side = min(positions * square, pixels) / field.pixels_per_degree
    places = (np.arange(positions) - (positions - 1) / 2) * side / positions
    return sweep(sparse_noise, y=places, x=places, check_size=side / positions, polarity=[-1, 1])


def hue(*, hues: int = 36, contrast: float = 0.5, encoding: str = "linear") -> StimulusSet:
    """Which hue does a unit prefer? Uniform fields around the isoluminant circle of DKL space.

    References
    ----------
    Derrington, Krauskopf & Lennie (1984), Journal of Physiology 357:241. De Valois, Cottaris,
    Elfar, Mahon & Wilson (2000), PNAS 97:4997.
    """
    circle = _around(360, hues)
    return sweep(patch, color="dkl", azimuth=circle, contrast=contrast, encoding=encoding)


def cone_weights(
    *,
    field: VisualField = STANDARD,
    contrast: float = 0.1,
    orientations: int = 8,
    phases: int = 4,
    spatial_frequencies: ArrayLike | None = None,
    encoding: str = "linear",
) -> StimulusSet:
    """What do L, M and S cones add to the response? Gratings that one kind of cone alone sees.

    ``part`` is ``"L"``, ``"M"``, ``"S"``, or ``"L+M+S"`` for gratings that all see alike; every
    cone that sees one sees it at the same contrast.

    References
    ----------
    Johnson, Hawken & Shapley (2004), Journal of Neurophysiology 91:2501.
    """
    shown = {
        "orientation": _around(180, orientations),
        "spatial_frequency": _frequencies(field, spatial_frequencies),
        "phase": _around(360, phases),
        "contrast": contrast,
        "encoding": encoding,
    }
    cones = {"L": (1, 0, 0), "M": (0, 1, 0), "S": (0, 0, 1), "L+M+S": (1, 1, 1)}
    sets = [
        sweep(grating, color="cones", cone_l=el, cone_m=em, cone_s=es, part=part, **shown)
        for part, (el, em, es) in cones.items()
    ]
    return _joined(sets)


def isoluminant_frequency(
    *,
    field: VisualField = STANDARD,
    contrast: float = 1.0,
    orientations: int = 8,
    phases: int = 4,
    spatial_frequencies: ArrayLike | None = None,
    encoding: str = "linear",
) -> StimulusSet:
    """Single or double opponent? Spatial frequency tuning to color and to luminance.

    ``part`` is ``"L-M"`` or ``"S"`` for isoluminant gratings along the cardinal axes of DKL space,
    else ``"luminance"``.

    References
    ----------
    Johnson, Hawken & Shapley (2001), Nature Neuroscience 4:409. Shapley & Hawken (2011), Vision
    Research 51:701.
    """
    shown = {
        "orientation": _around(180, orientations),
        "spatial_frequency": _frequencies(field, spatial_frequencies),
        "phase": _around(360, phases),
        "contrast": contrast,
        "encoding": encoding,
    }
    axes = {"L-M": (0, 0), "S": (90, 0), "luminance": (0, 90)}
    sets = [
        sweep(grating, color="dkl", azimuth=azimuth, elevation=elevation, part=part, **shown)
        for part, (azimuth, elevation) in axes.items()
    ]
    return _joined(sets)


def opponency(
    *, field: VisualField = STANDARD, baselines: ArrayLike = (0.0, 0.5, 1.0)
) -> StimulusSet:
    """Spatially, spectrally, double opponent? The exact grids of Harris, Mihai and Hare.

    ``part`` is ``"hue"``: 360 uniform HSL hues at full saturation and lightness 0.5;
    ``"grating"``: 1 to 16 cycles per image, below the Nyquist limit of the field, by 10
    orientations and 6 phases, both ends of either circle included as in theirs; and
    ``"baseline"``: uniform fields of the luminances to compare with, of which they take black.

    References
    ----------
    Harris, Mihai & Hare (2019), SVRHM workshop at NeurIPS, arXiv:1910.11086;
    github.com/ecs-vlc/opponency.
    """
    hues = sweep(patch, color="hsl", hue=np.arange(360.0), saturation=1, lightness=0.5, part="hue")
    cycles = np.arange(1.0, 17.0) / field.width
    frequencies, orientations, phases = (
        mesh.ravel()
        for mesh in np.meshgrid(
            cycles[cycles < field.nyquist], np.arange(10) * 20.0, np.arange(6) * 72.0, indexing="ij"
        )
    )
    gratings = paired(
        grating,
        spatial_frequency=frequencies,
        orientation=orientations,
        phase=phases,
        part="grating",
    )
    uniform = 2 * np.atleast_1d(np.asarray(baselines, float)) - 1
    greys = paired(
        patch, contrast=np.abs(uniform), polarity=np.where(uniform < 0, -1, 1), part="baseline"
    )
    return _joined([hues, gratings, greys])


def marques2020() -> StimulusSet:
    """The macaque V1 battery of Brain-Score, pixel by pixel as they draw it.

    ``part`` is ``"receptive_field"``, ``"orientation"``, ``"spatial_frequency"`` or ``"size"``. The
    stimuli stay where theirs are, half a degree off the centre of their own screen, at 56 pixels
    per degree and 8 bits, and are resized to the model's image, which blurs the finest.

    References
    ----------
    Marques, Schrimpf & DiCarlo (2021), bioRxiv 2021.03.01.433495.
    """
    return _marques(faithful=True)


def marques2020_corrected(*, field: VisualField = STANDARD) -> StimulusSet:
    """The same battery drawn at the model's own resolution, centred on each receptive field.

    Without blur and rounding. Of their grids, frequencies at or above the Nyquist limit of the
    field, discs that reach beyond it and discs below a pixel are left out: on the standard field
    the highest frequency and the largest disc.

    References
    ----------
    Marques, Schrimpf & DiCarlo (2021), bioRxiv 2021.03.01.433495.
    """
    return _marques(faithful=False, field=field)


def natural_images(
    *,
    field: VisualField = STANDARD,
    folder: str = "bsds500",
    per_photograph: int = 1,
    luminance: float | None = None,
    rms_contrast: float | None = None,
    seed: int = 0,
) -> StimulusSet:
    """What do units answer to the world? Crops of the test photographs of BSDS500.

    On a background of luminance 0.2, about their mean; on request matched to a ``luminance``,
    which is then the background's, and to an ``rms_contrast``. Pixels are those of the files,
    encoded as sRGB. ``folder`` is a path, or one below the folder that the environment variable
    EPHYS_DATA names.

    References
    ----------
    Vinje & Gallant (2000), Science 287:1273. Arbelaez, Maire, Fowlkes & Malik (2011), IEEE TPAMI
    33:898.
    """
    matched = {
        "luminance": np.nan if luminance is None else luminance,
        "rms_contrast": np.nan if rms_contrast is None else rms_contrast,
    }
    crops = random_crops(
        folder, field, per_photograph=per_photograph, **matched, split="test", seed=seed
    )
    grey = 0.2 if luminance is None else luminance
    return paired(photograph, **crops, **matched, mean_luminance=grey, encoding="srgb")


PROTOCOLS: dict[str, Callable[..., StimulusSet]] = {
    make.__name__: make
    for make in (
        *(orientation, spatial_frequency, contrast, contrast_invariance),
        *(contrast_invariance_patches, size, surround, cross_orientation, direction),
        *(receptive_field, hue, cone_weights, isoluminant_frequency, opponency),
        *(marques2020, marques2020_corrected, natural_images),
    )
}


@dataclass(frozen=True)
class Battery:
    """Protocols that are run one after the other.

    Parameters
    ----------
    purpose : one line.
    members : names of protocols; of those of color only for models that see color.
    """

    purpose: str
    members: tuple[str, ...]


BATTERIES = {
    "v1": Battery(
        "The full battery, one protocol after the other.",
        (
            *("orientation", "spatial_frequency", "contrast", "contrast_invariance", "size"),
            *("surround", "cross_orientation", "direction", "receptive_field"),
            *("hue", "cone_weights", "isoluminant_frequency"),
        ),
    )
}
DEFAULT = ("contrast_invariance", "contrast_invariance_patches")


def _marques(*, faithful: bool, field: VisualField = STANDARD) -> StimulusSet:
    """The four sets of gratings, in the order of theirs, with their parameters."""
    radii = 2 ** np.linspace(-2.25, 3.25, 12) / 2  # degrees
    frequencies = 2 ** np.linspace(-1.375, 3.875, 22)
    octaves = frequencies[4:20:4]  # .77, 1.54, 3.08 and 6.17 cycles per degree
    twelve, six, eight = _around(180, 12), _around(180, 6), _around(360, 8)
    places = np.arange(-10, 11) * 0.25
    spots = {"radius": 1 / 6, "frequency": 3, "orientation": [0, 45, 90, 135], "phase": [0, 180]}
    sets = [
        ("receptive_field", spots | {"y": places, "x": places}),
        *(
            ("orientation", {"radius": cycles / (2 * octave), "frequency": octave} | fine)
            for fine in ({"orientation": twelve, "phase": eight},)
            for cycles in (2, 3, 4)
            for octave in octaves
        ),
        (
            "spatial_frequency",
            {"radius": [0.75, 2.25], "frequency": frequencies, "orientation": six, "phase": eight},
        ),
        ("size", {"radius": radii, "frequency": octaves, "orientation": six, "phase": eight}),
    ]
    largest = min(field.width, field.height) / 2
    shown = []
    for part, axes in sets:
        mesh = np.meshgrid(*map(np.atleast_1d, axes.values()), indexing="ij")
        theirs = {name: values.ravel() for name, values in zip(axes, mesh, strict=True)}
        common = {"spatial_frequency": theirs["frequency"], "part": part}
        middle = 0.5 if faithful else 0.0
        own = from_theirs(
            orientation=theirs["orientation"],
            phase=theirs["phase"],
            position_x=theirs.get("x", middle),
            position_y=theirs.get("y", middle),
        )
        if faithful:
            grey = {"mean_luminance": BACKGROUND / WHITE}
            shown.append(paired(marques_grating, radius=theirs["radius"], **own, **common, **grey))
            continue
        whole = paired(grating, diameter=2 * theirs["radius"], **own, **common)
        fits = theirs["radius"] + np.maximum(abs(own["x"]), abs(own["y"])) <= largest
        fits &= 2 * theirs["radius"] * field.pixels_per_degree >= 1
        shown.append(whole[fits & (theirs["frequency"] < field.nyquist)])
    return _joined(shown)


def _joined(sets: Sequence[StimulusSet]) -> StimulusSet:
    return reduce(lambda some, more: some + more, sets)


def _around(circle: float, count: int) -> np.ndarray:
    return np.arange(count) * circle / count


def _frequencies(field: VisualField, chosen: ArrayLike | None, *, per_octave: int = 1) -> ArrayLike:
    """From two cycles across the field to below the Nyquist limit, where none are chosen."""
    if chosen is not None:
        return chosen
    lowest = 2 / min(field.width, field.height)
    steps = np.arange(per_octave * max(1, np.log2(field.nyquist / lowest)))
    frequencies = lowest * 2 ** (steps / per_octave)
    return frequencies[frequencies < field.nyquist]


def _diameters(field: VisualField) -> np.ndarray:
    """From four pixels to the whole field, in half octaves."""
    pixels = min(field.width_px, field.height_px)
    steps = np.arange(np.floor(2 * np.log2(max(pixels / 4, 1))), -1, -1)
    return pixels / field.pixels_per_degree * 2 ** (-steps / 2)


def _document(name: str) -> str:
    return inspect.getdoc(PROTOCOLS[name]) or ""
