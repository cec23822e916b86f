"""Weights come from files and the web, run nothing, and are put only into their own network."""

import hashlib
import io
import pickle
import re
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ephys.models.state_dicts import PREFIXES, WRAPPERS, fetch, fill, read_state_dict


def first_layer() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {
        "features.0.weight": torch.rand(64, 3, 3, 3, generator=generator),
        "features.0.bias": torch.rand(64, generator=generator),
    }


def saved(content: Any, *, legacy: bool = False) -> bytes:
    """A torch file as it is written now, or as it was before torch 1.6 (torchvision's VGG-16)."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


class Malice:
    """Its pickle creates a file when it is opened the careless way."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def malicious_file(kind: str, mark: Path) -> bytes:
    if kind == "pickle":
        return pickle.dumps(Malice(mark))
    hidden = first_layer() | {"features.2.weight": Malice(mark)}
    return saved(hidden, legacy=kind == "legacy torch")


MALICIOUS = ("pickle", "torch", "legacy torch")


def assert_equal(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(weights) == list(expected)
    for name, tensor in expected.items():
        assert torch.equal(weights[name], tensor)


def refusal(path: Path) -> str:
    """The one line with which a state_dict is refused, which names the file."""
    with pytest.raises(ValueError, match=r".") as refused:
        read_state_dict(path)
    message = str(refused.value)
    assert str(path) in message
    assert "\n" not in message
    return message


# Files.


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt", ".safetensors"])
def test_weights_are_read_as_they_were_saved(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(first_layer(), path)
    else:
        path.write_bytes(saved(OrderedDict(first_layer()), legacy=suffix == ".pt"))
    weights = read_state_dict(path)
    assert_equal(dict(sorted(weights.items())), dict(sorted(first_layer().items())))


@pytest.mark.parametrize("name", WRAPPERS)
def test_weights_are_found_in_a_training_checkpoint(tmp_path: Path, name: str) -> None:
    optimizer = {"state": {}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}
    path = tmp_path / "checkpoint.ckpt"
    path.write_bytes(saved({"epoch": 3, "optimizer": optimizer, name: first_layer(), "best": None}))
    assert_equal(read_state_dict(path), first_layer())


def test_a_models_own_weights_are_taken_before_their_average(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    average = {name: 0 * tensor for name, tensor in first_layer().items()}
    path.write_bytes(saved({"ema": average, "model": {"state_dict": first_layer()}}))
    assert_equal(read_state_dict(path), first_layer())


@pytest.mark.parametrize("kind", MALICIOUS)
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(
    tmp_path: Path, kind: str
) -> None:
    mark, path = tmp_path / "mark", tmp_path / "weights.pth"
    path.write_bytes(malicious_file(kind, mark))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        message = refusal(path)
    assert warned == []  # the refusal is all that a user reads
    assert "could run code" in message
    assert "save a state_dict() instead, or pass --trust-pickle if you trust its maker" in message
    assert not mark.exists()


@pytest.mark.parametrize("kind", MALICIOUS)
def test_the_malicious_files_of_these_tests_run_where_they_are_trusted(
    tmp_path: Path, kind: str
) -> None:
    mark, path = tmp_path / "mark", tmp_path / "weights.pth"
    path.write_bytes(malicious_file(kind, mark))
    with pytest.raises(ValueError, match=re.escape(str(path))):  # it is no state_dict either
        read_state_dict(path, trust_pickle=True)
    assert mark.exists()


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 64, 3))
        self.load_state_dict(first_layer())


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_weights_of_a_module_that_was_saved_whole_are_read_if_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrapped: bool
) -> None:
    monkeypatch.setattr("__main__.Network", Network, raising=False)
    monkeypatch.setattr(Network, "__module__", "__main__")
    path = tmp_path / "whole.pt"
    path.write_bytes(saved({"model": Network(), "epoch": 3} if wrapped else Network()))
    assert "pass --trust-pickle" in refusal(path)
    assert_equal(read_state_dict(path, trust_pickle=True), first_layer())


def test_a_module_whose_class_is_not_here_is_refused_even_if_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "whole.pt"
    with monkeypatch.context() as there:
        there.setattr("__main__.Network", Network, raising=False)
        there.setattr(Network, "__module__", "__main__")
        path.write_bytes(saved(Network()))
    with pytest.raises(ValueError, match=r"whole\.pt is refused: it cannot .*Network") as refused:
        read_state_dict(path, trust_pickle=True)
    assert "\n" not in str(refused.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit
@pytest.mark.parametrize("trust", [False, True])
def test_torchscript_is_refused_with_the_way_out(tmp_path: Path, trust: bool) -> None:
    path = tmp_path / "scripted.pt"
    scripted = torch.jit.trace(nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8))  # type: ignore[no-untyped-call]
    scripted.save(str(path))
    with pytest.raises(
        ValueError, match=r"is TorchScript, .*--arch, or .*torch\.export"
    ) as refused:
        read_state_dict(path, trust_pickle=trust)
    assert str(path) in str(refused.value)


