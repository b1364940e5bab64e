"""Connections dealt to workers in turn, over real sockets in one process."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from service import handover
from service.handover import Dealer, Seat
from service.listening import listen


class Worker:
    """A seat whose connections are kept, in the order they came."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel.dup()
        channel.close()
        self.seat = Seat(self.channel)
        self.got: list[socket.socket] = []

    def begin(self) -> None:
        self.seat.take(self._serve)

    async def _serve(self, connection: socket.socket) -> None:
        self.got.append(connection)

    def look_away(self) -> None:
        """Be busy with something else."""
        if self.channel.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self.channel)

    def end(self) -> None:
        self.look_away()
        for one in (self.channel, *self.got):
            one.close()

    def names(self) -> list[bytes]:
        """Return what the clients of its connections sent, in the order they came."""
        for connection in self.got:
            connection.settimeout(5)
        return [connection.recv(16) for connection in self.got]


class Table:
    """A dealer and what is around it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._listener = stack.enter_context(listen("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self.dealer = Dealer(self._listener)
        self.clients: list[socket.socket] = []
        stack.callback(self.dealer.close)

    def sit(self) -> Worker:
        worker = Worker(self._stack.enter_context(self.dealer.seat()))
        self._stack.callback(worker.end)
        return worker

    async def ready(self, count: int) -> list[Worker]:
        """Return so many workers that the dealer knows to be ready."""
        workers = [self.sit() for _ in range(count)]
        for worker in workers:
            worker.begin()
        await asyncio.sleep(0.05)
        return workers

    def come(self, count: int) -> None:
        """Connect so many clients, each of which sends its number."""
        for _ in range(count):
            client = self._stack.enter_context(socket.create_connection(self.address, timeout=5))
            client.sendall(b"%d" % len(self.clients))
            self.clients.append(client)


@contextmanager
def table() -> Iterator[Table]:
    with ExitStack() as stack:
        yield Table(stack)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.005)


def test_connections_are_dealt_in_turn() -> None:
    async def run() -> None:
        with table() as place:
            workers = await place.ready(3)
            place.come(12)
            await until(lambda: sum(len(worker.got) for worker in workers) == 12)
            assert [len(worker.got) for worker in workers] == [4, 4, 4]
            names = [worker.names() for worker in workers]
            assert sorted(int(name) for one in names for name in one) == list(range(12))
            assert all([int(name) % 3 for name in one] == [int(one[0]) % 3] * 4 for one in names)

    asyncio.run(run())


def test_workers_with_models_get_all_connections_as_soon_as_there_is_one() -> None:
    async def run() -> None:
        with table() as place:
            workers = await place.ready(3)
            for worker in workers[1:]:
                worker.seat.say_loaded()
            await asyncio.sleep(0.05)
            place.come(6)
            await until(lambda: sum(len(worker.got) for worker in workers) == 6)
            assert [len(worker.got) for worker in workers] == [0, 3, 3]
            workers[0].seat.say_loaded()
            await asyncio.sleep(0.05)
            place.come(3)
            await until(lambda: sum(len(worker.got) for worker in workers) == 9)
            assert [len(worker.got) for worker in workers] == [1, 4, 4]

    asyncio.run(run())


def test_without_any_models_everybody_gets_connections() -> None:
    """Liveness is asked for while the models are loaded, and after the only worker that had them has ended."""

    async def run() -> None:
        with table() as place:
            stays, goes = await place.ready(2)
            goes.seat.say_loaded()
            await asyncio.sleep(0.05)
            await goes.seat.leave()
            await asyncio.sleep(0.05)
            place.come(2)
            await until(lambda: len(stays.got) == 2)

    asyncio.run(run())


def test_connections_wait_until_a_worker_is_ready() -> None:
    async def run() -> None:
        with table() as place:
            worker = place.sit()
            place.come(3)
            await asyncio.sleep(0.05)
            assert worker.got == []
            worker.begin()
            await until(lambda: len(worker.got) == 3)
            assert worker.names() == [b"0", b"1", b"2"]

    asyncio.run(run())


def test_a_worker_that_has_gone_gets_nothing_and_the_others_its_share() -> None:
    async def run() -> None:
        with table() as place:
            stays, goes = await place.ready(2)
            await goes.seat.leave()
            place.come(6)  # some before the dealer has heard of it
            await until(lambda: len(stays.got) == 6)
            assert goes.got == []

    asyncio.run(run())


def test_what_was_dealt_is_served_although_the_worker_leaves() -> None:
    async def run() -> None:
        with table() as place:
            (worker,) = await place.ready(1)
            worker.look_away()
            place.come(5)
            await asyncio.sleep(0.05)
            assert worker.got == []
            await worker.seat.leave()
            assert worker.names() == [b"0", b"1", b"2", b"3", b"4"]

    asyncio.run(run())


def test_what_came_before_the_end_is_dealt_and_later_clients_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        with table() as place:
            (worker,) = await place.ready(1)
            monkeypatch.setattr(handover, "AT_ONCE", 1)
            place.come(2)
            place.dealer.close()
            place.dealer.close()
            await until(lambda: len(worker.got) == 2)
            with pytest.raises(ConnectionRefusedError):
                place.come(1)

    asyncio.run(run())


@pytest.mark.parametrize("count", [1, 3])
def test_a_worker_that_does_not_look_costs_no_connection(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Its channel is full, so the connection waits, but not until another one comes."""

    async def run() -> None:
        with table() as place:
            (worker,) = await place.ready(1)
            sent, refusals = socket.send_fds, iter([True, True, False, True, False, False])

            def send_fds(*arguments: object) -> int:
                if next(refusals):
                    raise BlockingIOError
                return sent(*arguments)  # type: ignore[arg-type]

            monkeypatch.setattr(handover, "PAUSE_S", 0.01)
            monkeypatch.setattr(socket, "send_fds", send_fds)
            place.come(count)
            await until(lambda: len(worker.got) == count)
            assert worker.names() == [b"0", b"1", b"2"][:count]

    asyncio.run(run())


