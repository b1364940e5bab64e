"""A bundle gives its weights back: the recovered network answers as the bundle does, and can train on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from export.errors import CannotRecover, WouldOverwrite
from export.graph import trace
from export.recover import recover_weights, restore
from linnet.errors import CorruptBundle
from linnet.preprocess import PreprocessSpec
from trainer.network import Classifier, build_classifier
from trainer.recipe import Network, Recipe

SPEC = PreprocessSpec(size_px=33, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def recovered(bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("recovered") / "new" / "weights.safetensors"
    recover_weights(bundle_dir, file)
    return file


def test_the_recovered_network_is_the_one_of_the_run(
    recovered: Path, trained: Classifier, recipe: Recipe, images: torch.Tensor
) -> None:
    network = build_classifier(recipe.network, 3, recipe.preprocess, pretrained=False).eval()
    network.load_state_dict(load_file(recovered))
    with torch.no_grad():
        assert torch.allclose(network(images), trained(images), atol=1e-4)


def test_a_recipe_can_begin_with_it(recovered: Path, trained: Classifier, recipe: Recipe, images: torch.Tensor) -> None:
    further = recipe.network.model_copy(update={"weights": str(recovered)})
    network = build_classifier(further, 5, recipe.preprocess).eval()
    with torch.no_grad():
        assert torch.allclose(network.embed(images), trained.embed(images), atol=1e-4)


def network_of(backbone: str) -> Classifier:
    """A network whose norms have seen something, so that folding them changes every weight."""
    network = build_classifier(Network(backbone=backbone, weights="none", hidden=(4,)), 3, SPEC)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
    with torch.no_grad():
        network.train()(torch.randint(0, 256, (8, 33, 33, 3), dtype=torch.uint8))
    return network.eval()


@pytest.mark.parametrize("backbone", ["cnn_3", "cnn_resnet9", "resnet18", "vgg16_bn", "timm/mobilenetv1_100"])
def test_other_networks_come_back_as_well(backbone: str) -> None:
    if backbone.startswith("timm/"):
        pytest.importorskip("timm", reason="timm is an optional extra")
    torch.manual_seed(0)
    network, images = network_of(backbone), torch.randint(0, 256, (8, 33, 33, 3), dtype=torch.uint8)
    again = network_of(backbone)
    restore(again, trace(network, SPEC.size_px).graph, images)
    with torch.no_grad():
        assert torch.allclose(again(images), network(images), atol=1e-4)


def test_norms_have_the_statistics_of_the_images() -> None:
    torch.manual_seed(0)
    network, images = network_of("cnn_resnet9"), torch.randint(0, 256, (8, 33, 33, 3), dtype=torch.uint8)
    restore(network, trace(network, SPEC.size_px).graph, images)
    with torch.no_grad():
        expected = network.embed(images)
        assert torch.allclose(network.train().embed(images), expected, atol=1e-3)  # normalised by themselves


def test_a_graph_that_lacks_a_weight_is_refused() -> None:
    graph = trace(network_of("cnn_2"), SPEC.size_px).graph
    kept = [item for item in graph.initializer if item.name != "network.head.0.weight"]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    with pytest.raises(CannotRecover, match=r"its graph has not kept head\.0\.weight"):
        restore(network_of("cnn_2"), graph, torch.zeros(1, 33, 33, 3, dtype=torch.uint8))


@pytest.fixture
def own_bundle(bundle_dir: Path, tmp_path: Path) -> Path:
    """A copy of a bundle to spoil."""
    return Path(shutil.copytree(bundle_dir, tmp_path / "models" / "colours" / "1"))


def test_a_recipe_of_another_version_is_refused(own_bundle: Path, tmp_path: Path) -> None:
    manifest = json.loads((own_bundle / "bundle.json").read_text())
    manifest["provenance"]["recipe"]["network"]["backbones"] = 2
    (own_bundle / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(CannotRecover, match=r"its recipe is not one of this version: network\.backbones"):
        recover_weights(own_bundle, tmp_path / "weights.safetensors")
    assert not (tmp_path / "weights.safetensors").exists()


def test_a_damaged_bundle_is_refused(own_bundle: Path, tmp_path: Path) -> None:
    (own_bundle / "model.onnx").write_bytes(b"")
    with pytest.raises(CorruptBundle):
        recover_weights(own_bundle, tmp_path / "weights.safetensors")
    assert not (tmp_path / "weights.safetensors").exists()


def test_a_file_that_exists_is_left_as_it_is(bundle_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_text("dear")
    with pytest.raises(WouldOverwrite, match=f"The file {file} exists already"):
        recover_weights(bundle_dir, file)
    assert file.read_text() == "dear"
