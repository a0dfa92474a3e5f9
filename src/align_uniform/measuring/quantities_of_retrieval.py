"""The records of the numbers of retrieval, in both directions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from align_uniform._messages import counted
from align_uniform.measuring.answers import Ranking
from align_uniform.measuring.quantity import Face, Quantity, faces
from align_uniform.measuring.results import Results

DIRECTIONS = {
    "forward": ("", "second", "first"),
    "backward": ("backwards: ", "first", "second"),
}
"""The words of each direction: before the label, for the partner, and for the row that looks for it."""

SHOWN: dict[str, tuple[Face, ...]] = {
    "forward.recall_1": ("table", "compare"),
    "forward.recall_10": ("table",),
    "forward.mrr": ("table", "compare"),
    "backward.recall_1": ("table", "compare"),
}
"""The faces, besides report, scalars and differences, that show a number."""


def _candidates(direction: str) -> Callable[[Results], str]:
    def note(measurement: Results) -> str:
        if measurement.retrieval is None:
            return ""
        ranking: Ranking = getattr(measurement.retrieval, direction)
        return f"{counted(ranking.queries, 'query', 'queries')} among {counted(ranking.candidates, 'row')}"

    return note


def _records() -> Iterator[Quantity]:
    for direction, (before, partner, own) in DIRECTIONS.items():
        for depth in (1, 5, 10):
            among = "the nearest candidate" if depth == 1 else f"among the {depth} nearest candidates"
            yield _record(
                f"{direction}.recall_{depth}",
                f"{before}recall@{depth}",
                f"share of pairs whose {partner} row is {among} of the {own}; ties are shared",
                direction,
            )
        yield _record(
            f"{direction}.mrr",
            f"{before}MRR",
            f"mean reciprocal rank of the {partner} row of a pair among the candidates of the {own}",
            direction,
        )


def _record(path: str, label: str, meaning: str, direction: str) -> Quantity:
    return Quantity(
        f"retrieval.{path}",
        label,
        "Retrieval",
        meaning,
        note=_candidates(direction),
        caution="It falls with the number of candidates: compare values among equally many.",
        errors=(f"retrieval.{path}_stderr",),
        faces=faces("difference", *SHOWN.get(path, ())),
        better="larger",
        is_share=True,
    )


OF_RETRIEVAL: tuple[Quantity, ...] = tuple(_records())
"""The numbers of the group "Retrieval"."""
