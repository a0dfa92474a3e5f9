"""Linear evaluation: the papers' protocols as a plain loop states them, and a frozen encoder."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from align_uniform.recipes.encoders.features import features
from align_uniform.recipes.judge.linear import (
    IMAGENET,
    STL10,
    LinearData,
    LinearEpoch,
    LinearProtocol,
    LinearResult,
    score_linear,
    train_linear,
)
from align_uniform.recipes.judge.logistic import linear_layer
from align_uniform.recipes.judge.scores import Scores
from tests.processes import found_by
from tests.recipes.judge import linear_worker
from tests.recipes.judge.frozen_encoder import Batches, in_batches, whole
from tests.recipes.judge.linear_worker import (
    ADAM,
    CLASSES,
    PROTOCOLS,
    SGD,
    SHARDS,
    Encoder,
    images_and_labels,
)

# ------------------------------------------------------------------------------------------------ one process


def test_the_presets_are_the_papers() -> None:
    assert [STL10.lr_at(epoch) for epoch in (0, 59, 60, 80, 99)] == pytest.approx(
        [1e-3, 1e-3, 2e-4, 4e-5, 4e-5]
    )
    assert [IMAGENET.lr_at(epoch) for epoch in (0, 59, 60, 80, 99)] == pytest.approx([30, 30, 3, 0.3, 0.3])
    assert (STL10.optimizer, STL10.betas, STL10.batch_size, STL10.epochs) == ("adam", (0.5, 0.999), 128, 100)
    assert (IMAGENET.optimizer, IMAGENET.momentum, IMAGENET.weight_decay, IMAGENET.batch_size) == (
        "sgd",
        0.9,
        0,
        256,
    )
    assert (IMAGENET.init_std, IMAGENET.epochs) == (0.01, 100)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "lars"}, "optimizer must be one of 'adam', 'sgd'"),
        ({"lr": 0.0}, "lr must be a finite number above 0"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"weight_decay": -1.0}, "weight_decay must be .* at least 0"),
        ({"init_std": -1.0}, "init_std must be"),
        ({"milestones": (80, 60)}, "milestones must be epochs from 1 in rising order"),
        ({"milestones": (0,)}, "milestones must be"),
    ],
)
def test_a_protocol_that_cannot_be_run_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LinearProtocol(**options)


def plain_loop(protocol: LinearProtocol, classifier: nn.Linear, batches: Batches) -> nn.Linear:
    """The protocol as torch spells it."""
    encoder = Encoder().eval()
    optimizer: torch.optim.Optimizer = torch.optim.SGD(
        classifier.parameters(), lr=protocol.lr, momentum=protocol.momentum
    )
    if protocol.optimizer == "adam":
        optimizer = torch.optim.Adam(classifier.parameters(), lr=protocol.lr, betas=protocol.betas)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(protocol.milestones), protocol.gamma)
    for _ in range(protocol.epochs):
        for images, labels in batches:
            with torch.no_grad():
                hidden = encoder(images, "hidden")
            loss = nn.functional.cross_entropy(classifier(hidden), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return classifier


def data(train: Any = None, **options: Any) -> LinearData:
    return LinearData(in_batches(60, 1) if train is None else train, in_batches(100, 2), CLASSES, **options)


def run(protocol: LinearProtocol = ADAM, train: Any = None, **options: Any) -> LinearResult:
    return train_linear(Encoder(), data(train), "hidden", protocol, **options)


def first_weights(protocol: LinearProtocol) -> nn.Linear:
    """Found by training hardly at all."""
    return run(replace(protocol, lr=1e-300, epochs=1, milestones=())).classifier


@pytest.mark.parametrize("name", PROTOCOLS)
def test_training_is_that_of_a_plain_loop(name: str) -> None:
    protocol = PROTOCOLS[name]
    expected = plain_loop(protocol, first_weights(protocol), in_batches(60, 1))
    found = run(protocol).classifier
    torch.testing.assert_close(found.weight, expected.weight, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found.bias, expected.bias, rtol=1e-10, atol=1e-10)


def test_first_weights_are_the_protocols_and_the_seeds() -> None:
    wide = nn.Sequential(nn.Flatten(), nn.Linear(16, 2000))
    batch = [(torch.ones(2, 1, 4, 4), torch.arange(2))]

    def first(std: float | None, seed: int) -> nn.Linear:
        protocol = LinearProtocol("sgd", lr=1e-30, epochs=1, milestones=(), init_std=std)
        return train_linear(wide, LinearData(batch, batch, 7), protocol=protocol, seed=seed).classifier

    assert first(0.01, 0).weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert first(0.01, 0).bias.abs().max() < 1e-20
    assert first(None, 0).weight.abs().max().item() == pytest.approx(2000**-0.5, rel=0.01)
    assert torch.equal(first(None, 0).weight, first(None, 0).weight)
    assert not torch.equal(first(None, 0).weight, first(None, 1).weight)


def test_every_epoch_is_scored_and_the_best_is_kept() -> None:
    told: list[LinearEpoch] = []
    result = run(replace(SGD, lr=30.0, gamma=1.0, epochs=6), on_epoch=told.append)  # which goes up and down
    accuracies = [epoch.scores.top1 for epoch in told]
    assert [epoch.epoch for epoch in told] == list(range(6))
    assert len(set(accuracies)) > 2
    assert result.best.top1 == max(accuracies)
    assert result.best_epoch == accuracies.index(max(accuracies))
    assert [epoch.is_best for epoch in told] == [
        i == 0 or a > max(accuracies[:i]) for i, a in enumerate(accuracies)
    ]
    assert result.last == told[-1].scores
    best = linear_layer(**result.state["best"]["classifier"])
    for classifier, scores in ((result.classifier, result.last), (best, result.best)):
        assert score_linear(Encoder(), classifier, in_batches(100, 2), "hidden", classes=CLASSES) == scores
    assert [entry["top1"] for entry in result.state["history"]] == accuracies


def test_the_loss_and_the_training_accuracy_are_means_over_the_images() -> None:
    told: list[LinearEpoch] = []
    protocol = replace(SGD, lr=1e-300, epochs=1, milestones=())
    result = run(protocol, in_batches(50, 1, 11), on_epoch=told.append)
    found, labels = whole(50, 1)
    logits = result.classifier(found)
    assert told[0].loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item())
    assert told[0].train_top1 == pytest.approx((logits.argmax(1) == labels).double().mean().item())
    assert told[0].lr == 1e-300


def test_the_encoder_comes_out_as_it_went_in() -> None:
    encoder = Encoder().train()
    before = copy.deepcopy(encoder.state_dict())
    train_linear(encoder, data(), "hidden", ADAM)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in encoder.parameters())
    assert encoder.training


class Epochs:
    """Different images every epoch, as augmentation makes them, and drawn from torch's random numbers too."""

    def __init__(self) -> None:
        self.epoch: int | None = None
        self.batch_sampler = self.sampler = self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        assert self.epoch is not None
        for images, labels in in_batches(60, self.epoch + 10):
            yield images + 0.1 * torch.randn_like(images), labels, torch.arange(len(labels))


