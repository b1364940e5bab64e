"""The whole of `linnet score`: list, cut, pass over what is there, score the rest, say how it went."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from linnet.bundle import read_manifest, verify_files
from linnet.cli.progress import progress_of_images
from linnet.cli.scoring.image_set import ImageSet
from linnet.cli.scoring.scorer import PRECISION, Errand, Scorer
from linnet.cli.scoring.shards import Job, ScoreFolder, Shard, cut
from linnet.cpu import usable_cpus
from linnet.errors import VariantMissing
from linnet.manifest import Manifest


class Summary(BaseModel):
    """What `linnet score` prints."""

    scores: str
    images: int
    scored_now: int
    failed_now: int
    seconds: float
    images_per_second: float


def score(errand: Errand, *, shard_images: int, ray: str | None) -> Summary:
    """Score every image of the errand, on this machine's cores or on the Ray cluster at `ray`.

    Shards that are there already stay as they are. Raises a `BundleError`, `SetUnusable`, `NothingToScore`,
    `NameNotText`, `ScoresUnusable`, `DamagedJob`, `OtherScores` or `ClusterUnreachable` before anything is scored, and
    `ReadsFail` or `ClusterFailed` where the storage or the cluster fails meanwhile.
    """
    errand = replace(errand, images=_absolute(errand.images), scores=_absolute(errand.scores))
    manifest = read_manifest(errand.bundle)
    verify_files(errand.bundle, manifest)
    names = ImageSet(errand.images).names()
    folder = ScoreFolder(errand.scores)
    folder.claim(_job(errand, manifest, names, shard_images))
    finished = folder.finished()
    shards = [shard for shard in cut(names, shard_images) if shard.file not in finished]
    begin_s = time.perf_counter()
    scored = failed = 0
    done = len(names) - sum(len(shard.names) for shard in shards)
    with progress_of_images(len(names), done) as advance:
        for count, failures in _ends(shards, errand, ray):
            scored += count
            failed += failures
            advance(count)
    seconds = time.perf_counter() - begin_s
    return Summary(
        scores=errand.scores,
        images=len(names),
        scored_now=scored,
        failed_now=failed,
        seconds=round(seconds, 3),
        images_per_second=round(scored / seconds, 1),
    )


def _absolute(location: str) -> str:
    """Return a path as workers in other folders need it; addresses stay as they are."""
    return location if "://" in location else str(Path(location).absolute())


def _job(errand: Errand, manifest: Manifest, names: Sequence[str], shard_images: int) -> Job:
    variant = manifest.variant(PRECISION)
    if variant is None:
        raise VariantMissing(errand.bundle, PRECISION, [variant.precision for variant in manifest.variants])
    return Job(
        images=errand.images,
        image_count=len(names),
        names_sha256=hashlib.sha256("\n".join(names).encode()).hexdigest(),
        model=manifest.name,
        version=manifest.version,
        model_sha256=variant.sha256,
        shard_images=shard_images,
        top_k=errand.top_k,
    )


def _ends(shards: Sequence[Shard], errand: Errand, ray: str | None) -> Iterator[tuple[int, int]]:
    """Score the shards and return the number of images and of failures of each as it ends."""
    if not shards:
        return
    if ray is not None:
        from linnet.cli.scoring.cluster import score_on_cluster

        yield from score_on_cluster(shards, errand, ray)
        return
    scorer = Scorer(errand)
    with ThreadPoolExecutor(usable_cpus()) as pool:
        for shard, failures in zip(shards, pool.map(scorer, shards), strict=True):
            yield len(shard.names), failures
