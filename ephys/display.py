"""An sRGB display, as cones see it: what colored stimuli are made with, and responses read with.

Numbers only, from linear rgb to the excitations of L, M and S cones. The cones are those of Smith &
Pokorny (1975), whose L + M is luminance; :mod:`ephys.stimuli.colors` says on which XYZ.
"""

import numpy as np

CONES = ("L", "M", "S")

# IEC 61966-2-1. From its chromaticities rather than its matrix of four digits, which is this one
# rounded: so grey has exactly the chromaticity of D65, and the inverse is not another rounded one.
_XY = np.array([[0.64, 0.33], [0.30, 0.60], [0.15, 0.06], [0.3127, 0.3290]])  # R, G, B, white
_XYZ = np.column_stack([_XY, 1 - _XY.sum(1)]) / _XY[:, 1:]  # at Y = 1
_PRIMARIES, WHITE_XYZ = _XYZ[:3].T, _XYZ[3]
RGB_TO_XYZ = _PRIMARIES * np.linalg.solve(_PRIMARIES, WHITE_XYZ)
# Smith & Pokorny (1975) as in Vienot, Brettel & Mollon (1999). L + M is 0.99996 Y. The unit of S,
# which is such that S / (L + M) of 400 nm is 1, matters to no contrast.
XYZ_TO_LMS = np.array(
    [[0.15514, 0.54312, -0.03286], [-0.15514, 0.45684, 0.03286], [0.0, 0.0, 0.01608]]
)
RGB_TO_LMS = XYZ_TO_LMS @ RGB_TO_XYZ  # (cone, rgb)
WHITE_LMS = RGB_TO_LMS.sum(1)

# The cardinal axes of DKL, L - M, S and luminance: in rgb, (axis, rgb), with 1 as the largest
# entry; and the cone contrasts of such a modulation of a grey, (axis, cone).
_EXCITATIONS = np.stack([[1, -1, 0], [0, 0, 1], WHITE_LMS])
_RGB = np.linalg.solve(RGB_TO_LMS, _EXCITATIONS.T).T
_LARGEST = abs(_RGB).max(1, keepdims=True)
CARDINAL = _RGB / _LARGEST
CARDINAL_CONTRASTS = _EXCITATIONS / WHITE_LMS / _LARGEST
