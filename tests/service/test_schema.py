"""The live OpenAPI document holds for whatever a generator of requests can think of."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.service.running import ServerProcess

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

KEYS = {"api_keys": "user", "admin_keys": "admin"}


@pytest.fixture(scope="module", params=["without keys", "with keys"])
def server(request: pytest.FixtureRequest, models_dir: Path) -> Iterator[tuple[ServerProcess, list[str]]]:
    with_keys = request.param == "with keys"
    with ServerProcess(models_dir, **(KEYS if with_keys else {})) as process:
        yield process, ["-H", "X-API-Key: admin"] if with_keys else []


def test_generated_requests_find_nothing(server: tuple[ServerProcess, list[str]], tmp_path: Path) -> None:
    """All checks but `positive_data_acceptance`: random bytes fit the schema of an upload and are no image.

    A generated deadline may be a millisecond, after which 504 is the right answer.
    """
    process, headers = server
    (tmp_path / "schemathesis.toml").write_text(
        '[checks.not_a_server_error]\nexpected-statuses = ["2xx", "3xx", "4xx", "504"]\n'
    )
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{process.url}/openapi.json", *headers]
    command += [
        "--checks",
        "all",
        "--exclude-checks",
        "positive_data_acceptance",
        "--max-examples",
        "12",
        "--seed",
        "1",
    ]
    command += ["--suppress-health-check", "all", "--no-color"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280)
    assert result.returncode == 0, result.stdout[-8000:]
    assert "Traceback" not in "".join(process.log)
    assert httpx.get(f"{process.url}/healthz").status_code == 200
