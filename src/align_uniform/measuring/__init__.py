"""The measurement of an embedding, from arguments to numbers; `measure.measure` reads from top to bottom.

`subject` interprets the arguments, `populations` reads and checks rows, and `positives` are the pairs.
`units` says which rows depend on each other. `sweep` visits all pairs of rows by `row_sums` or `group_sums`,
which `uniformity` turns into a number; every error follows from the influences of units, in `influence`;
`alignment` and `notable_rows` measure the rest, and `centered` measures the rows of a cone again without
their mean. The result is a `measurement.Measurement`, whose numbers are named in `quantities`, judged by the
`verdict` of a table of `heuristics`, and subtracted in `difference`.
"""
