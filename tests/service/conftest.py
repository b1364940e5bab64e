"""Fixtures of the service's tests: real bundles, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.service.bundles import write_model


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with the bundle `colours` in version 1."""
    folder = tmp_path_factory.mktemp("repository") / "models"
    write_model(folder)
    return folder
