"""What every peer does with an image: decode and resize with Pillow, one single-threaded session, the top class.

The result is that of `linnet.preprocess.load_image` for small upright RGB images, which is what peers are sent. Session
options are those of `linnet.session`, so that the file that runs is the file that was measured. What is to be served
comes in the environment: `PEER_TASK` holds a `Task` as JSON.
"""

from __future__ import annotations

import io
import json
import os
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

VARIABLE = "PEER_TASK"


@dataclass(frozen=True)
class Task:
    """Which network is served, and how."""

    file: str  # ONNX
    labels: tuple[str, ...]
    size_px: int
    resize: str  # "crop" or "stretch", as in `PreprocessSpec`
    crop_fraction: float
    interpolation: str
    workers: int
    max_batch: int  # where the framework makes batches
    wait_ms: int  # for a batch to fill

    def to_json(self) -> str:
        """Return what `read_task` reads."""
        return json.dumps(asdict(self))


def read_task() -> Task:
    """Return the task of this process."""
    return Task(**json.loads(os.environ[VARIABLE]))


class Classifier:
    """The network of this process's task."""

    def __init__(self) -> None:
        import onnxruntime as ort

        self._task = read_task()
        self._resampling = Image.Resampling[self._task.interpolation.upper()]
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(
            self._task.file, options, ["CPUExecutionProvider"], disabled_optimizers=["WeightBiasQuantization"]
        )

    def decode(self, data: bytes) -> npt.NDArray[np.uint8]:  # [H, W, 3]
        """Return the network's input."""
        task = self._task
        image = Image.open(io.BytesIO(data)).convert("RGB")
        side = min(image.size)
        kept = (side, side) if task.resize == "crop" else image.size
        width, height = kept[0] * task.crop_fraction, kept[1] * task.crop_fraction
        left, top = (image.width - width) / 2, (image.height - height) / 2
        box = (left, top, left + width, top + height)
        return np.asarray(image.resize((task.size_px, task.size_px), self._resampling, box=box))

    def classify(self, images: npt.NDArray[np.uint8]) -> list[dict[str, Any]]:  # [N, H, W, 3]
        """Return the most probable class of each image, and its probability."""
        (probabilities,) = self._session.run(["probabilities"], {"image": images})
        best = probabilities.argmax(1)
        return [
            {"label": self._task.labels[index], "probability": float(row[index])}
            for index, row in zip(best, probabilities, strict=True)
        ]
