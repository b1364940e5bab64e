"""Speaks to a server with KServe's own REST client; runs in an environment of its own: kserve_client.py URL."""

from __future__ import annotations

import asyncio
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

SIDE_PX = 16
IMAGES = np.random.default_rng(0).integers(0, 256, (2, SIDE_PX, SIDE_PX, 3), np.uint8)


def request(images: np.ndarray, *, datatype: str = "UINT8", binary: bool, outputs: bool = False) -> InferRequest:
    tensor = InferInput("image", list(images.shape), datatype)
    tensor.set_data_from_numpy(images, binary_data=binary)
    binary_logits = RequestedOutput("logits", parameters={"binary_data": True})
    wanted = [RequestedOutput("probabilities"), binary_logits] if outputs else []
    return InferRequest(model_name="colours", infer_inputs=[tensor], request_outputs=wanted)


async def main(url: str) -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0, timeout=20))
    assert await client.is_server_live(url) is True
    assert await client.is_server_ready(url) is True
    assert await client.is_model_ready(url, "colours") is True
    plain = await client.infer(url, request(IMAGES, binary=False), model_name="colours")
    assert plain.model_name == "colours"
    assert [output.name for output in plain.outputs] == ["probabilities", "logits", "embedding"]
    probabilities = plain.get_output_by_name("probabilities").as_numpy()
    assert probabilities.shape == (2, 3) and np.allclose(probabilities.sum(1), 1, atol=1e-5)
    binary = await client.infer(url, request(IMAGES, binary=True), model_name="colours")
    assert np.allclose(binary.get_output_by_name("probabilities").as_numpy(), probabilities, atol=1e-6)
    two = await client.infer(url, request(IMAGES, binary=True, outputs=True), model_name="colours")
    assert [output.name for output in two.outputs] == ["probabilities", "logits"]
    assert np.allclose(two.outputs[0].as_numpy(), probabilities, atol=1e-6)
    logits = plain.get_output_by_name("logits").as_numpy()
    assert np.allclose(two.outputs[1].as_numpy(), logits, atol=1e-5)
    for wrong, name in (
        (request(IMAGES[:, :8], binary=False), "colours"),
        (request(IMAGES.astype(np.float32), datatype="FP32", binary=False), "colours"),
        (request(IMAGES, binary=False), "birds"),
    ):
        try:
            await client.infer(url, wrong, model_name=name)
        except httpx.HTTPStatusError as error:
            assert any(part in str(error) for part in ("has shape", "datatype", "no model")), str(error)
        else:
            raise AssertionError("a wrong request was answered")
    await client.close()
    print("all passed")  # noqa: T201


asyncio.run(main(sys.argv[1]))
