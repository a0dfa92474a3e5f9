"""How good are the features of an encoder? Linear and nearest-neighbour accuracy, of an encoder's file or of
saved features.

align-uniform evaluate linear --encoder results/align1alpha2_unif1t2/encoder.pth --data stl10 --layer fc7
align-uniform evaluate linear --encoder encoder.pth --data fashion-mnist --arch small-conv --protocol exact
align-uniform evaluate knn --train-features train.npy --train-labels train.txt --test-features test.npy
--test-labels test.txt
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from align_uniform import _ranks as ranks
from align_uniform._progress import progress_bar
from align_uniform._writing import check_replaceable, written_whole
from align_uniform.files import Rows, open_rows, read_column
from align_uniform.recipes.devices import device
from align_uniform.recipes.encoders.features import features
from align_uniform.recipes.encoders.networks import Encoder
from align_uniform.recipes.encoders.weights import EncoderCard, load_encoder, read_checkpoint
from align_uniform.recipes.images import datasets
from align_uniform.recipes.images.image_set import ImageSet
from align_uniform.recipes.images.sampler import EvalSampler, GlobalBatchSampler
from align_uniform.recipes.images.views import LabelledViews, evaluation_transform
from align_uniform.recipes.judge.classifiers import classifier_of, save_linear
from align_uniform.recipes.judge.knn import knn_scores
from align_uniform.recipes.judge.linear import (
    IMAGENET,
    STL10,
    LinearEpoch,
    LinearProtocol,
    LinearResult,
    score_linear,
    train_linear,
)
from align_uniform.recipes.judge.logistic import linear_scores
from align_uniform.recipes.judge.options import EvaluateOptions, KnnOptions, LinearOptions
from align_uniform.recipes.judge.scores import Scores, over_ranks

PROTOCOLS: dict[str, LinearProtocol] = {"stl10": STL10, "imagenet": IMAGENET}


class Features(NamedTuple):
    """Rows and their classes, to train on and to test on."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    """This process's own."""
    test_labels: Tensor
    classes: tuple[str, ...]


def knn(options: KnnOptions) -> int:
    """Print and write nearest-neighbour accuracy."""
    _check_out(options)
    rows = _features(options)
    found = knn_scores(
        *rows[:4], options.k, weight=options.weight, tau=options.tau, classes=rows.classes,
    )  # fmt: skip
    _show(over_ranks(found), options, {"k": options.k, "weight": options.weight})
    return 0


def linear(options: LinearOptions) -> int:
    """Print and write linear accuracy."""
    _check_out(options)
    if options.classifier is not None:
        _show(_evaluated(options, options.classifier), options, {"classifier": str(options.classifier)})
        return 0
    if options.protocol == "exact":
        rows = _features(options)
        found = linear_scores(*rows[:4], l2=options.l2, classes=rows.classes)
        _show(over_ranks(found), options, {"protocol": "exact", "l2": options.l2})
        return 0
    result = _train(options, _protocol(options))
    extra = {"protocol": options.protocol, "best_top1": result.best.top1, "best_epoch": result.best_epoch + 1}
    _show(result.last, options, extra)
    if ranks.rank() == 0:
        sys.stdout.write(
            f"best epoch {result.best_epoch + 1}, chosen on the test images: {100 * result.best.top1:.2f}%\n"
        )
    return 0


def _evaluated(options: LinearOptions, path: Path) -> Scores:
    """Score a classifier that was trained before."""
    test = _split(options, train=False)
    encoder = _encoder(options, test).to(device(options.device))
    linear = classifier_of(path, encoder).to(device(options.device))
    image, label, _ = _labelled(options, test, train=False)[0, 0]
    takes, gives = (
        features(encoder, [(image.unsqueeze(0), [label])], options.layer)[0].shape[1],
        len(test.classes),
    )
    if (linear.in_features, linear.out_features) != (takes, gives):
        raise ValueError(
            f"{path} must classify {takes} features as {gives} classes, it takes {linear.in_features} and "
            f"knows {linear.out_features}; choose the layer and the data that it was trained on."
        )
    with progress_bar("images", len(test), shown=ranks.rank() == 0) as advance:
        return score_linear(
            encoder,
            linear,
            _loader(options, test, train=False),
            options.layer,
            classes=test.classes,
            test_images=len(test),
            on_batch=advance,
        )


