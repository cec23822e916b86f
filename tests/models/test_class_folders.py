"""Images in class folders: labels, order, splits, and refusals."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ephys.models.labeled_images import LabeledImages, read_labeled_images


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


def values(images: LabeledImages) -> list[int]:
    return images.images[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("held", ["test", "val"])
def test_class_folders_with_a_test(tmp_path: Path, held: str) -> None:
    write_classes(tmp_path / "train", {"b": 2, "a": 3, "c": 1})
    write_classes(tmp_path / held, {"b": 1, "a": 1})
    train, test = read_labeled_images(tmp_path)
    assert train.classes == test.classes == ("a", "b", "c")
    assert values(train) == [50, 51, 52, 0, 1, 100]  # "a" was written second
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 2]
    assert (values(test), test.labels.tolist()) == ([50, 0], [0, 1])
    assert train.labels.dtype == np.int64
    assert train.source == (
        f"{tmp_path.name}, 3 class folders ({held}/ as test; no test image of 1 of the classes "
        "(c ...))"
    )


def test_labels_and_order_are_those_of_torchvision(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    for split in ("train", "test"):
        write_classes(tmp_path / split, {"zebra": 2, "Ant": 3, "cow": 2, "10": 1, "9": 1})
    folder = ImageFolder(str(tmp_path / "train"))
    train, _ = read_labeled_images(tmp_path)
    assert list(train.classes) == folder.classes
    assert train.labels.tolist() == folder.targets
    assert values(train) == [np.asarray(image)[0, 0, 0] for image, _ in folder]


def test_a_test_folder_goes_before_a_validation_folder(tmp_path: Path) -> None:
    for count, split in enumerate(["train", "test", "val"], 2):
        write_classes(tmp_path / split, {"a": count, "b": count})
    train, test = read_labeled_images(tmp_path)
    assert (len(train.labels), len(test.labels)) == (4, 6)
    assert "(test/ as test; val/ left out)" in train.source


def test_class_folders_without_a_test_are_split_class_by_class(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 10, "b": 44, "train": 2})
    train, test = read_labeled_images(tmp_path)
    assert np.bincount(train.labels).tolist() == [8, 36, 1]
    assert np.bincount(test.labels).tolist() == [2, 8, 1]  # a fifth, rounded down, and at least 1
    every = [*range(10), *range(50, 94), *range(100, 102)]
    assert sorted(values(train) + values(test)) == every
    assert all(value // 50 == label for value, label in zip(values(test), test.labels, strict=True))
    for part in (train, test):
        assert values(part) == sorted(values(part))
    assert "1 in 5 of each class held out as test, seed 0" in train.source
    again = read_labeled_images(tmp_path)
    assert [values(part) for part in again] == [values(train), values(test)]
    assert values(test)[:2] != [0, 1]  # drawn, and not the first by name


def test_what_lies_beside_the_images(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 2, "b": 2})
    (tmp_path / ".cache").mkdir()
    (tmp_path / "a" / ".DS_Store").write_bytes(b"hidden")
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    write_image(tmp_path / "b" / "image.bmp", np.zeros((8, 8, 3), np.uint8))
    train, _ = read_labeled_images(tmp_path)
    assert train.classes == ("a", "b")
    assert "2 files left out that are not .jpeg, .jpg, .png" in train.source


# Refusals


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        write_classes(tmp_path / split, {"cat": 2, "dog": 2})
    return tmp_path


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_empty_class_folder(pets: Path, split: str) -> None:
    write_classes(pets / "train", {"eel": 1})
    folder = pets / split / "eel"
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    (folder / "notes.txt").write_text("none yet")
    assert refusal(pets) == (
        f"class folder {folder} holds no image (.jpeg, .jpg, .png); fill or remove it"
    )


def test_classes_of_a_split(pets: Path) -> None:
    write_classes(pets / "test", {"eel": 1})
    assert refusal(pets) == (
        f"{pets / 'test' / 'eel'} is a class that train/ does not have; add it or remove it"
    )


def test_splits_that_lack_their_other_half(tmp_path: Path) -> None:
    write_classes(tmp_path / "a" / "train", {"cat": 2, "dog": 2})
    assert refusal(tmp_path / "a") == (
        f"{tmp_path / 'a'} holds train/ but neither test/ nor val/; add one, or give "
        f"{tmp_path / 'a' / 'train'}, of which 1 in 5 is then held out"
    )
    read_labeled_images(tmp_path / "a" / "train")
    write_classes(tmp_path / "b" / "val", {"cat": 2, "dog": 2})
    assert refusal(tmp_path / "b") == (
        f"{tmp_path / 'b'} holds val/ but no train/ of class folders; add it"
    )


def test_too_few_classes_or_images(tmp_path: Path) -> None:
    write_classes(tmp_path / "one", {"cat": 3})
    assert refusal(tmp_path / "one") == (
        f"{tmp_path / 'one'} holds one class folder, 'cat'; a classifier takes at least 2"
    )
    write_classes(tmp_path / "few", {"cat": 3, "dog": 1})
    assert refusal(tmp_path / "few") == (
        f"class folder {tmp_path / 'few' / 'dog'} holds 1 image; at least 2 are needed to hold one "
        f"out as test: add images, or divide {tmp_path / 'few'} into train/ and test/"
    )
