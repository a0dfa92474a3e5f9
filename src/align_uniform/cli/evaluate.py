"""`align-uniform evaluate linear` and `evaluate knn`: what the features are worth to a simple classifier."""

from __future__ import annotations

from typing import Any

from align_uniform.cli.flags import add_options

DESCRIPTION = """
Evaluate the features of an encoder on labelled images, or of saved features. Under torchrun the images are
shared among the processes, each counted once. A protocol's epochs, rates and batches are those of its source,
--k 5 and --weight votes are the paper's; other defaults are ours.
"""


class Linear:
    """`evaluate linear`."""

    HELP = "accuracy of a linear classifier"
    DESCRIPTION = DESCRIPTION

    def add_arguments(self, parser: Any) -> None:
        """The fields of `LinearOptions`."""
        from align_uniform.recipes.judge.options import LinearOptions

        add_options(parser, LinearOptions)

    def run(self, options: dict[str, Any]) -> int:
        """Evaluate."""
        from align_uniform.recipes import devices
        from align_uniform.recipes.judge import evaluate
        from align_uniform.recipes.judge.options import LinearOptions

        with devices.process_group():
            return evaluate.linear(LinearOptions(**options))


class Knn:
    """`evaluate knn`."""

    HELP = "accuracy of the nearest neighbours"
    DESCRIPTION = DESCRIPTION

    def add_arguments(self, parser: Any) -> None:
        """The fields of `KnnOptions`."""
        from align_uniform.recipes.judge.options import KnnOptions

        add_options(parser, KnnOptions)

    def run(self, options: dict[str, Any]) -> int:
        """Evaluate."""
        from align_uniform.recipes import devices
        from align_uniform.recipes.judge import evaluate
        from align_uniform.recipes.judge.options import KnnOptions

        with devices.process_group():
            return evaluate.knn(KnnOptions(**options))