def test_a_refusal_of_the_system_is_not_the_end_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many descriptors on their way, as where the limit on open files is low."""

    async def run() -> None:
        with table() as place:
            (worker,) = await place.ready(1)
            sent, refusals = socket.send_fds, iter([OSError(errno.ETOOMANYREFS, "Too many references"), None])

            def send_fds(*arguments: object) -> int:
                error = next(refusals)
                if error is not None:
                    raise error
                return sent(*arguments)  # type: ignore[arg-type]

            monkeypatch.setattr(handover, "PAUSE_S", 0.01)
            monkeypatch.setattr(socket, "send_fds", send_fds)
            place.come(1)
            await until(lambda: len(worker.got) == 1)

    asyncio.run(run())


def test_a_connection_that_no_worker_took_goes_to_the_next_that_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        with table() as place:
            goes = place.sit()
            goes.begin()
            await asyncio.sleep(0.05)

            def broken(*_: object) -> int:
                raise BrokenPipeError

            monkeypatch.setattr(socket, "send_fds", broken)
            place.come(1)
            await asyncio.sleep(0.05)
            monkeypatch.undo()
            comes = place.sit()
            comes.begin()
            await until(lambda: len(comes.got) == 1)
            assert comes.names() == [b"0"]

    asyncio.run(run())


def test_without_files_for_another_connection_it_tries_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        with table() as place:
            (worker,) = await place.ready(1)
            accept, failures = socket.socket.accept, iter([OSError(errno.EMFILE, "Too many open files")])

            def failing(listener: socket.socket) -> tuple[socket.socket, object]:
                error = next(failures, None)
                if error is not None:
                    raise error
                return accept(listener)

            monkeypatch.setattr(handover, "PAUSE_S", 0.01)
            monkeypatch.setattr(socket.socket, "accept", failing)
            place.come(1)
            await until(lambda: len(worker.got) == 1)

    asyncio.run(run())
    assert "No connection can be accepted: Too many open files" in caplog.text
