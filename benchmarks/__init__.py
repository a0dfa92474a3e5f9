"""Benchmarks of the speed and the memory of the losses: `python -m benchmarks`, or `make bench`.

Every number stands next to two others of the same run: one for the code that users would write instead of
our call (the reference), and one for the best that the machine could do (the limit, see `limit.py`). A file
that measures something holds one function, from `quick` to a list of cases; `BENCHMARKS` in `__main__.py`
names it.
"""
