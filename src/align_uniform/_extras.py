"""The libraries that each extra installs, and the sentence that names a missing one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

_LIBRARIES = {
    "h5py": "h5py",
    "jinja2": "jinja2",
    "matplotlib": "matplotlib",
    "numpy": "numpy",
    "pillow": "PIL",
    "pyarrow": "pyarrow",
    "pyyaml": "yaml",
    "rich": "rich",
    "safetensors": "safetensors",
    "scikit-learn": "sklearn",
    "tensorboard": "tensorboard",
    "torchmetrics": "torchmetrics",
    "torchvision": "torchvision",
}
"""The module to import, by the name that pip knows."""

_CLI = ("numpy", "pyyaml", "rich")
_REPORT = ("jinja2", "matplotlib", "pillow")

EXTRAS = {
    "cli": _CLI,
    "files": ("h5py", "numpy", "pyarrow", "safetensors"),
    "metrics": ("torchmetrics",),
    "report": _REPORT,
    "recipes": (*_CLI, *_REPORT, "scikit-learn", "tensorboard", "torchvision"),
}
"""The libraries that each extra installs; pyproject.toml has the same list with their versions."""


def require(extra: str) -> None:
    """Raise a ModuleNotFoundError that names the pip command if a library of the extra is missing."""
    missing = [library for library in EXTRAS[extra] if find_spec(_LIBRARIES[library]) is None]
    if missing:
        raise ModuleNotFoundError(advice(missing, extra), name=_LIBRARIES[missing[0]])


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Import the libraries of an extra within, and name the pip command in place of a missing one."""
    error: ModuleNotFoundError | None = None
    try:
        yield
    except ModuleNotFoundError as found:
        error = found
    if error is not None:  # out of the handler, so that one error is shown and not a chain
        require(extra)
        raise error


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
