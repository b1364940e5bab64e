"""What is served: one file of a bundle."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.serving.payloads import picture
from linnet.bundle import bundle_directories, read_manifest
from linnet.manifest import Manifest, Precision
from linnet.preprocess import load_image
from linnet.session import SELF_TEST_TOLERANCE, Placement, open_network


@dataclass(frozen=True)
class Subject:
    """One precision of one bundle."""

    directory: Path
    manifest: Manifest
    precision: Precision

    @property
    def file(self) -> Path:
        """Return the ONNX file that everybody runs."""
        variant = self.manifest.variant(self.precision)
        assert variant is not None  # `find_subject` looked
        return self.directory / variant.file

    @property
    def tolerance(self) -> float:
        """Return by how much a probability may differ from one batch to another."""
        return SELF_TEST_TOLERANCE[self.precision]

    def pixels(self, count: int) -> npt.NDArray[np.uint8]:  # [N, H, W, 3]
        """Return a batch of the small image that the requests carry."""
        return np.stack([load_image(picture(32, 32), self.manifest.preprocess)] * count)

    def answer(self) -> tuple[str, float]:
        """Return the top class of that image and its probability, as the file alone says."""
        (row,) = open_network(self.file, Placement("cpu"))(self.pixels(1)).probabilities
        return self.manifest.classes[row.argmax()], float(row.max())


def find_subject(models_dir: Path, model: str, precision: Precision) -> Subject:
    """Return the newest version of the model; exits with a sentence where it or the precision is missing."""
    found = [path for path in bundle_directories(models_dir) if path.parent.name == model]
    if not found:
        sys.exit(f"There is no model {model} in {models_dir}: name another with --models-dir and --model.")
    directory = found[-1].resolve()
    manifest = read_manifest(directory)
    if manifest.variant(precision) is None:
        has = ", ".join(variant.precision for variant in manifest.variants)
        sys.exit(f"{directory} has no {precision}, but {has}: name one of them with --precision.")
    return Subject(directory, manifest, precision)
