"""From a run to a bundle: rebuilds the network, writes ONNX, proves parity and measures the very file."""
