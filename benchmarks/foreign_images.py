"""Ask a bundle about images that belong to none of its classes, and count how many it marks as uncertain.

    .venv/bin/python benchmarks/foreign_images.py models/cifar10/4 --known data/cifar10/test --foreign data/ants-bees

Foreign are the files of each folder named, and drawn noise, textures and text (a fixed seed). Prints a JSON object per
variant and kind: the share marked, the area under the ROC curve of the score against the known images, and the share of
foreign images that pass where 95 % of the known ones do. Known images have no AUROC: their share marked is the price.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont

from export.measure import auroc, run_in_batches
from linnet.bundle import read_manifest, verify_files
from linnet.choice import open_bundle
from linnet.cpu import usable_cpus
from linnet.preprocess import IMAGE_SUFFIXES, PreprocessSpec, load_image
from linnet.session import Placement

DRAWN = 1000  # images of each drawn kind
SIDE_PX = 96
WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "lazy",
    "dog",
    "0123456789",
    "invoice",
    "total",
    "date",
    "page",
    "section",
    "figure",
    "table",
]


def drawn_images(chance: np.random.Generator) -> dict[str, Iterator[Image.Image]]:
    """Return endless pictures by kind; none is like anything the exporter chooses its rule on."""
    return {
        "uniform noise": forever(lambda: chance.integers(0, 256, (SIDE_PX, SIDE_PX, 3))),
        "gaussian noise": forever(lambda: chance.normal(128, 50, (SIDE_PX, SIDE_PX, 3))),
        "grey noise": forever(lambda: np.repeat(chance.integers(0, 256, (SIDE_PX, SIDE_PX, 1)), 3, 2)),
        "textures": forever(lambda: texture(chance)),
        "text": forever(lambda: np.asarray(text(chance))),
    }


def forever(draw: object) -> Iterator[Image.Image]:
    """Yield what a function of no arguments draws, as pictures."""
    assert callable(draw)
    while True:
        yield Image.fromarray(np.clip(draw(), 0, 255).astype(np.uint8))


def texture(chance: np.random.Generator) -> npt.NDArray[np.floating]:
    """Return two crossed waves in two colours."""
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX] / SIDE_PX
    waves = [
        np.sin(2 * np.pi * (chance.uniform(1, 14) * x + chance.uniform(1, 14) * y) + chance.uniform(0, 6))
        for _ in range(2)
    ]
    share = ((waves[0] * waves[1] + 1) / 2)[..., None]
    colours = chance.integers(0, 256, (2, 3))
    picture: npt.NDArray[np.floating] = share * colours[0] + (1 - share) * colours[1]
    return picture


def text(chance: np.random.Generator) -> Image.Image:
    """Return lines of words in a dark colour on a light one."""
    picture = Image.new("RGB", (SIDE_PX, SIDE_PX), tuple(int(c) for c in chance.integers(190, 256, 3)))
    pen = ImageDraw.Draw(picture)
    size = int(chance.integers(8, 18))
    ink = tuple(int(c) for c in chance.integers(0, 100, 3))
    for top in range(2, SIDE_PX, size + 2):
        line = " ".join(chance.choice(WORDS) for _ in range(6))
        pen.text((int(chance.integers(-10, 6)), top), line, fill=ink, font=ImageFont.load_default(size))
    return picture


def images_in(folder: Path, spec: PreprocessSpec) -> npt.NDArray[np.uint8]:
    """Read every image below a folder, [N, H, W, 3]."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    return np.stack([load_image(path.read_bytes(), spec) for path in paths])


def as_input(picture: Image.Image, spec: PreprocessSpec) -> npt.NDArray[np.uint8]:
    """Send a drawn picture the way that every image goes."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return load_image(buffer.getvalue(), spec)


def main() -> None:
    """Read the arguments, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--known", type=Path, required=True, help="test split of the classes the bundle knows")
    parser.add_argument("--foreign", type=Path, action="append", default=[], help="folder of other images; repeatable")
    arguments = parser.parse_args()
    manifest = read_manifest(arguments.bundle)
    verify_files(arguments.bundle, manifest)
    spec = manifest.preprocess
    sets = {"known": images_in(arguments.known, spec)}
    sets |= {folder.name: images_in(folder, spec) for folder in arguments.foreign}
    for kind, pictures in drawn_images(np.random.default_rng(7)).items():
        sets[kind] = np.stack([as_input(next(pictures), spec) for _ in range(DRAWN)])
    for variant in manifest.variants:
        opened = open_bundle(arguments.bundle, manifest, Placement("cpu", usable_cpus()), wanted=variant.precision)
        assert variant.abstain is not None, f"{arguments.bundle} has no rule to abstain"
        known = np.empty(0, np.float32)
        for kind, images in sets.items():
            scores = run_in_batches(opened.network, torch.from_numpy(images)).uncertainty
            assert scores is not None
            known = scores if kind == "known" else known
            row: dict[str, object] = {
                "variant": variant.precision,
                "kind": kind,
                "n": len(images),
                "uncertain": round(float((scores > variant.abstain.threshold).mean()), 4),
            }
            if kind != "known":
                row["auroc"] = round(auroc(known, scores), 4)
                row["fpr_at_95"] = round(float((scores <= np.quantile(known, 0.95)).mean()), 4)
            print(json.dumps(row), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