class InterruptedRunError(Exception):
    pass


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("after", [1, 2, 4])
def test_interrupted_and_resumed_is_uninterrupted_bit_for_bit(name: str, after: int) -> None:
    protocol = replace(PROTOCOLS[name], epochs=5)
    torch.manual_seed(0)
    expected = run(protocol, Epochs())

    kept = io.BytesIO()

    def stop(epoch: LinearEpoch) -> None:
        if epoch.epoch + 1 == after:
            torch.save(epoch.state, kept)
            raise InterruptedRunError

    torch.manual_seed(0)
    with pytest.raises(InterruptedRunError):
        run(protocol, Epochs(), on_epoch=stop)
    torch.manual_seed(123)
    kept.seek(0)
    resumed = run(protocol, Epochs(), resume=torch.load(kept, weights_only=True))
    for one, other in (
        (resumed.classifier.state_dict(), expected.classifier.state_dict()),
        (resumed.state["best"]["classifier"], expected.state["best"]["classifier"]),
    ):
        assert torch.equal(one["weight"], other["weight"])
        assert torch.equal(one["bias"], other["bias"])
    assert (resumed.last, resumed.best, resumed.best_epoch) == (
        expected.last,
        expected.best,
        expected.best_epoch,
    )
    assert resumed.state["history"] == expected.state["history"]


def test_a_finished_run_resumes_to_its_result() -> None:
    result = run()
    again = run(resume=result.state, train=[])
    assert torch.equal(again.classifier.weight, result.classifier.weight)
    assert (again.last, again.best, again.best_epoch) == (result.last, result.best, result.best_epoch)


def test_a_state_is_a_copy() -> None:
    states: list[dict[str, Any]] = []
    run(on_epoch=lambda epoch: states.append(epoch.state))
    assert not torch.equal(states[0]["classifier"]["weight"], states[1]["classifier"]["weight"])
    assert [len(state["history"]) for state in states] == [1, 2, 3]
    before = copy.deepcopy(states[0])
    run(resume=states[0])
    assert torch.equal(before["classifier"]["weight"], states[0]["classifier"]["weight"])
    assert len(states[0]["history"]) == 1
    steps = [value["step"] for state in (before, states[0]) for value in state["optimizer"]["state"].values()]
    assert len(set(map(float, steps))) == 1


def test_the_state_of_another_run_is_refused_and_the_difference_named() -> None:
    state = run().state
    with pytest.raises(ValueError, match=r"its protocol differs: lr was 0.05 and is 0.01"):
        run(replace(ADAM, lr=0.01), resume=state)
    with pytest.raises(ValueError, match="its seed differs: it was 0 and is 1"):
        run(seed=1, resume=state)
    other = Encoder()
    nn.init.zeros_(other.head.bias)
    with pytest.raises(ValueError, match="its encoder differs"):
        train_linear(other, data(), "hidden", ADAM, resume=state)
    with pytest.raises(ValueError, match="its layer differs: it was 'hidden' and is 'trunk'"):
        train_linear(Encoder(), data(), "trunk", ADAM, resume=state)
    with pytest.raises(ValueError, match="version 1, got None"):
        run(resume={})


