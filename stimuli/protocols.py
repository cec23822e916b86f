"""Named experiments: which stimuli to show, and whose experiment it was."""

import numpy as np
from numpy.typing import ArrayLike

from ephys.stimuli.gratings import gabor, grating
from ephys.stimuli.sweep import StimulusSet, sweep

PAPER_CONTRASTS = (0.10, 0.50, 0.75, 0.90)
LOW_CONTRASTS = (0.02, 0.05, 0.20)
# The Gabor bank's 2 and 3 cycles per window of 15 and of 21 pixels, at 15 pixels per degree.
BANK_SPATIAL_FREQUENCIES = (2 * 15 / 21, 2.0, 3 * 15 / 21, 3.0)
# The authors' patches, of which the image is known, not the pixels; here 48 pixels, 3.2 degrees.
PATCH_SPATIAL_FREQUENCIES = (2.63 / 3.2, 3.91 / 3.2, 5.85 / 3.2)
PATCH_SD = 0.119 * 3.2


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
    Veerabadran, Raina & de Sa (2021), SVRHM workshop at NeurIPS.
    Sclar & Freeman (1982), Experimental Brain Research 46:457.
    """
    return sweep(
        grating,
        spatial_frequency=spatial_frequencies,
        contrast=np.sort(np.atleast_1d(contrasts)),
        orientation=np.arange(orientations) * 180 / orientations,
        phase=np.arange(phases) * 360 / phases,
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
    """
    return sweep(
        gabor,
        spatial_frequency=spatial_frequencies,
        envelope_sd=envelope_sd,
        contrast=np.sort(np.atleast_1d(contrasts)),
        orientation=np.arange(orientations) * 180 / orientations,
        phase=np.arange(phases) * 360 / phases,
    )


PROTOCOLS = {
    "contrast_invariance": contrast_invariance,
    "contrast_invariance_patches": contrast_invariance_patches,
}
