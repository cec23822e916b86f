"""Networks of torchvision, timm and one's own modules, and what is said where there is none."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from ephys.models.input_format import INPUT_FORMATS, InputFormat
from ephys.models.loading import Request
from ephys.models.zoo import AS_PUBLISHED, from_factory, from_timm, from_torchvision

CLASSIFIERS = torchvision.models.list_models(module=torchvision.models)


def changed(network: nn.Module) -> dict[str, Tensor]:
    """Weights for a network that are not the ones it has."""
    return {
        name: tensor * 0.9 if tensor.is_floating_point() else tensor
        for name, tensor in network.state_dict().items()
    }


def assert_has(network: nn.Module, weights: dict[str, Tensor]) -> None:
    state = network.state_dict()
    assert list(state) == list(weights)
    assert all(torch.equal(state[name], tensor) for name, tensor in weights.items())


# torchvision.


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    """Where torch keeps what it fetched."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path / "hub")
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    yield tmp_path / "hub" / "checkpoints"
    torch.hub.set_dir(before)


def test_an_untrained_network_of_torchvisions_is_the_one_of_the_seed() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    network = from_torchvision(Request("torchvision:squeezenet1_1@none"))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(0)
    assert_has(network, dict(torchvision.models.squeezenet1_1().state_dict()))
    assert network.input_format == INPUT_FORMATS["torchvision"]


def test_the_published_weights_are_torchvisions_default_ones(cache: Path) -> None:
    weights = changed(torchvision.models.mobilenet_v3_small())
    published = torchvision.models.MobileNet_V3_Small_Weights.DEFAULT
    torch.save(weights, cache / published.url.rsplit("/", 1)[-1])
    for name in ("torchvision:mobilenet_v3_small", "torchvision:mobilenet_v3_small@IMAGENET1K_V1"):
        network = from_torchvision(Request(name))
        assert_has(network, weights)
        assert network.input_format == INPUT_FORMATS["torchvision"]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_input_of_every_classifier_is_what_its_weights_are_transformed_to(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, **options: nn.Identity())
    for weights in torchvision.models.get_model_weights(name):
        monkeypatch.setattr("ephys.models.zoo.download", lambda url: Path(url))
        network = from_torchvision(Request(f"torchvision:{name}@{weights.name}"))
        own: Any = network.input_format
        transforms = weights.transforms()
        grey = torch.full((1, 3, 400, 500), 0.25)
        shown = own.encode(torch.full((1, 3, own.height_px, own.width_px), 0.25))
        torch.testing.assert_close(shown, transforms(grey), rtol=0, atol=1e-6 / min(own.std))


def test_every_published_file_of_torchvisions_has_its_hash_in_its_name() -> None:
    for name in CLASSIFIERS:
        for weights in torchvision.models.get_model_weights(name):
            assert re.search(r"-[0-9a-f]{8,}\.pth$", weights.url)


def test_a_file_of_weights_goes_into_torchvisions_network(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    weights = changed(torchvision.models.squeezenet1_1())
    torch.save({"state_dict": {f"module.{n}": t for n, t in weights.items()}}, path)
    network = from_torchvision(Request("torchvision:squeezenet1_1", path))
    assert_has(network, weights)
    assert network.input_format == INPUT_FORMATS["torchvision"]
    network = from_torchvision(Request("torchvision:squeezenet1_1", path, "unit"))
    assert network.input_format == INPUT_FORMATS["unit"]


def test_a_file_of_certain_published_weights_takes_their_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.pth"
    torch.save({"weight": torch.ones(2)}, path)
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, **options: nn.BatchNorm1d(2))
    monkeypatch.setattr("ephys.models.loading.fill", lambda network, weights: None)
    network = from_torchvision(Request("torchvision:vgg16@IMAGENET1K_FEATURES", path))
    own: Any = network.input_format
    assert own.std == pytest.approx((1 / 255,) * 3)


