"""`align-uniform drift`: has an embedding moved?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from align_uniform._apart import Reads, Writes
from align_uniform._messages import folded, print_json
from align_uniform._options import Belongs, Options
from align_uniform._writing import check_replaceable
from align_uniform.cli import screen
from align_uniform.cli.command import GATE_FAILED, Command
from align_uniform.cli.outputs import Unwritten
from align_uniform.cli.parser import UsageError
from align_uniform.files.formats import ARRAYS

if TYPE_CHECKING:
    from align_uniform.measuring.drift_result import Drift

COMMAND = Command(
    help="test whether an embedding has moved",
    description=f"""
Test whether the rows of OLD and of NEW come from one distribution, by a permutation test of their squared
MMD, and print what changed: how far, how much of it is a shift of the mean, the rows that are most typical of
either side, uniformity, and alignment where --positives are given. Files of rows are {", ".join(ARRAYS)};
FILE::KEY names an array of several. Rows are normalised.

If row i of both files is the same item, say --paired or give --ids: this sees much smaller changes. All rows
count for the squared MMD; the test exchanges a random sample of --test-rows of them.

An encoder that was trained again has other axes, so its rows cannot be compared with those of the old one.
With --rotation-invariant, or where the numbers of features differ, only numbers that no rotation changes are
compared.

Exit codes: 0 for success; 1 for an invalid value or file; 2 for a usage error; {GATE_FAILED} with
--fail-if-moved if the embedding moved; 130 after Ctrl-C, with the results so far.""",
    options="align_uniform.cli.drift:DriftOptions",
    run="align_uniform.cli.drift:run",
    extra="cli",
    processes=True,
)


def _files() -> Any:
    """Declare the paths of files that may be left out."""
    return field(default=(), metadata={"metavar": "FILE"})


@dataclass(frozen=True)
class ItemOptions(Options):
    """Items that the rows stand for."""

    files: ClassVar[tuple[Reads | Writes, ...]] = (Reads(("ids", "positives", "texts")),)
    paired: bool | None = None
    """Row i of OLD and row i of NEW are one item. Default: the ids say whether they are."""
    ids: tuple[str, ...] = _files()
    """File with an id for each row, one file for both sides or one for each. Equal ids in the same order make
    rows pairs.
    """
    positives: tuple[str, ...] = _files()
    """Files of a second view of OLD and of NEW, for alignment."""
    texts: tuple[str, ...] = _files()
    """File with a text for each row, to name rows by, one file for both sides or one for each."""


@dataclass(frozen=True)
class ComparisonOptions(Options):
    """The test, and how it is computed."""

    rotation_invariant: bool = False
    """Compare only numbers that no rotation changes, for encoders that were trained apart."""
    t: float = 2.0
    """Temperature of the Gaussian kernel and of uniformity."""
    alpha: float = 2.0
    """Exponent of alignment."""
    permutations: int = 199
    """Number of random exchanges of rows."""
    test_rows: int = 2000
    """Largest number of rows of each side that are exchanged. Memory and time grow with its square."""
    method: Literal["exact", "anchors"] = "exact"
    """Compute the squared MMD from all rows (exact), or estimate it from some of them and all others
    (anchors).
    """
    anchors: int = field(default=2000, metadata={"metavar": "K"})
    """Number of rows of each side with --method anchors."""
    seed: int = 0
    """Seed of the exchanges and of the choice of rows."""
    as_is: bool = False
    """Compare the rows as they are, without normalising them."""
    device: str = "auto"
    """Device that computes: auto (cuda if there is one, else cpu), cpu, cuda or mps."""


@dataclass(frozen=True)
class DecisionOptions(Options):
    """The decision, and what is printed."""

    files: ClassVar[tuple[Reads | Writes, ...]] = (Writes("rows_out"),)
    fail_if_moved: bool = False
    """Exit with 3 if the embedding moved, for continuous integration."""
    significance: float = 0.05
    """Largest p that counts as moved: the share of false alarms."""
    tolerance: float = 0.0
    """Largest relative squared MMD that does not count as moved, from 0 to 1."""
    names: tuple[str, ...] = ()
    """Names of both sides. Default: the names of the files."""
    top: int = field(default=5, metadata={"metavar": "K"})
    """Number of rows to list that are most typical of either side."""
    json: bool = False
    """Print JSON instead of a table."""
    rows_out: str | None = field(default=None, metadata={"metavar": "FILE"})
    """File, .npz or .parquet, for the witness of each row: the mean potential with its own side less that
    with the other.
    """
    force: bool = False
    """Replace files that exist."""


@dataclass(frozen=True, kw_only=True)
class DriftOptions(DecisionOptions, ComparisonOptions, ItemOptions):
    """Options of comparing two embeddings as samples."""

    rules: ClassVar[tuple[Belongs, ...]] = (
        Belongs(("anchors",), to=("--method anchors",)),
        Belongs(("alpha",), to=("--positives",)),
        Belongs(("force",), to=("--rows-out",)),
        Belongs(("permutations", "test_rows", "texts", "top"), against=("--rotation-invariant",)),
    )
    files: ClassVar[tuple[Reads | Writes, ...]] = (Reads(("old", "new")),)
    old: str = field(metadata={"argument": True, "metavar": "OLD"})
    """File of rows [N, m] before."""
    new: str = field(metadata={"argument": True, "metavar": "NEW"})
    """File of rows [M, m] after."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("positives", "names"):
            if (given := len(getattr(self, name))) not in (0, 2):
                raise UsageError(f"--{name} must be two, one of OLD and one of NEW, got {given}")
        for name in ("ids", "texts"):
            if (given := len(getattr(self, name))) > 2:
                raise UsageError(f"--{name} must be one file for both sides or one for each, got {given}")


