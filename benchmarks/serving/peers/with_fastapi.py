"""FastAPI as its tutorial has it: `uvicorn benchmarks.serving.peers.with_fastapi:app --workers 2`."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, UploadFile

from benchmarks.serving.peers.classifier import Classifier

app = FastAPI()
classifier = Classifier()


@app.post("/predict")
def predict(file: UploadFile) -> dict[str, Any]:
    """Classify one image, on a thread of FastAPI's pool."""
    return classifier.classify(classifier.decode(file.file.read())[None])[0]
