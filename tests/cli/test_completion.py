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


def test_fish_has_a_line_for_each_command_option_and_choice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--print-completion", "fish"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("complete -c align-uniform ", "# ")) for line in lines)
    assert sum(" -a pretrain " in line for line in lines) == 1
    knn = [line for line in lines if "from evaluate; and __fish_seen_subcommand_from knn'" in line]
    assert any("-l weight -x -a 'votes softmax' -d " in line for line in knn)
    assert any("-l report -r -F -d" in line for line in lines)
    assert any("-l anchors -x" in line for line in lines)
    quoted = [line.replace("\\'", "").count("'") for line in lines]
    assert all(count % 2 == 0 for count in quoted)


def test_zsh_has_a_script_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--print-completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("#compdef align-uniform")
