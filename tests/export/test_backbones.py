"""Every backbone of the table trains, resumes, exports to fp32 and int8, and is served.

Random weights and the smallest images each can take: what shows here is that the pieces fit, not that anything is
learnt. This is where most of the suite's time goes.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from export.export import Plan, export_run
from linnet.bundle import read_manifest
from linnet.manifest import Manifest
from tests.service.running import service_at
from tests.trainer.trees import write_photos
from trainer.backbones import BACKBONES
from trainer.checkpoint import load_checkpoint, save_checkpoint
from trainer.recipe import Recipe
from trainer.run import read_run
from trainer.train import train

SIZES_PX = {"inception_v3": 75, "vit_b_16": 48}
SMALLEST_PX = 33


@pytest.fixture(scope="module")
def few_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("few")
    write_photos(root / "train", {"blue": 5, "red": 5}, seed=1)
    write_photos(root / "test", {"blue": 2, "red": 2}, seed=2)
    return root


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder that is gone after the test: some checkpoints have a gigabyte."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def recipe_for(backbone: str, photos: Path) -> Recipe:
    size_px = SIZES_PX.get(backbone, SMALLEST_PX)
    phase = {"name": "end", "unfreeze": "1 blocks", "epochs": 2, "batch_size": 4, "optim": {"name": "sgd", "lr": 1e-3}}
    return Recipe.model_validate(
        {
            "name": "small",
            "data": {"path": photos, "validation_fraction": 0.2},
            "preprocess": {"size_px": size_px, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)},
            "network": {"backbone": backbone, "weights": "none"},
            "phase": [phase],
        }
    )


def train_interrupted(recipe: Recipe, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train, stop after the first epoch, and resume."""

    def save_and_stop(*arguments: Any) -> None:
        save_checkpoint(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("trainer.train.save_checkpoint", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, run)
    state = load_checkpoint(run)
    assert (state.phase, state.epoch) == (0, 1)
    train(recipe, run, resume=True)


def check_bundle(manifest: Manifest, backbone: str, run: Path) -> None:
    assert manifest.provenance.backbone == backbone
    assert [variant.precision for variant in manifest.variants] == ["fp32", "int8"]
    assert manifest.parity.top1_agreement == 1
    assert {(gate.precision, gate.name) for gate in manifest.gates} >= {("fp32", "parity"), ("int8", "batches")}
    assert manifest.variants[0].metrics.correct == read_run(run).metrics["test"].correct
    sizes = [variant.size_bytes for variant in manifest.variants]
    assert sizes[1] < sizes[0]
    assert manifest.variants[1].quantisation is not None


async def predict(models_dir: Path, photo: Path) -> dict[str, Any]:
    async with service_at(models_dir, provider="cpu") as client:
        answer = await client.post("/predict", files={"file": (photo.name, photo.read_bytes())})
        body: dict[str, Any] = answer.raise_for_status().json()
        return body


@pytest.mark.timeout(600)
@pytest.mark.parametrize("backbone", [*BACKBONES, "timm/mobilenetv1_100"])
def test_a_backbone_goes_all_the_way(
    backbone: str, few_photos: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backbone.startswith("timm/"):
        pytest.importorskip("timm", reason="timm is an optional extra")
    run = place / "run"
    train_interrupted(recipe_for(backbone, few_photos), run, monkeypatch)
    bundle = export_run(run, place / "models", plan=Plan(int8=True, max_loss_points=100))
    check_bundle(read_manifest(bundle), backbone, run)
    body = asyncio.run(predict(place / "models", few_photos / "test" / "red" / "000.jpg"))
    assert (body["model"], body["variant"]) == ("small", "int8")
    (prediction,) = body["predictions"]
    assert {score["label"] for score in prediction["top"]} == {"blue", "red"}
    assert sum(score["probability"] for score in prediction["top"]) == pytest.approx(1, abs=1e-5)
