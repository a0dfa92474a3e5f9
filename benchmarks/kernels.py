"""Compile the kernels and record the resources that they take: registers, stack, spills, shared memory.

    python -m benchmarks.kernels --out benchmarks/kernels.json

This needs Triton, and no GPU; the table of docs/gpu.md goes to stdout. Every configuration that ships is
compiled for every kind of GPU that it serves, as it is used most, and in the variant that is unlike this in
every way.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia import compiler as nvidia
from triton.compiler import ASTSource

from align_uniform._writing import written_whole
from align_uniform.engine import configurations, kernels
from align_uniform.engine.configurations import Capability, Configuration, Kernel

CAPABILITIES: tuple[Capability, ...] = ((8, 0), (9, 0), (10, 0))

SHARED_BYTES = {
    (8, 0): 163 * 1024,
    (8, 6): 99 * 1024,
    (9, 0): 227 * 1024,
    (10, 0): 227 * 1024,
    (12, 0): 99 * 1024,
}
"""The shared memory that a program can have, by the lowest capability that has it."""

FEATURES = (64, 128, 256, 768)

POINTERS = {
    "x_squares": "*fp32",
    "y_squares": "*fp32",
    "x_units": "*fp32",
    "y_units": "*fp32",
    "scale": "*fp32",
    "x_ids": "*i64",
    "y_ids": "*i64",
    "logs": "*fp64",
    "means": "*fp32",
    "row_logs": "*fp32",
    "row_weights": "*fp32",
    "column_logs": "*fp32",
    "column_weights": "*fp32",
    "gradient": "*fp32",
    "largest": "*fp32",
    "sums": "*fp64",
    "squares": "*fp64",
}

STRIDES = ("features", "x_batch", "x_stride", "y_batch", "y_stride")
"""The arguments that are multiples of 16."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One kernel, as it is compiled for one kind of GPU."""

    kernel: Kernel
    dtype: str
    """Triton's name of the rows' dtype: fp32, fp16 or bf16."""
    features: int
    """Features of a row, as kernels count them."""
    capability: Capability
    ids: bool = False
    """Whether pairs of one id are left out."""
    alternative: bool = False
    """Whether the variant is compiled that is unlike the others in every way, with an odd number of features.

    It has products in place of squared distances, gradients without columns, one t in place of four.
    """

    @property
    def configuration(self) -> Configuration:
        """The configuration that ships for this case."""
        return configurations.configuration(
            self.kernel, terms=self.terms, features=self.features, capability=self.capability
        )

    @property
    def terms(self) -> int:
        """The number of half-precision terms of each number of the rows."""
        return 2 if self.dtype == "fp32" else 1


@dataclasses.dataclass(frozen=True)
class Resources:
    """The resources that a compiled kernel takes."""

    registers: int
    """Registers of a thread."""
    stack: int
    """Bytes of local memory of a thread."""
    spill_stores: int
    """Instructions that write registers to local memory."""
    spill_loads: int
    """Instructions that read registers back from local memory."""
    shared: int
    """Bytes of shared memory of a program."""


def cases(*, ids: bool = False, alternative: bool = False) -> list[Case]:
    """Return every kernel, width and kind of GPU, for float32 and bfloat16."""
    kernels: tuple[Kernel, ...] = ("logs", "means", "gradients", "potentials")
    products = itertools.product(kernels, ("fp32", "bf16"), FEATURES, CAPABILITIES)
    return [Case(*product, ids=ids, alternative=alternative) for product in products]


def resources(case: Case) -> Resources:
    """Compile one case, and read its resources from the result."""
    kernel, absent, constants = _function(case)
    shipped = case.configuration
    constants |= {
        "TERMS": case.terms,
        "ROWS": shipped.rows,
        "COLUMNS": shipped.columns,
        "FEATURES": case.features,
        "STEP": shipped.step,
        "VALUES": min(case.features, 128),
        **dict.fromkeys(absent),
    }
    signature = {name: "constexpr" if name in constants else _type(name, case) for name in kernel.arg_names}
    divisible = [
        index
        for index, (name, kind) in enumerate(signature.items())
        if kind[0] == "*" or name in STRIDES or (name == "width" and not case.alternative)
    ]
    compiled = triton.compile(
        ASTSource(
            kernel,
            signature,
            {(kernel.arg_names.index(name),): value for name, value in constants.items()},
            {(index,): [["tt.divisibility", 16]] for index in divisible},
        ),
        target=GPUTarget("cuda", 10 * case.capability[0] + case.capability[1], 32),
        options={"num_warps": shipped.warps, "num_stages": shipped.stages},
    )
    return usage(compiled.asm["cubin"], int(compiled.metadata.shared))


