"""The answer to "is this embedding fit for search?", as far as a measurement can tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from align_uniform._messages import counted
from align_uniform.measuring.answers import Ranking
from align_uniform.measuring.heuristic import Finding
from align_uniform.measuring.quantities_of_classes import NEIGHBOURS
from align_uniform.measuring.results import Results

FINDS = 0.9
"""The share of partners that are found, among the first ten candidates, from which a search is said to find
them.
"""

CANDIDATES = 100
"""The number of candidates from which the first ten are few; of fewer, the first alone counts."""

MISSES = 0.5
"""The share below which a search is said to miss them."""

SPOILS = {
    "collapsed": "most rows lie too close together to be told apart",
    "few directions dominate": "a few directions decide which rows are near",
    "hubs": "a few rows turn up in a great many searches",
    "rows that nothing finds": "many rows turn up in no search",
    "duplicates": "copies fill the first places",
    "labels no closer than chance": "rows of one class are no nearer to each other than others",
    "pairs no closer than chance": "the rows of a pair are hardly nearer to each other than others",
}
"""The findings that spoil a search whatever it looks for, and what they do."""

OF_CENTRING = "cone"
"""The finding that costs a search little: the order of neighbours changes little with it."""


@dataclass(frozen=True)
class Fitness:
    """Whether the rows are fit for a search by nearest neighbours.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> noise = torch.randn(200, 16, generator=torch.Generator().manual_seed(1))
        >>> fitness = measure(x, x + 0.3 * noise).fitness
        >>> fitness.answer, fitness.severity, len(fitness.reasons)
        ('fit for search', 'passed', 1)
    """

    answer: str
    """The answer in a few words."""
    severity: str
    """The severity of the answer: "problem", "warning", "note", or "passed"."""
    reasons: tuple[str, ...]
    """The reasons, as sentences."""


def fitness(measurement: Results, findings: tuple[Finding, ...]) -> Fitness:
    """Return whether the rows of a measurement are fit for search, with the reasons.

    It is a rule of thumb. With pairs, the share of partners that a search finds among the first ten decides,
    or first of all where there are fewer than 100 candidates; findings that spoil any search count against
    it. Without pairs only these are known.

    Args:
        measurement: the measurement.
        findings: its findings.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> from align_uniform.measuring.fitness import fitness
        >>> x = torch.randn(500, 32, generator=torch.Generator().manual_seed(0))
        >>> y = x + 0.1 * torch.randn(500, 32, generator=torch.Generator().manual_seed(1))
        >>> result = measure(x, y)
        >>> fitness(result, result.findings).answer
        'fit for search'
    """
    spoilt = [SPOILS[each.name] for each in findings if each.name in SPOILS and each.severity != "note"]
    found = measurement.retrieval
    depth = None if found is None else min(_depth(found.forward), _depth(found.backward))
    reasons = (*_searches(measurement), *(f"{each[:1].upper()}{each[1:]}." for each in spoilt))
    if any(each.name == OF_CENTRING for each in findings):
        reasons += (_of_a_cone(measurement),)
    if depth is not None and depth < MISSES:
        return Fitness("not fit for search", "problem", reasons)
    if spoilt:
        return Fitness("of limited use for search as it is", "warning", reasons)
    if depth is not None and depth < FINDS:
        return Fitness("of limited use for search", "warning", reasons)
    if depth is not None:
        return Fitness("fit for search", "passed", reasons)
    return Fitness("nothing known speaks against search", "note", reasons)


def _depth(found: Ranking) -> float:
    """Return the share of the searches in one direction that find their partner early."""
    return found.recall_10 if found.candidates >= CANDIDATES else found.recall_1


def _of_a_cone(measurement: Results) -> str:
    """Return what a cone means for search, with what centring would change if that was measured."""
    centred = None if measurement.centered is None else measurement.centered.retrieval
    words = "Thresholds of similarity mean little in a cone: centre the rows first."
    if centred is None:
        return f"The cone hardly changes which rows are near. {words}"
    return (
        f"{words} The centred rows find their partner first in {centred.forward.recall_1:.1%} of searches, "
        f"the other way round in {centred.backward.recall_1:.1%}."
    )


def _searches(measurement: Results) -> Iterator[str]:
    """Yield what searches found, or that none was made."""
    found = measurement.retrieval
    if found is not None:
        here = found.forward
        yield (
            f"A row finds its partner first in {here.recall_1:.1%} of "
            f"{counted(here.queries, 'search', 'searches')} among {counted(here.candidates, 'row')}, and "
            f"among the first ten in {here.recall_10:.1%}; the other way round in "
            f"{found.backward.recall_1:.1%} and {found.backward.recall_10:.1%}."
        )
    if measurement.classes is not None:
        yield (
            f"The {NEIGHBOURS} nearest rows name the class of {measurement.classes.knn:.1%} of "
            f"{counted(measurement.classes.queries, 'row')}."
        )
    if found is None:
        yield "Whether a search finds the right row was not measured: that takes pairs."