def _protocol(options: LinearOptions) -> LinearProtocol:
    """The protocol that was chosen, or a shorter one without the milestones that it does not reach."""
    protocol = PROTOCOLS[options.protocol]
    if options.epochs is None:
        return protocol
    milestones = tuple(milestone for milestone in protocol.milestones if milestone < options.epochs)
    return replace(protocol, epochs=options.epochs, milestones=milestones)


def _train(options: LinearOptions, protocol: LinearProtocol) -> LinearResult:
    """Train a classifier on crops made anew in each epoch, and keep the state of every epoch where it is
    asked for.
    """
    train, test = _split(options, train=True), _split(options, train=False)
    encoder = _encoder(options, train)
    batches = GlobalBatchSampler(
        len(train), protocol.batch_size, rank=ranks.rank(), world=ranks.world_size(), seed=options.seed
    )
    views = _labelled(options, train, train=True, seed=options.seed)
    loader = DataLoader(views, batch_sampler=batches, num_workers=options.workers)
    kept = read_checkpoint(options.state) if options.state is not None and options.state.exists() else None
    with progress_bar("epochs", protocol.epochs, shown=ranks.rank() == 0) as advance:

        def on_epoch(epoch: LinearEpoch) -> None:
            advance(1)
            if ranks.rank() == 0:
                top1, train_top1 = 100 * epoch.scores.top1, 100 * epoch.train_top1
                sys.stderr.write(
                    f"epoch {epoch.epoch + 1} of {protocol.epochs}: top-1 {top1:.2f}%, of training crops "
                    f"{train_top1:.2f}%, loss {epoch.loss:.4f}\n"
                )
            if options.state is not None and ranks.rank() == 0:
                with written_whole(options.state) as partial:
                    torch.save(epoch.state, partial)
            if options.checkpoints is not None and ranks.rank() == 0:
                save_linear(options.checkpoints, encoder, epoch, arch=encoder.architecture.arch)

        return train_linear(
            encoder,
            loader,
            _loader(options, test, train=False),
            options.layer,
            protocol,
            device(options.device),
            classes=train.classes,
            test_images=len(test),
            seed=options.seed,
            on_epoch=on_epoch,
            resume=kept,
            images={
                "data": _data_set(options).name,
                "size": _size(options),
                "statistics": [*map(list, views.transform.statistics)],
            },
        )


def _encoder(options: EvaluateOptions, images: ImageSet) -> Encoder:
    assert options.encoder is not None
    size = _size(options)
    return load_encoder(
        options.encoder,
        arch=options.arch,
        dim=options.dim,
        size=size,
        channels=images.channels,
        head=options.head,
    )


def _features(options: EvaluateOptions) -> Features:
    """Of saved files, or encoded now; the training rows of all processes, and this one's test rows."""
    if options.encoder is None:
        return _saved(options)
    train, test = _split(options, train=True), _split(options, train=False)
    encoder = _encoder(options, train).to(device(options.device))
    with progress_bar("images", len(train) + len(test), shown=ranks.rank() == 0) as advance:
        encode: Callable[..., tuple[Tensor, Tensor]] = lambda images, gather: features(  # noqa: E731
            encoder, _loader(options, images, train=False), options.layer, gather=gather, on_batch=advance
        )
        return Features(*encode(train, ranks.world_size() > 1), *encode(test, False), train.classes)