def _function(case: Case) -> tuple[Any, set[str], dict[str, Any]]:
    """Return the kernel of a case, its arguments that are None, and its constants."""
    absent = set() if case.ids else {"x_ids", "y_ids"}
    absent |= {"x_units", "y_units"} if case.terms == 1 else set()
    if case.kernel == "potentials":
        return kernels.potential_sums, absent, {"COUNT": 1 if case.alternative else 4}
    if case.kernel == "gradients":
        return (
            kernels.logit_gradient,
            absent | ({"column_logs", "column_weights"} if case.alternative else set()),
            {},
        )
    return (
        kernels.log_sums,
        absent
        | ({"means"} if case.kernel == "logs" else set())
        | ({"x_squares", "y_squares"} if case.alternative else set()),
        {"SQUARED": not case.alternative},
    )


def _type(name: str, case: Case) -> Any:
    """Return Triton's name of the type of an argument."""
    if name in ("x", "y"):
        return f"*{'fp16' if case.terms == 2 else case.dtype}"
    if name == "ts":
        return ("fp32",) * (1 if case.alternative else 4)
    if name == "unit" or (name == "scale" and case.kernel in ("logs", "means") and not case.alternative):
        return "fp32"
    return POINTERS.get(name, "i32")


def usage(cubin: bytes, shared: int) -> Resources:
    """Read the resources of a compiled kernel, except its shared memory, from its cubin."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage = _cuobjdump("-res-usage", file.name)
        code = _cuobjdump("-sass", file.name)
    registers, stack = (int(re.findall(rf"{name}:(\d+)", usage)[0]) for name in ("REG", "STACK"))
    return Resources(
        registers, stack, len(re.findall(r"\bSTL\b", code)), len(re.findall(r"\bLDL\b", code)), shared
    )


def _cuobjdump(option: str, path: str) -> str:
    program = Path(nvidia.__file__).parent / "bin" / "cuobjdump"
    return subprocess.run([program, option, path], capture_output=True, text=True, check=True).stdout


def table(jobs: int) -> Iterator[dict[str, Any]]:
    """Compile all cases, several at a time, and yield each with its configuration and resources."""
    everything = [case for unlike in (False, True) for case in cases(ids=unlike, alternative=unlike)]
    with ProcessPoolExecutor(jobs) as pool:
        for case, needs in zip(everything, pool.map(resources, everything), strict=True):
            yield dataclasses.asdict(case) | case.configuration._asdict() | dataclasses.asdict(needs)


NAMES: dict[Kernel, str] = {
    "logs": "value",
    "means": "value + gradient",
    "gradients": "contrastive gradient",
    "potentials": "measuring, up to 4 t",
}
"""The names of the kernels in the documentation."""


def lines(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the table of the variants that are used most: rows x columns x features, registers / stack."""
    yield "| kernel | rows | m up to | sm_80 | sm_90 | sm_100 |"
    yield "|---|---|---|---|---|---|"
    usual = [row for row in rows if not row["ids"]]
    for kernel, name in NAMES.items():
        for dtype, features in itertools.product(("fp32", "bf16"), FEATURES):
            cells = [
                f"{row['rows']}×{row['columns']}×{row['step']}, {row['warps']}, {row['stages']}: "
                f"{row['registers']} / {row['stack']}"
                for row in usual
                if (row["kernel"], row["dtype"], row["features"]) == (kernel, dtype, features)
            ]
            words = {"fp32": "float32", "bf16": "bfloat16"}[dtype]
            yield f"| {name} | {words} | {1024 if features > 256 else features:,} | {' | '.join(cells)} |"


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/kernels.json"), help="File to write.")
    parser.add_argument("--jobs", type=int, default=2, help="Number of kernels that are compiled at a time.")
    options = parser.parse_args()
    rows = list(table(options.jobs))
    content = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    with written_whole(options.out) as partial:
        partial.write_text(f'{{\n "triton": "{triton.__version__}",\n "kernels": [\n{content}\n ]\n}}\n')
    for line in lines(rows):
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
