"""`linnet export` prints the bundle's folder, or says why there is none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.cli.conftest import Linnet


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (("{tmp}",), 2, "There is no finished run in {tmp}: name a folder that `linnet train` has written."),
        (("{tmp}/none",), 2, "There is no finished run in {tmp}/none: name a folder"),
        (("{run}", "--name", "Über"), 2, "The name 'Über' cannot be that of a model: use up to 64 lower-case letters"),
        (("{run}", "--version", "1", "--models-dir", "{models}"), 1, "The bundle {models}/colours/1 exists already"),
    ],
)
def test_a_mistake_is_one_sentence(  # noqa: PLR0913
    *,
    linnet: Linnet,
    run_dir: Path,
    bundle_dir: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    code: int,
    sentence: str,
) -> None:
    places = {"tmp": tmp_path, "run": run_dir, "models": bundle_dir.parents[1]}
    answer = linnet("export", *(option.format(**places) for option in options))
    assert answer.complaint.startswith(sentence.format(**places))
    assert answer.code == code
    assert not list(tmp_path.iterdir())


@pytest.mark.e2e
def test_a_gate_that_fails_exits_with_3_and_leaves_no_bundle(linnet: Linnet, run_dir: Path, tmp_path: Path) -> None:
    """Weights that are no numbers give answers that are none, and those agree with nothing."""
    run = tmp_path / "run"
    shutil.copytree(run_dir, run)
    weights = load_file(run / "weights.safetensors")
    save_file(weights | {"head.1.bias": torch.full((3,), torch.nan)}, run / "weights.safetensors")
    answer = linnet("export", run, "--models-dir", tmp_path / "models")
    assert answer.complaint.startswith("The parity gate failed: the largest difference of a probability is nan where")
    assert answer.code == 3
    assert not (tmp_path / "models").exists()
