"""The columns next to the rows that `align-uniform measure` measures, and the texts that it encodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from align_uniform.cli.contents import ContentFiles, Contents, counts_of_rows, read_contents
from align_uniform.cli.encoding import TextItems, read_text_items
from align_uniform.cli.pairs import PairsAsked, TableOfPairs, ids_of, read_pairs

if TYPE_CHECKING:
    from align_uniform.cli.measure import MeasureOptions

CONTENTS = ("texts", "positive_texts", "images", "positive_images")
"""Options that name texts and pictures of rows."""


@dataclass(frozen=True)
class Inputs:
    """The columns next to the rows."""

    ids: Any
    """The ids as `measure` takes them."""
    named: Any
    """The ids by which a table of pairs names rows: those, or those of files of one vector for each id."""
    pairs: TableOfPairs | None
    contents: Contents
    labels: Any = None
    """The labels as `measure` takes them."""
    groups: Any = None
    """The groups as `measure` takes them."""
    items: TextItems | None = None
    """The texts that are encoded."""

    @classmethod
    def read(cls, options: MeasureOptions) -> Inputs:
        """Read the columns, and check those that are shown: nothing is measured before."""
        asked = PairsAsked(
            str(options.pairs or options.texts),
            options.columns,
            options.score,
            options.threshold,
            all_pairs=options.all_pairs,
        )
        if options.encodes_texts:
            items = read_text_items(asked)
            labels, groups = (items.column(name, getattr(options, name)) for name in ("labels", "groups"))
            return cls(None, None, None, Contents(), labels, groups, items)
        names = {name: getattr(options, name) for name in CONTENTS}
        if options.encodes_images:
            names["images"] = None
        contents = Contents()
        if any(names.values()):
            contents = read_contents(ContentFiles(**names), _counts(options))
        ids = _ids(options)
        if options.pairs is None:
            return cls(ids, None, None, contents, options.labels, options.groups)
        named = _ids_in_files(options) if ids is None else ids
        return cls(ids, named, read_pairs(asked), contents, options.labels, options.groups)

    @property
    def rows_of_pairs(self) -> Any:
        """The row numbers of the pairs, as `measure` takes them."""
        sides = self.named if isinstance(self.named, tuple) else (self.named, self.named)
        return None if self.pairs is None else self.pairs.rows(sides)


def _counts(options: MeasureOptions) -> list[int]:
    """Return the number of rows of features, and of positives if they are given."""
    if options.encoder is None:
        return counts_of_rows(options.features, options.positives)
    from align_uniform.recipes.encoders.encode import images_of

    return [len(images_of(Path(str(options.images))).paths)]


def _ids(options: MeasureOptions) -> Any:
    """Return the ids as `measure` takes them: one column, or one for each of two towers."""
    if options.positives is None:
        return ids_of(options.ids)
    if (options.ids is None) != (options.positive_ids is None):
        raise ValueError("with --positives, --ids and --positive-ids go together; give both.")
    return None if options.ids is None else (ids_of(options.ids), ids_of(options.positive_ids))


def _ids_in_files(options: MeasureOptions) -> Any:
    """Return the ids by which a table of pairs names rows, for files of one vector for each id."""
    if options.pairs is None or options.features is None:
        return None
    from align_uniform.files import open_features
    from align_uniform.files.tables import numbers

    known = [open_features(path)[0].ids for path in (options.features, options.positives) if path is not None]
    first, last = (None if ids is None else numbers([*ids]) for ids in (known[0], known[-1]))
    return first, last
