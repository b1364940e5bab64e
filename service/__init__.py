"""From a bundle to HTTP: FastAPI over ONNX Runtime. Must not import torch, trainer or export."""
