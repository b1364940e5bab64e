"""Robyn with several processes: `python -m benchmarks.serving.peers.with_robyn PORT --processes 2`."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from robyn import Request, Robyn

from benchmarks.serving.peers.classifier import Classifier

app = Robyn(__file__)


@cache
def classifier() -> Classifier:
    """Return the network of this process, which was forked from one that has none."""
    return Classifier()


@app.post("/predict")
def predict(request: Request) -> dict[str, Any]:
    """Classify one image, on a thread of Robyn's pool."""
    (image,) = request.files.values()
    return classifier().classify(classifier().decode(bytes(image))[None])[0]


if __name__ == "__main__":
    app.start(host="127.0.0.1", port=int(sys.argv[1]))
