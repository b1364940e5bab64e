"""Every backbone of the table, at a small size with random weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from linnet.preprocess import PreprocessSpec
from trainer.architectures import ARCHITECTURES
from trainer.backbones import BACKBONES
from trainer.errors import CannotDownload, NoPublishedWeights, TimmMissing, UnknownBackbone
from trainer.inputs import folded
from trainer.network import Classifier, build_classifier, frozen_block_count, set_trainable
from trainer.recipe import Network
from trainer.recipe_file import architecture_named

SIZES = {"inception_v3": 75, "vit_b_16": 48}
SMALLEST = 33

# What stands between the embedding and the logits of the published network. VGG's dense layers are left out on purpose.
PUBLISHED_HEADS: dict[str, Any] = {
    "mobilenet_v2": lambda model: model.classifier,
    "mobilenet_v3_large": lambda model: model.classifier[2:],
    "mobilenet_v3_small": lambda model: model.classifier[2:],
    "resnet18": lambda model: model.fc,
    "resnet50": lambda model: model.fc,
    "inception_v3": lambda model: model.fc,
    "efficientnet_b0": lambda model: model.classifier,
    "efficientnet_v2_s": lambda model: model.classifier,
    "convnext_tiny": lambda model: model.classifier[2],
}


def build(name: str) -> Classifier:
    torch.manual_seed(0)
    spec = PreprocessSpec(size_px=SIZES.get(name, SMALLEST), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return build_classifier(Network(backbone=name, weights="none"), 3, spec).eval()


def pictures(name: str, count: int = 2) -> torch.Tensor:
    side = SIZES.get(name, SMALLEST)
    return torch.randint(0, 256, (count, side, side, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def test_names_and_builders_agree() -> None:
    assert BACKBONES.keys() == ARCHITECTURES.keys()
    assert {name for name, backbone in BACKBONES.items() if backbone.imagenet} == {
        name for name, architecture in ARCHITECTURES.items() if architecture.has_weights
    }


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_blocks_neck_and_head_fit_together(name: str) -> None:
    network = build(name)
    images = pictures(name)
    embedding = network.embed(images)
    head = network.head[-1]
    assert isinstance(head, nn.Linear)
    assert embedding.shape == (2, head.in_features)
    assert torch.allclose(network(images), head(embedding))
    hidden = network.normalise(images)
    assert torch.allclose(folded(network.blocks)(hidden), network.blocks(hidden), atol=1e-3)


@pytest.mark.parametrize("name", PUBLISHED_HEADS)
@torch.no_grad()
def test_the_embedding_is_what_the_published_network_classifies(name: str) -> None:
    torch.manual_seed(0)
    published: Any = BACKBONES[name].build()
    published.eval()
    images = torch.rand(2, 3, SIZES.get(name, SMALLEST), SIZES.get(name, SMALLEST))
    expected = published(images)
    parts = BACKBONES[name].take_apart(published)
    embedding = parts.neck(nn.Sequential(*parts.blocks)(images))
    assert embedding.shape == (2, parts.embedding_size)
    assert torch.allclose(PUBLISHED_HEADS[name](published)(embedding), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_vision_transformer_is_the_published_one_at_its_own_size() -> None:
    published: Any = BACKBONES["vit_b_16"].build()
    published.eval()
    nn.init.normal_(published.heads.head.weight)
    nn.init.normal_(published.encoder.pos_embedding)
    images = torch.rand(1, 3, 224, 224)
    expected = published(images)
    parts = BACKBONES["vit_b_16"].take_apart(published)
    embedding = parts.neck(nn.Sequential(*parts.blocks)(images))
    assert torch.allclose(published.heads(embedding), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18", "cnn_3"])
def test_the_neck_trains_with_any_part_of_the_backbone_but_not_with_the_head_alone(name: str) -> None:
    network = build(name)
    set_trainable(network, "1 blocks")
    assert all(parameter.requires_grad for parameter in network.neck.parameters())
    assert frozen_block_count(network) == len(network.blocks) - 1
    set_trainable(network, "head")
    assert not any(parameter.requires_grad for parameter in network.neck.parameters())


def test_names_that_are_none() -> None:
    with pytest.raises(UnknownBackbone, match="There is no backbone 'resnet5': choose one such as resnet50, "):
        build("resnet5")
    with pytest.raises(UnknownBackbone, match="choose one such as mobilenet_v2, "):
        build("0000")
    spec = PreprocessSpec(size_px=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    with pytest.raises(NoPublishedWeights, match="There are no ImageNet weights of cnn_2"):
        build_classifier(Network(backbone="cnn_2"), 3, spec)


def test_weights_that_do_not_arrive_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError('invalid hash value (expected "b0353104", got "7e4a")')

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    spec = PreprocessSpec(size_px=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    with pytest.raises(CannotDownload, match=r"of resnet50 cannot be downloaded to .*\(invalid hash value"):
        build_classifier(Network(backbone="resnet50"), 3, spec)


def test_a_timm_model_that_nobody_has_trained() -> None:
    timm = pytest.importorskip("timm", reason="timm is an optional extra")
    assert not timm.get_pretrained_cfg("vit_base_patch16_18x2_224").has_weights
    spec = PreprocessSpec(size_px=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    with pytest.raises(NoPublishedWeights, match="There are no ImageNet weights of timm/vit_base_patch16_18x2_224"):
        build_classifier(Network(backbone="timm/vit_base_patch16_18x2_224"), 3, spec)


def test_a_name_that_timm_keeps_for_another_is_none() -> None:
    pytest.importorskip("timm", reason="timm is an optional extra")
    with pytest.raises(UnknownBackbone, match="timm/tv_resnet50"):
        architecture_named("timm/tv_resnet50")


def test_any_timm_model(tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="timm is an optional extra")
    from safetensors.torch import save_file
    from timm import create_model

    published: Any = create_model("mobilenetv1_100").eval()
    save_file(published.state_dict(), tmp_path / "weights.safetensors")
    architecture = architecture_named("timm/mobilenetv1_100")
    assert (architecture.size_px, architecture.mean) == (224, (0.5, 0.5, 0.5))
    spec = PreprocessSpec(size_px=SMALLEST, mean=architecture.mean, std=architecture.std)
    settings = Network(backbone="timm/mobilenetv1_100", weights=str(tmp_path / "weights.safetensors"))
    network = build_classifier(settings, 3, spec).eval()
    with torch.no_grad():
        images = network.normalise(pictures("timm"))
        assert torch.allclose(published.classifier(network.neck(network.blocks(images))), published(images), atol=1e-4)
    with pytest.raises(UnknownBackbone, match="choose one such as timm/mobilenetv1_100, "):
        architecture_named("timm/mobilenetv1_10")


def test_timm_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(TimmMissing, match="need timm, which is not installed"):
        architecture_named("timm/mobilenetv1_100")
