"""What the tests of an ordinary export share: the bundle of `run_dir`, and what it was made from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from linnet.bundle import read_manifest
from linnet.manifest import Calibration, Manifest
from linnet.session import Network, Placement, open_network
from trainer.data import Dataset, find_dataset
from trainer.images import decode
from trainer.network import Classifier
from trainer.recipe import Recipe
from trainer.run import load_network, read_run


@pytest.fixture(scope="module")
def manifest(bundle_dir: Path) -> Manifest:
    return read_manifest(bundle_dir)


@pytest.fixture(scope="module")
def exported(bundle_dir: Path) -> Network:
    return open_network(bundle_dir / "model.onnx", Placement("cpu"))


@pytest.fixture(scope="module")
def dataset(recipe: Recipe) -> Dataset:
    return find_dataset(recipe.data, recipe.seed)


@pytest.fixture(scope="module")
def images(dataset: Dataset, recipe: Recipe) -> torch.Tensor:  # uint8 [N, H, W, 3], the test split
    return decode(dataset.test, recipe.preprocess)


@pytest.fixture(scope="module")
def calibration(manifest: Manifest) -> Calibration:
    return manifest.variants[0].calibration


@pytest.fixture
def trained(run_dir: Path) -> Classifier:
    """The network of the run, for the test alone."""
    return load_network(run_dir, read_run(run_dir))
