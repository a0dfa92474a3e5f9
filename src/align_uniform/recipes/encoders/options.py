"""Options of encoders and of encoding, without torch: what the command line declares, and its help."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from align_uniform._apart import Reads, Writes
from align_uniform._options import Belongs, Options, check_at_least, check_seed, check_statistics
from align_uniform.recipes.images import datasets
from align_uniform.recipes.images.folders import is_picture
from align_uniform.recipes.images.workers import default_workers

PUBLISHED = ("published", "hub:imagenet_resnet50_encoder")
"""Names of the encoder that was published with the paper."""

TORCHVISION = "torchvision:"
"""Prefix of the name of a network of torchvision."""

TIMM = "timm:"
"""Prefix of the name or the folder of a network of timm."""

SENTENCE_TRANSFORMERS = "sentence-transformers:"
"""Prefix of the name or the folder of a model of sentence-transformers, which encodes texts."""


def takes_texts(encoder: str | None) -> bool:
    """Return whether an encoder takes texts; all others take images."""
    return encoder is not None and encoder.startswith(SENTENCE_TRANSFORMERS)


def files_of_encoder(encoder: str) -> Iterable[Path]:
    """Return the file or folder that an encoder's name would be, and the description next to a file."""
    from align_uniform.recipes.encoders.weights import CARD

    path = Path(encoder.removeprefix(SENTENCE_TRANSFORMERS).removeprefix(TIMM)).expanduser()
    return [path] if path.is_dir() else [path, path.parent / CARD]


def is_of_an_encoder(file: Path) -> bool:
    """Return whether a file in the folder of an encoder has the name of one that is read with it."""
    from align_uniform.recipes.encoders.weights import CARD, OF_THE_HUB, WEIGHTS

    return file.name in (CARD, *WEIGHTS, OF_THE_HUB, "config.json")


Head = Literal["linear", "mlp"]
"""The projection heads of a ResNet."""

Stem = Literal["imagenet", "small"]
"""The first layers of a ResNet."""

ViewsPreset = Literal["stl10", "moco-v1", "moco-v2", "fashion-mnist", "cifar10"]
"""The presets of `training_transform` that make views of one size of any image."""


@dataclass(frozen=True)
class EncoderOverrides(Options):
    """Properties of an encoder, for a file that has no encoder.json next to it."""

    arch: str | None = None
    """Architecture of the encoder: small-alexnet, small-conv, or a ResNet of torchvision. Default: the one in
    encoder.json or in the checkpoint, else small-alexnet.
    """
    dim: int | None = None
    """Number of output features of the encoder. Default: as in encoder.json or in the weights."""
    head: Head | None = None
    """Projection head of a ResNet. Default: as in encoder.json or in the weights."""
    size: int | None = None
    """Height and width of the images in pixels. Default: as in encoder.json, else the size that is usual for
    the data.
    """
    mean: tuple[float, ...] = ()
    """Mean of each channel, which images are normalised by; goes with --std. Default: as in encoder.json,
    else the mean of the data set.
    """
    std: tuple[float, ...] = ()
    """Standard deviation of each channel; goes with --mean."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, dim=self.dim, size=self.size)
        check_statistics(self.mean, self.std)


@dataclass(frozen=True)
class EncoderName:
    """The encoder, by its name or path."""

    files: ClassVar[tuple[Reads | Writes, ...]] = (
        Reads(("encoder",), files_of_encoder, within=is_of_an_encoder),
    )
    encoder: str = field(metadata={"argument": True, "metavar": "ENCODER"})
    """Folder of a run, or path to encoder.pth, encoder.safetensors or a checkpoint; published (the paper's
    ImageNet ResNet-50); torchvision:NAME or timm:NAME (the features before its classifier), where NAME of
    timm may be a folder; or sentence-transformers:MODEL, which encodes texts.
    """


@dataclass(frozen=True)
class EncoderAndImages(EncoderName):
    """The two things that encoding two views cannot do without."""

    images: Path
    """Folder of images, or of one folder for each class."""


@dataclass(frozen=True)
class NetworkOptions(Options):
    """The encoder's weights, the layer whose features are taken, and how images are read."""

    files: ClassVar[tuple[Reads | Writes, ...]] = (Reads(("weights",)),)
    weights: str | None = None
    """Weights of `published` (a path or an https address), `torchvision:NAME` or `timm:NAME` (a path).
    Default: the released ones, which are fetched.
    """
    weights_sha256: str | None = field(default=None, metadata={"metavar": "SHA256"})
    """SHA-256 that the file of weights of `published` must have. Default: the one that it had when it was
    fetched.
    """
    layer: str = "output"
    """Layer whose features are taken, such as output, fc7 or backbone; a wrong name lists them all. For
    `torchvision:NAME` and `timm:NAME`, output is the input of its classifier.
    """
    batch_size: int = 128
    """Number of images or texts that are encoded at a time."""
    workers: int | None = None
    """Number of processes that prepare images; 0 prepares them in the main process. Default: one for
    each core, at most 4.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, batch_size=self.batch_size)
        check_at_least(0, workers=self.workers)

    @property
    def loading_processes(self) -> int:
        """The number of processes that prepare images for this process."""
        return default_workers(at_most=4) if self.workers is None else self.workers


@dataclass(frozen=True)
class ViewsOptions(NetworkOptions):
    """The views that are encoded."""

    views_preset: ViewsPreset | None = None
    """Augmentation that makes the views. Default: the one for the data in encoder.json, if it is listed here;
    else stl10 for small-alexnet and small-conv, and moco-v2 for all others.
    """


@dataclass(frozen=True)
class PromptOptions(Options):
    """The prompt of an encoder of texts."""

    rules: ClassVar[tuple[Belongs, ...]] = (Belongs(("prompt",), against=("--prompt-name",)),)
    prompt_name: str | None = field(default=None, metadata={"metavar": "NAME"})
    """Name of one of the model's own prompts, such as query, which is put before each text. Default: the one
    that the model names, or none.
    """
    prompt: str | None = field(default=None, metadata={"metavar": "TEXT"})
    """Text that is put before each text, such as "query: "."""


@dataclass(frozen=True)
class ChosenEncoder(NetworkOptions, EncoderOverrides, EncoderName):
    """An encoder by its name or path, with the options that go with it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.is_file and self.weights is not None:
            raise ValueError(
                f"weights are for published, {TORCHVISION}NAME and {TIMM}NAME, but {self.encoder} is a file "
                "of weights; leave weights out."
            )
        if self.weights_sha256 is not None and self.encoder not in PUBLISHED:
            raise ValueError(
                f"weights_sha256 is for the encoder published, got {self.encoder}; leave weights_sha256 out."
            )
        if takes_texts(self.encoder) and self.weights is not None:
            raise ValueError(f"weights are for encoders of images, got {self.encoder}; leave weights out.")
        given = [name for name in ("arch", "dim", "head", "mean", "std") if getattr(self, name)]
        if given and not self.is_file:
            raise ValueError(
                f"only the encoder of a file takes {' and '.join(given)}; {self.encoder} has its own, leave "
                "them out."
            )

    @property
    def is_file(self) -> bool:
        """Whether the encoder is one of a file or folder."""
        of_a_library = self.encoder.startswith((TORCHVISION, TIMM, SENTENCE_TRANSFORMERS))
        return self.encoder not in PUBLISHED and not of_a_library


