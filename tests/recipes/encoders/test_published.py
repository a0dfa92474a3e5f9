"""The published encoders, from files of the same layout, through torch.hub as anyone loads them."""

from __future__ import annotations

import hashlib
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models  # type: ignore[import-untyped]  # it is not typed
from torchvision.models import resnet50  # type: ignore[import-untyped]  # it is not typed

from align_uniform.recipes.encoders import published
from align_uniform.recipes.encoders.published import (
    imagenet_resnet50_encoder,
    torchvision_encoder,
    weights_file,
)

ROOT = Path(__file__).parents[3]
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def backbone(fc: nn.Module) -> nn.Module:
    """torchvision's ResNet-50 in eval mode, with running statistics that are not those of a new one."""
    network: nn.Module = resnet50(weights=None)
    network.fc = fc
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.fill_(0.01)
    return network.eval()


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


@pytest.fixture(scope="module")
def encoder() -> nn.Module:
    torch.manual_seed(0)
    return backbone(nn.Sequential(nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 128)))


@pytest.fixture(scope="module")
def encoder_file(encoder: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkpoint as the MoCo variant wrote it."""
    state = prefixed("module.encoder_q.", encoder.state_dict())
    state |= {
        "module.encoder_k.fc.2.bias": torch.full((128,), torch.nan),
        "module.queue": torch.zeros(128, 8),
    }
    path = tmp_path_factory.mktemp("released") / published.ENCODER
    torch.save({"epoch": 200, "arch": "resnet50", "state_dict": state, "optimizer": {"state": {}}}, path)
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def classified() -> nn.Module:
    torch.manual_seed(1)
    return backbone(nn.Linear(2048, 1000))


@pytest.fixture(scope="module")
def classified_file(classified: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkpoint of linear classification."""
    path = tmp_path_factory.mktemp("released") / published.CLASSIFIER
    state = prefixed("module.", classified.state_dict())
    torch.save(
        {"epoch": 100, "arch": "resnet50", "state_dict": state, "best_acc1": torch.tensor(67.69)}, path
    )
    yield path
    path.unlink()


def from_hub(**options: Any) -> nn.Module:
    loaded: nn.Module = torch.hub.load(str(ROOT), "imagenet_resnet50_encoder", source="local", **options)
    return loaded


def test_the_encoder_gives_points_on_the_sphere(encoder: nn.Module, encoder_file: Path) -> None:
    loaded = from_hub(weights=str(encoder_file))
    assert not loaded.training
    with torch.no_grad():
        features = loaded(IMAGES)
        expected = F.normalize(encoder(IMAGES), dim=1)
    assert features.shape == (2, 128)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(features, expected)


def test_with_the_classifier_it_gives_logits(classified: nn.Module, classified_file: Path) -> None:
    loaded = from_hub(with_linear_clf=True, weights=classified_file)
    assert not loaded.training
    with torch.no_grad():
        logits = loaded(IMAGES)
        torch.testing.assert_close(logits, classified(IMAGES))
    assert logits.shape == (2, 1000)
    assert not torch.allclose(logits.norm(dim=1), torch.ones(2))


def test_the_hub_finds_one_entry_and_what_it_depends_on() -> None:
    found = runpy.run_path(str(ROOT / "hubconf.py"))
    assert [name for name, value in found.items() if callable(value) and not name.startswith("_")] == [
        "imagenet_resnet50_encoder"
    ]
    assert found["imagenet_resnet50_encoder"] is imagenet_resnet50_encoder
    assert found["dependencies"] == ["torch", "torchvision"]


def test_a_checkout_is_enough(encoder_file: Path, tmp_path: Path) -> None:
    """Nothing is installed, and the folder is not that of the repository."""
    code = (
        "import importlib.util, sys, torch\n"
        "for name in ('h5py', 'jinja2', 'matplotlib', 'pandas', 'rich', 'safetensors', 'sklearn', 'yaml'):\n"
        "    sys.modules[name] = None\n"
        "sys.path = [p for p in sys.path if not "
        "p.rstrip('/').endswith('src')]\nsys.meta_path = [f for f in sys.meta_path if 'editable' not in "
        "repr(f)]\nassert importlib.util.find_spec('align_uniform') is None\ne = "
        f"torch.hub.load({str(ROOT)!r}, 'imagenet_resnet50_encoder', source='local', "
        f"weights={str(encoder_file)!r})\nprint(tuple(e(torch.zeros(1, 3, 32, 32)).shape))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.returncode) == ("(1, 128)\n", 0), done.stderr


@pytest.fixture
def hub_folder(tmp_path: Path) -> Iterator[Path]:
    """Where torch.hub keeps what it fetches."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    yield tmp_path / "hub" / "checkpoints"
    torch.hub.set_dir(before)


def test_the_released_files_are_asked_for_by_their_names(
    hub_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def no_network(url: str, path: str, progress: bool) -> None:
        asked.append((url, Path(path).name))
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    release = "https://github.com/SsnL/moco_align_uniform/releases/download/v1.0-checkpoints/"
    for with_linear_clf, name in (
        (False, "imagenet_align_uniform.pth.tar"),
        (True, "imagenet_align_uniform_with_linear_clf.pth.tar"),
    ):
        with pytest.raises(
            OSError, match=r"could not be fetched.*fetch it in another way and pass its path as weights"
        ):
            imagenet_resnet50_encoder(with_linear_clf)
        assert asked.pop() == (release + name, name)
        assert not list(hub_folder.iterdir())


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The texts of the files that can be fetched, by their addresses."""
    files: dict[str, str] = {}

    def fetch(url: str, path: str, progress: bool) -> None:
        Path(path).write_text(files[url])

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    return files


def test_a_file_is_fetched_once_and_told_from_others_of_the_same_name(
    hub_folder: Path, network: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = []
    for text in ("one", "two"):
        url = f"https://example.org/{text}/encoder.pth"
        network[url] = text
        paths.append(weights_file(url, progress=False))
        digest = hashlib.sha256(text.encode()).hexdigest()
        assert capsys.readouterr().err == f"{paths[-1]} was fetched from {url}; its SHA-256 is {digest}.\n"
        del network[url]
        assert weights_file(url, progress=False) == paths[-1]
    assert [path.read_text() for path in paths] == ["one", "two"]
    assert {path.parent for path in paths} == {hub_folder}
    assert weights_file(tmp_path / "here.pth") == tmp_path / "here.pth"
    assert capsys.readouterr().err == ""


URL = "https://example.org/encoder.pth"
ONE = hashlib.sha256(b"one").hexdigest()


def test_a_file_that_changed_since_it_was_fetched_is_refused(
    hub_folder: Path, network: dict[str, str]
) -> None:
    network[URL] = "one"
    path = weights_file(URL)
    path.write_text("two")
    with pytest.raises(
        ValueError, match=rf"must have the SHA-256 {ONE}, it has .*; remove {path} and .*\.sha256"
    ):
        weights_file(URL)
    for each in (path, path.with_name(f"{path.name}.sha256")):  # which is the remedy
        each.unlink()
    assert weights_file(URL) == path


def test_a_file_must_have_the_digest_that_is_given(
    hub_folder: Path, network: dict[str, str], tmp_path: Path
) -> None:
    network[URL] = "one"
    (tmp_path / "here.pth").write_text("one")
    for weights in (URL, tmp_path / "here.pth"):
        assert weights_file(weights, ONE).read_text() == "one"
        assert weights_file(weights, ONE.upper()).read_text() == "one"
        with pytest.raises(ValueError, match=rf"must have the SHA-256 0{{64}}, it has {ONE}"):
            weights_file(weights, "0" * 64)
        with pytest.raises(ValueError, match="a SHA-256 must be 64 hexadecimal digits, got 'abc'"):
            weights_file(weights, "abc")


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ("file:///models/encoder.pth", r"give a path, such as /models/encoder\.pth, or https://"),
        ("file:///", "give a path"),
        ("http://example.org/encoder.pth", r"give a path, or https://"),
        ("ftp://example.org/encoder.pth", r"give a path, or https://"),
        ("HTTPS:///encoder.pth", r"give a path, or https://"),
        ("s3://bucket/encoder.pth", r"give a path, or https://"),
    ],
)
def test_other_addresses_are_refused_in_one_line(address: str, hint: str, hub_folder: Path) -> None:
    with pytest.raises(
        ValueError, match=rf"weights must be a path or an https address, got {address}; {hint}"
    ):
        weights_file(address)
    assert not hub_folder.exists()


class Hostile:
    """Runs code in whoever unpickles it."""

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self.path,)

    def __init__(self, path: Path) -> None:
        self.path = path


