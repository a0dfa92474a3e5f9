from __future__ import annotations

import re
from pathlib import Path

import pytest

from align_uniform._extras import EXTRAS, advice_for

PYPROJECT = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
SECTION = PYPROJECT.partition("[project.optional-dependencies]")[2].partition("\n[")[0]


def declared(extra: str) -> set[str]:
    """Return the libraries that pyproject.toml lists for an extra, and for the extras that it includes."""
    (line,) = re.findall(rf"^{extra} = \[(.*)\]$", SECTION, re.MULTILINE)
    names: set[str] = set()
    for requirement in re.findall(r'"([^"]*)"', line):
        if included := re.fullmatch(r"align-uniform\[(.*)\]", requirement):
            names.update(*map(declared, included[1].split(",")))
        else:
            names.add(re.split(r"[>=<]", requirement)[0])
    return names


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_has_the_libraries_that_pip_installs_for_it(extra: str) -> None:
    assert set(EXTRAS[extra]) == declared(extra)


@pytest.mark.parametrize(
    ("module", "advice"),
    [
        ("sklearn.datasets", "scikit-learn is missing; run: pip install 'align-uniform[recipes]'"),
        ("h5py", "h5py is missing; run: pip install 'align-uniform[files]'"),
        ("align_uniform.no", None),
        (None, None),
    ],
)
def test_a_module_that_is_missing_names_its_extra(module: str | None, advice: str | None) -> None:
    assert advice_for(module) == advice
