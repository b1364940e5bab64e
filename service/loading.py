"""Loads bundles: verify the files, open the network, hold it against its manifest, warm it up.

One bundle that fails is refused with a sentence and the others still load. Blocking; runs on a thread. Must not import
a web framework.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from linnet.bundle import read_manifest, verify_files
from linnet.choice import Opened, open_bundle
from linnet.errors import BundleMismatch, CorruptBundle, LinnetError, ProviderUnavailable, first_line
from linnet.manifest import Manifest
from linnet.preprocess import ACCEPTED_FORMATS
from linnet.session import PROVIDER_NAMES, Network
from service.batcher import Batcher
from service.engine import SMALL_BYTES, Engine
from service.metrics import Metrics
from service.repository import Absent, Model
from service.settings import Settings

# Images per inference unless a setting says otherwise.
BATCH_ON_CPU, BATCH_ON_CUDA = 8, 64

# Of what keeps a file from being read: here another look finds the same, until the folder changes.
LASTING = (FileNotFoundError, NotADirectoryError, PermissionError)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """What came of loading some bundles."""

    models: Sequence[Model]
    failed: Sequence[Absent]
    unread: Sequence[Path] = ()  # of those that failed, bundles of which a file could not be read just now


class Loader:
    """Loads bundles of one models folder as the settings say."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics

    def load(self, directories: Sequence[Path]) -> Loaded:
        """Load these bundles.

        Raises `ProviderUnavailable` where the provider that was asked for is not active: never a silent fall-back.
        """
        _import_decoders()
        models: list[Model] = []
        failed: list[Absent] = []
        unread: list[Path] = []
        for directory in directories:
            name, version = directory.parent.name, int(directory.name)
            try:
                models.append(self._load_bundle(directory))
            except ProviderUnavailable:
                raise
            except LinnetError as error:
                logger.error("%s", error, extra={"model": name, "version": str(version)})
                failed.append(Absent(name, version, "failed", str(error)))
                if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, LASTING):
                    unread.append(directory)
                self._metrics.loads.labels(name, str(version), "failed").inc()
            else:
                self._metrics.loads.labels(name, str(version), "loaded").inc()
        return Loaded(models, failed, unread)

    def _load_bundle(self, directory: Path) -> Model:
        """Return the model of one bundle, verified and warm; raises `BundleError` or `ProviderUnavailable`."""
        settings = self._settings
        manifest = read_manifest(directory)
        if (manifest.name, str(manifest.version)) != (directory.parent.name, directory.name):
            raise BundleMismatch(directory, f"it states the name {manifest.name} and the version {manifest.version}")
        verify_files(directory, manifest)
        opened = open_bundle(directory, manifest, settings.placement, wanted=settings.variant)
        if opened.fallback:
            logger.warning("Model %s %d: %s", manifest.name, manifest.version, opened.fallback)
            self._metrics.fallbacks.labels(manifest.name, str(manifest.version)).inc()
        try:
            _warm_up(opened.network, manifest, self._max_batch_size(opened.network))
        except Exception as error:  # ONNX Runtime raises classes of its own for every kind of damage
            raise CorruptBundle(directory / opened.variant.file, f"does not run ({first_line(error)})") from error
        return self._assemble(manifest, opened)

    def _assemble(self, manifest: Manifest, opened: Opened) -> Model:
        metrics = self._metrics.of_model(manifest.name, manifest.version, manifest.classes)
        settings, on_cpu = self._settings, _is_on_cpu(opened.network)
        # A GPU runs one batch at a time, and nothing is decoded where it would have to wait for that.
        batcher = Batcher(
            Engine(opened.network, manifest.preprocess, settings.max_pixels),
            self._max_batch_size(opened.network),
            settings.lanes if on_cpu else 1,
            metrics.add_batch,
        )
        decodes_bytes = SMALL_BYTES if on_cpu else 0
        return Model(
            manifest, opened.variant, opened.network.provider, decodes_bytes, batcher, metrics, fallback=opened.fallback
        )

    def _max_batch_size(self, network: Network) -> int:
        return self._settings.max_batch_size or (BATCH_ON_CPU if _is_on_cpu(network) else BATCH_ON_CUDA)


def _is_on_cpu(network: Network) -> bool:
    return network.provider == PROVIDER_NAMES["cpu"]


def _import_decoders() -> None:
    """Import what reads the accepted formats, for which the first image of each would wait."""
    for name in ACCEPTED_FORMATS:
        import_module(f"PIL.{'WebP' if name == 'WEBP' else name.capitalize()}ImagePlugin")


def _warm_up(network: Network, manifest: Manifest, max_batch_size: int) -> None:
    """Run the smallest and the largest batch, so that no request pays for the first allocation of memory."""
    side = manifest.preprocess.size_px
    for batch_size in (1, max_batch_size):
        network(np.zeros((batch_size, side, side, 3), np.uint8))
