"""The whole path in about a minute, on images made here: train a small recipe, export it, classify new images.

Run by `make demo-train`. Everything is written to build/demo, which is made anew each time.
"""

from __future__ import annotations

import random
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image, ImageDraw

FOLDER = Path("build/demo")
RECIPE = Path("recipes/demo.toml")
SHAPES = ("circle", "square", "triangle")
COUNTS = {"train": 120, "test": 20}
SIDE_PX = 64


def main() -> None:
    """Make the images, then run the three verbs as a user would."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    for split, count in COUNTS.items():
        for shape in SHAPES:
            folder = FOLDER / "data" / split / shape
            folder.mkdir(parents=True)
            for number in range(count):
                draw_shape(shape, random.Random(f"{split}/{shape}/{number}")).save(folder / f"{number:03d}.png")
    run_linnet("train", str(RECIPE), "--run", str(FOLDER / "run"))
    run_linnet("export", str(FOLDER / "run"), "--models-dir", str(FOLDER / "models"))
    fresh = FOLDER / "new"
    fresh.mkdir()
    for shape in SHAPES:
        draw_shape(shape, random.Random(f"new/{shape}")).save(fresh / f"{shape}.png")
    run_linnet("predict", str(fresh), "--models-dir", str(FOLDER / "models"), "--top-k", "1")


def draw_shape(shape: str, chance: random.Random) -> Image.Image:
    """Draw a filled shape of random size, place and colours."""

    def colour(low: int, high: int) -> tuple[int, int, int]:
        return chance.randint(low, high), chance.randint(low, high), chance.randint(low, high)

    image = Image.new("RGB", (SIDE_PX, SIDE_PX), colour(0, 90))
    side = chance.randint(24, 44)
    left, top = chance.randint(4, SIDE_PX - side - 4), chance.randint(4, SIDE_PX - side - 4)
    box = (left, top, left + side, top + side)
    brush = ImageDraw.Draw(image)
    if shape == "circle":
        brush.ellipse(box, fill=colour(140, 255))
    elif shape == "square":
        brush.rectangle(box, fill=colour(140, 255))
    else:
        corners = [(left + side // 2, top), (left, top + side), (left + side, top + side)]
        brush.polygon(corners, fill=colour(140, 255))
    return image


def run_linnet(*arguments: str) -> None:
    """Run a verb of the command line in a process of its own, and say which."""
    print(f"\n$ linnet {shlex.join(arguments)}", flush=True)  # noqa: T201
    code = subprocess.run([sys.executable, "-m", "linnet.cli", *arguments], check=False).returncode
    if code != 0:
        sys.exit(code)


if __name__ == "__main__":
    main()
