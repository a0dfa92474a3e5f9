"""Devices by name, and the process group of torchrun's processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from align_uniform.recipes.devices import PATIENCE, device, measuring_device, process_group


def test_the_index_of_a_gpu_is_the_local_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr("align_uniform.recipes.devices.usable_device", torch.device)
    assert device("cuda") == torch.device("cuda", 3)
    assert device("cuda:1") == torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device("auto") == torch.device("cuda", 3)
    assert device("cpu") == torch.device("cpu")


def test_measuring_leaves_mps_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("align_uniform.recipes.devices.usable_device", torch.device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device("auto") == measuring_device("mps") == torch.device("mps")
    assert measuring_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert measuring_device("auto").type == "cuda"


@pytest.mark.parametrize("name", ["meow", "cuda:97"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"device must be one of this machine, such as cpu, got {name}"):
        device(name)


@pytest.mark.parametrize(
    ("gpus", "backend"), [(4, "cpu:gloo,cuda:nccl"), (1, "cpu:gloo,cuda:nccl"), (0, "gloo")]
)
def test_processes_of_torchrun_meet_with_a_gpu_each_and_gloo_for_what_is_on_the_cpu(
    gpus: int, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", lambda index: calls.append(index))
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda backend, timeout: calls.append((backend, timeout))
    )
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: calls.append("left"))
    with process_group():
        assert calls == [*([2] if gpus > 2 else []), (backend, PATIENCE)]
    assert calls[-1] == "left"


LEAVES = """
from pathlib import Path
import torch
from torch.nn.parallel import DistributedDataParallel
from align_uniform.recipes.devices import process_group

with process_group():
    model = DistributedDataParallel(torch.nn.Linear(3, 3))
    optimizer = torch.optim.SGD(model.parameters())
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    del model, optimizer
print([task.read_text() for task in Path("/proc/self/task").glob("*/comm") if "gloo" in task.read_text()])
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted as Linux lists them")
def test_no_thread_of_the_process_group_outlives_it(tmp_path: Path) -> None:
    # One that does, and lets go of a tensor while the interpreter ends, aborts the process: a race that a
    # test rarely sees.
    (tmp_path / "leaves.py").write_text(LEAVES)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(tmp_path / "leaves.py"),
    ]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.replace("\n", "") == "[][]"  # the two may print at the same time
