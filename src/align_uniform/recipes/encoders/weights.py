"""Encoders on disk: their weights, and encoder.json, which describes them.

A run writes both into its folder, and `load_encoder(folder)` needs nothing else. Files of other origin are
read too: bare state dicts, checkpoints of this package and of the reference, and safetensors.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from align_uniform._messages import counted
from align_uniform._options import check_at_least, check_statistics
from align_uniform._writing import written_whole
from align_uniform.files.held import missing
from align_uniform.recipes.encoders.checkpoints import (
    check_fits,
    layouts,
    read_states,
    state_in,
    write_checkpoint,
)
from align_uniform.recipes.encoders.networks import Architecture, Encoder, build
from align_uniform.recipes.encoders.options import TORCHVISION
from align_uniform.recipes.encoders.preparation import Preparation, plain_transform
from align_uniform.recipes.images.statistics import Statistics

__all__ = ["EncoderCard", "EncoderFile", "read_encoder", "save_encoder"]

T = TypeVar("T")

CARD = "encoder.json"
"""Name of the file that describes the encoder next to it."""

WEIGHTS = ("encoder.pth", "encoder.safetensors")
"""Names of the files of weights in the folder of a run."""

OF_THE_HUB = "model.safetensors"
"""Name of the file of weights in a folder of the Hugging Face Hub's format."""

OUTPUT_BIASES = ("blocks.7.0.bias", "head.3.bias", "fc.2.bias", "fc.bias")
"""Names of the last bias of each encoder of `networks`, which has one number for each output feature."""


FIRST = {
    "trunk.0.0.weight": "small-conv",
    "blocks.0.0.weight": "small-alexnet",
    "layer1.0.conv1.weight": "",
}
"""A weight that each encoder of `networks` has, by which its architecture is known; of ResNets, see there."""

RESNETS: dict[tuple[bool, tuple[int, ...]], str] = {
    (False, (2, 2, 2, 2)): "resnet18",
    (False, (3, 4, 6, 3)): "resnet34",
    (True, (3, 4, 6, 3)): "resnet50",
    (True, (3, 4, 23, 3)): "resnet101",
    (True, (3, 8, 36, 3)): "resnet152",
}
"""The ResNets, by whether their blocks have three convolutions, and by the blocks of each layer."""


