"""Damage files of every format in many ways, and read each: every one must be read, or refused in one line.

    python -m benchmarks.fuzz --inputs 100000 --seed 0 --out benchmarks/fuzz.json

A process of its own reads the files, since the libraries of HDF5 and Parquet may end the process on a damaged
file. It is then started again after that file, and it is stopped if a file takes longer than two minutes. The
damage follows from the seed, the name of the file and the number of the input:
`--only x.h5 --first 1234 --inputs 1 --keep FOLDER` makes one of them again, and keeps it.
"""

from __future__ import annotations

import argparse
import json
import platform
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from align_uniform._messages import one_line
from align_uniform._writing import check_replaceable, written_whole

SECONDS = 120.0
"""The time after which a process that reads one file is taken to hang."""

PIECES = [
    *(bytes([byte]) for byte in b'\0\n\r\t ",;:[]{}.-+0129eEnN\xff\xc3'), b"\r\n", b'""', b"\xef\xbb\xbf",
    b"null", b"NaN", b"-Infinity", b"true", b"1e999", b"-0", b"007", b"[]", b"{}", b"[[", b"9" * 400,
    b"[" * 2000,
    "\u00fc".encode(), "\u2028".encode(), b"\xed\xa0\x80", b"../x", b"PK\x03\x04", b"\x80\x02", *(
        (sign * 2**power).to_bytes(size, order, signed=True)
        for size, power in ((2, 14), (4, 30), (8, 62)) for sign in (1, -1) for order in ("little", "big")
    ),
]  # fmt: skip
"""The pieces that are put into files: characters with a meaning in some format, and large numbers."""

LIBRARIES = ("torch", "numpy", "h5py", "pyarrow", "safetensors")
"""The libraries that read files, whose versions the record names."""


# ---------------------------------------------------------------------------------------------- what is read


@dataclass(frozen=True)
class Subject:
    """A file that is damaged: how it is written, and how it is read."""

    write: Callable[[Path], object]
    """Writes the intact file."""
    read: Callable[[Path], object]
    """Reads all of it."""
    within: str | None = None
    """The file of a folder that is damaged, if it is a folder."""


def subjects() -> dict[str, Subject]:
    """Return the files by name: of each format as rows and as columns, and tables as options take them."""
    from tests.files.test_fuzz import intact, read_all

    from align_uniform.files.formats import ARRAYS, FORMATS

    names = [f"x{ending}" for form in FORMATS for ending in form.endings]
    found = {name: Subject(intact, read_all) for name in [*names, "packed.npz", "packed.h5", "old.pt"]}
    for ending in (".npz", ".pt", ".h5"):
        found[f"ids{ending}"] = Subject(_write_vectors, read_all)
    for ending in (".csv", ".tsv", ".jsonl", ".parquet"):
        found[f"numbers{ending}"] = Subject(_write_numbers, read_all)
        found[f"pairs{ending}"] = Subject(_write_pairs, _read_pairs)
    for ending in (".csv", ".tsv", ".jsonl", ".txt"):
        found[f"labels{ending}"] = Subject(_write_labels, _read_labels)
        found[f"texts{ending}"] = Subject(_write_labels, _read_texts)
    found["state"] = Subject(_write_folder, read_all, "state.json")
    found["folder"] = Subject(_write_folder, read_all, "data-00000-of-00001.arrow")
    assert ARRAYS.keys() <= {Path(name).suffix for name in found}
    return found


def _write_vectors(path: Path) -> None:
    from tests.files.samples import save
    from tests.rows import normal

    save(path, **{f"item {i}": normal(4, seed=i) for i in range(6)})


def _write_numbers(path: Path) -> None:
    from tests.files.samples import write_parquet, write_text_table
    from tests.rows import normal

    columns: dict[str, Any] = {f"d{j}": normal(9, seed=j).tolist() for j in range(3)}
    (write_parquet if path.suffix == ".parquet" else write_text_table)(path, columns)


def _write_pairs(path: Path) -> None:
    from tests.files.samples import write_parquet, write_text_table

    columns: dict[str, Any] = {"x": [0, 1, 2, 3], "y": [4, 5, 6, 7], "score": [4.5, 0.25, 5.0, 3.0]}
    (write_parquet if path.suffix == ".parquet" else write_text_table)(path, columns)


def _write_labels(path: Path) -> None:
    from tests.files.samples import write, write_text_table

    labels: list[Any] = ["a cat", "a dog", 'a "cat", really', "\u00fc", "a dog", "a cat", "7", "007"]
    if path.suffix == ".txt":
        write(path, "\n".join(labels) + "\n")
    else:
        write_text_table(path, {"label": labels})


def _write_folder(path: Path) -> None:
    from tests.files.test_arrow import save_to_disk
    from tests.rows import normal

    save_to_disk(path, 1, x=normal(11, 3).tolist(), label=[*range(11)])


