"""Read a bundle's network back into PyTorch, for a training that goes on from what is served.

The fp32 graph has every BatchNorm folded into the convolution before it. Its statistics are taken anew from training
images, and its scale and shift set so that the network answers as the graph does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from pydantic import ValidationError
from safetensors.torch import save
from torch import nn

from export.errors import CannotRecover, WouldOverwrite
from export.gates import check_parity
from export.graph import ROOT
from export.material import sample_training_images
from export.measure import run_in_batches
from linnet.bundle import first_problem, read_manifest, verify_files
from linnet.choice import open_bundle
from linnet.cpu import usable_cpus
from linnet.manifest import Manifest
from linnet.session import Placement
from trainer.data import find_dataset
from trainer.disk import replace_file
from trainer.evaluate import in_batches
from trainer.images import decode
from trainer.network import Classifier, build_classifier
from trainer.recipe import Recipe

STATISTICS_IMAGES, STATISTICS_BATCH = 512, 64

Arrays = dict[str, npt.NDArray[np.float32]]


def recover_weights(directory: Path, file: Path, data: Path | None = None) -> None:
    """Write the weights of a bundle's fp32 network to a safetensors file that `network.weights` of a recipe can name.

    The images are the training split of the bundle's own recipe, or of `data`. The recovered network must pass the
    parity gate on them. Raises `CannotRecover`, `ParityFailed`, `WouldOverwrite`, a `BundleError` or a `DataError`.
    """
    if file.exists():
        raise WouldOverwrite(file)
    manifest = read_manifest(directory)
    verify_files(directory, manifest)
    recipe = _recipe_of(manifest)
    described = recipe.data if data is None else recipe.data.model_copy(update={"path": data})
    sample = sample_training_images(find_dataset(described, recipe.seed), recipe.seed)
    images = decode(sample[:STATISTICS_IMAGES], manifest.preprocess)
    network = build_classifier(recipe.network, len(manifest.classes), manifest.preprocess, pretrained=False).eval()
    opened = open_bundle(directory, manifest, Placement("cpu", usable_cpus()), wanted="fp32")
    restore(network, onnx.load(directory / opened.variant.file).graph, images)
    answers = run_in_batches(opened.network, images)
    check_parity(network, opened.variant.calibration, opened.network, images, answers)
    file.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    replace_file(file, save(weights), "free some, or name another --out")


def _recipe_of(manifest: Manifest) -> Recipe:
    try:
        return Recipe.model_validate(manifest.provenance.recipe)
    except ValidationError as error:
        raise CannotRecover(f"its recipe is not one of this version: {first_problem(error)}") from error


def restore(network: Classifier, graph: onnx.GraphProto, images: torch.Tensor) -> None:
    """Give the network, which is in evaluation mode, the weights of its graph.

    BatchNorm takes its statistics from images uint8 [N, H, W, 3]. Raises `CannotRecover`.
    """
    constants = {item.name.removeprefix(ROOT): numpy_helper.to_array(item) for item in graph.initializer}
    folds = _find_folds(network, constants)
    _fill(network, constants, folds, _biases(graph, constants))
    _unfold(network, folds, images)


@dataclass(frozen=True)
class _Fold:
    """A convolution and the BatchNorm that was folded into it, with their names."""

    convolution: nn.Conv2d
    norm: nn.BatchNorm2d
    names: tuple[str, str]


def _find_folds(network: Classifier, constants: Arrays) -> list[_Fold]:
    """Pair each BatchNorm of which the graph knows nothing with the convolution before it."""
    layers = [item for item in network.named_modules() if isinstance(item[1], (nn.Conv2d, nn.BatchNorm2d))]
    return [
        _Fold(convolution, norm, (before, name))
        for (before, convolution), (name, norm) in pairwise(layers)
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and f"{name}.weight" not in constants
    ]


def _biases(graph: onnx.GraphProto, constants: Arrays) -> Arrays:
    """Return the bias of each convolution by the name of its weight."""
    inputs = [[name.removeprefix(ROOT) for name in node.input] for node in graph.node if node.op_type == "Conv"]
    return {weight: constants[bias[0]] for _, weight, *bias in inputs if bias and bias[0] in constants}


def _fill(network: Classifier, constants: Arrays, folds: Sequence[_Fold], biases: Arrays) -> None:
    """Put the graph's constants into the network; a folded BatchNorm only shifts, which is all that is known of it."""
    state = {name: torch.from_numpy(constants[name].copy()) for name in network.state_dict() if name in constants}
    for fold in folds:
        convolution, norm = fold.names
        if f"{convolution}.weight" not in biases:
            continue
        channels = fold.norm.num_features
        state |= {
            f"{norm}.weight": torch.ones(channels),
            f"{norm}.bias": torch.from_numpy(biases[f"{convolution}.weight"].copy()),
            f"{norm}.running_mean": torch.zeros(channels),
            f"{norm}.running_var": torch.full((channels,), 1 - fold.norm.eps),
        }
        if fold.convolution.bias is not None:
            state[f"{convolution}.bias"] = torch.zeros(channels)
    for name, layer in network.named_modules():  # the counter of one that was not folded answers nothing
        if isinstance(layer, nn.BatchNorm2d):
            state.setdefault(f"{name}.num_batches_tracked", torch.tensor(0))
    missing = sorted(set(network.state_dict()) - set(state))
    if missing:
        raise CannotRecover(f"its graph has not kept {missing[0]}")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise CannotRecover(str(error).splitlines()[-1].strip()) from error


@torch.no_grad()
def _unfold(network: Classifier, folds: Sequence[_Fold], images: torch.Tensor) -> None:
    """Give every folded BatchNorm the statistics of its input on the images, and leave what it makes of it as it is.

    The channels of its convolution are scaled to a variance of 1, so that one rate of learning suits them all: some of
    those that were folded are a thousand times as large as others.
    """
    moments = {fold.norm: _Moments() for fold in folds}
    hooks = [norm.register_forward_pre_hook(of_norm.add) for norm, of_norm in moments.items()]
    for batch in in_batches(images, STATISTICS_BATCH):
        network(batch)
    for hook in hooks:
        hook.remove()
    for fold in folds:
        norm, (mean, variance) = fold.norm, moments[fold.norm].of_channels()
        assert norm.running_mean is not None and norm.running_var is not None  # `_fill` has set them
        size = torch.where(variance > norm.eps, variance.sqrt(), 1.0)  # a channel that never changes stays as it is
        fold.convolution.weight /= size[:, None, None, None]
        norm.running_mean.copy_(mean / size)
        norm.running_var.copy_(variance / size.square())
        norm.bias.add_(mean)
        norm.weight.copy_(size * torch.sqrt(norm.running_var + norm.eps))


class _Moments:
    """Mean and variance of each channel over all maps that pass."""

    def __init__(self) -> None:
        self._count = 0
        self._total = self._squares = torch.zeros(())

    def add(self, _: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        """Take maps [N, C, h, w]: a hook before a layer."""
        maps, axes = inputs[0].double(), (0, 2, 3)
        self._count += maps[:, 0].numel()
        self._total = self._total + maps.sum(axes)
        self._squares = self._squares + maps.square().sum(axes)

    def of_channels(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and variance, float32 [C]."""
        mean = self._total / self._count
        return mean.float(), (self._squares / self._count - mean.square()).clamp_min(0).float()
