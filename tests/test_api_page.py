"""Tests of the API page: every name on it has an example that runs with the doctests."""

from __future__ import annotations

import ast
import doctest
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"

NEED_A_MODEL = {
    "loading.load_encoder": "a trained encoder: the Python of docs/training.md has one",
    "SentenceEncoder": "a language model: the Python of docs/texts.md has one",
    "AlignUniformEvaluator": "a language model: tests/integrations runs the example of its page",
    "sentence_transformers.AlignUniformLoss": "a language model, likewise",
    "sentence_transformers.UniformityRegularizer": "a language model, likewise",
    "integrations.transformers.AlignUniformCallback": "a trainer of transformers, likewise",
}
"""The ends of the names whose examples are shown and not run by doctest, and what they would need."""


class Name(NamedTuple):
    """A class or a function that the API page documents."""

    dotted: str
    docstring: str


def tree(module: str) -> ast.Module:
    path = SOURCE.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def definition(module: str, name: str) -> ast.ClassDef | ast.FunctionDef | None:
    """Return the class or the function of a name, which the module may have imported; None for constants."""
    found = None
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return node
        if isinstance(node, ast.ImportFrom) and name in [each.asname or each.name for each in node.names]:
            found = definition(str(node.module), name)
    return found


def public_names(module: str) -> list[str]:
    """Return the names that `:members:` stands for: those in `__all__`, or all that have no underscore."""
    body = tree(module).body
    for node in body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    defined = [node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    return [name for name in defined if not name.startswith("_")]


def names_on(page: str) -> Iterator[Name]:
    """Yield the classes and functions of the directives of a page."""
    for kind, target, options in re.findall(r"^\.\. auto(\w+):: (\S+)\n((?:   .*\n)*)", page, re.MULTILINE):
        module, _, last = target.rpartition(".")
        names = [last]
        if kind == "module":
            module = target
            listed = re.search(r":members: (.+)", options)
            names = listed[1].split(", ") if listed else public_names(module)
        for name in names:
            found = definition(module, name)
            if found is not None:
                yield Name(f"{module}.{name}", ast.get_docstring(found) or "")


def faults(name: Name) -> list[str]:
    """Return what is wrong with the example of a name."""
    examples = doctest.DocTestParser().get_examples(name.docstring)
    if "\nExample:\n" not in name.docstring or not examples:
        return [f"{name.dotted} has no section `Example:`"]
    skipped = [example for example in examples if example.options.get(doctest.SKIP)]
    is_listed = name.dotted.endswith(tuple(NEED_A_MODEL))
    if skipped and not is_listed:
        return [f"{name.dotted} has an example that is not run: {skipped[0].source.strip()}"]
    if is_listed and not skipped:
        return [f"{name.dotted} is in NEED_A_MODEL, but its example runs"]
    shown = [example for example in examples if not example.source.startswith(("import ", "from "))]
    return [] if shown else [f"{name.dotted} has an example that only imports"]


PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
NAMES = list(names_on(PAGE))


@pytest.mark.parametrize("name", NAMES, ids=[name.dotted for name in NAMES])
def test_every_name_on_the_page_has_an_example_that_runs(name: Name) -> None:
    assert faults(name) == []


def test_all_directives_of_the_page_are_read() -> None:
    named = {name.dotted for name in NAMES}
    for one_of in (
        "align_uniform.measure",  # a function that the package imports when it is used
        "align_uniform.AlignLoss",  # a member in a list
        "align_uniform.measuring.results_of_rows.Hubs",  # a member of a module
        "align_uniform.geometry.rankme",  # a member that the module imports
        "align_uniform.metrics.Uniformity",  # a class of __all__
    ):
        assert one_of in named
    for module in re.findall(r"^\.\. automodule:: (\S+)", PAGE, re.MULTILINE):
        assert any(name.startswith(f"{module}.") for name in named), module


def test_every_exception_is_a_name_of_the_page() -> None:
    for exception in NEED_A_MODEL:
        assert any(name.dotted.endswith(exception) for name in NAMES), exception


def test_a_missing_an_idle_and_a_skipped_example_are_found() -> None:
    text = "Return x.\n\nExample:\n    >>> from a import x\n"
    assert faults(Name("a.x", "Return x.")) == ["a.x has no section `Example:`"]
    assert faults(Name("a.x", text)) == ["a.x has an example that only imports"]
    assert faults(Name("a.x", text + "    >>> x()\n")) == []
    assert faults(Name("a.x", text + "    >>> x()  # doctest: +SKIP\n"))
