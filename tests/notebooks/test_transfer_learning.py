"""The notebook runs from its first cell to its last on small data, and lies in git without outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "transfer_learning.ipynb"


def read() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]


def test_outputs_are_stripped() -> None:
    notebook = read()
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    assert [cell.id for cell in cells if cell.outputs or cell.execution_count is not None] == []


@pytest.mark.e2e
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the packages that talk to the kernel
def test_the_whole_path_runs_on_small_data(
    photos: Path, weights_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = read()
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    parameters.source += f"""
DATA, WEIGHTS, RUNS = Path({str(photos)!r}), {str(weights_file)!r}, Path({str(tmp_path)!r})
SIZE_PX = 33
HEAD_EPOCHS, FINETUNE_EPOCHS, SCRATCH_EPOCHS = 2, 1, 2
"""
    NotebookClient(notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}).execute()
    pictures = [
        output for cell in notebook.cells for output in cell.get("outputs", ()) if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 10
    assert {path.name for path in tmp_path.iterdir()} == {"transfer", "scratch"}
    assert (tmp_path / "transfer" / "run.json").is_file()
    text = "".join(str(output) for cell in notebook.cells for output in cell.get("outputs", ()))
    assert "Transfer against scratch" in text
    assert "macro avg" in text