@pytest.mark.parametrize("name", AS_PUBLISHED)
def test_a_published_file_passed_by_hand_is_the_same_network_as_when_fetched(
    tmp_path: Path, cache: Path, name: str
) -> None:
    published = torchvision.models.get_model_weights(name).DEFAULT
    path = cache / published.url.rsplit("/", 1)[-1]
    built = torchvision.models.get_model(name, weights=None, init_weights=False)
    torch.save(changed(built), path)
    fetched = from_torchvision(Request(f"torchvision:{name}")).eval()
    by_hand = from_torchvision(Request(f"torchvision:{name}", path)).eval()
    images = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(by_hand(images), fetched(images))


def test_weights_that_lack_a_layer_are_refused_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    weights = changed(torchvision.models.squeezenet1_1())
    del weights["classifier.1.bias"]
    torch.save(weights, path)
    message = f"{path}: there are no weights 'classifier.1.bias', which the network has"
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}$"):
        from_torchvision(Request("torchvision:squeezenet1_1", path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet8", "torchvision has no classifier 'resnet8'; did you mean resnet18 or"),
        ("fcn_resnet50", "torchvision has no classifier 'fcn_resnet50'; did you mean"),
        ("", "torchvision has no classifier ''"),
        ("resnet18@V2", "resnet18 has no weights 'V2'; there are IMAGENET1K_V1, DEFAULT and none"),
        ("resnet18@", "resnet18 has no weights ''"),
    ],
)
def test_an_unknown_name_of_torchvisions_is_answered_with_the_known(
    name: str, message: str
) -> None:
    with pytest.raises(KeyError) as refused:
        from_torchvision(Request(f"torchvision:{name}"))
    assert refused.value.args[0].startswith(message)


def test_the_published_weights_of_torchvision_take_no_other_input() -> None:
    with pytest.raises(ValueError, match=r"^torchvision:resnet18 brings its own weights and input"):
        from_torchvision(Request("torchvision:resnet18", input_format="unit"))


@pytest.mark.parametrize("load", [from_torchvision, from_timm])
def test_what_is_to_be_untrained_takes_no_weights(
    load: Callable[[Request], nn.Module], tmp_path: Path
) -> None:
    zoo = load.__name__.removeprefix("from_")
    with pytest.raises(
        ValueError, match=rf"^{zoo}:resnet18@none is untrained; name {zoo}:resnet18 "
    ):
        load(Request(f"{zoo}:resnet18@none", tmp_path / "w.pth"))


def test_a_damaged_file_in_the_cache_is_refused_with_its_place(cache: Path) -> None:
    published = torchvision.models.SqueezeNet1_1_Weights.DEFAULT
    kept = cache / published.url.rsplit("/", 1)[-1]
    kept.write_bytes(b"hello")
    with pytest.raises(ValueError, match="remove it to fetch it again") as refused:
        from_torchvision(Request("torchvision:squeezenet1_1"))
    assert str(kept) in str(refused.value)
    assert "\n" not in str(refused.value)


# timm.


def test_an_untrained_network_of_timms_is_the_one_of_the_seed() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    network = from_timm(Request("timm:mobilenetv3_small_050@none"))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(0)
    assert_has(network, dict(timm.create_model("mobilenetv3_small_050").state_dict()))


