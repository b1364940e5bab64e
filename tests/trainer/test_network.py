"""What is frozen stays frozen, what is loaded is what was saved, and blocks count from the head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import mobilenet_v2

from tests.trainer.networks import SPEC, changed, copy_of, quiet, tiny_network, tiny_phase, tiny_split
from trainer.backbones import AveragePool, Parts
from trainer.errors import WeightsMismatch, WeightsNotFound
from trainer.learner import Learner
from trainer.network import Classifier, build_classifier, frozen_block_count, set_trainable, train_mode
from trainer.recipe import Network


def trainable(network: nn.Module) -> set[str]:
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


HEAD = {"head.1.weight", "head.1.bias"}
LAST_BLOCK = {"blocks.2.0.weight", "blocks.2.1.weight", "blocks.2.1.bias"}


@pytest.mark.parametrize(
    ("unfreeze", "names", "frozen_blocks"),
    [
        ("head", HEAD, 3),
        (1, HEAD, 3),  # the last layer is a ReLU, which has nothing to train
        (2, HEAD | {"blocks.2.1.weight", "blocks.2.1.bias"}, 2),
        (3, HEAD | LAST_BLOCK, 2),
        (5, HEAD | LAST_BLOCK | {"blocks.1.1.weight", "blocks.1.1.bias"}, 1),
        ("1 blocks", HEAD | LAST_BLOCK, 2),
        ("3 blocks", trainable(tiny_network()), 0),
        ("9 blocks", trainable(tiny_network()), 0),
        (99, trainable(tiny_network()), 0),
        ("all", trainable(tiny_network()), 0),
    ],
)
def test_unfreezing_counts_from_the_head(unfreeze: str | int, names: set[str], frozen_blocks: int) -> None:
    network = tiny_network()
    set_trainable(network, "all")
    set_trainable(network, unfreeze)
    assert trainable(network) == names
    assert frozen_block_count(network) == frozen_blocks


@pytest.mark.parametrize("unfreeze", ["head", 2, 5, "1 blocks", "2 blocks", "all"])
@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_an_epoch_moves_what_is_trainable_and_not_one_bit_of_the_rest(unfreeze: str | int, ema_decay: float) -> None:
    """The statistics of a frozen norm are part of the rest."""
    network = tiny_network()
    phase = tiny_phase(unfreeze, ema_decay=ema_decay)
    learner = Learner(network, phase, tiny_split(24), tiny_split(6))
    before = copy_of(network)
    learner.train_epoch(1, torch.Generator().manual_seed(0), quiet())
    moving = trainable(network)
    norms = {name.removesuffix("weight") for name in moving if ".1.weight" in name and name.startswith("blocks")}
    statistics = {
        f"{norm}{statistic}" for norm in norms for statistic in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert changed(before, network) == moving | statistics
    assert changed(before, learner.candidate) <= moving | statistics


@pytest.mark.parametrize(
    ("unfreeze", "moving"),
    [
        ("2 blocks", {"17.conv.0.1", "17.conv.1.1", "17.conv.3", "18.1"}),
        (5, {"17.conv.3", "18.1"}),  # the other two norms of block 17 are frozen, in a block that is not
    ],
)
def test_the_real_backbone_keeps_frozen_statistics_too(unfreeze: str | int, moving: set[str]) -> None:
    torch.manual_seed(0)
    network = build_classifier(Network(weights="none", dropout=0.0), 3, SPEC)
    learner = Learner(network, tiny_phase(unfreeze), tiny_split(12), tiny_split(6))
    before = copy_of(network)
    learner.train_epoch(1, torch.Generator().manual_seed(0), quiet())
    moved = changed(before, network)
    assert {name[7:-13] for name in moved if name.endswith(".running_mean")} == moving
    assert {name[7:-12] for name in moved if name.endswith(".running_var")} == moving
    assert {name for name in moved if name.endswith("weight")} == {
        name for name in trainable(network) if name.endswith("weight")
    }


def test_training_mode_follows_what_is_trainable() -> None:
    network = tiny_network()
    set_trainable(network, "1 blocks")
    network.eval()
    train_mode(network)
    norms = [layer.training for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert norms == [False, False, True]
    assert network.head[0].training, "dropout before the head is part of training it"


def test_normalising_is_the_published_formula() -> None:
    images = tiny_split(5).images
    mean, std = torch.tensor(SPEC.mean), torch.tensor(SPEC.std)
    expected = ((images.double() / 255 - mean) / std).permute(0, 3, 1, 2)
    normalised = tiny_network().normalise(images)
    assert normalised.shape == (5, 3, 8, 8)
    assert normalised.dtype == torch.float32
    assert torch.allclose(normalised.double(), expected, atol=1e-6)
    assert normalised.is_contiguous(memory_format=torch.channels_last)


def backbone_file(path: Path, change: Any = lambda weights: weights) -> Path:
    torch.manual_seed(5)
    save_file(change(dict(mobilenet_v2().state_dict())), path)
    return path


def build(path: Path) -> Classifier:
    return build_classifier(Network(weights=str(path), dropout=0.0), 4, SPEC)


def test_the_backbone_is_torchvisions(tmp_path: Path) -> None:
    """The features of our blocks are those of the published network, from a file of its weights."""
    network = build(backbone_file(tmp_path / "weights.safetensors")).eval()
    torch.manual_seed(5)
    published = mobilenet_v2().eval()
    images = tiny_split(3).images
    with torch.no_grad():
        expected = nn.functional.adaptive_avg_pool2d(published.features(network.normalise(images)), 1).flatten(1)
        embedding = network.embed(images)
        assert torch.allclose(embedding, expected, atol=1e-6)
        assert embedding.shape == (3, 1280)
        assert network(images).shape == (3, 4)


def test_an_earlier_run_gives_its_backbone_and_not_its_head(tmp_path: Path) -> None:
    earlier = build(backbone_file(tmp_path / "published.safetensors"))
    path = tmp_path / "run.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in earlier.state_dict().items()}, path)
    torch.manual_seed(9)
    later = build_classifier(Network(weights=str(path), dropout=0.0), 7, SPEC)
    assert changed(copy_of(earlier.blocks), later.blocks) == set()
    assert later.head[1].weight.shape == (7, 1280)
    with pytest.raises(WeightsMismatch, match="does not hold weights of resnet18"):
        build_classifier(Network(backbone="resnet18", weights=str(path)), 7, SPEC)


@pytest.mark.parametrize(
    ("hidden", "layers"),
    [
        ((), ["Dropout(p=0.4, inplace=False)", "Linear(in_features=1280, out_features=3, bias=True)"]),
        (
            (16, 8),
            [
                "Linear(in_features=1280, out_features=16, bias=True)",
                "ReLU()",
                "Linear(in_features=16, out_features=8, bias=True)",
                "ReLU()",
                "Dropout(p=0.4, inplace=False)",
                "Linear(in_features=8, out_features=3, bias=True)",
            ],
        ),
    ],
)
def test_a_head_has_the_layers_of_its_recipe(hidden: tuple[int, ...], layers: list[str]) -> None:
    network = build_classifier(Network(weights="none", hidden=hidden, dropout=0.4), 3, SPEC).eval()
    assert [str(layer) for layer in network.head] == layers
    assert network(tiny_split(2).images).shape == (2, 3)
    set_trainable(network, "head")
    assert trainable(network) == {f"head.{name}" for name, _ in network.head.named_parameters()}


@pytest.mark.parametrize(("earlier", "later"), [((16,), ()), ((), (16,)), ((16,), (16,))])
def test_a_run_with_another_head_gives_its_backbone_too(
    tmp_path: Path, earlier: tuple[int, ...], later: tuple[int, ...]
) -> None:
    torch.manual_seed(5)
    first = build_classifier(Network(backbone="cnn_2", weights="none", hidden=earlier), 4, SPEC)
    path = tmp_path / "run.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in first.state_dict().items()}, path)
    second = build_classifier(Network(backbone="cnn_2", weights=str(path), hidden=later), 4, SPEC)
    assert changed(copy_of(first.blocks), second.blocks) == set()
    assert changed(copy_of(first.neck), second.neck) == set()
    assert not torch.equal(next(first.head.parameters()), next(second.head.parameters()))


def test_a_published_network_with_a_head_of_that_name_is_no_run(tmp_path: Path) -> None:
    """torchvision and timm have such names; what a run holds besides its head tells them apart."""
    path = tmp_path / "weights.safetensors"
    save_file({"head.1.weight": torch.zeros(2, 2), "features.0.weight": torch.zeros(2)}, path)
    with pytest.raises(WeightsMismatch, match="state_dict for MobileNetV2"):
        build(path)


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(WeightsNotFound, match=f"There is no weights file at {path}: set network.weights"):
            build(path)


def without_one(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    del weights["features.0.0.weight"]
    return weights


def with_another_shape(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return weights | {"features.0.0.weight": torch.zeros(32, 1, 3, 3)}


@pytest.mark.parametrize("change", [without_one, with_another_shape, lambda _: {"x": torch.zeros(1)}])
def test_weights_of_another_network(tmp_path: Path, change: Any) -> None:
    path = backbone_file(tmp_path / "other.safetensors", change)
    with pytest.raises(WeightsMismatch) as caught:
        build(path)
    assert str(caught.value).startswith(f"{path} does not hold weights of mobilenet_v2 (")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"this is no safetensors file", b"PK\x03\x04" + bytes(1000)])
def test_weights_in_another_format(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsMismatch, match="does not hold weights of mobilenet_v2"):
        build(path)


def network_of(block: nn.Module) -> Classifier:
    return Classifier(Parts([block], AveragePool(), 8), nn.Sequential(nn.Linear(8, 3)), SPEC)


def test_a_layer_may_have_others_inside() -> None:
    """Attention has weights beside its output layer."""
    network = network_of(nn.MultiheadAttention(8, 2))
    set_trainable(network, 2)
    assert trainable(network) == {name for name, _ in network.named_parameters()}
    set_trainable(network, 1)
    assert {name for name in trainable(network) if name.startswith("blocks")} == {
        "blocks.0.out_proj.weight",
        "blocks.0.out_proj.bias",
    }


def test_a_frozen_norm_that_holds_an_activation_keeps_its_statistics() -> None:
    layers = pytest.importorskip("timm.layers", reason="timm is an optional extra")
    network = network_of(nn.Sequential(layers.BatchNormAct2d(3), nn.Conv2d(3, 8, 1)))
    set_trainable(network, 1)
    train_mode(network)
    before = copy_of(network)
    network(torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8))
    assert not changed(before, network)
    set_trainable(network, "all")
    train_mode(network)
    network(torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8))
    assert "blocks.0.0.running_mean" in changed(before, network)
