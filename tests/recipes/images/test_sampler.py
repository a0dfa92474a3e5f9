"""Which samples make which batch: laws over all ranks."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align_uniform.recipes.images.sampler import EvalSampler, GlobalBatchSampler, shard

WORLDS = st.integers(1, 5)


@given(st.integers(0, 40), WORLDS)
def test_the_shards_of_all_ranks_in_order_are_the_rows_and_differ_by_at_most_one(
    count: int, world: int
) -> None:
    shards = [list(shard(count, rank, world)) for rank in range(world)]
    assert list(chain(*shards)) == list(range(count))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@given(st.integers(0, 40), WORLDS)
def test_evaluation_sees_each_row_once_over_all_ranks(count: int, world: int) -> None:
    samplers = [EvalSampler(count, rank=rank, world=world) for rank in range(world)]
    assert list(chain(*samplers)) == [(0, index) for index in range(count)]
    assert sum(map(len, samplers)) == count


def global_batches(
    world: int, count: int, size: int, epoch: int, start: int = 0, drop_last: bool = False
) -> list[list[int]]:
    """The batches of an epoch, put together from the shares of all ranks."""
    samplers = [
        GlobalBatchSampler(count, size, rank=r, world=world, seed=7, drop_last=drop_last)
        for r in range(world)
    ]
    for sampler in samplers:
        sampler.set_epoch(epoch, start)
    shares = [list(sampler) for sampler in samplers]
    assert all(len(sampler) == len(share) for sampler, share in zip(samplers, shares, strict=True))
    assert all(len(batch) >= 2 for batch in chain(*shares))
    batches = [list(chain(*parts)) for parts in zip(*shares, strict=True)]
    assert all(key[0] == epoch for key in chain(*batches))
    return [[index for _, index in batch] for batch in batches]


@given(
    count=st.integers(10, 60),
    size=st.integers(10, 20),
    world=WORLDS,
    epoch=st.integers(0, 3),
    drop_last=st.booleans(),
)
def test_a_global_batch_is_the_same_whatever_the_number_of_ranks(
    count: int, size: int, world: int, epoch: int, drop_last: bool
) -> None:
    if count < size and (drop_last or count // world < 2):
        return
    alone = global_batches(1, count, size, epoch, drop_last=drop_last)
    together = global_batches(world, count, size, epoch, drop_last=drop_last)
    assert together == alone[: len(together)]
    assert len(alone) - len(together) <= (
        count % size < 2 * world
    )  # only what is too small for so many ranks is missing
    seen = list(chain(*together))
    assert len(set(seen)) == len(seen)
    full = count // size * size
    rest = count - full
    assert len(seen) == (full if drop_last or rest < 2 * world else count)


@given(count=st.integers(20, 60), world=st.integers(1, 3), data=st.data())
def test_a_resumed_epoch_goes_on_where_it_was_left(count: int, world: int, data: st.DataObject) -> None:
    whole = global_batches(world, count, 8, 2)
    start = data.draw(st.integers(0, len(whole)))
    assert global_batches(world, count, 8, 2, start) == whole[start:]


def test_an_epoch_has_its_own_order_and_so_has_a_seed() -> None:
    sampler = GlobalBatchSampler(64, 64, seed=1)
    first = next(iter(sampler))
    assert next(iter(sampler)) == first
    sampler.set_epoch(1)
    second = next(iter(sampler))
    other = next(iter(GlobalBatchSampler(64, 64, seed=2)))
    orders = [[index for _, index in batch] for batch in (first, second, other)]
    assert [sorted(order) for order in orders] == [list(range(64))] * 3
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]


def test_a_running_epoch_is_not_disturbed_by_the_next() -> None:
    sampler = GlobalBatchSampler(8, 4)
    batches = iter(sampler)
    sampler.set_epoch(5)
    assert {epoch for batch in batches for epoch, _ in batch} == {0}


@given(count=st.integers(1, 60), size=st.integers(1, 20), world=WORLDS)
def test_nothing_is_left_out_where_a_rank_may_have_none(count: int, size: int, world: int) -> None:
    samplers = [GlobalBatchSampler(count, size, rank=rank, world=world, least=0) for rank in range(world)]
    shares = [list(sampler) for sampler in samplers]
    assert [len(share) for share in shares] == [len(sampler) for sampler in samplers]
    assert all(chain(*shares))  # no batch of nothing
    assert {sampler.batches for sampler in samplers} == {-(-count // size)}
    assert sorted(index for _, index in chain(*chain(*shares))) == list(range(count))


def test_the_number_of_batches_of_a_whole_epoch_stays_when_some_are_skipped() -> None:
    sampler = GlobalBatchSampler(20, 4)
    sampler.set_epoch(0, start_batch=3)
    assert (sampler.batches, len(sampler)) == (5, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GlobalBatchSampler(9, 3, world=2), "at least 2 for each of 2 ranks, 4 in all, got 3"),
        (lambda: GlobalBatchSampler(3, 8, world=2), "3 samples make no batch of 8 on 2 ranks; 4 are needed."),
        (
            lambda: GlobalBatchSampler(7, 8, drop_last=True),
            "7 samples make no batch of 8 on 1 rank; lower batch_size to 7.",
        ),
        (lambda: GlobalBatchSampler(9, 4, rank=2, world=2), "got rank 2 of 2"),
        (lambda: GlobalBatchSampler(9, 4, seed=-1), "seed must not be negative, got -1"),
        (lambda: GlobalBatchSampler(9, 4).set_epoch(-1), "epoch must not be negative, got -1"),
        (
            lambda: GlobalBatchSampler(9, 4).set_epoch(0, 3),
            "start_batch must be between 0 and the 2 batches of an epoch, got 3",
        ),
        (lambda: shard(3, 0, 0), "got rank 0 of 0"),
    ],
)
def test_what_cannot_be_is_told(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()
