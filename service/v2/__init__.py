"""The Open Inference Protocol, version 2, REST: what Triton, KServe and their clients speak."""
