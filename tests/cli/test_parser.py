"""Errors of the command line are one line that says what would be right, and where the help is."""

from __future__ import annotations

import pytest

from align_uniform.cli.parser import Parser


def parser() -> Parser:
    made = Parser("align-uniform cook", "Cook\na meal.\n\nServe it.")
    made.add_argument("dish", nargs="?", default=None, metavar="DISH")
    made.add_argument("--salt", type=int)
    made.add_argument("--cooking-time", type=float, nargs="+")
    made.add_argument("--method", choices=["fry", "boil"])
    return made


def test_words_become_values() -> None:
    assert parser().parse(["soup", "--salt=-3", "--cooking-time", "-1", "2.5"]) == {
        "dish": "soup", "salt": -3, "cooking_time": [-1.0, 2.5],
    }  # fmt: skip


@pytest.mark.parametrize("number", ["-1e-3", "-2.5E+4", "-.5", "-7.", "-3", "-inf"])
def test_a_negative_number_is_a_value(number: str) -> None:
    assert parser().parse(["soup", "--cooking-time", number]) == {
        "dish": "soup", "cooking_time": [float(number)],
    }  # fmt: skip


def test_a_hyphen_alone_is_a_value() -> None:
    assert parser().parse(["-"]) == {"dish": "-"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--slat", "3"], "there is no option --slat; did you mean --salt?"),
        (["--cooking_time", "3"], "there is no option --cooking_time; did you mean --cooking-time?"),
        (
            ["--cooking", "3"],
            "there is no option --cooking; did you mean --cooking-time?",
        ),  # no abbreviations
        (["--xyz=3"], "there is no option --xyz"),
        (["soup", "-x"], "there is no option -x"),
        (["-x=3", "soup"], "there is no option -x"),
        (["soup", "stew"], "'stew' is one argument too many"),
        (["--salt"], "--salt: expected one argument"),
        (["--salt", "much"], "--salt: invalid int value: 'much'"),
        (["--slat", "much", "--help"], "there is no option --slat; did you mean --salt?"),
    ],
)
def test_an_error_is_one_line_with_a_suggestion_and_the_help_page(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse(words)
    assert ended.value.code == 2
    assert capsys.readouterr() == ("", f"align-uniform: {message} (see align-uniform cook --help)\n")


def test_the_words_after_two_hyphens_are_no_options() -> None:
    assert parser().parse(["--", "--soup"]) == {"dish": "--soup"}


def test_paragraphs_are_filled_and_names_are_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    made = parser()
    made.add_argument("--oven", help=f"{'Long ' * 5}words such as small-alexnet and fashion-mnist are kept.")
    page = made.format_help()
    assert "Cook a meal.\n\nServe it.\n" in page
    assert "small-alexnet" in page
    assert "fashion-mnist" in page
