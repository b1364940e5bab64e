"""Every recipe that ships is one: it is read as it stands, and two steps of each of its phases can be carried out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainer.trees import write_photos
from trainer.recipe_file import load_recipe
from trainer.train import train

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").rglob("*.toml"))
LEAST_PX = {"inception_v3": 75, "vit_b_16": 32}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    return write_photos(folder, {"blue": 14, "green": 14, "red": 9})


def test_the_walk_finds_the_recipes() -> None:
    assert {path.parent.name for path in RECIPES} == {"recipes", "classic", "backbones"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_recipe_makes_two_steps(path: Path, photos: Path, tmp_path: Path) -> None:
    shipped = load_recipe(path)
    if shipped.network.backbone.startswith("timm/"):
        pytest.importorskip("timm", reason="timm is an optional extra")
    size_px = LEAST_PX.get(shipped.network.backbone, 33)
    overrides = ["data.source=folder", f"data.path={photos}", "data.fraction=1.0", "network.weights=none"]
    overrides.append("compute.compile=false")  # takes minutes, and a compiler
    overrides.append(f"preprocess.size_px={32 if shipped.preprocess.size_px == 32 else size_px}")
    for index, phase in enumerate(shipped.phase):
        overrides += [f"phase.{index}.epochs=1", f"phase.{index}.batch_size=8"]
        overrides += [f"phase.{index}.size_px={size_px}"] if phase.size_px is not None else []
    record = train(load_recipe(path, overrides), tmp_path / "run")
    assert record.split_sizes["train"] // 8 >= 2
    assert record.metrics["test"].n > 0
