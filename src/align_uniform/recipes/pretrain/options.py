"""The options of the pretraining recipes, composed of one small dataclass for each subject.

The command line declares its options from these dataclasses, and the text under an option is its help.
This module therefore loads nothing but Python's own modules.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from align_uniform._apart import Reads, Writes
from align_uniform._messages import counted
from align_uniform._options import (
    Belongs,
    Options,
    check_at_least,
    check_positive,
    check_seed,
    check_statistics,
    may_change,
    one_of,
    options_that_may_change,
)
from align_uniform.recipes.encoders.options import Stem
from align_uniform.recipes.images import datasets
from align_uniform.recipes.images.workers import default_workers
from align_uniform.recipes.milestones import scaled
from align_uniform.recipes.pretrain import presets


@dataclass(frozen=True)
class DataOptions(Options):
    """The images to train on, and how they are normalised."""

    files: ClassVar[tuple[Reads | Writes, ...]] = (Reads(("root",)),)
    data: str = one_of("stl10", datasets.names)
    """The data set; an imagefolder has a folder of images for each class, in train and in val."""
    root: Path = may_change(Path("data"))
    """The folder of the data set."""
    download: bool = may_change(False)
    """Download the data set if it is missing."""
    limit: int | None = None
    """Train on this many images, drawn with the seed and evenly over the classes; by default on all."""
    size: int = 64
    """Height and width of the views, in pixels."""
    mean: tuple[float, ...] = ()
    """Mean of each channel, to normalise images by; needs --std. By default the data set's, or measured."""
    std: tuple[float, ...] = ()
    """Standard deviation of each channel, to normalise images by; needs --mean."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be at least 1, got {self.limit}; leave it out for all images.")
        check_at_least(1, size=self.size)
        check_statistics(self.mean, self.std)


@dataclass(frozen=True)
class ArchitectureOptions(Options):
    """The encoder to train."""

    arch: str = "small-alexnet"
    """Architecture of the encoder: small-alexnet, small-conv, or the name of a ResNet of torchvision."""
    dim: int = 128
    """Number of features of the encoder's output."""
    stem: Stem = "imagenet"
    """First layers of a ResNet: imagenet, of stride 4, or small, of stride 1, for images of about 32x32."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, dim=self.dim)
        if self.stem != "imagenet" and self.arch.startswith("small"):
            raise ValueError(
                f"stem is of ResNets, and {self.arch} has layers of its own; leave stem out, or choose a "
                "ResNet."
            )


@dataclass(frozen=True)
class ObjectiveOptions(Options):
    """The weights and the parameters of the three losses."""

    align_weight: float = 1.0
    """Weight of the alignment loss."""
    align_alpha: float = 2.0
    """Exponent alpha of the distance in the alignment loss."""
    uniform_weight: float = 1.0
    """Weight of the uniformity loss."""
    uniform_t: float = 2.0
    """Inverse squared width t of the Gaussian in the uniformity loss."""
    contrastive_weight: float = 0.0
    """Weight of the contrastive loss."""
    contrastive_tau: float = 0.5
    """Temperature tau of the contrastive loss."""
    local_losses: bool = False
    """Compute each process's losses over its own images, not over the batch of all processes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        weights = self.align_weight, self.uniform_weight, self.contrastive_weight
        if not all(0 <= each < math.inf for each in weights) or not any(weights):
            raise ValueError(f"the weights must be finite, not negative, and not all 0, got {weights}.")
        for name in ("align_alpha", "uniform_t", "contrastive_tau"):
            check_positive(name, getattr(self, name))

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of `AlignUniformLoss`."""
        return {
            "align_weight": self.align_weight,
            "alpha": self.align_alpha,
            "uniform_weight": self.uniform_weight,
            "t": self.uniform_t,
            "contrastive_weight": self.contrastive_weight,
            "tau": self.contrastive_tau,
        }

    @property
    def objective(self) -> str:
        """The weights in short, as the reference names its folders: align1alpha2_unif1t2."""
        align = f"align{self.align_weight:g}alpha{self.align_alpha:g}"
        uniform = f"_unif{self.uniform_weight:g}t{self.uniform_t:g}"
        contrastive = f"_contr{self.contrastive_weight:g}tau{self.contrastive_tau:g}"
        return align + uniform + (contrastive if self.contrastive_weight else "")

    @property
    def formula(self) -> str:
        """The objective as a sum of losses: 3 align(alpha=2) + 1 uniform(t=3)."""
        terms = {
            f"align(alpha={self.align_alpha:g})": self.align_weight,
            f"uniform(t={self.uniform_t:g})": self.uniform_weight,
            f"contrastive(tau={self.contrastive_tau:g})": self.contrastive_weight,
        }
        return " + ".join(f"{weight:g} {term}" for term, weight in terms.items() if weight)


@dataclass(frozen=True)
class OptimizerOptions(Options):
    """SGD, its learning rate over the epochs, and the seed."""

    MILESTONES_OF_200: ClassVar[tuple[int, ...]] = (120, 160)
    """The milestones of a run of 200 epochs, if none are given."""

    epochs: int = 200
    """Number of passes over the images."""
    batch_size: int = 256
    """Images in a batch, summed over all processes; each image is seen twice."""
    lr: float = 0.03
    """Learning rate of SGD at the start."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 1e-4
    """Weight decay of SGD."""
    schedule: Literal["step", "cosine"] = "step"
    """The fall of the learning rate: by a factor of 10 at each milestone, or along a cosine."""
    milestones: tuple[int, ...] | None = None
    """Epochs after which the learning rate falls by a factor of 10 (schedule step). Default: 120 and 160 of
    200 epochs, and in proportion for any other number.
    """
    seed: int = 0
    """Seed of the initial weights, the order of the images and the views."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, epochs=self.epochs, batch_size=self.batch_size)
        check_seed(self.seed)
        check_at_least(0, momentum=self.momentum, weight_decay=self.weight_decay)
        check_positive("lr", self.lr)
        if self.milestones is None:
            return
        if self.schedule != "step":
            raise ValueError(
                f"milestones are for the schedule step, and the schedule is {self.schedule}; leave one out."
            )
        if any(not 1 <= each < self.epochs for each in self.milestones):
            raise ValueError(
                f"milestones must lie between 1 and {self.epochs - 1}, within the "
                f"{counted(self.epochs, 'epoch')}, got {self.milestones}; leave them out to have them in "
                "proportion."
            )

    @property
    def falls(self) -> tuple[int, ...]:
        """The epochs after which the learning rate falls, given or in proportion."""
        if self.milestones is not None:
            return self.milestones
        return scaled(self.MILESTONES_OF_200, of=200, epochs=self.epochs)

    @property
    def rate(self) -> str:
        """The learning rate in words: 0.12, a tenth of it after epochs 155, 170, 185."""
        if self.schedule == "cosine":
            return f"{self.lr:g}, falling to 0 along a cosine"
        epochs = ", ".join(map(str, self.falls))
        return (
            f"{self.lr:g}, a tenth after each of the epochs {epochs}" if epochs else f"{self.lr:g}, constant"
        )

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        if self.schedule == "cosine":
            return self.lr * (1 + math.cos(math.pi * epoch / self.epochs)) / 2
        return self.lr * 0.1 ** sum(milestone <= epoch for milestone in self.falls)


@dataclass(frozen=True)
class MachineOptions(Options):
    """The device and the precision of the computation."""

    device: str = may_change("auto")
    """The device to train on: auto (the best there is), cpu, cuda, cuda:1 or mps."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Floating-point format of the encoder; fp16 uses a gradient scaler. The losses are always in fp32."""
    channels_last: bool = False
    """Store images pixel by pixel in memory, which is faster on some devices."""
    compile: bool = False
    """Compile the encoder with torch.compile."""
    workers: int | None = may_change(None)
    """Processes that prepare the views; 0 for the training process itself. By default one a core, up to 8."""
    augment_on: Literal["cpu", "device"] = may_change("cpu")
    """Maker of the views: these processes, one image at a time (cpu), or the device that trains, in batches
    (device), for machines with few cores. The views are the same, except that some grey levels of a few
    crops differ by one before their colours change.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(0, workers=self.workers)

    @property
    def loading_processes(self) -> int:
        """The number of processes that prepare the views of this process."""
        return default_workers(at_most=8) if self.workers is None else self.workers


@dataclass(frozen=True)
class FolderOptions(Options):
    """The folder of a run, and how often it is written to."""

    out: Path = may_change(Path("results"))
    """The folder in which each run has a folder of its own."""
    resume: Literal["auto", "never"] = may_change("auto")
    """Resume from the run's last checkpoint (auto), or refuse a folder that has one (never)."""
    log_every: int = may_change(40)
    """Batches between two lines of the log."""
    evaluate_every: int = may_change(20)
    """Epochs between two evaluations; 0 evaluates at the end only."""
    tensorboard: bool = may_change(False)
    """Write the log for TensorBoard, too."""
    steps: int | None = may_change(None)
    """Stop after this many batches, as if interrupted; by default at the end."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, log_every=self.log_every)
        check_at_least(0, evaluate_every=self.evaluate_every)
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}; leave it out for all batches.")


def _files_of_a_run(options: PretrainOptions) -> Iterable[Path]:
    from align_uniform.recipes.pretrain.state import BEFORE, LAST
    from align_uniform.recipes.pretrain.summary import WRITTEN

    return [options.folder / name for name in (*WRITTEN, LAST, BEFORE)]


@dataclass(frozen=True)
class PretrainOptions(
    FolderOptions, MachineOptions, OptimizerOptions, ObjectiveOptions, ArchitectureOptions, DataOptions
):
    """The options that all pretraining recipes share."""

    rules: ClassVar[tuple[Belongs, ...]] = (
        Belongs(("contrastive_tau",), to=("--contrastive-weight",)),
        Belongs(("root", "download"), against=("--data digits",)),
        Belongs(("local_losses",), to=("has_processes",), words="several processes, as under torchrun"),
    )
    files: ClassVar[tuple[Reads | Writes, ...]] = (Writes("out", _files_of_a_run),)
    recipe: ClassVar[str]
    """The name of the recipe, which is the name of its command and of the folder of its presets."""
    preset: str = ""
    """The preset whose values replace the defaults."""

    @property
    def has_processes(self) -> bool:
        """Whether torchrun started several processes."""
        return int(os.environ.get("WORLD_SIZE", "1")) > 1

    @property
    def has_gpus(self) -> bool:
        """Whether several processes may have a GPU each."""
        return self.has_processes and self.device != "cpu"

    def course(self) -> dict[str, Any]:
        """Return the options that change what is learned, which may not change on resume, as plain values."""
        free = options_that_may_change(self)
        kept = {name: value for name, value in vars(self).items() if name not in free}
        kept["milestones"] = self.falls
        return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}

    @property
    def subject(self) -> str:
        """The preset, or the preset and the data set where the preset's own was changed for another."""
        is_own = self.data == self.preset
        is_folder = self.data == "imagefolder" and self.preset not in datasets.names()
        return self.preset if is_own or is_folder else f"{self.preset}-{self.data}"

    @property
    def folder(self) -> Path:
        """The folder of the run, named after its preset, its recipe and its objective."""
        return self.out / f"{self.subject}-{self.recipe}-{self.objective}"


