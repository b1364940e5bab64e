"""Measure the service beside raw ONNX Runtime and beside its peers; Markdown on stdout, everything as JSON in a file.

    make bench-serving ARGS="--precision fp32"
    python -m benchmarks.serving --model cifar10 --precision int8 --parts start closed --json build/serving.json
    python -m benchmarks.serving --models-dir build/bench/models --model mobilenet-v2-160 --parts peers

The second model is made by `benchmarks/serving/make_model.py`. The machine should have nothing else to do. Settings of
the service (LINNET_*) are passed on to it, and reported.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.serving.closed_loop import require_wrk
from benchmarks.serving.contestants import PEERS, PeerPlan, linnet_settings, ours, peer_versions, peers
from benchmarks.serving.machine import describe
from benchmarks.serving.payloads import TINY_RAW
from benchmarks.serving.report import Findings, to_markdown
from benchmarks.serving.rounds import measure_rounds
from benchmarks.serving.scenarios import (
    Plan,
    measure_closed,
    measure_floor,
    measure_open,
    measure_photos,
    measure_starts,
)
from benchmarks.serving.server import Contestant
from benchmarks.serving.subject import Subject, find_subject
from linnet.cpu import usable_cpus

PARTS = ("start", "closed", "open", "photos", "peers")


def main() -> None:
    """Read the arguments, measure, print."""
    options = _arguments()
    for number in (signal.SIGINT, signal.SIGTERM):  # unwinds, so that servers are stopped then, too
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    subject = find_subject(options.models_dir, options.model, options.precision)
    wrk = require_wrk()
    told = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    spec = subject.manifest.preprocess
    found = Findings(subject.manifest.name, subject.precision, spec.size_px, describe(wrk), told, linnet_settings())
    try:
        with tempfile.TemporaryDirectory() as folder:
            layouts = [ours(subject, Path(folder), count) for count in sorted({1, options.workers})]
            _measure(found, subject, layouts, options)
    finally:  # what was found before somebody stopped it is worth having
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(asdict(found), indent=1) + "\n")
    sys.stdout.write(to_markdown(found) + "\n")


def _measure(found: Findings, subject: Subject, layouts: Sequence[Contestant], options: argparse.Namespace) -> None:
    plan = Plan(options.seconds, options.rounds, usable_cpus())
    rivals: list[Contestant] = []
    if "peers" in options.parts:
        how = PeerPlan(options.peers_python, options.workers, options.peer_batch, options.peer_wait_ms)
        rivals, found.peer_versions = peers(subject, how, options.peers), peer_versions(how.python)
    floor = found.floor = measure_floor(subject, plan, options.batches)
    if "start" in options.parts:
        found.starts = measure_starts(layouts, plan)
    if "closed" in options.parts:
        found.closed = measure_closed(subject, layouts, plan, floor, options.connections)
    if "open" in options.parts:
        found.open = measure_open(layouts, plan, floor, options.rates)
    if "photos" in options.parts:
        found.photos = measure_photos(subject, layouts, plan)
    if "peers" in options.parts:
        raw = replace(layouts[-1], name=f"{layouts[-1].name}, raw", tiny=TINY_RAW)  # as mosec is asked
        found.peers = measure_rounds(subject, [*layouts, raw, *rivals], plan, floor, options.peer_connections)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models-dir", type=Path, default=Path("models"))
    parser.add_argument("--model", default="cifar10", help="name of a bundle there; its newest version is taken")
    parser.add_argument("--precision", choices=("fp32", "int8"), default="int8", help="the variant that everybody runs")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="the floor is always measured")
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5, help="of which medians are reported")
    parser.add_argument(
        "--workers", type=int, default=usable_cpus(), help="processes of the second layout and of peers"
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 16, 32], help="of the raw floor")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32, 64], help="of the closed loop")
    parser.add_argument("--rates", type=float, nargs="+", default=[], help="requests/s of the open loop; 50 and 80 %%")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--peers-python", type=Path, default=Path(".venv-peers/bin/python"), help="made by make")
    parser.add_argument("--peer-connections", type=int, default=32)
    parser.add_argument("--peer-batch", type=int, default=16, help="largest batch of peers that make batches")
    parser.add_argument("--peer-wait-ms", type=int, default=2, help="for how long they let one fill")
    parser.add_argument("--json", type=Path, help="where everything goes, every round included")
    return parser.parse_args()


if __name__ == "__main__":
    main()
