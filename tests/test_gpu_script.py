"""Tests of `make gpu` with tiny sizes in Triton's interpreter: everything runs that needs no GPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from benchmarks.gpu import summary
from benchmarks.gpu.aims import judge
from benchmarks.gpu.item import Failed, Item, LeftOut, Record
from benchmarks.gpu.parts import PARTS, STAGES
from benchmarks.gpu.rates import limit_seconds
from benchmarks.gpu.worker import run

ROOT = Path(__file__).parents[1]


def script(*arguments: str, interpreted: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu", *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment(interpreted),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def environment(interpreted: bool = True) -> dict[str, str]:
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    path = os.pathsep.join(filter(None, (str(ROOT / "src"), hidden.get("PYTHONPATH"))))
    return hidden | {"PYTHONPATH": path, "TRITON_INTERPRET": "1" if interpreted else "0"}


def test_all_that_needs_no_gpu_runs_and_is_written(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    done = script("--quick", "--out", str(out))
    found = json.loads(out.read_text())
    records = {part: found["parts"][part] for part in PARTS}
    failed = [record for part in records.values() for record in part if record["outcome"] == "failed"]
    assert not failed
    assert done.returncode == 0, done.stderr
    assert found["schema_version"] == 1
    assert found["complete"]
    assert found["machine"]["torch"]
    assert found["machine"]["triton"]
    for part, of_part in records.items():
        assert any(record["outcome"] == "measured" for record in of_part), part
        assert all(record["why"] for record in of_part if record["outcome"] == "left out")
    uniform = next(record for record in records["speed"] if record["loss"] == "uniform")
    assert {"triton", "tiles", "two lines"} <= set(uniform["ms"])
    assert set(uniform["ms"]["triton"]) == {"median", "low", "high"}
    assert {record["engine"] for record in records["accuracy"]} == {"triton", "tiles"}
    assert {aim["reached"] for aim in found["aims"]} == {None}  # none is about sizes as small
    assert done.stdout.splitlines()[-1].split("  ")[1] == "not measured"


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    out.write_text("mine")
    done = script("--quick", "--out", str(out))
    assert done.returncode == 2
    assert done.stderr == f"{out} exists already; use --force to replace it.\n"
    assert out.read_text() == "mine"


def test_without_a_gpu_one_line_says_what_to_do(tmp_path: Path) -> None:
    done = script("--out", str(tmp_path / "gpu.json"), interpreted=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--quick" in done.stderr
    assert not list(tmp_path.iterdir())


def heed_interruptions() -> None:
    """Undo what shells do to the processes that they start in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
def test_an_interrupted_run_keeps_what_it_has(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu",
        "--quick",
        "--only",
        "limit",
        "speed",
        "--out",
        str(out),
    ]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interruptions,
    ) as process:
        assert process.stderr is not None
        while not process.stderr.readline().split("  ")[-1].startswith("speed: uniform"):
            assert process.poll() is None
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    found = json.loads(out.read_text())
    assert not found["complete"]
    assert found["parts"]["limit"]


def test_every_part_is_in_one_stage() -> None:
    assert sorted(part for stage in STAGES for part in stage) == sorted(PARTS)


def test_an_item_that_fails_is_recorded_with_its_reason() -> None:
    def wrong() -> Record:
        raise ZeroDivisionError("no")

    def bad() -> Record:
        raise Failed("an error of 2", {"error": 2})

    def unable() -> Record:
        raise LeftOut("needs a GPU")

    assert run(Item("", lambda: {"n": 1})) == {"outcome": "measured", "n": 1}
    assert run(Item("", unable)) == {"outcome": "left out", "why": "needs a GPU"}
    assert run(Item("", bad)) == {"outcome": "failed", "why": "an error of 2", "error": 2}
    failed = run(Item("", wrong))
    assert (failed["outcome"], failed["why"]) == ("failed", "ZeroDivisionError: no")
    assert failed["traceback"][-1] == "ZeroDivisionError: no"


