"""The readme is run: its commands as they stand, its answer against the service, its numbers against the bundle."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from PIL import Image

from linnet.bundle import bundle_directories, read_manifest
from tests.service.running import ROOT, ServerProcess

README = (ROOT / "README.md").read_text(encoding="utf-8")
RECORD = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")

# What makes the readme's training small enough for a test; the commands themselves stay as they are.
SMALL = [
    "network.weights=none",
    "preprocess.size_px=33",
    "phase.head.epochs=1",
    "phase.finetune.epochs=1",
    "phase.finetune.unfreeze=2 blocks",
]


def shell_lines(heading: str) -> list[str]:
    """Return the commands of the shell blocks under a heading."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", section, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def test_every_make_target_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"\bmake ([a-z-]+)", README))
    assert {"serve", "test", "install"} <= named
    missing = [target for target in named if not re.search(rf"^{target}:", makefile, flags=re.MULTILINE)]
    assert missing == []
    assert re.search(r"^serve:.*\n\t\.venv-serve/bin/linnet serve", makefile, flags=re.MULTILINE)


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_stated_accuracy_is_that_of_the_bundles() -> None:
    directories = bundle_directories(ROOT / "models")
    assert directories
    for directory in directories:
        first, *others = [variant.metrics for variant in read_manifest(directory).variants]
        assert f"{first.correct:,} of {first.n:,}" in README
        for metrics in (first, *others):
            assert f"{metrics.accuracy:.2%}".replace("%", " %") in README
            assert f"{metrics.accuracy:.4f} ({metrics.correct:,} of {metrics.n:,})" in RECORD


def test_every_recipe_is_in_the_record() -> None:
    recipes = [path.name for path in (ROOT / "recipes").glob("*.toml")]
    assert recipes
    assert [name for name in recipes if f"]({name})" not in RECORD] == []


@pytest.mark.e2e
def test_curl_gets_the_answer_that_is_shown() -> None:
    (command,) = (line for line in shell_lines("Serve the bundled model") if line.startswith("curl"))
    shown = json.loads(re.findall(r"```json\n(.*?)```", README, flags=re.DOTALL)[0])
    with ServerProcess(ROOT / "models") as server:
        words = shlex.split(command.replace("localhost:8000", server.url))
        answer = json.loads(subprocess.run([*words, "--silent"], cwd=ROOT, capture_output=True, check=True).stdout)
    assert answer["model"] == shown["model"]
    assert answer["predictions"][0]["label"] == shown["predictions"][0]["label"] == "cat"
    assert answer["predictions"][0]["confidence"] == pytest.approx(shown["predictions"][0]["confidence"], abs=0.01)
    assert answer.keys() == shown.keys()


@pytest.mark.e2e
def test_own_photos_in_three_commands(tmp_path: Path) -> None:
    train, export, serve = (line for line in shell_lines("Your own photos") if line.startswith("linnet "))
    make_photos(tmp_path / "photos")
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    overrides = " ".join(f"--set {shlex.quote(override)}" for override in SMALL)
    run(f"{train} {overrides}", tmp_path)
    assert run(export, tmp_path) == "models/pets/1"
    words = shlex.split(serve)
    assert words[:2] == ["linnet", "serve"]
    with ServerProcess(tmp_path / "models", model=words[words.index("--model") + 1]) as server:
        photo = next((tmp_path / "photos" / "cat").iterdir()).read_bytes()
        answer = httpx.post(f"{server.url}/predict", files={"file": photo})
    assert answer.json()["model"] == "pets"
    assert answer.json()["predictions"][0]["label"] in ("cat", "dog")


def make_photos(folder: Path) -> None:
    """Write two classes of plain pictures."""
    for name, hue in (("cat", (200, 120, 40)), ("dog", (40, 60, 200))):
        (folder / name).mkdir(parents=True)
        for number in range(24):
            Image.new("RGB", (48, 40), tuple(channel + number for channel in hue)).save(folder / name / f"{number}.jpg")


def run(command: str, folder: Path) -> str:
    """Run a `linnet` command line in a folder and return what it printed."""
    _, *words = shlex.split(command)
    done = subprocess.run(
        [sys.executable, "-m", "linnet.cli", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
