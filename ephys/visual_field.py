"""Where on the screen each pixel lies, in degrees of visual angle."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class VisualField:
    """A rectangle of visual angle covered by pixels.

    Positions are those of the pixels' *centres*, in degrees from the origin: x to the right, y
    upward. The origin is the centre of the field, until ``crop`` or ``centered_on`` move the field
    away from it.

    Parameters
    ----------
    height_px, width_px : size in pixels, at least 1.
    pixels_per_degree : resolution, above 0.
    right_px, up_px : where the centre lies in the field that this one was cropped from, in pixels
        from that one's centre.
    origin_x, origin_y : where the origin lies, in degrees from the centre of the uncropped field.
    screen_height_px, screen_width_px : size of the field that this one was cropped from; by default
        it is not cropped.

    Raises
    ------
    ValueError : for a size or a resolution that is not positive, or an origin that is nowhere.
    """

    height_px: int
    width_px: int
    pixels_per_degree: float
    right_px: float = 0.0
    up_px: float = 0.0
    origin_x: float = 0.0
    origin_y: float = 0.0
    screen_height_px: int = 0
    screen_width_px: int = 0

    def __post_init__(self) -> None:
        for name in ("height_px", "width_px"):
            size = getattr(self, name)
            if not (1 <= size < np.inf and size == int(size)):
                raise ValueError(f"{name}={size}; a field has a whole number of pixels, from 1")
        if not 0 < self.pixels_per_degree < np.inf:
            raise ValueError(f"pixels_per_degree={self.pixels_per_degree} is not above 0")
        for name in ("right_px", "up_px", "origin_x", "origin_y"):
            if not np.isfinite(getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)} is not a number")
        if not self.screen_height_px:
            object.__setattr__(self, "screen_height_px", self.height_px)
            object.__setattr__(self, "screen_width_px", self.width_px)

    @property
    def x(self) -> np.ndarray:
        """Degrees right of the origin of each column's centre, ascending: (width_px,)."""
        column = np.arange(self.width_px) - (self.width_px - 1) / 2
        return (self.right_px + column) / self.pixels_per_degree - self.origin_x

    @property
    def y(self) -> np.ndarray:
        """Degrees above the origin of each row's centre, descending: (height_px,)."""
        row = np.arange(self.height_px) - (self.height_px - 1) / 2
        return (self.up_px - row) / self.pixels_per_degree - self.origin_y

    @property
    def width(self) -> float:
        """Degrees of visual angle from edge to edge."""
        return self.width_px / self.pixels_per_degree

    @property
    def height(self) -> float:
        """Degrees of visual angle from edge to edge."""
        return self.height_px / self.pixels_per_degree

    @property
    def nyquist(self) -> float:
        """Highest spatial frequency the pixels can carry, in cycles per degree."""
        return self.pixels_per_degree / 2

    @property
    def screen(self) -> "VisualField":
        """The field that this one was cropped from, with the same origin."""
        return replace(
            self,
            height_px=self.screen_height_px,
            width_px=self.screen_width_px,
            right_px=0.0,
            up_px=0.0,
        )

    def crop(self, rows: slice, columns: slice) -> "VisualField":
        """The field of some rows and columns, every pixel where it was.

        Raises
        ------
        ValueError : if the slices have a step or hold no pixel.
        """
        top, bottom = _bounds("rows", rows, self.height_px)
        left, right = _bounds("columns", columns, self.width_px)
        return replace(
            self,
            height_px=bottom - top,
            width_px=right - left,
            right_px=self.right_px + (left + right - self.width_px) / 2,
            up_px=self.up_px - (top + bottom - self.height_px) / 2,
        )

    def centered_on(self, x: float, y: float) -> "VisualField":
        """The same pixels with the origin moved to (x, y) degrees: what is drawn at the origin
        then appears there."""
        return replace(self, origin_x=self.origin_x + x, origin_y=self.origin_y + y)


def _bounds(name: str, span: slice, length: int) -> tuple[int, int]:
    start, stop, step = span.indices(length)
    if step != 1 or stop <= start:
        raise ValueError(f"{name}={span} of {length} pixels is not an unbroken, non-empty range")
    return start, stop
