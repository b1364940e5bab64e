"""LitServe with several workers and batching: `python -m benchmarks.serving.peers.with_litserve PORT`.

LitServe looks at the annotations of `decode_request`, and must not find strings.
"""

import sys
from typing import Any

import litserve
import numpy as np
import numpy.typing as npt
from fastapi import Request

from benchmarks.serving.peers.classifier import Classifier, read_task


class Classify(litserve.LitAPI):
    """Decodes and classifies in the worker; LitServe stacks the images and takes the answers apart."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Open the network."""
        self._classifier = Classifier()

    def decode_request(self, request: Request) -> npt.NDArray[np.uint8]:
        """Decode the image in the field `file` of the form, which is what arrives."""
        return self._classifier.decode(request["file"].file.read())

    def predict(self, images: npt.NDArray[np.uint8]) -> list[dict[str, Any]]:
        """Classify a batch."""
        return self._classifier.classify(images)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Return one answer as JSON will have it."""
        return output


if __name__ == "__main__":
    task = read_task()
    api = Classify(max_batch_size=task.max_batch, batch_timeout=task.wait_ms / 1000)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=task.workers, fast_queue=True)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False, generate_client_file=False
    )
