"""mosec with several workers and batching: `python -m benchmarks.serving.peers.with_mosec --port PORT`.

The image is the whole body: mosec hands bodies to the worker as they are, and knows no forms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from mosec import Server, Worker

from benchmarks.serving.peers.classifier import Classifier, read_task


class Classify(Worker):
    """Decodes and classifies in one stage, so that no pixels travel between processes."""

    def __init__(self) -> None:
        super().__init__()
        self._classifier = Classifier()

    def deserialize(self, data: bytes) -> npt.NDArray[np.uint8]:
        """Decode one image."""
        return self._classifier.decode(data)

    def forward(self, data: list[npt.NDArray[np.uint8]]) -> list[dict[str, Any]]:
        """Classify a batch."""
        return self._classifier.classify(np.stack(data))


if __name__ == "__main__":
    task = read_task()
    server = Server()
    server.append_worker(Classify, num=task.workers, max_batch_size=task.max_batch, max_wait_time=task.wait_ms)
    server.run()
