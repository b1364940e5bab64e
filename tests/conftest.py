"""Tiny real artefacts, each made once per session by the very code that makes large ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trainer.trees import recipe_text, write_photos
from trainer.recipe import Recipe
from trainer.recipe_file import load_recipe


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's cache folder, which no test is to fill."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of three classes with train and test folders."""
    root = tmp_path_factory.mktemp("photos")
    write_photos(root / "train", {"blue": 12, "green": 12, "red": 12}, seed=1)
    write_photos(root / "test", {"blue": 5, "green": 6, "red": 7}, seed=2)
    return root


@pytest.fixture(scope="session")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a backbone to start from: random, but with norms that have seen images, so that a head can learn."""
    import torch
    from safetensors.torch import save_file
    from torch import nn
    from torchvision.models import mobilenet_v2

    torch.manual_seed(0)
    backbone = mobilenet_v2()
    for layer in backbone.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the statistics of what was seen, whole
    colours = torch.rand(64, 3, 1, 1) * 4 - 2
    with torch.no_grad():
        backbone.train()(colours + torch.randn(64, 3, 33, 33) * 0.7)
    path = tmp_path_factory.mktemp("weights") / "mobilenet_v2.safetensors"
    save_file(backbone.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def recipe_file(photos: Path, weights_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe over `photos`."""
    path = tmp_path_factory.mktemp("recipes") / "colours.toml"
    path.write_text(recipe_text(photos, weights_file))
    return path


@pytest.fixture(scope="session")
def recipe(recipe_file: Path) -> Recipe:
    """The recipe of `recipe_file`, resolved."""
    return load_recipe(recipe_file)


@pytest.fixture(scope="session")
def run_dir(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run of `recipe`; not to be written to."""
    from trainer.train import train

    directory = tmp_path_factory.mktemp("runs") / "colours"
    train(recipe, directory)
    return directory


@pytest.fixture(scope="session")
def bundle_dir(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of `run_dir`, alone in its models folder; not to be written to."""
    from export.export import export_run

    return export_run(run_dir, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def full_bundle_dir(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of `run_dir` with every variant, alone in its models folder; not to be written to."""
    from export.export import Plan, export_run

    return export_run(run_dir, tmp_path_factory.mktemp("models"), plan=Plan(int8=True, fp16=True, max_loss_points=20))
