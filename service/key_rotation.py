"""Takes new API keys from their files while the service runs, so that no restart is needed and no worker falls behind.

Must not import a web framework.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from linnet.errors import LinnetError
from service.keys import Keys
from service.settings import Settings

LOOK_EVERY_S = 2.0

logger = logging.getLogger(__name__)

State = tuple[tuple[int, int, int] | None, ...]  # inode, time of the last change in nanoseconds and size of each file


class KeyRotation:
    """Holds the keys of one service and looks at their files now and then.

    Raises `UnreadableKeys` or `InvalidSetting` where the keys cannot be used from the start.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._files = [path for path in (settings.api_keys_file, settings.admin_keys_file) if path is not None]
        self._taken = self._seen = self._state()  # before they are read: what changes meanwhile is read again
        self._refused: State | None = None
        self.keys = Keys.of(settings)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look from now on, if there is a file to look at."""
        if self._files:
            self._task = asyncio.get_running_loop().create_task(self._look_for_ever())

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    def look(self) -> Keys | None:
        """Return the keys of files that have changed and then kept still for one look: none is read half-written.

        Where they cannot be used, the old keys stay, the log says why once for each change, and the next look tries
        again.
        """
        state = self._state()
        keeps_still, self._seen = state == self._seen, state
        if state == self._taken or not keeps_still:
            return None
        try:
            fresh = Keys.of(self._settings)
        except LinnetError as error:
            if state != self._refused:
                logger.error("The API keys stay as they were. %s", error)
            self._refused = state
            return None
        self._taken = state
        logger.info("The API keys were read again, for their files have changed")
        return fresh

    async def _look_for_ever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            fresh = await asyncio.to_thread(self.look)
            if fresh is not None:
                self.keys.become(fresh)

    def _state(self) -> State:
        return tuple(_state_of(path) for path in self._files)


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_ctime_ns, status.st_size
