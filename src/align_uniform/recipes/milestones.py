"""The epochs at which a learning rate falls, for runs of any length."""

from __future__ import annotations

from collections.abc import Sequence


def scaled(milestones: Sequence[int], of: int, epochs: int) -> tuple[int, ...]:
    """Return the milestones of a run of `of` epochs for a run of another length.

    Milestones that coincide in a short run count once, and those that it does not reach are left out.

    Example:
        >>> scaled((120, 160), of=200, epochs=50)
        (30, 40)
    """
    return tuple(sorted({round(each * epochs / of) for each in milestones} & {*range(1, epochs)}))
