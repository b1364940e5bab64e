"""Scores shards on a Ray cluster: Ray Data hands them to one worker per core and repeats what a lost node was at.

The nodes need the `serve` and `ray` extras and must reach the images and the scores under the same addresses; the
bundle is brought to them.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from linnet.cli.scoring.errors import ClusterFailed, ClusterUnreachable
from linnet.cli.scoring.scorer import Errand, Scorer
from linnet.cli.scoring.shards import Shard
from linnet.errors import first_line

LOCAL = "local"


def score_on_cluster(shards: Sequence[Shard], errand: Errand, address: str) -> Iterator[tuple[int, int]]:
    """Score the shards on the cluster at `address`, or on one of this machine for 'local'.

    Returns the number of images and of failures of each shard as it ends. Raises `ClusterUnreachable` or
    `ClusterFailed`.
    """
    ray = _connect(address)
    try:
        files = {path.name: path.read_bytes() for path in errand.bundle.iterdir() if path.is_file()}
        rows = [{"number": shard.number, "names": list(shard.names)} for shard in shards]
        scored = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            Worker,
            fn_constructor_args=(errand, ray.put(files)),
            num_cpus=1,
            # A worker for every core, and for those of nodes that come later.
            compute=ray.data.ActorPoolStrategy(
                min_size=1, max_size=len(rows), initial_size=max(1, min(len(rows), _cores(ray)))
            ),
        )
        for row in scored.iter_rows():
            yield row["images"], row["failed"]
    except ray.exceptions.RayError as error:
        raise ClusterFailed(address, _reason(str(error))) from error
    finally:
        ray.shutdown()


class Worker:
    """A scorer in a process of a node; Ray makes it again elsewhere when the node is lost."""

    def __init__(self, errand: Errand, files: Any) -> None:
        import ray

        with tempfile.TemporaryDirectory() as folder:
            for name, content in ray.get(files).items():
                (Path(folder) / name).write_bytes(content)
            self._score = Scorer(replace(errand, bundle=Path(folder)))

    def __call__(self, row: dict[str, Any]) -> dict[str, int]:
        """Score one shard."""
        shard = Shard(int(row["number"]), list(row["names"]))
        return {"images": len(shard.names), "failed": self._score(shard)}


def _reason(trace: str) -> str:
    """Return the last line of a trace, or of the first of several that led to one another: what went wrong at first."""
    first = trace.split("\n\nThe above exception was the direct cause", maxsplit=1)[0]
    return (first.strip().splitlines() or ["no reason given"])[-1]


def _cores(ray: Any) -> int:
    """Return the cores of the cluster; none where its nodes are still to come."""
    return int(ray.cluster_resources().get("CPU", 0))


def _connect(address: str) -> Any:
    # Read when ray is imported. Nothing is reported to Ray's makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    import ray.data

    try:
        ray.init(
            address=None if address == LOCAL else address,
            include_dashboard=False if address == LOCAL else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterUnreachable(address, first_line(error)) from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray
