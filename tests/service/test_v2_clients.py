"""The public clients of the Open Inference Protocol, unmodified, against a real server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from linnet.session import Placement, open_network
from tests.service.bundles import SIDE_PX, write_model
from tests.service.running import ROOT, ServerProcess

pytestmark = pytest.mark.e2e

ADMIN = {"x-api-key": "admin"}
IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIDE_PX, SIDE_PX, 3), np.uint8)
# KServe's client needs other versions than ours of what it stands on: an environment of its own, made by `make test`.
KSERVE_PYTHON = Path(os.environ.get("KSERVE_PYTHON", ROOT / ".venv-kserve" / "bin" / "python"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("protocol") / "models"
    for version in (1, 2):
        write_model(folder, "colours", version)
    return folder


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[ServerProcess]:
    with ServerProcess(models, admin_keys=ADMIN["x-api-key"]) as process:
        yield process


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as found:
        yield found


@pytest.fixture(scope="module")
def expected(models: Path) -> dict[str, npt.NDArray[np.float32]]:
    outputs = open_network(models / "colours" / "2" / "model.onnx", Placement("cpu"))(IMAGES)
    return {"probabilities": outputs.probabilities, "logits": outputs.logits}


def tensor(images: npt.NDArray[np.uint8] = IMAGES, *, name: str = "image", binary: bool = True) -> triton.InferInput:
    found = triton.InferInput(name, list(images.shape), "UINT8")
    found.set_data_from_numpy(images, binary_data=binary)
    return found


def test_health(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("colours")
    assert client.is_model_ready("colours", "1")
    assert not client.is_model_ready("colours", "7")
    assert not client.is_model_ready("birds")


def test_metadata(client: triton.InferenceServerClient) -> None:
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("colours")
    assert (metadata["name"], metadata["versions"]) == ("colours", ["1", "2"])
    assert metadata["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, SIDE_PX, SIDE_PX, 3]}]
    assert metadata["outputs"][0] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}
    assert client.get_model_metadata("colours", "1")["name"] == "colours"


@pytest.mark.parametrize("sends_binary", [True, False])
@pytest.mark.parametrize("takes_binary", [True, False])
def test_two_outputs(
    client: triton.InferenceServerClient,
    expected: dict[str, npt.NDArray[np.float32]],
    sends_binary: bool,
    takes_binary: bool,
) -> None:
    wanted = [triton.InferRequestedOutput(name, binary_data=takes_binary) for name in expected]
    result = client.infer("colours", [tensor(binary=sends_binary)], outputs=wanted, request_id="mine")
    answer = result.get_response()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("colours", "2", "mine")
    assert len(answer["outputs"]) == 2
    for name, values in expected.items():
        np.testing.assert_allclose(result.as_numpy(name), values, rtol=1e-6)


def test_one_in_binary_and_one_as_json(
    client: triton.InferenceServerClient, expected: dict[str, npt.NDArray[np.float32]]
) -> None:
    wanted = [
        triton.InferRequestedOutput("logits", binary_data=False),
        triton.InferRequestedOutput("probabilities", binary_data=True),
    ]
    result = client.infer("colours", [tensor()], outputs=wanted)
    for name, values in expected.items():
        np.testing.assert_allclose(result.as_numpy(name), values, rtol=1e-6)


def test_all_outputs_of_a_version_without_naming_them(client: triton.InferenceServerClient) -> None:
    result = client.infer("colours", [tensor()], model_version="1")
    assert [output["name"] for output in result.get_response()["outputs"]] == ["probabilities", "logits", "embedding"]
    assert result.get_response()["model_version"] == "1"
    assert result.as_numpy("embedding").shape == (3, 3)


@pytest.mark.parametrize(
    ("model", "make", "reason"),
    [
        ("colours", lambda: tensor(IMAGES[:, :8]), "has shape"),
        ("colours", lambda: tensor(name="pixels"), "exactly one input, 'image'"),
        ("birds", tensor, "no model 'birds'"),
    ],
)
def test_what_is_wrong_is_said(
    client: triton.InferenceServerClient, model: str, make: Callable[[], triton.InferInput], reason: str
) -> None:
    with pytest.raises(InferenceServerException, match=reason) as raised:
        client.infer(model, [make()])
    assert raised.value.status() in ("400", "404")


def test_a_wrong_datatype_is_said(client: triton.InferenceServerClient) -> None:
    wrong = triton.InferInput("image", list(IMAGES.shape), "FP32")
    wrong.set_data_from_numpy(IMAGES.astype(np.float32))
    with pytest.raises(InferenceServerException, match="datatype 'FP32' instead of 'UINT8'"):
        client.infer("colours", [wrong])


def test_an_unknown_output_is_said(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="no output 'classes': choose from probabilities, logits"):
        client.infer("colours", [tensor()], outputs=[triton.InferRequestedOutput("classes")])


def test_a_compressed_request_is_refused_in_the_protocol_s_words(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="send it uncompressed"):
        client.infer("colours", [tensor()], request_compression_algorithm="gzip")


def test_the_repository(client: triton.InferenceServerClient, models: Path) -> None:
    write_model(models, "late")
    client.load_model("late", headers=ADMIN)
    assert client.is_model_ready("late")
    index = {(entry["name"], entry["version"]): entry["state"] for entry in client.get_model_repository_index()}
    assert index == {("colours", "1"): "READY", ("colours", "2"): "READY", ("late", "1"): "READY"}
    client.unload_model("late", headers=ADMIN)
    assert not client.is_model_ready("late")
    index = {(entry["name"], entry["version"]): entry["state"] for entry in client.get_model_repository_index()}
    assert index["late", "1"] == "UNAVAILABLE"
    with pytest.raises(InferenceServerException, match="no model 'birds'"):
        client.load_model("birds", headers=ADMIN)
    with pytest.raises(InferenceServerException, match="needs an API key"):
        client.load_model("late")


@pytest.mark.skipif(not KSERVE_PYTHON.exists(), reason="KServe's client is not installed: make test brings it")
def test_kserve_s_client(server: ServerProcess) -> None:
    result = subprocess.run(
        [KSERVE_PYTHON, Path(__file__).with_name("kserve_client.py"), server.url],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (result.returncode, result.stdout) == (0, "all passed\n"), result.stderr


def test_what_kserve_s_client_sends(server: ServerProcess, expected: dict[str, npt.NDArray[np.float32]]) -> None:
    """Byte for byte what kserve 0.21 puts on the wire, where the client itself is not installed."""
    assert httpx.get(f"{server.url}/v2/health/live").json() == {"live": True}
    assert httpx.get(f"{server.url}/v2/health/ready").json() == {"ready": True}
    assert httpx.get(f"{server.url}/v2/models/colours/ready").json() == {"name": "colours", "ready": True}
    body = {
        "id": "4711",
        "model_name": "colours",
        "inputs": [
            {"name": "image", "shape": list(IMAGES.shape), "datatype": "UINT8", "data": IMAGES.ravel().tolist()}
        ],
    }
    answer = httpx.post(f"{server.url}/v2/models/colours/infer", json=body)
    assert answer.headers["content-type"] == "application/json"
    by_name = {output["name"]: output for output in answer.json()["outputs"]}
    np.testing.assert_allclose(
        np.reshape(by_name["probabilities"]["data"], by_name["probabilities"]["shape"]),
        expected["probabilities"],
        rtol=1e-6,
    )
    wrong = httpx.post(f"{server.url}/v2/models/birds/infer", json=body)
    assert (wrong.status_code, wrong.headers["content-type"]) == (404, "application/json")
    assert set(wrong.json()) == {"error"}


@pytest.mark.parametrize("binary", [False, True])
def test_both_forms_of_the_answer_are_documented(server: ServerProcess, *, binary: bool) -> None:
    image = {"name": "image", "shape": list(IMAGES.shape), "datatype": "UINT8", "data": IMAGES.flatten().tolist()}
    wanted = {"name": "probabilities", "parameters": {"binary_data": binary}}
    answer = httpx.post(f"{server.url}/v2/models/colours/infer", json={"inputs": [image], "outputs": [wanted]})
    assert answer.status_code == 200
    document = httpx.get(f"{server.url}/openapi.json").json()
    for path in ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"):
        documented = document["paths"][path]["post"]["responses"]["200"]
        assert answer.headers["content-type"] in documented["content"]
        assert ("inference-header-content-length" in answer.headers) == binary
        assert not binary or "Inference-Header-Content-Length" in documented["headers"]
