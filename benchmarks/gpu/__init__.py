"""What the pair engine does on a GPU: `make gpu`, or `PYTHONPATH=src python -m benchmarks.gpu --out
benchmarks/gpu.json`.

Needs torch 2.11 or later, triton, numpy, pytest, hypothesis and pytest-timeout, and finishes within nine
minutes. It tests, checks accuracy, measures, and prints a short table last. `--quick` takes tiny sizes, and
runs in Triton's interpreter too:

    TRITON_INTERPRET=1 PYTHONPATH=src python -m benchmarks.gpu --quick

`parts` lists what is done. Each part is a list of items that runs in a process of its own (`worker`), watched
by `supervision`: an item that fails, hangs or crashes the process is recorded, and the others still run.
`summary` prints, `aims` judges.
"""