@dataclass(frozen=True)
class EncodeOptions(ViewsOptions, ChosenEncoder, EncoderAndImages):
    """Options of encoding two random views of each image."""

    seed: int = 0
    """Seed of the random views."""
    device: str = "auto"
    """Device that computes: auto (the best there is), cpu, cuda or mps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seed(self.seed)


@dataclass(frozen=True)
class ToEncode(EncoderName):
    """The encoder, the items, and the file of features."""

    files: ClassVar[tuple[Reads | Writes, ...]] = (Reads(("items",), within=is_picture), Writes("out"))
    items: str = field(metadata={"argument": True, "metavar": "ITEMS"})
    """Folder of images, or of one folder for each class; or the name of a data set: stl10, fashion-mnist,
    cifar10, imagefolder or digits (write ./digits for a folder of that name). For an encoder of texts, a file
    of texts, FILE::COLUMN, or a table of pairs of texts.
    """
    out: Path = field(metadata={"metavar": "FILE"})
    """File to write the features to, a row for each image or text, of pairs for each different text: .npy or
    .safetensors, rows alone; or .npz, .h5 or .parquet, which also hold the path and the label of each image,
    or the text.
    """


@dataclass(frozen=True)
class ToEncodeOptions(PromptOptions, ChosenEncoder, ToEncode):
    """Options of encoding each image or text as it is."""

    rules: ClassVar[tuple[Belongs, ...]] = (
        Belongs(("prompt_name", "prompt", "columns"), to=("takes_texts",), words="an encoder of texts"),
        Belongs(("layer", "workers", "size"), to=("takes_images",), words="an encoder of images"),
    )
    files: ClassVar[tuple[Reads | Writes, ...]] = (Reads(("root",), within=datasets.is_of_a_data_set),)
    columns: tuple[str, str] | None = field(default=None, metadata={"metavar": "COLUMN"})
    """Columns of pairs of texts. Default: those with the usual names, such as sentence1 and sentence2, or
    else the only two columns of text.
    """
    split: str | None = None
    """Part of the data set that is encoded, such as train. Default: the one that encoders are judged on."""
    root: Path | None = None
    """Folder of the data set. Default: data."""
    download: bool = False
    """Download the data set if it is missing."""
    device: str = "auto"
    """Device that computes: auto (the best there is), cpu, cuda or mps."""
    force: bool = False
    """Replace the file of --out if it exists."""

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [name for name in ("split", "root", "download") if getattr(self, name)]
        if given and not self.is_data_set:
            raise ValueError(
                f"{' and '.join(f'--{name}' for name in given)} need the name of a data set as ITEMS "
                f"({', '.join(datasets.names())}), got {self.items}; leave out what is for a data set."
            )
        if self.is_data_set and self.split not in (None, *(known := datasets.data_set(self.items).splits)):
            raise ValueError(f"split must be one of {', '.join(known)}, got {self.split}.")

    @property
    def is_data_set(self) -> bool:
        """Whether the images are those of a data set with a name."""
        return not self.takes_texts and self.items in datasets.names()

    @property
    def takes_texts(self) -> bool:
        """Whether the encoder takes texts."""
        return takes_texts(self.encoder)

    @property
    def takes_images(self) -> bool:
        """Whether the encoder takes images."""
        return not self.takes_texts
