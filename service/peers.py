"""Carries changes of the model repository to the other workers, through a folder that all of them see.

A change is a numbered file; every worker carries the changes out in the order of their numbers and leaves a receipt, so
all end with the same models whichever worker was asked. Must not import a web framework.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from linnet.bundle import bundle_directories
from linnet.errors import LinnetError
from service.catalogue import Catalogue
from service.errors import InternalError, PeerFailed
from service.settings import Settings

Verb = Literal["load", "unload"]
WATCH_S = 0.05
_DONE = "done"
_FIRST = "first-seen"  # the bundles that were there when the first worker began

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """What is to be done with the models of one name."""

    verb: Verb
    name: str


class Peers:
    """This worker's place among the others."""

    def __init__(self, folder: Path, catalogue: Catalogue, settings: Settings) -> None:
        self._folder = folder
        self._catalogue = catalogue
        self._settings = settings
        self._next = 1
        self._own: dict[int, asyncio.Future[None]] = {}
        self._watching: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin to read the models that the other workers serve, before there is an event loop."""
        changes = self._catch_up()
        last = {change.name: change.verb for change in changes}
        self._catalogue.begin(
            unloaded=[name for name, verb in last.items() if verb == "unload"],
            too_late=self._came_later({change.name for change in changes if change.verb == "load"}),
        )

    def start(self) -> None:
        """Load the models and begin to carry out what others ask."""
        if not self._catalogue.has_begun:
            self.begin()
        # Or a worker that comes later would know of the unloading alone.
        self._catalogue.on_return = lambda name: self._publish(Change("load", name))
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
            async with asyncio.timeout(self._settings.timeout_ms / 1000):
                await self._receipts(number, change)
        except TimeoutError as error:
            raise PeerFailed(change.name, "it took too long") from error
        finally:
            del self._own[number]

    def _catch_up(self) -> list[Change]:
        """Pass over the changes so far and return them."""
        changes = []
        while (change := self._read(self._next)) is not None:
            changes.append(change)
            self._next += 1
        return changes

    def _came_later(self, loaded: Collection[str]) -> list[Path]:
        """Return the bundles that were not there when the first worker began, but for the names `loaded` since.

        Without them a worker that takes the place of another serves what the others do. Where the folder is polled,
        all have found them.
        """
        if self._settings.poll_s:
            return []
        try:
            found = bundle_directories(self._settings.models_dir)
        except OSError:  # whoever reads the models says so
            return []
        self._write_once(json.dumps([str(path) for path in found]), self._folder / _FIRST)
        first = json.loads((self._folder / _FIRST).read_text(encoding="utf-8"))
        later = [path for path in found if str(path) not in first and path.parent.name not in loaded]
        if later:
            names = ", ".join(f"{path.parent.name} {path.name}" for path in later)
            logger.warning("Not served, for the other workers do not: %s; load it, or start the service anew", names)
        return later

    def _publish(self, change: Change) -> int:
        """Give the change the next free number."""
        number = self._next
        while not self._write_once(f"{change.verb} {change.name}", self._path(number)):
            number += 1
        return number

    def _write_once(self, text: str, path: Path) -> bool:
        """Write a file unless it is there; linking a whole one is one step, so nobody reads half of it."""
        descriptor, draft = tempfile.mkstemp(dir=self._folder, prefix="draft-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        finally:
            Path(draft).unlink()
        return True

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
