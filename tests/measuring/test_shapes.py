"""Changes of shape: none by a rotation, large where cosines or the spectrum change, and a floor beside."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from align_uniform.measuring.populations import Population
from align_uniform.measuring.shapes import ShapeChange, shape_change
from tests import rows


def change(a: Tensor, b: Tensor, seed: int = 0) -> ShapeChange:
    old, new = (Population(z, "rows", normalize=True, device=torch.device("cpu")) for z in (a, b))
    return shape_change(old, new, seed)


def test_a_rotation_changes_no_shape() -> None:
    a = rows.cone(400, 6)
    before, after = change(a, a), change(a, a @ rows.rotation(6))
    assert before.cosines == pytest.approx(after.cosines, abs=1e-9)
    assert before.spectrum == pytest.approx(after.spectrum, abs=1e-9)
    assert before.cosines < 2 * before.cosines_floor
    assert before.spectrum < 2 * before.spectrum_floor


def test_a_cone_moves_the_cosines_by_the_change_of_their_mean() -> None:
    a = rows.unit(900, 20)
    cone = a + 0.6 * rows.unit(1, 20, seed=7)
    found = change(a, cone)
    expected = torch.nn.functional.normalize(cone, dim=1).mean(0).square().sum()
    assert found.cosines == pytest.approx(float(expected), rel=0.15)
    assert found.cosines_floor < 0.02


def test_a_lost_dimension_moves_its_share_of_the_spectrum() -> None:
    a, b = rows.unit(800, 8), rows.unit(800, 7, seed=1)
    found = change(a, b)
    assert found.spectrum == pytest.approx(1 / 8, abs=0.05)
    assert found.spectrum_floor < 0.03
    wider = change(a, torch.cat([b, torch.zeros(800, 1)], 1))  # an empty dimension is none
    assert vars(found) == pytest.approx(vars(wider))


def test_equal_rows_have_no_spectrum() -> None:
    found = change(torch.ones(20, 3), rows.unit(20, 3))
    assert found.spectrum == pytest.approx(0.5)
    assert change(torch.ones(20, 3), torch.ones(20, 3)) == ShapeChange(0, 0, 0, 0)
