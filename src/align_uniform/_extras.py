"""The libraries that each extra installs, and the sentence that names a missing one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

_LIBRARIES = {
    "accelerate": "accelerate",
    "datasets": "datasets",
    "h5py": "h5py",
    "huggingface-hub": "huggingface_hub",
    "jinja2": "jinja2",
    "matplotlib": "matplotlib",
    "numpy": "numpy",
    "pillow": "PIL",
    "pyarrow": "pyarrow",
    "pytorch-lightning": "pytorch_lightning",
    "pytorch-metric-learning": "pytorch_metric_learning",
    "pyyaml": "yaml",
    "rich": "rich",
    "safetensors": "safetensors",
    "scikit-learn": "sklearn",
    "sentence-transformers": "sentence_transformers",
    "shtab": "shtab",
    "tensorboard": "tensorboard",
    "timm": "timm",
    "torchmetrics": "torchmetrics",
    "torchvision": "torchvision",
    "transformers": "transformers",
    "umap-learn": "umap",
}
"""The module to import, by the name that pip knows."""

_CLI = ("numpy", "pyyaml", "rich")
_REPORT = ("jinja2", "matplotlib", "pillow")

EXTRAS = {
    "cli": _CLI,
    "completion": ("shtab",),
    "files": ("h5py", "numpy", "pyarrow", "safetensors"),
    "metrics": ("torchmetrics",),
    "report": _REPORT,
    "recipes": (*_CLI, *_REPORT, "scikit-learn", "tensorboard", "torchvision"),
    "sentence-transformers": ("accelerate", "datasets", "sentence-transformers"),
    "timm": ("timm",),
    "transformers": ("accelerate", "transformers"),
    "lightning": ("pytorch-lightning", "torchmetrics"),
    "metric-learning": ("pytorch-metric-learning",),
    "sklearn": ("scikit-learn",),
    "hub": ("huggingface-hub", "safetensors"),
    "umap": ("umap-learn",),
}
"""The libraries that each extra installs; pyproject.toml has the same list with their versions."""


def require(extra: str) -> None:
    """Raise a ModuleNotFoundError that names the pip command if a library of the extra is missing."""
    if (error := _missing(extra)) is not None:
        raise error


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Name the pip command, and nothing else, if an import within lacks a library of the extra."""
    try:
        yield
    except ModuleNotFoundError:
        if (error := _missing(extra)) is None:
            raise
        raise error from None


def _missing(extra: str) -> ModuleNotFoundError | None:
    missing = [library for library in EXTRAS[extra] if find_spec(_LIBRARIES[library]) is None]
    return ModuleNotFoundError(advice(missing, extra), name=_LIBRARIES[missing[0]]) if missing else None


def advice(missing: list[str], extra: str) -> str:
    """Return the sentence that says which libraries are missing and how to install them.

    >>> advice(["jinja2", "matplotlib"], "report")
    "jinja2 and matplotlib are missing; run: pip install 'align-uniform[report]'"
    """
    *others, last = missing
    named = f"{', '.join(others)} and {last} are" if others else f"{last} is"
    return f"{named} missing; run: pip install 'align-uniform[{extra}]'"


def advice_for(module: str | None) -> str | None:
    """Return the same sentence for a module that could not be imported, or None if no extra installs it."""
    top = (module or "").partition(".")[0]
    for extra, libraries in EXTRAS.items():
        for library in libraries:
            if _LIBRARIES[library] == top:
                return advice([library], extra)
    return None
