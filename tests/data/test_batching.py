"""Batches partition the items whatever shares them out, and a stopped epoch goes on where it was."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import Dataset

from lit_rec.core.errors import SettingError
from lit_rec.data.batching import BatchSampler, ResumableLoader


class Echo(Dataset):
    """Answers with the items asked for."""

    def __getitem__(self, items):
        return torch.from_numpy(items)


def lengths_of(n, seed=0):
    return np.random.default_rng(seed).integers(3, 200, n)


def loader(n=23, batch_size=4, seed=0, **options):
    return ResumableLoader(Echo(), BatchSampler(lengths_of(n), batch_size, seed=seed), **options)


def as_lists(batches):
    return [batch.tolist() for batch in batches]


samplers = st.fixed_dictionaries(
    {
        "n": st.integers(1, 400),
        "batch_size": st.integers(1, 9),
        "world_size": st.integers(1, 5),
        "seed": st.integers(0, 5),
        "epoch": st.integers(0, 5),
    }
).filter(lambda case: case["n"] >= case["world_size"])


def ranks_of(case):
    ranks = [
        BatchSampler(
            lengths_of(case["n"]), case["batch_size"], seed=case["seed"], rank=rank, world_size=case["world_size"]
        )
        for rank in range(case["world_size"])
    ]
    for rank in ranks:
        rank.set_epoch(case["epoch"])
    return ranks


@given(samplers)
def test_global_batches_are_a_partition_of_the_items(case):
    batches = ranks_of(case)[0].global_batches()
    assert sorted(np.concatenate(batches).tolist()) == list(range(case["n"]))
    full = case["batch_size"] * case["world_size"]
    odd = [len(batch) for batch in batches if len(batch) != full]
    assert len(odd) <= 1
    assert all(size < full + case["world_size"] for size in odd)


@given(samplers)
def test_the_ranks_share_out_each_global_batch_with_equal_numbers_of_batches(case):
    ranks = ranks_of(case)
    shares = [list(rank) for rank in ranks]
    global_batches = ranks[0].global_batches()
    assert [len(share) for share in shares] == [len(rank) for rank in ranks] == [len(global_batches)] * len(ranks)
    for step, batch in enumerate(global_batches):
        parts = [share[step] for share in shares]
        assert sorted(np.concatenate(parts)) == sorted(batch)
        assert min(map(len, parts)) >= 1
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(samplers)
def test_batches_are_a_function_of_seed_and_epoch(case):
    one, other = ranks_of(case)[0], ranks_of(case)[0]
    assert as_lists(one) == as_lists(other) == as_lists(one)


def test_another_epoch_or_seed_is_another_order_and_other_company():
    batches = {
        (seed, epoch): as_lists(ranks_of({"n": 300, "batch_size": 5, "world_size": 1, "seed": seed, "epoch": epoch})[0])
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    company = [
        {(one, other) for batch in found for one in batch for other in batch if one < other}
        for found in batches.values()
    ]
    assert all(len(one & other) < 0.2 * len(one) for one in company for other in company if one is not other)


def test_only_the_items_asked_for_are_drawn():
    items = np.array([3, 5, 8, 13, 21, 34])
    sampler = BatchSampler(lengths_of(40), 4, seed=0, items=items)
    assert sorted(np.concatenate(list(sampler)).tolist()) == items.tolist()


def test_texts_of_like_length_stand_together():
    lengths = lengths_of(5_000)
    sampler = BatchSampler(lengths, 32, seed=0)

    def share_of_padding(batches):
        padded = sum(lengths[batch].max() * len(batch) for batch in batches)
        return 1 - lengths.sum() / padded

    in_any_order = np.split(np.random.default_rng(0).permutation(5_000), range(32, 5_000, 32))
    assert share_of_padding(sampler.global_batches()) < 0.08 < 0.4 < share_of_padding(in_any_order)


def test_batches_do_not_come_shortest_first():
    lengths = lengths_of(2_000)
    means = [lengths[batch].mean() for batch in BatchSampler(lengths, 32, seed=0)]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.5


@pytest.mark.parametrize(("n", "batch_size", "world_size"), [(4, 0, 1), (4, -1, 1), (3, 2, 4), (0, 2, 1)])
def test_sizes_that_cannot_be_shared_out_are_refused(n, batch_size, world_size):
    with pytest.raises(SettingError):
        BatchSampler(lengths_of(n), batch_size, seed=0, world_size=world_size)


@settings(max_examples=30)
@given(n=st.integers(1, 60), batch_size=st.integers(1, 9), epoch=st.integers(0, 3), data=st.data())
def test_a_new_loader_goes_on_with_exactly_the_batches_that_are_left(n, batch_size, epoch, data):
    stopped = loader(n, batch_size)
    stopped.batches.set_epoch(epoch)
    whole = as_lists(stopped)
    done = data.draw(st.integers(0, len(whole) - 1))
    reading = iter(stopped)
    assert as_lists(next(reading) for _ in range(done)) == whole[:done]
    if done == 0:
        next(iter(reading), None)  # a generator starts with its first batch; nothing of it counts below
        stopped = loader(n, batch_size)
        stopped.batches.set_epoch(epoch)
    state = stopped.state_dict()
    assert state == {"epoch": epoch, "batch": done}
    resumed = loader(n, batch_size)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    assert len(resumed) == len(whole)  # of the epoch, for the trainer counts from its start
    resumed.batches.set_epoch(epoch)  # as the trainer does on its way in
    assert as_lists(resumed) == whole[done:]
    resumed.batches.set_epoch(epoch + 1)
    assert sum(map(len, as_lists(resumed))) == n


def test_the_end_of_an_epoch_is_the_start_of_the_next():
    ended, fresh, resumed = loader(), loader(), loader()
    list(ended)
    assert ended.state_dict() == {"epoch": 1, "batch": 0}
    resumed.load_state_dict(ended.state_dict())
    fresh.batches.set_epoch(1)
    resumed.batches.set_epoch(1)
    assert as_lists(resumed) == as_lists(fresh)


def test_between_two_epochs_nothing_of_the_next_has_been_read():
    between = loader()
    list(between)
    between.batches.set_epoch(1)
    assert between.state_dict() == {"epoch": 1, "batch": 0}


def test_a_state_that_was_loaded_is_the_state_before_anything_is_read():
    resumed = loader()
    resumed.load_state_dict({"epoch": 3, "batch": 2})
    assert resumed.state_dict() == {"epoch": 3, "batch": 2}


def test_any_number_of_workers_loads_the_same_batches_and_counts_what_was_yielded_not_prefetched():
    by_workers, states = [], []
    for num_workers in (0, 1, 2):
        loading = loader(num_workers=num_workers)
        reading = iter(loading)
        first = [next(reading), next(reading)]
        states.append(loading.state_dict())
        by_workers.append(as_lists([*first, *reading]))
    assert by_workers[0] == by_workers[1] == by_workers[2]
    assert states == [{"epoch": 0, "batch": 2}] * 3
