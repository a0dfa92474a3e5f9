"""The demo: its training, its encoders, its two classifiers, and a whole short demo."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from align_uniform import AlignUniformLoss, cli
from align_uniform.cli import main
from align_uniform.recipes import demo
from align_uniform.recipes.demo import train
from align_uniform.recipes.encoders.networks import SmallConvNet
from align_uniform.recipes.images.digits import load_tensors
from align_uniform.recipes.judge.knn import knn_predict
from align_uniform.recipes.judge.logistic import linear_predict

TINY = ["--seeds", "1", "--steps", "2"]


def flat_digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    split = load_tensors(size=8)
    return split.train.images.flatten(1), split.train.labels, split.test.images.flatten(1), split.test.labels


def test_outputs_have_unit_norm_and_features_are_the_layer_before_the_head() -> None:
    encoder = SmallConvNet(dim=5)
    images = torch.rand(3, 1, 16, 16)
    torch.testing.assert_close(encoder(images).norm(dim=1), torch.ones(3))
    assert encoder.features(images).shape == (3, SmallConvNet.FEATURES)


def test_training_lowers_the_loss_and_is_the_same_for_the_same_seed() -> None:
    images = load_tensors().train.images[:256]

    def run() -> tuple[list[float], Tensor]:
        torch.manual_seed(0)
        encoder = SmallConvNet(dim=8)
        losses: list[float] = []
        train(encoder, images, AlignUniformLoss(), steps=12, batch_size=64, on_step=losses.append)
        return losses, torch.cat([weight.detach().flatten() for weight in encoder.parameters()])

    (losses, weights), (_, again) = run(), run()
    assert len(losses) == 12
    assert losses[-1] < losses[0] - 0.1
    assert torch.equal(weights, again)


@pytest.mark.parametrize("k", [1, 5])
def test_nearest_neighbours_are_those_of_scikit_learn(k: int) -> None:
    train_rows, train_labels, test_rows, _ = flat_digits()
    oracle = KNeighborsClassifier(k, metric="cosine").fit(train_rows.numpy(), train_labels.numpy())
    predicted = knn_predict(train_rows, train_labels, test_rows, k, block=50)
    assert (predicted.numpy() == oracle.predict(test_rows.numpy())).mean() > 0.99  # but for equal distances


def test_an_impossible_number_of_neighbours_is_refused() -> None:
    with pytest.raises(ValueError, match="between 1 and the 3 training rows, got 4"):
        knn_predict(torch.eye(3), torch.arange(3), torch.eye(3), k=4)


def test_the_linear_classifier_is_that_of_scikit_learn() -> None:
    train_rows, train_labels, test_rows, test_labels = flat_digits()
    scaler = StandardScaler().fit(train_rows.numpy())
    oracle = LogisticRegression(C=1 / (1e-3 * len(train_rows)), max_iter=2000, tol=1e-6)
    oracle.fit(scaler.transform(train_rows.numpy()), train_labels.numpy())
    predicted = linear_predict(train_rows, train_labels, test_rows)
    assert (predicted.numpy() == oracle.predict(scaler.transform(test_rows.numpy()))).mean() > 0.99
    assert (predicted == test_labels).double().mean() > 0.95


def test_a_short_demo_says_what_it_does_and_where_its_files_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), *TINY]) == 0
    said = capsys.readouterr()
    first, *encoders = said.err.splitlines()
    assert first.startswith("Training 4 encoders of 1,437 handwritten digits, 2 batches each, on the CPU;")
    assert first.endswith(f"Files go to {out}.")
    assert [line.partition(": ")[0] for line in encoders] == [
        "raw pixels",
        "random init, 64-d, seed 0",
        "random init, S¹, seed 0",
        "align + uniform, 64-d, seed 0",
        "contrastive (τ = 0.5), 64-d, seed 0",
        "align + uniform, S¹, seed 0",
        "contrastive (τ = 0.5), S¹, seed 0",
    ]
    for name in (demo.ALIGN_UNIFORM, demo.CONTRASTIVE, demo.UNTRAINED, demo.PIXELS):
        assert name in said.out
    *_, written, plane, circle, following, features, sentences, images = said.out.splitlines()
    names = "figure3.png, figure3.svg, plane.png, plane.svg, results.json"
    assert written == f"Written to {out}: {names}"
    assert plane.startswith("Look at plane.png")
    assert circle.startswith("Look at figure3.png")
    assert following == "Next, on data of your own:"
    assert features.endswith("align-uniform measure x.npy --positives y.npy --report report.html")
    assert "align-uniform measure --encoder sentence-transformers:" in sentences
    assert "align-uniform pretrain two-view --preset imagefolder" in images
    assert max(map(len, (features, sentences, images))) <= 110
    assert sorted(path.name for path in out.iterdir()) == sorted(demo.FILES)
    document = json.loads((out / "results.json").read_text())
    assert document["schema_version"] == 1
    assert {(result["name"], result["dim"]) for result in document["results"]} == {
        (demo.PIXELS, 256), (demo.UNTRAINED, 64), (demo.UNTRAINED, 2), (demo.ALIGN_UNIFORM, 64),
        (demo.ALIGN_UNIFORM, 2), (demo.CONTRASTIVE, 64), (demo.CONTRASTIVE, 2),
    }  # fmt: skip
    assert all(
        result["uniform"] <= 0 <= result["align"] and 0 <= result["knn"] <= 1
        for result in document["results"]
    )


@pytest.mark.parametrize(("width", "parts"), [(80, 2), (128, 1)])
def test_no_number_is_cut_on_a_narrow_terminal(width: int, parts: int) -> None:
    results = [
        demo.Result(demo.CONTRASTIVE, 64, seed, 0.123, -3.4 - seed / 100, -3.8, 0.98, 0.97, 0.953, 360)
        for seed in range(3)
    ]
    console = Console(width=width, record=True, file=io.StringIO())
    tables = demo._tables(results, width)
    console.print(*tables)
    text = console.export_text()
    assert len(tables) == parts
    assert "…" not in text
    assert "-3.410 ± 0.010" in text
    assert "5-NN % (out)" in text


def test_an_earlier_demo_is_not_overwritten_without_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.json").write_text("precious")
    assert main(["demo", "--out", str(tmp_path), *TINY]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        f"align-uniform: {tmp_path / 'results.json'} exists already; use --force to replace it."
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    assert (tmp_path / "results.json").read_text() == "precious"


def test_an_interrupted_demo_shows_what_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "train", interrupt)
    assert main(["demo", "--out", str(tmp_path), *TINY]) == 130
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == "Interrupted: 3 of 7 encoders are shown."
    assert demo.PIXELS in said.out
    assert demo.ALIGN_UNIFORM not in said.out
    assert len(json.loads((tmp_path / "results.json").read_text())["results"]) == 3


@pytest.mark.parametrize("command", demo.NEXT.values())
def test_the_next_commands_are_understood(command: str) -> None:
    arguments = command.split()[1:]
    words = cli._words(arguments)
    assert cli.COMMANDS[words].parser(words).parse(arguments[len(words) :])
