"""The promise: the number in the report is the number that users get. Train, export, serve and ask, as a user does."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
import pytest

from linnet.bundle import read_manifest
from linnet.preprocess import load_image

ROOT = Path(__file__).parents[1]
LINNET = (sys.executable, "-W", "error", "-m", "linnet.cli")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("LINNET_")}


def linnet(*arguments: object) -> str:
    """Run a verb that succeeds; return its stdout."""
    answer = subprocess.run(
        [*LINNET, *map(str, arguments)], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@contextmanager
def serving(models_dir: Path) -> Iterator[str]:
    """Run `linnet serve` on a free port; give its address once it is ready, and expect it to end well."""
    command = [*LINNET, "serve", "--models-dir", str(models_dir), "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            log = []
            for line in process.stderr:
                log.append(line)
                if found := re.search(r"Serving (http://\S+):", line):
                    yield found[1]
                    break
            else:
                pytest.fail("".join(log))
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)
            assert process.returncode == 0
        finally:
            process.kill()


@pytest.mark.e2e
def test_what_was_measured_is_what_is_served(photos: Path, recipe_file: Path, tmp_path: Path) -> None:
    run = linnet("train", recipe_file, "--run", tmp_path / "run").strip()
    assert run == str(tmp_path / "run")
    bundle = Path(linnet("export", run, "--models-dir", tmp_path / "models").strip())
    assert bundle == tmp_path / "models" / "colours" / "1"
    predicted = [json.loads(line) for line in linnet("predict", photos / "test", "--bundle", bundle).splitlines()]
    metrics = json.loads((bundle / "bundle.json").read_text())["variants"][0]["metrics"]

    with serving(tmp_path / "models") as url, httpx.Client(base_url=url) as client:
        (described,) = client.get("/models/colours").raise_for_status().json()["models"]
        served = []
        for row in predicted:
            path = Path(row["filename"])
            body = client.post("/predict", files={"file": (path.name, path.read_bytes())}).raise_for_status().json()
            assert (body["model"], body["version"], body["variant"]) == ("colours", "1", "fp32")
            served.append(body["predictions"][0])

    assert [answer["label"] for answer in served] == [row["label"] for row in predicted]
    for answer, row in zip(served, predicted, strict=True):
        assert answer["confidence"] == pytest.approx(row["confidence"], abs=2e-6)
    correct = sum(
        answer["label"] == Path(row["filename"]).parent.name for answer, row in zip(served, predicted, strict=True)
    )
    assert (correct, len(served)) == (metrics["correct"], metrics["n"]) == (correct, described["metrics"]["n"])
    assert described["metrics"]["accuracy"] == correct / len(served)
    assert 0 < correct < len(served), "neither all nor nothing, so that a wrong count shows"
    assert metrics["n"] == len(list((photos / "test").rglob("*.jpg")))


@pytest.mark.e2e
def test_doubt_and_evidence_are_those_of_the_image_that_was_sent(
    photos: Path, bundle_dir: Path, tmp_path: Path
) -> None:
    """Held against the graph itself, several images to a request, with a threshold that half of them pass."""
    bundle = Path(shutil.copytree(bundle_dir, tmp_path / "models" / "colours" / "1"))
    paths = sorted((photos / "test").rglob("*.jpg"))
    spec = read_manifest(bundle).preprocess
    images = np.stack([load_image(path.read_bytes(), spec) for path in paths])
    session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
    doubts, cam = session.run(["uncertainty", "cam"], {"image": images})
    threshold = float(np.median(doubts))
    document = json.loads((bundle / "bundle.json").read_text())
    document["variants"][0]["abstain"]["threshold"] = threshold
    (bundle / "bundle.json").write_text(json.dumps(document))

    with serving(tmp_path / "models") as url, httpx.Client(base_url=url) as client:
        files = [("file", (path.name, path.read_bytes())) for path in paths]
        served = client.post("/predict", files=files).raise_for_status().json()["predictions"]
        metrics = client.get("/metrics").text
        grids = [
            client.post("/explain", params={"format": "json", "class": label}, files=[file]).raise_for_status().json()
            for file, label in zip(files, ["blue", "green", "red"] * 6, strict=True)
        ]

    clear = np.abs(doubts - threshold) > 1e-4
    said = np.array([answer["uncertain"] for answer in served])
    assert np.array_equal(said[clear], (doubts > threshold)[clear])
    assert 0 < said.sum() < len(said)
    assert re.search(r"^linnet_uncertain_total{.*} (\S+)$", metrics, re.MULTILINE)[1] == f"{said.sum()}.0"  # type: ignore[index]
    assert {answer["method"] for answer in grids} == {"cam"}
    for row, answer in enumerate(grids):
        evidence = cam[row, row % 3].clip(0)
        expected = evidence / evidence.max() if evidence.max() > 0 else evidence
        assert np.allclose(answer["grid"], expected, atol=2e-4)
