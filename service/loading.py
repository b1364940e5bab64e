"""Loads bundles: verify the files, open the network, hold it against its manifest, warm it up.

One bundle that fails is refused with a sentence and the others still load. Blocking; runs on a thread. Must not import
a web framework.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from linnet.bundle import Manifest, Variant, bundle_directories, read_manifest, verify_files
from linnet.errors import BundleMismatch, CorruptBundle, LinnetError, ProviderUnavailable
from linnet.session import Network, check_network, open_network
from service.batcher import Batcher
from service.engine import Engine
from service.repository import Model, Refused, Repository
from service.settings import Settings

logger = logging.getLogger(__name__)


def load_repository(settings: Settings) -> Repository:
    """Load every bundle of the models folder.

    Raises `ProviderUnavailable` where the provider that was asked for is not active: never a silent fall-back.
    """
    PillowImage.init()  # imports every plugin, for which the first image of an unknown kind would wait 0.3 s
    models: list[Model] = []
    refused: list[Refused] = []
    for directory in bundle_directories(settings.models_dir):
        try:
            models.append(load_bundle(directory, settings))
        except ProviderUnavailable:
            raise
        except LinnetError as error:
            logger.error("%s", error)
            refused.append(Refused(directory.parent.name, int(directory.name), str(error)))
    return Repository(models, refused, settings.model)


def load_bundle(directory: Path, settings: Settings) -> Model:
    """Return the model of one bundle, verified and warm; raises `BundleError` or `ProviderUnavailable`."""
    manifest = read_manifest(directory)
    if (manifest.name, str(manifest.version)) != (directory.parent.name, directory.name):
        raise BundleMismatch(directory, f"it states the name {manifest.name} and the version {manifest.version}")
    verify_files(directory, manifest)
    variant = manifest.variant("fp32")
    if variant is None:
        raise BundleMismatch(directory, "it has no fp32 variant")
    try:
        network = open_network(directory / variant.file, provider=settings.provider, threads=settings.threads)
        check_network(directory, manifest, variant, network)
        _warm_up(network, manifest, settings.max_batch_size)
    except LinnetError:
        raise
    except Exception as error:  # ONNX Runtime raises classes of its own for every kind of damage
        raise CorruptBundle(directory / variant.file, f"does not run ({_first_line(error)})") from error
    return _assemble(manifest, variant, network, settings.max_batch_size)


def _assemble(manifest: Manifest, variant: Variant, network: Network, max_batch_size: int) -> Model:
    engine = Engine(network)
    return Model(manifest, variant, network.provider, engine, Batcher(engine, max_batch_size))


def _warm_up(network: Network, manifest: Manifest, max_batch_size: int) -> None:
    """Run the smallest and the largest batch, so that no request pays for the first allocation of memory."""
    side = manifest.preprocess.size_px
    for batch_size in (1, max_batch_size):
        network(np.zeros((batch_size, side, side, 3), np.uint8))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
