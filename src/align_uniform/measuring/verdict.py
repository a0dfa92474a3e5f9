"""The verdict on a measurement in plain words: what the heuristics find, the worst first."""

from __future__ import annotations

from collections.abc import Sequence

from align_uniform.measuring.heuristic import SEVERITIES, Finding
from align_uniform.measuring.heuristics import HEURISTICS
from align_uniform.measuring.results import Results


def findings(measurement: Results) -> tuple[Finding, ...]:
    """Return the findings about a measurement, the worst first; often there are none.

    Every heuristic is asked, whatever the others find: a fault does not hide another.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> from align_uniform.measuring.verdict import findings
        >>> rows = torch.nn.functional.normalize(
        ...     torch.randn(256, 32, generator=torch.Generator().manual_seed(0)), dim=1
        ... )
        >>> findings(measure(rows))
        ()
        >>> findings(measure(torch.nn.functional.normalize(rows + 0.2, dim=1)))[0].name
        'cone'
    """
    found = (heuristic.finding(measurement) for heuristic in HEURISTICS)
    return tuple(
        sorted(filter(None, found), key=lambda finding: SEVERITIES.index(finding.severity), reverse=True)
    )


def headline(found: Sequence[Finding]) -> str:
    """Return the verdict in one sentence.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> from align_uniform.measuring.verdict import headline
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> headline(measure(x).findings), headline(measure(x + 1).findings)
        ('Nothing stands out.', 'Something is wrong: cone.')
    """
    severe = [finding.name for finding in found if finding.severity == "problem"]
    mild = [finding.name for finding in found if finding.severity == "warning"]
    if severe:
        return f"Something is wrong: {_listed(severe)}."
    if mild:
        return f"Worth a look: {_listed(mild)}."
    return "Nothing stands out."


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