@dataclass(frozen=True)
class EncoderCard:
    """The description of an encoder: how to build it, and how to prepare its images.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from align_uniform.recipes.encoders.networks import build
        >>> from align_uniform.recipes.encoders.weights import EncoderCard
        >>> from align_uniform.recipes.images.statistics import STATISTICS
        >>> encoder = build("small-conv", dim=8, size=16, channels=1)
        >>> with tempfile.TemporaryDirectory() as run:
        ...     EncoderCard.of(encoder, STATISTICS["digits"], "digits").write(Path(run))
        ...     card = EncoderCard.read_beside(run)
        >>> card.arch, card.dim, card.size, card.data
        ('small-conv', 8, 16, 'digits')
    """

    arch: str
    """Architecture, a name that `networks.build` takes."""
    dim: int
    """Number of output features."""
    head: str
    """Projection head of a ResNet, linear or mlp."""
    size: int
    """Height and width of the images in pixels."""
    channels: int
    """Number of channels of the images."""
    mean: tuple[float, ...]
    """Mean of each channel, by which images in [0, 1] are normalised."""
    std: tuple[float, ...]
    """Standard deviation of each channel, by which images are normalised."""
    data: str
    """Data set that the encoder was trained on."""
    layers: tuple[str, ...]
    """Names of the layers whose features can be taken."""
    stem: str = "imagenet"
    """First layers of a ResNet, imagenet or small."""

    def __post_init__(self) -> None:
        check_at_least(1, dim=self.dim, size=self.size, channels=self.channels)
        check_statistics(self.mean, self.std)
        if len(self.mean) != self.channels:
            raise ValueError(
                f"mean must have {counted(self.channels, 'number')}, one for each channel, got {self.mean}."
            )

    @classmethod
    def of(cls, encoder: Encoder, statistics: Statistics, data: str) -> EncoderCard:
        """Describe an encoder of `networks.build` that takes images of these statistics."""
        return cls(**encoder.architecture._asdict(), **statistics._asdict(), data=data, layers=encoder.layers)

    @property
    def statistics(self) -> Statistics:
        """The mean and the standard deviation of each channel."""
        return Statistics(self.mean, self.std)

    def deviations(
        self, *, size: int | None = None, mean: Sequence[float] = (), std: Sequence[float] = ()
    ) -> list[str]:
        """Return a warning for each option that prepares images in another way than in training."""
        given = {"size": size, "mean": tuple(mean), "std": tuple(std)}
        return [
            f"{name} is {value}, as the options say, but the encoder was trained with {known} ({CARD})."
            for name, value in given.items()
            if value and value != (known := getattr(self, name))
        ]

    def write(self, folder: Path) -> None:
        """Write encoder.json into a folder, which is made if it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(folder / CARD) as partial:
            partial.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read_beside(cls, path: str | os.PathLike[str]) -> EncoderCard | None:
        """Return the description in a folder, or next to a file; None if there is none.

        Raises:
            ValueError: encoder.json is damaged.
        """
        file = (Path(path) if Path(path).is_dir() else Path(path).parent) / CARD
        if not file.exists():
            return None
        try:
            held = json.loads(file.read_text(encoding="utf-8"))
            values = {
                each.name: held[each.name]
                for each in fields(cls)
                if each.default is MISSING or each.name in held
            }
            tuples: dict[str, Any] = {name: tuple(values.pop(name)) for name in ("mean", "std", "layers")}
            return cls(**values, **tuples)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error).rstrip(".")
            raise ValueError(
                f"{file} must describe an encoder by {', '.join(each.name for each in fields(cls))} "
                f"({reason}); mend it, or remove it and give the options --arch, --dim, --size and --head."
            ) from error


def save_encoder(encoder: nn.Module, folder: Path) -> None:
    """Write the weights of an encoder: encoder.pth, and encoder.safetensors if that package is installed.

    Both hold the bare state dict, as the reference writes it.
    """
    state = {name: value.cpu().contiguous() for name, value in encoder.state_dict().items()}
    write_checkpoint(folder / "encoder.pth", state)
    try:
        from safetensors.torch import save_file
    except ModuleNotFoundError:
        return
    with written_whole(folder / "encoder.safetensors") as partial:
        save_file(state, partial)


def read_encoder(
    path: str | os.PathLike[str],
    *,
    arch: str | None = None,
    dim: int | None = None,
    head: str | None = None,
    size: int | None = None,
    channels: int | None = None,
) -> Encoder:
    """Return the encoder in the folder of a run or in a file; the arguments are those of `load_encoder`.

    Raises:
        OSError: there is no such file.
        ValueError: the file holds no encoder, or another one than the arguments say.
    """
    return EncoderFile.read(path).encoder(arch=arch, dim=dim, head=head, size=size, channels=channels)


@dataclass(frozen=True)
class EncoderFile:
    """The contents of an encoder's file, with what the file and the encoder.json next to it say of it."""

    path: Path
    state: dict[str, Tensor]
    """State dict of the encoder, without prefixes."""
    card: EncoderCard | None
    known: dict[str, Any]
    """Arguments of `networks.build`, as far as they are known without being given."""

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> EncoderFile:
        """Read a file, or the weights in the folder of a run.

        Raises:
            OSError: there is no such file.
            ValueError: the file holds no encoder.
        """
        file, card = weights_in(Path(path)), EncoderCard.read_beside(path)
        held = read_states(file)
        own = state_in(held, file)
        state = next((each for each in layouts(own) if FIRST.keys() & each.keys()), own)
        known: dict[str, Any] = {}
        if arch := _stated_arch(held) or _arch_of(state):
            known["arch"] = arch
        if output := next((name for name in OUTPUT_BIASES if name in state), None):
            known |= {"dim": len(state[output]), "head": "mlp" if output == "fc.2.bias" else "linear"}
        if (first := state.get("conv1.weight")) is not None:
            known["stem"] = "small" if first.shape[-1] == 3 else "imagenet"
        if card is not None:
            known = {name: getattr(card, name) for name in Architecture._fields}
        return cls(file, state, card, known)

    def encoder(self, **overrides: Any) -> Encoder:
        """Return the encoder in eval mode; the arguments are those of `read_encoder`."""
        chosen = Architecture(
            self.chosen("arch", overrides.get("arch"), "small-alexnet"),
            self.chosen("dim", overrides.get("dim"), 128),
            self.chosen("head", overrides.get("head"), "linear"),
            overrides.get("size") or self.known.get("size", 64),
            self.chosen("channels", overrides.get("channels"), 3),
            self.known.get("stem", "imagenet"),
        )
        encoder = build(**chosen._asdict())
        hint = self._hint(encoder)
        check_fits(self.path, encoder.state_dict(), self.state, hint)
        encoder.load_state_dict(self.state)
        encoder.transform = self._transform(chosen, overrides.get("size"))
        return encoder.eval()

    def _transform(self, chosen: Architecture, size: int | None) -> Preparation | None:
        """Return the transform of pictures; None where nothing says what they are normalised by."""
        data, statistics = "", None
        if self.card is not None:
            data, size, statistics = self.card.data, size or self.card.size, self.card.statistics
        _, transform = plain_transform(data, chosen.arch, size, statistics)
        return Preparation(transform) if len(transform.statistics.mean) == chosen.channels else None

    def _hint(self, encoder: Encoder) -> str:
        """Return what to do if the state does not fit an encoder."""
        chosen, own = encoder.architecture, encoder.state_dict()
        trunk = {name for name in own if not name.startswith("fc.")}
        if trunk < own.keys() and trunk == {name for name in self.state if not name.startswith("fc.")}:
            return (
                f"Only the head differs. The features before it are those of --encoder "
                f"{TORCHVISION}{chosen.arch} --weights {self.path}, which measure takes."
            )
        arguments = {name: value for name, value in chosen._asdict().items() if name != "stem"}
        taken = ", ".join(f"{name} {value}" for name, value in arguments.items())
        return f"It was read with {taken}; give the values that it was trained with."

    def chosen(self, name: str, given: T | None, default: T) -> T:
        """Return an argument that was given, else what is known of it, else a default.

        Raises:
            ValueError: what was given contradicts what is known.
        """
        known: T | None = self.known.get(name)
        if given is not None and known is not None and given != known:
            source = self.path if self.card is None else self.path.parent / CARD
            raise ValueError(
                f"{name} must be {known}, as {source} says, got {given}; leave {name} out, or give another "
                "encoder."
            )
        return next((value for value in (given, known) if value is not None), default)


