"""Fixtures of the core's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from linnet.bundle import write_bundle
from tests.linnet.manifests import CONTENTS, manifest, write_sources


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "models", manifest(CONTENTS), write_sources(tmp_path / "sources", CONTENTS))
