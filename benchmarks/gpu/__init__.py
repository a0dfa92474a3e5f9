"""The tests and measurements of the pair engine on a GPU.

    make gpu
    PYTHONPATH=src python -m benchmarks.gpu --out benchmarks/gpu.json

They need torch 2.11 or later, triton, numpy, pytest, hypothesis and pytest-timeout, and finish within nine
minutes. They test, check accuracy, measure, and print a short table last. `--quick` takes tiny sizes, and
runs in Triton's interpreter too:

    TRITON_INTERPRET=1 PYTHONPATH=src python -m benchmarks.gpu --quick

`parts` lists the parts of a run. Each part is a list of items that runs in a process of its own (`worker`),
watched by `supervision`: an item that fails, hangs or crashes the process is recorded, and the others still
run. `summary` prints, `aims` judges.
"""
