"""One worker: it opens the bundle once and then turns shards into files, on one core.

One thread computes and nothing is shared, so a shard has the same content wherever it is scored; cores are used by
scoring as many shards at once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from linnet.bundle import read_manifest
from linnet.choice import open_bundle
from linnet.cli.in_process import Loaded, answer_batch
from linnet.cli.scoring.errors import ReadsFail
from linnet.cli.scoring.image_set import ImageSet
from linnet.cli.scoring.shards import Row, ScoreFolder, Shard
from linnet.errors import ImageError
from linnet.manifest import Precision
from linnet.preprocess import load_image
from linnet.session import Placement

BATCH_SIZE = 32
# A damaged disk or a removed file costs one image; where so many in a row cannot be read, the storage has gone, and a
# shard that says so of each would stay that way.
MOST_UNREAD_IN_A_ROW = 16
# Whatever else there is: int8 may answer otherwise on the next machine, and a shard must not.
PRECISION: Precision = "fp32"


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
        self._opened = open_bundle(errand.bundle, self._manifest, Placement("cpu"), wanted=PRECISION)
        self._images = ImageSet(errand.images)
        self._folder = ScoreFolder(errand.scores)
        self._top_k = errand.top_k
        self._here = threading.local()  # a thread scores one shard after another
        self._last_read: str | None = None  # by any of them

    def __call__(self, shard: Shard) -> int:
        """Write the shard's file and return how many of its images failed; raises `ReadsFail` instead of writing it."""
        rows = list(self._rows(shard.names))
        self._see_that_it_can_be_read_still()
        self._folder.write(shard, rows)
        return sum("error" in row for row in rows)

    def _rows(self, names: Sequence[str]) -> Iterator[Row]:
        encoded = zip(names, self._images.read(names), strict=True)
        while batch := [(name, self._decoded(name, data)) for name, data in islice(encoded, BATCH_SIZE)]:
            yield from answer_batch(self._opened, self._manifest, batch, self._top_k)

    def _see_that_it_can_be_read_still(self) -> None:
        """Raise `ReadsFail` where the last images could not be read, and now one that could be cannot either.

        Before the first that can be read nothing tells damaged files from a storage that has gone.
        """
        name = self._last_read
        if name is None or not self._here.unread:
            return
        (again,) = self._images.read([name])
        if isinstance(again, OSError):
            raise ReadsFail(self._images.location, self._here.unread + 1, name, again.strerror or str(again))

    def _decoded(self, name: str, data: bytes | OSError) -> Loaded:
        if isinstance(data, OSError):
            self._here.unread = getattr(self._here, "unread", 0) + 1
            if self._here.unread >= MOST_UNREAD_IN_A_ROW:
                raise ReadsFail(self._images.location, self._here.unread, name, data.strerror or str(data))
            return data
        self._here.unread, self._last_read = 0, name
        try:
            return load_image(data, self._manifest.preprocess)
        except ImageError as error:
            return error
