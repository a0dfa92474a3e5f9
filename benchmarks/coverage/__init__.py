"""The coverage of every error bar, by simulation: `python -m benchmarks.coverage`.

A cell is a law of rows, a design (how rows depend on each other) and a size. Each of its runs draws new rows
and measures them through the public API alone. `cover` is the share of runs whose 95% interval holds the
true value, and `se/sd` is the mean reported error over the deviation of the values between runs.
"""
