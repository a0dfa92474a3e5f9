"""Encoders on disk: their weights, and encoder.json, which describes them.

A run writes both into its folder, and `load_encoder(folder)` needs nothing else. Files of other origin are
read too: bare state dicts, checkpoints of this package and of the reference, and safetensors.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from align_uniform._extras import needs
from align_uniform._messages import listed
from align_uniform._options import check_at_least, check_statistics
from align_uniform._writing import written_whole
from align_uniform.files.arrays import check_loads_safely
from align_uniform.files.held import missing
from align_uniform.recipes.encoders.networks import Architecture, Encoder, build
from align_uniform.recipes.images.statistics import Statistics

__all__ = ["EncoderCard", "EncoderFile", "check_fits", "load_encoder", "read_checkpoint", "save_encoder"]

T = TypeVar("T")

CARD = "encoder.json"
"""Name of the file that describes the encoder next to it."""

WEIGHTS = ("encoder.pth", "encoder.safetensors")
"""Names of the files of weights in the folder of a run."""

PREFIX = "module."
"""Prefix of each name in the reference's state dicts."""

OUTPUT_BIASES = ("blocks.7.0.bias", "head.3.bias", "fc.2.bias", "fc.bias")
"""Names of the last bias of each encoder of `networks`, which has one number for each output feature."""


@dataclass(frozen=True)
class EncoderCard:
    """The description of an encoder: how to build it, and how to prepare its images.

    Example:
        >>> card = EncoderCard.read_beside("results/align1alpha2_unif1t2")  # doctest: +SKIP
        >>> card.size, card.mean, card.std  # doctest: +SKIP
        (28, (0.286,), (0.353,))
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

    def __post_init__(self) -> None:
        check_at_least(1, dim=self.dim, size=self.size, channels=self.channels)
        check_statistics(self.mean, self.std)
        if len(self.mean) != self.channels:
            raise ValueError(
                f"mean must have {self.channels} numbers, one for each channel, got {self.mean}."
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
            values = {each.name: held[each.name] for each in fields(cls)}
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


def write_checkpoint(path: Path, state: object) -> None:
    """Write what `torch.save` writes to a file, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    with written_whole(path) as partial:
        dump(state, partial)


