"""`python -m align_uniform`, the same as the command `align-uniform`."""

from __future__ import annotations

import sys

from align_uniform.cli import main

if __name__ == "__main__":
    sys.exit(main())
