"""Several processes log the numbers of one, also where some of them have no batch of the validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from align_uniform import measure
from tests.integrations import lightning_worker as worker
from tests.processes import found_by

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec.* is deprecated:FutureWarning")

CASES = [
    (world, counts, views)
    for world, splits in worker.COUNTS.items()
    for counts in splits
    for views in worker.VIEWS
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    """Return the numbers of each process, by case, by world size."""
    folder: Path = tmp_path_factory.mktemp("processes")
    return found_by("integrations.lightning_worker", folder, worker.COUNTS)


@pytest.mark.parametrize(("world", "counts", "views"), CASES, ids=str)
def test_every_process_logs_the_numbers_of_one(
    world: int, counts: tuple[int, ...], views: int, found: dict[int, list[dict[str, Any]]]
) -> None:
    rows = worker.rows_of(counts)
    expected = worker.numbers(rows, views)
    assert expected["val_uniform"] == pytest.approx(measure(*rows.unbind(1)[:views]).uniform.value, rel=1e-5)
    assert ("val_align" in expected) == (views == 2)
    for logged in (result[f"{counts} {views}"] for result in found[world]):
        assert not isinstance(logged, str), logged
        assert logged == pytest.approx(expected, rel=1e-5)
