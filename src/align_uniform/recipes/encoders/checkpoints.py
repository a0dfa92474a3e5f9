"""Files of weights, of this package and of others: read without executing anything, and written whole.

Other programs wrap an encoder in further modules, which are prefixes of its names, and keep settings next to
its weights. `layouts` takes the prefixes off, and settings of known kinds are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import torch
from torch import Tensor

from align_uniform._extras import needs
from align_uniform._memory import lacks_memory
from align_uniform._messages import listed, one_line, shortened
from align_uniform._writing import written_whole
from align_uniform.files.arrays import check_loads_safely
from align_uniform.files.held import missing

PREFIX = "module."
"""Prefix of each name in the reference's state dicts."""

COMPILED = "_orig_mod."
"""The part of a name that `torch.compile` adds, wherever in the name."""

PREFIXES = (PREFIX, "model.", "encoder_q.", "base_encoder.", "encoder.", "backbone.", "network.", "0.")
"""Prefixes of an encoder within other modules. Where there are several, the first one is taken off."""

STATES = ("model", "state_dict", "model_state_dict", "teacher", "net", "network", "encoder", "backbone")
"""The keys of checkpoints under which there may be a state dict, or a mapping that has one."""

_NUMPY = (
    "numpy.dtype", "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(f"numpy.dtypes.{kind}DType"
      for kind in ("Bool", "Float16", "Float32", "Float64", "Int8", "Int16", "Int32", "Int64",
                   "UInt8", "UInt16", "UInt32", "UInt64", "Str", "Bytes", "Object")),
)  # fmt: skip
SETTINGS = (
    "argparse.Namespace", "datetime.datetime", "datetime.timedelta",
    *(f"pathlib.{local}{system}Path" for local in ("", "_local.") for system in ("Posix", "Windows")),
    *_NUMPY,
)  # fmt: skip
"""The kinds of values, such as options and accuracies, that are left out of a checkpoint that has them."""


class LeftOut:
    """The place of a value of `SETTINGS`: nothing is made of what the file says about it."""

    state: object = None
    """The attributes of the value, if it has any."""

    def __init__(self, *_: object, **__: object) -> None:
        """Take any arguments."""

    def __setstate__(self, state: object) -> None:
        self.state = state


# ---------------------------------------------------------------------------------------------------- reading


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> Any:
    """Return what `torch.save` wrote, if it consists of tensors and plain values.

    Values of `SETTINGS` are left out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is torn, is no checkpoint, or holds code; or torch is too old to load it safely.
    """
    if not path.exists():
        raise missing(f"{path} does not exist", path)
    check_loads_safely(path, "give weights that are saved as .safetensors")
    try:
        with torch.serialization.safe_globals([(LeftOut, name) for name in SETTINGS]), catch_warnings():
            simplefilter("ignore", UserWarning)  # torch wonders at the version of what is no pickle
            return torch.load(path, map_location=device, weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged file can end in any error of the pickle's machine
        if lacks_memory(error):
            raise
        raise ValueError(
            f"{path} must be a checkpoint of tensors and plain values; it {_reason(str(error))}."
        ) from error


def _reason(text: str) -> str:
    """Return why a checkpoint cannot be read; torch's own text has colours, and advises to run the file."""
    if kind := re.search(r"GLOBAL (\S+) was not", text):
        return (
            f"has a {shortened(kind[1])}, which could run code and is not loaded; if you trust it, save "
            "the weights alone: torch.save(torch.load(FILE, weights_only=False)['state_dict'], 'weights.pth')"
        )
    _, _, inner = text.partition("WeightsUnpickler error: ")
    sentence = one_line(re.sub(r"\x1b\[\d*m", "", inner or text)).partition(". ")[0]
    return f"cannot be read ({shortened(sentence, 160).rstrip('.')})"


def read_states(path: Path) -> Mapping[str, Any]:
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


def state_in(held: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """Return the state dict in the contents of a file, with the names that it has there.

    Raises:
        ValueError: there is none.
    """
    state = held
    while inner := next((state[key] for key in STATES if isinstance(state.get(key), Mapping)), None):
        state = inner
    if not state or not all(isinstance(key, str) and isinstance(each, Tensor) for key, each in state.items()):
        raise ValueError(
            f"{path} must hold the state dict of an encoder, it holds {listed(held, 8) or 'nothing'}."
        )
    return dict(state)


def layouts(state: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield a state dict as it is, and then the part within each known prefix, without it."""
    found = {name.replace(COMPILED, ""): value for name, value in state.items()}
    yield found
    while prefix := next((each for each in PREFIXES if any(name.startswith(each) for name in found)), None):
        found = {name[len(prefix) :]: value for name, value in found.items() if name.startswith(prefix)}
        yield found


def state_like(own: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the entries in a file of any known layout, in the layout that has most of a network's names."""
    found = layouts(state_in(read_states(path), path))
    return max(found, key=lambda state: len(own.keys() & state.keys()))


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


# ---------------------------------------------------------------------------------------------------- writing


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
