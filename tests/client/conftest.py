"""A real service for the client's tests, and answers of our own where the network is to fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from linnet_client import Client
from tests.service.bundles import png, write_model
from tests.service.running import ROOT, ServerProcess


@pytest.fixture(scope="session")
def colours_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with `colours` in versions 1 and 2, of which 2 is broken, and `shades`."""
    folder = tmp_path_factory.mktemp("client") / "models"
    write_model(folder)
    broken = write_model(folder, version=2)
    (broken / "model.onnx").write_bytes(b"damaged")
    write_model(folder, name="shades")
    return folder


@pytest.fixture(scope="session")
def url(colours_dir: Path) -> Iterator[str]:
    """The address of a real service."""
    with ServerProcess(colours_dir) as server:
        yield server.url


@pytest.fixture(scope="session")
def cat_url() -> Iterator[str]:
    """The address of a real service with the bundled models."""
    with ServerProcess(ROOT / "models") as server:
        yield server.url


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    """A client of that service."""
    with Client(url) as client:
        yield client


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A green photo in a file."""
    path = tmp_path / "green.png"
    path.write_bytes(png("green"))
    return path
