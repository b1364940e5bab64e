"""The service under load, beside raw ONNX Runtime and beside its peers, measured in one run on one machine.

`python -m benchmarks.serving --help` says how; `make bench-serving` does it. Linux only, with `wrk` as the load tool
(a package of Debian and others).
"""