@pytest.mark.parametrize(
    ("name", "size", "mean", "std"),
    [  # of timm's table, results/model_metadata-in1k.csv
        ("resnet10t", 176, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("vit_tiny_patch16_224.augreg_in21k_ft_in1k", 224, (0.5,) * 3, (0.5,) * 3),
        ("tf_mixnet_s", 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ],
)
def test_the_input_of_a_network_of_timms_is_what_its_weights_take(
    name: str, size: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    network = from_timm(Request(f"timm:{name}@none"))
    assert network.input_format == InputFormat(3, size, size, mean=mean, std=std)


def test_the_weights_of_timms_are_asked_for_by_their_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def create_model(name: str, pretrained: bool) -> nn.Module:
        asked.append((name, pretrained))
        network: Any = nn.Identity()
        network.pretrained_cfg = {"input_size": (3, 9, 7), "mean": (0.1,) * 3, "std": (0.2,) * 3}
        return network

    monkeypatch.setattr(timm, "create_model", create_model)
    network = from_timm(Request("timm:resnet18.tv_in1k"))
    assert asked == [("resnet18.tv_in1k", True)]
    assert network.input_format == InputFormat(3, 9, 7, mean=(0.1,) * 3, std=(0.2,) * 3)


def test_a_file_of_weights_goes_into_timms_network(tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    weights = changed(timm.create_model("mobilenetv3_small_050"))
    torch.save(weights, path)
    network = from_timm(Request("timm:mobilenetv3_small_050", path))
    assert_has(network, weights)
    del weights["conv_stem.weight"]
    torch.save(weights, path)
    with pytest.raises(ValueError, match=r"w\.bin: there are no weights 'conv_stem\.weight'"):
        from_timm(Request("timm:mobilenetv3_small_050", path))


def test_without_a_network_timm_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        ConnectionError, match="pass its weights with --weights FILE, or"
    ) as refused:
        from_timm(Request("timm:mobilenetv3_small_050.lamb_in1k"))
    assert str(refused.value).startswith("timm cannot make mobilenetv3_small_050.lamb_in1k (")
    assert str(refused.value).endswith("name timm:mobilenetv3_small_050@none for an untrained one")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("resnet188", KeyError, "timm has no network 'resnet188'; did you mean resnet18 or"),
        ("resnet18@a1_in1k", KeyError, "after @ there is only none; timm's weights are named resn"),
        ("resnet18.b9", ValueError, "timm cannot make resnet18.b9 (RuntimeError: Invalid pretrai"),
    ],
)
def test_an_unknown_name_of_timms_is_refused(name: str, kind: type, message: str) -> None:
    with pytest.raises(kind) as refused:
        from_timm(Request(f"timm:{name}"))
    assert refused.value.args[0].startswith(message)


def test_the_published_weights_of_timm_take_no_other_input() -> None:
    with pytest.raises(ValueError, match=r"^timm:resnet18 brings its own weights and input format"):
        from_timm(Request("timm:resnet18", input_format="unit"))


# Packages that are not here, or that do not work.


class Without:
    """Finds that a package is not installed."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize("load", [from_torchvision, from_timm])
def test_a_package_that_is_not_here_is_asked_for(
    load: Callable[[Request], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo = load.__name__.removeprefix("from_")
    for name in [name for name in sys.modules if name.split(".")[0] == zoo]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Without(zoo), *sys.meta_path])
    with pytest.raises(ImportError) as refused:
        load(Request(f"{zoo}:resnet18@none"))
    assert str(refused.value) == f"there is no {zoo} here; pip install 'ephys[zoo]'"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "raise RuntimeError('operator torchvision::nms does not exist')",
            "RuntimeError: operator",
        ),
        ("import a_package_that_it_needs", "ModuleNotFoundError: No module named 'a_package"),
    ],
)
def test_a_package_that_cannot_be_imported_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    (tmp_path / "torchvision.py").write_text(code)
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"^torchvision cannot be imported") as refused:
        from_torchvision(Request("torchvision:resnet18@none"))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


# Your own.


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module into the current folder; each under another name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    written = 0

    def write(code: str) -> str:
        nonlocal written
        written += 1
        name = f"own_{tmp_path.name}_{written}"
        (tmp_path / f"{name}.py").write_text("import torch\nfrom torch import nn\n" + code)
        return name

    return write


FACTORY = """
class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)

    @classmethod
    def made(cls):
        return cls()

def build():
    return Network()
