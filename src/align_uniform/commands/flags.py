"""Options of a dataclass on the command line, those that are off or on as flags: `--mlp` and `--no_mlp`, not `--mlp true`.

Either may undo what a preset or a file of options says.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from jsonargparse import ActionYesNo

FLAGS = {
    "aug_plus": "the augmentation of MoCo v2, with blur, and not of v1; of an imagefolder",
    "channels_last": "lay images out by pixel, which is quicker on some devices",
    "compile": "compile the encoder",
    "download": "fetch the data set if it is not there",
    "force": "replace files",
    "intra_batch": "count the pairs of queries with each other in uniformity, beside those of queries and the queue",
    "local_losses": "each process's losses over its own images, as the reference computes them, not over the whole batch",
    "mlp": "a ResNet's head of two layers, as in MoCo v2, and not of one",
    "tensorboard": "write what the log holds for TensorBoard too",
    "sync_batchnorm": "BatchNorm over all processes (CUDA only)",
}


def add_options(parser: Any, options: type) -> None:
    """Declare the fields of a dataclass of options."""
    flags = {field.name: field.default for field in fields(options) if isinstance(field.default, bool)}
    parser.add_class_arguments(options, None, as_group=False, skip=set(flags))
    for name, is_on in sorted(flags.items()):
        parser.add_argument(f"--{name}", action=ActionYesNo, default=is_on, help=FLAGS[name])
