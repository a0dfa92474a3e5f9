"""MoCo: the paper's pseudo-code, several processes, resumed runs, and a whole run."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from align_uniform.cli import main
from align_uniform.recipes.encoders.networks import SmallConvNet, build
from align_uniform.recipes.encoders.weights import EncoderFile
from align_uniform.recipes.images.views import evaluation_transform, training_transform
from align_uniform.recipes.pretrain import moco
from align_uniform.recipes.pretrain.log import read_log
from tests import rows
from tests.processes import found_by
from tests.recipes.pretrain import moco_worker
from tests.recipes.pretrain.moco_worker import (
    images_of,
    normalised_trainer,
    options,
    train,
    trainer,
    views_of,
)
from tests.recipes.pretrain.two_view_worker import Plain
from tests.recipes.small_runs import run_command


class Paper:
    """Algorithm 1 of the MoCo paper, line by line, with the losses of align + uniform's appendix; one
    process.
    """

    def __init__(self, model: moco.MocoModel) -> None:
        self.chosen = model.options
        self.f_q, self.f_k = copy.deepcopy(model.encoder_q), copy.deepcopy(model.encoder_k)
        self.keys = [*model.queue.T.clone()]
        self.next = 0
        self.sgd = torch.optim.SGD(self.f_q.parameters(), self.chosen.lr, momentum=0.9, weight_decay=1e-4)

    def step(self, x: Tensor, y: Tensor) -> dict[str, float]:
        for theirs, ours in zip(self.f_k.parameters(), self.f_q.parameters(), strict=True):
            theirs.data = self.chosen.key_momentum * theirs.data + (1 - self.chosen.key_momentum) * ours.data
        q, k = self.f_q(x), self.f_k(y).detach()
        losses = self.losses(q, k, torch.stack(self.keys))
        for key in k:
            self.keys[self.next] = key
            self.next = (self.next + 1) % len(self.keys)
        self.sgd.zero_grad()
        losses["loss"].backward()
        self.sgd.step()
        return {name: float(value.detach()) for name, value in losses.items()}

    def losses(self, q: Tensor, k: Tensor, queue: Tensor) -> dict[str, Tensor]:
        chosen = self.chosen
        squared = (q[:, None] - queue).square().sum(-1).flatten()
        if chosen.intra_batch:
            squared = torch.cat([squared, torch.pdist(q).square()])
        logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], 1) / chosen.contrastive_tau
        align = (q - k).norm(dim=1).pow(chosen.align_alpha).mean()
        uniform = squared.mul(-chosen.uniform_t).exp().mean().log()
        contrastive = F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long))
        loss = (
            chosen.align_weight * align
            + chosen.uniform_weight * uniform
            + chosen.contrastive_weight * contrastive
        )
        return {"loss": loss, "align": align, "uniform": uniform, "contrastive": contrastive}


# ------------------------------------------------------------------------------------------------ one process


@pytest.mark.parametrize(
    "changed", [{}, {"intra_batch": False, "align_alpha": 1.0}], ids=["pooled", "queue alone"]
)
def test_seven_steps_are_those_of_the_pseudo_code(changed: dict[str, Any], tmp_path: Path) -> None:
    ours = trainer(options(tmp_path, batch_size=20, queue=60, **changed))  # the queue is filled twice
    model = ours.model.train()
    assert isinstance(model, moco.MocoModel)
    paper = Paper(model)
    for seed in range(7):
        x, y = rows.normal(2, 20, 1, 16, 16, seed=seed)
        assert ours.step(model, x, y) == pytest.approx(paper.step(x, y), abs=1e-8)
        torch.testing.assert_close(model.queue.T, torch.stack(paper.keys), rtol=0, atol=1e-8)
        assert int(model.queue_ptr) == paper.next
    for found, expected in ((model.encoder_q, paper.f_q), (model.encoder_k, paper.f_k)):
        for one, other in zip(found.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-8)


def test_the_queue_goes_on_at_its_start_in_the_middle_of_a_batch(tmp_path: Path) -> None:
    model = moco.MocoModel(Plain(), options(tmp_path, batch_size=12, queue=12)).double()
    expected, place = [*model.queue.T.clone()], 0
    for seed in range(6):
        keys = rows.unit(5, 8, seed=seed)
        model.enqueue(keys)
        for key in keys:
            expected[place] = key
            place = (place + 1) % 12
        assert torch.equal(model.queue.T, torch.stack(expected))
        assert int(model.queue_ptr) == place


def test_the_first_queue_is_of_random_unit_columns(tmp_path: Path) -> None:
    queue = moco.MocoModel(Plain(), options(tmp_path)).queue
    assert queue.shape == (8, 600)
    torch.testing.assert_close(queue.norm(dim=0), torch.ones(600))
    assert float(queue.mean(1).norm()) < 0.15


def test_in_eval_mode_the_losses_come_without_a_step(tmp_path: Path) -> None:
    chosen = options(tmp_path, batch_size=20, queue=60)
    model = moco.MocoModel(SmallConvNet(8), chosen)
    x, y = rows.normal(2, 20, 1, 16, 16, dtype=torch.float32)
    model(x, y)
    with torch.no_grad():
        next(model.encoder_q.parameters()).mul_(2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses = model.eval()(x, y)
    assert set(losses) == {"loss", "align", "uniform", "contrastive"}
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_key_encoder_has_no_gradient_and_batchnorm_statistics_of_its_own(tmp_path: Path) -> None:
    model = moco.MocoModel(SmallConvNet(8), options(tmp_path, batch_size=20, queue=60))
    x, y = rows.normal(2, 20, 1, 16, 16, dtype=torch.float32)
    model(x, 5 + y)["loss"].backward()
    assert all(
        parameter.grad is None and not parameter.requires_grad for parameter in model.encoder_k.parameters()
    )
    assert all(parameter.grad is not None for parameter in model.encoder_q.parameters())
    q, k = (encoder.state_dict() for encoder in (model.encoder_q, model.encoder_k))
    assert not torch.allclose(q["trunk.0.1.running_mean"], k["trunk.0.1.running_mean"], atol=0.1)
    assert torch.equal(q["trunk.0.0.weight"], k["trunk.0.0.weight"])


def test_no_matrix_of_all_queries_and_keys_is_kept_for_the_backward_pass(tmp_path: Path) -> None:
    n, k = 64, 131072
    model = moco.MocoModel(Plain(), options(tmp_path, batch_size=n, queue=k)).double()
    x, y = rows.normal(2, n, 1, 16, 16)
    sizes: list[int] = []

    def keep(saved: Tensor) -> Tensor:
        sizes.append(saved.numel())
        return saved

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
        loss = model(x, y)["loss"]
    assert max(sizes) < n * k / 4
    loss.backward()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_that_of_the_encoder_alone(precision: str, tmp_path: Path) -> None:
    losses = {}
    for name in ("fp32", precision):
        running = normalised_trainer(options(tmp_path / name, batch_size=20, queue=60, precision=name))
        x, y = rows.normal(2, 20, 1, 16, 16, dtype=torch.float32)
        with running.autocast():
            values = running.model(x, y)
        assert {value.dtype for value in values.values()} == {torch.float32}
        losses[name] = [running.step(running.model.train(), x, y) for _ in range(3)]
        assert running.model.get_buffer("queue").dtype == torch.float32
        torch.testing.assert_close(running.model.get_buffer("queue").norm(dim=0), torch.ones(60))
    assert losses[precision][0] == pytest.approx(losses["fp32"][0], abs=0.1)


def test_an_interrupted_run_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    whole = train(normalised_trainer(options(tmp_path / "whole")))
    for steps in (2, 4, 5):  # in an epoch, between two, and after the first batch
        train(normalised_trainer(options(tmp_path / "pieces", steps=steps)))
    same(train(normalised_trainer(options(tmp_path / "pieces"))), whole)


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found["code"] == expected["code"] == 0
    assert found["losses"] == expected["losses"]
    assert found["state"].keys() == expected["state"].keys()
    for name, value in expected["state"].items():
        assert torch.equal(found["state"][name], value), name


@pytest.mark.parametrize(("plus", "expected"), [(False, "moco-v1"), (True, "moco-v2")])
def test_views_of_an_imagefolder_are_those_of_moco(plus: bool, expected: str) -> None:
    views, plain = moco.transforms(moco.options(aug_plus=plus))
    assert views == training_transform(expected)
    assert plain == evaluation_transform("imagenet")


def test_encoders_are_compiled_where_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda module: compiled.append(module))
    running = normalised_trainer(options(tmp_path, compile=True))
    running.distributed()
    assert compiled == [running.model.get_submodule("encoder_q"), running.model.get_submodule("encoder_k")]


# ------------------------------------------------------------------------------------------ several processes


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    """What each of 2 and of 3 processes found."""
    found = found_by("recipes.pretrain.moco_worker", tmp_path_factory.mktemp("processes"), moco_worker.WORLDS)
    failed = [
        result
        for each in found.values()
        for results in each
        for result in results.values()
        if isinstance(result, str)
    ]
    assert not failed, failed[0]
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same run in one process."""
    return train(trainer(options(tmp_path_factory.mktemp("alone"))))