def test_loaders_of_torch_are_read_and_float32_works() -> None:
    parts = [
        TensorDataset(images.float(), labels)
        for images, labels in (images_and_labels(60, 1), images_and_labels(50, 2))
    ]
    train, test = DataLoader(parts[0], 16, shuffle=True), DataLoader(parts[1], 16)
    images = LinearData(train, test, CLASSES, test_images=50)
    result = train_linear(Encoder().float(), images, protocol=replace(ADAM, batch_size=16))
    assert result.classifier.weight.dtype == torch.float32
    assert result.last.n == 50


def test_classes_keep_their_names_and_progress_counts_images() -> None:
    names, seen = [f"class {number}" for number in range(CLASSES)], list[int]()
    batches = in_batches(20, 1)
    result = train_linear(Encoder(), LinearData(batches, batches, names), protocol=ADAM)
    assert result.best.classes == tuple(names)
    assert Scores.from_dict(result.best.to_dict()) == result.best
    score_linear(Encoder(), result.classifier, batches, classes=names, on_batch=seen.append)
    assert sum(seen) == 20


def test_a_loss_that_is_no_number_is_told_at_once() -> None:
    batches = in_batches(60, 1)
    batches[2][0][3] = math.nan
    with pytest.raises(
        ValueError, match=r"finite number, got nan at epoch 0, step 2; lower lr, 0.05 there, or look for NaN"
    ):
        run(ADAM, batches)


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        ([], {}, "the training loader must bring images"),
        (in_batches(60, 1, 13), {}, "at most the protocol's 12 images, got 13; change the loader"),
        ([(torch.ones(2, 1, 4, 4).double(), torch.tensor([0, 7]))], {}, "below 7, .* got 0 to 7"),
        ([(torch.ones(2, 1, 4, 4).double(), torch.tensor([0, -100]))], {}, "got -100 to 0"),
        (None, {"test_images": 99}, "each of the 99 test images must be counted once, got 100"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(train: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_linear(Encoder(), data(train, **options), "hidden", ADAM)


def test_without_a_test_image_there_is_nothing_to_learn_for() -> None:
    with pytest.raises(ValueError, match=r"must bring images, .* got no image"):
        train_linear(Encoder(), LinearData(in_batches(60, 1), [], CLASSES), protocol=ADAM)


def test_an_empty_batch_is_no_end() -> None:
    batches = in_batches(60, 1)
    empty = (batches[0][0][:0], batches[0][1][:0])
    assert run(ADAM, [*batches[:2], empty, *batches[2:]]).state["history"][0]["loss"] > 0
    one, other = run(SGD, batches), run(SGD, [*batches, empty])
    assert one.state["history"][0]["loss"] == other.state["history"][0]["loss"]


# ------------------------------------------------------------------------------------------ several processes


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    """World size: what each process found, check by check."""
    return found_by("recipes.judge.linear_worker", tmp_path_factory.mktemp("processes"), SHARDS, "linear")


SPLITS = [(world, counts) for world, shards in SHARDS.items() for counts in shards]


@pytest.mark.parametrize(("world", "counts"), SPLITS)
@pytest.mark.parametrize("name", PROTOCOLS)
def test_many_processes_train_the_classifier_of_one(
    name: str, world: int, counts: tuple[int, ...], found: dict[int, list[dict[str, Any]]]
) -> None:
    expected = linear_worker.trained(
        PROTOCOLS[name], linear_worker.batches(world), linear_worker.evaluation_batches(counts), sum(counts)
    )
    for result in found[world]:
        part = result[f"{name} {counts}"]
        assert not isinstance(part, str), part
        for key in ("weight", "bias"):
            torch.testing.assert_close(part[key], expected[key], rtol=1e-10, atol=1e-10)
            assert torch.equal(
                part[key], found[world][0][f"{name} {counts}"][key]
            )  # the same everywhere, to the last bit
        assert (part["scores"], part["best"]) == (expected["scores"], expected["best"])
        for entry, other in zip(part["history"], expected["history"], strict=True):
            assert entry == pytest.approx(other, rel=1e-10)


@pytest.mark.parametrize(("world", "counts"), SPLITS)
def test_gathered_features_are_those_of_all_in_order_of_rank(
    world: int, counts: tuple[int, ...], found: dict[int, list[dict[str, Any]]]
) -> None:
    expected = features(Encoder(), linear_worker.evaluation_batches(counts), "hidden")
    for result in found[world]:
        for part, other in zip(result[f"gathered {counts}"], expected, strict=True):
            torch.testing.assert_close(part, other)


@pytest.mark.parametrize("world", SHARDS)
def test_a_broken_image_on_one_process_stops_all(world: int, found: dict[int, list[dict[str, Any]]]) -> None:
    for result in found[world]:
        assert "finite number, got nan at epoch 0, step 0" in result["broken"]
