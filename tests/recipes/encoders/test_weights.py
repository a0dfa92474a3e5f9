"""Encoders on disk: what a folder says of its encoder, and files of other origin."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from align_uniform.files import arrays
from align_uniform.recipes.encoders.checkpoints import LeftOut, check_fits, read_checkpoint
from align_uniform.recipes.encoders.networks import Encoder, build
from align_uniform.recipes.encoders.published import torchvision_encoder
from align_uniform.recipes.encoders.weights import (
    EncoderCard,
    EncoderFile,
    read_encoder,
    save_encoder,
)
from align_uniform.recipes.images.statistics import STATISTICS, Statistics

GREY = Statistics((0.25,), (0.5,))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return build("small-conv", 4, size=28, channels=1)


@pytest.fixture
def folder(encoder: Encoder, tmp_path: Path) -> Path:
    """The folder of a run that has ended."""
    EncoderCard.of(encoder, GREY, "fashion-mnist").write(tmp_path)
    save_encoder(encoder, tmp_path)
    return tmp_path


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# -------------------------------------------------------------------------------------------- encoder.json


def test_the_card_says_how_the_encoder_was_built_and_what_it_sees(folder: Path) -> None:
    assert json.loads((folder / "encoder.json").read_text()) == {
        "arch": "small-conv",
        "dim": 4,
        "head": "linear",
        "size": 28,
        "channels": 1,
        "mean": [0.25],
        "std": [0.5],
        "data": "fashion-mnist",
        "layers": ["features", "output"],
        "stem": "imagenet",
    }
    found = EncoderCard.read_beside(folder / "encoder.pth")
    assert found is not None
    assert found == EncoderCard.read_beside(folder)
    assert found.statistics == GREY
    assert EncoderCard.read_beside(folder / "elsewhere" / "encoder.pth") is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("{", "Expecting property name"),
        ("[]", "list indices"),
        ({"dim": None}, "'dim' is missing"),
        ({"dim": 0}, "dim must be at least 1, got 0"),
        ({"size": "28"}, "not supported between"),
        ({"std": [0.0]}, r"std must have finite numbers above 0, got \[0.0\]"),
        ({"mean": [0.1, 0.2], "std": [1, 1]}, "mean must have 1 number, one for each channel"),
    ],
    ids=str,
)
def test_a_damaged_card_is_one_line_that_names_it(
    change: str | dict[str, Any], message: str, folder: Path
) -> None:
    held = json.loads((folder / "encoder.json").read_text())
    if isinstance(change, dict):
        held |= change
        change = json.dumps({name: value for name, value in held.items() if value is not None})
    (folder / "encoder.json").write_text(change)
    with pytest.raises(ValueError, match=rf"encoder\.json must describe an encoder by arch, dim.*{message}"):
        read_encoder(folder)


def test_fields_that_a_later_version_adds_are_ignored(folder: Path) -> None:
    before = EncoderCard.read_beside(folder)
    held = json.loads((folder / "encoder.json").read_text())
    (folder / "encoder.json").write_text(json.dumps(held | {"epochs": 3}))
    assert EncoderCard.read_beside(folder) == before


# ------------------------------------------------------------------------------------------------- loading


@pytest.mark.parametrize("file", ["", "encoder.pth", "encoder.safetensors"])
def test_a_run_is_loaded_by_its_path_alone(file: str, folder: Path, encoder: Encoder) -> None:
    found = read_encoder(folder / file)
    assert same(found.state_dict(), encoder.state_dict())
    assert found.architecture == encoder.architecture
    assert not found.training


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"arch": "resnet18"},
            "arch must be small-conv, as .*encoder.json says, got resnet18; leave arch out",
        ),
        ({"dim": 5}, "dim must be 4, as .*encoder.json says, got 5"),
        ({"head": "mlp"}, "head must be linear, as .*encoder.json says, got mlp"),
        ({"channels": 3}, "channels must be 1, as .*encoder.json says, got 3"),
    ],
    ids=str,
)
def test_an_argument_that_contradicts_the_card_is_refused(
    given: dict[str, Any], message: str, folder: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        read_encoder(folder, **given)
    read_encoder(folder, arch="small-conv", dim=4, head="linear", channels=1, size=16)


def test_a_file_of_other_origin_is_described_by_arguments(tmp_path: Path) -> None:
    encoder = build("small-conv", 5, channels=1)
    torch.save(encoder.state_dict(), tmp_path / "encoder.pth")
    found = read_encoder(tmp_path / "encoder.pth", arch="small-conv", channels=1)
    assert same(found.state_dict(), encoder.state_dict())
    assert found.architecture.dim == 5
    with pytest.raises(ValueError, match=r"dim must be 5, as .*encoder\.pth says, got 6"):
        read_encoder(tmp_path / "encoder.pth", arch="small-conv", dim=6)
    with pytest.raises(
        ValueError,
        match=r"encoder\.pth does not fit the network, of another shape: trunk\.0\.0\.weight .* "
        r"It was read with arch small-conv, dim 5, head linear, size 64, channels 3; give the values",
    ):
        read_encoder(tmp_path / "encoder.pth")


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_a_checkpoint_of_moco_names_its_architecture(head: str, tmp_path: Path) -> None:
    encoder = build("resnet18", 6, head=head)
    state = {f"module.encoder_q.{name}": value for name, value in encoder.state_dict().items()}
    torch.save({"epoch": 3, "arch": "resnet18", "state_dict": state}, tmp_path / "moco.pth.tar")
    found = read_encoder(tmp_path / "moco.pth.tar")
    assert found.architecture[:3] == ("resnet18", 6, head)
    assert same(found.state_dict(), encoder.state_dict())
    with pytest.raises(ValueError, match=r"arch must be resnet18, as .*moco\.pth\.tar says, got resnet50"):
        read_encoder(tmp_path / "moco.pth.tar", arch="resnet50")


def test_what_is_not_there_is_told_with_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"has no encoder.pth or encoder.safetensors, which a run writes"
    ):
        read_encoder(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no encoder .*nowhere; nothing in"):
        read_encoder(tmp_path / "nowhere")


# ------------------------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize(
    "prefix",
    [
        "", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "encoder.",
        "module.encoder_q.", "encoder_q.0.", "module.encoder_q.0.", "base_encoder.", "module.base_encoder.",
        "encoder._orig_mod.", "backbone.", "model._orig_mod.",
        "module.backbone.", "model.backbone.", "network.", "model.encoder.",
    ],
)  # fmt: skip
def test_states_are_found_under_every_prefix(prefix: str, encoder: Encoder, tmp_path: Path) -> None:
    state = encoder.state_dict()
    held: dict[str, Any] = {f"{prefix}{name}": value for name, value in state.items()}
    if prefix.replace("_orig_mod.", ""):
        held |= {"other.queue": torch.ones(2), "momentum_encoder.trunk.0.0.weight": torch.ones(1)}
    torch.save({"state_dict": held, "epoch": 3}, tmp_path / "x.pth")
    assert same(EncoderFile.read(tmp_path / "x.pth").state, state)
    assert same(read_encoder(tmp_path / "x.pth", channels=1).state_dict(), state)


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict", "teacher", "net", "encoder"])
def test_states_are_found_under_every_key(key: str, encoder: Encoder, tmp_path: Path) -> None:
    state = encoder.state_dict()
    torch.save({key: state, "epoch": 3, "optimizer": {"state": {}}}, tmp_path / "x.pth")
    assert same(EncoderFile.read(tmp_path / "x.pth").state, state)


@pytest.mark.parametrize("arch", ["small-conv", "small-alexnet", "resnet18", "resnet34", "resnet50"])
def test_an_architecture_is_known_by_its_weights(arch: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        state = build(arch, 6).state_dict()
    few = {
        name: torch.empty(value.shape).to(torch.float16)
        for name, value in state.items()
        if value.numel() < 1e5
    }
    torch.save({f"module.{name}": value for name, value in few.items()}, tmp_path / "x.pth")
    assert EncoderFile.read(tmp_path / "x.pth").known["arch"] == arch
    with pytest.raises(ValueError, match=rf"arch must be {arch}, as .*x\.pth says, got resnet152"):
        read_encoder(tmp_path / "x.pth", arch="resnet152")


@pytest.mark.parametrize("has_card", [True, False])
def test_the_stem_of_a_resnet_is_known_by_the_card_or_the_weights(has_card: bool, tmp_path: Path) -> None:
    encoder = build("resnet18", 6, size=32, stem="small")
    save_encoder(encoder, tmp_path)
    if has_card:
        EncoderCard.of(encoder, STATISTICS["cifar10"], "cifar10").write(tmp_path)
    found = read_encoder(tmp_path)
    assert found.architecture.stem == "small"
    assert same(found.state_dict(), encoder.state_dict())


def test_a_card_that_knows_of_no_stem_is_read(folder: Path) -> None:
    held = json.loads((folder / "encoder.json").read_text())
    del held["stem"]
    (folder / "encoder.json").write_text(json.dumps(held))
    assert read_encoder(folder).architecture.stem == "imagenet"


def test_an_architecture_that_the_options_of_a_run_state_is_used(tmp_path: Path) -> None:
    state = build("resnet18", 6).state_dict()
    args = Namespace(arch="resnet18", lr=0.1)
    torch.save({"state_dict": state, "args": args, "best_acc1": np.float64(3.5)}, tmp_path / "x.pth")
    assert read_encoder(tmp_path / "x.pth").architecture[:2] == ("resnet18", 6)
    torch.save({"state_dict": state, "args": vars(args), "arch": "resnet34"}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth does not fit .* It was read with arch resnet34"):
        read_encoder(tmp_path / "x.pth")


@pytest.mark.parametrize("head", [{}, {"fc.0.weight": torch.ones(2, 2), "fc.1.weight": torch.ones(2)}])
def test_where_the_head_alone_differs_the_way_to_the_features_is_told(
    head: dict[str, Tensor], tmp_path: Path
) -> None:
    state = {name: value for name, value in build("resnet18", 6).state_dict().items() if name[:3] != "fc."}
    path = tmp_path / "x.pth"
    torch.save({f"backbone.{name}": value for name, value in (state | head).items()}, path)
    remedy = f"--encoder torchvision:resnet18 --weights {path}"
    with pytest.raises(ValueError, match=rf"missing: fc\.weight, fc\.bias.*Only the head differs.* {remedy}"):
        read_encoder(path)
    network, _, _ = torchvision_encoder("resnet18", path)
    assert torch.equal(network.state_dict()["layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])


SETTINGS: dict[str, Any] = {
    "namespace": Namespace(lr=0.1, inner=Namespace()),
    "float64": np.float64(1),
    "float32": np.float32(1),
    "int64": np.int64(1),
    "bool": np.bool_(True),
    "array": np.ones(2),
    "path": Path("/somewhere"),
    "date": datetime(2020, 1, 1),
}


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("is_zip", [True, False])
def test_settings_next_to_weights_do_no_harm(
    kind: str, is_zip: bool, encoder: Encoder, tmp_path: Path
) -> None:
    held = {"state_dict": encoder.state_dict(), "x": SETTINGS[kind], "list": [SETTINGS[kind]] * 2}
    torch.save(held, tmp_path / "x.pth", _use_new_zipfile_serialization=is_zip)
    assert same(EncoderFile.read(tmp_path / "x.pth").state, encoder.state_dict())
    assert isinstance(read_checkpoint(tmp_path / "x.pth")["x"], LeftOut)


@pytest.mark.parametrize("value", [print, EncoderCard, nn.Linear(1, 1)], ids=["function", "class", "module"])
def test_what_could_run_code_is_named_with_a_remedy(value: Any, encoder: Encoder, tmp_path: Path) -> None:
    torch.save({"state_dict": encoder.state_dict(), "x": value}, tmp_path / "x.pth")
    with pytest.raises(
        ValueError, match=r"values; it has a \S+, which could run code .*: (torch\.save.*)\.$"
    ) as told:
        EncoderFile.read(tmp_path / "x.pth")
    assert "\x1b" not in str(told.value)
    (remedy,) = re.findall(r": (torch\.save\(.*\))\.$", str(told.value))
    exec(
        remedy.replace("FILE", repr(str(tmp_path / "x.pth"))).replace("weights.pth", str(tmp_path / "w.pth"))
    )
    assert same(EncoderFile.read(tmp_path / "w.pth").state, encoder.state_dict())


def test_what_holds_no_encoder_is_refused(tmp_path: Path) -> None:
    for name, held in (("list", [1, 2]), ("numbers", {"a": 1}), ("unnamed", {0: torch.ones(1)})):
        torch.save(held, tmp_path / f"{name}.pth")
        with pytest.raises(
            ValueError, match=rf"{name}\.pth must hold the state dict of an encoder, it holds"
        ):
            EncoderFile.read(tmp_path / f"{name}.pth")
    (tmp_path / "encoder.safetensors").write_bytes(b"nothing of that kind")
    with pytest.raises(
        ValueError, match=r"encoder\.safetensors must be a safetensors file; it cannot be read"
    ):
        EncoderFile.read(tmp_path / "encoder.safetensors")
    for name, content in (
        ("torn.pth", b"PK\3\4"),
        ("table.csv", b"a,b\n1,2\n"),
        ("options.yaml", b"seed: 1\n"),
        ("odd.pth", b"\x80\xdb."),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(
            ValueError, match=rf"{name} must be a checkpoint of tensors and plain values; it can"
        ):
            read_checkpoint(tmp_path / name)


def test_a_torch_that_loads_unsafely_loads_no_checkpoint(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "SAFE_TORCH", "99")
    message = (
        r"encoder\.pth needs torch 99 or later .*: pip install 'torch>=99', or give weights .*\.safetensors"
    )
    for load in (read_encoder, lambda held: read_checkpoint(held / "encoder.pth")):
        with pytest.raises(ValueError, match=message):
            load(folder)


# --------------------------------------------------------------------------------------------- check_fits

OWN = {name: torch.zeros(2) for name in "abcdef"}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "missing: a, b, c, d and 2 more. Do this."),
        (OWN | {"x": torch.ones(1)}, "unexpected: x. Do this."),
        (OWN | {"a": torch.ones(1)}, "of another shape: a (expected [2], got [1]). Do this."),
        (
            {"a": torch.ones(3), "b": torch.ones(3, 1), "y": torch.ones(1), **dict.fromkeys("cde", OWN["c"])},
            "missing: f; unexpected: y; of another shape: a (expected [2], got [3]), "
            "b (expected [2], got [3, 1]). Do this.",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_told_by_what_differs(state: dict[str, Tensor], message: str) -> None:
    expected = re.escape(f"e.pth does not fit the network, {message}")
    with pytest.raises(ValueError, match=rf"\A{expected}\Z"):
        check_fits(Path("e.pth"), OWN, state, "Do this.")


def test_a_state_that_fits_passes_in_any_order() -> None:
    check_fits(Path("e.pth"), OWN, dict(reversed(OWN.items())), "Do this.")