def test_an_exported_program_under_another_name_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "program.pt2"
    program = torch.export.export(nn.ReLU(), (torch.zeros(1, 3, 8, 8),))
    torch.export.save(program, path)
    path = path.rename(tmp_path / "program.pt")
    assert refusal(path).endswith("is a program of torch.export, and has to be named FILE.pt2")


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_torch_file_cut_short_anywhere_is_refused(tmp_path: Path, legacy: bool) -> None:
    content = saved(first_layer(), legacy=legacy)
    path = tmp_path / "cut.pth"
    for length in (*range(0, 600, 7), *range(600, len(content), 500)):
        path.write_bytes(content[:length])
        refusal(path)


@pytest.mark.parametrize(
    "content", [b"hello, world", b"<!DOCTYPE html>\n<title>404</title>", b"{}", b"\0" * 99]
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    refusal(path)


def test_a_safetensors_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(first_layer(), path)
    content = path.read_bytes()
    for length in (0, 7, 20, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert "damaged or not a safetensors file" in refusal(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_that_are_no_file_are_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"folder{suffix}").mkdir()
    for path in (tmp_path / f"nothing{suffix}", tmp_path / f"folder{suffix}"):
        with pytest.raises(FileNotFoundError, match=rf"^there is no file {re.escape(str(path))}$"):
            read_state_dict(path)


@pytest.mark.parametrize(
    "content",
    [
        torch.zeros(3),
        [torch.zeros(3)],
        {},
        {"epoch": 3},
        {"weights": {}},
        {"state_dict": {"epoch": 3}},
        {0: torch.zeros(3)},
        first_layer() | {"epoch": 3},
    ],
)
def test_a_torch_file_of_anything_else_is_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(saved(content))
    assert "is not a state_dict" in refusal(path)


# Into a network.


def small(prefix: str = "") -> nn.Module:
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 1))
    return nn.ModuleDict({prefix: layers}) if prefix else layers


def drawn(network: nn.Module, seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = network.state_dict()
    return {
        name: torch.rand(t.shape, generator=generator) if t.is_floating_point() else t + 3
        for name, t in state.items()
    }


def test_weights_are_put_in_exactly() -> None:
    network = small()
    weights = drawn(network)
    fill(network, weights)
    assert_equal(dict(network.state_dict()), weights)


@pytest.mark.parametrize("prefix", [*PREFIXES, "module._orig_mod.", "model.module.net."])
def test_a_prefix_that_all_names_have_is_left_away(prefix: str) -> None:
    network = small()
    weights = drawn(network)
    fill(network, {prefix + name: tensor for name, tensor in weights.items()})
    assert_equal(dict(network.state_dict()), weights)


def test_a_prefix_that_the_network_has_itself_stays() -> None:
    network = small("model")
    weights = drawn(network)
    fill(network, weights)
    assert_equal(dict(network.state_dict()), weights)
    others = drawn(network, seed=2)
    fill(network, {f"module.{name}": tensor for name, tensor in others.items()})
    assert_equal(dict(network.state_dict()), others)


def test_a_prefix_that_one_name_lacks_is_no_prefix() -> None:
    weights = {f"module.{name}": tensor for name, tensor in drawn(small()).items()}
    weights["temperature"] = torch.ones(1)
    with pytest.raises(
        ValueError, match=r"^the network has no weights 'module\.0\.weight'; its fir"
    ):
        fill(small(), weights)


@pytest.mark.parametrize("partly", [False, True])
def test_weights_of_another_network_are_refused_by_the_first_name(partly: bool) -> None:
    with torch.device("meta" if partly else "cpu"):
        network = small()
    weights = drawn(small()) | {"4.weight": torch.zeros(2), "5.weight": torch.zeros(2)}
    message = "the network has no weights '4.weight'; its first are 0.weight"
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}$"):
        fill(network, weights, partly=partly)


@pytest.mark.parametrize("partly", [False, True])
def test_weights_of_another_shape_are_refused_with_both_shapes(partly: bool) -> None:
    with torch.device("meta" if partly else "cpu"):
        network = small()
    weights = drawn(small()) | {"3.weight": torch.zeros(5, 4, 3, 3), "3.bias": torch.zeros(6)}
    message = "3.weight has shape (5, 4, 3, 3), and in the network (5, 4, 1, 1)"
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}$"):
        fill(network, weights, partly=partly)


def test_missing_weights_are_refused_by_the_first_name() -> None:
    weights = drawn(small())
    del weights["1.running_var"], weights["3.bias"]
    message = "there are no weights '1.running_var', which the network has"
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}$"):
        fill(small(), weights)


def test_batch_normalization_from_before_batches_were_counted_is_whole() -> None:
    network = small()
    weights = drawn(network)
    del weights["1.num_batches_tracked"]
    fill(network, weights)
    assert torch.equal(network.state_dict()["1.running_var"], weights["1.running_var"])


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("partly", [False, True])
def test_weights_of_another_precision_become_the_networks(
    precision: torch.dtype, partly: bool
) -> None:
    with torch.device("meta" if partly else "cpu"):
        network = small()
    rounded = {
        name: tensor.to(precision) if tensor.is_floating_point() else tensor
        for name, tensor in drawn(small()).items()
    }
    fill(network, rounded, partly=partly)
    for name, tensor in network.state_dict().items():
        assert tensor.dtype == small().state_dict()[name].dtype
        assert torch.equal(tensor, rounded[name].to(tensor.dtype))


