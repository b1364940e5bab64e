"""Carries changes of the model repository to the other workers, through a folder that all of them see.

A change is a numbered file; every worker carries the changes out in the order of their numbers and leaves a receipt, so
all end with the same models whichever worker was asked. Must not import a web framework.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from linnet.errors import LinnetError
from service.catalogue import Catalogue
from service.errors import InternalError, PeerFailed

Verb = Literal["load", "unload"]
WATCH_S = 0.05
_DONE = "done"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """What is to be done with the models of one name."""

    verb: Verb
    name: str


class Peers:
    """This worker's place among the others."""

    def __init__(self, folder: Path, catalogue: Catalogue, timeout_s: float) -> None:
        self._folder = folder
        self._catalogue = catalogue
        self._timeout_s = timeout_s
        self._next = 1
        self._own: dict[int, asyncio.Future[None]] = {}
        self._watching: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin to read the models, before there is an event loop."""
        self._catalogue.begin(unloaded=self._catch_up())

    def start(self) -> None:
        """Load the models and begin to carry out what others ask."""
        if not self._catalogue.has_begun:
            self.begin()
        self._catalogue.start()
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Take no more changes."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])

    async def change(self, change: Change) -> None:
        """Carry out a change here and in every other worker, and return when all have.

        Raises what the change raises here, or `PeerFailed` where it failed elsewhere or took too long.
        """
        number = self._publish(change)
        own = self._own[number] = asyncio.get_running_loop().create_future()
        try:
            await own  # as long as it takes, as without other workers
            async with asyncio.timeout(self._timeout_s):
                await self._receipts(number, change)
        except TimeoutError as error:
            raise PeerFailed(change.name, "it took too long") from error
        finally:
            del self._own[number]

    def _catch_up(self) -> list[str]:
        """Pass over the changes so far and return the names that they left unloaded."""
        verbs: dict[str, Verb] = {}
        while (change := self._read(self._next)) is not None:
            verbs[change.name] = change.verb
            self._next += 1
        return [name for name, verb in verbs.items() if verb == "unload"]

    def _publish(self, change: Change) -> int:
        """Give the change the next free number; linking a whole file is one step, so nobody reads half of it."""
        descriptor, draft = tempfile.mkstemp(dir=self._folder, prefix="draft-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{change.verb} {change.name}")
        number = self._next
        while True:
            try:
                os.link(draft, self._path(number))
            except FileExistsError:
                number += 1
            else:
                break
        Path(draft).unlink()
        return number

    async def _watch(self) -> None:
        if self._catalogue.loading is not None:
            await asyncio.wait([self._catalogue.loading])
        presence(self._folder, os.getpid()).touch()
        while True:
            change = self._read(self._next)
            if change is None:
                await asyncio.sleep(WATCH_S)
                continue
            error = await self._carry_out(change)
            self._receipt(self._next, os.getpid()).write_text(str(error) if error else _DONE, encoding="utf-8")
            own = self._own.get(self._next)
            if own is not None and not own.done():
                own.set_exception(error) if error else own.set_result(None)
            self._next += 1

    async def _carry_out(self, change: Change) -> LinnetError | None:
        try:
            await (self._catalogue.load if change.verb == "load" else self._catalogue.unload)(change.name)
        except LinnetError as error:
            return error
        except Exception:  # the others wait for a receipt, and the next change for this one
            logger.exception("%s of %s failed", change.verb, change.name)
            return InternalError()
        return None

    async def _receipts(self, number: int, change: Change) -> None:
        """Return when every worker that is there has carried the change out."""
        for pid in _present(self._folder):
            receipt = self._receipt(number, pid)
            while not receipt.exists() and presence(self._folder, pid).exists():
                await asyncio.sleep(WATCH_S)
            text = receipt.read_text(encoding="utf-8") if receipt.exists() else _DONE
            if text not in ("", _DONE):
                raise PeerFailed(change.name, text)

    def _read(self, number: int) -> Change | None:
        try:
            verb, _, name = self._path(number).read_text(encoding="utf-8").partition(" ")
        except FileNotFoundError:
            return None
        return Change("load" if verb == "load" else "unload", name)

    def _path(self, number: int) -> Path:
        return self._folder / f"change-{number}"

    def _receipt(self, number: int, pid: int) -> Path:
        return self._folder / f"receipt-{number}-{pid}"


def presence(folder: Path, pid: int) -> Path:
    """Return the file that says that a worker takes part; its supervisor removes it when the worker has ended."""
    return folder / f"worker-{pid}"


def _present(folder: Path) -> list[int]:
    return [int(path.name.partition("-")[2]) for path in folder.glob("worker-*")]
