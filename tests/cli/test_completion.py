"""The shell completes commands, options, choices and files."""

from __future__ import annotations

import subprocess

import pytest

from align_uniform.cli import main


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["--print-completion", "bash"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("align-uniform com", ["compare"]),
        ("align-uniform pretrain ", ["two-view", "moco"]),
        ("align-uniform pretrain moco --pre", ["--precision", "--preset"]),
        ("align-uniform evaluate knn --weight ", ["votes", "softmax"]),
        ("align-uniform measure --report page", ["page.html"]),
        ("align-uniform measure page", ["page.html"]),
    ],
)
def test_bash_completes(
    typed: str, expected: list[str], script: str, folder: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("completion") / "align-uniform"
    path.write_text(script)
    code = f"""
        touch page.html
        source {path}
        COMP_WORDS=({typed} {'""' if typed.endswith(" ") else ""})
        COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
        $(complete -p align-uniform | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == expected


def test_zsh_has_a_script_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--print-completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("#compdef align-uniform")
