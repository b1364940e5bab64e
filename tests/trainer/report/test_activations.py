"""Maps are found whatever a layer gives, and Grad-CAM is what its paper says."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from linnet.preprocess import PreprocessSpec
from tests.trainer.networks import SPEC, tiny_network, tiny_split
from trainer.backbones import AveragePool, ClassToken, Parts, Patches
from trainer.network import Classifier
from trainer.report.activations import (
    as_maps,
    choose_layer,
    explaining_layer,
    feature_maps,
    grad_cam,
    layers_with_maps,
)
from trainer.report.errors import UnknownLayer


def tiny_transformer() -> Classifier:
    """Return a vision transformer of three blocks over 4 x 4 patches of 8-pixel images."""
    torch.manual_seed(0)
    model = VisionTransformer(
        image_size=8, patch_size=2, num_layers=3, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=3
    )
    neck = nn.Sequential(model.encoder.ln, ClassToken())
    head = nn.Sequential(nn.Dropout(0.0), nn.Linear(8, 3))
    return Classifier(Parts([Patches(model), *model.encoder.layers], neck, 8), head, SPEC)


def one_block_network() -> Classifier:
    """Return a network whose only block gives an embedding, as those of timm do."""
    torch.manual_seed(0)
    block = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(8, 6, 3, stride=2), AveragePool()
    )
    return Classifier(Parts([block], nn.Identity(), 6), nn.Sequential(nn.Dropout(0.0), nn.Linear(6, 3)), SPEC)


def test_maps_are_told_by_their_shape() -> None:
    first, last = torch.rand(2, 5, 4, 4), torch.rand(2, 4, 4, 5)
    assert as_maps(first) is first
    maps = as_maps(last)
    assert maps is not None
    assert torch.equal(maps[1, 3], last[1, :, :, 3])
    tokens = torch.rand(2, 17, 6)
    maps = as_maps(tokens)
    assert maps is not None
    assert torch.equal(maps[0, 5, 2, 3], tokens[0, 1 + 2 * 4 + 3, 5])
    maps = as_maps(tokens[:, 1:])
    assert maps is not None
    assert torch.equal(maps[0, 5, 2, 3], tokens[0, 1 + 2 * 4 + 3, 5])
    for placeless in (torch.rand(2, 7), torch.rand(2, 5, 1, 1), torch.rand(2, 7, 6), "text", None):
        assert as_maps(placeless) is None


@pytest.mark.parametrize(
    ("network", "names"),
    [
        (tiny_network(), ["blocks.0", "blocks.1", "blocks.2"]),
        (tiny_transformer(), ["blocks.0", "blocks.1", "blocks.2", "blocks.3"]),
        (one_block_network(), ["blocks.0.0", "blocks.0.1", "blocks.0.2"]),
    ],
)
def test_layers_are_found_in_order(network: Classifier, names: list[str]) -> None:
    layers = layers_with_maps(network, tiny_split(2).images)
    assert list(layers) == names
    assert all(side > 1 for _, side in layers.values())


def test_the_deepest_legible_layer_is_chosen_unless_one_is_named() -> None:
    layers = {"a": (8, 112), "b": (16, 56), "c": (32, 28), "d": (64, 7)}
    assert choose_layer(layers, None) == "c"
    assert choose_layer(layers, "d") == "d"
    assert choose_layer({"a": (8, 6), "b": (8, 3)}, None) == "a"
    assert choose_layer({}, None) is None
    with pytest.raises(UnknownLayer, match="no feature maps of a layer 'e': choose one of a, b, c, d"):
        choose_layer(layers, "e")


def test_feature_maps_are_what_the_layer_gives() -> None:
    network, images = tiny_network().eval(), tiny_split(4).images
    with torch.no_grad():
        expected = network.blocks[1](network.blocks[0](network.normalise(images)))
    assert torch.equal(feature_maps(network, "blocks.1", images), expected)


def test_work_in_place_does_not_change_maps_that_were_kept() -> None:
    network, images = one_block_network().eval(), tiny_split(2).images
    with torch.no_grad():
        expected = network.get_submodule("blocks.0.0")(network.normalise(images))
    assert expected.min() < 0
    assert torch.equal(feature_maps(network, "blocks.0.0", images), expected)


def test_grad_cam_over_average_pooling_is_the_class_activation_map() -> None:
    """There the gradient of a logit is the head's weight over the number of places (Selvaraju et al. 2017, 3.1)."""
    network, images, classes = tiny_network(), tiny_split(5).images, [0, 1, 2, 0, 1]
    head = network.head[1]
    assert isinstance(head, nn.Linear)
    maps = feature_maps(network, "blocks.2", images)
    expected = torch.stack(
        [(maps[i] * head.weight[label][:, None, None]).sum(0).relu() for i, label in enumerate(classes)]
    ).detach()
    expected = expected / expected.amax((1, 2), keepdim=True).clamp_min(1e-30)
    heat = grad_cam(network, "blocks.2", images, classes)
    assert torch.allclose(heat, expected, atol=1e-5)
    assert heat.shape == (5, 8, 8)
    assert heat.min() >= 0 and heat.max() == pytest.approx(1)


def test_a_transformer_is_explained_where_its_patches_still_count() -> None:
    network, images = tiny_transformer(), tiny_split(3).images
    layer = explaining_layer(network, list(layers_with_maps(network, images)), images)
    assert layer == "blocks.2"
    assert grad_cam(network, layer, images, [0, 1, 2]).amax() == pytest.approx(1)
    assert grad_cam(network, "blocks.3", images, [0, 1, 2]).amax() == 0, "else the last block would do"


def test_a_network_without_maps_has_no_layers() -> None:
    spec = PreprocessSpec(size_px=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    flat = nn.Sequential(nn.Flatten(1), nn.Linear(192, 4))
    network = Classifier(Parts([flat], nn.Identity(), 4), nn.Sequential(nn.Dropout(0.0), nn.Linear(4, 3)), spec)
    layers = layers_with_maps(network, tiny_split(2).images)
    assert layers == {}
    assert explaining_layer(network, list(layers), tiny_split(2).images) is None
