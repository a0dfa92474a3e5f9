"""The sentence below the title of a page: what was measured against what."""

from __future__ import annotations

from pathlib import PurePath

from align_uniform._messages import counted
from align_uniform.measuring.measurement import CENTERS, Measurement

UNNAMED = ("features", "positives")
"""The names of arrays that have no name."""


def lead(measurement: Measurement) -> str:
    """Return what was measured, in a sentence: files, pairs, rows, features, and method."""
    names = [str(source.get("name", "")) for source in measurement.provenance.get("sources", [])]
    known = (PurePath(name).name for name in names if name not in UNNAMED)
    named = list(dict.fromkeys(name for name in known if name))
    subject = " against ".join(named) if 0 < len(named) < 3 else ""
    pairs = "no positive pairs"
    if (align := measurement.align) is not None:
        pairs = f"{counted(align.pairs, 'positive pair')} ({align.of})"
    rows = counted(measurement.n, "row")
    if (towers := measurement.towers) is not None:
        rows = "towers of {:,} and {:,} rows".format(*towers.rows)
    method = measurement.provenance.get("method", "exact")
    how = "all pairs of rows" if method == "exact" else f"{method}"
    if (center := measurement.provenance.get("center")) is not None:
        how = f"{how}, less {CENTERS.get(center, center)}"
    features = counted(measurement.dim, "feature")
    sentence = f"{rows} with {features}, {pairs}; {how}."
    return f"{subject}: {sentence}" if subject else sentence[:1].upper() + sentence[1:]
