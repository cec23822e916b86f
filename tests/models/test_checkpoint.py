"""A checkpoint comes back as it was, or is refused in one line."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

from ephys.models.checkpoint import (
    load_checkpoint,
    read_header,
    read_weights,
    save_checkpoint,
    write_atomically,
)
from ephys.models.superres import SuperResolution, SuperResolutionSettings

NORMALIZATIONS = ("divnormei", "divnorm", "none")


def settings(**chosen: Any) -> SuperResolutionSettings:
    return SuperResolutionSettings(
        **{"divisive_size": 3, "excitation_size": 5, "inhibition_size": 1} | chosen
    )


def trained(chosen: SuperResolutionSettings) -> SuperResolution:
    """A network with every weight and statistic away from its initial value."""
    model = SuperResolution(chosen)
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, values in model.state_dict().items():
            if values.is_floating_point():
                values.copy_(torch.rand(values.shape, generator=generator) + 0.1)
            else:
                values.fill_(7)
                assert name.endswith("num_batches_tracked")
    return model


def rewrite(path: Path, header: Any, weights: dict[str, torch.Tensor] | None = None) -> None:
    """Put another header or other weights into a checkpoint."""
    text = header if isinstance(header, str) else json.dumps(header)
    path.write_bytes(save(weights or read_weights(path), metadata={"ephys": text}))


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match=r".") as refused:
        load_checkpoint(path)
    message = str(refused.value)
    assert "\n" not in message.strip()
    assert str(path) in message
    return message


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_weights_and_settings_come_back_exactly(
    tmp_path: Path, normalization: str, layout: torch.memory_format
) -> None:
    chosen = settings(normalization=normalization, excitation_from="drive", projected="lateral")
    model = trained(chosen).to(memory_format=layout)  # type: ignore[call-overload]
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, model, {"history": [1, 2.5], "evaluation": {"psnr": 23.4}})
    loaded = load_checkpoint(path)
    assert isinstance(loaded, SuperResolution)
    assert loaded.settings == chosen
    before, after = model.state_dict(), loaded.state_dict()
    assert list(before) == list(after)
    for name, values in before.items():
        assert after[name].dtype == values.dtype
        assert torch.equal(after[name], values)
    assert not any(module.training for module in loaded.modules())
    image = torch.rand(1, 1, 16, 12, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(loaded(image), trained(chosen).eval()(image))
    header = read_header(path)
    assert header["architecture"] == "superres"
    assert SuperResolutionSettings(**header["settings"]) == chosen
    assert header["history"] == [1, 2.5]
    assert header["evaluation"] == {"psnr": 23.4}


def test_saving_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model = trained(settings()).train()
    before = {name: values.clone() for name, values in model.state_dict().items()}
    save_checkpoint(tmp_path / "model.safetensors", model, {})
    assert all(module.training for module in model.modules())
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())


def test_the_fixed_filters_are_not_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model = trained(settings())
    save_checkpoint(path, model, {})
    assert set(read_weights(path)) == set(model.state_dict())
    assert not any("filters" in name for name in read_weights(path))


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    save_checkpoint(whole, trained(settings(normalization="none")), {})
    content = whole.read_bytes()
    header_end = 8 + int.from_bytes(content[:8], "little")
    path = tmp_path / "cut.safetensors"
    for length in (0, 1, 7, 8, 9, header_end // 2, header_end, header_end + 1, len(content) - 1):
        path.write_bytes(content[:length])
        assert "damaged or not a safetensors file" in refusal(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.safetensors", tmp_path):  # a folder is no file either
        for read in (load_checkpoint, read_header, read_weights):
            with pytest.raises(FileNotFoundError, match="there is no file") as refused:
                read(path)
            assert str(path) in str(refused.value)


@pytest.mark.parametrize("content", [b"GIF89a", b"\x80\x04\x95 a pickle", b"{}" * 100])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert "damaged or not a safetensors file" in refusal(path)


def test_weights_from_elsewhere_are_refused_but_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "vgg.safetensors"
    save_file({"features.0.weight": torch.arange(3.0)}, path, metadata={"format": "pt"})
    assert read_header(path) == {}
    assert read_weights(path)["features.0.weight"].tolist() == [0, 1, 2]
    assert "does not say of which network" in refusal(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("colour", "red"),
        ("normalization", "batch"),
        ("excitation_size", 4),
        ("excitation_size", "large"),
    ],
)
def test_settings_that_no_network_has_are_refused(tmp_path: Path, name: str, value: Any) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, trained(settings()), {})
    header = read_header(path)
    rewrite(path, header | {"settings": header["settings"] | {name: value}})
    refusal(path)


def test_a_checkpoint_without_settings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, trained(settings()), {})
    rewrite(path, {"architecture": "superres"})
    assert "settings" in refusal(path)


@pytest.mark.parametrize("header", ["{ not json", "[1, 2]"])
def test_a_header_that_is_not_ours_is_refused(tmp_path: Path, header: str) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, trained(settings(normalization="none")), {})
    rewrite(path, header)
    refusal(path)


def test_a_missing_weight_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, trained(settings()), {})
    header, weights = read_header(path), read_weights(path)
    del weights["decoder.0.bias"]
    rewrite(path, header, weights)
    assert "decoder.0.bias" in refusal(path)


def test_a_weight_of_another_shape_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, trained(settings()), {})
    header = read_header(path)
    rewrite(path, header | {"settings": header["settings"] | {"excitation_size": 7}})
    assert "encoder.normalization.excitation.weight" in refusal(path)


@pytest.mark.parametrize("step", ["fsync", "replace", "open"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"old")

    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    elif step == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    else:
        monkeypatch.setattr("builtins.open", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new and longer")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"old")

    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_replaces_the_whole_content(tmp_path: Path) -> None:
    path = tmp_path / "state"
    for content in (b"a long first content", b"short", b"", np.arange(9).tobytes()):
        write_atomically(path, content)
        assert path.read_bytes() == content
        assert list(tmp_path.iterdir()) == [path]


def test_a_failed_save_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, trained(settings(normalization="none")), {"note": "first"})
    with pytest.raises(TypeError, match="JSON"):  # notes that no header can hold
        save_checkpoint(path, SuperResolution(settings()), {"note": object()})
    assert read_header(path)["note"] == "first"
    assert load_checkpoint(path)
    assert list(tmp_path.iterdir()) == [path]
