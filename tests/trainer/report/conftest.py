"""One report, made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from trainer.report.report import write_report


@pytest.fixture(scope="session")
def reported_run(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `run_dir` with its report; not to be written to."""
    directory = tmp_path_factory.mktemp("reported") / "colours"
    shutil.copytree(run_dir, directory)
    assert write_report(directory) == directory / "report.html"
    return directory
