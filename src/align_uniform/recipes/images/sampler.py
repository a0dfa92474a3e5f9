"""Samplers: the samples of each batch, and the share of each process.

Everything is a function of (seed, epoch): the order of an epoch depends neither on the number of processes or
workers, nor on where a run was interrupted. The samplers yield `(epoch, index)` for the data sets of
`recipes.images.views`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from align_uniform._messages import counted


def shard(count: int, rank: int = 0, world: int = 1) -> range:
    """Return the rows of one rank: consecutive rows, as many as any other rank has, or one more or fewer.

    Each row belongs to exactly one rank.

    Args:
        count: number of rows of all ranks together.
        rank: 0 to world - 1.
        world: number of ranks.

    Raises:
        ValueError: rank or world is out of range.

    Example:
        >>> [list(shard(5, rank, 2)) for rank in (0, 1)]
        [[0, 1, 2], [3, 4]]
    """
    if world < 1 or not 0 <= rank < world:
        raise ValueError(f"rank must be between 0 and world - 1, got rank {rank} of {world}.")
    each, rest = divmod(count, world)
    start = rank * each + min(rank, rest)
    return range(start, start + each + (rank < rest))


class GlobalBatchSampler(Sampler[list[tuple[int, int]]]):
    """A sampler of one rank's share of each batch; the shares of all ranks, in order, are the batch.

    The last batch is left out if a rank would get too few of its samples. A rank skips a batch of which it
    has no sample.

    Args:
        count: number of samples.
        batch_size: number of samples in a batch, summed over all ranks; at least `least` per rank.
        rank: 0 to world - 1.
        world: number of ranks.
        seed: seed of the order; not negative.
        drop_last: leave out the last batch whenever it is smaller than the others.
        least: number of samples of a batch that each rank must get: 2 for BatchNorm, 0 for a frozen encoder.

    Raises:
        ValueError: an argument is out of range, or there would be no batch.

    Example:
        >>> sampler = GlobalBatchSampler(count=9, batch_size=4, rank=0, world=2)
        >>> sampler.set_epoch(3)
        >>> [len(batch) for batch in sampler]
        [2, 2]
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        *,
        rank: int = 0,
        world: int = 1,
        seed: int = 0,
        drop_last: bool = False,
        least: int = 2,
    ) -> None:
        shard(count, rank, world)
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}.")
        needed = max(1, least * world)
        if batch_size < needed:
            raise ValueError(
                f"batch_size must be at least {least} for each of {counted(world, 'rank')}, {needed} in all, "
                f"got {batch_size}."
            )
        full, rest = divmod(count, batch_size)
        self.batches = full + (not drop_last and rest >= needed)
        """Number of batches in a whole epoch, over all ranks."""
        if not self.batches:
            remedy = f"lower batch_size to {count}" if count >= needed else f"{needed} are needed"
            raise ValueError(
                f"{counted(count, 'sample')} make no batch of {batch_size} on {counted(world, 'rank')}; "
                f"{remedy}."
            )
        self.count = count
        self.batch_size = batch_size
        self.rank = rank
        self.world = world
        self.seed = seed
        self.epoch = 0
        self.start_batch = 0

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Set the next epoch, and the number of its batches that an interrupted run has already used."""
        if epoch < 0:
            raise ValueError(f"epoch must not be negative, got {epoch}.")
        if not 0 <= start_batch <= self.batches:
            raise ValueError(
                f"start_batch must be between 0 and the {counted(self.batches, 'batch', 'batches')} of an "
                f"epoch, got {start_batch}."
            )
        self.epoch = epoch
        self.start_batch = start_batch

    def __len__(self) -> int:
        """Return the number of batches to come, without those that are skipped."""
        return sum(self.count - first > self.rank for first in self._firsts(self.start_batch))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return self._batches(self.epoch, self.start_batch)

    def _firsts(self, start_batch: int) -> range:
        """Return where each batch begins in the order; nothing if this rank has a share of none."""
        if self.rank >= self.batch_size:
            return range(0)
        return range(start_batch * self.batch_size, self.batches * self.batch_size, self.batch_size)

    def _batches(self, epoch: int, start_batch: int) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng([self.seed, epoch]).permutation(self.count)
        for first in self._firsts(start_batch):
            batch = order[first : first + self.batch_size]
            share = shard(len(batch), self.rank, self.world)
            if share:
                yield [(epoch, index) for index in batch[share.start : share.stop].tolist()]


class EvalSampler(Sampler[tuple[int, int]]):
    """A sampler of one rank's rows in order, as `(0, index)`; over all ranks, each row comes once.

    Args:
        count: number of samples.
        rank: 0 to world - 1.
        world: number of ranks.
    """

    def __init__(self, count: int, *, rank: int = 0, world: int = 1) -> None:
        self.rows = shard(count, rank, world)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((0, index) for index in self.rows)