def dump(state: object, path: Path) -> None:
    """Write what `torch.save` writes, and raise the error of the disk where torch hides it in its own."""
    with path.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def load_encoder(
    path: str | os.PathLike[str],
    *,
    arch: str | None = None,
    dim: int | None = None,
    head: str | None = None,
    size: int | None = None,
    channels: int | None = None,
) -> Encoder:
    """Return the encoder in the folder of a run or in a file, in eval mode and on the CPU.

    An encoder of this package is described by the encoder.json next to it, and needs no argument but its
    path. The other arguments are for files without one: bare state dicts, and checkpoints of the reference.

    Args:
        path: folder of a run, encoder.pth, encoder.safetensors, or a checkpoint of either recipe.
        arch: small-alexnet, small-conv, or a ResNet of torchvision. By default the one that encoder.json or
            the checkpoint names, else small-alexnet.
        dim: number of output features. By default as in encoder.json or in the weights.
        head: projection head of a ResNet, linear or mlp. By default as in encoder.json or in the weights.
        size: height and width of the images, on which the weights of small-alexnet alone depend. By default
            as in encoder.json, else 64.
        channels: number of channels of the images. By default as in encoder.json, else 3.

    Raises:
        OSError: there is no such file.
        ValueError: the file holds no encoder, or another one than the arguments say.

    Example:
        >>> encoder = load_encoder("results/align1alpha2_unif1t2")  # doctest: +SKIP
        >>> encoder(images).shape, encoder(images, "fc7").shape  # doctest: +SKIP
        (torch.Size([8, 128]), torch.Size([8, 4096]))
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
        held = _read(file)
        state = _encoder_state(held, file)
        known: dict[str, Any] = {}
        if isinstance(held.get("arch"), str):
            known["arch"] = held["arch"]
        if output := next((name for name in OUTPUT_BIASES if name in state), None):
            known |= {"dim": len(state[output]), "head": "mlp" if output == "fc.2.bias" else "linear"}
        if card is not None:
            known = {name: getattr(card, name) for name in Architecture._fields}
        return cls(file, state, card, known)

    def encoder(self, **overrides: Any) -> Encoder:
        """Return the encoder in eval mode; the arguments are those of `load_encoder`."""
        chosen = Architecture(
            self.chosen("arch", overrides.get("arch"), "small-alexnet"),
            self.chosen("dim", overrides.get("dim"), 128),
            self.chosen("head", overrides.get("head"), "linear"),
            overrides.get("size") or self.known.get("size", 64),
            self.chosen("channels", overrides.get("channels"), 3),
        )
        encoder = build(chosen.arch, chosen.dim, size=chosen.size, channels=chosen.channels, head=chosen.head)
        taken = ", ".join(f"{name} {value}" for name, value in chosen._asdict().items())
        hint = f"It was read with {taken}; give the values that it was trained with."
        check_fits(self.path, encoder.state_dict(), self.state, hint)
        encoder.load_state_dict(self.state)
        return encoder.eval()

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


def check_fits(path: Path, own: Mapping[str, Tensor], state: Mapping[str, Any], hint: str) -> None:
    """Refuse a state dict that does not fit a network: names or shapes differ.

    Args:
        path: the file, to be named in the error.
        own: state dict of the network.
        state: state dict of the file.
        hint: the remedy, a sentence that ends the error.

    Raises:
        ValueError: a name is missing or unexpected, or a tensor has another shape; at most four of each are
            named.
    """
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    reshaped = [
        f"{name} (expected {list(value.shape)}, got {list(getattr(state[name], 'shape', []))})"
        for name, value in own.items()
        if name in state and getattr(state[name], "shape", None) != value.shape
    ]
    differences = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    if found := "; ".join(f"{what}: {listed(names, 4)}" for what, names in differences.items() if names):
        raise ValueError(f"{path} does not fit the network, {found}. {hint}")


def encoder_state(path: Path) -> dict[str, Tensor]:
    """Return the entries of an encoder in a file of any known layout, without prefixes."""
    return _encoder_state(_read(path), path)


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> Any:
    """Return what `torch.save` wrote, if it consists of tensors and plain values alone.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is torn, is no checkpoint, or holds code; or torch is too old to load it safely.
    """
    if not path.exists():
        raise missing(f"{path} does not exist", path)
    check_loads_safely(path, "give weights that are saved as .safetensors")
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError, zipfile.BadZipFile, KeyError, ValueError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise ValueError(
            f"{path} must be a checkpoint of tensors and plain values; it cannot be read ({reason})."
        ) from error


def weights_in(path: Path) -> Path:
    """Return the file of weights in a folder, or the file itself.

    Raises:
        FileNotFoundError: there is no such file, or none in the folder.
    """
    if path.is_file():
        return path
    if found := [path / name for name in WEIGHTS if (path / name).is_file()]:
        return found[0]
    if path.is_dir():
        raise FileNotFoundError(
            f"{path} has no {' or '.join(WEIGHTS)}, which a run writes when it ends; give one of its "
            "checkpoints, or the folder of a run that has ended."
        )
    raise missing(f"there is no encoder {path}", path)


def _read(path: Path) -> Mapping[str, Any]:
    """Return the contents of a file of weights or of a checkpoint.

    Raises:
        ValueError: the file cannot be read, or holds no mapping.
    """
    if path.suffix == ".safetensors":
        with needs("files"):
            from safetensors import SafetensorError
            from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} must be a safetensors file; it cannot be read ({error}).") from error
    held = read_checkpoint(path)
    if not isinstance(held, Mapping):
        raise ValueError(f"{path} must hold the state dict of an encoder, it holds {type(held).__name__}.")
    return held


def _encoder_state(held: Any, path: Path) -> dict[str, Tensor]:
    """Return the entries of an encoder among the contents of a file, without prefixes."""
    for key in ("model", "state_dict"):
        held = held.get(key, held) if isinstance(held, Mapping) else held
    if not isinstance(held, Mapping) or not all(isinstance(value, Tensor) for value in held.values()):
        raise ValueError(f"{path} must hold the state dict of an encoder, it holds {type(held).__name__}.")
    for prefix in ("module.encoder_q.", "encoder_q.", "module.encoder.", "encoder.", PREFIX):
        if any(name.startswith(prefix) for name in held):
            return {
                name.removeprefix(prefix): value for name, value in held.items() if name.startswith(prefix)
            }
    return dict(held)
