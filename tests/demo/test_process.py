"""The service that is started for the page."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from demo.process import ServiceStopped, running_service
from linnet_client import Client, Unreachable
from tests.service.running import ROOT


@pytest.mark.e2e
def test_a_service_runs_as_long_as_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNET_API_KEY", "which the service itself does not know")
    with running_service([sys.executable, "-m", "linnet.cli"]) as url, Client(url, retries=0) as client:
        assert client.predict("examples/cat.jpg").label == "cat"
    with Client(url, retries=0) as client, pytest.raises(Unreachable):
        client.models()
    assert "LINNET_API_KEY" in os.environ


def test_a_service_that_ends_at_once_is_said() -> None:
    with pytest.raises(ServiceStopped, match="ended with 1 before it was ready"), running_service(["/bin/false"]):
        pass


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (
            ("--start", "/nowhere/linnet"),
            1,
            "demo: /nowhere/linnet cannot be started (No such file or directory): check the path.",
        ),
        (("--port", "99999"), 2, "argument --port: 99999 is no port: choose one from 0 to 65535."),
        (("--port", "-1"), 2, "argument --port: -1 is no port: choose one from 0 to 65535."),
    ],
)
def test_a_mistake_is_one_sentence(options: tuple[str, ...], code: int, sentence: str) -> None:
    command = [sys.executable, "-m", "demo", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "client")}
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == code
    assert answer.stderr.splitlines()[-1].endswith(sentence)
    assert "Traceback" not in answer.stderr
