"""Models come by name or from a file, and no file runs anything."""

import hashlib
import io
import pickle
import re
import threading
import warnings
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ephys.models import sources
from ephys.models.checkpoint import save_checkpoint
from ephys.models.divnormei import DivNormEI
from ephys.models.gabor_bank import GaborBank
from ephys.models.sources import SHIPPED, fetch, load, read_state_dict
from ephys.models.superres import SuperResolution, SuperResolutionSettings
from ephys.models.vgg import INPUT_FORMATS, PUBLISHED, VGG16

PROMISED = {
    "superres-divnormei": {"normalization": "divnormei", "excitation_from": "normalized"},
    "superres-divnormei-eq3": {"normalization": "divnormei", "excitation_from": "drive"},
    "superres-divnorm": {"normalization": "divnorm"},
    "superres-gabor": {"normalization": "none"},
}


def first_layer() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {
        "features.0.weight": torch.rand(64, 3, 3, 3, generator=generator),
        "features.0.bias": torch.rand(64, generator=generator),
    }


def assert_has_first_layer(model: Any) -> None:
    assert isinstance(model, VGG16)
    for name, tensor in first_layer().items():
        assert torch.equal(model.state_dict()[name], tensor)


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


def malicious_files(mark: Path) -> dict[str, bytes]:
    hidden = first_layer() | {"features.2.weight": Malice(mark)}
    return {
        "pickle": pickle.dumps(Malice(mark)),
        "torch": saved(hidden),
        "legacy torch": saved(hidden, legacy=True),
    }


def refusal(path: Path) -> str:
    """The one line with which a state_dict is refused, which names the file."""
    with pytest.raises(ValueError, match=r".") as refused:
        read_state_dict(path)
    message = str(refused.value)
    assert str(path) in message
    assert "\n" not in message
    return message


# By name.


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_network_is_what_its_name_promises(name: str) -> None:
    model = load(name)
    assert isinstance(model, SuperResolution)
    promised = {"projected": "all"} | PROMISED[name]
    assert {setting: getattr(model.settings, setting) for setting in promised} == promised
    assert not any(module.training for module in model.modules())
    bank = model.encoder[0]
    assert isinstance(bank, GaborBank)
    assert torch.equal(bank.filters, GaborBank().filters)


