"""CIFAR-10 in torchvision's files becomes a tree like any other; without them and without a network, one sentence.

The files are made here with ten images per class; torchvision is told their checksums instead of the published ones.
"""

from __future__ import annotations

import hashlib
import pickle
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10

from trainer.cifar10 import unpack_cifar10
from trainer.data import find_dataset
from trainer.errors import CannotDownload
from trainer.recipe import Data

CLASSES = ("airplane", "automobile", "bird")
SEED = 4


def batch(count: int, seed: int) -> dict[str, object]:
    data = np.random.default_rng(seed).integers(0, 256, (count, 3 * 32 * 32), dtype=np.uint8)
    return {"data": data, "labels": [index % len(CLASSES) for index in range(count)]}


@pytest.fixture
def batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that torchvision keeps after a download."""
    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    sums = {}
    contents = {"data_batch_1": batch(30, SEED), "test_batch": batch(6, 5), "batches.meta": {"label_names": CLASSES}}
    for name, content in contents.items():
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        sums[name] = hashlib.md5(data, usedforsecurity=False).hexdigest()
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", sums["data_batch_1"]]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": sums["batches.meta"]})
    return tmp_path


def test_the_batches_become_a_tree_of_the_same_pixels(batches: Path) -> None:
    dataset = find_dataset(Data(source="cifar10", path=batches), seed=0)
    assert dataset.classes == CLASSES
    assert (len(dataset.train) + len(dataset.val), len(dataset.test)) == (30, 6)
    rows = np.asarray(batch(30, SEED)["data"]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    for index, row in enumerate(rows):
        path = batches / "cifar10-png" / "train" / CLASSES[index % 3] / f"{index // 3:04d}.png"
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image), row)


def test_a_tree_that_is_there_is_taken(batches: Path) -> None:
    tree = unpack_cifar10(batches)
    before = sorted((path, path.stat().st_mtime_ns) for path in tree.rglob("*"))
    assert unpack_cifar10(batches) == tree
    assert sorted((path, path.stat().st_mtime_ns) for path in tree.rglob("*")) == before


def test_without_a_network_there_is_one_sentence_and_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every connection is led to a port where nothing listens."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)
    with pytest.raises(CannotDownload) as caught:
        unpack_cifar10(tmp_path)
    monkeypatch.setattr(urllib.request, "_opener", None)
    sentence = str(caught.value)
    assert sentence.startswith(f"CIFAR-10 cannot be downloaded to {tmp_path} (")
    assert "\n" not in sentence
    assert not [path for path in tmp_path.iterdir() if "png" in path.name]
