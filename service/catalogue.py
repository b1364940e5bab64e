"""Changes the model repository while it serves: load, unload, reload, and look for new bundles.

A change is prepared beside what serves, put in place at once, and what it replaced answers its requests before it goes;
so a failed load leaves the old version serving and a swap loses no request. Must not import a web framework.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linnet.bundle import bundle_directories
from linnet.errors import LinnetError
from service.errors import LoadFailed, NotReady, UnknownModel
from service.loading import Loaded, Loader
from service.memory import release_free_memory
from service.metrics import Metrics
from service.repository import Absent, Model, Repository
from service.settings import Settings

logger = logging.getLogger(__name__)

Fingerprint = tuple[tuple[str, int, int], ...]  # name, bytes and time of change of each file of a bundle


@dataclass(frozen=True)
class _Read:
    """What was found in the models folder at the start."""

    seen: dict[Path, Fingerprint]
    loaded: Loaded
    left_out: Sequence[Absent]


class Catalogue:
    """The repository in use and its changes, one at a time; lives on one event loop."""

    def __init__(self, settings: Settings, metrics: Metrics, on_change: Callable[[], None] | None = None) -> None:
        self._settings = settings
        self._on_change = on_change
        self._metrics = metrics
        self._loader = Loader(settings, metrics)
        self._repository: Repository | None = None
        self._seen: dict[Path, Fingerprint] = {}
        self._change = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading: Future[_Read] | None = None
        # Told of an unloaded name that a look at the folder is about to load.
        self.on_return: Callable[[str], object] | None = None
        self.loading: asyncio.Task[None] | None = None

    @property
    def repository(self) -> Repository:
        """Return the model repository; raises `NotReady` before it is loaded."""
        if self._repository is not None:
            return self._repository
        if self.loading is not None and self.loading.done():
            raise NotReady("the models could not be loaded")
        raise NotReady("models are being loaded")

    def begin(self, unloaded: Sequence[str] = (), too_late: Sequence[Path] = ()) -> None:
        """Begin to read the models on a thread; needs no event loop.

        Those of the `unloaded` names are known and left out, and bundles that came `too_late` are not seen.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._reading = thread.submit(self._read_all, unloaded, too_late)
        thread.shutdown(wait=False)

    @property
    def has_begun(self) -> bool:
        """Tell whether the models are being read."""
        return self._reading is not None

    def start(self) -> None:
        """Load the models, or wait for those that are being read; liveness does not wait for them."""
        if self._reading is None:
            self.begin()
        assert self._reading is not None  # it has begun
        self.loading = self._keep(self._load_all(self._reading))
        if self._settings.poll_s:
            self._keep(self._poll(self._settings.poll_s))

    async def stop(self) -> None:
        """Wait for a change that is under way, then let every model go."""
        if self.loading is not None:
            await asyncio.wait([self.loading])
        async with self._change:
            for task in list(self._tasks):
                task.cancel()
            if self._repository is not None:
                await self._repository.close()

    async def load(self, name: str) -> None:
        """Load every version of `name` anew from its files; versions whose files are gone are let go.

        Goes on where its caller is cancelled. Raises `UnknownModel` where the folder has no such name, and `LoadFailed`
        where a version was refused; what served before it goes on serving.
        """
        await asyncio.shield(self._keep(self._load(name)))

    async def unload(self, name: str) -> None:
        """Let every version of `name` go; returns when its memory is free. Raises `UnknownModel`."""
        await asyncio.shield(self._keep(self._unload(name)))

    def _keep(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run in the background; the event loop alone would let a task be collected."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._let_go)
        return task

    def _let_go(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        is_ours = isinstance(error, LinnetError)
        if error is not None and (task is self.loading or not is_ours):  # whoever asks for a change is told by it
            logger.critical("%s", error, exc_info=None if is_ours else error)

    def _read_all(self, unloaded: Sequence[str], too_late: Sequence[Path]) -> _Read:
        found = _fingerprints(self._settings.models_dir)
        seen = {path: fingerprint for path, fingerprint in found.items() if path not in too_late}
        wanted = [path for path in seen if path.parent.name not in unloaded]
        left_out = [_unloaded(path.parent.name, int(path.name)) for path in seen if path not in wanted]
        return _Read(seen, self._loader.load(wanted), left_out)

    async def _load_all(self, reading: Future[_Read]) -> None:
        read = await asyncio.wrap_future(reading)
        self._seen = _without(read.seen, read.loaded.unread)
        default = self._settings.model or next(iter(self._settings.expected_models), None)
        self._put(Repository(read.loaded.models, [*read.loaded.failed, *read.left_out], default))
        self._mark(read.loaded.models, 1)

    def _put(self, repository: Repository) -> None:
        """Let every request from now on find this repository."""
        self._repository = repository
        if self._on_change is not None:
            self._on_change()

    async def _load(self, name: str) -> None:
        async with self._change:
            seen = await asyncio.to_thread(_fingerprints, self._settings.models_dir)
            await self._replace(name, [path for path in seen if path.parent.name == name], seen)

    async def _replace(self, name: str, directories: Sequence[Path], seen: dict[Path, Fingerprint]) -> None:
        before = self.repository
        if not directories and name not in before.names:
            raise UnknownModel(name, sorted(before.names))
        self._seen = {**self._of_others(name), **{path: seen[path] for path in directories}}
        loaded = await asyncio.to_thread(self._loader.load, directories)
        self._seen = _without(self._seen, loaded.unread)
        old = [model for model in before.models if model.name == name]
        failed_versions = {entry.version for entry in loaded.failed}
        kept = [model for model in old if model.version in failed_versions]
        kept_versions = {model.version for model in kept}
        absent = [entry for entry in loaded.failed if entry.version not in kept_versions]
        self._put(before.with_versions(name, [*loaded.models, *kept], absent))
        await self._retire([model for model in old if model not in kept])
        self._mark(loaded.models, 1)
        if loaded.failed:
            raise LoadFailed(name, loaded.failed[0].reason, still_serving=bool(kept))

    async def _unload(self, name: str) -> None:
        async with self._change:
            before = self.repository
            if name not in before.names:
                raise UnknownModel(name, sorted(before.names))
            old = [model for model in before.models if model.name == name]
            gone = [_unloaded(name, model.version) for model in old]
            rest = [entry for entry in before.absent if entry.name == name]
            self._put(before.with_versions(name, [], [*gone, *rest]))
            for model in old:
                self._metrics.loads.labels(name, str(model.version), "unloaded").inc()
            await self._retire(old)

    async def _retire(self, models: Sequence[Model]) -> None:
        """Let models go that no new request finds; their own requests are answered first."""
        for model in models:
            await model.close()
        self._mark(models, 0)
        await asyncio.to_thread(release_free_memory)

    def _mark(self, models: Sequence[Model], value: int) -> None:
        for model in models:
            labels = (model.name, str(model.version), model.variant.precision, model.provider)
            self._metrics.served.labels(*labels).set(value)

    def _of_others(self, name: str) -> dict[Path, Fingerprint]:
        return {path: seen for path, seen in self._seen.items() if path.parent.name != name}

    async def _poll(self, interval_s: float) -> None:
        """Load what is new or changed in the models folder, and let go what is gone, for ever."""
        while True:
            await asyncio.sleep(interval_s)
            if self._repository is None:
                continue
            try:
                await self._look_again()
            except Exception:  # a share that is away for a moment, mostly; the next look finds it again
                logger.exception("The models folder could not be looked at")

    async def _look_again(self) -> None:
        async with self._change:
            seen = await asyncio.to_thread(_fingerprints, self._settings.models_dir)
            changed = {path.parent.name for path, _ in seen.items() ^ self._seen.items()}
            for name in sorted(changed):
                if self.on_return and any(e.name == name and e.state == "unloaded" for e in self.repository.absent):
                    self.on_return(name)
                try:
                    await self._replace(name, [path for path in seen if path.parent.name == name], seen)
                except LoadFailed:
                    pass  # the loader has said why
                except LinnetError as error:
                    logger.error("%s", error, extra={"model": name})


def _unloaded(name: str, version: int) -> Absent:
    return Absent(name, version, "unloaded", "unloaded by its operator")


def _without(seen: dict[Path, Fingerprint], unread: Sequence[Path]) -> dict[Path, Fingerprint]:
    """Return what was seen but for bundles that could not be read, so that the next look finds them new."""
    return {path: fingerprint for path, fingerprint in seen.items() if path not in unread}


def _fingerprints(models_dir: Path) -> dict[Path, Fingerprint]:
    """Return what can be seen of every bundle without reading it; raises `OSError` where the folder cannot be seen."""
    with os.scandir(models_dir):  # a share that is away, or shut, is no empty folder
        pass
    return {directory: _fingerprint(directory) for directory in bundle_directories(models_dir)}


def _fingerprint(directory: Path) -> Fingerprint:
    try:
        status = [(path.name, path.stat()) for path in sorted(directory.iterdir())]
    except OSError:  # it is being removed
        return ()
    return tuple((name, found.st_size, found.st_mtime_ns) for name, found in status)
