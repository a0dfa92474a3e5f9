"""Linear accuracy as the papers measure it: a linear classifier trained in epochs on features of newly
augmented images.

The encoder is frozen, and checked to come out as it went in. `logistic` has the quicker way, for features
computed once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
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
from align_uniform.recipes.judge.logistic import check_labels, linear_layer, scored
from align_uniform.recipes.judge.scores import Scores, class_names, over_ranks

T = TypeVar("T")

STATE_VERSION = 1


@dataclass(frozen=True)
class LinearProtocol:
    """How a linear classifier is trained on frozen features; `dataclasses.replace(STL10, epochs=10)` varies
    one.
    """

    optimizer: Literal["adam", "sgd"] = "adam"
    """Adam or SGD."""
    lr: float = 1e-3
    """Learning rate at the start."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Adam's."""
    momentum: float = 0.9
    """SGD's."""
    weight_decay: float = 0.0
    """Added to the gradient, times the weights."""
    epochs: int = 100
    """Times that every training image is seen."""
    milestones: tuple[int, ...] = (60, 80)
    """Epochs, counted from 0, from whose start the learning rate is `gamma` times what it was."""
    gamma: float = 0.2
    """See `milestones`."""
    batch_size: int = 128
    """Images of a batch of all processes together; the loader brings them, and more are refused."""
    init_std: float | None = None
    """Deviation of the normal weights to start from, with a bias of 0; None is the way of `torch.nn.Linear`.
    """

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

    def lr_at(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        return self.lr * self.gamma ** sum(milestone <= epoch for milestone in self.milestones)


STL10 = LinearProtocol()
"""The protocol of the STL-10 example."""
IMAGENET = LinearProtocol(optimizer="sgd", lr=30.0, gamma=0.1, batch_size=256, init_std=0.01)
"""The protocol of MoCo, for ImageNet and ImageNet-100."""


@dataclass(frozen=True)
class LinearEpoch:
    """What an epoch came to."""

    epoch: int
    """Counted from 0."""
    lr: float
    loss: float
    """Mean cross-entropy of the training images, each before the step that used it."""
    train_top1: float
    """Share of the training images, augmented, that were classified right before that step."""
    scores: Scores
    """Of the test images of all processes, after the epoch."""
    is_best: bool
    """No epoch before had as high a top-1."""
    state: dict[str, Any] = field(repr=False)
    """What `train_linear(resume=...)` goes on from: plain values and CPU tensors, fit for
    `torch.load(weights_only=True)`.
    """


@dataclass(frozen=True)
class LinearResult:
    """What the training of a linear classifier came to."""

    classifier: nn.Linear
    """After the last epoch."""
    last: Scores
    """Of `classifier`."""
    best: Scores
    """Scores after the best epoch: optimistic, since they decided which epoch was the best."""
    best_epoch: int
    """The first epoch, counted from 0, of the highest top-1."""
    state: dict[str, Any] = field(repr=False)
    """State after the last epoch: "history" has every epoch's numbers, "best" the best epoch's weights."""


def train_linear(
    encoder: nn.Module,
    train_loader: Loader,
    test_loader: Loader,
    layer: Layer = "output",
    protocol: LinearProtocol = STL10,
    device: str | torch.device | None = None,
    *,
    classes: int | Sequence[str],
    test_images: int | None = None,
    seed: int = 0,
    on_epoch: Callable[[LinearEpoch], None] | None = None,
    on_batch: Callable[[int], None] | None = None,
    resume: dict[str, Any] | None = None,
    images: Mapping[str, Any] | None = None,
) -> LinearResult:
    """Train a linear classifier on the features of a frozen encoder, as the papers do, and score it after
    every epoch.

    The classifier of the best epoch is kept, as the reference does. Which epoch is best is decided on the
    test images, so `best` is an optimistic number: report `last` beside it, or instead.

    Several processes: every process calls this with its own part of each batch and of the test images. The
    gradient of a step is the mean over the images of all processes, however many each of them has, so that
    the result is that of one process with the same batches, to rounding. A process without images in a step,
    or without test images, takes part with none.

    The encoder runs in eval mode and without gradients. Its weights and buffers are hashed before and after.

    Args:
        encoder: from images to features; it is not wrapped, and the same on every process.
        train_loader: batches `(images, labels)`, augmented; read once an epoch. Where it, its dataset,
            sampler or batch sampler has a method `set_epoch`, that is called before.
        test_loader: batches `(images, labels)`, each test image on one process alone; read once, its features
            are kept on the CPU.
        layer: a name, see `layer_names`, or a function; features are flattened.
        protocol: `STL10`, `IMAGENET`, or another.
        device: where to compute; the encoder is moved there. By default where its parameters are.
        classes: their names, or how many there are.
        test_images: how many test images there are on all processes together; another count is an error.
        seed: of the classifier's first weights.
        on_epoch: called after every epoch, on every process.
        on_batch: called after every batch of training or test images with its number.
        resume: the `state` of a `LinearEpoch`. On the CPU what follows is then, bit for bit, what would have
            followed, provided that the loader's images depend on nothing but the epoch and, in one process,
            torch's random numbers.
        images: what a run and the one it resumes must have in common of them, in plain values: the name of
            the data set, say.

    Raises:
        ValueError: the loss is not a number; the encoder has changed; `resume` is the state of other options
            or of another encoder; more images in a batch than the protocol says; a test image counted twice
            or not at all; or there is no such layer.
    """
    device = placed(encoder, device)
    names = class_names(classes)
    with frozen(encoder) as digest:
        test = features(encoder, test_loader, layer, on_batch=on_batch)
        dim, dtype = agreed(test[0])
        run = _Run(protocol, names, _first_weights(protocol, dim, len(names), dtype, seed).to(device))
        run.identity = {
            "protocol": asdict(protocol),
            "layer": layer if isinstance(layer, str) else "a function",
            "classes": names,
            "features": dim,
            "seed": seed,
            "encoder": digest,
            "images": dict(images or {}),
        }
        if resume is not None:
            run.load(resume)
        for epoch in range(len(run.history), protocol.epochs):
            _set_epoch(train_loader, epoch)
            batches = (
                (extract(encoder, layer, images.to(device)), labels)
                for images, labels in _counted(train_loader, on_batch)
            )
            loss, top1 = run.train(batches)
            told = run.close(loss, top1, over_ranks(scored(run.classifier, *test, names), test_images))
            if on_epoch is not None:
                on_epoch(told)
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
    """Return the score of a classifier that is there already, of the test images of all processes.

    The arguments are those of `train_linear`. Every process calls this.
    """
    names = class_names(classes)
    rows, labels = features(encoder, test_loader, layer, device=device, on_batch=on_batch)
    return over_ranks(scored(classifier, rows, labels, names), test_images)


class _Run:
    """A classifier in training, and all that a resumed run must know."""

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
        """One epoch; return the mean loss and the share classified right."""
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
                "train_loader must bring images, got none in an epoch; make the batch size smaller."
            )
        return loss / images, right / images

    def _gradient(self, rows: Tensor, labels: Tensor, *, are_there: bool) -> list[float]:
        """Set the gradient of the mean loss of all processes; return their sums of loss, hits, images and
        batches.
        """
        weight, bias = self.classifier.weight, self.classifier.bias
        check_labels(labels, len(self.names))
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
        """End an epoch."""
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
        """A copy."""
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
        """Go on from a state."""
        if state.get("version") != STATE_VERSION:
            raise ValueError(
                f"resume must be a state of version {STATE_VERSION}, got {state.get('version')}; start anew."
            )
        for name, value in self.identity.items():
            if state.get(name) != value:
                told = _difference(state.get(name), value)
                raise ValueError(f"resume must be of the same run, but its {name} differs: {told}.")
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
        """Everything, after the last epoch."""
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
    """The same on every process and device, and the global random numbers are left alone."""
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


def _counted(loader: Loader, on_batch: Callable[[int], None] | None) -> Iterator[tuple[Tensor, Tensor]]:
    for images, labels in batches_of(loader):
        yield images, labels
        if on_batch is not None:
            on_batch(len(images))


def _and_then_none(batches: Iterable[T]) -> Iterator[T | None]:
    """Without end: a process that has no more images waits for the others, who may."""
    yield from batches
    while True:
        yield None


def _on_cpu(value: Any) -> Any:
    """A copy with its tensors on the CPU."""
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