def test_no_weights_at_all_are_refused() -> None:
    for partly in (False, True):
        with pytest.raises(ValueError, match=r"^the file holds no weights$"):
            fill(small(), {}, partly=partly)


def test_layers_without_weights_hold_no_memory_and_refuse_by_name() -> None:
    with torch.device("meta"):
        network = small()
    first = {name: tensor for name, tensor in drawn(small()).items() if name[0] in "01"}
    fill(network.eval(), first, partly=True)
    held = {name for name, tensor in network.state_dict().items() if not tensor.is_meta}
    assert held == set(first)
    images = torch.rand(2, 3, 8, 8)
    assert isinstance(network, nn.Sequential)
    assert network[:3](images).shape == (2, 4, 6, 6)
    with pytest.raises(
        ValueError, match=r"^layer '3' came without weights; record from layers bef"
    ):
        network(images)


@pytest.mark.parametrize("lacking", ["0.bias", "1.running_mean", "1.weight"])
def test_a_layer_with_half_its_weights_refuses_too(lacking: str) -> None:
    with torch.device("meta"):
        network = small().eval()
    weights = drawn(small())
    del weights[lacking]
    fill(network, weights, partly=True)
    with pytest.raises(ValueError, match=rf"^layer '{lacking[0]}' came without weights"):
        network(torch.rand(2, 3, 8, 8))


# Published weights.


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


class CutShort(Quiet):
    """Hangs up after half of what it announced."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        content = source.read()
        outputfile.write(content[: len(content) // 2])


class Site:
    """A server of one folder on this machine."""

    def __init__(self, folder: Path, handler: type[Quiet] = Quiet) -> None:
        self.folder = folder
        folder.mkdir()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=folder))
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def publish(self, content: bytes, *, sha256: str | None = None) -> str:
        """The address of a file that has, or pretends to have, its hash in its name."""
        name = f"vgg16-{(sha256 or hashlib.sha256(content).hexdigest())[:8]}.pth"
        (self.folder / name).write_bytes(content)
        return f"http://127.0.0.1:{self.server.server_address[1]}/{name}"

    def close(self) -> None:
        if self.thread.is_alive():
            self.server.shutdown()
            self.server.server_close()
            self.thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where torch keeps what it fetched."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    before = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path / "hub")
    yield tmp_path / "hub" / "checkpoints"
    torch.hub.set_dir(before)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "site")
    yield site
    site.close()


def test_published_weights_are_fetched_once(site: Site, cache: Path) -> None:
    address = site.publish(saved(first_layer()))
    fetched = fetch(address)
    site.close()
    for weights in (fetched, fetch(address)):
        assert_equal(weights, first_layer())
    assert [path.name for path in cache.iterdir()] == [address.rsplit("/")[-1]]


def test_fetching_leaves_stdout_to_the_results_and_a_log_without_a_progress_bar(
    site: Site, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(site.publish(saved(first_layer())))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "%" not in printed.err


def test_a_file_without_the_hash_in_its_name_is_refused_and_not_kept(
    site: Site, cache: Path
) -> None:
    address = site.publish(saved(first_layer()), sha256="0123456789abcdef")
    with pytest.raises(ValueError, match=r"is not the published file .*01234567") as refused:
        fetch(address)
    assert address in str(refused.value)
    assert list(cache.iterdir()) == []


def test_a_download_cut_short_is_refused_and_not_kept(tmp_path: Path, cache: Path) -> None:
    site = Site(tmp_path / "cut", CutShort)
    try:
        address = site.publish(saved(first_layer()))
        with pytest.raises((ValueError, ConnectionError), match=re.escape(address)):
            fetch(address)
    finally:
        site.close()
    assert list(cache.iterdir()) == []


def test_without_the_server_the_file_and_the_way_to_pass_it_are_named(
    site: Site, cache: Path
) -> None:
    address = site.publish(saved(first_layer()))
    missing = address.replace("vgg16-", "vgg19-")
    with pytest.raises(
        ConnectionError, match=r"404.*pass it with --weights FILE, or put it into"
    ) as refused:
        fetch(missing)
    assert f"cannot fetch {missing}" in str(refused.value)
    site.close()
    with pytest.raises(ConnectionError, match="pass it with --weights FILE") as refused:
        fetch(address)
    assert f"cannot fetch {address}" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_published_code_does_not_run(site: Site, cache: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    address = site.publish(malicious_file("torch", mark))
    with pytest.raises(ValueError, match=re.escape(address)):
        fetch(address)
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"hello", saved(first_layer())[:-100]])
def test_a_kept_file_that_was_damaged_since_is_refused(
    site: Site, cache: Path, content: bytes
) -> None:
    address = site.publish(saved(first_layer()))
    fetch(address)
    (kept,) = cache.iterdir()
    kept.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(kept.name)):
        fetch(address)
