"""How an embedding is measured, from what was passed to the numbers: `api.measure` reads top to bottom.

`subject` understands the arguments; `populations` reads and checks rows; `positives` are the pairs;
`row_sums` visits all pairs of rows; `uniformity` makes a number with an error of those sums. The result is a
`measurement.Measurement`.
"""
