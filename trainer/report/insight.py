"""What the network sees: the maps of a layer before and after training, and where the evidence for a class lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import torch

from trainer.evaluation import Evaluated
from trainer.metrics import probabilities_of
from trainer.network import Classifier
from trainer.report.activations import choose_layer, explaining_layer, feature_maps, grad_cam, layers_with_maps
from trainer.report.charts import to_png
from trainer.report.images import as_pixels, load_pixels
from trainer.report.material import Absent, Material
from trainer.report.mosaic import Pixels, draw_rows
from trainer.report.page import Notice, Picture, Section, Text

MAPPED_IMAGES = 3
CHANNELS = 8
EXPLAINED_RIGHT, EXPLAINED_WRONG = 4, 4


@dataclass(frozen=True)
class Chosen:
    """Test images that the pictures are made of."""

    images: torch.Tensor  # uint8 [N, H, W, 3]
    labels: list[int]
    predicted: list[int]
    confidence: list[float]


def insight_section(material: Material, evaluated: Evaluated, layer: str | None) -> Section:
    """Show feature maps and Grad-CAM on test images. Raises `UnknownLayer`."""
    if isinstance(material.dataset, Absent):
        return Section("Inside", [Notice(f"Feature maps and heat maps cannot be shown. {material.dataset.reason}")])
    chosen = _choose(material, evaluated)
    layers = layers_with_maps(material.network, chosen.images)
    named = choose_layer(layers, layer)
    explaining = explaining_layer(material.network, list(layers), chosen.images)
    if named is None or explaining is None:
        return Section("Inside", [Notice("No layer of this backbone has feature maps that a picture could show.")])
    choice = f"Layers with maps, for `linnet report --layer`: {', '.join(layers)}."
    return Section(
        "Inside",
        [
            *_before_and_after(material, named, chosen.images[:MAPPED_IMAGES]),
            _explained(material, explaining, chosen),
            Text(choice),
        ],
    )


def _choose(material: Material, evaluated: Evaluated) -> Chosen:
    """Choose right answers, of as many classes as there are, and then the most confident mistakes."""
    predictions = evaluated.predictions["test"]
    probabilities = probabilities_of(predictions)
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    is_right = predicted == predictions.labels
    by_class = [np.flatnonzero(is_right & (predictions.labels == label)) for label in range(probabilities.shape[1])]
    turns = (members[turn : turn + 1] for turn in range(EXPLAINED_RIGHT) for members in by_class)
    right = [int(member) for members in turns for member in members][:EXPLAINED_RIGHT]
    wrong = np.flatnonzero(~is_right)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:EXPLAINED_WRONG].tolist()
    indices = [*right, *worst]
    assert not isinstance(material.dataset, Absent)  # asked before
    return Chosen(
        load_pixels(material.dataset.test, indices, material.record.preprocess),
        predictions.labels[indices].tolist(),
        predicted[indices].tolist(),
        confidence[indices].tolist(),
    )


def _before_and_after(material: Material, layer: str, images: torch.Tensor) -> list[Picture | Notice]:
    """Show the liveliest channels of a layer, before the training and after it, on one scale for each channel."""
    before = material.untrained_network()
    after_maps = feature_maps(material.network, layer, images)
    pairs: list[tuple[str, torch.Tensor]] = [("after", after_maps)]
    blocks: list[Picture | Notice] = []
    said = "before (above) and after (below) the training"
    if isinstance(before, Absent):
        blocks.append(Notice(before.reason))
        said = "after the training"
    else:
        pairs.insert(0, ("before", feature_maps(before, layer, images)))
        if torch.equal(pairs[0][1], after_maps):
            said += "; they are the same, since nothing up to this layer was trained"
    channels = _liveliest(after_maps)
    rows, names = _map_rows(images, pairs, channels)
    caption = (
        f"Feature maps of {layer}, {said}: the {len(channels)} of its {after_maps.shape[1]} channels that vary most "
        f"over the picture, {after_maps.shape[2]} x {after_maps.shape[3]} places, each channel on one scale."
    )
    figure = draw_rows(rows, names, ["input", *(f"channel {channel}" for channel in channels)])
    return [*blocks, Picture("feature-maps", to_png(figure), caption)]


def _liveliest(maps: torch.Tensor) -> list[int]:
    """Return the channels of maps [N, C, h, w] that vary most, borders aside: there padding alone makes a line."""
    inner = maps[..., 1:-1, 1:-1] if maps.shape[2] > 4 else maps
    return [int(channel) for channel in inner.std((2, 3)).mean(0).argsort(descending=True)[:CHANNELS]]


def _map_rows(
    images: torch.Tensor, pairs: Sequence[tuple[str, torch.Tensor]], channels: Sequence[int]
) -> tuple[list[list[Pixels]], list[str]]:
    chosen = torch.stack([maps[:, channels] for _, maps in pairs])  # [before and after, N, C, h, w]
    low = chosen.amin((0, 1, 3, 4), keepdim=True)
    span = (chosen.amax((0, 1, 3, 4), keepdim=True) - low).clamp_min(torch.finfo(chosen.dtype).tiny)
    scaled = (chosen - low) / span
    side = images.shape[1]
    rows, names = [], []
    for number, picture in enumerate(as_pixels(images)):
        for (when, _), maps in zip(pairs, scaled, strict=True):
            enlarged = torch.nn.functional.interpolate(maps[number][:, None], size=(side, side), mode="nearest")
            rows.append([picture, *(_coloured(one[0].numpy(), "viridis") for one in enlarged)])
            names.append(when)
    return rows, names


def _explained(material: Material, layer: str, chosen: Chosen) -> Picture:
    network, classes, pictures = material.network, material.record.classes, as_pixels(chosen.images)

    def heat(targets: Sequence[int]) -> list[Pixels]:
        return _overlays(network, layer, chosen.images, targets)

    columns = [
        f"{classes[label]}\n{'right' if called == label else 'called ' + classes[called]}\n{sure:.2f}"
        for label, called, sure in zip(chosen.labels, chosen.predicted, chosen.confidence, strict=True)
    ]
    rows = [pictures, heat(chosen.predicted), heat(chosen.labels)]
    figure = draw_rows(rows, ["input", "for the\nprediction", "for the\nlabel"], columns)
    caption = (
        f"Grad-CAM at {layer} (Selvaraju et al. 2017) on test images, right answers first and then the most confident "
        "mistakes: warm places speak for the class, scaled to each picture's largest value."
    )
    return Picture("grad-cam", to_png(figure), caption)


def _overlays(network: Classifier, layer: str, images: torch.Tensor, targets: Sequence[int]) -> list[Pixels]:
    heats = grad_cam(network, layer, images, targets).numpy()
    return [
        (0.5 * picture + 0.5 * _coloured(heat, "inferno")).astype(np.uint8)
        for picture, heat in zip(as_pixels(images), heats, strict=True)
    ]


def _coloured(values: npt.NDArray[np.float32], palette: str) -> Pixels:
    """Return values [h, w] in 0..1 as colours uint8 [h, w, 3]."""
    colours: Pixels = (mpl.colormaps[palette](values)[..., :3] * 255).astype(np.uint8)
    return colours
