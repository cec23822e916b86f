"""One image decoded: exactly, or refused in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ephys.models.image_sources import decoded

RNG = np.random.default_rng(7)


def refusal(path: Path) -> str:
    """What decoding is refused with: one line."""
    with pytest.raises(ValueError, match=str(path)) as caught:
        decoded(path, str(path))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_gray_and_palette_images_become_rgb(tmp_path: Path) -> None:
    gray = np.arange(64, dtype=np.uint8).reshape(8, 8)
    palette = Image.fromarray(gray % 2 * 200).quantize(2)
    bilevel = Image.fromarray(gray % 2 * 255).convert("1", dither=Image.Dither.NONE)
    images = [Image.fromarray(gray), palette, bilevel]
    for image, expected in zip(images, [gray, gray % 2 * 200, gray % 2 * 255], strict=True):
        image.save(tmp_path / "0.png")
        found = decoded(tmp_path / "0.png", "0.png")
        np.testing.assert_array_equal(found, np.broadcast_to(expected, (3, 8, 8)))


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_an_image_cut_anywhere(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"one.{kind}"
    Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    assert decoded(path, "one").shape == (3, 8, 8)
    # What the end chunk of a PNG lacks is no pixel; Pillow reads on.
    for length in range(0, len(whole) - (16 if kind == "png" else 0), 7):
        path.write_bytes(whole[:length])
        message = refusal(path)
        assert message.startswith(f"{path} cannot be read as an image: ")
        assert message.endswith("; remove or replace it")


def test_what_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "page.jpg"
    path.write_text("<html>404</html>")
    assert refusal(path) == (
        f"{path} cannot be read as an image: it is no JPEG or PNG; remove or replace it"
    )
    Image.new("RGB", (8, 8)).save(path, "BMP")  # other kinds than named are not opened at all
    assert f"{path} cannot be read as an image: it is no JPEG or PNG" in refusal(path)
    path.unlink()
    path.mkdir()
    assert f"{path} cannot be read as an image: " in refusal(path)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "CMYK", "I;16", "P", "RGB"])
def test_images_of_more_than_colors(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("odd.jpg" if mode == "CMYK" else "odd.png")
    transparency = {"P": 0, "RGB": (0, 0, 0)}.get(mode)
    of_png: dict[str, Any] = {} if transparency is None else {"transparency": transparency}
    Image.new(mode, (8, 8)).save(path, **of_png)
    said = f"{mode} with transparency" if of_png else mode
    assert refusal(path) == (
        f"{path} is neither RGB nor gray (PIL mode {said}); convert it to RGB, or remove it"
    )