@dataclass(frozen=True)
class TwoViewOptions(PretrainOptions):
    """The options of two-view pretraining; the defaults are those of the reference's STL-10 example."""

    rules: ClassVar[tuple[Belongs, ...]] = (
        Belongs(("sync_batchnorm",), to=("has_gpus",), words="several processes that have a GPU each"),
    )
    recipe: ClassVar[str] = "two-view"
    MILESTONES_OF_200: ClassVar[tuple[int, ...]] = (155, 170, 185)
    preset: str = one_of("stl10", lambda: presets.names("two-view"))
    """The preset whose values replace the defaults; stl10 is the reference's example."""
    sync_batchnorm: bool = False
    """Compute the statistics of BatchNorm over all processes (CUDA only)."""
    batch_size: int = 768
    """Images in a batch, summed over all processes; each image is seen twice."""
    lr: float = 0.36
    """Learning rate of SGD at the start; the reference uses 0.12 for each 256 images of a batch."""
    milestones: tuple[int, ...] | None = None
    """Epochs after which the learning rate falls by a factor of 10 (schedule step). Default: 155, 170 and 185
    of 200 epochs, and in proportion for any other number.
    """


@dataclass(frozen=True)
class MocoOptions(PretrainOptions):
    """The options of MoCo pretraining; the defaults are those of the reference on ImageNet-100."""

    files: ClassVar[tuple[Reads | Writes, ...]] = (Reads(("start",)),)
    recipe: ClassVar[str] = "moco"
    preset: str = one_of("imagenet-100", lambda: presets.names("moco"))
    """The preset whose values replace the defaults; imagenet-100 is the reference's run."""
    data: str = one_of("imagefolder", datasets.names_for_moco)
    """The data set; an imagefolder has a folder of images for each class, in train and in val."""
    arch: str = "resnet50"
    """Architecture of the encoder: the name of a ResNet of torchvision, small-conv or small-alexnet."""
    size: int = 224
    """Height and width of the views, in pixels."""
    mean: tuple[float, ...] = ()
    """Mean of each channel, to normalise images by; needs --std. By default ImageNet's, or the data set's."""
    local_losses: bool = False
    """Compute each process's losses over its own images, as the reference does, not over the whole batch."""
    mlp: bool = False
    """Give the ResNet a head of two layers, as in MoCo v2, not of one."""
    aug_plus: bool = False
    """Use the augmentation of MoCo v2, which blurs, not of MoCo v1; for an imagefolder."""
    queue: int = 65536
    """Number K of keys in the queue, a multiple of batch_size."""
    key_momentum: float = 0.999
    """Momentum m of the key encoder: at each step it becomes m of itself and 1 - m of the query encoder."""
    align_weight: float = 3.0
    """Weight of the alignment loss of a query and its key."""
    uniform_t: float = 3.0
    """Inverse squared width t of the Gaussian in the uniformity loss."""
    intra_batch: bool = True
    """Count the pairs of two queries in the uniformity loss, next to those of a query and the queue."""
    contrastive_tau: float = 0.07
    """Temperature tau of the contrastive loss."""
    batch_size: int = 128
    """Images in a batch, summed over all processes; each image is seen twice."""
    log_every: int = may_change(50)
    """Batches between two lines of the log."""
    keep_every: int = may_change(1)
    """Epochs between two files checkpoint_0000.pth.tar; 0 keeps the last one only."""
    start: Path | None = may_change(None)
    """A file checkpoint_0000.pth.tar to start from, ours or the reference's; resuming comes first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queue < 1 or self.queue % self.batch_size:
            near = max(1, round(self.queue / self.batch_size)) * self.batch_size
            raise ValueError(
                f"queue must be a multiple of batch_size, {self.batch_size}, since a whole batch of keys "
                f"replaces the oldest, got {self.queue}; {near} is near."
            )
        if not 0 <= self.key_momentum < 1:
            raise ValueError(f"key_momentum must be at least 0 and below 1, got {self.key_momentum}.")
        check_at_least(0, keep_every=self.keep_every)
        if self.mlp and self.arch.startswith("small"):
            raise ValueError(
                f"mlp is a head of ResNets, and {self.arch} has one of its own; leave mlp out, or choose a "
                "ResNet."
            )
        if self.aug_plus and len(datasets.data_set(self.data).moco_views) < 2:
            raise ValueError(
                f"aug_plus is for an imagefolder, and {self.data} has views of its own; leave aug_plus out."
            )

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of `AlignUniformLoss`."""
        return {**super().settings, "intra_batch": self.intra_batch}

    @property
    def objective(self) -> str:
        """The weights in short, as the reference names its folders: align3alpha2_unif1t3."""
        return super().objective + ("" if self.intra_batch else "_nointrabatch")

    @property
    def formula(self) -> str:
        """The objective as a sum of losses, and the keys that queries are kept away from."""
        within = "the queries and " if self.intra_batch else ""
        return f"{super().formula}, against {within}a queue of {counted(self.queue, 'key')}"
