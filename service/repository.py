"""The model repository in use: which bundles are served, which were refused, and which one a request means.

Must not import a web framework.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from linnet.bundle import Manifest, Variant
from service.batcher import Batcher
from service.engine import Engine
from service.errors import ModelUnavailable, NotReady, UnknownModel, UnknownVersion


@dataclass(frozen=True)
class Model:
    """One version of a model, loaded and warm."""

    manifest: Manifest
    variant: Variant
    provider: str
    engine: Engine
    batcher: Batcher

    @property
    def name(self) -> str:
        """Return the model's name."""
        return self.manifest.name

    @property
    def version(self) -> int:
        """Return the model's version."""
        return self.manifest.version


@dataclass(frozen=True)
class Refused:
    """A bundle that is there and is not served."""

    name: str
    version: int
    reason: str


class Repository:
    """Models by name and version; does not change once it is built."""

    def __init__(self, models: Sequence[Model], refused: Sequence[Refused], default: str | None) -> None:
        self.models = models
        self.refused = refused
        self.names = {model.name for model in models} | {entry.name for entry in refused}
        self.default_name = default or min(self.names, default=None)

    @property
    def default(self) -> Model | None:
        """Return what answers requests that name no model: the highest version served of the default name."""
        return max(
            (model for model in self.models if model.name == self.default_name),
            key=lambda model: model.version,
            default=None,
        )

    def resolve(self, name: str | None, version: str | None) -> Model:
        """Return the model that is meant; without a version the highest that is served.

        Raises `UnknownModel`, `UnknownVersion`, `ModelUnavailable` where the bundle was refused, or `NotReady` where
        the request names no model and the default is not there.
        """
        if name is None:
            if self.default_name not in self.names:
                raise NotReady(f"there is no model {self.default_name!r}" if self.default_name else "there is no model")
            name = self.default_name
        served = {str(model.version): model for model in self.models if model.name == name}
        refused = {str(entry.version) for entry in self.refused if entry.name == name}
        if name not in self.names:
            raise UnknownModel(name, sorted(self.names))
        if version is None and served:
            return max(served.values(), key=lambda model: model.version)
        if version in served:
            return served[version]
        if version is None or version in refused:
            raise ModelUnavailable(name)
        raise UnknownVersion(name, version, sorted(served.keys() | refused, key=int))

    async def close(self) -> None:
        """Answer what was taken, then let every engine go."""
        for model in self.models:
            await model.batcher.close()
            model.engine.close()
