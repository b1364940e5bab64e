"""The service that is started for the page."""

from __future__ import annotations

import os
import sys

import pytest

from demo.process import ServiceStopped, running_service
from linnet_client import Client, Unreachable


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
