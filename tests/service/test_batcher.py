from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.errors import UnreadableImage
from linnet.session import Outputs
from service.batcher import Answer, Batcher, Outcome
from service.engine import Batch, Image, Item
from service.errors import EngineFailed, NotReady


@dataclass
class Echo:
    """A network whose answer to an image is the number written in it; fails on the batches that are told to fail."""

    seconds: float = 0.0
    failing: frozenset[int] = frozenset()
    batches: list[list[int]] = field(default_factory=list)

    def __call__(self, items: Sequence[Item]) -> Batch:
        numbers = [number_of(item) for item in items]
        self.batches.append(numbers)
        time.sleep(self.seconds)
        if self.failing & set(numbers):
            raise RuntimeError("told to fail")
        return answered(numbers)


class Held(Echo):
    """Keeps every batch until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def __call__(self, items: Sequence[Item]) -> Batch:
        done = super().__call__(items)
        assert self.go.wait(10)
        return done


def answered(numbers: Sequence[int]) -> Batch:
    row = np.array([[number] for number in numbers], np.float32)
    return Batch(Outputs(row, row, row), range(len(numbers)), [0.0] * len(numbers), 0.0)


def image(number: int) -> Image:
    return np.full((1, 1, 3), number, np.uint8)


def number_of(item: Item) -> int:
    assert not isinstance(item, bytes)
    return int(item[0, 0, 0])


def said(outcome: Outcome) -> float:
    assert isinstance(outcome, Answer), outcome
    return float(outcome.probabilities[0])


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what other threads do."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come")


async def one(batcher: Batcher, number: int) -> float:
    (outcome,) = await batcher.answer([image(number)])
    return said(outcome)


def test_an_image_that_comes_alone_does_not_wait() -> None:
    echo = Echo()

    async def scenario() -> float:
        batcher = Batcher(echo, 8)
        number = await one(batcher, 7)
        await batcher.close()
        return number

    assert asyncio.run(scenario()) == 7
    assert echo.batches == [[7]]


def test_while_one_batch_runs_the_next_gathers() -> None:
    held = Held()

    async def scenario() -> None:
        batcher = Batcher(held, 4)
        tasks = [asyncio.create_task(one(batcher, 0))]
        await until(lambda: bool(held.batches))
        tasks += [asyncio.create_task(one(batcher, number)) for number in range(1, 8)]
        await asyncio.sleep(0)
        held.go.set()
        assert await asyncio.gather(*tasks) == list(range(8))
        await batcher.close()

    asyncio.run(scenario())
    assert held.batches == [[0], [1, 2, 3, 4], [5, 6, 7]]


def test_a_batch_counts_images_and_not_requests() -> None:
    held = Held()

    async def scenario() -> None:
        batcher = Batcher(held, 4)
        first = asyncio.create_task(one(batcher, 0))
        await until(lambda: bool(held.batches))
        many = asyncio.create_task(batcher.answer([image(number) for number in range(1, 11)]))
        await asyncio.sleep(0)
        held.go.set()
        await first
        assert [said(outcome) for outcome in await many] == list(range(1, 11))
        await batcher.close()

    asyncio.run(scenario())
    assert held.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


def test_images_of_one_request_are_shared_among_idle_lanes() -> None:
    held = Held()

    async def scenario() -> None:
        batcher = Batcher(held, 8, lanes=2)
        await until(lambda: batcher._idle == 2)
        asking = asyncio.create_task(batcher.answer([image(number) for number in range(6)]))
        await until(lambda: len(held.batches) == 2)
        held.go.set()
        assert [said(outcome) for outcome in await asking] == [0, 1, 2, 3, 4, 5]
        await batcher.close()

    asyncio.run(scenario())
    assert sorted(held.batches) == [[0, 1, 2], [3, 4, 5]]


def test_an_abandoned_image_is_not_computed() -> None:
    held = Held()

    async def scenario() -> None:
        batcher = Batcher(held, 4)
        tasks = [asyncio.create_task(one(batcher, 0))]
        await until(lambda: bool(held.batches))
        tasks += [asyncio.create_task(one(batcher, number)) for number in range(1, 6)]
        await asyncio.sleep(0)
        tasks[2].cancel()
        await asyncio.sleep(0)
        assert len(batcher._waiting) == 4  # it left at once
        held.go.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        await batcher.close()

    asyncio.run(scenario())
    assert held.batches == [[0], [1, 3, 4, 5]]


def test_an_image_that_has_no_row_stands_beside_those_that_have() -> None:
    damaged = UnreadableImage("no end")

    def run(items: Sequence[Item]) -> Batch:
        row = np.array([[number_of(item)] for item in items[1:]], np.float32)
        return Batch(Outputs(row, row, row), [damaged, *range(len(items) - 1)], [0.0] * len(items), 0.0)

    async def scenario() -> list[Outcome]:
        batcher = Batcher(run, 4)
        outcomes = await batcher.answer([image(number) for number in range(3)])
        await batcher.close()
        return outcomes

    first, *others = asyncio.run(scenario())
    assert first is damaged
    assert [said(outcome) for outcome in others] == [1, 2]


@pytest.mark.parametrize("rows", [[], [0], [0, 0], [1, 0], [0, 1, 2]])
def test_rows_that_do_not_add_up_are_a_failure_not_a_shift(rows: list[int]) -> None:
    def wrong(items: Sequence[Item]) -> Batch:
        return Batch(answered([0] * len(items)).outputs, rows, [0.0] * len(rows), 0.0)

    async def scenario() -> list[Outcome]:
        batcher = Batcher(wrong, 4)
        outcomes = await batcher.answer([image(1), image(2)])
        await batcher.close()
        return outcomes

    assert all(isinstance(outcome, EngineFailed) for outcome in asyncio.run(scenario()))


def test_close_answers_what_was_taken_and_takes_no_more() -> None:
    async def scenario() -> list[float]:
        batcher = Batcher(Echo(), 2)
        tasks = [asyncio.create_task(one(batcher, number)) for number in range(5)]
        await asyncio.sleep(0)
        await batcher.close()
        with pytest.raises(NotReady):
            await one(batcher, 9)
        return await asyncio.gather(*tasks)

    assert asyncio.run(scenario()) == [0, 1, 2, 3, 4]


def test_close_ends_the_lanes() -> None:
    async def scenario() -> Batcher:
        batcher = Batcher(Echo(), 2, lanes=3)
        await one(batcher, 1)
        await batcher.close()
        return batcher

    assert not any(lane.is_alive() for lane in asyncio.run(scenario())._lanes)


@dataclass(frozen=True)
class Load:
    """Images that come one after the other; times in turns of the event loop."""

    gaps: list[int]  # before the next image comes
    cancelled: dict[int, int]  # image -> after how long its owner gives up
    failing: frozenset[int]
    batch_s: float


loads = st.builds(
    Load,
    gaps=st.lists(st.integers(0, 2), min_size=1, max_size=40),
    cancelled=st.dictionaries(st.integers(0, 39), st.integers(0, 12), max_size=20),
    failing=st.frozensets(st.integers(0, 39), max_size=4),
    batch_s=st.sampled_from([0.0, 0.0005]),
)


@settings(max_examples=60, deadline=None)
@given(load=loads, max_batch_size=st.integers(1, 9), lanes=st.integers(1, 3))
def test_order_and_identity_survive(load: Load, max_batch_size: int, lanes: int) -> None:
    """Whatever is cancelled and whatever fails, everyone gets their own answer or the failure of their own batch."""
    echo = Echo(load.batch_s, load.failing)

    async def ask(batcher: Batcher, number: int) -> Outcome:
        (outcome,) = await batcher.answer([image(number)])
        return outcome

    async def cancel(task: asyncio.Task[Outcome], after_ticks: int) -> None:
        for _ in range(after_ticks):
            await asyncio.sleep(0)
        task.cancel()

    async def scenario() -> list[Outcome | BaseException]:
        batcher = Batcher(echo, max_batch_size, lanes)
        tasks, cancels = [], []
        for number, gap in enumerate(load.gaps):
            tasks.append(asyncio.create_task(ask(batcher, number)))
            if number in load.cancelled:
                cancels.append(asyncio.create_task(cancel(tasks[-1], load.cancelled[number])))
            for _ in range(gap):
                await asyncio.sleep(0)
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        await asyncio.gather(*cancels)
        await batcher.close()
        assert not batcher._waiting
        return results

    results = asyncio.run(scenario())
    failed = {number for batch in echo.batches if load.failing & set(batch) for number in batch}
    for number, result in enumerate(results):
        if isinstance(result, asyncio.CancelledError):
            assert number in load.cancelled
        elif isinstance(result, EngineFailed):
            assert number in failed
        else:
            assert isinstance(result, Answer)
            assert said(result) == number
            assert number not in failed
    computed = [number for batch in echo.batches for number in batch]
    assert sorted(computed) == sorted(set(computed))
    assert all(batch == sorted(batch) for batch in echo.batches)
    assert max(map(len, echo.batches), default=0) <= max_batch_size
