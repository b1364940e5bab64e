"""One worker: it opens the bundle once and then turns shards into files, on one core.

One thread computes and nothing is shared, so a shard has the same content wherever it is scored; cores are used by
scoring as many shards at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from linnet.bundle import read_manifest
from linnet.choice import open_bundle
from linnet.cli.scoring.image_set import ImageSet
from linnet.cli.scoring.shards import ScoreFolder, Shard
from linnet.errors import ImageError
from linnet.preprocess import load_image
from service.prediction import top
from service.problems import PROBLEMS
from service.schemas import FailedPrediction, ItemError, Prediction, Score

BATCH_SIZE = 32


@dataclass(frozen=True)
class Errand:
    """What a worker is told once."""

    bundle: Path
    images: str
    scores: str
    top_k: int


class Scorer:
    """Scores shards of one image set with one bundle."""

    def __init__(self, errand: Errand) -> None:
        """Open the bundle on one thread of the CPU; raises a `BundleError`, `SetUnusable` or `ScoresUnusable`."""
        self._manifest = read_manifest(errand.bundle)
        # fp32, whatever else there is: int8 may answer otherwise on the next machine, and a shard must not.
        self._opened = open_bundle(errand.bundle, self._manifest, wanted="fp32", provider="cpu", threads=1)
        self._images = ImageSet(errand.images)
        self._folder = ScoreFolder(errand.scores)
        self._top_k = errand.top_k

    def __call__(self, shard: Shard) -> int:
        """Write the shard's file and return how many of its images failed."""
        rows = list(self._rows(shard.names))
        self._folder.write(shard, rows)
        return sum(isinstance(row, FailedPrediction) for row in rows)

    def _rows(self, names: Sequence[str]) -> Iterator[Prediction | FailedPrediction]:
        encoded = zip(names, self._images.read(names), strict=True)
        while batch := [(name, self._decoded(data)) for name, data in islice(encoded, BATCH_SIZE)]:
            images = [image for _, image in batch if isinstance(image, np.ndarray)]
            answers = self._opened.answers(np.stack(images)) if images else iter(())
            for name, image in batch:
                if isinstance(image, np.ndarray):
                    yield self._answered(name, *next(answers))
                else:
                    yield FailedPrediction(filename=name, error=image)

    def _decoded(self, data: bytes | OSError) -> npt.NDArray[np.uint8] | ItemError:  # [H, W, 3]
        if isinstance(data, OSError):
            return ItemError(code="unreadable_file", detail=f"The file cannot be read ({data}): check it.")
        try:
            return load_image(data, self._manifest.preprocess)
        except ImageError as error:
            return ItemError(code=PROBLEMS[type(error)].code, detail=str(error))

    def _answered(self, name: str, probabilities: npt.NDArray[np.float32], uncertain: bool) -> Prediction:  # [K]
        scores = [
            Score(label=self._manifest.classes[index], probability=probability)
            for index, probability in top(probabilities, self._top_k)
        ]
        best = scores[0]
        return Prediction(filename=name, label=best.label, confidence=best.probability, uncertain=uncertain, top=scores)
