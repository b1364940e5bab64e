"""Seconds until the validation accuracy of a training first passes given marks, recipe after recipe.

    .venv/bin/python benchmarks/time_to_accuracy.py recipes/cifar10.toml
    .venv/bin/python benchmarks/time_to_accuracy.py recipes/classic/mobilenet_v2-frozen.toml \
        --set phase.head.cache_features=false --set network.weights=weights/mobilenet_v2-imagenet.safetensors

Times are wall-clock seconds from the start of `linnet train` to the end of the epoch (imports, decoding and validation
included), so a mark is seen at the end of the epoch in which it was passed. A training that has passed every mark, or
that runs past `--limit-minutes`, is stopped, without its evaluation and its report; marks it has not passed are null.
With `--run` the run is kept in that folder, new or empty, and a training that has passed every mark goes on to its end.
Prints one JSON object, and exits with 1 where the training failed.
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
GRACE_S = 10.0  # between asking the training to end and ending it


def run_until(
    recipe: Path, overrides: list[str], marks: list[float], limit_s: float, kept_run: Path | None
) -> dict[str, object]:
    """Train, watch the history that the trainer writes, and return seconds per mark and per epoch."""
    passed: dict[float, float] = {}
    epochs: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        run = kept_run or Path(folder) / "run"
        settings = [word for override in overrides for word in ("--set", override)]
        # Without the cache, or a second training would have for nothing what the first had to decode.
        options = ["--run", str(run), "--cache", "none", *settings]
        command = [sys.executable, "-m", "linnet.cli", "train", str(recipe), *options]
        started = time.monotonic()
        training = subprocess.Popen(command, stdout=sys.stderr)  # it names the run, and stdout is for the JSON alone
        try:
            while True:
                status = training.poll()  # before the history is read, so that no epoch is missed
                took = time.monotonic() - started
                for row in read_history(run / "history.csv")[len(epochs) :]:
                    accuracy = float(row["val_accuracy"])
                    epochs.append({"epoch": f"{row['phase']} {row['epoch']}", "s": round(took), "val": accuracy})
                    passed.update({mark: took for mark in marks if accuracy >= mark and mark not in passed})
                enough = kept_run is None and len(passed) == len(set(marks))
                if status is not None or enough or took >= limit_s:
                    break
                time.sleep(POLL_S)
        finally:
            stop(training)
    marked = {f"{mark:.2%}": round(passed[mark]) if mark in passed else None for mark in marks}
    return {
        "recipe": str(recipe),
        "set": overrides,
        "seconds_to": marked,
        "watched_s": round(took),
        "exit_status": status,  # of the training; null where it was stopped
        "epochs": epochs,
    }


def stop(training: subprocess.Popen[bytes]) -> None:
    """End the training, whatever it is at; one that has ended is left as it is.

    Not by SIGINT: what a script starts in the background ignores that, and would go on to its evaluation and report.
    """
    training.terminate()
    try:
        training.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        training.kill()
        training.wait()


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
    parser.add_argument("--run", type=Path, help="folder of a run to keep, trained to its end")
    arguments = parser.parse_args()
    if arguments.run is not None and arguments.run.is_dir() and any(arguments.run.iterdir()):
        sys.exit(f"{arguments.run} is not empty, and the epochs that it holds would count as new: name another --run.")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # a stopped benchmark stops its training
    limit_s = arguments.limit_minutes * 60
    result = run_until(arguments.recipe, arguments.overrides, arguments.marks, limit_s, arguments.run)
    print(json.dumps(result, indent=1))  # noqa: T201
    if result["exit_status"]:
        sys.exit(f"The training of {arguments.recipe} failed.")


if __name__ == "__main__":
    main()
