"""Options of evaluation, without torch: what the command line declares, and its help."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import ClassVar, Literal

from align_uniform._apart import Reads, Writes
from align_uniform._messages import counted
from align_uniform._options import Belongs, Options, check_at_least, check_positive, check_seed, one_of
from align_uniform.recipes.encoders.options import EncoderOverrides, files_of_encoder, is_of_an_encoder
from align_uniform.recipes.images import datasets
from align_uniform.recipes.images.workers import default_workers

SAVED = ("train_features", "train_labels", "test_features", "test_labels")
"""Files of features, which stand in for an encoder."""

OVERRIDES = tuple(each.name for each in fields(EncoderOverrides))
"""Properties of an encoder, which saved features do not have."""

Weight = Literal["votes", "softmax"]
"""The weights of a neighbour's vote."""

Protocol = Literal["stl10", "imagenet", "exact"]
"""The protocols of linear evaluation; exact alone does not train in epochs."""


@dataclass(frozen=True)
class Subject(Options):
    """The encoder that is evaluated, and the images that it is evaluated on."""

    files: ClassVar[tuple[Reads | Writes, ...]] = (
        Reads(("encoder",), files_of_encoder, within=is_of_an_encoder),
        Reads(("root",), within=datasets.is_of_a_data_set),
    )
    encoder: Path | None = None
    """Folder of a run, or path to encoder.pth, encoder.safetensors or a checkpoint."""
    layer: str = "output"
    """Layer whose features are evaluated, such as output, fc7 or backbone; a wrong name lists them all."""
    data: str | None = one_of(None, datasets.names)
    """Data set of the images. Default: the one that the encoder was trained on, else stl10."""
    root: Path = Path("data")
    """Folder of the data set."""
    download: bool = False
    """Download the data set if it is missing."""


@dataclass(frozen=True)
class EvaluateOptions(EncoderOverrides, Subject):
    """Options that all evaluations share: what is evaluated, how, and where the result goes."""

    rules: ClassVar[tuple[Belongs, ...]] = (
        Belongs(
            ("layer", "data", "root", "download", *OVERRIDES, "batch_size", "workers", "device"),
            to=("--encoder",),
        ),
        Belongs(("root", "download"), against=("--data digits",)),
    )
    files: ClassVar[tuple[Reads | Writes, ...]] = (Reads(SAVED), Writes("out"))
    train_features: Path | None = None
    """File of features to learn from; with the three options that follow, in place of an encoder."""
    train_labels: Path | None = None
    """File with the class of each row of train_features."""
    test_features: Path | None = None
    """File of features to classify."""
    test_labels: Path | None = None
    """File with the class of each row of test_features."""
    batch_size: int = 256
    """Number of images encoded at a time."""
    workers: int | None = None
    """Number of processes that read images; 0 reads them in the main process. Default: one for
    each core, at most 4.
    """
    device: str = "auto"
    """Device that computes: auto (the best there is), cpu, cuda or mps."""
    out: Path | None = None
    """File to write the scores to, as JSON."""
    force: bool = False
    """Replace files that exist."""

    def __post_init__(self) -> None:
        super().__post_init__()
        saved = [getattr(self, name) is not None for name in SAVED]
        if any(saved) if self.encoder is not None else not all(saved):
            raise ValueError(f"give an encoder, or all four of {', '.join(SAVED[:3])} and {SAVED[3]}.")
        check_at_least(1, batch_size=self.batch_size)
        check_at_least(0, workers=self.workers)

    @property
    def loading_processes(self) -> int:
        """The number of processes that read images for this process."""
        return default_workers(at_most=4) if self.workers is None else self.workers


