"""What the tests share: pictures without a screen, torchvision, and data of no repository."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
import torch

REPOSITORY = Path(__file__).parent.parent

mpl.use("Agg")
# torchvision's own operators are not in every build; its classifiers do without, once declared.
OPERATORS: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
for schema in [
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
]:
    with suppress(RuntimeError):  # declared already
        OPERATORS.define(schema)

torch.set_num_threads(1)  # the tests' arrays are small, and idle threads cost more than they give


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """A data set's folder, by its name; a test whose data is not here is skipped.

    It is looked for where EPHYS_DATA says, then beside the repository. Where the environment
    variable CI is true the data has to be there, and the test fails.
    """

    def find(name: str) -> Path:
        root = os.environ.get("EPHYS_DATA")
        beside = REPOSITORY.parent / "shared" / "data"
        for folder in [Path(root), beside] if root else [beside]:
            if (folder / name).is_dir():
                return folder / name
        missing = f"no data {name!r}; set EPHYS_DATA to the folder above it"
        if os.environ.get("CI", "").lower() not in ("", "0", "false", "no"):
            pytest.fail(missing)
        pytest.skip(missing)

    return find
