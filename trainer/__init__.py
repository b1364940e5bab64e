"""From a recipe to a run: PyTorch training. Must not import ONNX, ONNX Runtime or a web framework."""
