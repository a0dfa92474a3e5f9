r"""The accuracy of an encoder's features: of a linear classifier, or of the nearest neighbours.

    align-uniform evaluate linear --encoder results/RUN --layer fc7
    align-uniform evaluate linear --encoder results/RUN --layer features --protocol exact
    align-uniform evaluate knn --encoder results/RUN --layer features
    align-uniform evaluate knn --train-features train.npy --train-labels train.txt \
        --test-features test.npy --test-labels test.txt

`linear` and `knn` are the commands. Under torchrun, the images are shared among the processes.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from align_uniform import _ranks as ranks
from align_uniform._messages import counted
from align_uniform._progress import progress_bar
from align_uniform._writing import check_replaceable, written_whole
from align_uniform.files import Rows, open_rows, read_column
from align_uniform.recipes.devices import device
from align_uniform.recipes.encoders.checkpoints import read_checkpoint, write_checkpoint
from align_uniform.recipes.encoders.features import features
from align_uniform.recipes.encoders.networks import Encoder
from align_uniform.recipes.images.loader import ImageLoader
from align_uniform.recipes.images.sampler import EvalSampler, GlobalBatchSampler
from align_uniform.recipes.judge.classifiers import BEST, LAST, classifier_of, save_linear
from align_uniform.recipes.judge.knn import check_k, knn_scores
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
from align_uniform.recipes.judge.logistic import linear_scores
from align_uniform.recipes.judge.options import SAVED, EvaluateOptions, KnnOptions, LinearOptions
from align_uniform.recipes.judge.scores import Scores, over_ranks
from align_uniform.recipes.judge.task import Task, show_heading

PROTOCOLS: dict[str, LinearProtocol] = {"stl10": STL10, "imagenet": IMAGENET}
"""Protocols that train in epochs."""


def knn(options: KnnOptions) -> int:
    """Print and write the accuracy of the nearest neighbours; return 0."""
    check_outputs(options)
    weights = f"{options.weight} of temperature {options.tau:g}" if options.weight == "softmax" else "votes"
    rows = features_of(options, f"{options.k} nearest neighbours, {weights}", least=options.k)
    found = knn_scores(
        *rows[:4], options.k, weight=options.weight, tau=options.tau, classes=rows.classes,
    )  # fmt: skip
    show(over_ranks(found), options, {"k": options.k, "weight": options.weight})
    return 0


def linear(options: LinearOptions) -> int:
    """Print and write the accuracy of a linear classifier; return 0."""
    check_outputs(options)
    if options.classifier is not None:
        show(score_classifier(options, options.classifier), options, {"classifier": str(options.classifier)})
    elif options.protocol == "exact":
        rows = features_of(options, f"exact, logistic regression with l2 {options.l2:g}")
        found = linear_scores(*rows[:4], l2=options.l2, classes=rows.classes)
        show(over_ranks(found), options, {"protocol": "exact", "l2": options.l2})
    else:
        result = train_classifier(options, protocol_of(options))
        best = {"best_top1": result.best.top1, "best_epoch": result.best_epoch + 1}
        show(result.last, options, {"protocol": options.protocol, **best})
        if ranks.rank() == 0:
            sys.stdout.write(
                f"best epoch {result.best_epoch + 1}, chosen on the test images: "
                f"{100 * result.best.top1:.2f}%\n"
            )
    return 0


# --------------------------------------------------------------------------------------------------- features


class Features(NamedTuple):
    """Rows and their classes, to learn from and to be judged by."""

    train: Tensor
    """[N, m], the rows of all processes."""
    train_labels: Tensor
    """[N], the classes of these rows."""
    test: Tensor
    """[M, m], this process's own rows."""
    test_labels: Tensor
    """[M], the classes of these rows."""
    classes: tuple[str, ...]


def features_of(options: EvaluateOptions, protocol: str, *, least: int = 1) -> Features:
    """Return features that were saved, or encode at least this many training images now; print a heading."""
    if options.encoder is None:
        return saved_features(options, protocol)
    task = Task.of(options)
    train, test = task.images(train=True), task.images(train=False)
    check_k(least, len(train))
    encoder = task.encoder(train)
    task.show(encoder, protocol, test, train)
    with progress_bar("images", len(train) + len(test), shown=ranks.rank() == 0) as advance:
        learned, judged = (
            features(encoder, task.loader(images), options.layer, gather=gather, on_batch=advance)
            for images, gather in ((train, ranks.world_size() > 1), (test, False))
        )
    return Features(*learned, *judged, train.classes)