@pytest.mark.parametrize("world", moco_worker.WORLDS)
def test_processes_train_as_one(
    world: int, processes: dict[int, list[dict[str, Any]]], alone: dict[str, Any]
) -> None:
    assert len(alone["losses"]) == 8
    for result in processes[world]:
        found = result["trained"]
        for line, expected in zip(found["losses"], alone["losses"], strict=True):
            assert line == pytest.approx(expected, abs=1e-8)
        for name, value in alone["state"].items():
            torch.testing.assert_close(found["state"][name], value, rtol=0, atol=1e-8)


@pytest.mark.parametrize("world", moco_worker.WORLDS)
def test_the_queue_is_the_same_on_all_processes(
    world: int, processes: dict[int, list[dict[str, Any]]]
) -> None:
    first, *others = (result["queued"] for result in processes[world])
    torch.manual_seed(0)
    model = moco.MocoModel(Plain(), options(Path(), batch_size=12, queue=36)).double()
    for seed in range(5):  # the same images, in one batch
        x, y = torch.cat([views_of(rank + 10 * seed) for rank in range(world)], 1)
        model(x, y)
    torch.testing.assert_close(first["queue"], model.queue, rtol=0, atol=1e-12)
    assert first["place"] == int(model.queue_ptr)
    for other in others:
        assert torch.equal(other["queue"], first["queue"])
        assert other["place"] == first["place"]


