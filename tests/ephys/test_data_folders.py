"""Where data is looked for, and what is said when it is not there."""

from pathlib import Path

import pytest

from ephys.data_folders import data_folder, photograph_files, split_folder


def test_data_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPHYS_DATA", str(tmp_path))
    assert data_folder("bsds500") == tmp_path / "bsds500"


@pytest.mark.parametrize("value", [None, ""])
def test_data_that_the_environment_does_not_tell_of_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("EPHYS_DATA", raising=False)
    if value is not None:
        monkeypatch.setenv("EPHYS_DATA", value)
    with pytest.raises(ValueError, match=r"^where is bsds500\? set EPHYS_DATA to the folder"):
        data_folder("bsds500")


@pytest.mark.parametrize(
    "below", ["", "images", "data/images", "BSDS500/data/images", "BSR/BSDS500/data/images"]
)
def test_each_layout_of_bsds500_is_found(tmp_path: Path, below: str) -> None:
    for split in ("train", "val", "test"):
        (tmp_path / below / split).mkdir(parents=True)
    for split in ("train", "val", "test"):
        assert split_folder(tmp_path, split) == tmp_path / below / split


def test_a_split_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "images" / "train").mkdir(parents=True)
    (tmp_path / "val").write_text("a file, not a folder")
    with pytest.raises(FileNotFoundError, match="holds no folder 'val', nor does"):
        split_folder(tmp_path, "val")
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        split_folder(tmp_path / "nowhere", "train")


def test_photographs_are_listed_by_name_and_nothing_else_is(tmp_path: Path) -> None:
    for name in ["b.JPG", "a.jpeg", "c.png", "Thumbs.db", "d.txt"]:
        (tmp_path / name).write_text("")
    assert [path.name for path in photograph_files(tmp_path)] == ["a.jpeg", "b.JPG", "c.png"]


def test_a_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no photograph \(.jpeg, .jpg, .png\)$"):
        photograph_files(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^no folder .*nowhere$"):
        photograph_files(tmp_path / "nowhere")
