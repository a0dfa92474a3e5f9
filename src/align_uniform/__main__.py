"""`python -m align_uniform`, the same as the command `align-uniform`."""

from __future__ import annotations

import sys

EXTRAS = {
    "cli": {"docstring_parser", "jsonargparse", "numpy", "rich", "yaml"},
    "report": {"PIL", "jinja2", "matplotlib"},
    "files": {"h5py", "pyarrow", "safetensors"},
    "recipes": {"kornia", "sklearn", "tensorboard", "torchvision"},
}
"""The modules that each extra brings."""


def main() -> int:
    """Run the command line, or say what is missing for it."""
    try:
        from align_uniform.cli import main as run

        return run()
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        extra = next((extra for extra, modules in EXTRAS.items() if module in modules), None)
        if extra is None:
            raise
        print(
            f"align-uniform: {module} is missing; run: pip install 'align-uniform[{extra}]'", file=sys.stderr
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
