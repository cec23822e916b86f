"""The official files of CIFAR: every version that is read, and each refusal in one line."""

import io
import os
import pickle
import struct
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ephys.models import cifar
from ephys.models.labeled_images import read_labeled_images

RNG = np.random.default_rng(7)
CLASSES10 = [
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
]
CLASSES100 = [f"class_{index:02d}" for index in range(100)]
# Two images in each of CIFAR-10's batches, three in those of CIFAR-100.
PIXELS10 = RNG.integers(0, 256, (6, 2, 3072), dtype=np.uint8)
LABELS10 = np.array([[9, 0], [1, 2], [3, 4], [5, 6], [7, 8], [8, 1]])
PIXELS100 = RNG.integers(0, 256, (2, 3, 3072), dtype=np.uint8)
LABELS100 = np.array([[99, 0, 50], [7, 8, 9]])
COARSE = bytes([19, 0, 4])


def python2_pickle(value: Any) -> bytes:
    """Protocol 2 as Python 2 writes it, opcode by opcode: its text is bytes, in BINSTRINGs."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value: Any) -> bytes:
    if isinstance(value, dict):
        items = b"".join(_python2(name) + _python2(item) for name, item in value.items())
        return b"}(" + items + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(_python2(item) for item in value) + b"e"
    if isinstance(value, bytes):
        short = len(value) < 256
        return (
            b"U" + bytes([len(value)]) if short else b"T" + struct.pack("<i", len(value))
        ) + value
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    assert isinstance(value, np.ndarray)
    assert value.dtype == np.uint8
    fortran = not value.flags.c_contiguous
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    shape = b"".join(b"J" + struct.pack("<i", side) for side in value.shape)
    minus_1 = b"J\xff\xff\xff\xff"
    dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNN" + 2 * minus_1 + b"K\x00tb"
    content = _python2(value.tobytes("A"))
    return (
        made
        + b"(K\x01("
        + shape
        + b"t"
        + dtype
        + (b"\x88" if fortran else b"\x89")
        + content
        + b"tb"
    )


def binary10() -> dict[str, bytes]:
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    files = {
        name: b"".join(
            bytes([label]) + image.tobytes() for label, image in zip(*batch, strict=True)
        )
        for name, *batch in zip(names, LABELS10, PIXELS10, strict=True)
    }
    return files | {"batches.meta.txt": "\n".join([*CLASSES10, "", ""]).encode()}


def python10(dump: Callable[[Any], bytes] = python2_pickle) -> dict[str, bytes]:
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    files = {
        name: dump(
            {
                b"batch_label": b"training batch 1 of 5",
                b"labels": [int(label) for label in labels],
                b"data": pixels,
                b"filenames": [b"leptodactylus_pentadactylus_s_000004.png", b"camion_s_000148.png"],
            }
        )
        for name, labels, pixels in zip(names, LABELS10, PIXELS10, strict=True)
    }
    meta = {b"num_cases_per_batch": 2, b"label_names": [name.encode() for name in CLASSES10]}
    return files | {"batches.meta": dump(meta | {b"num_vis": 3072})}


def binary100() -> dict[str, bytes]:
    files = {
        name: b"".join(
            bytes([coarse, label]) + image.tobytes()
            for coarse, label, image in zip(COARSE, labels, pixels, strict=True)
        )
        for name, labels, pixels in zip(
            ["train.bin", "test.bin"], LABELS100, PIXELS100, strict=True
        )
    }
    return files | {
        "fine_label_names.txt": "\n".join([*CLASSES100, ""]).encode(),
        "coarse_label_names.txt": b"aquatic_mammals\nfish\n",
    }


def python100() -> dict[str, bytes]:
    files = {
        name: python2_pickle(
            {
                b"filenames": [b"bos_taurus_s_000507.png"] * 3,
                b"batch_label": b"training batch 1 of 1",
                b"fine_labels": [int(label) for label in labels],
                b"coarse_labels": list(COARSE),
                b"data": pixels,
            }
        )
        for name, labels, pixels in zip(["train", "test"], LABELS100, PIXELS100, strict=True)
    }
    meta = {
        b"fine_label_names": [name.encode() for name in CLASSES100],
        b"coarse_label_names": [b"aquatic_mammals", b"fish"],
    }
    return files | {"meta": python2_pickle(meta)}


OFFICIAL = {
    "cifar-10-batches-bin": binary10,
    "cifar-10-batches-py": python10,
    "cifar-100-binary": binary100,
    "cifar-100-python": python100,
}


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def write_archive(path: Path, folder: str, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def refusal(path: Path, **options: Any) -> str:
    """What reading is refused with: one line, that names where."""
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        read_labeled_images(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# Formats


@pytest.mark.parametrize("packed", ["folder", "folder above", "archive"])
@pytest.mark.parametrize("version", OFFICIAL)
def test_official_files(tmp_path: Path, version: str, packed: str) -> None:
    files = OFFICIAL[version]()
    if packed == "archive":
        path = write_archive(tmp_path / "cifar.tar.gz", version, files)
    else:
        path = write_folder(tmp_path / version, files)
        path = path.parent if packed == "folder above" else path
    train, test = read_labeled_images(path)

    of_100 = "100" in version
    pixels = PIXELS100 if of_100 else PIXELS10
    labels = LABELS100 if of_100 else LABELS10
    # A row holds 1024 red values, then green, then blue; each row by row.
    np.testing.assert_array_equal(train.images, pixels[:-1].reshape(-1, 3, 32, 32))
    np.testing.assert_array_equal(test.images, pixels[-1].reshape(-1, 3, 32, 32))
    np.testing.assert_array_equal(train.labels, labels[:-1].ravel())
    np.testing.assert_array_equal(test.labels, labels[-1])
    for part in (train, test):
        assert part.images.dtype == np.uint8
        assert part.images.flags.writeable
        assert part.labels.dtype == np.int64
        assert part.classes == tuple(CLASSES100 if of_100 else CLASSES10)
    name = "CIFAR-100 (fine labels)" if of_100 else "CIFAR-10"
    kind = "binary" if "bin" in version else "python"
    counts = "3 + 3" if of_100 else "10 + 2"
    expected = f"{name}, {kind} version; not whole: {counts} images of 50000 + 10000"
    assert train.source == test.source == expected


def test_the_pickles_of_these_tests_are_pickles() -> None:
    """By the standard library, and numpy, which the reader never calls on them."""
    batch = pickle.loads(python10()["data_batch_1"], encoding="bytes")
    np.testing.assert_array_equal(batch[b"data"], PIXELS10[0])
    assert batch[b"labels"] == list(LABELS10[0])
    fortran = np.asfortranarray(PIXELS10[0])
    np.testing.assert_array_equal(pickle.loads(python2_pickle(fortran), encoding="bytes"), fortran)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_copies_pickled_by_python_3(tmp_path: Path, protocol: int) -> None:
    def dump(content: dict[bytes, Any]) -> bytes:
        return pickle.dumps({name.decode(): item for name, item in content.items()}, protocol)

    train, _ = read_labeled_images(write_folder(tmp_path, python10(dump)))
    np.testing.assert_array_equal(train.images, PIXELS10[:-1].reshape(-1, 3, 32, 32))
    assert train.classes == tuple(CLASSES10)


def test_pixels_stored_column_by_column(tmp_path: Path) -> None:
    def dump(content: dict[bytes, Any]) -> bytes:
        if b"data" in content:
            content[b"data"] = np.asfortranarray(content[b"data"])
        return python2_pickle(content)

    train, _ = read_labeled_images(write_folder(tmp_path, python10(dump)))
    np.testing.assert_array_equal(train.images, PIXELS10[:-1].reshape(-1, 3, 32, 32))


def test_whole_official_files_say_no_more_than_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cifar, "OFFICIAL_COUNTS", (10, 2))
    train, _ = read_labeled_images(write_folder(tmp_path, binary10()))
    assert train.source == "CIFAR-10, binary version"


def test_official_files_at_another_size(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, binary10())
    _, test = read_labeled_images(folder, size_px=16)
    picture = Image.fromarray(PIXELS10[-1, 1].reshape(3, 32, 32).transpose(1, 2, 0))
    expected = np.asarray(picture.resize((16, 16), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(test.images[1], expected.transpose(2, 0, 1))
    assert test.source.endswith("; central squares resized to 16 px")


# Refusals: files


@pytest.mark.parametrize("version", OFFICIAL)
def test_a_missing_official_file(tmp_path: Path, version: str) -> None:
    files = OFFICIAL[version]()
    for missing in set(files) - {"coarse_label_names.txt"}:
        folder = tmp_path / missing
        write_folder(folder, {name: files[name] for name in files if name != missing})
        message = refusal(folder)
        assert message.startswith(f"{folder} holds no {missing}, a file of CIFAR-10")
        assert message.endswith("; get the whole of it again")


@pytest.mark.parametrize("version", ["cifar-10-batches-bin", "cifar-100-binary"])
def test_a_binary_batch_of_another_length(tmp_path: Path, version: str) -> None:
    name, record = ("test.bin", 3074) if "100" in version else ("test_batch.bin", 3073)
    for content in (b"", b"\0" * (record - 1), b"\0" * (record + 1)):
        write_folder(tmp_path, OFFICIAL[version]() | {name: content})
        assert refusal(tmp_path) == (
            f"{name} of {tmp_path} has {len(content)} bytes; expected is a multiple of {record}; "
            "get it again"
        )


def test_a_label_without_a_class(tmp_path: Path) -> None:
    record = bytes(3072)
    bad = b"\x09" + record + b"\x0a" + record
    write_folder(tmp_path / "binary", binary10() | {"data_batch_3.bin": bad})
    assert refusal(tmp_path / "binary") == (
        f"record 1 (from 0) of data_batch_3.bin of {tmp_path / 'binary'} has label 10; "
        "there are 10 classes, 0 to 9"
    )
    for label in (-1, 10, 2**31 - 1):
        batch = {b"labels": [3, label], b"data": PIXELS10[0]}
        write_folder(tmp_path / "py", python10() | {"test_batch": python2_pickle(batch)})
        assert f"record 1 (from 0) of test_batch of {tmp_path / 'py'} has label {label}; " in (
            refusal(tmp_path / "py")
        )
    batch = {b"labels": [3, 2**70], b"data": PIXELS10[0]}
    write_folder(tmp_path / "py", python10() | {"test_batch": pickle.dumps(batch, 2)})
    assert f"has label {2**70}; there are 10 classes" in refusal(tmp_path / "py")


def test_names_of_classes(tmp_path: Path) -> None:
    for content, said in [(b"cat\ncat\n", "2 names of classes, 1 of them"), (b"cat\n", "1 names")]:
        write_folder(tmp_path, binary10() | {"batches.meta.txt": content})
        assert f"batches.meta.txt of {tmp_path} has {said}" in refusal(tmp_path)
    meta = {b"label_names": [b"cat", 3]}
    write_folder(tmp_path / "py", python10() | {"batches.meta": python2_pickle(meta)})
    assert "has a int among the names of classes" in refusal(tmp_path / "py")
    write_folder(tmp_path / "py", {"batches.meta": python2_pickle({b"names": [b"cat"]})})
    assert refusal(tmp_path / "py").endswith(f"{tmp_path / 'py'} holds no list 'label_names'")


def test_two_data_sets_in_one_place(tmp_path: Path) -> None:
    write_folder(tmp_path / "mixed", binary10() | binary100())
    assert "holds files of both CIFAR-10, binary version and CIFAR-100" in refusal(
        tmp_path / "mixed"
    )
    for version in ("cifar-10-batches-bin", "cifar-100-binary"):
        write_folder(tmp_path / "above" / version, OFFICIAL[version]())
    message = refusal(tmp_path / "above")
    assert "holds cifar-10-batches-bin and cifar-100-binary; name one of them" in message


# Refusals: archives


def test_a_damaged_tar(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "c.tar.gz", "cifar-10-batches-bin", binary10())
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1  # a pixel, of which nothing but the checksum tells
    for content in (whole[: len(whole) // 2], whole[:-4], bytes(flipped), b"\x1f\x8b not gzip"):
        path.write_bytes(content)
        message = refusal(path)
        assert message.startswith(f"{path} is a damaged archive: ")
        assert message.endswith("; get it again")


def test_members_that_would_leave_the_archive_are_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(binary10()["test_batch.bin"])
    files = binary10()
    del files["test_batch.bin"]
    path = tmp_path / "hostile.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in [*files.items(), ("../../evil", b"evil"), ("/evil", b"evil")]:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            link = tarfile.TarInfo("test_batch.bin")
            link.type, link.linkname = kind, str(secret)
            archive.addfile(link)
    before = sorted(tmp_path.rglob("*"))
    assert f"{path} holds no test_batch.bin" in refusal(path)
    assert sorted(tmp_path.rglob("*")) == before
    assert not (tmp_path.parent.parent / "evil").exists()


def test_a_file_twice_in_a_tar(tmp_path: Path) -> None:
    files = binary10()
    path = write_archive(tmp_path / "c.tar.gz", "a", files | {"b/test_batch.bin": b"other"})
    assert refusal(path) == f"{path} holds two files test_batch.bin; get it again"


def test_files_too_large_to_be_what_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tar = write_archive(tmp_path / "c.tar.gz", "a", binary10() | {"bomb": bytes(70_000)})
    folder = write_folder(tmp_path / "f", binary10() | {"test_batch.bin": bytes(70_000)})
    monkeypatch.setattr(cifar, "LARGEST_FILE", 65_536)
    assert refusal(tar).startswith(f"{tar} up to 'a/bomb' holds 1")
    assert refusal(folder).startswith(f"{folder / 'test_batch.bin'} holds 70000 bytes, above 65536")


# Refusals: pickles


class Bomb:
    """Makes a folder, where a pickle of it is un-pickled by Python's own means."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["batches.meta", "data_batch_2", "test_batch"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_that_would_run_code(tmp_path: Path, name: str, protocol: int) -> None:
    made = tmp_path / "made"
    content = pickle.dumps({"data": Bomb(made), "labels": [1, 2]}, protocol)
    pickle.loads(content)
    assert made.exists()  # so the bomb is one
    made.rmdir()
    folder = write_folder(tmp_path / "cifar", python10() | {name: content})
    assert refusal(folder) == (
        f"{name} of {folder} is refused: it names '{os.mkdir.__module__}.mkdir', which could run "
        "code; get the official file"
    )
    assert not made.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"cbuiltins\neval\n(Vprint(1)\ntR.", "it names 'builtins.eval'"),
        (b"c__builtin__\neval\n.", "it names '__builtin__.eval'"),  # as Python 2 calls it
        (b"(S'x'\nios\nsystem\n.", "it names 'os.system'"),  # the opcode INST
        (b"cnumpy.core.multiarray\nscalar\n.", "it names 'numpy.core.multiarray.scalar'"),
        (b"cnumpy\nload\n.", "it names 'numpy.load'"),
        (b"Pid\n.", "persistent"),
        (b"\x80\x02]K\x01a.", "it holds a list, no dictionary"),
        (b"\x80\x02}", "Ran out of input"),
        (b"", "Ran out of input"),
        (b"no pickle", "invalid load key"),
        # Changes of what stands for the allowed names change nothing.
        (b"\x80\x02cnumpy\nndarray\nN}U\x0b__setitem__K\x01s\x86b.", "__setstate__"),
    ],
)
def test_pickles_of_other_things(tmp_path: Path, content: bytes, said: str) -> None:
    folder = write_folder(tmp_path, python10() | {"data_batch_1": content})
    message = refusal(folder)
    assert message.startswith(f"data_batch_1 of {folder} is refused: ")
    assert said in message


