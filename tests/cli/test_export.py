"""`linnet export` prints the bundle's folder, or says why there is none."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.quantization import CalibrationMethod
from onnxruntime.quantization.calibrate import TensorsData
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


def test_the_list_of_variants_and_gates_needs_no_run(linnet: Linnet) -> None:
    answer = linnet("export", "--list")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("Variants\n  fp32  model.onnx")
    assert "  accuracy  int8 and fp16 lose at most 0.5 points (--max-loss)" in answer.out


@pytest.mark.e2e
def test_a_variant_that_loses_too_much_exits_with_3_and_leaves_no_bundle(
    linnet: Linnet, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranges of nothing: whatever the layers compute is cut to one value."""

    def find_no_ranges(core: onnx.ModelProto, *_: object) -> TensorsData:
        names = [item.name for item in core.graph.value_info]
        nothing = np.zeros((), np.float32)
        return TensorsData(CalibrationMethod.MinMax, dict.fromkeys(names, (nothing, nothing)))

    monkeypatch.setattr("export.search.find_ranges", find_no_ranges)
    answer = linnet("export", run_dir, "--int8", "--max-loss", 0, "--models-dir", tmp_path / "models")
    assert answer.code == 3
    assert answer.err.splitlines()[-1].startswith("linnet: The accuracy gate failed: the int8 variant answers ")
    assert answer.out == ""
    assert not list(tmp_path.rglob("*.onnx"))


@pytest.mark.e2e
def test_a_gate_that_fails_exits_with_3_and_leaves_no_bundle(linnet: Linnet, run_dir: Path, tmp_path: Path) -> None:
    """Weights that are no numbers give answers that are none."""
    run = tmp_path / "run"
    shutil.copytree(run_dir, run)
    weights = load_file(run / "weights.safetensors")
    save_file(weights | {"head.1.bias": torch.full((3,), torch.nan)}, run / "weights.safetensors")
    answer = linnet("export", run, "--models-dir", tmp_path / "models")
    assert answer.complaint.startswith("The gate of finite answers failed: the fp32 variant answers images")
    assert answer.code == 3
    assert not (tmp_path / "models").exists()
