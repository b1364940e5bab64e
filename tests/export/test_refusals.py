"""What cannot be exported is refused in one sentence, before the work, and leaves nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from export.errors import InvalidModelName
from export.export import export_run
from linnet.errors import BundleExists
from trainer.errors import DataChanged, InvalidRun, RunNotFound
from trainer.run import RUN_FILE, WEIGHTS_FILE


def test_a_version_that_exists_is_refused_before_the_work(run_dir: Path, bundle_dir: Path) -> None:
    before = (bundle_dir / "model.onnx").stat().st_mtime_ns
    with pytest.raises(BundleExists, match=f"The bundle {bundle_dir} exists already"):
        export_run(run_dir, bundle_dir.parents[1], version=1)
    assert (bundle_dir / "model.onnx").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["Colours", "a/b", "..", ".hidden", "-x", "x" * 65, "ä", "a\n"])
def test_a_name_that_cannot_be_a_folder_and_a_url_is_refused(run_dir: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidModelName, match="cannot be that of a model: use up to 64"):
        export_run(run_dir, tmp_path / "models", name=name)
    assert not (tmp_path / "models").exists()


def test_a_run_that_is_not_finished_is_refused(run_dir: Path, tmp_path: Path) -> None:
    shutil.copy(run_dir / "resume.pt", tmp_path)
    with pytest.raises(RunNotFound, match=f"no finished run in {tmp_path}"):
        export_run(tmp_path, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def copy_of_run(run_dir: Path, directory: Path, **changes: object) -> Path:
    """Copy what the export reads of a run, with other values in its record."""
    directory.mkdir()
    shutil.copy(run_dir / WEIGHTS_FILE, directory)
    record = json.loads((run_dir / RUN_FILE).read_text()) | changes
    (directory / RUN_FILE).write_text(json.dumps(record))
    return directory


def test_other_data_than_the_run_had_is_refused(run_dir: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    record = json.loads((run_dir / RUN_FILE).read_text())
    record["recipe"]["data"]["path"] = str(tmp_path / "photos")
    run = copy_of_run(run_dir, tmp_path / "run", recipe=record["recipe"])
    (tmp_path / "photos" / "test" / "red" / "000.jpg").unlink()
    with pytest.raises(DataChanged, match=f"The images in {tmp_path / 'photos'} are not the ones"):
        export_run(run, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_run_without_its_weights_is_refused(run_dir: Path, tmp_path: Path) -> None:
    run = copy_of_run(run_dir, tmp_path / "run")
    (run / WEIGHTS_FILE).unlink()
    with pytest.raises(InvalidRun, match=r"weights\.safetensors cannot be read"):
        export_run(run, tmp_path / "models")
