"""From a table of texts and a model of sentence-transformers to the numbers, in one command."""

from __future__ import annotations

import csv
import html
import json
import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor

from align_uniform import load_encoder
from align_uniform.cli import main
from align_uniform.recipes.encoders import sentences
from align_uniform.recipes.encoders.sentences import SentenceEncoder
from tests.integrations.small_bert import PAIRS, bert_in

ROWS = [
    *((x, y, 5.0 if row % 3 else 4.0) for row, (x, y) in enumerate(PAIRS)),
    *((x, y, 1.0) for (x, _), (_, y) in zip(PAIRS[:20], PAIRS[40:60], strict=True)),
    (PAIRS[0][0], PAIRS[0][0], 5.0),
    (f'"the cat {PAIRS[1][0]}', PAIRS[2][1], 4.5),  # a stray quotation mark, as STS-B has
]
"""Pairs with scores: each text comes in one or more pairs, and one pair is of a text with itself."""

COLUMNS = ("sentence1", "sentence2", "score")
TEXTS = list(dict.fromkeys([*(row[0] for row in ROWS), *(row[1] for row in ROWS)]))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small model, which reads 12 tokens and has a prompt."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    bert = Transformer(str(bert_in(tmp_path_factory.mktemp("bert"))), max_seq_length=12)
    SentenceTransformer(
        modules=[bert, Pooling(16)], device="cpu", prompts={"query": "the cat "}
    ).save_pretrained(str(folder))
    return folder


