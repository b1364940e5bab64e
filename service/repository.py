"""The model repository in use: which bundles are served, which are not, and which one a request means.

Must not import a web framework.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from linnet.manifest import Manifest, Variant
from service.batcher import Batcher
from service.errors import ModelUnavailable, ModelUnloaded, NotReady, UnknownModel, UnknownVersion
from service.metrics import ModelMetrics


class Leases:
    """Counts the requests that use a model, so that it is let go only when none does."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the model in use; on the event loop only."""
        self._count += 1
        self._none.clear()
        try:
            yield
        finally:
            self._count -= 1
            if self._count == 0:
                self._none.set()

    async def ended(self) -> None:
        """Return when nobody uses the model."""
        await self._none.wait()


@dataclass(frozen=True)
class Model:
    """One version of a model, loaded and warm."""

    manifest: Manifest
    variant: Variant
    provider: str
    decodes_bytes: int  # images of so many bytes and less go to the batcher as they are
    batcher: Batcher
    metrics: ModelMetrics
    leases: Leases = field(default_factory=Leases)
    fallback: str | None = None  # why it is not the variant that would be faster

    @property
    def name(self) -> str:
        """Return the model's name."""
        return self.manifest.name

    @property
    def version(self) -> int:
        """Return the model's version."""
        return self.manifest.version

    async def close(self) -> None:
        """Answer the requests that use it, then let the network and its threads go."""
        await self.leases.ended()
        await self.batcher.close()


@dataclass(frozen=True)
class Absent:
    """A bundle that is there and is not served: refused when it was loaded, or unloaded by its operator."""

    name: str
    version: int
    state: Literal["failed", "unloaded"]
    reason: str


class Repository:
    """Models by name and version; does not change once it is built: a change makes another."""

    def __init__(self, models: Sequence[Model], absent: Sequence[Absent], default: str | None) -> None:
        self.models = sorted(models, key=lambda model: (model.name, model.version))
        self.absent = absent
        self.names = {model.name for model in models} | {entry.name for entry in absent}
        self.default_name = default or min(self.names, default=None)
        self._served: dict[str, dict[str, Model]] = {}
        for model in self.models:
            self._served.setdefault(model.name, {})[str(model.version)] = model
        self._newest = {name: list(versions.values())[-1] for name, versions in self._served.items()}

    @property
    def default(self) -> Model | None:
        """Return what answers requests that name no model: the highest version served of the default name."""
        return None if self.default_name is None else self._newest.get(self.default_name)

    def serves(self, name: str) -> bool:
        """Tell whether a version of that name is served."""
        return name in self._newest

    def versions(self, name: str) -> list[str]:
        """List the served versions of a name, oldest first."""
        return list(self._served.get(name, {}))

    def with_versions(self, name: str, models: Sequence[Model], absent: Sequence[Absent]) -> Repository:
        """Return the repository with exactly these versions of `name`; the default name stays."""
        return Repository(
            [*(model for model in self.models if model.name != name), *models],
            [*(entry for entry in self.absent if entry.name != name), *absent],
            self.default_name,
        )

    def resolve(self, name: str | None, version: str | None) -> Model:
        """Return the model that is meant; without a version the highest that is served.

        Raises `UnknownModel`, `UnknownVersion`, `ModelUnavailable` where the bundle was refused, `ModelUnloaded`, or
        `NotReady` where the request names no model and the default is not there.
        """
        if name is None:
            if self.default_name not in self.names:
                raise NotReady(f"there is no model {self.default_name!r}" if self.default_name else "there is no model")
            name = self.default_name
        if version is None and name in self._newest:
            return self._newest[name]
        served = self._served.get(name, {})
        if version in served:
            return served[version]
        if name not in self.names:
            raise UnknownModel(name, sorted(self.names))
        absent = {str(entry.version): entry for entry in self.absent if entry.name == name}
        if version is not None and version not in absent:
            raise UnknownVersion(name, version, sorted(served.keys() | absent.keys(), key=int))
        concerned = absent.values() if version is None else [absent[version]]
        raise ModelUnavailable(name) if any(entry.state == "failed" for entry in concerned) else ModelUnloaded(name)

    async def close(self) -> None:
        """Answer what was taken, then let every engine go."""
        for model in self.models:
            await model.close()