# ----------------------------------------------------------------------------------------- linear classifiers


def protocol_of(options: LinearOptions) -> LinearProtocol:
    """Return the chosen protocol, of the length that the options ask for."""
    protocol = PROTOCOLS[options.protocol]
    return protocol if options.epochs is None else protocol.of_length(options.epochs)


def train_classifier(options: LinearOptions, protocol: LinearProtocol) -> LinearResult:
    """Train a classifier on new crops in each epoch, and keep its state after every epoch if asked to."""
    task = Task.of(options)
    train, test = task.images(train=True), task.images(train=False)
    encoder = task.encoder(train)
    how = f"{options.protocol}, {counted(protocol.epochs, 'epoch')} of random crops by {protocol.optimizer}"
    task.show(encoder, how, test, train)
    views = task.views(train, train=True)
    batches = GlobalBatchSampler(
        len(train),
        protocol.batch_size,
        rank=ranks.rank(),
        world=ranks.world_size(),
        seed=options.seed,
        least=0,
    )
    loader = ImageLoader(views, batch_sampler=batches, num_workers=options.loading_processes)
    statistics = [*map(list, views.transform.statistics)]
    identity = {"data": task.data.name, "size": task.size, "statistics": statistics}
    state = read_state(options.state)
    with progress_bar("epochs", protocol.epochs, shown=ranks.rank() == 0) as advance:
        result = train_linear(
            encoder,
            LinearData(loader, task.loader(test), train.classes, len(test), identity),
            options.layer,
            protocol,
            seed=options.seed,
            on_epoch=after_epoch(options, protocol, encoder, advance, resumes=state is not None),
            resume=state,
        )
    if state is not None and len(state["history"]) >= protocol.epochs:  # no epoch was left, which writes them
        save_checkpoints(options, encoder, state, with_best=True)
    return result


def save_checkpoints(
    options: LinearOptions, encoder: Encoder, state: dict[str, Any], *, with_best: bool
) -> None:
    """Write the checkpoints of a state that is known to be of this encoder, if they are asked for."""
    if options.checkpoints is not None and ranks.rank() == 0:
        arch = encoder.architecture.arch
        save_linear(options.checkpoints, encoder, state, arch=arch, with_best=with_best)


def read_state(path: Path | None) -> dict[str, Any] | None:
    """Return the state that training resumes from, if there is one, and say so."""
    if path is None or not path.exists():
        return None
    state = read_checkpoint(path)
    if not isinstance(state, dict) or not isinstance(state.get("history"), list):
        raise ValueError(f"{path} must hold the state of a linear evaluation; give another file to --state.")
    if ranks.rank() == 0:
        sys.stderr.write(f"resuming from {path}, after epoch {len(state['history'])}\n")
    return state


def after_epoch(
    options: LinearOptions,
    protocol: LinearProtocol,
    encoder: Encoder,
    advance: Callable[[int], None],
    *,
    resumes: bool,
) -> Callable[[LinearEpoch], None]:
    """Return a function that reports an epoch and writes the files that are asked for.

    A run that resumes writes its best epoch again, which the folder of checkpoints need not have.
    """

    def report(epoch: LinearEpoch) -> None:
        advance(1)
        if ranks.rank() != 0:
            return
        sys.stderr.write(
            f"epoch {epoch.epoch + 1} of {protocol.epochs}: top-1 {100 * epoch.scores.top1:.2f}%, of "
            f"training crops {100 * epoch.train_top1:.2f}%, loss {epoch.loss:.4f}\n"
        )
        if options.state is not None:
            write_checkpoint(options.state, epoch.state)
        save_checkpoints(options, encoder, epoch.state, with_best=epoch.is_best or resumes)

    return report


