"""CIFAR-10 and CIFAR-100 in their official files, binary and python version."""

import gzip
import tarfile
from collections.abc import Container, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ephys.models.cifar_layouts import LAYOUTS, OFFICIAL_FILES, SIDE_PX, Layout
from ephys.models.image_sources import ImageSource, RefusedError, UnreadImages, refused, starts_with

OFFICIAL_COUNTS = (50_000, 10_000)  # images to train on and to test on, of CIFAR-10 and CIFAR-100
LARGEST_FILE = 2**30  # bytes; the official files have up to 154 million


def official_cifar(path: Path) -> ImageSource | None:
    """The official files in a folder, in the official folder below it, or in a ``.tar.gz``.

    None where ``path`` holds none of images.

    Raises
    ------
    FileNotFoundError : if one of the files is missing.
    ValueError : if files are damaged, do not fit their format, or are those of two data sets.
    """
    if path.is_dir():
        path = _folder(path)
        files = _files_of_folder(path)
    elif starts_with(path, b"\x1f\x8b"):
        files = _files_of_archive(path)
    else:
        return None
    layouts = _layouts_of(files)
    if not layouts:
        return None
    if len(layouts) > 1:
        raise ValueError(
            f"{path} holds files of both {layouts[0].name} and {layouts[1].name}; part them"
        )
    (layout,) = layouts
    if missing := [name for name in layout.files if name not in files]:
        raise FileNotFoundError(
            f"{path} holds no {missing[0]}, a file of {layout.name}; get the whole of it again"
        )
    where = f"{layout.meta} of {path}"
    classes = checked_classes(layout.classes(files[layout.meta], where), where)

    def split(names: Sequence[str]) -> UnreadImages:
        pixels, labels = [], []
        for name in names:
            found, label = layout.batch(files[name], f"{name} of {path}")
            pixels.append(found.reshape(-1, 3, SIDE_PX, SIDE_PX))
            labels.append(checked_labels(label, classes, f"{name} of {path}"))
        images = np.concatenate(pixels)
        numbered = [f"image {index} of {path}" for index in range(len(images))]
        return UnreadImages(lambda index: images[index], numbered, np.concatenate(labels))

    train, test = split(layout.train), split([layout.test])
    return ImageSource(train, test, classes, with_counts(layout.name, train, test))


def _folder(path: Path) -> Path:
    """The one that holds the files: ``path``, or the one below it that is named as officially."""
    if _layouts_of([below.name for below in path.iterdir() if below.is_file()]):
        return path
    below = [path / layout.folder for layout in LAYOUTS if (path / layout.folder).is_dir()]
    if len(below) > 1:
        raise ValueError(f"{path} holds {below[0].name} and {below[1].name}; name one of them")
    return below[0] if below else path


def _layouts_of(names: Container[str]) -> list[Layout]:
    """Those of which there is a file of images."""
    return [
        layout for layout in LAYOUTS if any(name in names for name in (*layout.train, layout.test))
    ]


def _files_of_folder(folder: Path) -> dict[str, bytes]:
    found = [folder / name for name in OFFICIAL_FILES if (folder / name).is_file()]
    for file in found:
        check_size(file.stat().st_size, str(file))
    return {file.name: file.read_bytes() for file in found}


def _files_of_archive(path: Path) -> dict[str, bytes]:
    """The official files in a .tar.gz; its other members, links among them, are not read."""
    files: dict[str, bytes] = {}
    with (
        refused(f"{path} is a damaged archive", "get it again"),
        gzip.open(path) as stream,
        tarfile.open(fileobj=stream) as archive,
    ):
        for member in archive:
            check_size(member.offset_data + member.size, f"{path} up to {member.name!r}")
            name = PurePosixPath(member.name).name
            content = archive.extractfile(member) if member.isreg() else None
            if name not in OFFICIAL_FILES or content is None:
                continue
            if name in files:
                raise RefusedError(f"{path} holds two files {name}; get it again")
            files[name] = content.read()
        while stream.read(2**20):  # to its end, where the checksum is
            check_size(stream.tell(), str(path))
    return files


# What the JPEG copy has in common


def checked_labels(labels: np.ndarray, classes: Sequence[str], where: str) -> np.ndarray:
    """The labels (record,), each the number of a class.

    Raises
    ------
    ValueError : naming the first that is not.
    """
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(wrong):
        raise ValueError(
            f"record {wrong[0]} (from 0) of {where} has label {labels[wrong[0]]}; there are "
            f"{len(classes)} classes, 0 to {len(classes) - 1}"
        )
    return labels.astype(np.int64)


def checked_classes(names: list[Any], where: str) -> tuple[str, ...]:
    """The names of two or more classes.

    Raises
    ------
    ValueError : for what is no text, or said twice.
    """
    if strange := [name for name in names if not isinstance(name, str)]:
        raise ValueError(f"{where} has a {type(strange[0]).__name__} among the names of classes")
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(
            f"{where} has {len(names)} names of classes, {len(set(names))} of them different; "
            "at least 2 are needed, and each once"
        )
    return tuple(names)


def check_size(size: int, where: str) -> None:
    """Refuse a file of more bytes than any that is understood.

    Raises
    ------
    ValueError : naming both sizes.
    """
    if size > LARGEST_FILE:
        raise RefusedError(
            f"{where} holds {size} bytes, above {LARGEST_FILE}; no file understood is that large"
        )


def with_counts(name: str, train: UnreadImages, test: UnreadImages) -> str:
    """The name of a data set, and how many images there are where it is not whole."""
    counts = len(train.labels), len(test.labels)
    if counts == OFFICIAL_COUNTS:
        return name
    return "{}; not whole: {} + {} images of {} + {}".format(name, *counts, *OFFICIAL_COUNTS)