@pytest.fixture
def model(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The option of the model; the command is run in a folder with pairs.csv."""
    monkeypatch.chdir(tmp_path)
    with Path("pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *ROWS])
    return f"sentence-transformers:{saved}"


def printed_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["measure", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def failure(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    assert main([*arguments]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


def in_float64(
    saved: Path, texts: list[str], pairs: list[tuple[str, str]], **encode: Any
) -> tuple[float, float]:
    """Alignment of pairs and uniformity of texts, by sentence-transformers and plain numpy."""
    rows = SentenceTransformer(str(saved), device="cpu").encode(texts, **encode).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    place = {text: row for row, text in enumerate(texts)}
    align = np.mean([((rows[place[x]] - rows[place[y]]) ** 2).sum() for x, y in pairs] or [0])
    distances = ((rows[:, None] - rows[None]) ** 2).sum(-1)[np.triu_indices(len(rows), 1)]
    return float(align), float(np.log(np.exp(-2 * distances).mean()))


def test_a_table_and_a_model_give_the_numbers_of_stsb(
    model: str, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["measure", "--encoder", model, "--texts", "pairs.csv", "--threshold", "4", "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    positive = [(x, y) for x, y, score in ROWS if score > 4 and x != y]
    align, uniform = in_float64(saved, TEXTS, positive)
    assert found["align"]["value"] == pytest.approx(align, rel=1e-5)
    assert found["uniform"]["value"] == pytest.approx(uniform, rel=1e-5)
    assert (found["name"], found["n"], found["align"]["pairs"]) == ("tiny", len(TEXTS), len(positive))
    assert printed.err.splitlines()[-2:] == [
        f"pairs.csv: {len(ROWS)} pairs, from the columns sentence1 and sentence2; {len(TEXTS)} different "
        "texts, scores from the column score.",
        "pairs.csv: 1 pair of a text with itself left out.",
    ]
    source = found["provenance"]
    assert (source["encoder"], source["texts"], source["kind"]) == (model, "pairs.csv", "sentences")

    inclusive = printed_json(
        capsys, "--encoder", model, "--texts", "pairs.csv", "--threshold", "4", "--inclusive"
    )
    positive = [(x, y) for x, y, score in ROWS if score >= 4 and x != y]
    assert inclusive["align"]["value"] == pytest.approx(in_float64(saved, TEXTS, positive)[0], rel=1e-5)


@pytest.mark.parametrize("kind", ["tsv", "jsonl", "parquet", "folder"])
def test_every_kind_of_table_gives_the_same(
    kind: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = dict(zip(COLUMNS, map(list, zip(*ROWS, strict=True)), strict=True))
    path = Path(kind if kind == "folder" else f"pairs.{kind}")
    if kind == "tsv":  # as GLUE has it, with more columns and without quoting
        lines = [("index", "genre", *COLUMNS), *((row, "news", *each) for row, each in enumerate(ROWS))]
        path.write_text("".join("\t".join(map(str, line)) + "\n" for line in lines))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in ROWS))
    elif kind == "parquet":
        Dataset.from_dict(columns).to_parquet(path)
    else:
        Dataset.from_dict(columns).save_to_disk(path)
    options = ["--encoder", model, "--threshold", "4", "--texts"]
    expected, found = (printed_json(capsys, *options, str(each)) for each in ("pairs.csv", path))
    assert [found[key] for key in ("align", "uniform", "items")] == [
        expected[key] for key in ("align", "uniform", "items")
    ]


def test_the_files_of_the_sts_benchmark_are_read_as_they_are(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        f"main-captions\tMSRvid\t2012test\t{i:04}\t{row[2]:.3f}\t{row[0]}\t{row[1]}\tmore"
        for i, row in enumerate(ROWS)
    ]
    Path("sts-test.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = ("--encoder", model, "--threshold", "4")
    expected = printed_json(capsys, *options, "--texts", "pairs.csv")
    found = printed_json(capsys, *options, "--texts", "sts-test.csv")
    assert (found["align"], found["uniform"]) == (expected["align"], expected["uniform"])
    Path("sts-test.csv").write_text("\n".join([*lines[:3], "main-captions\tMSRvid"]), encoding="utf-8")
    told = failure(capsys, 1, "measure", *options, "--texts", "sts-test.csv")
    assert "sts-test.csv must have 7 fields a line, as the STS benchmark has, got 2 in line 4" in told


def test_without_scores_every_row_is_a_pair(
    model: str, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("plain.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("left", "right"), *PAIRS])
    found = printed_json(capsys, "--encoder", model, "--texts", "plain.csv")
    align, uniform = in_float64(saved, [text for side in zip(*PAIRS, strict=True) for text in side], PAIRS)
    assert found["align"]["value"] == pytest.approx(align, rel=1e-5)
    assert found["uniform"]["value"] == pytest.approx(uniform, rel=1e-5)
    swapped = printed_json(capsys, "--encoder", model, "--texts", "plain.csv", "--columns", "right", "left")
    assert swapped["align"]["value"] == pytest.approx(align, rel=1e-5)


def test_one_column_has_uniformity_alone_and_takes_labels(
    model: str, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [x for x, _, _ in ROWS]
    Path("texts.txt").write_text("\n".join(texts) + "\n")
    Path("animals.txt").write_text("".join(f"{text.split()[1]}\n" for text in texts))
    found = printed_json(capsys, "--encoder", model, "--texts", "texts.txt", "--labels", "animals.txt")
    different = list(dict.fromkeys(texts))
    assert (found["n"], found["align"]["of"]) == (len(different), "same class")
    assert found["uniform"]["value"] == pytest.approx(in_float64(saved, different, [])[1], rel=1e-5)
    again = printed_json(capsys, "--encoder", model, "--texts", "pairs.csv::sentence1")
    assert (again["align"], again["uniform"]["value"]) == (None, found["uniform"]["value"])


def test_a_prompt_is_put_before_each_text(
    model: str, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--encoder", model, "--texts", "pairs.csv", "--threshold", "4"]
    positive = [(x, y) for x, y, score in ROWS if score > 4 and x != y]
    named = printed_json(capsys, *options, "--prompt-name", "query")
    typed = printed_json(capsys, *options, "--prompt", "the cat ")
    expected = in_float64(saved, TEXTS, positive, prompt_name="query")
    for found in (named, typed):
        assert (found["align"]["value"], found["uniform"]["value"]) == pytest.approx(expected, rel=1e-5)
    assert named["provenance"]["prompt_name"] == "query"
    capsys.readouterr()
    assert "--prompt-name must be one of the model's prompts, got 'x'; it has" in failure(
        capsys, 1, "measure", *options, "--prompt-name", "x"
    )


def test_texts_that_are_cut_are_counted(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    long = " ".join(["cat"] * 11)  # with [CLS] and [SEP] 13 tokens; 10 words would be read to their end
    Path("long.txt").write_text("\n".join([long, long[4:], *TEXTS[:5]]) + "\n")
    found = printed_json(capsys, "--encoder", model, "--texts", "long.txt")
    assert found["provenance"]["texts_cut"] == 1
    assert found["warnings"][-1] == (
        "1 of 7 texts has more than the 12 tokens that the encoder reads (max_seq_length); the rest is not "
        "read."
    )


def test_the_report_has_the_texts_and_the_features_are_kept(
    model: str, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = printed_json(
        capsys, "--encoder", model, "--texts", "pairs.csv", "--threshold", "4", "--report", "page.html",
        "--features-out", "features.npz", "--batch-size", "7",
    )  # fmt: skip
    page = html.unescape(Path("page.html").read_text(encoding="utf-8"))
    worst = found["worst_pairs"][0]
    assert all(TEXTS[worst[side]] in page for side in ("x", "y"))
    kept = np.load("features.npz")
    assert kept["texts"].tolist() == TEXTS
    expected = SentenceTransformer(str(saved), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(kept["features"], expected, atol=1e-6)
    again = printed_json(capsys, "features.npz::features")
    assert again["uniform"] == found["uniform"]


@pytest.mark.parametrize(
    ("table", "options", "code", "message"),
    [
        ("sentence1,sentence2,score\na,b,5\n", "", 1, "t.csv has numbers that may be scores in the column"),
        ("a,b,c\nx,y,z\n", "", 1, "got a, b, c; say which two are the pairs, as in --columns a b, or which"),
        ("a,b\n1,2\n", "", 1, "t.csv must have columns of texts that are known, got a, b; give a table"),
        ("a,b\nx,y\n", "--columns a d", 1, "t.csv has no column d; it has a, b; say which two are the"),
        ("a,b\nx,\nz,y\n", "", 1, "t.csv (column b) has 1 of 2 rows with no value (rows 0); leave these"),
        ("a,b\nx,x\n", "", 1, "t.csv must have a pair of two different texts"),
        ("text\nx\ny\n", "--threshold 4", 1, "t.csv has one column of texts, and so no pairs; leave --thr"),
        ("a,b\nx,y\n", "--labels t.csv", 1, "--labels has one value for each text, and t.csv has pairs"),
        ("a,b\nx,y\n", "--images t.csv", 2, "needs --texts, a table of them, and takes no --images"),
        ("a,b\nx,y\n", "--arch resnet18", 2, "--arch has no effect without --encoder and --images"),
        ("a,b\nx,y\n", "--positives t.csv", 2, "--positives has no effect without FEATURES, since an enc"),
        ("a,b\nx,y\n", "--prompt a --prompt-name b", 2, "--prompt has no effect with --prompt-name"),
        ("a,b\nx,y\n", "--features-out f.txt", 1, "--features-out must end in .npy"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(
    table: str, options: str, code: int, message: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("t.csv").write_text(table)
    assert message in failure(
        capsys, code, "measure", "--encoder", model, "--texts", "t.csv", *options.split()
    )


def test_a_model_that_is_not_there_is_said_in_one_line(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    Path("empty").mkdir()
    for name, message in {
        "no/such/folder": "there is no folder no/such/folder; give the folder of a model, or its name on",
        "some/model": "there is no folder some/model, and no model of that name on this machine: "
        "HF_HUB_OFFLINE forbids to fetch it; give the path of a folder that has it",
        "empty": "empty could not be read as a model of sentence-transformers (",
    }.items():
        found = failure(
            capsys, 1, "measure", "--encoder", f"sentence-transformers:{name}", "--texts", "pairs.csv",
            "--all-pairs",
        )  # fmt: skip
        assert found.startswith(f"align-uniform: {message}")


def test_the_encoder_in_python_encodes_as_its_model_does(saved: Path) -> None:
    encoder = load_encoder(f"sentence-transformers:{saved}")
    assert isinstance(encoder, SentenceEncoder)
    expected = encoder.model.encode(TEXTS, convert_to_tensor=True)
    for size in (1, 5, 1000):
        assert abs(encoder.encode(TEXTS, batch_size=size) - expected).max() < 1e-6
    assert not encoder.encode(TEXTS[:2]).is_inference()
    assert encoder.encode([]).shape[0] == 0
    with pytest.raises(ValueError, match="only the encoder of a file takes dim; leave"):
        load_encoder(f"sentence-transformers:{saved}", dim=3)
    with pytest.raises(ValueError, match=r"texts must be a list of texts, got 'a cat'; write \[text\]"):
        encoder.encode("a cat")
    with pytest.raises(ValueError, match="texts must be texts, got 3 in row 1"):
        encoder.encode(["a", 3])  # type: ignore[list-item]


# ---------------------------------------------------------------------------------------- several encoders


def test_encoders_are_compared_on_the_same_texts(
    model: str, saved: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    other = SentenceTransformer(str(saved), device="cpu")
    with torch.no_grad():
        for weights in other.parameters():
            weights.mul_(1.5)
    folder = tmp_path_factory.mktemp("other") / "scaled"
    other.save_pretrained(str(folder))
    models = [model, f"sentence-transformers:{folder}"]
    options = ["--texts", "pairs.csv", "--threshold", "4"]
    apart = [printed_json(capsys, "--encoder", each, *options) for each in models]
    encoders = [word for each in models for word in ("--encoder", each)]
    assert main(["compare", *encoders, *options, "--json", "--report", "page.html"]) == 0
    found = json.loads(capsys.readouterr().out)
    for one, alone in zip(found["embeddings"], apart, strict=True):
        assert (one["name"], one["align"], one["items"]) == (alone["name"], alone["align"], alone["items"])
        assert one["uniform"]["value"] == alone["uniform"]["value"]
        assert one["provenance"]["encoder"] == alone["provenance"]["encoder"]
        assert one["provenance"]["kind"] == "sentences"
    (difference,) = found["differences"]
    assert difference["paired"]
    assert difference["uniform"] == pytest.approx(
        apart[1]["uniform"]["value"] - apart[0]["uniform"]["value"], rel=1e-6
    )
    assert TEXTS[0] in html.unescape(Path("page.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("typed", "code", "message"),
    [
        (
            "x.npy --encoder A",
            2,
            "give EMBEDDING, files of rows or JSON, or --encoder A --encoder B in place",
        ),
        ("", 2, "give EMBEDDING, files of rows or JSON, or --encoder A --encoder B in place of them"),
        ("--encoder A --encoder B", 2, "--encoder A needs --images alone, which are encoded"),
        ("--encoder sentence-transformers:A --encoder B", 2, "encoders of texts or of images, got both"),
        ("x.npy y.npy --threshold 4", 2, "--threshold has no effect without encoders of --texts"),
    ],
)
def test_encoders_and_files_are_not_compared_together(
    typed: str, code: int, message: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in failure(capsys, code, "compare", *typed.split())


# -------------------------------------------------------------------------------------------------- features


def test_features_of_texts_are_written_and_can_be_measured(
    model: str, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("texts.txt").write_text("\n".join([*TEXTS[:9], TEXTS[0]]) + "\n")
    assert main(["encode", model, "texts.txt", "--out", "texts.npy"]) == 0
    assert "texts.npy: 10 texts, 16 features each" in capsys.readouterr().err
    expected = SentenceTransformer(str(saved), device="cpu").encode([*TEXTS[:9], TEXTS[0]])
    np.testing.assert_allclose(np.load("texts.npy"), expected, atol=1e-6)

    with Path("plain.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("question", "answer"), *PAIRS])
    assert main(["encode", model, "plain.csv", "--out", "pairs.npz", "--prompt-name", "query"]) == 0
    *_, last = capsys.readouterr().err.splitlines()
    again = printed_json(capsys, *shlex.split(last)[3:])
    found = printed_json(capsys, "--encoder", model, "--texts", "plain.csv", "--prompt-name", "query")
    assert again["align"]["value"] == pytest.approx(found["align"]["value"], rel=1e-6)
    assert again["uniform"]["value"] == pytest.approx(found["uniform"]["value"], rel=1e-6)


def test_the_command_that_measures_encoded_pairs_works_for_every_table(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("rated.csv").write_text("sentence1,sentence2,rating\na cat,a dog,5\na fox,an owl,4\n")
    Path("sts.csv").write_text(
        "main\tx\t2012\t1\t5.000\ta cat\ta dog\nmain\tx\t2012\t2\t1.000\ta fox\tan owl\n"
    )
    for table, last in (("rated", "in the column rating"), ("sts", "sts.npz::features")):
        assert main(["encode", model, f"{table}.csv", "--out", f"{table}.npz"]) == 0
        told = capsys.readouterr().err.splitlines()
        assert told[-1].endswith(last)
        (command,) = [line for line in told if line.startswith("  next ")]
        printed_json(capsys, *shlex.split(command)[3:])
        assert ("--all-pairs" in command) == (table == "rated")


@pytest.mark.parametrize(
    ("typed", "code", "message"),
    [
        (
            "MODEL pairs.csv --out f.npy --workers 0",
            2,
            "--workers has no effect without an encoder of",
        ),
        ("e.pth pairs.csv --out f.npy --prompt a", 2, "--prompt has no effect without an encoder of texts"),
        ("MODEL pairs.csv --out f.npy --weights w.pth", 1, "--weights are for encoders of images, got"),
        ("MODEL pairs.csv --out f.txt", 1, "--out must end in .npy"),
    ],
)
def test_what_cannot_be_encoded_is_refused_in_one_line(
    typed: str, code: int, message: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in failure(capsys, code, "encode", *typed.replace("MODEL", model).split())


@pytest.mark.parametrize(
    ("typed", "remedy"),
    [
        ("scored.csv", "--threshold"),
        ("scored.csv", "--all-pairs"),
        ("rated.csv --threshold 2", "--score rating"),
        ("three.csv", "--columns a b"),
        ("three.csv", "three.csv::a"),
        ("four.csv --labels labels.txt", "--texts four.csv::a"),
    ],
)
def test_a_remedy_works_when_it_is_typed(
    typed: str, remedy: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("scored.csv").write_text("sentence1,sentence2,score\na cat,a dog,5\na fox,an owl,4\n")
    Path("rated.csv").write_text("sentence1,sentence2,rating\na cat,a dog,5\na fox,an owl,4\n")
    Path("three.csv").write_text("a,b,c\na cat,a dog,x\na fox,an owl,y\n")
    Path("four.csv").write_text("a,b\na cat,a dog\na fox,an owl\na hare,x\na goat,y\n")
    Path("labels.txt").write_text("0\n1\n0\n1\n")
    command = ["measure", "--encoder", model, "--texts", *typed.split()]
    assert remedy in failure(capsys, 1, *command)
    if "::" in remedy:
        command[command.index("--texts") + 1] = remedy.removeprefix("--texts ")
    else:
        command += [*remedy.split(), *["2"] * (remedy == "--threshold")]
    assert main(command) == 0


def test_a_process_without_texts_exchanges_on_the_device_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The device "meta" stands for a GPU; the texts are those of another process."""
    devices, others = [], iter([torch.tensor([[2.0, 2.0], [1.0, 1.0]]), torch.tensor([1, 0])])

    def gather_rows(own: Tensor) -> Tensor:
        devices.append(own.device.type)
        return next(others)

    monkeypatch.setattr(sentences, "agreed", lambda _: (2, torch.float32))
    monkeypatch.setattr("align_uniform._ranks.gather_rows", gather_rows)
    found = sentences._in_order([], torch.empty(0, dtype=torch.int64), torch.device("meta"))
    assert found.tolist() == [[1.0, 1.0], [2.0, 2.0]]
    assert devices == ["meta", "meta"]
