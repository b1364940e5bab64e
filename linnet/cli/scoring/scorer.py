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
from linnet.cli.scoring.shards import Row, ScoreFolder, Shard
from linnet.errors import ImageError
from linnet.preprocess import load_image
from service.prediction import top
from service.present import prediction

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
        return sum("error" in row for row in rows)

    def _rows(self, names: Sequence[str]) -> Iterator[Row]:
        encoded = zip(names, self._images.read(names), strict=True)
        while batch := [(name, self._decoded(data)) for name, data in islice(encoded, BATCH_SIZE)]:
            images = [image for _, image in batch if isinstance(image, np.ndarray)]
            answers = self._opened.answers(np.stack(images)) if images else iter(())
            for name, image in batch:
                if isinstance(image, OSError):
                    detail = f"The file cannot be read ({image.strerror or image}): check it."
                    yield {"filename": name, "error": {"code": "unreadable_file", "detail": detail}}
                elif isinstance(image, ImageError):
                    yield prediction(self._manifest, name, image)
                else:
                    probabilities, uncertain = next(answers)
                    yield prediction(self._manifest, name, top(probabilities, self._top_k), uncertain=uncertain)

    def _decoded(self, data: bytes | OSError) -> npt.NDArray[np.uint8] | ImageError | OSError:  # [H, W, 3]
        if isinstance(data, OSError):
            return data
        try:
            return load_image(data, self._manifest.preprocess)
        except ImageError as error:
            return error