def _read_pairs(path: Path) -> None:
    """Choose the pairs of eight rows as `measure --pairs FILE --threshold 4` does."""
    from align_uniform.cli.pairs import PairsAsked, read_pairs
    from align_uniform.measuring.positives import PairChoice, chosen_pairs

    try:
        table = read_pairs(PairsAsked(str(path), None, None, 4.0, all_pairs=False))
        chosen_pairs(PairChoice(table.rows((None, None)), table.scores, 4.0, True), (8, 8), "pairs")
    except ValueError as error:
        raise ValueError(one_line(str(error))) from error  # as the command prints it


def _read_labels(path: Path) -> None:
    """Number the classes of eight rows as `measure --labels FILE` does."""
    from align_uniform.measuring.columns import codes_of

    codes_of("labels", path, 8)


def _read_texts(path: Path) -> None:
    """Name eight items as `measure --texts FILE` does."""
    from align_uniform.measuring.columns import names_of

    names_of("items", path, 8)


# ------------------------------------------------------------------------------------------------- the damage


def damaged(data: bytes, seed: int, name: str, number: int) -> bytes:
    """Return the data with one to four changes, which follow from the seed, the name and the number."""
    draw = random.Random(f"{seed} {name} {number}")
    changed = bytearray(data)
    for _ in draw.choice([range(1)] * 3 + [range(2), range(4)]):
        draw.choice(CHANGES)(changed, draw)
    return bytes(changed)


def _span(data: bytearray, draw: random.Random) -> slice:
    start = draw.randrange(len(data) + 1)
    return slice(start, start + draw.choice([1, 2, 4, 8, 64, draw.randrange(len(data) + 1)]))


def _flip(data: bytearray, draw: random.Random) -> None:
    for _ in range(draw.randint(1, 8) if data else 0):
        data[draw.randrange(len(data))] ^= draw.choice([1 << draw.randrange(8), draw.randint(1, 255)])


def _cut(data: bytearray, draw: random.Random) -> None:
    del data[draw.randrange(len(data) + 1) :]


def _remove(data: bytearray, draw: random.Random) -> None:
    del data[_span(data, draw)]


def _repeat(data: bytearray, draw: random.Random) -> None:
    part = _span(data, draw)
    data[part.start : part.start] = data[part] * draw.choice([1, 1, 2, 20])


def _insert(data: bytearray, draw: random.Random) -> None:
    place = draw.randrange(len(data) + 1)
    data[place:place] = draw.choice(PIECES)


def _overwrite(data: bytearray, draw: random.Random) -> None:
    piece, place = draw.choice(PIECES), draw.randrange(len(data) + 1)
    data[place : place + len(piece)] = piece


def _copy(data: bytearray, draw: random.Random) -> None:
    source, target = _span(data, draw), draw.randrange(len(data) + 1)
    part = data[source]
    data[target : target + len(part)] = part


def _swap_lines(data: bytearray, draw: random.Random) -> None:
    lines = data.splitlines(keepends=True)
    if len(lines) > 1:
        i, j = draw.randrange(len(lines)), draw.randrange(len(lines))
        lines[i], lines[j] = lines[j], lines[i]
        data[:] = b"".join(lines)


CHANGES = (_flip, _flip, _cut, _remove, _repeat, _insert, _insert, _overwrite, _overwrite, _copy, _swap_lines)
"""The changes, those of small parts more often."""


# -------------------------------------------------------------------------------------- reading in a process