@pytest.mark.parametrize("world", moco_worker.WORLDS)
def test_keys_are_computed_on_a_shuffled_batch(
    world: int, processes: dict[int, list[dict[str, Any]]]
) -> None:
    images = [images_of(rank) for rank in range(world)]
    everyones = torch.cat(images)
    means = [result["shuffled"]["mean"] for result in processes[world]]
    for mean, own in zip(means, images, strict=True):
        assert float((mean - own.mean(0)).abs().min()) > 1  # not the statistics of a process's own images
    share = torch.tensor([len(part) for part in torch.tensor_split(torch.arange(len(everyones)), world)])
    torch.testing.assert_close(
        (torch.stack(means) * share[:, None]).sum(0) / len(everyones), everyones.mean(0)
    )  # each once


@pytest.mark.parametrize("world", moco_worker.WORLDS)
def test_the_shuffle_is_undone_exactly(world: int, processes: dict[int, list[dict[str, Any]]]) -> None:
    everyones = torch.cat([images_of(rank) for rank in range(world)])
    for rank, result in enumerate(processes[world]):
        assert torch.equal(result["shuffled"]["own"], images_of(rank))
        assert torch.equal(result["shuffled"]["everyones"], everyones)


@pytest.mark.parametrize("world", moco_worker.WORLDS)
def test_all_processes_use_one_order_and_another_each_time(
    world: int, processes: dict[int, list[dict[str, Any]]]
) -> None:
    (first, second), *others = (result["shuffled"]["orders"] for result in processes[world])
    assert sorted(first.tolist()) == list(range(24))
    assert not torch.equal(first, second)
    for other in others:
        assert torch.equal(torch.stack(other), torch.stack([first, second]))


