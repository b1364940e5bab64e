from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.session import Outputs
from service.batcher import Batcher, Image
from service.errors import EngineFailed, NotReady


@dataclass
class Echo:
    """A network whose answer to an image is the number written in it; fails on the batches that are told to fail."""

    ticks: int = 1
    failing: frozenset[int] = frozenset()
    batches: list[list[int]] = field(default_factory=list)

    async def __call__(self, images: Sequence[Image]) -> Outputs:
        numbers = [int(image[0, 0, 0]) for image in images]
        self.batches.append(numbers)
        for _ in range(self.ticks):
            await asyncio.sleep(0)
        if self.failing & set(numbers):
            raise RuntimeError("told to fail")
        return rows([[number] for number in numbers])


def rows(values: list[list[int]]) -> Outputs:
    row = np.array(values, np.float32)
    return Outputs(row, row, row)


def image(number: int) -> Image:
    return np.full((1, 1, 3), number, np.uint8)


def test_an_image_that_comes_alone_does_not_wait() -> None:
    echo = Echo()

    async def scenario() -> float:
        answer = await Batcher(echo, 8).answer(image(7))
        return float(answer.probabilities[0])

    assert asyncio.run(scenario()) == 7
    assert echo.batches == [[7]]


def test_while_one_batch_runs_the_next_gathers() -> None:
    echo = Echo(ticks=5)

    async def scenario() -> None:
        batcher = Batcher(echo, 4)
        first = asyncio.create_task(batcher.answer(image(0)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.gather(first, *(batcher.answer(image(number)) for number in range(1, 8)))

    asyncio.run(scenario())
    assert echo.batches == [[0], [1, 2, 3, 4], [5, 6, 7]]


def test_an_abandoned_image_is_not_computed() -> None:
    echo = Echo(ticks=5)

    async def scenario() -> None:
        batcher = Batcher(echo, 4)
        tasks = [asyncio.create_task(batcher.answer(image(number))) for number in range(6)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        tasks[4].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(scenario())
    assert echo.batches == [[0, 1, 2, 3], [5]]


def test_too_few_answers_are_a_failure_not_a_shift() -> None:
    async def short(images: Sequence[Image]) -> Outputs:
        return rows([[0, 0, 0]] * (len(images) - 1))

    with pytest.raises(EngineFailed):
        asyncio.run(Batcher(short, 4).answer(image(1)))


def test_close_answers_what_was_taken_and_takes_no_more() -> None:
    async def scenario() -> list[float]:
        batcher = Batcher(Echo(), 2)
        tasks = [asyncio.create_task(batcher.answer(image(number))) for number in range(5)]
        await asyncio.sleep(0)
        await batcher.close()
        with pytest.raises(NotReady):
            await batcher.answer(image(9))
        return [float(task.result().probabilities[0]) for task in tasks]

    assert asyncio.run(scenario()) == [0, 1, 2, 3, 4]


def test_nobody_waits_for_ever_when_the_runner_is_cancelled() -> None:
    async def scenario() -> list[object]:
        batcher = Batcher(Echo(ticks=100), 2)
        tasks = [asyncio.create_task(batcher.answer(image(number))) for number in range(5)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert batcher._runner is not None
        batcher._runner.cancel()
        return list(await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 1))

    assert all(isinstance(result, asyncio.CancelledError) for result in asyncio.run(scenario()))


@dataclass(frozen=True)
class Load:
    """Images that come one after the other; times in turns of the event loop."""

    gaps: list[int]  # before the next image comes
    cancelled: dict[int, int]  # image -> after how long its owner gives up
    failing: frozenset[int]
    batch_ticks: int


loads = st.builds(
    Load,
    gaps=st.lists(st.integers(0, 2), min_size=1, max_size=40),
    cancelled=st.dictionaries(st.integers(0, 39), st.integers(0, 12), max_size=20),
    failing=st.frozensets(st.integers(0, 39), max_size=4),
    batch_ticks=st.integers(0, 4),
)


@settings(max_examples=60, deadline=None)
@given(load=loads, max_batch_size=st.integers(1, 9))
def test_order_and_identity_survive(load: Load, max_batch_size: int) -> None:
    """Whatever is cancelled and whatever fails, everyone gets their own answer or the failure of their own batch."""
    echo = Echo(load.batch_ticks, load.failing)

    async def one(batcher: Batcher, number: int) -> float:
        return float((await batcher.answer(image(number))).probabilities[0])

    async def cancel(task: asyncio.Task[float], after_ticks: int) -> None:
        for _ in range(after_ticks):
            await asyncio.sleep(0)
        task.cancel()

    async def scenario() -> list[object]:
        batcher = Batcher(echo, max_batch_size)
        tasks, cancels = [], []
        for number, gap in enumerate(load.gaps):
            tasks.append(asyncio.create_task(one(batcher, number)))
            if number in load.cancelled:
                cancels.append(asyncio.create_task(cancel(tasks[-1], load.cancelled[number])))
            for _ in range(gap):
                await asyncio.sleep(0)
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        await asyncio.gather(*cancels)
        await batcher.close()
        assert not batcher._waiting
        return list(results)

    results = asyncio.run(scenario())
    failed = {number for batch in echo.batches if load.failing & set(batch) for number in batch}
    for number, result in enumerate(results):
        if isinstance(result, asyncio.CancelledError):
            assert number in load.cancelled
        elif isinstance(result, EngineFailed):
            assert number in failed
        else:
            assert result == number
            assert number not in failed
    computed = [number for batch in echo.batches for number in batch]
    assert computed == sorted(set(computed))
    assert max(map(len, echo.batches), default=0) <= max_batch_size
