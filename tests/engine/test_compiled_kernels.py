"""Tests of the kernels compiled for real GPUs, on a machine without one and without TRITON_INTERPRET=1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import triton
from benchmarks import kernels
from benchmarks.kernels import FEATURES, Case
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from align_uniform.engine import configurations
from align_uniform.engine import triton as launches
from align_uniform.engine.configurations import ENTRIES
from align_uniform.engine.launching import split
from align_uniform.engine.mask import Mask

TABLE = Path(kernels.__file__).with_suffix(".json")

LARGEST_STACK = 64
COLLAPSED = 32
"""The registers of a kernel that the compiler emptied, or left with everything in local memory, at most."""

ALL = kernels.cases()
WIDEST = [
    Case(kernel, "bf16" if entry.terms == 1 else "fp32", entry.features, entry.capability)
    for entry in ENTRIES
    for kernel in entry.kernels
]
"""Every entry on the first GPU that it serves; the recorded table has the others."""

OPTIONS: list[dict[str, Any]] = [{"alternative": True}, {"ids": True}]
KERNELS: list[tuple[configurations.Kernel, str]] = [
    ("logs", "fp32"),
    ("means", "fp16"),
    ("gradients", "fp16"),
    ("potentials", "bf16"),
]
VARIANTS = [Case(kernel, dtype, 128, (9, 0), **options) for kernel, dtype in KERNELS for options in OPTIONS]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile again, and leave nothing behind."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def check(case: Case, stack: int, registers: int, shared: int) -> None:
    assert stack <= LARGEST_STACK
    assert registers > COLLAPSED
    assert shared <= shared_limit(case)


def shared_limit(case: Case) -> int:
    """Return the least shared memory of all GPUs that take the same launches."""
    launched_alike = [
        capability
        for capability in kernels.SHARED_BYTES
        if case.configuration == Case(case.kernel, case.dtype, case.features, capability).configuration
        and _compiled_as(capability) == case.capability
    ]
    return min(kernels.SHARED_BYTES[capability] for capability in launched_alike)


def _compiled_as(capability: tuple[int, int]) -> tuple[int, int]:
    """Return the GPU, among those compiled for, that runs the same instructions."""
    return (8, 0) if capability in [(8, 6), (12, 0)] else capability


@pytest.mark.parametrize(
    "case", WIDEST, ids=lambda case: f"{case.kernel}-{case.dtype}-{case.features}-{case.capability}"
)
def test_every_configuration_keeps_its_sums_in_registers(case: Case) -> None:
    needs = kernels.resources(case)
    check(case, needs.stack, needs.registers, needs.shared)


@pytest.mark.parametrize("case", VARIANTS, ids=str)
def test_so_do_other_variants(case: Case) -> None:
    needs = kernels.resources(case)
    check(case, needs.stack, needs.registers, needs.shared)


def test_the_recorded_table_holds_all_that_ships_and_keeps_the_bounds() -> None:
    recorded = json.loads(TABLE.read_text())["kernels"]
    for case in ALL:
        rows = [row for row in recorded if _is(row, case)]
        assert len(rows) == 2  # as it is used most, and with ids and all alternatives
        for row in rows:
            assert {name: row[name] for name in case.configuration._fields} == case.configuration._asdict()
            check(case, row["stack"], row["registers"], row["shared"])


def _is(row: dict[str, Any], case: Case) -> bool:
    return (row["kernel"], row["dtype"], row["features"], tuple(row["capability"])) == (
        case.kernel,
        case.dtype,
        case.features,
        case.capability,
    )


@pytest.mark.parametrize("capability", [(8, 6), (8, 9), (9, 5), (11, 0), (12, 1), (13, 0)])
def test_a_gpu_without_entries_takes_those_of_the_nearest_lower_one(capability: tuple[int, int]) -> None:
    family = (8, 0) if capability[0] in (8, 12) else (9, 0) if capability[0] == 9 else (10, 0)
    for features in FEATURES:
        for terms in (1, 2):
            chosen, expected = (
                configurations.configuration("means", terms=terms, features=features, capability=like)
                for like in (capability, family)
            )
            assert chosen == expected


def test_every_step_divides_the_features() -> None:
    for case in ALL:
        assert case.features % case.configuration.step == 0


class NoGpu:
    """A driver that answers Triton's questions about a GPU, up to the launch of a kernel."""

    def get_current_device(self) -> int:
        return 99  # kernels are kept by device: not where a test with a GPU would find them

    def get_current_stream(self, _device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)


@pytest.mark.parametrize("features", [1, 24])
def test_every_launch_passes_what_its_kernel_takes(monkeypatch: pytest.MonkeyPatch, features: int) -> None:
    """Do everything except launch: arguments are bound and specialised, and the kernel is compiled."""
    prepared = []

    def prepare(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
        prepared.append(self.__name__)
        return run(self, *args, grid=grid, warmup=True, **kwargs)

    run = JITFunction.run
    monkeypatch.setattr(JITFunction, "run", prepare)
    monkeypatch.setattr(triton.runtime.driver, "_active", NoGpu())
    rows, columns = 1 + 69 * (features > 1), 1 + 999 * (features > 1)
    x, y = torch.zeros(1, rows, features), torch.zeros(1, columns, features)
    of_rows, of_columns, scale = torch.zeros(1, rows), torch.zeros(1, columns), torch.tensor(2.0)
    launches.log_potential(x, y, 2.0, 1.0, needs_x=True, needs_y=True)
    launches.log_potential(x, x, 2.0, 1.0, Mask(0, of_rows.long(), of_rows.long()))
    x_terms, y_terms, *both = split(x, y)
    units = both[0], both[1]
    launches.log_sums(x_terms, y_terms, scale, squared_distances=False, units=units)
    launches.logit_gradient(
        x_terms, y_terms, scale, units=units, rows=(of_rows, of_rows), columns=(of_columns, of_columns)
    )
    x, y = x.half(), y.half()
    launches.log_sums(x, y, 2.0, squared_distances=True, mask=Mask(0), needs_mean=True)
    by_ids = Mask(None, of_rows.long(), of_columns.long())
    launches.log_sums(x, y, scale, squared_distances=False, mask=by_ids)
    launches.logit_gradient(x, y, scale, rows=(of_rows, of_rows))
    launches.potential_sums(x, y, [1.0, 2.0, 3.0, 4.0, 5.0])
    assert [name for name in prepared if not name.startswith("combine")] == [
        *["survey", "survey", "split", "split", "log_sums", "total_log_sum", "log_sums", "total_log_sum"],
        *["split", "log_sums", "total_log_sum"],
        *["split", "split", "log_sums", "logit_gradient"],
        *["squared_norms", "squared_norms", "log_sums", "log_sums", "logit_gradient"],
        *["squared_norms", "squared_norms", "potential_sums", "potential_sums"],
    ]
    assert (len(prepared) > 24) == (features > 1)