def score_classifier(options: LinearOptions, path: Path) -> Scores:
    """Score the trained classifier in a file."""
    task = Task.of(options)
    test = task.images(train=False)
    encoder = task.encoder(test)
    classifier = classifier_of(path, encoder, options.layer, test.classes).to(device(options.device))
    image, label, _ = task.views(test, train=False)[0, 0]
    takes = features(encoder, [(image.unsqueeze(0), [label])], options.layer)[0].shape[1]
    gives = len(test.classes)
    if (classifier.in_features, classifier.out_features) != (takes, gives):
        raise ValueError(
            f"{path} must classify {counted(takes, 'feature')} as {counted(gives, 'class', 'classes')}, but "
            f"its classifier takes {counted(classifier.in_features, 'feature')} and knows "
            f"{counted(classifier.out_features, 'class', 'classes')}; choose the layer and the data that it "
            "was trained on."
        )
    task.show(encoder, f"the classifier in {path}, as it is", test)
    with progress_bar("images", len(test), shown=ranks.rank() == 0) as advance:
        return score_linear(
            encoder,
            classifier,
            task.loader(test),
            options.layer,
            classes=test.classes,
            test_images=len(test),
            on_batch=advance,
        )


# --------------------------------------------------------------------------------------------- saved features


def saved_features(options: EvaluateOptions, protocol: str) -> Features:
    """Return the features and labels in files; print a heading."""
    train_path, train_names, test_path, test_names = (Path(getattr(options, name)) for name in SAVED)
    train, test = rows_of(train_path), rows_of(test_path)
    if train.shape[1] != test.shape[1]:
        raise ValueError(
            f"{test_path} must have the {counted(train.shape[1], 'feature')} of {train_path}, it has "
            f"{test.shape[1]}; take both from one layer."
        )
    columns = [labels_of(path, rows) for path, rows in ((train_names, train), (test_names, test))]
    classes = sorted(set(columns[0]), key=str)
    if unknown := set(columns[1]) - set(classes):
        raise ValueError(
            f"{test_names} must have the classes of {train_names}, it also has {min(unknown, key=str)!r}; "
            "remove these rows, or add such rows to learn from."
        )
    number = {name: place for place, name in enumerate(classes)}
    train_labels, test_labels = (torch.tensor([number[name] for name in column]) for column in columns)
    show_heading(
        features=f"{train_path} ({counted(len(train), 'training row')}) and "
        f"{test_path} ({counted(len(test), 'test row')})",
        labels=f"{train_names} and {test_names}, {counted(len(classes), 'class', 'classes')}",
        protocol=protocol,
    )
    own = EvalSampler(len(test), rank=ranks.rank(), world=ranks.world_size()).rows
    part = slice(own.start, own.stop)
    names = tuple(map(str, classes))
    return Features(train[: len(train)].float(), train_labels, test[part].float(), test_labels[part], names)


def rows_of(path: Path) -> Rows:
    """Return the rows of a file, of which there must be one view."""
    views = open_rows(path)
    if len(views) != 1:
        raise ValueError(
            f"{path} must be [N, m], it has {counted(len(views), 'view')} of each row; save one of them, as "
            "with x[0]."
        )
    return views[0]


def labels_of(path: Path, rows: Rows) -> list[Any]:
    """Return the labels in a file, one for each row."""
    labels = list(read_column(path))
    if len(labels) != len(rows):
        raise ValueError(
            f"{path} must have one label for each of the {counted(len(rows), 'row')} of {rows.name}, got "
            f"{len(labels)}."
        )
    return labels


# ----------------------------------------------------------------------------------------------------- output


def check_outputs(options: EvaluateOptions) -> None:
    """Refuse files that cannot be written, or must not be replaced, before any work."""
    if options.out is not None:
        check_replaceable(options.out, force=options.force)
    if isinstance(options, LinearOptions) and options.state is not None:
        check_replaceable(options.state, force=True)  # which training resumes from, or replaces
        if options.resume == "never" and options.state.exists():
            raise ValueError(
                f"{options.state} holds the state of a run already; use --resume auto to resume it, or "
                "another file."
            )
    if isinstance(options, LinearOptions) and options.checkpoints is not None:
        resumes = options.state is not None and options.state.exists()
        if options.checkpoints.is_dir():
            for name in (LAST, BEST):
                check_replaceable(options.checkpoints / name, force=options.force or resumes)
        elif os.path.lexists(options.checkpoints):
            raise ValueError(f"{options.checkpoints} is no folder; give --checkpoints the name of one.")


def show(scores: Scores, options: EvaluateOptions, extra: Mapping[str, Any]) -> None:
    """Print the table of scores, and write them as JSON if asked to."""
    if ranks.rank() != 0:
        return
    sys.stdout.write(f"{scores}\n")
    if options.out is not None:
        document = {"layer": options.layer, **extra, **scores.to_dict()}
        with written_whole(options.out) as partial:
            partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
