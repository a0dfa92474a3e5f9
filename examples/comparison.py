"""The part that the examples share: a table of measured encoders, differences, a file and a figure."""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align_uniform import compare_accuracies, uniform_optimum
from align_uniform.measuring.accuracies import AccuracyDifference
from align_uniform.measuring.difference import Difference
from align_uniform.measuring.measurement import Measurement
from align_uniform.measuring.quantity import with_error
from align_uniform.measuring.significance import holm, text_of_p


@dataclass(frozen=True)
class Encoder:
    """One encoder, measured."""

    measurement: Measurement
    hits: tuple[bool, ...]
    """Whether each item is right in a task that the encoder was not trained for."""
    independent: tuple[float, float] | None
    """The alignment and uniformity that other code found."""

    @property
    def accuracy(self) -> float:
        """The share of the items that are right."""
        return sum(self.hits) / len(self.hits)

    @property
    def accuracy_stderr(self) -> float:
        """The standard error of the accuracy."""
        return math.sqrt(self.accuracy * (1 - self.accuracy) / len(self.hits))


@dataclass(frozen=True)
class Results:
    """The results of an example, as its file keeps them."""

    recipe: Mapping[str, Any]
    accuracy_name: str
    encoders: Sequence[Encoder]
    differences: Sequence[Difference]


# ---------------------------------------------------------------------------------------------------- options


def options(docstring: str, output: str) -> argparse.ArgumentParser:
    """Return a parser with the options that the examples share; `docstring` describes the example."""
    parser = argparse.ArgumentParser(
        description=docstring, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of everything random (default: %(default)s)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path(output), help="folder for the results (default: %(default)s)"
    )
    parser.add_argument("--force", action="store_true", help="replace the results of an earlier run")
    return parser


def check_packages(packages: Mapping[str, str]) -> None:
    """Exit with one line if a module is missing; `packages` names the package of each module."""
    missing = [package for module, package in packages.items() if importlib.util.find_spec(module) is None]
    if missing:
        sys.exit(f"Missing: {', '.join(missing)}. Install with: pip install {' '.join(missing)}")


def check_output(folder: Path, name: str, *, force: bool) -> None:
    """Exit with one line, before any work is done, if there are results already."""
    path = folder / f"{name}.json"
    if path.exists() and not force:
        sys.exit(f"{path} exists; pass --force to replace it, or another folder with --output.")
    folder.mkdir(parents=True, exist_ok=True)


def folder_of(module: str) -> Path:
    """Return the folder of a package without importing it."""
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"no module named {module!r}")
    return Path(found.origin).parent


def say(text: str) -> None:
    """Report progress on stderr."""
    sys.stderr.write(f"{text}\n")


# ----------------------------------------------------------------------------------------------------- tables


def table(results: Results) -> str:
    """Return a table of the measures, and of the numbers that explain them."""
    rows = []
    for encoder in results.encoders:
        found = encoder.measurement
        if found.align is None or found.align.relative is None:
            raise ValueError(f"{found.name} must be measured with positive pairs.")
        rows.append(
            [
                found.name,
                with_error(found.align.value, found.align.stderr),
                with_error(found.uniform.value, found.uniform.stderr),
                with_error(found.align.relative, found.align.relative_stderr),
                dimensions(found.uniform.equivalent_dim, found.uniform.equivalent_dim_stderr),
                f"{found.rankme:.0f} of {min(found.n, found.dim):,}",
                with_error(found.mean_cosine, found.mean_cosine_stderr),
                f"{100 * encoder.accuracy:.1f} ± {100 * encoder.accuracy_stderr:.1f}",
            ]
        )
    heading = [
        "encoder",
        "alignment",
        "uniformity",
        "relative alignment",
        "equivalent dimension",
        "RankMe",
        "mean cosine",
    ]
    return markdown([*heading, f"{results.accuracy_name} %"], rows)


def agreement(results: Results) -> str:
    """Return a table of the measures next to independent ones, and the deviations in standard errors."""
    rows = []
    for encoder in results.encoders:
        found = encoder.measurement
        if encoder.independent is None or found.align is None:
            continue
        align, uniform = encoder.independent
        rows.append(
            [
                found.name,
                with_error(found.align.value, found.align.stderr),
                f"{align:.3f}",
                deviation(found.align.value, align, found.align.stderr),
                with_error(found.uniform.value, found.uniform.stderr),
                f"{uniform:.3f}",
                deviation(found.uniform.value, uniform, found.uniform.stderr),
            ]
        )
    columns = ["encoder"]
    columns += [part for name in ("alignment", "uniformity") for part in (name, "independent", "deviation")]
    return markdown(columns, rows)


