"""A training that is killed, whenever that is, ends with the same weights as one that is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from linnet.bundle import sha256_of
from tests.trainer.trees import write_photos
from trainer.checkpoint import load_checkpoint
from trainer.run import RUN_FILE, WEIGHTS_FILE, read_run

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[2]

# Epochs of the tail take about a second, so that a kill finds one in the middle; everything that has state is on.
RECIPE = """
name = "killed"

[data]
path = "{data}"

[preprocess]
size_px = 33

[network]
weights = "none"
dropout = 0.3

[optim]
lr = 1e-3
ema_decay = 0.9

[[phase]]
name = "head"
unfreeze = "head"
epochs = 15
batch_size = 16

[[phase]]
name = "tail"
unfreeze = "12 blocks"
epochs = 3
batch_size = 8
augment = {{ flip = true, shift = 0.1, zoom = 0.7, erase = 0.2 }}
"""


class Training:
    """`linnet train` in a process of its own."""

    def __init__(self, recipe: Path, run: Path, *options: str) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}  # the order of sums must not depend on the load
        command = [sys.executable, "-W", "error", "-m", "linnet.cli", "train", str(recipe), "--run", str(run), *options]
        self.run = run
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def finish(self) -> tuple[int, str, str]:
        """Wait for the end; return exit code, stdout and stderr."""
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out, err

    def interrupt(self, when: Callable[[], bool], how: signal.Signals = signal.SIGKILL) -> str:
        """Send a signal once `when` holds; return stderr."""
        while not when():
            assert self.process.poll() is None, f"it ended before it was interrupted: {self.process.communicate()}"
            time.sleep(0.005)
        self.process.send_signal(how)
        return self.finish()[2]

    def rows(self, phase: str) -> int:
        """Count the epochs of a phase that the history has."""
        history = self.run / "history.csv"
        return history.read_text().count(f"\n{phase},") if history.exists() else 0


def settle(seconds: float) -> bool:
    """Wait into the epoch that has just begun."""
    time.sleep(seconds)
    return True


@pytest.mark.e2e
def test_killed_and_resumed_is_the_same_as_never_killed(tmp_path: Path) -> None:
    recipe, run = tmp_path / "killed.toml", tmp_path / "killed"
    data = write_photos(tmp_path / "photos", {"blue": 80, "green": 80, "red": 80})
    recipe.write_text(RECIPE.format(data=data))

    whole = Training(recipe, tmp_path / "whole")
    code, out, err = whole.finish()
    assert (code, out) == (0, f"{tmp_path / 'whole'}\n"), err

    early = Training(recipe, run)
    early.interrupt(run.exists)
    assert early.process.returncode == -signal.SIGKILL
    assert not (run / "resume.pt").exists()

    in_head = Training(recipe, run)  # what a kill before the first checkpoint leaves does not forbid a new start
    in_head.interrupt(lambda: in_head.rows("head") >= 4)
    assert in_head.process.returncode == -signal.SIGKILL
    state = load_checkpoint(run)
    assert (state.phase, 3 <= state.epoch < 15) == (0, True)

    by_hand = Training(recipe, run, "--resume")
    said = by_hand.interrupt(lambda: by_hand.rows("tail") >= 2 and settle(0.1), signal.SIGINT)
    assert by_hand.process.returncode == 130
    assert said.splitlines()[-1] == (
        f"linnet: Interrupted: continue after the last whole epoch with --resume --run {run}."
    )
    assert "Traceback" not in said

    in_tail = Training(recipe, run, "--resume")
    in_tail.interrupt(lambda: in_tail.rows("tail") >= 3 and settle(0.1))
    assert in_tail.process.returncode == -signal.SIGKILL
    state = load_checkpoint(run)
    assert (state.phase, state.epoch) == (1, 2)
    assert not (run / RUN_FILE).exists()

    code, out, err = Training(recipe, run, "--resume").finish()
    assert (code, out) == (0, f"{run}\n"), err
    assert sha256_of(run / WEIGHTS_FILE) == sha256_of(tmp_path / "whole" / WEIGHTS_FILE)
    killed, uninterrupted = read_run(run), read_run(tmp_path / "whole")
    assert killed.metrics == uninterrupted.metrics
    assert timeless(run) == timeless(tmp_path / "whole")


def timeless(run: Path) -> list[list[str]]:
    """Return the history without the columns that measure time."""
    rows = [line.split(",") for line in (run / "history.csv").read_text().splitlines()]
    kept = [index for index, name in enumerate(rows[0]) if name not in ("images_per_s", "seconds")]
    return [[row[index] for index in kept] for row in rows]
