"""Words a batch of images that a bundle answers in this process, as the service would word it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet.choice import Opened
from linnet.errors import ImageError
from linnet.manifest import Manifest
from service.prediction import rank
from service.present import prediction

Loaded = npt.NDArray[np.uint8] | ImageError | OSError  # an input [H, W, 3], or why there is none


def answer_batch(
    opened: Opened, manifest: Manifest, batch: Sequence[tuple[str, Loaded]], top_k: int
) -> Iterator[dict[str, Any]]:
    """Yield what is said of each image, by name, in order; `service.schemas` describes it."""
    images = [loaded for _, loaded in batch if isinstance(loaded, np.ndarray)]
    outputs = opened.network(np.stack(images)) if images else None
    row = 0
    for name, loaded in batch:
        if isinstance(loaded, OSError):
            yield unreadable_file(name, loaded)
        elif isinstance(loaded, ImageError):
            yield prediction(manifest, name, loaded)
        elif outputs is not None:
            yield prediction(manifest, name, rank(opened.variant, outputs, row, top_k))
            row += 1


def unreadable_file(name: str, error: OSError) -> dict[str, Any]:
    """Return what is said of a file that gave no bytes."""
    detail = f"The file cannot be read ({error.strerror or error}): check it."
    return {"filename": name, "error": {"code": "unreadable_file", "detail": detail}}
