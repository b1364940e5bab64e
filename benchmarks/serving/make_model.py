"""Make the model that services are commonly compared with: MobileNetV2 at 160 px, ten classes, fp32 and int8.

    .venv/bin/python benchmarks/serving/make_model.py --models-dir build/bench/models

Its speed is that of any such network; its answers are worth nothing. The backbone's weights are random, but its norms
have seen images, so that activations have the sizes of a trained network's; the head learns for a moment to tell ten
colours apart. It takes the project's own path through trainer and export, with a gate for accuracy that lets all pass.
Prints the bundle's folder; takes a minute or two of a processor.
"""

from __future__ import annotations

import argparse
import colorsys
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision.models import mobilenet_v2

from export.export import Plan, export_run
from trainer.recipe_file import load_recipe
from trainer.train import train

NAME = "mobilenet-v2-160"
SIZE_PX = 160
CLASSES = 10
COUNTS = {"train": 6, "val": 3, "test": 3}  # images per class
LEARNT_FROM = 32  # images that the norms see


def write_images(root: Path) -> None:
    """Write ten classes of noisy pictures of one colour each."""
    chance = np.random.default_rng(0)
    for split, count in COUNTS.items():
        for label in range(CLASSES):
            folder = root / split / f"class_{label}"
            folder.mkdir(parents=True)
            colour = np.array(colorsys.hsv_to_rgb(label / CLASSES, 0.8, 0.8)) * 255
            for number in range(count):
                pixels = (colour + chance.normal(0, 30, (64, 64, 3))).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")


def write_weights(path: Path) -> None:
    """Write random weights of the backbone, with norms that have seen images."""
    torch.manual_seed(0)
    backbone = mobilenet_v2()
    for layer in backbone.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the statistics of what was seen, whole
    colours = torch.rand(LEARNT_FROM, 3, 1, 1) * 4 - 2
    with torch.no_grad():
        backbone.train()(colours + torch.randn(LEARNT_FROM, 3, SIZE_PX, SIZE_PX) * 0.7)
    save_file(backbone.state_dict(), path)


def recipe_text(data: Path, weights: Path) -> str:
    """Return a recipe that trains the head alone."""
    return f"""
name = "{NAME}"

[data]
path = "{data}"
description = "ten colours, made for a benchmark"

[preprocess]
size_px = {SIZE_PX}

[network]
weights = "{weights}"

[[phase]]
name = "head"
unfreeze = "head"
epochs = 20
batch_size = 20
optim = {{ lr = 1e-2 }}
"""


def main() -> None:
    """Make it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models-dir", type=Path, default=Path("build/bench/models"))
    models_dir = parser.parse_args().models_dir
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        write_images(scratch / "data")
        write_weights(scratch / "weights.safetensors")
        recipe = scratch / "recipe.toml"
        recipe.write_text(recipe_text(scratch / "data", scratch / "weights.safetensors"))
        train(load_recipe(recipe), scratch / "run")
        models_dir.mkdir(parents=True, exist_ok=True)
        bundle = export_run(scratch / "run", models_dir, plan=Plan(int8=True, max_loss_points=100))
    sys.stdout.write(f"{bundle}\n")


if __name__ == "__main__":
    main()