def weights_in(path: Path) -> Path:
    """Return the file of weights in a folder, or the file itself.

    Raises:
        FileNotFoundError: there is no such file, or none in the folder.
    """
    if path.is_file():
        return path
    if found := [path / name for name in (*WEIGHTS, OF_THE_HUB) if (path / name).is_file()]:
        return found[0]
    if path.is_dir():
        raise FileNotFoundError(
            f"{path} has no {' or '.join(WEIGHTS)}, which a run writes when it ends; give one of its "
            "checkpoints, or the folder of a run that has ended."
        )
    raise missing(f"there is no encoder {path}", path)


def _stated_arch(held: Mapping[str, Any]) -> str | None:
    """Return the architecture that a checkpoint states, by itself or among the options of its run."""
    options = getattr(held.get("args"), "state", held.get("args"))
    stated = held.get("arch") or (options.get("arch") if isinstance(options, Mapping) else None)
    return stated if isinstance(stated, str) else None


def _arch_of(state: Mapping[str, Tensor]) -> str | None:
    """Return the architecture that the names and shapes of weights are known by, or None."""
    first = next((name for name in FIRST if name in state), None)
    if first is None:
        return None
    blocks = [re.match(r"layer(\d)\.(\d+)\.", name) for name in state]
    found = {(int(block[1]), int(block[2])) for block in blocks if block}
    depths = tuple(sum(layer == each for layer, _ in found) for each in range(1, 5))
    is_plain = len(state.get("layer1.0.conv2.weight", ())) == 64  # wider ones are other networks
    return FIRST[first] or (RESNETS.get(("layer1.0.conv3.weight" in state, depths)) if is_plain else None)
