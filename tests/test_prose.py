"""The prose and the sizes of the source: sentences that can be read alone, in small functions and modules."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest

import align_uniform

PACKAGE = Path(align_uniform.__file__).parent

LARGEST_MODULE, LONGEST_BODY, MOST_PARAMETERS = 450, 40, 8

MANY_PARAMETERS = {
    "integrations/sentence_transformers/evaluator.py: __init__": "what evaluators there take, by keyword",
    "measuring/drift.py: drift": "everything that a comparison can be asked for, by keyword",
    "integrations/hub.py: __init__": "what config.json holds, by keyword",
    "losses.py: __init__": "every weight and option of the objective, by keyword",
    "measuring/comparison.py: compare": "what all embeddings have in common, by keyword",
    "measuring/measure.py: measure": "everything that a measurement can be asked for, by keyword",
}
"""Functions that may have many parameters, and why. Triton's kernels may too: they take no structures."""

PREPOSITIONS = """
about above across after against along amid among around at before behind below beneath beside between beyond
by despite down during except for from in inside into near of off on onto out outside over per since than
through throughout till to toward towards under until up upon with within without
"""
CONJUNCTIONS = "as but so that unless what whatever when where which who whom whose why"
PRONOUNS = "he her his it its she their them they those"
FRAGMENTS = {*PREPOSITIONS.split(), *CONJUNCTIONS.split(), *PRONOUNS.split()}
"""First words of texts that only their identifier, or a sentence before them, completes."""

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


class Text(NamedTuple):
    """One docstring."""

    name: str
    text: str
    of_field: bool


# ------------------------------------------------------------------------------------------------------ prose


def docstrings(tree: ast.Module) -> Iterator[Text]:
    """Yield the docstrings of a module, its classes, its functions, and its fields and constants."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | Function):
            if text := ast.get_docstring(node):
                yield Text(getattr(node, "name", "the module"), text, of_field=False)
            for field, after in zip(node.body, node.body[1:], strict=False):
                if isinstance(field, ast.Assign | ast.AnnAssign) and (text := _string(after)):
                    target = field.targets[0] if isinstance(field, ast.Assign) else field.target
                    yield Text(ast.unparse(target), text, of_field=True)


def helps(tree: ast.Module) -> Iterator[str]:
    """Yield the help texts that stand in calls; those of options are docstrings of fields."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "help" and isinstance(node.value, ast.Constant):
            yield str(node.value.value)


def _string(statement: ast.stmt) -> str | None:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        value = statement.value.value
        return value if isinstance(value, str) else None
    return None


def faults(text: str, *, of_field: bool = False, of_command: bool = False) -> list[str]:
    """Return the faults of a text that is to be understood by someone who does not see what it describes."""
    found = []
    summary = text.strip().split("\n\n")[0]
    first = summary.split()[0]
    word = re.match(r"[A-Za-z'-]*", first).group().lower()  # type: ignore[union-attr]
    if word in FRAGMENTS:
        found.append(f"begins with {first!r}, as the rest of a sentence does")
    if first[0].islower() and not (is_formula(first) or of_command):
        found.append(f"begins with {first!r}, in lower case")
    if len(re.findall(r"[A-Za-z]{2,}", re.sub(r"\[[^]]*\]", "", summary))) < 2:
        found.append("is a single word or a shape")
    if of_field and not text.rstrip().endswith("."):
        found.append("does not end with a full stop")
    return found


def is_formula(word: str) -> bool:
    """Return whether a word is part of a formula, such as `x_i`, `log(a)`, `2t` or `m=1`."""
    return len(word.rstrip(",:")) == 1 or re.search(r"[\d_=^*/+|(){}\[\]]", word) is not None


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_docstrings_are_understood_when_they_are_shown_alone(path: Path) -> None:
    found = [
        f"{name} {fault}: {text}"
        for name, text, of_field in docstrings(ast.parse(path.read_text()))
        for fault in faults(text, of_field=of_field)
    ]
    found += [
        f"help {fault}: {text}"
        for text in helps(ast.parse(path.read_text()))
        for fault in faults(text, of_command=True)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "Of SGD.",
        "What processes tell each other.",
        "That of the rows.",
        "Whose rows are counted.",
        "In place of the mean.",
        "Its number.",
        "of the rows.",
        "number of rows.",
        "the rows",
        "Momentum.",
        "[N, m]",
        "[N, m], from",
    ],
)
def test_a_fragment_is_refused(text: str) -> None:
    assert faults(text)