RATES: list[Record] = [
    {"name": "tf32", "rate": 4e14, "unit": "flop/s", "outcome": "measured"},
    {"name": "bfloat16", "rate": 8e14, "unit": "flop/s", "outcome": "measured"},
    {"name": "float32", "rate": 5e13, "unit": "flop/s", "outcome": "measured"},
    {"name": "exp", "rate": 4e12, "unit": "exp/s", "outcome": "measured"},
]


def timed(n: int, dtype: str = "float32", **ms: float) -> Record:
    times = {name.replace("_", " "): {"median": time, "low": time, "high": time} for name, time in ms.items()}
    sizes = {"loss": "uniform", "what": "value + gradient", "n": n, "m": 128, "dtype": dtype}
    return sizes | {
        "name": f"N={n}",
        "outcome": "measured",
        "ms": times,
        "mib": {},
        "left_out": {"two lines": "out of memory"},
    }


def found(**parts: list[Record]) -> dict[str, list[Record]]:
    return {"limit": RATES, **parts}


def test_aims_are_reached_or_missed_by_what_was_measured() -> None:
    speed = [
        timed(128, triton=0.1, tiles=0.2, two_lines=0.2),
        timed(4096, triton=1.0, tiles=2.0, two_lines=9.0),
        timed(16384, triton=2.0, tiles=9.0, compiled=80.0),
        timed(65536, triton=13.2, tiles=90.0),
        timed(65536, "bfloat16", triton=6.6, tiles=90.0),
    ]
    exact = {"engine": "triton", "n": 1_000_000, "seconds": 6.0, "outcome": "measured"}
    aims = judge(found(speed=speed, exact=[exact]))
    assert [aim.reached for aim in aims] == [True, False, True, True, False, True]
    assert [aim.measured.split(" (")[0] for aim in aims] == [
        "2.00x at the worst of 2 sizes",
        "9.0x the two lines",
        "40.0x the formula under torch.compile; the two lines: out of memory",
        "1.42x",
        "6.00 s",
        "2.00x",
    ]


def test_aims_are_not_measured_where_nothing_was() -> None:
    assert {aim.reached for aim in judge({})} == {None}


@pytest.mark.parametrize(
    ("sizes", "products", "kind", "exponentials"),
    [
        ({"m": 128, "dtype": "float32", "engine": "triton", "gradient": False}, 3, "bfloat16", 1),
        ({"m": 128, "dtype": "float32", "engine": "triton", "gradient": True}, 6, "bfloat16", 1),
        ({"m": 256, "dtype": "float32", "engine": "triton", "gradient": True}, 9, "bfloat16", 2),
        ({"m": 128, "dtype": "bfloat16", "engine": "triton", "gradient": True}, 3, "bfloat16", 1),
        ({"m": 768, "dtype": "bfloat16", "engine": "tiles", "gradient": True}, 1.5, "float32", 0.5),
    ],
)
def test_the_limit_is_that_of_the_form_used(
    sizes: Any, products: float, kind: str, exponentials: float
) -> None:
    rates = {rate["name"]: rate["rate"] for rate in RATES}
    expected = 1000**2 * (products * 2 * sizes["m"] / rates[kind] + exponentials / rates["exp"])
    assert limit_seconds(rates, n=1000, **sizes) == pytest.approx(expected)


def test_the_table_shows_failures_and_ends_with_the_aims() -> None:
    failed = {"name": "uniform, triton", "outcome": "failed", "why": "two\nlines", "took": 1.0}
    shown = found(speed=[timed(4096, triton=1.0, tiles=2.0, two_lines=9.0)], behaviour=[failed])
    lines = list(summary.lines({"device": "card", "driver": None}, shown, judge(shown)))
    assert lines[0] == "device card"
    assert "  behaviour, uniform, triton: two | lines" in lines
    assert any(line.split()[0] == "4096" and "9.000" in line for line in lines if line)
    assert lines.index("aims") == len(lines) - 7
