"""Linear accuracy as in the papers: a linear classifier is trained in epochs on newly augmented images.

The encoder is frozen, and checked to be unchanged at the end. `logistic` has the quicker way, for features
that are computed once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align_uniform._checks import check_choice, check_positive
from align_uniform._ranks import add_over_ranks_, world_size
from align_uniform.recipes.encoders.features import (
    Layer,
    Loader,
    agreed,
    batches_of,
    extract,
    features,
    frozen,
    placed,
)
from align_uniform.recipes.judge.logistic import linear_layer, scored
from align_uniform.recipes.judge.scores import Scores, check_labels, class_names, over_ranks
from align_uniform.recipes.milestones import scaled

T = TypeVar("T")

STATE_VERSION = 1
"""The version of the layout of a state."""


@dataclass(frozen=True)
class LinearProtocol:
    """A way to train a linear classifier on frozen features.

    Example:
        >>> STL10.of_length(70).milestones
        (42, 56)
    """

    optimizer: Literal["adam", "sgd"] = "adam"
    """The optimiser, Adam or SGD."""
    lr: float = 1e-3
    """The learning rate at the start."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Betas of Adam."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 0.0
    """Factor of the weights that is added to the gradient."""
    epochs: int = 100
    """Number of passes over the training images."""
    milestones: tuple[int, ...] = (60, 80)
    """Epochs (0-based) at whose start the learning rate is multiplied by `gamma`."""
    gamma: float = 0.2
    """Factor of the learning rate at each milestone."""
    batch_size: int = 128
    """Number of images in a batch, summed over all processes; larger batches of the loader are refused."""
    init_std: float | None = None
    """Standard deviation of normal first weights, with biases of 0; None for those of `torch.nn.Linear`."""

    def __post_init__(self) -> None:
        check_choice("optimizer", self.optimizer, ("adam", "sgd"))
        check_positive("lr", self.lr)
        check_positive("gamma", self.gamma)
        for name, value in (("epochs", self.epochs), ("batch_size", self.batch_size)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        for name, part in (
            ("weight_decay", self.weight_decay),
            ("momentum", self.momentum),
            ("init_std", self.init_std or 0.0),
        ):
            if not (math.isfinite(part) and part >= 0):
                raise ValueError(f"{name} must be a finite number of at least 0, got {part}.")
        if list(self.milestones) != sorted(set(self.milestones)) or min(self.milestones, default=1) < 1:
            raise ValueError(f"milestones must be epochs from 1 in rising order, got {self.milestones}.")

    def of_length(self, epochs: int) -> LinearProtocol:
        """Return the protocol with another number of epochs, and milestones in proportion."""
        return replace(self, epochs=epochs, milestones=scaled(self.milestones, self.epochs, epochs))

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        return self.lr * self.gamma ** sum(milestone <= epoch for milestone in self.milestones)


STL10 = LinearProtocol()
"""The protocol of the reference's STL-10 example."""
IMAGENET = LinearProtocol(optimizer="sgd", lr=30.0, gamma=0.1, batch_size=256, init_std=0.01)
"""The protocol of MoCo, for ImageNet and ImageNet-100."""


@dataclass(frozen=True)
class LinearEpoch:
    """The result of one epoch."""

    epoch: int
    """The epoch, counted from 0."""
    lr: float
    """The learning rate of the epoch."""
    loss: float
    """Mean cross-entropy of the training images, each before the step that used it."""
    train_top1: float
    """Share of the augmented training images that were classified right before the step that used them."""
    scores: Scores
    """Scores on the test images of all processes after the epoch."""
    is_best: bool
    """Whether the top-1 is higher than after every earlier epoch."""
    state: dict[str, Any] = field(repr=False)
    """The state that `train_linear` resumes from: plain values and CPU tensors, which can be read by
    `torch.load(weights_only=True)`.
    """


@dataclass(frozen=True)
class LinearResult:
    """The result of training a linear classifier."""

    classifier: nn.Linear
    """The classifier after the last epoch."""
    last: Scores
    """Scores of `classifier`."""
    best: Scores
    """Scores after the best epoch: optimistic, since they decided which epoch was the best."""
    best_epoch: int
    """The first epoch, counted from 0, with the highest top-1."""
    state: dict[str, Any] = field(repr=False)
    """State after the last epoch: "history" has every epoch's numbers, "best" the best epoch's weights."""


@dataclass(frozen=True)
class LinearData:
    """The labelled images of a linear evaluation."""

    train: Loader
    """Batches `(images, labels)` of augmented images, read once an epoch. If the loader, its dataset, sampler
    or batch sampler has a method `set_epoch`, it is called before each epoch.
    """
    test: Loader
    """Batches `(images, labels)`, read once, with each test image on one process only."""
    classes: int | Sequence[str]
    """The names of the classes, or their number."""
    test_images: int | None = None
    """Number of test images on all processes, to be checked; None for no check."""
    identity: Mapping[str, Any] = field(default_factory=dict)
    """Plain values, such as the name of the data set, that a run and a resumed one must have in common."""


def train_linear(
    encoder: nn.Module,
    data: LinearData,
    layer: Layer = "output",
    protocol: LinearProtocol = STL10,
    *,
    device: str | torch.device | None = None,
    seed: int = 0,
    on_epoch: Callable[[LinearEpoch], None] | None = None,
    resume: dict[str, Any] | None = None,
) -> LinearResult:
    """Train a linear classifier on the features of a frozen encoder, and score it after every epoch.

    The best epoch is chosen on the test images, as in the reference, so `best` is an optimistic number:
    report `last` next to it, or instead.

    With several processes, every process calls this with its own part of each batch and of the test images.
    The gradient of a step is the mean over the images of all processes, however many each of them has, so
    that one process with the same batches has the same result, to rounding. A process may have no images in
    a step, and no test images.

    The encoder runs in eval mode and without gradients. Its weights and buffers are hashed before and after.

    Args:
        encoder: a network from images to features, not wrapped, the same on every process.
        data: the images to train and to test on; features of the test images are kept on the CPU.
        layer: a name in `layer_names`, or a function; features are flattened.
        protocol: `STL10`, `IMAGENET`, or another protocol.
        device: the device that computes, to which the encoder is moved. By default the device that it is on.
        seed: seed of the classifier's first weights.
        on_epoch: called after every epoch, on every process.
        resume: the `state` of a `LinearEpoch`. On the CPU, the resumed run then equals the undisturbed one
            bit for bit if the loader's images depend only on the epoch and, in one process, on torch's random
            numbers.

    Raises:
        ValueError: the loss is not a number; the encoder has changed; `resume` is the state of other options
            or of another encoder; a batch has more images than the protocol allows; a test image is counted
            twice or not at all; or there is no such layer.
    """
    device = placed(encoder, device)
    names = class_names(data.classes)
    with frozen(encoder) as digest:
        test = features(encoder, data.test, layer)
        dim, dtype = agreed(test[0])
        run = _Run(protocol, names, _first_weights(protocol, dim, len(names), dtype, seed).to(device))
        run.identity = {
            "protocol": asdict(protocol),
            "layer": layer if isinstance(layer, str) else "a function",
            "classes": names,
            "features": dim,
            "seed": seed,
            "encoder": digest,
            "images": dict(data.identity),
        }
        if resume is not None:
            run.load(resume)
        for epoch in range(len(run.history), protocol.epochs):
            _set_epoch(data.train, epoch)
            batches = (
                (extract(encoder, layer, images.to(device)), labels)
                for images, labels in batches_of(data.train)
            )
            loss, top1 = run.train(batches)
            scores = over_ranks(scored(run.classifier, *test, names), data.test_images)
            result = run.close(loss, top1, scores)
            if on_epoch is not None:
                on_epoch(result)
    return run.result()


def score_linear(
    encoder: nn.Module,
    classifier: nn.Linear,
    test_loader: Loader,
    layer: Layer = "output",
    device: str | torch.device | None = None,
    *,
    classes: int | Sequence[str],
    test_images: int | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> Scores:
    """Return the scores of a trained classifier on the test images of all processes.

    Every process must call this. The arguments are those of `train_linear` and the fields of `LinearData`;
    `on_batch` is called with the number of images in each batch.
    """
    names = class_names(classes)
    rows, labels = features(encoder, test_loader, layer, device=device, on_batch=on_batch)
    return over_ranks(scored(classifier, rows, labels, names), test_images)


class _Run:
    """A classifier in training, with everything that a resumed run must know."""

    def __init__(self, protocol: LinearProtocol, names: tuple[str, ...], classifier: nn.Linear) -> None:
        self.protocol, self.names, self.classifier = protocol, names, classifier
        self.identity: dict[str, Any] = {}
        self.optimizer = _optimizer(protocol, [classifier.weight, classifier.bias])
        self.history: list[dict[str, Any]] = []
        self.last: Scores | None = None
        self.best: Scores | None = None
        self.best_epoch = 0
        self.best_weights: dict[str, Tensor] = {}
        self.rng = torch.get_rng_state()

    def train(self, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[float, float]:
        """Train for one epoch, and return the mean loss and the share of images classified right."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.protocol.lr_at(len(self.history))
        loss, right, images = 0.0, 0.0, 0.0
        for step, batch in enumerate(_and_then_none(batches)):
            sums = self._gradient(*(batch or self._no_images()), are_there=batch is not None)
            if not sums[3]:
                break
            self._check(sums[0], sums[2], step)
            self.optimizer.step()
            loss, right, images = loss + sums[0], right + sums[1], images + sums[2]
        if not images:
            raise ValueError(
                "the training loader must bring images, got none in an epoch; make the batch size smaller."
            )
        return loss / images, right / images

    def _gradient(self, rows: Tensor, labels: Tensor, *, are_there: bool) -> list[float]:
        """Set the gradient of the mean loss of all processes.

        Return the sums of loss, hits, images and batches over all processes.
        """
        weight, bias = self.classifier.weight, self.classifier.bias
        check_labels(labels, len(rows), len(self.names))
        labels = labels.to(rows.device)
        with torch.enable_grad():
            logits = F.linear(rows, weight, bias)
            loss = F.cross_entropy(logits, labels, reduction="sum")
            grads = torch.autograd.grad(loss, [weight, bias])
        hits = (logits.argmax(1) == labels).sum()
        sums = torch.stack([loss.detach(), hits.to(loss), *loss.new_tensor([len(labels), are_there])])
        everyones = add_over_ranks_(
            torch.cat([*(grad.flatten() for grad in grads), sums])
        )  # one exchange a step
        flat_weight, flat_bias, sums = everyones.split([weight.numel(), bias.numel(), 4])
        count = sums[2].clamp_min(1)
        weight.grad, bias.grad = (flat_weight / count).view_as(weight), flat_bias / count
        return [float(value) for value in sums.tolist()]

    def _no_images(self) -> tuple[Tensor, Tensor]:
        weight = self.classifier.weight
        return weight.new_empty(0, weight.shape[1]), torch.empty(0, dtype=torch.long)

    def _check(self, loss: float, count: float, step: int) -> None:
        if count > self.protocol.batch_size:
            raise ValueError(
                f"a batch of all processes must have at most the protocol's {self.protocol.batch_size} "
                f"images, got {count:.0f}; change the loader, or the protocol's batch_size and its lr with "
                "it."
            )
        if not math.isfinite(loss):
            raise ValueError(
                f"the loss must be a finite number, got {loss} at epoch {len(self.history)}, step {step}; "
                f"lower lr, {self.protocol.lr_at(len(self.history)):g} there, or look for NaN in the "
                "encoder's features."
            )

    def close(self, loss: float, top1: float, scores: Scores) -> LinearEpoch:
        """End an epoch, and return its result."""
        epoch, lr = len(self.history), self.protocol.lr_at(len(self.history))
        is_best = self.best is None or scores.top1 > self.best.top1
        if is_best:
            self.best, self.best_epoch, self.best_weights = (
                scores,
                epoch,
                _on_cpu(self.classifier.state_dict()),
            )
        self.last = scores
        self.history.append({"epoch": epoch, "lr": lr, "loss": loss, "train_top1": top1, "top1": scores.top1})
        self.rng = torch.get_rng_state()
        return LinearEpoch(epoch, lr, loss, top1, scores, is_best, self.state())

    def state(self) -> dict[str, Any]:
        """Return a copy of the state, on the CPU."""
        assert self.last is not None
        assert self.best is not None
        state: dict[str, Any] = {
            "version": STATE_VERSION,
            **self.identity,
            "epoch": len(self.history),
            "classifier": self.classifier.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scores": self.last.to_dict(),
            "best": {
                "epoch": self.best_epoch,
                "classifier": self.best_weights,
                "scores": self.best.to_dict(),
            },
            "history": self.history,
            "rng": self.rng,
        }
        copy: dict[str, Any] = _on_cpu(state)
        return copy

    def load(self, state: dict[str, Any]) -> None:
        """Restore a state."""
        if state.get("version") != STATE_VERSION:
            raise ValueError(
                f"the state to resume from must be of version {STATE_VERSION}, got "
                f"{state.get('version')}; to start again, give --state a new file, or train_linear no state."
            )
        for name, value in self.identity.items():
            if state.get(name) != value:
                raise ValueError(
                    f"the state to resume from must be of the same run, but its {name} differs: "
                    f"{_difference(state.get(name), value)}; restore that; to start again, give --state a "
                    "new file, or train_linear no state."
                )
        self.classifier.load_state_dict(state["classifier"])
        self.optimizer.load_state_dict(
            _on_cpu(state["optimizer"])
        )  # which keeps the tensors that it is given
        self.last, self.best = Scores.from_dict(state["scores"]), Scores.from_dict(state["best"]["scores"])
        self.best_epoch, self.best_weights = state["best"]["epoch"], _on_cpu(state["best"]["classifier"])
        self.history, self.rng = _on_cpu(state["history"]), state["rng"].clone()
        if world_size() == 1:  # several processes' numbers differ, and samplers for them do not draw any
            torch.set_rng_state(self.rng)

    def result(self) -> LinearResult:
        """Return the result after the last epoch."""
        assert self.last is not None
        assert self.best is not None
        device = self.classifier.weight.device
        last = linear_layer(self.classifier.weight.detach(), self.classifier.bias.detach()).to(device)
        return LinearResult(last, self.last, self.best, self.best_epoch, self.state())


def _optimizer(protocol: LinearProtocol, parameters: list[Tensor]) -> torch.optim.Optimizer:
    if protocol.optimizer == "adam":
        return torch.optim.Adam(
            parameters, lr=protocol.lr, betas=protocol.betas, weight_decay=protocol.weight_decay
        )
    return torch.optim.SGD(
        parameters, lr=protocol.lr, momentum=protocol.momentum, weight_decay=protocol.weight_decay
    )


def _first_weights(
    protocol: LinearProtocol, dim: int, classes: int, dtype: torch.dtype, seed: int
) -> nn.Linear:
    """Return a classifier with first weights that are the same on every process and device.

    The global random numbers are not used.
    """
    generator = torch.Generator().manual_seed(seed)
    weight, bias = torch.empty(classes, dim, dtype=dtype), torch.zeros(classes, dtype=dtype)
    if protocol.init_std is None:
        bound = dim**-0.5
        weight.uniform_(-bound, bound, generator=generator)
        bias.uniform_(-bound, bound, generator=generator)
    else:
        weight.normal_(0, protocol.init_std, generator=generator)
    return linear_layer(weight, bias)


def _set_epoch(loader: Loader, epoch: int) -> None:
    for name in ("", "dataset", "sampler", "batch_sampler"):
        part: Any = getattr(loader, name, None) if name else loader
        if hasattr(part, "set_epoch"):
            part.set_epoch(epoch)


def _and_then_none(batches: Iterable[T]) -> Iterator[T | None]:
    """Yield None without end after the batches: a process without images waits for the others."""
    yield from batches
    while True:
        yield None


def _on_cpu(value: Any) -> Any:
    """Return a copy with all tensors on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {name: _on_cpu(part) for name, part in value.items()}
    return type(value)(map(_on_cpu, value)) if isinstance(value, list | tuple) else value


def _difference(theirs: Any, ours: Any) -> str:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        changed = [name for name in theirs | ours if theirs.get(name) != ours.get(name)]
        return ", ".join(f"{name} was {theirs.get(name)!r} and is {ours.get(name)!r}" for name in changed)
    return f"it was {theirs!r} and is {ours!r}"