def outcome(subject: Subject, path: Path, content: bytes) -> str:
    """Return "read" or "refused" for a file of that content, or a description of any other outcome."""
    (path if subject.within is None else path / subject.within).write_bytes(content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            subject.read(path)
            result = "read"
        except (ValueError, OSError) as error:
            message = str(error)
            is_one_line = message.isprintable() and len(message) < 5000
            result = "refused" if is_one_line else f"refused by {message[:200]!r}"
        except BaseException as error:  # a library in Rust panics beside Exception
            place = traceback.extract_tb(error.__traceback__)[-1]
            result = f"{error!r:.200} in {place.name}, line {place.lineno}"
    return f"{result}, with {caught[0].message!r:.200}" if caught else result


def read_in_turn(plan: Plan, begin: int, folder: Path) -> None:
    """Read the damaged files of a plan from a place on, and report each on stdout, before and after."""
    known, name, data, whole = subjects(), "", b"", folder
    for place, (subject_name, number) in enumerate(plan.files(list(known))):
        if place < begin:
            continue
        subject = known[subject_name]
        if subject_name != name:
            name, whole = subject_name, folder / f"intact-{subject_name}"
            subject.write(whole)
            data = (whole if subject.within is None else whole / subject.within).read_bytes()
        # A new name each time: what is mapped or open stays as it was.
        path = folder / f"{number}-{name}"
        _say(f"{place} begun")
        if subject.within is not None:
            shutil.copytree(whole, path)
        _say(f"{place} {outcome(subject, path, damaged(data, plan.seed, name, number))}")
        if plan.keep is not None:
            shutil.move(path, Path(plan.keep) / path.name)
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _say(text: str) -> None:
    sys.stdout.write(" ".join(text.split()) + "\n")
    sys.stdout.flush()


# ---------------------------------------------------------------------------------------- trying all of them


@dataclass(frozen=True)
class Plan:
    """The damaged files that are tried."""

    inputs: int
    seed: int
    first: int
    """The number of the first damaged version of each file."""
    only: list[str]
    """The files that are damaged; all if it is empty."""
    keep: str | None
    """The folder where damaged files are kept."""

    def files(self, known: Sequence[str]) -> Iterator[tuple[str, int]]:
        """Yield the name and the number of each input: as many of each file, file by file."""
        names = self.only or known
        share, rest = divmod(self.inputs, len(names))
        for place, name in enumerate(names):
            for number in range(self.first, self.first + share + (place < rest)):
                yield name, number


@dataclass
class Tally:
    """The outcomes for the damaged versions of one file."""

    name: str
    inputs: int = 0
    read: int = 0
    refused: int = 0
    ended: int = 0
    """The files on which a library ended the process."""
    hung: int = 0
    other: dict[str, list[int]] = field(default_factory=dict)
    """Any other outcome, in words, with the numbers of the files that had it."""

    def add(self, number: int, result: str) -> None:
        """Count the outcome for a file."""
        self.inputs += 1
        if result in ("read", "refused", "hung"):
            setattr(self, result, getattr(self, result) + 1)
        elif result == "begun":
            self.ended += 1
        else:
            self.other.setdefault(result, []).append(number)


def tried(plan: Plan) -> Iterator[Tally]:
    """Yield the outcomes of a plan, file by file. Processes are started again after one ends or hangs."""
    files = list(plan.files(list(subjects())))
    begin, tally = 0, Tally(files[0][0])
    while begin < len(files):
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            command = [
                sys.executable,
                "-m",
                "benchmarks.fuzz",
                "--child",
                json.dumps(asdict(plan)),
                str(begin),
                folder,
            ]
            for place, result in _answers(command):
                name, number = files[place]
                if name != tally.name:
                    yield tally
                    tally = Tally(name)
                tally.add(number, result)
                begin = place + 1
    yield tally


def _answers(command: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield what a process reports of each file; of the last one also that it hung, or only that it begun."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert child.stdout is not None
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_pass_on, args=(child.stdout, lines), daemon=True).start()
        begun = None
        while True:
            try:
                line = lines.get(timeout=SECONDS if begun is not None else 10 * SECONDS)
            except queue.Empty:
                child.kill()
                line, hung = None, True
            else:
                hung = False
            if line is None:
                if begun is not None:
                    yield begun, "hung" if hung else "begun"
                elif hung:
                    raise RuntimeError("the process that reads files did not begin")
                return
            text, _, result = line.rstrip("\n").partition(" ")
            begun = int(text) if result == "begun" else None
            if begun is None:
                yield int(text), result


def _pass_on(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try all files, print a table and write the record; return 1 if an outcome is not as it should be."""
    given = sys.argv[1:] if arguments is None else [*arguments]
    if given[:1] == ["--child"]:
        read_in_turn(Plan(**json.loads(given[1])), int(given[2]), Path(given[3]))
        return 0
    options = _parser().parse_args(given)
    if options.out is not None:
        check_replaceable(options.out, force=options.force)
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
    keep = None if options.keep is None else str(options.keep.absolute())
    plan = Plan(options.inputs, options.seed, options.first, options.only, keep)
    tallies = []
    sys.stdout.write(
        f"{'file':<18}{'inputs':>8}{'read':>8}{'refused':>9}{'ended':>7}{'hung':>6}{'other':>7}\n"
    )
    for tally in tried(plan):
        tallies.append(tally)
        _print(tally)
    if options.out is not None:
        with written_whole(options.out) as partial:
            partial.write_text(json.dumps(record(plan, tallies), indent=1) + "\n", encoding="utf-8")
    return int(any(tally.other or tally.hung for tally in tallies))


def _print(tally: Tally) -> None:
    other = sum(map(len, tally.other.values()))
    sys.stdout.write(
        f"{tally.name:<18}{tally.inputs:>8,}{tally.read:>8,}{tally.refused:>9,}{tally.ended:>7,}{tally.hung:>6,}"
        f"{other:>7,}\n"
    )
    for text, numbers in tally.other.items():
        sys.stdout.write(f"  {', '.join(map(str, numbers[:5]))}: {text}\n")
    sys.stdout.flush()


def record(plan: Plan, tallies: Sequence[Tally]) -> dict[str, Any]:
    """Return what was tried and what came of it, as JSON has it."""
    return {
        "seed": plan.seed,
        "first": plan.first,
        "inputs": sum(tally.inputs for tally in tallies),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "files": [asdict(tally) for tally in tallies],
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="number of damaged files")
    parser.add_argument("--seed", type=int, default=0, help="seed of the damage")
    parser.add_argument("--first", type=int, default=0, help="number of the first input of each file")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="files to damage; default: all")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the damaged files here")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the record here as JSON")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