@pytest.mark.parametrize("with_linear_clf", [False, True])
def test_code_in_a_file_is_not_run(with_linear_clf: bool, tmp_path: Path) -> None:
    torch.save(
        {"state_dict": {"module.conv1.weight": Hostile(tmp_path / "ran")}}, tmp_path / "hostile.pth.tar"
    )
    with pytest.raises(ValueError, match=r"hostile.pth.tar must be a checkpoint of tensors and plain values"):
        from_hub(with_linear_clf=with_linear_clf, weights=str(tmp_path / "hostile.pth.tar"))
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "hostile.pth.tar", weights_only=False)
    assert (tmp_path / "ran").exists()  # the trap works


def test_other_weights_are_refused(encoder_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dim must be 128, as .* says, got 1000"):
        imagenet_resnet50_encoder(with_linear_clf=True, weights=encoder_file)
    with pytest.raises(FileNotFoundError):
        imagenet_resnet50_encoder(weights=tmp_path / "nowhere.pth")


@pytest.mark.parametrize(
    ("name", "dim"), [("vit_b_32", 768), ("densenet121", 1024), ("mobilenet_v3_small", 1024)]
)
def test_the_last_linear_layer_is_found_wherever_it_is(
    name: str, dim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = models.get_model

    def without_weights(name: str, weights: Any) -> nn.Module:
        assert weights is models.get_model_weights(name).DEFAULT
        with torch.device("meta"):
            network: nn.Module = built(name, weights=None)
        return network

    monkeypatch.setattr(models, "get_model", without_weights)
    network, size, statistics = torchvision_encoder(name)
    assert network(torch.empty(2, 3, size, size, device="meta")).shape == (2, dim)
    assert statistics.mean == (0.485, 0.456, 0.406)
