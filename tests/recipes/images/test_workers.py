"""The number of processes that read images."""

from __future__ import annotations

import os

import pytest

from align_uniform.recipes.pretrain.options import TwoViewOptions


def test_workers_are_at_most_the_cores_and_are_shared_by_torchruns_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert TwoViewOptions().loading_processes == 8
    assert TwoViewOptions(workers=20).loading_processes == 20
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert TwoViewOptions().loading_processes == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "100")
    assert TwoViewOptions().loading_processes == 1
    assert TwoViewOptions(workers=0).loading_processes == 0