"""


@pytest.mark.parametrize("factory", ["build", "Network", "Network.made"])
def test_a_function_of_the_current_folder_makes_the_network(
    here: Callable[[str], str], factory: str
) -> None:
    name = here(FACTORY)
    path, before = list(sys.path), torch.get_rng_state()
    network = from_factory(Request(f"{name}:{factory}", input_format="torchvision"))
    again = from_factory(Request(f"{name}:{factory}", input_format="torchvision"))
    assert sys.path == path
    assert torch.equal(torch.get_rng_state(), before)
    assert type(network).__name__ == "Network"
    assert network.input_format == INPUT_FORMATS["torchvision"]
    assert_has(again, dict(network.state_dict()))  # drawn with a fixed seed


def test_a_function_in_a_package_may_import_what_is_beside_it(
    here: Callable[[str], str], tmp_path: Path
) -> None:
    beside = here(FACTORY)
    package = tmp_path / f"package_{beside}"
    package.mkdir()
    (package / "networks.py").write_text(
        f"def build():\n    from {beside} import Network\n    return Network()\n"
    )
    network = from_factory(Request(f"{package.name}.networks:build", input_format="unit"))
    assert type(network).__name__ == "Network"


def test_a_network_that_says_what_it_takes_is_believed(here: Callable[[str], str]) -> None:
    name = here(
        FACTORY
        + "from ephys.models import InputFormat\n"
        + "def says():\n    network = Network()\n    network.input_format = InputFormat(3, 9, 7)\n"
        + "    return network\n"
    )
    assert from_factory(Request(f"{name}:says")).input_format == InputFormat(3, 9, 7)
    whole = InputFormat(3, 5, 5)
    assert from_factory(Request(f"{name}:says", input_format=whole)).input_format == whole
    with pytest.raises(
        ValueError, match=rf"^which input does {name}:build take\? pass --input-for"
    ):
        from_factory(Request(f"{name}:build"))


def test_weights_go_into_your_own_network_whole(here: Callable[[str], str], tmp_path: Path) -> None:
    name, path = here(FACTORY), tmp_path / "w.pth"
    weights = {"layer.weight": torch.rand(4, 3, 3, 3), "layer.bias": torch.rand(4)}
    torch.save({"model": {f"_orig_mod.{n}": t for n, t in weights.items()}, "epoch": 4}, path)
    assert_has(from_factory(Request(f"{name}:build", path, "unit")), weights)
    torch.save({"layer.weight": weights["layer.weight"]}, path)
    with pytest.raises(ValueError, match=r"w\.pth: there are no weights 'layer\.bias', which"):
        from_factory(Request(f"{name}:build", path, "unit"))


@pytest.mark.parametrize(
    ("code", "factory", "message"),
    [
        ("raise SystemExit(3)", "build", "cannot import NAME: SystemExit: 3"),
        ("1 / 0", "build", "cannot import NAME: ZeroDivisionError: division by zero"),
        ("def build(:", "build", "cannot import NAME: SyntaxError: invalid syntax"),
        ("import nothing_of_that_name", "build", "cannot import NAME: ModuleNotFoundError: No mod"),
        (FACTORY, "biuld", "NAME has no 'biuld'; did you mean build"),
        (FACTORY, "Network.mode", "NAME has no 'Network.mode'; did you mean Network"),
        (
            "def build():\n    raise OSError('no\\nfile')",
            "build",
            "NAME:build fails when it is call",
        ),
        ("def build(size): ...", "build", "NAME:build fails when it is called: TypeError: build()"),
        ("build = 3", "build", "NAME:build fails when it is called: TypeError: 'int' object is"),
        ("def build(): ...", "build", "NAME:build returns a NoneType; it has to be a torch.nn.M"),
    ],
)
def test_a_factory_that_fails_is_refused_in_one_line(
    here: Callable[[str], str], code: str, factory: str, message: str
) -> None:
    name = here(code)
    path = list(sys.path)
    with pytest.raises((ValueError, KeyError)) as refused:
        from_factory(Request(f"{name}:{factory}", input_format="unit"))
    assert refused.value.args[0].startswith(message.replace("NAME", name))
    assert "\n" not in refused.value.args[0]
    assert sys.path == path


def test_a_module_that_is_not_there_is_refused(here: Callable[[str], str]) -> None:
    with pytest.raises(ValueError, match=r"^cannot import nowhere\.at\.all: ModuleNotFoundError"):
        from_factory(Request("nowhere.at.all:build"))


def test_a_module_that_takes_the_folder_from_the_path_is_no_problem(
    here: Callable[[str], str], tmp_path: Path
) -> None:
    name = here(FACTORY + f"import sys\nsys.path.remove({str(tmp_path)!r})\n")
    path = list(sys.path)
    assert from_factory(Request(f"{name}:build", input_format="unit"))
    assert sys.path == path
