"""What can be exported, and what has to hold before it is: the text of `linnet export --list`."""

from __future__ import annotations

from export.gates import GATES
from linnet.bundle import file_name
from linnet.manifest import Precision

VARIANTS: dict[Precision, str] = {
    "fp32": "always written; the reference of the others",
    "int8": "--int8, for CPUs: ONNX Runtime's static quantisation; layers that must be precise stay in float",
    "fp16": "--fp16, for CUDA: the backbone in 16-bit floats",
}


def listing() -> str:
    """Return the variants and the gates, one a line."""
    variants = [f"  {precision}  {file_name(precision):16} {text}" for precision, text in VARIANTS.items()]
    gates = [f"  {name:9} {text}" for name, text in GATES.items()]
    return "\n".join(["Variants", *variants, "", "Gates (exit code 3, and no bundle, where one fails)", *gates])
