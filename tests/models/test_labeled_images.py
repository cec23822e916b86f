"""Labeled images of any source: their sizes, memory, and what is no source at all."""

import tarfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ephys.models import labeled_images
from ephys.models.labeled_images import read_labeled_images

RNG = np.random.default_rng(7)


def write_image(path: Path, pixels: np.ndarray | Image.Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path)
    return path


def write_classes(folder: Path, counts: Mapping[str, int], side: int = 8) -> Path:
    """Class folders of so many images each, every image of one value that no other has."""
    for label, (name, count) in enumerate(counts.items()):
        for index in range(count):
            value = np.full((side, side, 3), 50 * label + index, np.uint8)
            write_image(folder / name / f"{index:03d}.png", value)
    return folder


def refusal(path: Path, **options: Any) -> str:
    """What reading is refused with: one line, that names where."""
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        read_labeled_images(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        write_classes(tmp_path / split, {"cat": 2, "dog": 2})
    return tmp_path


def test_more_images_than_a_thread_takes_at_once(tmp_path: Path) -> None:
    count = labeled_images.PER_TASK + 3
    for split in ("train", "test"):
        for index in range(count):
            value = np.array([[[index % 256, index // 256, 0]]], np.uint8)
            write_image(tmp_path / split / "a" / f"{index:04d}.png", value)
        write_image(tmp_path / split / "b" / "0.png", np.full((1, 1, 3), 9, np.uint8))
    train, _ = read_labeled_images(tmp_path)
    red, green = train.images[:-1, 0, 0, 0].astype(int), train.images[:-1, 1, 0, 0].astype(int)
    np.testing.assert_array_equal(red + 256 * green, np.arange(count))


def test_a_size_takes_the_central_square(tmp_path: Path) -> None:
    picture = RNG.integers(0, 256, (8, 14, 3), dtype=np.uint8)
    for split in ("train", "test"):
        write_image(tmp_path / split / "a" / "wide.png", picture)
        write_image(tmp_path / split / "b" / "tall.png", picture.transpose(1, 0, 2))
    train, _ = read_labeled_images(tmp_path, size_px=8)
    np.testing.assert_array_equal(train.images[0], picture[:, 3:11].transpose(2, 0, 1))
    np.testing.assert_array_equal(train.images[1], picture[:, 3:11].transpose(2, 1, 0))
    assert "central squares resized to 8 px" in train.source


@pytest.mark.parametrize("size_px", [5, 16, 24, 40])
def test_resized_as_torchvision_resizes(tmp_path: Path, size_px: int) -> None:
    from torchvision.transforms.functional import resize

    pixels = RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    for split in ("train", "test"):
        write_image(tmp_path / split / "a" / "0.png", 255 - pixels)
        write_image(tmp_path / split / "b" / "0.png", pixels)
    train, test = read_labeled_images(tmp_path, size_px=size_px)
    picture = Image.fromarray(pixels)
    expected = np.asarray(resize(picture, [size_px]))  # a PIL image: bilinear, antialiased
    np.testing.assert_array_equal(train.images[1], expected.transpose(2, 0, 1))
    assert test.images.shape == (2, 3, size_px, size_px)
    assert f"central squares resized to {size_px} px" in test.source


def test_a_fine_checkerboard_made_small_is_gray(tmp_path: Path) -> None:
    """Without antialiasing it would be black, white or a coarse checkerboard."""
    checkerboard = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    for name in ("a", "b"):
        for split in ("train", "test"):
            write_image(tmp_path / split / name / "0.png", checkerboard)
    train, _ = read_labeled_images(tmp_path, size_px=8)
    # The triangle of 8 px on both sides weighs black and white alike, but where an edge cuts it.
    np.testing.assert_allclose(train.images[..., 1:-1, 1:-1].astype(float), 127.5, atol=1)


# Refusals


def test_what_is_nothing_understood_is_told_what_is(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.csv").write_text("image,label\n")
    (tmp_path / "no.tar.gz").write_bytes(b"")
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "text.csv", "readme")
    for name in ("empty", "text.csv", "no.tar.gz", "other.tar.gz"):
        message = refusal(tmp_path / name)
        assert message.startswith(f"{tmp_path / name} is none of the labeled images understood: ")
        assert "CIFAR-10 or CIFAR-100" in message
    assert refusal(tmp_path / "gone").startswith(f"there is no {tmp_path / 'gone'}; give CIFAR-10")
    assert refusal(tmp_path, size_px=0) == "size_px=0 (--size-px) is below 1"


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_image_of_another_size(pets: Path, split: str) -> None:
    path = write_image(pets / split / "dog" / "odd.png", np.zeros((6, 9, 3), np.uint8))
    assert refusal(pets) == (
        f"{path} has 9 x 6 pixels, the images before it 8 x 8; give a size_px (--size-px) for all"
    )
    read_labeled_images(pets, size_px=8)


@pytest.mark.parametrize(("limit", "kind"), [(40, "Warning"), (20, "Error")])
def test_decompression_bombs(
    pets: Path, monkeypatch: pytest.MonkeyPatch, limit: int, kind: str
) -> None:
    """Pillow warns of images above its limit, and refuses those above twice of it."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tests' own filter would make errors of them anyway
        message = refusal(pets)
        with pytest.raises(ValueError, match="exceeds limit") as caught:
            read_labeled_images(pets)
    assert message.startswith(f"{pets / 'train' / 'cat' / '000.png'} cannot be read as an image: ")
    assert "Image size (64 pixels) exceeds limit of" in message
    assert type(caught.value.__cause__).__name__ == f"DecompressionBomb{kind}"


def test_more_than_memory_is_to_hold(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labeled_images, "LARGEST_IMAGES", 4 * 3 * 64)
    read_labeled_images(pets)
    assert refusal(pets, size_px=9) == (
        "4 images of 9 x 9 pixels take 972 bytes of memory, above 768; take a smaller size_px "
        "(--size-px), or fewer images"
    )


def test_a_size_beyond_memory_is_refused_before_an_image_is_read(pets: Path) -> None:
    (pets / "train" / "cat" / "000.png").write_bytes(b"no image")
    assert refusal(pets, size_px=10**6).startswith("4 images of 1000000 x 1000000 pixels take ")