def test_a_pickle_cut_anywhere(tmp_path: Path) -> None:
    files = python10()
    whole = files["test_batch"]
    write_folder(tmp_path, files)
    for length in [*range(0, 200, 3), *range(len(whole) - 150, len(whole), 3)]:
        (tmp_path / "test_batch").write_bytes(whole[:length])
        assert refusal(tmp_path).startswith(f"test_batch of {tmp_path} is refused: ")


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ({b"labels": [1, 2]}, "holds no 'data' of uint8 (image, 3072)"),
        ({b"labels": [1, 2], b"data": PIXELS10[0, :, :-1]}, "holds no 'data' of uint8 (image"),
        ({b"labels": [1, 2], b"data": PIXELS10[0].astype(float)}, "holds no 'data' of uint8"),
        ({b"labels": [1, 2], b"data": PIXELS10[0].astype(object)}, "holds no 'data' of uint8"),
        ({b"labels": [1, 2], b"data": PIXELS10}, "holds no 'data' of uint8 (image, 3072)"),
        ({b"labels": [1, 2], b"data": PIXELS10[0].tobytes()}, "holds no 'data' of uint8"),
        ({b"data": PIXELS10[0]}, "holds no 'labels' that is a list of whole numbers"),
        ({b"labels": [1, True], b"data": PIXELS10[0]}, "holds no 'labels' that is a list"),
        ({b"labels": [1.0, 2], b"data": PIXELS10[0]}, "holds no 'labels' that is a list"),
        ({b"labels": [1, 2, 3], b"data": PIXELS10[0]}, "holds 2 images and 3 labels"),
    ],
)
def test_batches_that_do_not_hold_together(
    tmp_path: Path, batch: dict[bytes, Any], said: str
) -> None:
    folder = write_folder(tmp_path, python10() | {"data_batch_4": pickle.dumps(batch, 2)})
    assert f"data_batch_4 of {folder} {said}" in refusal(folder)


def test_a_batch_without_images(tmp_path: Path) -> None:
    batch = python2_pickle({b"labels": [], b"data": PIXELS10[0, :0]})
    folder = write_folder(tmp_path, python10() | {"data_batch_4": batch})
    assert refusal(folder) == f"data_batch_4 of {folder} holds 0 images and 0 labels"


def test_an_array_of_fewer_bytes_than_its_shape(tmp_path: Path) -> None:
    content = python10()["test_batch"]
    shape = b"J\x02\x00\x00\x00J\x00\x0c\x00\x00"
    assert content.count(shape) == 1
    for rows in (3, 2**31 - 1, -2):
        larger = content.replace(shape, b"J" + struct.pack("<i", rows) + shape[5:])
        folder = write_folder(tmp_path, python10() | {"test_batch": larger})
        assert "test_batch" in refusal(folder)
        assert "holds no 'data' of uint8 (image, 3072)" in refusal(folder)