@pytest.mark.parametrize("world", moco_worker.WORLDS)
def test_local_losses_are_each_processes_own(
    world: int, processes: dict[int, list[dict[str, Any]]], tmp_path: Path
) -> None:
    found = [result["local"] for result in processes[world]]
    for images, key in [*((views_of(rank), rank) for rank in range(world))]:
        torch.manual_seed(0)
        model = moco.MocoModel(Plain(), options(tmp_path, batch_size=12, queue=24)).double()
        torch.testing.assert_close(found[key]["local"], model(*images)["loss"].detach())
    assert len({float(each["all"]) for each in found}) == 1
    assert len({float(each["local"]) for each in found}) == world
    for each in found:  # the log has their mean, as the reference's has
        assert float(each["logged"]) == pytest.approx(sum(float(other["local"]) for other in found) / world)
        assert float(each["logged of all"]) == pytest.approx(float(each["all"]))


def test_two_interrupted_processes_go_on_as_if_nothing_had_been(
    processes: dict[int, list[dict[str, Any]]],
) -> None:
    found = processes[2][0]["interrupted"]  # with BatchNorm, whose statistics depend on the shuffle
    same(found["pieces"], found["whole"])


# ------------------------------------------------------------------------------------------------ a whole run


def write_images(root: Path) -> None:
    """Write noise in three colours, a folder for each."""
    for split, count in (("train", 16), ("val", 5)):
        for colour in ("red", "green", "blue"):
            folder = root / "images" / split / colour
            folder.mkdir(parents=True)
            for i in range(count):
                noise = Image.effect_noise((40, 36), 60 + i).convert("RGB")
                Image.blend(noise, Image.new("RGB", noise.size, colour), 0.5).save(folder / f"{i}.png")


def on_images(root: Path) -> list[str]:
    """Return the options that pretraining and evaluation share."""
    return [
        "--data", "imagefolder", "--root", str(root / "images"), "--arch", "resnet18", "--dim", "16",
        "--size", "32", "--workers", "0", "--device", "cpu",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one epoch of two processes on an ImageFolder; the images are next to it."""
    root = tmp_path_factory.mktemp("pretrained")
    write_images(root)
    run_command(
        [
            "pretrain", "moco", *on_images(root), "--mlp", "--aug-plus", "--queue", "32",
            "--batch-size", "16", "--epochs", "1", "--log-every", "1", "--out", str(root),
        ],
        processes=2,
    )  # fmt: skip
    return root / "imagenet-100-moco-align3alpha2_unif1t3"


def test_two_processes_pretrain_on_an_imagefolder(pretrained: Path) -> None:
    names = {path.name for path in pretrained.iterdir()}
    assert {
        "checkpoint.pt", "checkpoint_0000.pth.tar", "encoder.pth", "report.html", "trajectory.png",
    } <= names  # fmt: skip
    *lines, evaluation = read_log(pretrained)
    assert [(line["epoch"], line["batch"]) for line in lines] == [(1, 1), (1, 2), (1, 3)]
    assert 0 <= evaluation["knn"] <= 1
    exported, kept = (
        EncoderFile.read(pretrained / name).state for name in ("encoder.pth", "checkpoint_0000.pth.tar")
    )
    assert exported.keys() == kept.keys() == build("resnet18", 16, head="mlp").state_dict().keys()
    assert all(torch.equal(exported[name], kept[name]) for name in kept)


def test_the_encoder_in_the_references_layout_is_judged_and_its_classifier_again(
    pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judged = [
        "evaluate", "linear", *on_images(pretrained.parent), "--head", "mlp", "--layer", "backbone",
        "--encoder", str(pretrained / "checkpoint_0000.pth.tar"),
    ]  # fmt: skip
    training = ["--protocol", "imagenet", "--epochs", "1", "--checkpoints", str(tmp_path / "linear")]
    assert main([*judged, *training]) == 0
    assert "best epoch 1, chosen on the test images" in capsys.readouterr().out
    best, scores = tmp_path / "linear" / "model_best.pth.tar", tmp_path / "again.json"
    assert main([*judged, "--classifier", str(best), "--out", str(scores)]) == 0
    assert 100 * json.loads(scores.read_text())["top1"] == torch.load(best, weights_only=True)["acc1"]