@pytest.mark.parametrize("name", sorted(set(SHIPPED) - {"superres-gabor"}))
def test_the_projected_parameters_of_a_shipped_network_are_non_negative(name: str) -> None:
    (normalization,) = (m for m in load(name).modules() if isinstance(m, DivNormEI))
    assert (normalization.excitation is not None) == (name != "superres-divnorm")
    for parameter in normalization.parameters():
        assert (parameter >= 0).all()
        assert parameter.any()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("superres-divnorme", "superres-divnormei or superres-divnorm"),
        ("vgg61", "vgg16"),
        ("gabor", "superres-gabor"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(KeyError, match=rf"no model '{name}'; did you mean {nearest}.*checkpoint\?"):
        load(name)


def test_a_name_like_no_other_is_answered_with_all() -> None:
    with pytest.raises(KeyError) as refused:
        load("xyz")
    assert all(name in refused.value.args[0] for name in [*SHIPPED, "vgg16"])


@pytest.mark.parametrize("options", [{"weights": Path("vgg.pth")}, {"input_format": "caffe"}])
def test_a_shipped_network_takes_no_other_weights(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^superres-gabor brings its own weights.*name vgg16"):
        load("superres-gabor", **options)


# From a checkpoint.


@pytest.mark.parametrize("kind", [str, Path])
def test_a_checkpoint_file_loads_by_its_path(tmp_path: Path, kind: type) -> None:
    settings = SuperResolutionSettings(excitation_size=3, inhibition_size=1)
    path = tmp_path / "mine.safetensors"
    save_checkpoint(path, SuperResolution(settings), {})
    model = load(kind(path))
    assert isinstance(model, SuperResolution)
    assert model.settings == settings


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.safetensors", tmp_path):
        with pytest.raises(FileNotFoundError, match=rf"^there is no file {re.escape(str(path))}$"):
            load(path)


def test_a_pickle_in_the_place_of_a_checkpoint_does_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for content in malicious_files(mark).values():
        for name in ("model.pth", "model.safetensors"):
            path = tmp_path / name
            path.write_bytes(content)
            with pytest.raises(ValueError, match=rf"^{re.escape(str(path))} (is damaged|does not)"):
                load(path)
    assert not mark.exists()


# State_dicts.


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize("kind", [str, Path])
def test_vgg16_takes_the_weights_of_a_file(tmp_path: Path, suffix: str, kind: type) -> None:
    path = tmp_path / f"vgg{suffix}"
    if suffix == ".safetensors":
        save_file(first_layer(), path)
    else:
        path.write_bytes(saved(first_layer(), legacy=suffix == ".pt"))
    model = load("vgg16", weights=kind(path), input_format="caffe")
    assert_has_first_layer(model)
    assert model.input_format == INPUT_FORMATS["caffe"]


def test_weights_without_an_input_format_are_asked_for_it_by_name(tmp_path: Path) -> None:
    path = tmp_path / "vgg.pth"
    path.write_bytes(saved(first_layer()))
    with pytest.raises(ValueError, match=r"vgg\.pth take\? pass --input-format") as refused:
        load("vgg16", weights=path)
    assert all(name in str(refused.value) for name in INPUT_FORMATS)


def test_an_unknown_input_format_is_answered_with_the_known(tmp_path: Path) -> None:
    path = tmp_path / "vgg.pth"
    path.write_bytes(saved(first_layer()))
    with pytest.raises(KeyError, match="no input format 'keras'; there are") as refused:
        load("vgg16", weights=path, input_format="keras")
    assert all(name in refused.value.args[0] for name in INPUT_FORMATS)


def test_weights_of_another_network_are_refused_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "alexnet.pth"
    path.write_bytes(saved({"features.3.weight": torch.zeros(192, 64, 5, 5)}))
    message = f"{path}: VGG-16 has no weights 'features.3.weight'"
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}"):
        load("vgg16", weights=path, input_format="unit")


@pytest.mark.parametrize("kind", ["pickle", "torch", "legacy torch"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(
    tmp_path: Path, kind: str
) -> None:
    mark, path = tmp_path / "mark", tmp_path / "weights.pth"
    path.write_bytes(malicious_files(mark)[kind])
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        message = refusal(path)
    assert warned == []  # the refusal is all that a user reads
    assert "could run code" in message
    assert "state_dict()" in message
    assert not mark.exists()


def test_the_malicious_files_of_these_tests_would_run(tmp_path: Path) -> None:
    for number, kind in enumerate(("pickle", "torch", "legacy torch")):
        mark = tmp_path / str(number)
        content = io.BytesIO(malicious_files(mark)[kind])
        if kind == "pickle":
            pickle.load(content)
        else:
            torch.load(content, weights_only=False)
        assert mark.exists()


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
    "content", [torch.zeros(3), [torch.zeros(3)], {"state_dict": first_layer()}, {"epoch": 3}]
)
def test_a_torch_file_of_anything_else_is_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(saved(content))
    assert "is not a state_dict" in refusal(path)


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
        assert list(weights) == list(first_layer())
        for name, tensor in first_layer().items():
            assert torch.equal(weights[name], tensor)
    assert [path.name for path in cache.iterdir()] == [address.rsplit("/")[-1]]


def test_fetching_leaves_stdout_to_the_results_and_a_log_without_a_progress_bar(
    site: Site, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(site.publish(saved(first_layer())))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "%" not in printed.err


def test_vgg16_without_weights_is_the_published_one(
    site: Site, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "PUBLISHED", site.publish(saved(first_layer(), legacy=True)))
    model = load("vgg16")
    assert_has_first_layer(model)
    assert model.input_format == INPUT_FORMATS["torchvision"]


def test_the_published_file_is_torchvisions() -> None:
    # https://docs.pytorch.org/vision/stable/models/generated/torchvision.models.vgg16.html
    assert PUBLISHED == "https://download.pytorch.org/models/vgg16-397923af.pth"


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
    with pytest.raises(ConnectionError, match=r"404.*pass it with --weights FILE") as refused:
        fetch(missing)
    assert f"cannot fetch {missing}" in str(refused.value)
    site.close()
    with pytest.raises(ConnectionError, match="pass it with --weights FILE") as refused:
        fetch(address)
    assert f"cannot fetch {address}" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_published_code_does_not_run(site: Site, cache: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    address = site.publish(malicious_files(mark)["torch"])
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
