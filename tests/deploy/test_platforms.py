"""Platforms that run a line or an image of ours: Heroku and its likes, Render."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from service.app import create_app
from service.settings import Settings, variables
from tests.deploy.files import DEPLOY, ROOT, free_port, read_yaml

PROCFILE = (ROOT / "Procfile").read_text(encoding="utf-8")


@pytest.mark.e2e
def test_the_line_of_the_procfile_serves() -> None:
    kind, _, line = PROCFILE.strip().partition(": ")
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LINNET_")}
    environment |= {"PORT": str(port), "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"}
    # The platform's shell hands its place to the program, so that SIGTERM gets there.
    process = subprocess.Popen(["sh", "-c", f"exec {line}"], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    try:
        assert kind == "web"
        assert _becomes_ready(f"http://127.0.0.1:{port}/readyz")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


def _becomes_ready(url: str) -> bool:
    for _ in range(200):
        try:
            if httpx.get(url).is_success:
                return True
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    return False


def test_the_requirements_are_those_of_the_service() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["-r requirements/serve.lock"]


def test_the_blueprint_of_render_agrees_with_the_service() -> None:
    (web,) = read_yaml(DEPLOY / "render" / "render.yaml")["services"]
    values = {variable["key"]: variable["value"] for variable in web["envVars"]}
    assert values["PORT"] == values["LINNET_PORT"]
    assert {name for name in values if name.startswith("LINNET_")} <= set(variables())
    assert (ROOT / web["dockerfilePath"]).is_file()
    assert web["healthCheckPath"] in create_app(Settings()).openapi()["paths"]