def _saved(options: EvaluateOptions) -> Features:
    saved = options.train_features, options.train_labels, options.test_features, options.test_labels
    train_path, train_names, test_path, test_names = (path for path in saved if path is not None)
    train, test = _rows(open_rows(train_path), train_path), _rows(open_rows(test_path), test_path)
    if train.shape[1] != test.shape[1]:
        raise ValueError(
            f"{test_path} must have the {train.shape[1]} features of {train_path}, it has {test.shape[1]}."
        )
    names = [read_column(path) for path in (train_names, test_names)]
    classes = sorted(set(names[0]), key=str)
    if unknown := set(names[1]) - set(classes):
        raise ValueError(
            f"{test_names} has classes that {train_names} has not, such as {min(unknown, key=str)!r}."
        )
    numbers = {name: number for number, name in enumerate(classes)}
    labels = [torch.tensor([numbers[name] for name in column]) for column in names]
    for rows, column, path in zip((train, test), labels, (train_names, test_names), strict=True):
        if len(rows) != len(column):
            raise ValueError(
                f"{path} must have one label for each of the {len(rows)} rows of {rows.name}, got "
                f"{len(column)}."
            )
    own = EvalSampler(len(test), rank=ranks.rank(), world=ranks.world_size()).rows
    part = slice(own.start, own.stop)
    return Features(
        train[: len(train)].float(), labels[0], test[part].float(), labels[1][part], tuple(map(str, classes))
    )


def _rows(views: tuple[Rows, ...], path: Path) -> Rows:
    """The rows of a file that holds them once."""
    if len(views) != 1:
        raise ValueError(
            f"{path} must be [N, m], it has {len(views)} views of each row; save one of them, as with x[0]."
        )
    return views[0]


def _split(options: EvaluateOptions, *, train: bool) -> ImageSet:
    data_set = _data_set(options)
    split = data_set.labelled if train else data_set.judging
    return datasets.load_on_all_ranks(data_set.name, options.root, split, download=options.download)


def _labelled(options: EvaluateOptions, images: ImageSet, *, train: bool, seed: int = 0) -> LabelledViews:
    data_set = _data_set(options)
    statistics = datasets.given_statistics(options.mean, options.std)
    if statistics is None and options.encoder is not None:
        card = EncoderCard.read_beside(options.encoder)
        statistics = card.statistics if card is not None else None
    transform = evaluation_transform(
        data_set.evaluation, train=train, size=options.size, statistics=statistics or data_set.statistics
    )
    return LabelledViews(images, transform, seed)


def _data_set(options: EvaluateOptions) -> datasets.DataSet:
    return datasets.data_set(options.data or "stl10")


def _size(options: EvaluateOptions) -> int:
    return _data_set(options).size if options.size is None else options.size


def _loader(options: EvaluateOptions, images: ImageSet, *, train: bool) -> DataLoader[Any]:
    own = EvalSampler(len(images), rank=ranks.rank(), world=ranks.world_size())
    return DataLoader(
        _labelled(options, images, train=train),
        batch_size=options.batch_size,
        sampler=own,
        num_workers=options.workers,
    )


def _check_out(options: EvaluateOptions) -> None:
    if options.out is not None:
        check_replaceable(options.out, force=options.force)
    if isinstance(options, LinearOptions) and options.state is not None:
        check_replaceable(options.state, force=True)  # which training resumes from, or replaces
        if options.resume == "never" and options.state.exists():
            raise ValueError(
                f"{options.state} holds the state of a run already; use --resume auto to resume it, or "
                "another file."
            )


def _show(scores: Scores, options: EvaluateOptions, extra: dict[str, Any]) -> None:
    """The table on stdout, and JSON beside it."""
    if ranks.rank() != 0:
        return
    sys.stdout.write(f"{scores}\n")
    if options.out is not None:
        document = {"layer": options.layer, **extra, **scores.to_dict()}
        with written_whole(options.out) as partial:
            partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
