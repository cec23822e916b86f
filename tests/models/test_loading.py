"""What all ways of loading share."""

import logging
import warnings
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from ephys.models.input_format import INPUT_FORMATS, InputFormat
from ephys.models.loading import Request, quiet, reason, seeded


def test_what_is_drawn_under_the_seed_is_the_same_and_leaves_the_callers_random_state() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    with seeded():
        first = torch.rand(4)
    with suppress(KeyboardInterrupt), seeded():
        again = torch.rand(4)
        raise KeyboardInterrupt
    assert torch.equal(torch.rand(4), expected)
    assert torch.equal(again, first)
    assert not torch.equal(first, expected)


def test_other_packages_are_quiet_only_in_the_block(caplog: pytest.LogCaptureFixture) -> None:
    with quiet():
        logging.getLogger("another").warning("inside")
        warnings.warn("inside", stacklevel=1)
    logging.getLogger("another").warning("outside")
    assert [record.message for record in caplog.records] == ["outside"]
    with pytest.warns(UserWarning, match="outside"):
        warnings.warn("outside", stacklevel=1)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("first\nsecond"), "ValueError: first"),
        (OSError(2, "No such file"), "FileNotFoundError: [Errno 2] No such file"),
        (RuntimeError("\n  third\n"), "RuntimeError: third"),
        (KeyError(), "KeyError"),
    ],
)
def test_an_exception_is_said_in_one_line(error: Exception, line: str) -> None:
    assert reason(error) == line


def test_the_input_format_asked_for_goes_before_the_networks_own() -> None:
    own = InputFormat(3, 20, 30, mean=(0.5,))
    whole = InputFormat(1, 8, 8)
    assert Request("net").chosen_format(own) == own
    assert Request("net", input_format=whole).chosen_format(own) == whole
    assert Request("net", input_format="unit").chosen_format(own) == InputFormat(3, 20, 30)


def test_where_nothing_says_what_a_network_takes_it_is_asked_for_with_the_names() -> None:
    requests = [(Request("net"), "net"), (Request("net", Path("w.pth")), r"w\.pth")]
    for request, source in requests:
        with pytest.raises(
            ValueError, match=rf"^which input does {source} take\? pass --input-format"
        ) as refused:
            request.required_format(InputFormat(3, 8, 8))
        assert all(f"{name} (" in str(refused.value) for name in INPUT_FORMATS)
