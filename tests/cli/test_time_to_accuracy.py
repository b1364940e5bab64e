"""The benchmark of seconds to an accuracy ends with one JSON object, however its training does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.service.running import ROOT

pytestmark = pytest.mark.e2e

# A parent that ignores SIGINT, as a script does for what it starts in the background.
DEAF = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.executable, sys.argv[1:])"


def watch(recipe: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    """Return exit status, answer and stderr."""
    command = [sys.executable, "benchmarks/time_to_accuracy.py", str(recipe), *options]
    done = subprocess.run([sys.executable, "-c", DEAF, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout), done.stderr


def test_a_training_that_has_passed_every_mark_is_not_waited_for(recipe_file: Path) -> None:
    status, answer, _ = watch(recipe_file, "--set", "phase.head.epochs=2000", "--marks", "0", "0")
    assert status == 0
    assert answer["seconds_to"].keys() == {"0.00%"}
    assert 0 < answer["seconds_to"]["0.00%"] <= answer["watched_s"]
    assert answer["exit_status"] is None
    assert [epoch["epoch"] for epoch in answer["epochs"]][:2] == ["head 0", "head 1"]
    assert len(answer["epochs"]) < 2000


def test_a_training_that_ends_before_the_mark_leaves_it_open(recipe_file: Path) -> None:
    status, answer, said = watch(recipe_file, "--marks", "1.1")
    assert (status, answer["exit_status"], answer["seconds_to"]) == (0, 0, {"110.00%": None})
    assert [epoch["epoch"] for epoch in answer["epochs"]][-1] == "tail 3"
    assert "Traceback" not in said


def test_a_run_that_is_kept_is_trained_to_its_end(recipe_file: Path, tmp_path: Path) -> None:
    status, answer, _ = watch(recipe_file, "--marks", "0", "--run", str(tmp_path / "kept"))
    assert (status, answer["exit_status"]) == (0, 0)
    assert answer["seconds_to"]["0.00%"] <= answer["watched_s"]
    assert [epoch["epoch"] for epoch in answer["epochs"]][-1] == "tail 3"
    assert (tmp_path / "kept" / "run.json").is_file()


def test_a_run_that_is_there_is_refused_before_anything_is_trained(recipe_file: Path, tmp_path: Path) -> None:
    history = tmp_path / "kept" / "history.csv"
    history.parent.mkdir()
    history.write_text("phase,epoch,val_accuracy\nhead,0,0.99\n")
    command = [sys.executable, "benchmarks/time_to_accuracy.py", str(recipe_file), "--run", str(history.parent)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{history.parent} is not empty, ")
    assert [path.name for path in history.parent.iterdir()] == ["history.csv"]


def test_a_training_past_its_time_is_stopped(recipe_file: Path) -> None:
    status, answer, _ = watch(recipe_file, "--limit-minutes", "0")
    assert (status, answer["exit_status"], answer["epochs"]) == (0, None, [])
    assert set(answer["seconds_to"].values()) == {None}


def test_stopping_the_benchmark_stops_its_training(recipe_file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/time_to_accuracy.py", str(recipe_file), "--marks", "1.1"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [*command, "--set", "phase.head.epochs=2000"], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
    ) as benchmark:
        while not list(tmp_path.glob("*/run/history.csv")):
            assert benchmark.poll() is None
            time.sleep(0.05)
        benchmark.terminate()
        assert benchmark.wait(30) == 128 + signal.SIGTERM
    assert not list(tmp_path.glob("*/run")), "the run is removed when the training no longer writes it"


def test_a_training_that_fails_is_a_failure(tmp_path: Path) -> None:
    status, answer, said = watch(tmp_path / "nothing.toml")
    assert (status, answer["exit_status"], answer["epochs"]) == (1, 2, [])
    assert said.endswith(f"The training of {tmp_path / 'nothing.toml'} failed.\n")
