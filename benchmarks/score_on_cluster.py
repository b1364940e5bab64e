"""Kill a node of a two-node Ray cluster under `linnet score`, and hold its scores against those of one process.

    .venv/bin/python benchmarks/score_on_cluster.py IMAGES --bundle models/cifar10/4 --shard-images 500

Both nodes are on this machine, one core each. The second is killed, without a word to the first, when a share of the
shards is there. Prints one JSON object; exits with 1 where a row differs.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import pyarrow.parquet
import ray
from ray.cluster_utils import Cluster

from linnet.cli.scoring.score import Summary, score
from linnet.cli.scoring.scorer import Errand

# A node that says nothing is given up after some ten seconds.
NOTICED_WITHIN_S = 60
NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 256 * 1024 * 1024}


class NodeKiller(threading.Thread):
    """Kills a node when so many shards are written, and remembers how many there were."""

    def __init__(self, cluster: Cluster, node: Any, scores: Path, after_shards: int) -> None:
        super().__init__(daemon=True)
        self._cluster, self._node, self._scores, self._after_shards = cluster, node, scores, after_shards
        self.shards_before: int | None = None

    def run(self) -> None:
        """Wait for the shards, then kill."""
        while len(list(self._scores.glob("part-*.parquet"))) < self._after_shards:
            time.sleep(0.05)
        self._cluster.remove_node(self._node, allow_graceful=False)
        self.shards_before = len(list(self._scores.glob("part-*.parquet")))


def score_under_attack(errand: Errand, shard_images: int, after_shards: int) -> tuple[Summary, dict[str, Any]]:
    """Score on two nodes of which one dies; return the summary and what happened to the nodes."""
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        killer = NodeKiller(cluster, cluster.add_node(**NODE), Path(errand.scores), after_shards)
        killer.start()
        summary = score(errand, shard_images=shard_images, ray=cluster.address)
        ray.init(address=cluster.address, logging_level=logging.ERROR)
        alive = _nodes_alive()
        ray.shutdown()
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]
    return summary, {
        "nodes": len(alive),
        "nodes_alive_at_end": sum(alive),
        "shards_before_the_kill": killer.shards_before,
    }


def _nodes_alive() -> list[bool]:
    """Tell of each node whether it lives, once the cluster has noticed the killed one; a short run ends before."""
    until = time.monotonic() + NOTICED_WITHIN_S
    nodes: Callable[[], list[dict[str, bool]]] = ray.nodes
    while all(alive := [node["Alive"] for node in nodes()]) and time.monotonic() < until:
        time.sleep(0.5)
    return alive


def main() -> None:
    """Read the command line, score twice, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", help="folder, zip or address of images")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--shard-images", type=int, default=500)
    parser.add_argument("--kill-after-shards", type=int, default=3)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        here, there = (Errand(told.bundle, told.images, str(Path(folder) / name), 5) for name in ("here", "there"))
        alone = score(here, shard_images=told.shard_images, ray=None)
        summary, nodes = score_under_attack(there, told.shard_images, told.kill_after_shards)
        expected, got = (pyarrow.parquet.read_table(errand.scores) for errand in (here, there))
        shards = len(list(Path(there.scores).glob("part-*.parquet")))
    answer = {
        "images": summary.images,
        "shards": shards,
        **nodes,
        "rows": got.num_rows,
        "equal": got.equals(expected),
        "one_process_images_per_second": alone.images_per_second,
        "cluster_images_per_second": summary.images_per_second,
        "cluster_seconds": summary.seconds,
    }
    print(json.dumps(answer))  # noqa: T201
    killed = nodes["nodes_alive_at_end"] == nodes["nodes"] - 1
    sys.exit(0 if answer["equal"] and killed and summary.scored_now == summary.images else 1)


if __name__ == "__main__":
    main()
