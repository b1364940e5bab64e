"""The service as a real process, over real connections."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from linnet.errors import PathNotFound
from service.server import serve
from service.settings import Settings
from service.start_errors import CannotListen
from tests.service.bundles import png, write_model
from tests.service.running import ServerProcess

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

MAX_BODY_BYTES = 100_000
SETTINGS = {"max_body_bytes": MAX_BODY_BYTES, "body_timeout_ms": 700, "header_timeout_ms": 700, "max_pending_images": 8}


@pytest.fixture(scope="module")
def server(models_dir: Path) -> Iterator[ServerProcess]:
    with ServerProcess(models_dir, **SETTINGS) as process:
        yield process


def send(server: ServerProcess, head: str, body: bytes = b"", *, path: str = "/predict") -> str:
    """Send bytes as they are and return all that comes back until the server closes."""
    with server.connect() as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode() + body)
        received = b""
        while piece := connection.recv(65_536):
            received += piece
    return received.decode()


def status_of(answer: str) -> int:
    return int(answer.split(" ", 2)[1])


def test_it_announces_what_it_serves(server: ServerProcess) -> None:
    assert f"Serving {server.url}: colours 1 (fp32, CPUExecutionProvider, accuracy 96.50% on 200 test" in server.log[-1]


def padded_multipart(total_bytes: int) -> dict[str, Any]:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.bmp"\r\n\r\n' + png(
        "red", image_format="BMP"
    )
    tail = b"\r\n--b--\r\n"
    content = head + bytes(total_bytes - len(head) - len(tail)) + tail
    return {"content": content, "headers": {"content-type": "multipart/form-data; boundary=b"}}


def padded_raw(total_bytes: int) -> dict[str, Any]:
    image = png("red", image_format="BMP")
    return {"content": image + bytes(total_bytes - len(image)), "headers": {"content-type": "image/bmp"}}


def padded_json(total_bytes: int) -> dict[str, Any]:
    content = b'{"images": ["' + base64.b64encode(png("red")) + b'"]}'
    return {"content": content.ljust(total_bytes), "headers": {"content-type": "application/json"}}


@pytest.mark.parametrize("form", [padded_multipart, padded_raw, padded_json])
@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize(("excess", "status"), [(-1, 200), (0, 200), (1, 413)])
def test_the_limit_on_bytes(server: ServerProcess, form: Any, is_chunked: bool, excess: int, status: int) -> None:
    request = form(MAX_BODY_BYTES + excess)
    if is_chunked:
        content: bytes = request["content"]
        request["content"] = iter([content[:60_000], content[60_000:]])
    response = httpx.post(f"{server.url}/predict", **request)
    assert response.status_code == status, response.text
    if status == 413:
        assert response.json()["code"] == "body_too_large"
    else:
        assert response.json()["predictions"][0]["label"] == "red"


def test_a_body_announced_as_too_large_is_not_waited_for(server: ServerProcess) -> None:
    with server.connect() as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n")
        assert status_of(connection.recv(4096).decode()) == 413


@pytest.mark.parametrize("length", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_a_slow_body_is_given_up(server: ServerProcess, length: str) -> None:
    begin_s = time.monotonic()
    answer = send(server, f"{length}\r\n", b"5\r\nstart")
    assert status_of(answer) == 408
    assert '"code":"slow_body"' in answer
    assert "connection: close" in answer.lower()
    assert 0.5 < time.monotonic() - begin_s < 3


def test_a_body_longer_than_announced_harms_nobody(server: ServerProcess) -> None:
    answer = send(server, "Content-Length: 5\r\nConnection: close\r\n", b"x" * 50)
    assert status_of(answer) == 415
    assert httpx.get(f"{server.url}/readyz").status_code == 200


@pytest.mark.parametrize("head", ["", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: a"])
def test_a_slow_head_is_given_up(server: ServerProcess, head: str) -> None:
    begin_s = time.monotonic()
    with server.connect() as connection:
        connection.sendall(head.encode())
        assert connection.recv(4096) == b""
    assert 0.5 < time.monotonic() - begin_s < 3


def test_the_rest_of_a_refused_body_is_not_waited_for(server: ServerProcess) -> None:
    """The connection ends although its client goes on announcing a body."""
    begin_s = time.monotonic()
    answer = send(server, f"Content-Length: {MAX_BODY_BYTES + 1}\r\n", b"only this")
    assert status_of(answer) == 413
    assert time.monotonic() - begin_s < 3


def test_a_connection_is_kept_after_a_refused_body(server: ServerProcess) -> None:
    with httpx.Client(base_url=server.url, limits=httpx.Limits(max_connections=1)) as client:
        ports = set()
        for _ in range(3):
            for content, status in ((bytes(MAX_BODY_BYTES + 1), 413), (png("blue"), 200)):
                response = client.post("/predict", content=content)
                assert response.status_code == status
                ports.add(response.extensions["network_stream"].get_extra_info("client_addr")[1])
        assert len(ports) == 1


async def storm(url: str, count: int, *, timeout_s: float = 20, images: int = 1) -> Counter[int | str]:
    """Send many requests at once and count how they end."""
    files = [("file", ("a.png", png("green", (600, 600)))) for _ in range(images)]

    async def one(client: httpx.AsyncClient) -> int | str:
        try:
            response = await client.post("/predict", files=files, timeout=timeout_s)
        except httpx.TimeoutException:
            return "gave up"
        if response.status_code == 503:
            assert int(response.headers["retry-after"]) >= 1
        else:
            assert {answer["label"] for answer in response.json()["predictions"]} == {"green"}
        return response.status_code

    async with httpx.AsyncClient(base_url=url, limits=httpx.Limits(max_connections=None)) as client:
        return Counter(await asyncio.gather(*(one(client) for _ in range(count))))


def test_overload_is_answered_and_nothing_else(server: ServerProcess) -> None:
    ends = asyncio.run(storm(server.url, 80, images=2))
    assert set(ends) == {200, 503}
    assert ends[200] >= 4


def test_clients_that_give_up_leave_nothing_behind(server: ServerProcess) -> None:
    for timeout_s in (0.002, 0.01, 0.03):
        asyncio.run(storm(server.url, 40, timeout_s=timeout_s))
    time.sleep(0.3)
    for _ in range(3):
        assert asyncio.run(storm(server.url, 4, images=2)) == {200: 4}


def test_a_deadline_is_an_answer(models_dir: Path) -> None:
    with ServerProcess(models_dir, timeout_ms=1) as server:
        files = [("file", ("a.png", png("green", (2000, 2000)))) for _ in range(8)]
        response = httpx.post(f"{server.url}/predict", files=files)
        assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")


def test_a_drained_server_answers_what_it_accepted_and_exits_with_0(models_dir: Path) -> None:
    with ServerProcess(models_dir) as server:
        answers: list[str] = []
        sender = threading.Thread(target=lambda: answers.append(_send_slowly(server)))
        sender.start()
        time.sleep(0.3)
        assert server.stop() == 0
        sender.join()
        assert status_of(answers[0]) == 200
        assert "Traceback" not in "".join(server.log)


def _send_slowly(server: ServerProcess) -> str:
    """Send half an image, and the rest a second later."""
    image = png("blue")
    with server.connect() as connection:
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(image)}\r\n\r\n"
        connection.sendall(head.encode() + image[:50])
        time.sleep(1)
        connection.sendall(image[50:])
        return connection.recv(65_536).decode()


def test_a_corrupt_bundle_does_not_keep_the_others_from_serving(tmp_path: Path) -> None:
    write_model(tmp_path / "models", "good")
    network = write_model(tmp_path / "models", "poor") / "model.onnx"
    network.write_bytes(network.read_bytes() + b"x")
    with ServerProcess(tmp_path / "models") as server:
        assert httpx.post(f"{server.url}/predict", content=png("red")).status_code == 200
        response = httpx.post(f"{server.url}/predict?model=poor", content=png("red"))
        assert (response.status_code, response.json()["code"]) == (503, "model_unavailable")
        assert any("bytes instead of" in line for line in server.log)
        assert "Traceback" not in "".join(server.log)


def test_what_is_said_of_a_corrupt_bundle_has_the_chosen_format(tmp_path: Path) -> None:
    """It is said while the framework is being imported, before uvicorn sets its logging up."""
    write_model(tmp_path / "models", "good")
    write_model(tmp_path / "models", "poor").joinpath("bundle.json").write_text("{")
    with ServerProcess(tmp_path / "models", log_format="json") as server:
        lines = [json.loads(line) for line in server.log]
    (refusal,) = (line for line in lines if line["level"] == "error")
    assert "is not valid" in refusal["message"]
    assert refusal["model"] == "poor"


def test_what_cannot_start_says_so_in_one_sentence(models_dir: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=f"Cannot listen on 127.0.0.1:{port} .Address already in use.:"):
            serve(Settings(models_dir=models_dir, port=port))
    with pytest.raises(PathNotFound, match="no models folder"):
        serve(Settings(models_dir=tmp_path / "nowhere"))
