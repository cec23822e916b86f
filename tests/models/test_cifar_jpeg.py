"""The JPEG copy of CIFAR-10, and what is refused in it."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ephys.models import cifar
from ephys.models.labeled_images import read_labeled_images

CLASSES10 = [
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
]


def jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def jpeg_arrays() -> dict[str, np.ndarray]:
    """Five images to train on and three to test on, of three classes."""
    arrays = {"class_names": np.array(["ant", "bee", "cat"])}
    for name, labels in [("train", [0, 0, 1, 1, 2]), ("test", [0, 1, 2])]:
        files = [jpeg(np.full((32, 32, 3), 40 * label + 20, np.uint8)) for label in labels]
        arrays[f"{name}_jpeg"] = np.frombuffer(b"".join(files), np.uint8)
        arrays[f"{name}_offsets"] = np.cumsum([0, *map(len, files)])
        arrays[f"{name}_labels"] = np.array(labels, np.uint8)
    return arrays


def write_jpeg_archive(folder: Path, **changed: np.ndarray | None) -> Path:
    arrays = {name: array for name, array in (jpeg_arrays() | changed).items() if array is not None}
    path = folder / "cifar10_jpeg.npz"
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return path


def refusal(path: Path, **options: Any) -> str:
    """What reading is refused with: one line, that names where."""
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        read_labeled_images(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_jpeg_copy(tmp_path: Path) -> None:
    path = write_jpeg_archive(tmp_path)
    for given in (path, tmp_path):
        train, test = read_labeled_images(given)
        assert train.classes == test.classes == ("ant", "bee", "cat")
        np.testing.assert_array_equal(train.labels, [0, 0, 1, 1, 2])
        # Gray of one value is kept by JPEG to within a step of its quantization of the mean.
        expected = np.broadcast_to(40 * test.labels[:, None, None, None] + 20, test.images.shape)
        np.testing.assert_allclose(test.images.astype(int), expected, atol=1)
        assert "JPEG copy of CIFAR-10 (lossy: color at half resolution" in train.source
        assert "5 + 3 images of 50000 + 10000" in train.source


def test_the_whole_jpeg_copy(shared_data: Callable[[str], Path]) -> None:
    train, test = read_labeled_images(shared_data("cifar10_jpeg"))
    assert train.images.shape == (50_000, 3, 32, 32)
    assert test.images.shape == (10_000, 3, 32, 32)
    assert train.classes == tuple(CLASSES10)
    assert np.bincount(train.labels).tolist() == [5000] * 10
    assert np.bincount(test.labels).tolist() == [1000] * 10
    values = np.arange(256)
    shares = np.stack([np.bincount(train.images[:, c].ravel(), minlength=256) for c in range(3)])
    shares = shares / shares[0].sum()
    means = shares @ values
    deviations = np.sqrt(shares @ values**2 - means**2)
    np.testing.assert_array_equal(means.round(2), [125.27, 122.93, 113.86])  # of its SOURCE.txt
    np.testing.assert_array_equal(deviations.round(2), [62.53, 61.91, 66.46])
    assert train.source == (
        "JPEG copy of CIFAR-10 (lossy: color at half resolution, fine detail altered; "
        "accuracies are not those of CIFAR-10)"
    )


def test_the_jpeg_copy_at_another_size(tmp_path: Path) -> None:
    train, _ = read_labeled_images(write_jpeg_archive(tmp_path), size_px=16)
    assert train.images.shape == (5, 3, 16, 16)
    assert train.source.endswith("central squares resized to 16 px")


def test_a_damaged_jpeg_archive(tmp_path: Path) -> None:
    arrays = jpeg_arrays()
    path = tmp_path / "cifar10_jpeg.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(arrays["train_jpeg"].tobytes()) + 600] ^= 1
    for content in (whole[:-30], whole[:100], bytes(flipped)):
        path.write_bytes(content)
        assert refusal(path).startswith(f"{path} is damaged, or holds more than plain arrays: ")
    write_jpeg_archive(tmp_path, train_offsets=np.array([0, {}], object))
    assert "Object arrays cannot be loaded when allow_pickle=False" in refusal(path)


def test_arrays_of_a_jpeg_archive(tmp_path: Path) -> None:
    path = write_jpeg_archive(tmp_path, test_offsets=None)
    assert refusal(path).startswith(f"{path} holds no array 'test_offsets'; needed are class_names")
    wrong: list[tuple[str, np.ndarray, str]] = [
        ("train_jpeg", np.zeros(3), "float64 of shape (3,); a list of uint8"),
        ("train_jpeg", np.zeros(3, np.uint16), "uint16 of shape (3,); a list of uint8"),
        ("test_labels", np.zeros((3, 1), np.uint8), "uint8 of shape (3, 1); a list of integer"),
        ("test_offsets", np.zeros(4), "float64 of shape (4,); a list of integer"),
        ("class_names", np.arange(3), "int64 of shape (3,); a list of str_"),
    ]
    for name, array, said in wrong:
        write_jpeg_archive(tmp_path, **{name: array})
        assert refusal(path) == f"{name} of {path} is {said} is needed"
    with zipfile.ZipFile(path, "w") as archive:
        for name in jpeg_arrays():
            archive.writestr(f"{name}.npy", b"no array")
    assert refusal(path).startswith(f"class_names of {path} is |S8 of shape ()")


def test_offsets_that_do_not_increase_or_go_beyond_the_end(tmp_path: Path) -> None:
    right = jpeg_arrays()["test_offsets"]
    end = int(right[-1])
    for entry, value in [(0, 5), (0, -1), (1, 0), (2, int(right[1])), (2, -8), (2, 10**12)]:
        wrong = right.copy()
        wrong[entry] = value
        path = write_jpeg_archive(tmp_path, test_offsets=wrong)
        assert refusal(path) == (
            f"entry {entry} of test_offsets of {path} is {value}; they have to increase from 0 to "
            f"{end}, the length of test_jpeg"
        )
    for value in (end - 1, end + 1, 10**12):
        path = write_jpeg_archive(tmp_path, test_offsets=np.array([*right[:-1], value]))
        assert f"entry 3 of test_offsets of {path} is {value}; " in refusal(path)
    unsigned = write_jpeg_archive(tmp_path, test_offsets=right[::-1].astype(np.uint64))
    assert f"entry 0 of test_offsets of {unsigned} is {end}; " in refusal(unsigned)
    few = write_jpeg_archive(tmp_path, test_offsets=right[:-1])
    assert f"test_offsets of {few} has 3 entries for 3 labels" in refusal(few)
    none = np.array([], np.uint8)
    empty = write_jpeg_archive(tmp_path, test_offsets=np.array([0]), test_labels=none)
    assert f"test_offsets of {empty} has 1 entries for 0 labels" in refusal(empty)


def test_a_label_without_a_class(tmp_path: Path) -> None:
    path = write_jpeg_archive(tmp_path, test_labels=np.array([0, 1, 3], np.uint8))
    assert refusal(path) == (
        f"record 2 (from 0) of test_labels of {path} has label 3; there are 3 classes, 0 to 2"
    )
    write_jpeg_archive(tmp_path, test_labels=np.array([0, -1, 2]))
    assert "record 1 (from 0) of test_labels" in refusal(path)


def test_a_file_too_large_to_be_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npz = write_jpeg_archive(tmp_path, test_jpeg=np.zeros(70_000, np.uint8))
    monkeypatch.setattr(cifar, "LARGEST_FILE", 65_536)
    assert npz.stat().st_size < 65_536
    assert refusal(npz).startswith(f"{npz} holds 7")
    assert refusal(npz).endswith("bytes, above 65536; no file understood is that large")


def test_a_damaged_image_of_a_jpeg_archive(tmp_path: Path) -> None:
    arrays = jpeg_arrays()
    starts = arrays["train_offsets"]
    damaged = arrays["train_jpeg"].copy()
    damaged[starts[3] : starts[4]] = 7
    path = write_jpeg_archive(tmp_path, train_jpeg=damaged)
    assert refusal(path) == (
        f"image 3 of train_jpeg of {path} cannot be read as an image: it is no JPEG or PNG; "
        "remove or replace it"
    )
