"""`linnet verify` says what holds of a bundle, and in one sentence what does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.cli.conftest import Linnet


@pytest.fixture
def own_bundle(full_bundle_dir: Path, tmp_path: Path) -> Path:
    """A copy of a bundle to spoil."""
    return Path(shutil.copytree(full_bundle_dir, tmp_path / "models" / "colours" / "1"))


def test_a_whole_bundle_passes(linnet: Linnet, full_bundle_dir: Path) -> None:
    answer = linnet("verify", full_bundle_dir)
    assert (answer.code, answer.err) == (0, "")
    assert [line.split()[0] for line in answer.out.splitlines()] == ["manifest", "files", "fp32", "int8", "fp16"]
    assert "self-test of 8 images passed" in answer.out


def test_parity_is_shown_again_on_demand(linnet: Linnet, full_bundle_dir: Path, run_dir: Path) -> None:
    answer = linnet("verify", full_bundle_dir, "--run", run_dir)
    assert answer.code == 0
    assert answer.out.splitlines()[-1].startswith("parity     100.00% of 18 test images alike, largest difference")


def test_another_network_than_the_runs_exits_with_3(
    linnet: Linnet, full_bundle_dir: Path, run_dir: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(run_dir, tmp_path / "run"))
    weights = load_file(run / "weights.safetensors")
    save_file(weights | {"head.1.bias": torch.tensor([3.0, 0.0, 0.0])}, run / "weights.safetensors")
    answer = linnet("verify", full_bundle_dir, "--run", run)
    assert answer.code == 3
    assert "The parity gate failed" in answer.err


def test_the_run_of_another_bundle_is_refused(
    linnet: Linnet, full_bundle_dir: Path, run_dir: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(run_dir, tmp_path / "run"))
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"classes": ["cat", "dog"]}))
    answer = linnet("verify", full_bundle_dir, "--run", run)
    assert answer.code == 2
    assert f"linnet: The bundle {full_bundle_dir} does not come from {run}, whose classes" in answer.err


def test_a_damaged_file_is_found(linnet: Linnet, own_bundle: Path) -> None:
    path = own_bundle / "model.int8.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    answer = linnet("verify", own_bundle)
    assert answer.code == 1
    assert f"{path} has " in answer.err


def test_a_variant_that_answers_differently_here_is_found_and_the_others_are_tried(
    linnet: Linnet, own_bundle: Path
) -> None:
    manifest = json.loads((own_bundle / "bundle.json").read_text())
    for case in manifest["self_test"]:
        case["probabilities"]["int8"] = [1.0, 0.0, 0.0]
    (own_bundle / "bundle.json").write_text(json.dumps(manifest))
    answer = linnet("verify", own_bundle)
    assert answer.code == 1
    assert [line.split()[0] for line in answer.out.splitlines()] == ["manifest", "files", "fp32", "fp16"]
    assert "The int8 variant of the bundle" in answer.err
