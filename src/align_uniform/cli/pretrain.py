"""`align-uniform pretrain two-view` and `pretrain moco`: train an encoder."""

from __future__ import annotations

from typing import Any

from align_uniform.cli.flags import add_options


class TwoView:
    """`pretrain two-view`."""

    HELP = "on two views of each image: alignment, uniformity, contrastive loss"
    DESCRIPTION = """
    Train an encoder on two views of each image. A preset sets the defaults; those of stl10 are the
    reference's example, but for options that say (ours). Alone it runs on one device; under torchrun on all
    of them: torchrun --nproc-per-node 4 -m align_uniform pretrain two-view. Ctrl-C ends after the batch, and
    the same command goes on from there.
    """

    @property
    def PRESETS(self) -> dict[str, dict[str, Any]]:  # noqa: N802  # a constant, found late
        """What `--preset` sets."""
        from align_uniform.recipes.pretrain import presets

        return {name: presets.load("two-view", name) for name in presets.names("two-view")}

    def add_arguments(self, parser: Any) -> None:
        """The fields of `TwoViewOptions`."""
        from align_uniform.recipes.pretrain.options import TwoViewOptions

        add_options(parser, TwoViewOptions)

    def run(self, options: dict[str, Any]) -> int:
        """Train."""
        from align_uniform.recipes import devices
        from align_uniform.recipes.pretrain import two_view

        with devices.process_group():
            return two_view.run(two_view.TwoViewOptions(**options))


class Moco:
    """`pretrain moco`."""

    HELP = (
        "on queries and a queue of keys from a momentum encoder (MoCo): "
        "alignment, uniformity, contrastive loss"
    )
    DESCRIPTION = """
    Train an encoder with a momentum encoder and a queue. A preset sets the defaults; those of imagenet-100
    are the reference's, but for options that say (ours). Alone it runs on one device; under torchrun on all
    of them: torchrun --nproc-per-node 8 -m align_uniform pretrain moco. Ctrl-C ends after the batch, and the
    same command goes on from there.
    """

    @property
    def PRESETS(self) -> dict[str, dict[str, Any]]:  # noqa: N802  # a constant, found late
        """What `--preset` sets."""
        from align_uniform.recipes.pretrain import presets

        return {name: presets.load("moco", name) for name in presets.names("moco")}

    def add_arguments(self, parser: Any) -> None:
        """The fields of `MocoOptions`."""
        from align_uniform.recipes.pretrain.options import MocoOptions

        add_options(parser, MocoOptions)

    def run(self, options: dict[str, Any]) -> int:
        """Train."""
        from align_uniform.recipes import devices
        from align_uniform.recipes.pretrain import moco

        with devices.process_group():
            return moco.run(moco.MocoOptions(**options))
