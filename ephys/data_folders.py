"""Where data of no repository is: folders of photographs, and a copy of BSDS500."""

import os
from pathlib import Path

SUFFIXES = {".jpg", ".jpeg", ".png"}
BSDS500_FOLDERS = ("", "images", "data/images", "BSDS500/data/images", "BSR/BSDS500/data/images")


def data_folder(name: str) -> Path:
    """A folder of the data kept where the environment variable EPHYS_DATA says.

    Raises
    ------
    ValueError : if the variable is not set.
    """
    root = os.environ.get("EPHYS_DATA")
    if not root:
        raise ValueError(
            f"where is {name}? set EPHYS_DATA to the folder that holds it, or give its path"
        )
    return Path(root) / name


def split_folder(folder: Path, split: str) -> Path:
    """Where a copy of BSDS500 keeps its ``train``, ``val`` or ``test`` photographs.

    Raises
    ------
    FileNotFoundError : if neither the folder nor its usual subfolders hold the split.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; give that of BSDS500")
    for below in BSDS500_FOLDERS:
        if (folder / below / split).is_dir():
            return folder / below / split
    raise FileNotFoundError(f"{folder} holds no folder {split!r}, nor does {folder / 'images'}")


def photograph_files(folder: Path) -> list[Path]:
    """The photographs of a folder, by name.

    Raises
    ------
    FileNotFoundError : if there is no such folder.
    ValueError : if it holds none.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"{folder} holds no photograph ({', '.join(sorted(SUFFIXES))})")
    return paths
