"""A missing library is named once, with the extra that installs it; pyproject.toml has the same extras."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from align_uniform._extras import EXTRAS, advice, advice_for, needs, require
from align_uniform._progress import progress_bar
from align_uniform.recipes.encoders import networks, published, weights
from align_uniform.recipes.images import digits
from align_uniform.recipes.pretrain import presets
from align_uniform.recipes.pretrain.log import open_log

PYPROJECT = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
SECTION = PYPROJECT.partition("[project.optional-dependencies]")[2].partition("\n[")[0]

LARGE = "umap"
"""The extra that is no part of `all`: its compiler takes 210 MB, for one way to draw a map."""


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
    ("module", "expected"),
    [
        ("sklearn.datasets", "scikit-learn is missing; run: pip install 'align-uniform[recipes]'"),
        ("h5py", "h5py is missing; run: pip install 'align-uniform[files]'"),
        ("align_uniform.no", None),
        (None, None),
    ],
)
def test_a_module_that_is_missing_names_its_extra(module: str | None, expected: str | None) -> None:
    assert advice_for(module) == expected


def test_all_installs_every_library_except_the_largest() -> None:
    libraries = {library for extra, libraries in EXTRAS.items() if extra != LARGE for library in libraries}
    assert declared("all") == libraries


@pytest.mark.parametrize("extra", [extra for extra in EXTRAS if extra != LARGE])
def test_every_library_of_an_extra_is_found_by_its_module(extra: str) -> None:
    require(extra)


def test_all_missing_libraries_are_named_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("yaml", "sklearn", "PIL"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError) as raised:
        require("recipes")
    assert str(raised.value) == (
        "pyyaml, pillow and scikit-learn are missing; run: pip install 'align-uniform[recipes]'"
    )


def test_an_import_that_fails_for_another_reason_is_shown_as_it_is() -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_module'"), needs("report"):
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401


@pytest.mark.parametrize(
    ("package", "module", "extra"),
    [
        ("report", "jinja2", "report"),
        ("report", "matplotlib", "report"),
        ("figures", "matplotlib", "report"),
        ("metrics", "torchmetrics", "metrics"),
        ("integrations.sentence_transformers", "sentence_transformers", "sentence-transformers"),
        ("integrations.transformers", "transformers", "transformers"),
        ("integrations.hub", "huggingface_hub", "hub"),
        ("integrations.lightning", "pytorch_lightning", "lightning"),
        ("integrations.metric_learning", "pytorch_metric_learning", "metric-learning"),
    ],
)
def test_a_failed_import_ends_with_the_pip_command(package: str, module: str, extra: str) -> None:
    code = f"import sys; sys.modules[{module!r}] = None; import align_uniform.{package}"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == f"ModuleNotFoundError: {advice([module.replace('_', '-')], extra)}"
    assert done.stderr.count("Traceback") == 1


@pytest.mark.parametrize(
    ("call", "module", "extra"),
    [
        (lambda _: presets.load("moco", "stl10"), "yaml", "cli"),
        (lambda _: digits.load_tensors(), "sklearn", "recipes"),
        (lambda _: networks.build("resnet18", 4), "torchvision", "recipes"),
        (lambda _: published.torchvision_encoder("resnet18"), "torchvision", "recipes"),
        (lambda folder: weights.read_encoder(folder / "encoder.safetensors"), "safetensors", "files"),
        (lambda folder: enter(open_log(folder, [], tensorboard=True, step=0)), "tensorboard", "recipes"),
        (lambda _: enter(progress_bar("rows", 3, shown=True)), "rich", "cli"),
    ],
)
def test_a_call_that_lacks_a_library_says_how_to_install_it(
    call: Callable[[Path], object], module: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "encoder.safetensors").write_bytes(b"")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    loaded = [name for name in sys.modules if name.partition(".")[0] == module]
    for name in (*loaded, module, "torch.utils.tensorboard"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError) as raised:
        call(tmp_path)
    assert str(raised.value) == advice(
        [{"sklearn": "scikit-learn", "yaml": "pyyaml"}.get(module, module)], extra
    )


def enter(context: AbstractContextManager[object]) -> None:
    with context:
        pass