def deviation(ours: float, theirs: float, stderr: float | None) -> str:
    """Return the difference in combined standard errors.

    The independent value has no standard error on record; a sample of the same size has the same one.
    """
    return "" if not stderr else f"{(ours - theirs) / (math.sqrt(2) * stderr):+.1f}"


def differences(results: Results) -> str:
    """Return a table of encoders compared item by item, which cancels the chance that they share."""
    rows = []
    accuracies = accuracy_differences(results)
    adjusted = holm([each.p for each in accuracies])
    for pair, of_accuracy, p in zip(results.differences, accuracies, adjusted, strict=True):
        z = [
            "" if not error or value is None else f"{value / error:+.1f}"
            for value, error in ((pair.align, pair.align_stderr), (pair.uniform, pair.uniform_stderr))
        ]
        align = "" if pair.align is None else with_error(pair.align, pair.align_stderr)
        uniform = with_error(pair.uniform, pair.uniform_stderr)
        points = f"{100 * of_accuracy.value:+.1f} ± {100 * of_accuracy.stderr:.1f}"
        chance = "" if p is None else text_of_p(p).removeprefix("p ").removeprefix("= ")
        rows.append([" − ".join(pair.names), align, z[0], uniform, z[1], points, chance])
    heading = ["difference", "alignment", "errors from 0", "uniformity", "errors from 0"]
    return markdown([*heading, f"{results.accuracy_name} %", "p"], rows)


def accuracy_differences(results: Results) -> list[AccuracyDifference]:
    """Return the differences of the accuracies of the encoders that are compared, by McNemar's test."""
    hits = {encoder.measurement.name: encoder.hits for encoder in results.encoders}
    return [
        compare_accuracies(*(hits[name] for name in pair.names), names=pair.names)
        for pair in results.differences
    ]


def dimensions(value: float | None, stderr: float | None) -> str:
    """Return a value with two digits of its error; values run from hundredths to hundreds."""
    if value is None or not stderr:
        return "none" if value is None else f"{value:.3g}"
    digits = max(0, 1 - math.floor(math.log10(stderr)))
    return f"{value:.{digits}f} ± {stderr:.{digits}f}"


def markdown(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the first column holds names, the others hold numbers."""
    marks = ["---", *["---:"] * (len(heading) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heading, marks, *rows])


# -------------------------------------------------------------------------------------------- file and figure


def write(results: Results, folder: Path, name: str) -> None:
    """Write `name`.json, and the encoders in the align-uniform plane as `name`.png; print the tables."""
    from align_uniform.figures import PlanePoint, plane_figure, save

    document = {
        "schema_version": 2,
        "recipe": dict(results.recipe),
        "accuracy_name": results.accuracy_name,
        "encoders": [
            vars(encoder)
            | {
                "measurement": json.loads(encoder.measurement.to_json()),
                "hits": "".join("1" if hit else "0" for hit in encoder.hits),
            }
            for encoder in results.encoders
        ],
        "differences": [vars(difference) for difference in results.differences],
    }
    (folder / f"{name}.json").write_text(
        json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )

    points = []
    for encoder in results.encoders:
        align, uniform = encoder.measurement.align, encoder.measurement.uniform
        if align is not None:
            errors = align.stderr, uniform.stderr
            points.append(
                PlanePoint(encoder.measurement.name, align.value, uniform.value, encoder.accuracy, *errors)
            )
    optimum = uniform_optimum(results.encoders[-1].measurement.dim)
    save(plane_figure(points, optimum, results.accuracy_name), folder / name)
    parts = [
        "Measured",
        table(results),
        "Next to independent values",
        agreement(results),
        "Differences",
        differences(results),
    ]
    sys.stdout.write("\n\n".join(parts) + "\n")
    say(f"Written: {folder / name}.json, .png and .svg")


def read(path: Path) -> Results:
    """Read the file that `write` wrote."""
    document = json.loads(path.read_text(encoding="utf-8"))
    encoders = [
        Encoder(
            Measurement.from_json(json.dumps(part["measurement"]), path.name),
            tuple(hit == "1" for hit in part["hits"]),
            None if part["independent"] is None else tuple(part["independent"]),
        )
        for part in document["encoders"]
    ]
    pairs = [Difference(**part | {"names": tuple(part["names"])}) for part in document["differences"]]
    return Results(document["recipe"], document["accuracy_name"], encoders, pairs)
