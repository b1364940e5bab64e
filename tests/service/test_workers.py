"""Several workers on one port, as real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.service.bundles import png, write_model
from tests.service.running import ROOT, ServerProcess
from tests.service.test_metrics import by_label, samples

pytestmark = [pytest.mark.e2e, pytest.mark.alone]


@pytest.fixture(scope="module")
def server(models_dir: Path) -> Iterator[ServerProcess]:
    with ServerProcess(models_dir, workers=2) as process:
        yield process
        process.stop()


def workers_of(server: ServerProcess) -> set[int]:
    found = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return {int(pid) for pid in found}


def ask(server: ServerProcess) -> int:
    """Send one image over a connection of its own; 0 where the connection fails."""
    try:
        return httpx.post(f"{server.url}/predict", content=png("red"), timeout=10).status_code
    except httpx.TransportError:
        return 0


def test_both_workers_answer_and_are_counted_together(server: ServerProcess) -> None:
    before = by_label(httpx.get(f"{server.url}/metrics").text, "linnet_requests_total", "route", "code")
    assert [ask(server) for _ in range(40)] == [200] * 40
    text = httpx.get(f"{server.url}/metrics").text
    after = by_label(text, "linnet_requests_total", "route", "code")
    assert after["/predict", "ok"] - before.get(("/predict", "ok"), 0) == 40
    assert samples(text)["linnet_model_served", ("colours", "CPUExecutionProvider", "fp32", "1")] == 1
    resident = samples(text)["process_resident_memory_bytes", ()]
    assert 2 * 30e6 < resident < 2 * 400e6
    assert len(workers_of(server)) == 2
    assert "2 workers" in "".join(server.log)


def test_connections_that_stay_open_are_spread_evenly(server: ServerProcess) -> None:
    def sockets() -> dict[int, int]:
        links = {pid: Path(f"/proc/{pid}/fd").iterdir() for pid in workers_of(server)}
        return {pid: sum(str(link.readlink()).startswith("socket:") for link in found) for pid, found in links.items()}

    time.sleep(0.2)  # connections of the tests before are closed by then
    before = sockets()
    with ExitStack() as stack:
        for _ in range(8):
            client = stack.enter_context(httpx.Client())
            assert client.get(f"{server.url}/healthz").status_code == 200
        assert {pid: count - before[pid] for pid, count in sockets().items()} == dict.fromkeys(before, 4)


def test_a_killed_worker_comes_back_while_the_other_serves(server: ServerProcess) -> None:
    before = workers_of(server)
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    time.sleep(0.2)  # connections that were waiting for the dead worker end with it; new ones reach the other
    assert [ask(server) for _ in range(20)] == [200] * 20
    deadline_s = time.monotonic() + 20
    while not any("serves again" in line for line in server.log):
        assert time.monotonic() < deadline_s, server.log
        time.sleep(0.05)
    assert len(workers_of(server)) == 2
    assert victim not in workers_of(server)
    assert "was killed by SIGKILL" in "".join(server.log)
    assert [ask(server) for _ in range(20)] == [200] * 20


def test_workers_do_not_outlive_their_supervisor(models_dir: Path) -> None:
    with ServerProcess(models_dir, workers=2) as server:
        pids = workers_of(server)
        server.process.kill()
        server.process.wait()
        deadline_s = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            assert time.monotonic() < deadline_s
            time.sleep(0.05)


def test_a_drained_supervisor_exits_with_0(models_dir: Path) -> None:
    with ServerProcess(models_dir, workers=2) as server:
        assert ask(server) == 200
        assert server.stop() == 0
        assert ask(server) == 0
        assert "Traceback" not in "".join(server.log)


def test_workers_that_cannot_start_end_the_service_with_one_sentence(models_dir: Path) -> None:
    environment = {**os.environ, "LINNET_MODELS_DIR": str(models_dir), "LINNET_PORT": "0"}
    environment["LINNET_API_KEYS_FILE"] = str(models_dir / "nowhere")
    command = [sys.executable, "-m", "linnet.cli", "serve", "--workers", "2"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 1
    assert "LINNET_API_KEYS_FILE cannot be used" in result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith("linnet: A worker could not start")
    assert "Traceback" not in result.stderr


def test_what_a_library_prints_is_not_taken_for_what_is_served() -> None:
    code = "import os; from service.worker import own_stdout; say = own_stdout(); os.write(1, b'noise'); say('models')"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("models\n", "noise")


def replace_a_worker(server: ServerProcess) -> None:
    """Kill one and wait for the one that takes its place."""
    os.kill(min(workers_of(server)), signal.SIGKILL)
    deadline_s = time.monotonic() + 20
    while not any("serves again" in line for line in server.log):
        assert time.monotonic() < deadline_s, server.log
        time.sleep(0.05)


def test_a_worker_that_comes_later_serves_what_the_others_do(tmp_path: Path) -> None:
    write_model(tmp_path / "models")
    admin = {"x-api-key": "admin"}
    with ServerProcess(tmp_path / "models", workers=2, admin_keys="admin") as server:

        def versions() -> list[list[str]]:
            return [httpx.get(f"{server.url}/v2/models/colours").json()["versions"] for _ in range(8)]

        write_model(tmp_path / "models", version=2)
        write_model(tmp_path / "models", "more")
        replace_a_worker(server)
        assert versions() == [["1"]] * 8
        assert "Not served, for the other workers do not: colours 2, more 1" in "".join(server.log)
        assert httpx.post(f"{server.url}/v2/repository/models/colours/load", headers=admin).status_code == 200
        assert versions() == [["1", "2"]] * 8


def test_an_unloaded_model_that_polling_loads_again_is_served_by_workers_that_come_later(tmp_path: Path) -> None:
    write_model(tmp_path / "models")
    admin = {"x-api-key": "admin"}
    with ServerProcess(tmp_path / "models", workers=2, admin_keys="admin", poll_s=0.2) as server:
        url = f"{server.url}/v2/repository/models/colours/unload"
        assert httpx.post(url, headers=admin, timeout=20).status_code == 200
        write_model(tmp_path / "models", version=2)
        deadline_s = time.monotonic() + 20
        while [ask(server) for _ in range(4)] != [200] * 4:
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        replace_a_worker(server)
        assert [ask(server) for _ in range(20)] == [200] * 20


def test_a_change_reaches_every_worker_and_those_that_come_later(models_dir: Path) -> None:
    admin = {"x-api-key": "admin"}
    with ServerProcess(models_dir, workers=2, admin_keys="admin") as server:

        def change(verb: str) -> int:
            url = f"{server.url}/v2/repository/models/colours/{verb}"
            return httpx.post(url, headers=admin, timeout=20).status_code

        assert change("unload") == 200
        assert [ask(server) for _ in range(20)] == [404] * 20
        replace_a_worker(server)
        assert [ask(server) for _ in range(20)] == [404] * 20
        assert change("load") == 200
        assert [ask(server) for _ in range(20)] == [200] * 20
        assert change("unloads") == 404
        assert server.stop() == 0
