"""`python -m align_uniform`, the same as the command `align-uniform`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line, or say what is missing for it."""
    try:
        from align_uniform.cli import main as run
    except ModuleNotFoundError as error:
        print(f"align-uniform: {error.name} is missing; run: pip install 'align-uniform[cli]'", file=sys.stderr)
        return 1
    return run()


if __name__ == "__main__":
    sys.exit(main())
