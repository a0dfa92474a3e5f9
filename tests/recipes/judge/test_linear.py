"""Linear evaluation: scikit-learn's classifier, the papers' protocols as a plain loop states them, and a
frozen encoder.
"""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from align_uniform.recipes.encoders.features import features, layer_names
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
from align_uniform.recipes.judge.logistic import fit_linear, linear_layer, linear_predict, linear_scores
from align_uniform.recipes.judge.scores import Scores
from tests import rows
from tests.processes import found_by
from tests.recipes.judge import linear_worker
from tests.recipes.judge.linear_worker import (
    ADAM,
    CLASSES,
    PROTOCOLS,
    SGD,
    SHARDS,
    Encoder,
    images_and_labels,
)

Batches = list[tuple[Tensor, Tensor]]


def in_batches(n: int, seed: int, size: int = 12) -> Batches:
    images, labels = images_and_labels(n, seed)
    return list(zip(images.split(size), labels.split(size), strict=True))


def whole(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Features of the hidden layer, and labels."""
    images, labels = images_and_labels(n, seed)
    return Encoder().eval()(images, "hidden").detach(), labels


# --------------------------------------------------------------------------------------------------- features


def test_features_are_those_of_the_encoder_in_eval_mode_whatever_the_batches() -> None:
    encoder = Encoder()
    images, labels = images_and_labels(30, 1)
    seen: list[int] = []
    found, found_labels = features(encoder, in_batches(30, 1), on_batch=seen.append)
    torch.testing.assert_close(found, encoder.eval()(images).detach())
    assert torch.equal(found_labels, labels)
    assert seen == [12, 12, 6]
    assert not found.requires_grad


def test_modes_are_restored_module_by_module() -> None:
    encoder = Encoder().train()
    encoder.trunk.eval()
    features(encoder, in_batches(30, 1))
    assert encoder.training
    assert not encoder.trunk.training
    assert encoder.head.training


def test_modes_are_restored_after_an_error() -> None:
    encoder = Encoder().train()
    with pytest.raises(ValueError, match="layer must be"):
        features(encoder, in_batches(30, 1), "fc9")
    assert all(module.training for module in encoder.modules())


@pytest.mark.parametrize("layer", ["hidden", "trunk", "trunk.3", lambda encoder: encoder.trunk])
def test_a_layer_goes_by_its_name_or_its_module_or_is_a_function(layer: Any) -> None:
    encoder = Encoder().eval()
    images, _ = images_and_labels(30, 1)
    found, _ = features(encoder, in_batches(30, 1), layer if isinstance(layer, str) else layer(encoder))
    torch.testing.assert_close(found, encoder(images, "hidden").detach())


def test_the_output_of_a_module_is_taken_before_the_next_one_writes_into_it() -> None:
    encoder = Encoder().eval()  # whose ReLU is in place
    images, _ = images_and_labels(30, 1)
    found, _ = features(encoder, in_batches(30, 1), "trunk.2")
    torch.testing.assert_close(found, encoder.trunk[:3](images).detach())
    assert (found < 0).any()
    assert not any(module._forward_hooks for module in encoder.modules())


def test_maps_are_flattened_and_half_precision_is_widened() -> None:
    encoder = nn.Sequential(nn.Conv2d(1, 3, 2), nn.Flatten()).bfloat16()
    images = rows.normal(5, 1, 4, 4, dtype=torch.bfloat16)
    found, _ = features(encoder, [(images, torch.arange(5))], "0")
    assert found.shape == (5, 27)
    assert found.dtype == torch.float32


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("fc9", "layer must be one of the encoder's, got 'fc9'; it has hidden, output, trunk, trunk.0"),
        ("unused", "layer 'unused' is never called by the encoder"),
        (lambda images: images.sum((1, 2, 3)), r"must give a tensor \[N, ...\], got \[12\]"),
    ],
)
def test_a_layer_that_is_not_there_is_named_with_those_that_are(layer: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        features(Encoder(), in_batches(30, 1), layer)


def test_a_network_without_names_has_its_output_and_its_modules() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    assert layer_names(network) == ["output", "0", "1"]
    assert features(network, [(torch.ones(2, 1, 4, 4), torch.arange(2))])[0].shape == (2, 3)


def test_an_empty_loader_gives_no_row() -> None:
    found, labels = features(Encoder(), [])
    assert found.shape == (0, 0)
    assert labels.shape == (0,)


class Restless(nn.Module):
    """Counts its forward passes in a buffer, eval mode or not."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.tensor(0))
        self.weight = nn.Parameter(torch.eye(16))

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return images.flatten(1) @ self.weight


def test_an_encoder_that_changes_is_told() -> None:
    batches = [(images.float(), labels) for images, labels in in_batches(30, 1)]
    with pytest.raises(ValueError, match="come out as it went in, but calls changed, 1 in all"):
        features(Restless(), batches)
    with pytest.raises(ValueError, match="but calls changed"):
        train_linear(Restless(), LinearData(batches, batches, CLASSES), protocol=replace(ADAM, epochs=1))


def test_features_are_computed_on_a_device_and_kept_on_the_cpu(device: str) -> None:
    encoder = Encoder().float()
    batches = [(images.float(), labels) for images, labels in in_batches(30, 1)]
    found, labels = features(encoder, batches, device=device)
    assert (found.device.type, labels.device.type) == ("cpu", "cpu")
    assert next(encoder.parameters()).device.type == device


# ---------------------------------------------------------------------------------------------- exact fitting


@pytest.mark.parametrize("l2", [1e-1, 1e-2, 1e-3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_exact_classifier_is_that_of_scikit_learn(l2: float, dtype: torch.dtype) -> None:
    found, labels = whole(300, 1)
    held, _ = whole(200, 2)
    oracle = LogisticRegression(C=1 / (l2 * len(found)), max_iter=5000, tol=1e-9).fit(
        found.numpy(), labels.numpy()
    )
    classifier = fit_linear(found.to(dtype), labels, l2=l2, standardize=False, tolerance=1e-8)
    assert classifier.weight.dtype == dtype
    torch.testing.assert_close(
        classifier.weight.double(), torch.from_numpy(oracle.coef_), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(
        classifier.bias.double(), torch.from_numpy(oracle.intercept_), rtol=1e-4, atol=1e-4
    )
    predicted = classifier(held.to(dtype)).argmax(1)
    assert (predicted.numpy() == oracle.predict(held.numpy())).all()


def objective(classifier: nn.Linear, found: Tensor, labels: Tensor, l2: float) -> float:
    logits = classifier(found).detach().numpy()
    log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    weight = classifier.weight.detach().numpy()
    return float(
        -log_probabilities[np.arange(len(labels)), labels.numpy()].mean() + l2 / 2 * (weight**2).sum()
    )


def test_no_other_classifier_has_a_smaller_loss() -> None:
    found, labels = whole(300, 1)
    classifier = fit_linear(found, labels, l2=1e-2, standardize=False)
    least = objective(classifier, found, labels, 1e-2)
    for seed in range(10):
        other = copy.deepcopy(classifier)
        with torch.no_grad():
            other.weight.add_(rows.normal(*other.weight.shape, seed=seed), alpha=0.01)
            other.bias.add_(rows.normal(*other.bias.shape, seed=seed + 100), alpha=0.01)
        assert objective(other, found, labels, 1e-2) > least


def test_standardised_the_scale_and_the_place_of_a_feature_do_not_matter() -> None:
    found, labels = whole(300, 1)
    held, _ = whole(200, 2)
    plain = fit_linear(found, labels, tolerance=1e-8)
    scale, shift = torch.logspace(-3, 3, 10, dtype=torch.float64), torch.arange(10)
    moved = fit_linear(found * scale + shift, labels, tolerance=1e-8)
    torch.testing.assert_close(moved(held * scale + shift), plain(held), rtol=1e-5, atol=1e-5)


def test_standardised_it_is_scikit_learn_after_its_scaler() -> None:
    found, labels = whole(300, 1)
    found = torch.cat([found, torch.ones(300, 1, dtype=torch.float64)], 1)  # a feature that never differs
    scaler = StandardScaler().fit(found.numpy())
    oracle = LogisticRegression(C=1 / (1e-3 * 300), max_iter=5000, tol=1e-9)
    oracle.fit(scaler.transform(found.numpy()), labels.numpy())
    expected = torch.from_numpy(oracle.decision_function(scaler.transform(found.numpy())))
    torch.testing.assert_close(
        fit_linear(found, labels, tolerance=1e-8)(found), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_feature_that_is_the_same_in_every_row_has_no_say(dtype: torch.dtype) -> None:
    found, labels = whole(301, 1)
    more = torch.cat([found, torch.full((301, 1), 0.1)], 1).to(dtype)
    classifier = fit_linear(more, labels)
    assert classifier.weight[:, -1].abs().max() < 1e-6
    torch.testing.assert_close(
        classifier(more), fit_linear(found.to(dtype), labels)(found.to(dtype)), rtol=1e-4, atol=1e-4
    )


def test_predictions_and_scores_are_of_the_same_classifier() -> None:
    (found, labels), (held, held_labels) = whole(300, 1), whole(200, 2)
    scores = linear_scores(found, labels, held, held_labels)
    predicted = linear_predict(found, labels, held)
    assert scores.top1 == pytest.approx((predicted == held_labels).double().mean().item())
    assert scores.top1 > 0.5
    halves = [
        linear_scores(found, labels, held[part], held_labels[part], classes=CLASSES)
        for part in (slice(0, 90), slice(90, None))
    ]
    assert halves[0] + halves[1] == scores
    assert linear_scores(found, labels, torch.empty(0, 0), labels[:0]).n == 0


def test_a_minimum_that_is_not_reached_is_told() -> None:
    found, labels = whole(300, 1)
    with pytest.warns(
        RuntimeWarning, match=r"did not reach its minimum: its gradient is .* after 3 iterations, .*; raise"
    ):
        fit_linear(found, labels, iterations=3)


def test_a_class_that_is_not_there_is_not_predicted() -> None:
    found, labels = whole(300, 1)
    assert fit_linear(found, labels, 9)(found).argmax(1).max() < 7


def test_fitting_under_no_grad_works() -> None:
    found, labels = whole(50, 1)
    with torch.no_grad():
        expected = fit_linear(found, labels)
    assert torch.equal(expected.weight, fit_linear(found, labels).weight)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": torch.arange(2)}, r"features must be \[N, m\] and labels \[N\].*got \[3, 3\] and \[2\]"),
        ({"features": torch.empty(0, 3), "labels": torch.empty(0)}, "N at least 1"),
        ({"features": torch.full((3, 3), math.nan)}, "features must be finite"),
        ({"labels": torch.tensor([0, -1, 1])}, "labels must be from 0.* got -1 to 1"),
        ({"classes": 2}, "below 2, .* got 0 to 2"),
        ({"l2": 0.0}, "l2 must be a finite number above 0"),
    ],
)
def test_what_cannot_be_fitted_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_linear(**{"features": torch.eye(3), "labels": torch.arange(3)} | arguments)


# -------------------------------------------------------------------------------------------------- protocols


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
