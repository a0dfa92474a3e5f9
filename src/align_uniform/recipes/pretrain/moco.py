"""Pretraining with a momentum encoder and a queue of its keys (MoCo), by any mixture of the losses.

    align-uniform pretrain moco --preset imagenet-100 --root imagenet-100
    torchrun --nproc-per-node 8 -m align_uniform pretrain moco --preset imagenet --root imagenet
    align-uniform pretrain moco --preset fashion-mnist --root data --download

One encoder, the query encoder, is trained; its moving average, the key encoder, gives the other row of each
positive pair. Queries are kept away from the last K keys, which are in a queue. The presets for ImageNet read
an ImageFolder, in `train` and `val` of the root.

After each epoch a run also writes `checkpoint_0000.pth.tar`, in the layout of the reference, and `--start`
starts a run from such a file.

Reference:
    He et al., CVPR 2020, arXiv 1911.05722 (MoCo); Chen et al., arXiv 2003.04297 (v2: MLP head, augmentation,
    cosine schedule); Wang & Isola, ICML 2020, arXiv 2005.10242, appendix B.2 (the losses with a queue).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align_uniform import _ranks as ranks
from align_uniform._apart import is_same_file
from align_uniform._messages import counted
from align_uniform.recipes.encoders.checkpoints import PREFIX, check_fits, read_checkpoint, write_checkpoint
from align_uniform.recipes.encoders.networks import build
from align_uniform.recipes.images import datasets
from align_uniform.recipes.images.sampler import shard
from align_uniform.recipes.images.statistics import given_statistics
from align_uniform.recipes.images.views import Transform, TwoViews, evaluation_transform, training_transform
from align_uniform.recipes.pretrain import presets
from align_uniform.recipes.pretrain.folder import folder_of_one_run
from align_uniform.recipes.pretrain.loop import Trainer
from align_uniform.recipes.pretrain.objective import by_name, objective, unit_rows
from align_uniform.recipes.pretrain.options import MocoOptions
from align_uniform.recipes.pretrain.watch import Evaluation, complete, training_images

__all__ = [
    "MocoModel",
    "MocoOptions",
    "load_reference",
    "options",
    "run",
    "save_reference",
    "trainer",
    "transforms",
]


def options(preset: str = "imagenet-100", **changed: Any) -> MocoOptions:
    """Return the options of a preset, some of them changed."""
    return MocoOptions(**{"preset": preset} | presets.load(MocoOptions.recipe, preset) | changed)


# -------------------------------------------------------------------------------------------------- the model


class MocoModel(nn.Module):
    r"""A query encoder, the key encoder that follows it, and the queue; the forward pass is the loss.

    With q = encoder_q(x) of one view and k = encoder_k(y) of the other, both of unit norm, and the K keys z
    of the queue,

    .. math:: L = w_a \frac{1}{N} \sum_i \lVert q_i - k_i \rVert^\alpha
              + w_u \log \frac{\sum_{i,j} e^{-t \lVert q_i - z_j \rVert^2}
                               + \sum_{i<j} e^{-t \lVert q_i - q_j \rVert^2}}
                             {N K + N (N-1) / 2}
              + w_c \frac{1}{N} \sum_i \left[ \log \left( e^{q_i^T k_i / \tau}
              + \sum_j e^{q_i^T z_j / \tau} \right) - \frac{1}{\tau} q_i^T k_i \right]

    where the second sum of uniformity is left out without `intra_batch`. In training mode a forward pass is a
    step of MoCo: the parameters of the key encoder, theta_k, first become m theta_k + (1 - m) theta_q, and
    after the losses the keys of the batch replace the oldest keys in the queue. In eval mode neither happens.

    On several processes the losses are those of the whole batch, and `queue` is the same on all. The
    statistics of BatchNorm are those of one process's images, and could betray which key belongs to which
    query; therefore each process computes the keys of images drawn at random from the whole batch
    (1911.05722, section 3.3). The key encoder keeps running statistics of its own; they are no parameters,
    and are not averaged.

    Args:
        encoder: network from images to [N, options.dim] of unit norm; the key encoder is a copy of it.
        options: options, of which `dim`, `queue`, `key_momentum` and the objective are used.

    Reference:
        He et al., CVPR 2020, arXiv 1911.05722, algorithm 1; Wang & Isola, ICML 2020, arXiv 2005.10242,
        appendix B.2.
    """

    queue: Tensor
    """The keys, [dim, K], one in each column."""
    queue_ptr: Tensor
    """The index of the column that is replaced next, [1]."""

    def __init__(self, encoder: nn.Module, options: MocoOptions) -> None:
        super().__init__()
        self.options = options
        self.objective = objective(options)
        self.encoder_q = encoder
        self.encoder_k = copy.deepcopy(encoder).requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(options.dim, options.queue), dim=0))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))
        if options.contrastive_weight:
            # The reference's state dict has it: the class of the positive among the logits.
            self.register_buffer("scalar_label", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return the loss of two views, [N, channels, height, width] each, and its terms, by name."""
        q = unit_rows(self.encoder_q(x), self.options)
        if self.training:
            self._follow()
        own, everyones = self.keys(y)
        # A copy, with a key in each row: the backward pass needs the queue as it was before newer keys came
        # in.
        terms = self.objective.terms(q, own, self.queue.T.clone(memory_format=torch.contiguous_format))
        if self.training:
            self.enqueue(everyones)
        return by_name(terms)

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the key encoder's parameters: k + (1 - m) (q - k), all of them in one call."""
        followers, leaders = (
            [*map(Tensor.detach, each.parameters())] for each in (self.encoder_k, self.encoder_q)
        )
        torch._foreach_lerp_(followers, leaders, 1 - self.options.key_momentum)

    @torch.no_grad()
    def keys(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return this process's keys, [N_r, dim], and all keys, [N, dim], in the order of the batch."""
        if ranks.world_size() == 1:
            keys = unit_rows(self.encoder_k(y), self.options)
            return keys, keys
        images, start = ranks.gather(y)
        order = self.order(len(images), y.device)
        share = shard(len(images), ranks.rank(), ranks.world_size())
        shuffled = unit_rows(self.encoder_k(images[order[share.start : share.stop]]), self.options)
        shuffled = ranks.gather(shuffled).rows
        keys = torch.empty_like(shuffled)
        keys[order] = shuffled
        return keys[start : start + len(y)], keys

    @staticmethod
    def order(count: int, device: torch.device) -> Tensor:
        """Return a random order that the first process draws for all."""
        drawn = torch.randperm(count) if ranks.rank() == 0 else torch.zeros(count, dtype=torch.long)
        return ranks.add_over_ranks_(drawn.to(device))

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Replace the oldest keys of the queue by new ones, [N, dim]; the first column follows the last."""
        places = (self.queue_ptr + torch.arange(len(keys), device=keys.device)) % self.queue.shape[1]
        self.queue.index_copy_(1, places, keys.T.to(self.queue))
        self.queue_ptr.add_(len(keys)).remainder_(self.queue.shape[1])


# -------------------------------------------------------------------------------- the layout of the reference


def save_reference(
    path: Path, model: MocoModel, optimizer: torch.optim.Optimizer, *, epoch: int, arch: str
) -> None:
    """Write a checkpoint in the reference's layout.

    It has epoch (the number of epochs that are done), arch, state_dict (`module.encoder_q.*`) and optimizer.
    """
    state = {
        "epoch": epoch,
        "arch": arch,
        "state_dict": {PREFIX + name: value for name, value in model.state_dict().items()},
        "optimizer": optimizer.state_dict(),
    }
    write_checkpoint(path, state)


def load_reference(path: Path, model: MocoModel, optimizer: torch.optim.Optimizer, *, arch: str) -> int:
    """Restore a checkpoint in the reference's layout, and return the number of epochs that it has done.

    The learning rate, momentum and weight decay remain those of `optimizer`.

    Raises:
        ValueError: the file is no such checkpoint, or belongs to another encoder, head, dim or queue.
    """
    held = read_checkpoint(path, next(model.parameters()).device)
    parts = {"epoch": int, "arch": str, "state_dict": Mapping, "optimizer": Mapping}
    if not isinstance(held, Mapping) or not all(isinstance(held.get(k), kind) for k, kind in parts.items()):
        found = ", ".join(map(str, held)) if isinstance(held, Mapping) else type(held).__name__
        raise ValueError(
            f"{path} must hold epoch, arch, state_dict and optimizer, as MoCo's checkpoints do; it holds "
            f"{found}."
        )
    if held["arch"] != arch:
        raise ValueError(f"{path} has a {held['arch']}, the options say {arch}; pass --arch {held['arch']}.")
    state = {str(name).removeprefix(PREFIX): value for name, value in held["state_dict"].items()}
    own = model.state_dict()
    state.pop("scalar_label", None)  # a constant, there only if the contrastive loss has a weight
    state |= {name: value for name, value in own.items() if name == "scalar_label"}
    check_fits(path, own, state, "Choose the options mlp, dim and queue as in the run that wrote it.")
    model.load_state_dict(state)
    chosen = [
        {name: group[name] for name in ("lr", "momentum", "weight_decay")} for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(held["optimizer"])
    for group, kept in zip(optimizer.param_groups, chosen, strict=True):
        group.update(kept)
    return int(held["epoch"])


# ---------------------------------------------------------------------------------------------------- the run


def run(options: MocoOptions) -> int:
    """Train, evaluate and export the query encoder; return 0, or 128 plus the number of a signal."""
    with folder_of_one_run(options.folder, options.resume):
        return complete(*prepared(options))


def prepared(options: MocoOptions) -> tuple[Trainer, Evaluation]:
    """Return the loop, resumed or started from a checkpoint if there is one, and the evaluation."""
    torch.manual_seed(options.seed)
    images, labelled = training_images(options)
    head = "mlp" if options.mlp else "linear"
    model = MocoModel(
        build(
            options.arch,
            options.dim,
            size=options.size,
            channels=images.channels,
            head=head,
            stem=options.stem,
        ),
        options,
    )
    evaluation = Evaluation(options, model.encoder_q, *transforms(options), labelled)
    views = TwoViews(images, evaluation.views, options.seed)
    return trainer(options, model, views, evaluation), evaluation


def transforms(options: MocoOptions) -> tuple[Transform, Transform]:
    """Return the transforms for random views and for evaluation.

    An ImageFolder is normalised by ImageNet's statistics by default, those of its presets.
    """
    data_set = datasets.data_set(options.data)
    statistics = given_statistics(options.mean, options.std) or data_set.statistics
    views = data_set.moco_views[options.aug_plus]
    return (
        training_transform(views, size=options.size, statistics=statistics),
        evaluation_transform(data_set.evaluation, size=options.size, statistics=statistics),
    )


def trainer(
    options: MocoOptions, model: MocoModel, views: TwoViews, evaluation: Evaluation | None = None
) -> Trainer:
    """Return the loop, resumed from its folder's checkpoint, or started from `options.start`."""

    def keep(training: Trainer) -> None:
        last = training.epoch == options.epochs
        if ranks.rank() == 0 and (last or (options.keep_every and training.epoch % options.keep_every == 0)):
            path = _checkpoint_after(training.epoch, options)
            save_reference(path, model, training.optimizer, epoch=training.epoch, arch=options.arch)

    training = Trainer(
        options=options,
        model=model,
        views=views,
        evaluate=evaluation.run if evaluation else dict,
        drop_last=True,
        on_epoch=keep,
    )
    if options.start is not None and not training.epoch and not training.batch:
        training.epoch = load_reference(options.start, model, training.optimizer, arch=options.arch)
        if training.epoch >= options.epochs:
            raise ValueError(
                f"{options.start} has done {counted(training.epoch, 'epoch')}, and this run has "
                f"{options.epochs}; raise --epochs."
            )
        coming = range(training.epoch + 1, options.epochs + 1)
        if any(is_same_file(options.start, _checkpoint_after(epoch, options)) for epoch in coming):
            raise ValueError(
                f"{options.start} of --start has the name of a checkpoint that this run writes; rename it, "
                "or choose another folder with --out."
            )
    return training


def _checkpoint_after(epoch: int, options: MocoOptions) -> Path:
    """Return the file that is written, in the reference's layout, when this many epochs are done."""
    return options.folder / f"checkpoint_{epoch - 1:04d}.pth.tar"