def run(options: DriftOptions) -> int:
    """Compare, print and write; return 0, the code of a gate that failed, or 130 after Ctrl-C."""
    from align_uniform import _ranks as ranks

    if options.rows_out is not None:
        from align_uniform.measuring.row_files import check_row_file

        check_row_file(Path(options.rows_out))
        check_replaceable(Path(options.rows_out), force=options.force)
    result = _drift(options)
    unwritten = Unwritten()
    if ranks.rank() == 0:
        _show(result, options, unwritten)
    if "interrupted" in result.provenance["method"]:
        return 130
    return unwritten.told(GATE_FAILED if options.fail_if_moved and result.moved else 0)


def _drift(options: DriftOptions) -> Drift:
    from align_uniform.measuring.drift import drift
    from align_uniform.recipes.devices import measuring_device

    return drift(
        options.old,
        options.new,
        positives=options.positives or None,
        ids=_columns(options.ids),
        texts=_columns(options.texts),
        paired=options.paired,
        rotation_invariant=options.rotation_invariant,
        t=options.t,
        alpha=options.alpha,
        normalize=not options.as_is,
        method=options.method,
        anchors=options.anchors,
        test_rows=options.test_rows,
        permutations=options.permutations,
        significance=options.significance,
        tolerance=options.tolerance,
        seed=options.seed,
        top=options.top,
        device=measuring_device(options.device),
        names=(options.names[0], options.names[1]) if options.names else None,
        progress=sys.stderr.isatty(),
        interruptible=True,
        distributed=True,
    )


def _columns(paths: Sequence[str]) -> tuple[Sequence[Any], Sequence[Any]] | None:
    """Read a column for each side, or one for both."""
    if not paths:
        return None
    from align_uniform.files import read_column

    first = read_column(paths[0])
    return first, read_column(paths[1]) if len(paths) == 2 else first


def _show(result: Drift, options: DriftOptions, unwritten: Unwritten) -> None:
    if options.json:
        print_json(result.to_json())
    else:
        for line in folded(str(result), sys.stdout).split("\n"):
            is_verdict = line == result.verdict
            screen.say(line, screen.COLOURS["warning" if result.moved else ""] if is_verdict else None)
    if options.rows_out is not None:
        with unwritten.writing(f"the numbers of each row ({options.rows_out})"):
            result.save_rows(Path(options.rows_out))
    if options.fail_if_moved and result.moved:
        print(f"align-uniform: {result.names[0]} → {result.names[1]}: {result.verdict}", file=sys.stderr)
