from __future__ import annotations

import pytest

from linnet.bundle import bundle_directories
from service.errors import ModelUnavailable, UnknownModel, UnknownVersion
from service.loading import Loader
from service.metrics import Metrics
from service.repository import Repository
from service.settings import Settings
from tests.service.bundles import write_model


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """`alpha` 2 and 10, of which 11 is damaged; `beta` 1; `gamma` 1 damaged."""
    models_dir = tmp_path_factory.mktemp("several") / "models"
    for name, version in (("alpha", 2), ("alpha", 10), ("beta", 1)):
        write_model(models_dir, name, version)
    for name, version in (("alpha", 11), ("gamma", 1)):
        (write_model(models_dir, name, version) / "model.onnx").unlink()
    loaded = Loader(Settings(models_dir=models_dir, provider="cpu"), Metrics()).load(bundle_directories(models_dir))
    return Repository(loaded.models, loaded.failed, None)


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        (None, None, ("alpha", 10)),
        ("alpha", None, ("alpha", 10)),
        ("alpha", "2", ("alpha", 2)),
        (None, "2", ("alpha", 2)),
        ("beta", None, ("beta", 1)),
    ],
)
def test_a_request_finds_its_model(
    repository: Repository, name: str | None, version: str | None, expected: tuple[str, int]
) -> None:
    model = repository.resolve(name, version)
    assert (model.name, model.version) == expected


def test_versions_are_numbers_not_text(repository: Repository) -> None:
    assert repository.default is not None
    assert repository.default.version == 10


@pytest.mark.parametrize(
    ("name", "version", "error"),
    [
        ("delta", None, UnknownModel),
        ("beta", "2", UnknownVersion),
        ("alpha", "latest", UnknownVersion),
        ("alpha", "11", ModelUnavailable),
        ("gamma", None, ModelUnavailable),
        ("gamma", "1", ModelUnavailable),
        ("gamma", "2", UnknownVersion),
    ],
)
def test_a_model_that_is_not_there_is_named(
    repository: Repository, name: str, version: str | None, error: type[Exception]
) -> None:
    with pytest.raises(error, match=name):
        repository.resolve(name, version)


def test_the_default_does_not_change_because_its_bundle_fails(repository: Repository) -> None:
    assert Repository(repository.models, repository.absent, "gamma").default is None
