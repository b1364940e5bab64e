from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.exchange import Exchange
from service.logs import AccessLog, JsonFormatter, LogFormat
from tests.service.bundles import png
from tests.service.running import ROOT, service_at


def lines(models_dir: Path, capsys: pytest.CaptureFixture[str], log_format: LogFormat) -> list[str]:
    """Return what is written of four requests, of which one is a probe that succeeds."""

    async def scenario() -> None:
        async with service_at(models_dir, log_format=log_format) as client:
            await client.post("/predict", content=png("red"), headers={"x-request-id": "first"})
            await client.get("/healthz")
            await client.get("/nothing%0Ahere")
            await client.get("/readyz")

    asyncio.run(scenario())
    return capsys.readouterr().err.splitlines()


def test_a_line_of_json_says_what_happened(models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (json.loads(line) for line in lines(models_dir, capsys, "json"))
    assert first.pop("time").endswith("Z")
    assert all(first.pop(f"{stage}_ms") >= 0 for stage in ("took", "decode", "queue", "inference"))
    assert first == {
        "level": "info", "logger": "service.access", "message": "request", "request_id": "first", "method": "POST",
        "path": "/predict", "status": 200, "code": "ok", "body_bytes": len(png("red")), "model": "colours",
        "version": "1", "images": 1,
    }  # fmt: skip
    assert (second["path"], second["status"], second["code"]) == ("/nothing\nhere", 404, "unknown_path")


def test_a_line_for_people_is_one_line(models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = lines(models_dir, capsys, "console")
    assert "POST /predict 200 ok colours/1 images=1" in first
    assert first.endswith("first")
    assert r"GET /nothing\nhere 404 unknown_path" in second


def test_lines_are_written_together(capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> list[int]:
        log = AccessLog("console")
        counts = []
        for number in range(3):
            log.add(Exchange(str(number), "GET", "/"))
            counts.append(len(capsys.readouterr().err))
        await asyncio.sleep(0.3)
        counts.append(capsys.readouterr().err.count("\n"))
        return counts

    assert asyncio.run(scenario()) == [0, 0, 0, 3]


def test_messages_become_json_with_what_stands_beside_them() -> None:
    formatter = JsonFormatter()
    try:
        raise ValueError("a reason")
    except ValueError:
        record = logging.LogRecord("service.x", logging.ERROR, __file__, 1, "failed %d", (3,), sys.exc_info())
    record.model = "colours"
    line: dict[str, Any] = json.loads(formatter.format(record))
    assert (line["level"], line["logger"], line["message"]) == ("error", "service.x", "failed 3")
    assert line["model"] == "colours"
    assert "ValueError: a reason" in line["exception"]
    assert "\n" not in formatter.format(record)


@pytest.mark.e2e
def test_what_the_libraries_say_has_the_chosen_format() -> None:
    say = "logging.getLogger('opentelemetry.exporter').warning('retrying'); logging.getLogger('asyncio').error('lost')"
    configure = "logging.config.dictConfig(log_config('json', 'info'))"
    code = f"import logging.config; from service.logs import log_config; {configure}; {say}"
    # In a process of its own: what is configured here holds for the rest of a process.
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    said = [json.loads(line) for line in answer.stderr.splitlines()]
    assert [(line["level"], line["message"]) for line in said] == [("warning", "retrying"), ("error", "lost")]
