"""Losses that gather across devices have the value and the gradient of one process with all texts."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.integrations.sentences_worker import LOSSES, step
from tests.processes import found_by


def test_two_processes_have_the_value_and_the_gradient_of_one(tmp_path: Path) -> None:
    found = found_by("integrations.sentences_worker", tmp_path, [2])
    for name in LOSSES:
        expected = step(name, slice(12), is_one_of_many=False)
        results = [result[name] for result in found[2]]
        assert not [result for result in results if isinstance(result, str)], results
        for result in results:
            torch.testing.assert_close(result["grad"], expected["grad"])
        if name != "regulariser":  # whose other loss is the mean of each process's own
            torch.testing.assert_close(results[0]["loss"], expected["loss"])
            torch.testing.assert_close(results[1]["loss"], expected["loss"])
