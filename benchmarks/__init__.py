"""How fast the losses are, and how much memory they take: `python -m benchmarks`, or `make bench`.

Every number stands beside two others of the same run: what users would write instead of our call (the
reference), and what the machine could do at best (the limit, see `limit.py`). A file that measures something
holds one function, from `quick` to a list of cases; `BENCHMARKS` in `__main__.py` names it.
"""
