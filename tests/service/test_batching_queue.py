"""The queue before the threads: batches, bounds, deadlines, and an orderly end."""

import asyncio
import itertools
import threading

import pytest

from lit_rec.service.batching import BatchingQueue, OverloadedError


class Held:
    """Work that waits to be let go, and keeps the batches it was given."""

    def __init__(self):
        self.batches, self.is_busy, self.go = [], threading.Event(), threading.Event()

    def __call__(self, batch):
        self.batches.append(list(batch))
        self.is_busy.set()
        assert self.go.wait(10)
        return [item * 2 for item in batch]


@pytest.fixture
def held():
    return Held()


@pytest.fixture
def make(held):
    made = []

    def of(make_work=lambda: held, **settings):
        queue = BatchingQueue("test", make_work, **settings)
        queue.start()
        made.append(queue)
        return queue

    yield of
    held.go.set()
    for queue in made:
        queue.close()


def test_a_lone_item_does_not_wait_for_others(make, held):
    held.go.set()
    assert make(max_batch_size=8).submit(3).result(10) == 6
    assert held.batches == [[3]]


def test_a_batch_is_what_came_meanwhile(make, held):
    queue = make(max_batch_size=3)
    first = queue.submit(0)
    assert held.is_busy.wait(10)
    others = [queue.submit(number) for number in range(1, 6)]
    assert queue.n_waiting == 5
    held.go.set()
    assert [future.result(10) for future in (first, *others)] == [0, 2, 4, 6, 8, 10]
    assert held.batches == [[0], [1, 2, 3], [4, 5]]


def test_more_than_may_wait_are_refused_at_once(make, held):
    queue = make(max_waiting=2)
    queue.submit(0)
    assert held.is_busy.wait(10)
    queue.submit(1)
    queue.submit(2)
    with pytest.raises(OverloadedError, match="2 wait already"):
        queue.submit(3)


def test_past_the_deadline_an_item_is_given_up_and_never_worked_on(make, held):
    queue = make()
    queue.submit(0)
    assert held.is_busy.wait(10)
    with pytest.raises(OverloadedError, match=r"within 0\.05 s"):
        asyncio.run(queue.run(1, 0.05))
    held.go.set()
    assert queue.submit(2).result(10) == 4
    assert held.batches == [[0], [2]]


def test_what_would_not_be_done_in_time_is_refused_at_once(make, held, monkeypatch):
    monkeypatch.setattr("lit_rec.service.batching.time.perf_counter", itertools.count().__next__)  # a second a batch
    queue = make(n_threads=1)
    held.go.set()
    queue.submit(0).result(10)
    held.go.clear()
    held.is_busy.clear()
    queue.submit(1)
    assert held.is_busy.wait(10)
    queue.check_room(0.5)  # nobody waits: to try is the only way to know better
    waiting = [queue.submit(2), queue.submit(3)]
    assert queue.expected_wait == 2
    queue.check_room(3)
    with pytest.raises(OverloadedError, match=r"would not be done within 2\.5 s") as raised:
        asyncio.run(queue.run(4, 2.5))
    assert raised.value.retry_after == 2
    held.go.set()
    assert [each.result(10) for each in waiting] == [4, 6]
    assert [4] not in held.batches


def test_every_caller_of_a_batch_gets_its_error_and_the_thread_lives(make):
    queue = make(lambda: lambda batch: [1 // item for item in batch])
    with pytest.raises(ZeroDivisionError):
        queue.submit(0).result(10)
    assert queue.submit(1).result(10) == 1


def test_each_thread_makes_its_work_itself(make):
    makers = []

    def make_work():
        makers.append(threading.current_thread())
        return lambda batch: batch

    make(make_work, n_threads=3)
    assert len(set(makers)) == 3
    assert threading.current_thread() not in makers


def test_what_cannot_be_made_is_told_at_the_start():
    queue = BatchingQueue("test", lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        queue.start()
    queue.close()


def test_closing_finishes_what_waits_and_takes_nothing_new(make, held):
    queue = make(n_threads=2, max_batch_size=2)
    futures = [queue.submit(number) for number in range(9)]
    held.go.set()
    queue.close()
    queue.close()
    assert [future.result(0) for future in futures] == [2 * number for number in range(9)]
    with pytest.raises(OverloadedError, match="closed"):
        queue.submit(1)


def test_closed_before_it_started_it_just_ends():
    BatchingQueue("test", lambda: lambda batch: batch).close()
