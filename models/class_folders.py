"""Images in class folders, ``CLASS/IMAGE``: one folder of them, or ``train/`` and ``test/``."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ephys.data_folders import SUFFIXES
from ephys.models.image_sources import ImageSource, UnreadImages, decoded

HELD_OUT = 5  # one image in so many, of each class, where a folder says nothing of a test
SPLIT_SEED = 0
KINDS = ", ".join(sorted(SUFFIXES))


def class_folders(path: Path) -> ImageSource | None:
    """The class folders of ``path``, sorted by name; None where it holds no folder.

    Where no test is given, one image in ``HELD_OUT`` of each class is held out as such.
    """
    if not _subfolders(path):
        return None
    # A folder that holds folders is a split; one of images may well be a class named "train".
    splits = {name for name in ("train", "test", "val") if _subfolders(path / name)}
    held = _held_split(path, splits)
    trained = path / "train" if splits else path
    train, others = _files_by_class(trained)
    classes = tuple(train)
    if len(classes) < 2:
        raise ValueError(
            f"{trained} holds one class folder, {classes[0]!r}; a classifier takes at least 2"
        )
    if held is None:
        train, test = _held_out(train, path)
        notes = [f"1 in {HELD_OUT} of each class held out as test, seed {SPLIT_SEED}"]
    else:
        test, others_held = _files_by_class(path / held)
        others += others_held
        if strange := [name for name in test if name not in train]:
            raise ValueError(
                f"{path / held / strange[0]} is a class that train/ does not have; add it or "
                "remove it"
            )
        notes = [f"{held}/ as test"] + ["val/ left out"] * (len(splits) == 3)
        if absent := [name for name in classes if name not in test]:
            notes += [f"no test image of {len(absent)} of the classes ({absent[0]} ...)"]
    if others:
        notes += [f"{others} files left out that are not {KINDS}"]
    about = f"{path.resolve().name}, {len(classes)} class folders ({'; '.join(notes)})"
    return ImageSource(_unread(train, classes), _unread(test, classes), classes, about)


def _held_split(path: Path, splits: set[str]) -> str | None:
    """Which of the folders is the test; None if there is no ``train/`` either."""
    if not splits:
        return None
    if "train" not in splits:
        raise ValueError(f"{path} holds {min(splits)}/ but no train/ of class folders; add it")
    if splits == {"train"}:
        raise ValueError(
            f"{path} holds train/ but neither test/ nor val/; add one, or give {path / 'train'}, "
            f"of which 1 in {HELD_OUT} is then held out"
        )
    return "test" if "test" in splits else "val"


def _files_by_class(folder: Path) -> tuple[dict[str, list[Path]], int]:
    """The images of each class by name, and how many other files lie beside them."""
    found = {}
    others = 0
    for below in _subfolders(folder):
        visible = [file for file in below.iterdir() if not file.name.startswith(".")]
        images = sorted(file for file in visible if file.suffix.lower() in SUFFIXES)
        if not images:
            raise ValueError(f"class folder {below} holds no image ({KINDS}); fill or remove it")
        found[below.name] = images
        others += len(visible) - len(images)
    return found, others


def _held_out(
    files_by_class: dict[str, list[Path]], folder: Path
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """A training and a test part of each class, both in the order of the files."""
    train, test = {}, {}
    for label, (name, files) in enumerate(files_by_class.items()):
        if len(files) < 2:
            raise ValueError(
                f"class folder {folder / name} holds 1 image; at least 2 are needed to hold one "
                f"out as test: add images, or divide {folder} into train/ and test/"
            )
        count = max(1, len(files) // HELD_OUT)
        order = np.random.default_rng([SPLIT_SEED, label]).permutation(len(files))
        test[name] = [files[index] for index in sorted(order[:count])]
        train[name] = [files[index] for index in sorted(order[count:])]
    return train, test


def _unread(files_by_class: dict[str, list[Path]], classes: Sequence[str]) -> UnreadImages:
    paths = [file for files in files_by_class.values() for file in files]
    names = [str(file) for file in paths]
    labels = np.repeat(
        np.array([classes.index(name) for name in files_by_class], np.int64),
        [len(files) for files in files_by_class.values()],
    )
    return UnreadImages(lambda index: decoded(paths[index], names[index]), names, labels)


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        below for below in folder.iterdir() if below.is_dir() and not below.name.startswith(".")
    )