@pytest.mark.parametrize(
    "text",
    [
        "Return the rows.",
        "Whether rows are counted.",
        "`log(a)` of every row.",
        "x_i . y_j for all pairs, in one number each.",
        "95% of the rows.",
        "m = 1 is a line, m = 2 a plane.",
        "m, the number of features.",
        "Outputs of the encoder.",
        "Institutions that took part.",
    ],
)
def test_a_text_that_is_complete_is_not(text: str) -> None:
    assert faults(text, of_field=True) == []


def test_a_field_ends_with_a_full_stop() -> None:
    assert faults("The number of rows.", of_field=True) == []
    assert faults("The number of rows", of_field=True)


def test_help_texts_are_found_and_may_begin_in_lower_case() -> None:
    found = list(helps(ast.parse('add("--rows", help="number of rows"); add("--of", help="of SGD")')))
    assert found == ["number of rows", "of SGD"]
    assert faults(found[0], of_command=True) == []
    assert faults(found[1], of_command=True)


def test_all_kinds_of_docstrings_are_found() -> None:
    source = '''"""Of a module."""

SIZE = 3
"""Of a constant."""

class Thing:
    """Of a class."""

    field: int
    """Of a field."""

    def method(self) -> None:
        """Of a method."""

def function() -> None:
    """Of a function."""
    def inner() -> None:
        """Of a function within."""
'''
    found = list(docstrings(ast.parse(source)))
    assert {text.text.split()[-1] for text in found} == {
        "module.", "constant.", "class.", "field.", "method.", "function.", "within.",
    }  # fmt: skip
    assert {text.name for text in found if text.of_field} == {"SIZE", "field"}


# ------------------------------------------------------------------------------------------------------ sizes


def functions(tree: ast.Module) -> list[Function]:
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def body_lines(function: Function) -> int:
    """Return the number of lines from the first statement after the docstring to the last."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return 0 if not body else (function.end_lineno or 0) - body[0].lineno + 1


def parameters(function: Function) -> int:
    """Return the number of parameters, without the object itself and the context of a torch function."""
    arguments = function.args
    names = [one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"], ["ctx"]))


def is_kernel(function: Function) -> bool:
    return any(ast.unparse(decorator).startswith("triton.jit") for decorator in function.decorator_list)


def oversized(relative: str, source: str) -> list[str]:
    """Return the functions that are too long or have too many parameters, and the module if too long."""
    lines = len(source.splitlines())
    found = [f"{relative}: {lines} lines"] if lines > LARGEST_MODULE else []
    for function in functions(ast.parse(source)):
        name = f"{relative}: {function.name}"
        if (length := body_lines(function)) > LONGEST_BODY:
            found.append(f"{name}: a body of {length} lines")
        count = parameters(function)
        if count > MOST_PARAMETERS and not (is_kernel(function) or name in MANY_PARAMETERS):
            found.append(f"{name}: {count} parameters")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_functions_and_modules_are_small(path: Path) -> None:
    found = oversized(path.relative_to(PACKAGE).as_posix(), path.read_text())
    assert not found, "\n".join(found)


def test_a_long_function_and_a_long_module_are_refused() -> None:
    body = "    pass\n" * 41
    assert oversized("a.py", f'def f():\n    """Do."""\n{body}') == ["a.py: f: a body of 41 lines"]
    assert oversized("a.py", f'def f():\n    """Do."""\n{body[9:]}') == []
    assert oversized("a.py", "\n" * 451) == ["a.py: 451 lines"]
    assert oversized("a.py", "\n" * 450) == []


def test_many_parameters_are_refused_except_of_kernels() -> None:
    nine = "a, b, c, d, e, f, *, g, h, i"
    assert oversized("a.py", f"def f({nine}): pass") == ["a.py: f: 9 parameters"]
    assert oversized("a.py", f"class A:\n    def f(self, {nine[3:]}): pass") == []
    assert oversized("a.py", f"@triton.jit\ndef f({nine}): pass") == []
    assert oversized("measuring/measure.py", f"def measure({nine}): pass") == []
