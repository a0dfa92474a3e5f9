"""Options of a dataclass on the command line, those that are off or on as flags: `--force`, not `--force true`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

FLAGS = {
    "channels_last": "lay images out by pixel, which is quicker on some devices",
    "compile": "compile the encoder",
    "download": "fetch the data set if it is not there",
    "force": "replace files",
    "local_losses": "each process's losses over its own images, as the reference computes them, not over the whole batch",
    "sync_batchnorm": "BatchNorm over all processes (CUDA only)",
}


def add_options(parser: Any, options: type) -> None:
    """Declare the fields of a dataclass of options."""
    flags = {field.name for field in fields(options) if field.default is False}
    parser.add_class_arguments(options, None, as_group=False, skip=flags)
    for name in sorted(flags):
        parser.add_argument(f"--{name}", action="store_true", help=FLAGS[name])
