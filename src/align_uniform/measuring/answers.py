"""The answers of an embedding: whether rows find their partners, and whether neighbours share a class."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ranking:
    """How often a row finds its partner, and at which place, among all candidates.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> noise = torch.randn(200, 16, generator=torch.Generator().manual_seed(1))
        >>> forward = measure(x, x + noise).retrieval.forward
        >>> print(f"recall@1 {forward.recall_1:.3f} ± {forward.recall_1_stderr:.3f}")
        recall@1 0.705 ± 0.032
    """

    queries: int
    """The number of pairs whose first row looked for the second: all, or a random sample."""
    candidates: int
    """The number of rows that are searched; a query, its other partners and its group do not count."""
    recall_1: float
    """The share of queries whose partner is the nearest candidate; ties are shared."""
    recall_5: float
    """The share of queries whose partner is among the 5 nearest candidates."""
    recall_10: float
    """The share of queries whose partner is among the 10 nearest candidates."""
    mrr: float
    """The mean reciprocal rank of the partner."""
    recall_1_stderr: float | None = None
    """The standard error of `recall_1`, for these candidates."""
    recall_5_stderr: float | None = None
    """The standard error of `recall_5`, for these candidates."""
    recall_10_stderr: float | None = None
    """The standard error of `recall_10`, for these candidates."""
    mrr_stderr: float | None = None
    """The standard error of `mrr`, for these candidates."""


@dataclass(frozen=True)
class Retrieval:
    """The search for partners in both directions.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> noise = torch.randn(200, 16, generator=torch.Generator().manual_seed(1))
        >>> retrieval = measure(x, x + noise).retrieval
        >>> retrieval.forward.recall_10, retrieval.backward.recall_10
        (0.945, 0.945)
    """

    forward: Ranking
    """The first row of a pair looks for the second."""
    backward: Ranking
    """The second row of a pair looks for the first."""


@dataclass(frozen=True)
class ClassRow:
    """A line of the table of classes.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> classes = ["cat", "dog", "fox", "owl"] * 50
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> x[:, :4] += 3 * torch.eye(4).repeat(50, 1)
        >>> first = measure(x, labels=classes).classes.table[0]
        >>> first.name, first.rows, first.nearest
        ('cat', 50, 'fox')
    """

    name: str
    """The label."""
    rows: int
    """The number of rows."""
    align: float | None
    """The mean squared distance of two distinct rows of the class; None for a single row."""
    uniform: float | None
    """The uniformity of its rows at the first t, of at most 2,000 of them; None for a single row."""
    nearest: str | None
    """The class whose mean is nearest to the mean of this one; None for a single class."""
    own: float | None
    """The share of the nearest neighbours of its rows that are of this class; None if none of them looked."""


@dataclass(frozen=True)
class Classes:
    """The classes of the nearest rows, and a table of the classes.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> classes = ["cat", "dog", "fox", "owl"] * 50
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> x[:, :4] += 3 * torch.eye(4).repeat(50, 1)
        >>> found = measure(x, labels=classes).classes
        >>> print(f"{found.knn:.1%} of the rows have the class of their {found.k} nearest others")
        95.0% of the rows have the class of their 5 nearest others
        >>> found.weakest.name
        'cat'
    """

    k: int
    """The number of nearest other rows that vote for the class of a row."""
    queries: int
    """The number of rows that looked for their neighbours: all, or a random sample."""
    knn: float
    """The share of rows whose class is the commonest of their k nearest others; the nearest decides ties."""
    knn_stderr: float | None
    """The standard error of `knn`, for these rows as neighbours."""
    count: int
    """The number of classes."""
    table: tuple[ClassRow, ...]
    """The classes, those with the most rows first; of more than 1,000, these alone."""

    @property
    def weakest(self) -> ClassRow | None:
        """The class whose rows have the smallest share of their neighbours in it; None if none looked."""
        known = [row for row in self.table if row.own is not None]
        return min(known, key=lambda row: row.own or 0.0, default=None)

    def __str__(self) -> str:
        """Return the table, the class with the smallest share of its own neighbours first."""
        order = sorted(self.table, key=lambda row: 1.0 if row.own is None else row.own)
        lines = [HEADINGS, *(_cells(row) for row in order)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
        return "\n".join("  ".join(map(_padded, line, widths, IS_TEXT)).rstrip() for line in lines)


HEADINGS = ("class", "rows", "alignment", "uniformity", "own neighbours", "nearest class")
IS_TEXT = (True, False, False, False, False, True)


def _cells(row: ClassRow) -> tuple[str, ...]:
    numbers = ["" if value is None else f"{value:.3f}" for value in (row.align, row.uniform)]
    own = "" if row.own is None else f"{row.own:.1%}"
    return row.name, f"{row.rows:,}", *numbers, own, row.nearest or ""


def _padded(cell: str, width: int, is_text: bool) -> str:
    return cell.ljust(width) if is_text else cell.rjust(width)
