"""Train a head with and without cached features, side by side: the same phase, the same images, the same seed.

    .venv/bin/python benchmarks/cached_features.py data/cifar10 --weights weights/mobilenet_v2-imagenet.safetensors

Seconds are those of the phase: the features are computed within them, the images decoded before. Both ways validate
after every epoch. Prints one JSON object; exits with 1 where the cache is less than five times as fast or the
accuracies differ by more than 0.2 points.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch

from trainer.checkpoint import Checkpoint
from trainer.data import find_dataset
from trainer.images import decode, labels_of
from trainer.inputs import Split, Surroundings
from trainer.learner import Learner
from trainer.memory import keep_freed_blocks
from trainer.network import build_classifier
from trainer.phase import Watch, run_phase
from trainer.progress import Reporter
from trainer.provenance import device_name, library_versions
from trainer.recipe import Data, Phase, Recipe
from trainer.recipe_file import architecture_named

LEAST_SPEED_UP = 5.0
LARGEST_DIFFERENCE = 0.002


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    """Return a recipe of one head phase."""
    architecture = architecture_named(arguments.backbone)
    phase = {"name": "head", "unfreeze": "head", "epochs": arguments.epochs, "batch_size": 256, "optim": {"lr": 3e-3}}
    return Recipe.model_validate(
        {
            "name": "cached-features",
            "data": Data(path=arguments.data, fraction=arguments.fraction),
            "preprocess": {"size_px": arguments.size_px, "mean": architecture.mean, "std": architecture.std},
            "network": {"backbone": arguments.backbone, "weights": arguments.weights},
            "phase": [phase],
        }
    )


def run(recipe: Recipe, phase: Phase, splits: tuple[Split, Split], reporter: Reporter) -> tuple[float, float, str]:
    """Carry out the phase; return its seconds, the best validation accuracy and the device."""
    torch.manual_seed(recipe.seed)
    network = build_classifier(recipe.network, int(splits[0].labels.max()) + 1, recipe.preprocess)
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    state = Checkpoint(recipe={}, data="")
    started = time.perf_counter()
    learner = Learner(network, phase, *splits, Surroundings(recipe.compute))
    run_phase(learner, phase, recipe.seed, state, Watch(lambda _: None, reporter))
    return time.perf_counter() - started, state.best_accuracy, device_name(network)


def main() -> None:
    """Read the arguments, train twice, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of images, as in a recipe")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--size-px", type=int, default=65)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--fraction", type=float, default=1.0, help="share of the training images")
    arguments = parser.parse_args()
    recipe = recipe_of(arguments)
    keep_freed_blocks()
    with Reporter() as reporter:
        dataset = find_dataset(recipe.data, recipe.seed)
        splits = []
        for examples in (dataset.train, dataset.val):
            reporter.start("decode", len(examples))
            splits.append(Split(decode(examples, recipe.preprocess, reporter.advance), labels_of(examples)))
        train, val = splits
        cached_s, cached_accuracy, device = run(recipe, recipe.phase[0], (train, val), reporter)
        plain = recipe.phase[0].model_copy(update={"cache_features": False})
        plain_s, plain_accuracy, _ = run(recipe, plain, (train, val), reporter)
    speed_up, difference = plain_s / cached_s, abs(cached_accuracy - plain_accuracy)
    holds = speed_up >= LEAST_SPEED_UP and difference <= LARGEST_DIFFERENCE
    result = {
        "backbone": arguments.backbone,
        "size_px": arguments.size_px,
        "epochs": arguments.epochs,
        "images": {"train": len(train.labels), "val": len(val.labels)},
        "seconds": {"cached": round(cached_s, 1), "uncached": round(plain_s, 1)},
        "speed_up": round(speed_up, 2),
        "validation_accuracy": {"cached": cached_accuracy, "uncached": plain_accuracy},
        "holds": holds,
        "device": device,
        "versions": library_versions(),
    }
    print(json.dumps(result))  # noqa: T201
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
