"""The JPEG copy of CIFAR-10: ``cifar10_jpeg.npz``, an archive of plain arrays."""

import io
import zipfile
from pathlib import Path

import numpy as np

from ephys.models.cifar import check_size, checked_classes, checked_labels, with_counts
from ephys.models.image_sources import ImageSource, UnreadImages, decoded, refused, starts_with

JPEG_ARCHIVE = "cifar10_jpeg.npz"
LOSSY = "lossy: color at half resolution, fine detail altered; accuracies are not those of CIFAR-10"
_OF_SPLIT = {"jpeg": np.uint8, "offsets": np.integer, "labels": np.integer}
ARRAYS: dict[str, type] = {"class_names": np.str_} | {
    f"{split}_{part}": kind for split in ("train", "test") for part, kind in _OF_SPLIT.items()
}


def cifar_jpeg(path: Path) -> ImageSource | None:
    """The archive, or the one that a folder holds; None where ``path`` is neither.

    Image ``i`` of a split is the file ``jpeg[offsets[i]:offsets[i + 1]]``.
    """
    if (path / JPEG_ARCHIVE).is_file():
        path = path / JPEG_ARCHIVE
    elif not starts_with(path, b"PK\x03\x04"):
        return None
    arrays = _arrays(path)
    classes = checked_classes(arrays["class_names"].tolist(), f"class_names of {path}")
    train, test = (_unread(arrays, split, classes, path) for split in ("train", "test"))
    return ImageSource(
        train, test, classes, with_counts(f"JPEG copy of CIFAR-10 ({LOSSY})", train, test)
    )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with refused(f"{path} is damaged, or holds more than plain arrays", "get it again"):
        with zipfile.ZipFile(path) as archive:
            check_size(sum(member.file_size for member in archive.infolist()), str(path))
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: np.asarray(content[name]) for name in ARRAYS if name in content}
    if missing := [name for name in ARRAYS if name not in arrays]:
        raise ValueError(f"{path} holds no array {missing[0]!r}; needed are {', '.join(ARRAYS)}")
    for name, kind in ARRAYS.items():
        array = arrays[name]
        if array.ndim != 1 or not np.issubdtype(array.dtype, kind):
            raise ValueError(
                f"{name} of {path} is {array.dtype} of shape {array.shape}; a list of "
                f"{kind.__name__} is needed"
            )
    return arrays


def _unread(
    arrays: dict[str, np.ndarray], split: str, classes: tuple[str, ...], path: Path
) -> UnreadImages:
    jpeg, offsets, labels = (arrays[f"{split}_{part}"] for part in _OF_SPLIT)
    if len(labels) == 0 or len(offsets) != len(labels) + 1:
        raise ValueError(
            f"{split}_offsets of {path} has {len(offsets)} entries for {len(labels)} labels; "
            "at least 1 label is needed, and one offset more than labels"
        )
    wrong = np.append(offsets[0] != 0, offsets[1:] <= offsets[:-1]) | (offsets > len(jpeg))
    wrong[-1] |= offsets[-1] != len(jpeg)
    if wrong.any():
        entry = int(wrong.argmax())
        raise ValueError(
            f"entry {entry} of {split}_offsets of {path} is {offsets[entry]}; they have to "
            f"increase from 0 to {len(jpeg)}, the length of {split}_jpeg"
        )
    names = [f"image {index} of {split}_jpeg of {path}" for index in range(len(labels))]

    def read(index: int) -> np.ndarray:
        content = jpeg[offsets[index] : offsets[index + 1]].tobytes()
        return decoded(io.BytesIO(content), names[index])

    return UnreadImages(read, names, checked_labels(labels, classes, f"{split}_labels of {path}"))
