"""Which device is chosen, and which are refused."""

import pytest
import torch
from torch import nn

from ephys.models.devices import choose_device, move


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_cuda_before_mps_before_the_cpu(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, chosen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device("auto") == chosen


def test_the_cpu_is_always_there() -> None:
    assert choose_device("cpu") == "cpu"


@pytest.mark.parametrize("name", ["potato", "", "cuda:-1", "cuda:99", "gpu", "CPU", "hpu"])
def test_a_device_that_is_not_there_is_refused_by_name_with_a_way_out(name: str) -> None:
    with pytest.raises(ValueError, match=rf"device '{name}' is not to be had here .*try cpu"):
        choose_device(name)


def test_a_device_without_numbers_is_refused() -> None:
    # Tensors on "meta" have a shape and no values: nothing could be recorded.
    with pytest.raises(ValueError, match="device 'meta' is not to be had here"):
        choose_device("meta")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_is_refused_in_one_line_where_there_is_none() -> None:
    with pytest.raises(ValueError, match="device 'cuda' is not to be had here") as refusal:
        choose_device("cuda")
    assert "\n" not in str(refusal.value)


def test_layers_without_weights_move_with_the_others() -> None:
    first, second = nn.Linear(2, 3), nn.Linear(3, 4, device="meta")
    network, before = nn.Sequential(first, second), first.weight.clone()
    assert move(network, "cpu") is network
    assert torch.equal(first.weight, before)
    assert second.weight.is_meta


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA")
def test_layers_with_weights_move_to_cuda() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4, device="meta"))
    move(network, "cuda")
    assert [p.device.type for p in network.parameters()] == ["cuda", "cuda", "meta", "meta"]
