from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from align_uniform._extras import EXTRAS
from align_uniform.files import open_rows, read_column, read_columns
from align_uniform.files.formats import ARRAYS, COLUMNS, FORMAT_OF, FORMATS, TABLES, Format
from tests.files.samples import refusal, sample, write

WITH_LIBRARIES = [(library, form) for form in FORMATS for library in form.libraries]


def test_an_unknown_ending_lists_the_known(tmp_path: Path) -> None:
    path = write(tmp_path / "x.xlsx", "")
    assert f"must end in one of {', '.join(ARRAYS)}, got '.xlsx'" in refusal(open_rows, path)
    assert f"must end in one of {', '.join(TABLES)}, got '.xlsx'" in refusal(read_columns, path)
    assert f"must end in one of {', '.join(COLUMNS)}, got '.xlsx'" in refusal(read_column, path)


def test_an_ending_may_be_in_capitals(tmp_path: Path) -> None:
    sample(tmp_path / "x.npy").rename(tmp_path / "x.NPY")
    assert open_rows(tmp_path / "x.NPY")[0].shape == (9, 4)


@pytest.mark.parametrize("ending", ARRAYS)
def test_a_file_of_another_format_is_refused(ending: str, tmp_path: Path) -> None:
    for content in (b"", b"\0" * 100, b"text\n" * 100, b"PK\x05\x06" + b"\0" * 18):
        path = tmp_path / f"x{ending}"
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        message = refusal(open_rows, path)
        assert message.startswith(str(path))
        assert FORMAT_OF[ending].expected in message or ending in (".csv", ".tsv")  # any text is a table


@pytest.mark.parametrize(("library", "form"), WITH_LIBRARIES)
def test_a_missing_library_names_the_pip_command(
    library: str, form: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sample(tmp_path / f"x{form.endings[0]}")
    monkeypatch.setitem(sys.modules, library, None)
    message = refusal(open_rows if form.arrays else read_columns, path)
    missing = library.partition(".")[0]
    remedy = f"{missing} is missing; run: pip install 'align-uniform[{form.extra}]'"
    assert message.startswith(f"{path} cannot be read: {remedy}")


@pytest.mark.parametrize(("library", "form"), WITH_LIBRARIES)
def test_the_extra_installs_the_library(library: str, form: Format) -> None:
    assert library.partition(".")[0] in EXTRAS[form.extra]


def test_the_documentation_lists_every_ending() -> None:
    page = Path(__file__).parents[2] / "docs" / "measuring.md"
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `.")]
    assert [re.findall(r"`(\.\w+)`", line.split("|")[1]) for line in rows] == [
        list(form.endings) for form in FORMATS
    ]


def test_importing_loads_neither_torch_nor_the_library_of_a_format() -> None:
    script = "import sys, align_uniform.files; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    loaded = set(result.stdout.split())
    assert "align_uniform.files.formats" in loaded
    assert not {"torch", *(library.partition(".")[0] for library, _ in WITH_LIBRARIES)} & loaded
