"""Takes new API keys from their files while the service runs, so that no restart is needed and no worker falls behind.

Must not import a web framework.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from linnet.errors import LinnetError
from service.keys import KeyList, Keys

LOOK_EVERY_S = 2.0

logger = logging.getLogger(__name__)

State = tuple[int, int, int] | None  # inode, time of the last change in nanoseconds and size; None: not to be seen


class KeyRotation:
    """Looks at the files of keys now and then, each by itself."""

    def __init__(self, keys: Keys) -> None:
        self._files = [KeyFile(found, found.path) for found in (keys.ordinary, keys.admin) if found.path is not None]
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look from now on, if there is a file to look at."""
        if self._files:
            self._task = asyncio.get_running_loop().create_task(self._look_for_ever())

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    async def _look_for_ever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            for file in self._files:
                await asyncio.to_thread(file.look)


class KeyFile:
    """One file of keys, which has been read before; it is read again at the first look all the same."""

    def __init__(self, keys: KeyList, path: Path) -> None:
        self._keys = keys
        self._path = path
        self._taken: State = None
        self._seen: State = None
        self._complaint = ""

    def look(self) -> None:
        """Take the keys of a file that has changed and then kept still for one look: none is read half-written.

        Where they cannot be used, the old ones stay, the log says why once, and the next look tries again.
        """
        state = _state_of(self._path)
        keeps_still, self._seen = state == self._seen, state
        if not keeps_still or (state is not None and state == self._taken):
            return
        try:
            digests = self._keys.read()
        except LinnetError as error:
            if str(error) != self._complaint:
                logger.error("The API keys stay as they were. %s", error)
            self._complaint = str(error)
            return
        if digests != self._keys.digests:
            self._keys.digests = digests
            logger.info("The API keys in %s were read again: they have changed", self._path)
        self._taken, self._complaint = state, ""


def _state_of(path: Path) -> State:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_ctime_ns, status.st_size
