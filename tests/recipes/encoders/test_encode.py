"""`measure --encoder --images`: images in, features and a measurement out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import models  # type: ignore[import-untyped]  # it is not typed

from align_uniform.cli import main
from align_uniform.recipes.encoders import encode, networks
from align_uniform.recipes.encoders.encode import images_of
from align_uniform.recipes.encoders.options import EncodeOptions
from align_uniform.recipes.encoders.weights import EncoderCard, save_encoder
from align_uniform.recipes.images.statistics import STATISTICS, Statistics
from align_uniform.recipes.images.views import generator, training_transform

CLASSES = ("cat", "dog", "fox")
SMALL = ("--arch", "small-conv", "--dim", "8", "--size", "16", "--workers", "0")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four images for each of three classes in `images`, the same in `flat`, and a small encoder; the command
    is run there.
    """
    rng = np.random.default_rng(0)
    (tmp_path / "flat").mkdir()
    for label, name in enumerate(CLASSES):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 80 * (label + 1), (20 + number, 24, 3), np.uint8)
            for path in (
                tmp_path / "images" / name / f"{number}.png",
                tmp_path / "flat" / f"{name}{number}.png",
            ):
                Image.fromarray(pixels).save(path)
    torch.manual_seed(0)
    torch.save(networks.build("small-conv", 8).eval().state_dict(), tmp_path / "encoder.pth")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["measure", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def numbers(document: dict[str, Any]) -> dict[str, Any]:
    """Return what is measured, without the source, and without the items, which files of rows do not name."""
    apart = ("provenance", "name", "tolerance", "classes", "items")
    return {name: value for name, value in document.items() if name not in apart}


def test_alignment_is_of_two_views_of_each_image_and_labels_are_folders(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = printed_json(capsys, "--encoder", "encoder.pth", "--images", "images", *SMALL, "--seed", "3")
    assert (found["name"], found["n"], found["dim"]) == ("encoder", 12, 8)
    assert (found["align"]["of"], found["align"]["pairs"]) == ("two views", 12)
    assert found["tolerance"]["classes"] == 3
    assert found["provenance"]["views"] == "stl10, 16 pixels"
    assert found["provenance"]["images"] == "images"
    assert found["provenance"]["kind"] == "images"

    encoder = networks.build("small-conv", 8).eval()
    encoder.load_state_dict(torch.load("encoder.pth", weights_only=True))
    transform = training_transform("stl10", size=16)
    paths = [Path("images") / name / f"{number}.png" for name in CLASSES for number in range(4)]
    x, y = (
        torch.stack(
            [transform(Image.open(path), generator(3, 0, row, view)) for row, path in enumerate(paths)]
        )
        for view in (0, 1)
    )
    with torch.no_grad():
        u, v = encoder(x).double(), encoder(y).double()
    off = ~torch.eye(12, dtype=torch.bool)
    uniform = sum(torch.cdist(w, w).square().mul(-2).exp()[off].mean().log().item() for w in (u, v)) / 2
    assert found["align"]["value"] == pytest.approx((u - v).square().sum(1).mean().item(), rel=1e-5)
    assert found["uniform"]["value"] == pytest.approx(uniform, rel=1e-5)


def test_features_are_kept_and_give_the_same_measurement(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "--encoder",
        "encoder.pth",
        "--images",
        "images",
        *SMALL,
        "--batch-size",
        "5",
        "--features-out",
        "views.npy",
    ]
    found = printed_json(capsys, *arguments)
    assert np.load("views.npy").shape == (2, 12, 8)
    again = printed_json(capsys, "views.npy")
    assert numbers(again) == numbers(found)
    assert main(["measure", *arguments]) == 1
    assert "views.npy exists already; use --force" in capsys.readouterr().err
    assert numbers(printed_json(capsys, *arguments, "--workers", "1", "--force")) == numbers(found)


def test_a_flat_folder_has_no_classes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flat = printed_json(capsys, "--encoder", "encoder.pth", "--images", "flat", *SMALL)
    assert flat["tolerance"] is None
    assert numbers(flat) == numbers(
        printed_json(capsys, "--encoder", "encoder.pth", "--images", "images", *SMALL)
    )
    Path("labels.txt").write_text("a\nb\n" * 6)
    labelled = printed_json(
        capsys, "--encoder", "encoder.pth", "--images", "images", *SMALL, "--labels", "labels.txt"
    )
    assert labelled["tolerance"]["classes"] == 2


def test_the_report_shows_the_images(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["measure", "--encoder", "encoder.pth", "--images", "images", *SMALL, "--report", "page.html"])
        == 0
    )
    printed = capsys.readouterr()
    assert printed.out.startswith("encoder: 12 rows of 8 features, exact")
    assert "data:image/jpeg;base64," in Path("page.html").read_text(encoding="utf-8")


def test_grey_encoders_see_grey_views(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(networks.build("small-conv", 8, channels=1).state_dict(), "grey.pth")
    arguments = ["--arch", "small-conv", "--dim", "8", "--workers", "0", "--views-preset", "fashion-mnist"]
    found = printed_json(capsys, "--encoder", "grey.pth", "--images", "images", *arguments)
    assert found["provenance"]["views"] == "fashion-mnist, 28 pixels"


def test_a_run_needs_no_option(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = networks.build("small-conv", 8, size=20, channels=1)
    (folder / "run").mkdir()
    EncoderCard.of(encoder, Statistics((0.25,), (0.5,)), "fashion-mnist").write(folder / "run")
    save_encoder(encoder, folder / "run")
    found = printed_json(capsys, "--encoder", "run", "--images", "images", "--workers", "0")
    assert (found["dim"], found["provenance"]["views"]) == (8, "fashion-mnist, 20 pixels")
    images = Path("images")
    alone = encode.encode(EncodeOptions("run", images, workers=0, device="cpu"))
    (folder / "run/encoder.json").unlink()
    spelled = EncodeOptions(
        "run/encoder.pth", images, arch="small-conv", size=20, mean=(0.25,), std=(0.5,),
        views_preset="fashion-mnist", workers=0, device="cpu",
    )  # fmt: skip
    assert torch.equal(encode.encode(spelled).views, alone.views)


def test_a_run_is_named_after_its_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = folder / "digits-two-view-align0.98alpha2_unif0.96t2"
    run.mkdir()
    (folder / "encoder.pth").rename(run / "encoder.pth")
    arguments = ["--images", "images", *SMALL]
    named = [printed_json(capsys, "--encoder", str(run), *arguments)["name"]]
    EncoderCard.of(networks.build("small-conv", 8), STATISTICS["imagenet"], "imagefolder").write(run)
    named.append(printed_json(capsys, "--encoder", str(run / "encoder.pth"), *arguments)["name"])
    assert named == [run.name] * 2


def test_an_option_that_differs_from_training_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = networks.build("small-conv", 8, size=20)
    EncoderCard.of(encoder, STATISTICS["imagenet"], "imagefolder").write(folder)
    assert main(["measure", *WITH]) == 0
    assert capsys.readouterr().err == (
        "size is 16, as the options say, but the encoder was trained with 20 (encoder.json).\n"
    )


def test_a_checkpoint_of_moco_is_measured_as_the_architecture_that_it_names(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = networks.build("resnet18", 6, head="mlp").state_dict()
    prefixed = {f"module.encoder_q.{name}": value for name, value in state.items()}
    torch.save({"arch": "resnet18", "state_dict": prefixed, "epoch": 1}, "moco.pth.tar")
    arguments = ["--encoder", "moco.pth.tar", "--images", "images", "--workers", "0", "--size", "32"]
    found = printed_json(capsys, *arguments)
    assert (found["dim"], found["provenance"]["views"]) == (6, "moco-v2, 32 pixels")


def test_a_layer_is_chosen(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = printed_json(
        capsys, "--encoder", "encoder.pth", "--images", "images", *SMALL, "--layer", "features"
    )
    assert found["dim"] == networks.SmallConvNet.FEATURES


def test_torchvision_gives_what_the_classifier_takes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = models.resnet18(
        weights=None, num_classes=7
    ).eval()  # what follows the features may be of other classes
    torch.save({"state_dict": network.state_dict()}, "resnet18.pth")
    arguments = ["--encoder", "torchvision:resnet18", "--weights", "resnet18.pth", "--images", "images"]
    found = printed_json(capsys, *arguments, "--size", "32", "--workers", "0", "--features-out", "views.npy")
    assert found["dim"] == 512
    assert found["provenance"]["views"] == "moco-v2, 32 pixels"
    transform = training_transform("moco-v2", size=32)
    view = transform(Image.open("images/dog/1.png"), generator(0, 0, 5, 1))
    network.fc = nn.Identity()
    with torch.no_grad():
        expected = network(view[None])[0]
    torch.testing.assert_close(torch.from_numpy(np.load("views.npy")[1, 5]), expected, rtol=1e-4, atol=1e-5)


def test_released_weights_that_cannot_be_fetched_are_named(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(folder / "hub"))
    for encoder in ("torchvision:resnet18", "published"):
        assert main(["measure", "--encoder", encoder, "--images", "images", "--json"]) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        line = printed.err.splitlines()[-1]
        assert line.startswith("align-uniform: https://")
        assert line.endswith(
            "could not be fetched (no network); fetch it in another way and pass its path as weights."
        )


@pytest.mark.parametrize("name", ["published", "hub:imagenet_resnet50_encoder"])
def test_the_published_encoder_by_its_names(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(networks.build("resnet50", 128, head="mlp").state_dict(), "released.pth")
    arguments = [
        "--encoder",
        name,
        "--weights",
        "released.pth",
        "--images",
        "images",
        "--size",
        "32",
        "--workers",
        "0",
    ]
    assert printed_json(capsys, *arguments)["dim"] == 128


WITH = ["--encoder", "encoder.pth", "--images", "images", *SMALL]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "give either FEATURES, a file of rows, or --encoder with --images"),
        (["x.npy", *WITH], 2, "give either FEATURES"),
        (["--encoder", "encoder.pth"], 2, "--encoder needs --images"),
        (["--images", "images"], 2, "give either FEATURES"),
        (
            ["x.npy", "--arch", "resnet18", "--views-preset", "stl10"],
            2,
            "--arch and --views-preset have no effect without --encoder; leave --arch and --views-preset out",
        ),
        (
            ["x.npy", "--layer", "output", "--batch-size", "128"],
            2,
            "--layer and --batch-size have no effect without --encoder",
        ),
        (
            [*WITH, "--positives", "y.npy"],
            2,
            "--positives has no effect without FEATURES, since an encoder",
        ),
        ([*WITH, "--features-out", "views.pt"], 1, "--features-out must end in .npy, got views.pt"),
        ([*WITH, "--device", "abacus"], 1, "device must be one of this machine"),
        ([*WITH, "--seed", "-1"], 1, "seed must not be negative, got -1"),
        ([*WITH, "--views-preset", "digits"], 2, "--views-preset must be one of stl10"),
        ([*WITH, "--weights", "x"], 1, "weights are for published, torchvision:NAME and timm:NAME"),
        ([*WITH, "--weights-sha256", "0" * 64], 1, "--weights-sha256 is for the encoder published"),
        (
            ["--encoder", "published", "--images", "images", "--weights", "file:///models/x.pth"],
            1,
            "a path or an https address, got file:///models/x.pth; give a path, such as /models/x.pth",
        ),
        ([*WITH, "--layer", "attic"], 1, "attic"),
        ([*WITH[2:], "--encoder", "nowhere.pth"], 1, "nowhere.pth"),
        (
            [*WITH[2:], "--encoder", "published"],
            1,
            "only the encoder of a file takes arch and dim; published has its own",
        ),
        ([*WITH[:2], *WITH[4:], "--images", "nowhere"], 1, "There is no folder nowhere"),
        ([*WITH[:2], *WITH[4:], "--images", "empty"], 1, "empty has no image in it"),
        (
            [*WITH[:2], *WITH[4:], "--images", "splits"],
            1,
            "splits holds splits, not classes; give one of them, such as splits/val",
        ),
        ([*WITH[:2], *WITH[4:], "--images", "torn"], 1, "torn/b.png cannot be read as an image"),
        (
            ["--encoder", "torchvision:resnet1", "--images", "images"],
            1,
            "torchvision has no classifier 'resnet1'",
        ),
        (
            ["--encoder", "torchvision:resnet18", "--weights", "encoder.pth", "--images", "images"],
            1,
            "encoder.pth does not fit the network, missing: conv1.weight",
        ),
        (
            ["--encoder", "torchvision:squeezenet1_0", "--weights", "encoder.pth", "--images", "images"],
            1,
            "squeezenet1_0 does not end in a linear layer",
        ),
    ],
)
def test_what_is_wrong_is_one_line_and_an_exit_code(
    arguments: list[str], code: int, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "empty").mkdir()
    (folder / "splits/val").mkdir(parents=True)
    (folder / "torn").mkdir()
    for path in ("splits/val/a.png", "torn/a.png"):
        (folder / path).write_bytes(Path("flat/cat0.png").read_bytes())
    (folder / "torn/b.png").write_bytes(Path("flat/cat0.png").read_bytes()[:100])
    assert main(["measure", *arguments]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert message in printed.err


def test_a_torn_image_is_one_line_from_a_worker_too(folder: Path) -> None:
    (folder / "flat/cat0.png").write_bytes(b"")
    options = EncodeOptions("encoder.pth", folder / "flat", arch="small-conv", dim=8, size=16, workers=1)
    with pytest.raises(ValueError, match=r"\A[^\n]*cat0.png cannot be read as an image[^\n]*\Z"):
        encode.encode(options)


def test_images_beside_folders_make_no_classes_and_that_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths, labels, notes = images_of(folder / "images")
    assert labels == [path.parent.name for path in paths] == [name for name in CLASSES for _ in range(4)]
    assert notes == ()
    Path("flat/cat0.png").rename("images/stray.png")
    assert images_of(folder / "images").labels is None
    assert main(["measure", *WITH]) == 0
    assert capsys.readouterr().err == (
        "images: pictures in no folder (1): stray.png; therefore the folders are not taken as classes. Move "
        "these pictures to have labels.\n"
    )


@pytest.mark.parametrize(
    ("names", "are_splits"),
    [
        (("train", "validation"), True),
        (("Train", "Test"), True),
        (("TRAINING", "val", "extra"), True),
        (("testing",), True),
        (("train", "bus"), False),
    ],
)
def test_splits_are_no_classes(names: tuple[str, ...], are_splits: bool, folder: Path) -> None:
    for name in names:
        (folder / "root" / name).mkdir(parents=True)
        (folder / "root" / name / "1.png").write_bytes(Path("flat/cat0.png").read_bytes())
    if are_splits:
        with pytest.raises(ValueError, match=r"root holds splits, not classes; give one of them, such as"):
            images_of(Path("root"))
    else:
        assert images_of(Path("root")).labels == sorted(names)


def test_without_the_extra_one_line_names_the_pip_command(folder: Path) -> None:
    code = (
        "import sys; sys.modules['torchvision'] = None\n"
        "from align_uniform.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    command = [
        sys.executable,
        "-c",
        code,
        "measure",
        "--encoder",
        "torchvision:resnet18",
        "--images",
        "images",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "align-uniform: torchvision is missing; run: pip install 'align-uniform[recipes]'\n"
    )


def test_two_processes_measure_what_one_does(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["measure", *WITH, "--features-out", "views.npy", "--json", "--force"]
    assert main(arguments) == 0
    alone, kept = json.loads(capsys.readouterr().out), np.load("views.npy")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "align_uniform",
    ]
    shared = subprocess.run([*command, *arguments], capture_output=True, timeout=240)
    assert shared.returncode == 0, shared.stderr.decode()
    assert json.loads(shared.stdout)["align"]["value"] == pytest.approx(alone["align"]["value"], rel=1e-6)
    np.testing.assert_allclose(np.load("views.npy"), kept, rtol=1e-4, atol=1e-6)


def test_encoders_are_compared_on_the_same_views_of_images(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, seed in (("one", 1), ("two", 2)):
        torch.manual_seed(seed)
        encoder = networks.build("small-conv", 8, size=16, channels=3).eval()
        EncoderCard.of(encoder, STATISTICS["stl10"], "imagefolder").write(folder / name)
        save_encoder(encoder, folder / name)
    assert main(["compare", "--encoder", "one", "two", "--images", "images", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    alone = [printed_json(capsys, "--encoder", name, "--images", "images") for name in ("one", "two")]
    assert [each["name"] for each in found["embeddings"]] == ["one", "two"]
    for both, single in zip(found["embeddings"], alone, strict=True):
        assert numbers(both) == numbers(single)
    (difference,) = found["differences"]
    assert difference["paired"]
    expected = alone[1]["align"]["value"] - alone[0]["align"]["value"]
    assert difference["align"] == pytest.approx(expected)
