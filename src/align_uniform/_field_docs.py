"""The docstrings under the fields of a dataclass, which Python itself does not keep."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise


def documented_fields(kind: type) -> Iterator[tuple[str, str]]:
    """Yield the fields and the docstrings under them, those of a class after those of its bases.

    Example:
        >>> from align_uniform._options import Belongs
        >>> next(documented_fields(Belongs))[0]
        'to'
    """
    for owner in reversed(kind.__mro__[:-1]):
        (declared,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        body = declared.body if isinstance(declared, ast.ClassDef) else []
        for statement, following in pairwise(body):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                text = following.value if isinstance(following, ast.Expr) else None
                if isinstance(text, ast.Constant):
                    yield statement.target.id, " ".join(str(text.value).split())
