"""Gives each new connection to the next worker in turn: the supervisor accepts, the workers serve.

On sockets of their own (SO_REUSEPORT) the kernel deals connections out by a hash: of 32, twenty to one worker and
twelve to the other are nothing unusual, and the clients of the fuller one wait. Between the supervisor and each worker
is a pair of Unix sockets; a connection travels as a file descriptor beside one byte (SCM_RIGHTS, unix(7)).

Must not import a web framework or ONNX Runtime.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

READY, LOADED = b"r", b"l"  # from a worker: it takes connections, and later: its models are there
CONNECTION = b"c"  # to a worker, with each connection
AT_ONCE = 64  # connections, before the event loop sees to anything else
PAUSE_S = 0.1  # where no connection can be accepted, or no worker takes it

logger = logging.getLogger(__name__)


class Dealer:
    """The supervisor's side; while no worker is ready, connections wait in the listener's backlog.

    Workers that have loaded their models get all connections as soon as there is one: while another is started anew, no
    request has to learn from it that it is not ready.
    """

    def __init__(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._ready: deque[socket.socket] = deque()  # channels to the workers, the next one first
        self._loaded: set[socket.socket] = set()
        self._undealt: socket.socket | None = None  # accepted, and no worker has taken it yet
        self._pause: asyncio.TimerHandle | None = None

    @contextmanager
    def seat(self) -> Iterator[socket.socket]:
        """Yield a worker's end of a new channel, to be closed here once the worker has it."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._loop.add_reader(ours, self._hear, ours)
        try:
            yield theirs
        finally:
            self._leave(ours)
            ours.close()
            theirs.close()

    def close(self) -> None:
        """Deal what has come so far, and stop listening."""
        if self._is_closed():
            return
        while self._deal():
            pass
        self._ready.clear()
        self._listen()
        self._listener.close()
        if self._undealt is not None:
            self._undealt.close()

    def _is_closed(self) -> bool:
        return self._listener.fileno() < 0

    def _hear(self, channel: socket.socket) -> None:
        try:
            said = channel.recv(len(READY))
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if not said:  # the worker has ended, or takes no more
            self._leave(channel)
        elif said == LOADED:
            self._loaded.add(channel)
        elif not self._is_closed():
            self._ready.append(channel)
            self._listen()

    def _leave(self, channel: socket.socket) -> None:
        self._loop.remove_reader(channel)
        self._loaded.discard(channel)
        if channel in self._ready:  # never once the listener is closed
            self._ready.remove(channel)
            self._listen()

    def _listen(self) -> None:
        """Listen while there is somebody to deal to."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if not self._ready:
            self._loop.remove_reader(self._listener)
            return
        self._loop.add_reader(self._listener, self._deal)
        if self._undealt is not None:  # it must not wait until another one comes
            self._loop.call_soon(self._deal)

    def _deal(self) -> bool:
        """Deal what has come, up to a bound; tell whether there may be more."""
        for _ in range(AT_ONCE):
            if not self._ready:
                return False
            if self._undealt is None:
                self._undealt = self._accept()
            if self._undealt is None:
                return False
            if not self._hand_over(self._undealt):
                self._rest()
                return False
            self._undealt.close()  # the worker has it now
            self._undealt = None
        return True

    def _accept(self) -> socket.socket | None:
        """Return a connection from the backlog, if one can be had."""
        try:
            return self._listener.accept()[0]
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return None
        except OSError as error:  # most likely no file or memory is left
            logger.error("No connection can be accepted: %s", error.strerror)
            self._rest()
            return None

    def _hand_over(self, connection: socket.socket) -> bool:
        """Give a connection to the next worker that takes it; tell whether one did."""
        for _ in range(len(self._ready)):
            channel = self._ready[0]
            self._ready.rotate(-1)
            if self._loaded and channel not in self._loaded:
                continue
            try:
                socket.send_fds(channel, [CONNECTION], [connection.fileno()])
            except (BrokenPipeError, ConnectionResetError):
                self._leave(channel)
            except OSError:  # it has not looked at the last ones yet, or the system has no room for one on its way
                continue
            else:
                return True
        return False

    def _rest(self) -> None:
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(PAUSE_S, self._listen)


class Seat:
    """A worker's side of a channel."""

    def __init__(self, channel: socket.socket) -> None:
        channel.setblocking(False)
        self._channel = channel
        self._serve: Callable[[socket.socket], Awaitable[object]]
        self._beginning: set[asyncio.Task[None]] = set()
        self._has_said_loaded = False

    def take(self, serve: Callable[[socket.socket], Awaitable[object]]) -> None:
        """Serve what is dealt from now on."""
        self._serve = serve
        asyncio.get_running_loop().add_reader(self._channel, self._take)
        self._channel.send(READY)

    def say_loaded(self) -> None:
        """Ask for a share of the connections that are for workers with models; once is enough."""
        if not self._has_said_loaded:
            self._has_said_loaded = True
            with suppress(OSError):  # the supervisor has ended, and this process is about to
                self._channel.send(LOADED)

    async def leave(self) -> None:
        """Begin to serve what was dealt already, and take no more."""
        asyncio.get_running_loop().remove_reader(self._channel)
        while self._take():
            pass
        self._channel.close()
        if self._beginning:
            await asyncio.wait(self._beginning)

    def _take(self) -> bool:
        """Take what has been dealt, up to a bound; tell whether there may be more."""
        for _ in range(AT_ONCE):
            try:
                said, descriptors, *_ = socket.recv_fds(self._channel, len(CONNECTION), 1)
            except BlockingIOError:
                return False
            except OSError:
                said = b""
            if not said:  # the supervisor has ended, and this process is about to
                asyncio.get_running_loop().remove_reader(self._channel)
                return False
            for descriptor in descriptors:  # none where this process has no file left
                task = asyncio.create_task(self._begin(socket.socket(fileno=descriptor)))
                self._beginning.add(task)
                task.add_done_callback(self._beginning.discard)
        return True

    async def _begin(self, connection: socket.socket) -> None:
        try:
            await self._serve(connection)
        except OSError:  # the client has gone already
            connection.close()