@dataclass(frozen=True)
class KnnOptions(EvaluateOptions):
    """Options of nearest-neighbour evaluation."""

    rules: ClassVar[tuple[Belongs, ...]] = (
        Belongs(("tau",), to=("--weight softmax",)),
        Belongs(("force",), to=("--out",)),
    )
    k: int = 5
    """Number of neighbours. The paper uses 5; 200 with softmax weights is common elsewhere."""
    weight: Weight = "votes"
    """Weight of a neighbour's vote: 1 (votes, as in the paper) or exp(cosine / tau) (softmax)."""
    tau: float = 0.07
    """Temperature of the softmax weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, k=self.k)
        check_positive("tau", self.tau)


def _checkpoints(options: LinearOptions) -> Iterable[Path]:
    from align_uniform.recipes.judge.classifiers import BEST, LAST

    return [] if options.checkpoints is None else [options.checkpoints / name for name in (LAST, BEST)]


@dataclass(frozen=True)
class LinearOptions(EvaluateOptions):
    """Options of linear evaluation."""

    rules: ClassVar[tuple[Belongs, ...]] = (
        Belongs(
            ("protocol", "epochs", "l2", "state", "resume", "checkpoints", "seed"), against=("--classifier",)
        ),
        Belongs(("l2",), to=("--protocol exact",)),
        Belongs(("epochs", "state", "seed"), against=("--protocol exact",)),
        Belongs(("resume",), to=("--state",)),
        Belongs(("force",), to=("--out", "--checkpoints")),
    )
    files: ClassVar[tuple[Reads | Writes, ...]] = (
        Reads(("classifier",)),
        Writes("state"),
        Writes("checkpoints", _checkpoints),
    )
    protocol: Protocol = "stl10"
    """How the classifier is trained: Adam on random crops (stl10, as in the paper), SGD on random crops
    (imagenet, as in MoCo), or logistic regression on features computed once (exact).
    """
    epochs: int | None = None
    """Number of epochs. Default: 100, as both protocols have it."""
    l2: float = 1e-3
    """Weight of the squared norm of the classifier, for the protocol exact."""
    state: Path | None = None
    """File that keeps the state of training after each epoch, from which an interrupted run resumes."""
    resume: Literal["auto", "never"] = "auto"
    """Resume from the file of --state if it exists (auto), or refuse to start if it exists (never)."""
    checkpoints: Path | None = None
    """Folder for checkpoint.pth.tar and model_best.pth.tar, in MoCo's layout, for classifiers of a ResNet's
    backbone.
    """
    classifier: Path | None = None
    """Score the trained classifier in this file, model_best.pth.tar or a file of --state; train nothing."""
    seed: int = 0
    """Seed of the classifier's first weights and of the random crops."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, epochs=self.epochs)
        check_seed(self.seed)
        check_positive("l2", self.l2)
        if self.encoder is None and self.protocol != "exact":
            raise ValueError(
                f"the protocol {self.protocol} trains on crops of images, which saved features cannot give; "
                "use the protocol exact, or give an encoder."
            )
        if self.checkpoints is not None and (self.layer != "backbone" or self.protocol == "exact"):
            raise ValueError(
                "checkpoints are for the layer backbone of a ResNet and the protocols stl10 and imagenet, "
                f"got layer {self.layer} and protocol {self.protocol}; leave checkpoints out."
            )
        if self.classifier is not None and self.encoder is None:
            raise ValueError("classifier needs the encoder whose features it classifies; give encoder too.")


@dataclass(frozen=True, kw_only=True)
class CompareScoresOptions(Options):
    """Options of comparing evaluations."""

    files: ClassVar[tuple[Reads | Writes, ...]] = (Reads(("scores",)),)
    scores: tuple[Path, ...] = field(metadata={"argument": True, "metavar": "SCORES"})
    """File that `evaluate --out` wrote; at least two, of the same images."""
    names: tuple[str, ...] = ()
    """Name for each encoder, in order. Default: the names of the files."""
    json: bool = False
    """Print JSON instead of text."""

    def __post_init__(self) -> None:
        super().__post_init__()
        count = len(self.scores)
        if count < 2:
            raise ValueError(
                f"scores must be at least two files, got {count}; differences are taken from the first."
            )
        if len(self.names) not in (0, count):
            raise ValueError(
                f"names must be one for each of the {counted(count, 'file')}, got {len(self.names)}."
            )
