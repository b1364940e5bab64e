"""Seconds until the validation accuracy of a training first passes given marks, recipe after recipe.

    .venv/bin/python benchmarks/time_to_accuracy.py recipes/cifar10.toml
    .venv/bin/python benchmarks/time_to_accuracy.py recipes/classic/mobilenet_v2-frozen.toml \
        --set phase.head.cache_features=false --set network.weights=weights/mobilenet_v2-imagenet.safetensors

Times are wall-clock seconds from the start of `linnet train` to the end of the epoch (imports, decoding and validation
included), so a mark is seen at the end of the epoch in which it was passed. A training that runs past `--limit-minutes`
is stopped, and the marks it has not passed are null. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import csv
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MARKS = (0.7871, 0.8437, 0.9024)
POLL_S = 0.5


def run_until(recipe: Path, overrides: list[str], marks: list[float], limit_s: float) -> dict[str, object]:
    """Train, watch the history that the trainer writes, and return seconds per mark and per epoch."""
    passed: dict[float, float] = {}
    epochs: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        settings = [word for override in overrides for word in ("--set", override)]
        command = [sys.executable, "-m", "linnet.cli", "train", str(recipe), "--run", str(run), *settings]
        started = time.monotonic()
        with subprocess.Popen(command) as training:
            while len(passed) < len(marks) and time.monotonic() - started < limit_s:
                ended = training.poll() is not None
                for row in read_history(run / "history.csv")[len(epochs) :]:
                    seconds, accuracy = time.monotonic() - started, float(row["val_accuracy"])
                    epochs.append({"epoch": f"{row['phase']} {row['epoch']}", "s": round(seconds), "val": accuracy})
                    passed.update({mark: seconds for mark in marks if accuracy >= mark and mark not in passed})
                if ended:
                    break
                time.sleep(POLL_S)
            took = time.monotonic() - started
            training.send_signal(signal.SIGINT)
        if training.returncode not in (0, 130) and not epochs:
            sys.exit(f"The training of {recipe} failed.")
    marked = {f"{mark:.2%}": round(passed[mark]) if mark in passed else None for mark in marks}
    return {"recipe": str(recipe), "set": overrides, "seconds_to": marked, "watched_s": round(took), "epochs": epochs}


def read_history(path: Path) -> list[dict[str, str]]:
    """Read the epochs so far; none before the first is over."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    """Read the arguments, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--marks", type=float, nargs="+", default=list(MARKS), help="validation accuracies in 0..1")
    parser.add_argument("--limit-minutes", type=float, default=60.0)
    arguments = parser.parse_args()
    limit_s = arguments.limit_minutes * 60
    print(json.dumps(run_until(arguments.recipe, arguments.overrides, arguments.marks, limit_s), indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
