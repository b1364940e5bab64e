"""Scores of how little an image resembles what the network was trained on; higher is stranger.

A score is a piece of ONNX graph from `logits` and `embedding` to `uncertainty` [N], so that whoever runs the file gets
it with the answer, and nobody computes it a second way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from linnet.manifest import ScoreName
from linnet.session import Outputs

OUTPUT = "uncertainty"
NEIGHBOUR = 5  # the distance to the fifth nearest: one odd training image does not vouch for another
LARGEST_BANK = 1000  # training images that are remembered
LARGEST_BANK_DIMENSIONS = 64
_TINY = 1e-9

_PREFIX = "doubt/"


@dataclass(frozen=True)
class Score:
    """A part of a graph that computes `uncertainty` from `logits` [N, K] and `embedding` [N, D]."""

    name: ScoreName
    nodes: Sequence[onnx.NodeProto]
    constants: dict[str, npt.NDArray[np.generic]] = field(default_factory=dict)

    def of(self, outputs: Outputs) -> npt.NDArray[np.float32]:  # [N]
        """Return the score of answers, as the graph computes it."""
        import onnxruntime as ort

        model = helper.make_model(
            helper.make_graph(
                list(self.nodes),
                self.name,
                [
                    helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", array.shape[1]])
                    for name, array in (("logits", outputs.logits), ("embedding", outputs.embedding))
                ],
                [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N"])],
                [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
            ),
            opset_imports=[helper.make_opsetid("", 20)],
            ir_version=10,
        )
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        (scores,) = session.run([OUTPUT], {"logits": outputs.logits, "embedding": outputs.embedding})
        return np.asarray(scores, dtype=np.float32)


def fit_scores(known: Outputs) -> list[Score]:
    """Return every score there is, fitted where it needs it on answers to training images."""
    return [max_softmax(), energy(), norm(), nearest_neighbours(known.embedding)]


def max_softmax() -> Score:
    """Return how improbable the most probable class is (Hendrycks and Gimpel 2017)."""
    return Score(
        "max_softmax",
        [
            _node("Softmax", ["logits"], "shares", axis=1),
            _node("ReduceMax", ["shares", "doubt_axis"], "largest", keepdims=0),
            _node("Neg", ["largest"], OUTPUT),
        ],
        _AXIS,
    )


def energy() -> Score:
    """Return the free energy of the logits (Liu et al. 2020)."""
    return Score(
        "energy",
        [
            _node("ReduceLogSumExp", ["logits", "doubt_axis"], "total", keepdims=0),
            _node("Neg", ["total"], OUTPUT),
        ],
        _AXIS,
    )


def norm() -> Score:
    """Return how short the embedding is: what is unknown excites few features."""
    return Score(
        "norm",
        [_node("ReduceL2", ["embedding", "doubt_axis"], "length", keepdims=0), _node("Neg", ["length"], OUTPUT)],
        _AXIS,
    )


def nearest_neighbours(known: npt.NDArray[np.float32]) -> Score:  # [M, D]
    """Return the cosine distance to the fifth nearest training image (Sun et al. 2022).

    In the span of the largest principal components, so that the memory of training images stays small.
    """
    wide = known.astype(np.float64)
    _, components = np.linalg.eigh(wide.T @ wide)  # [D, D], the largest last
    basis = np.ascontiguousarray(components[:, -LARGEST_BANK_DIMENSIONS:], dtype=np.float32)  # [D, P]
    bank = known[:LARGEST_BANK] @ basis
    bank /= np.maximum(np.linalg.norm(bank, axis=1, keepdims=True), _TINY)
    return Score(
        "knn",
        [
            _node("MatMul", ["embedding", "doubt_basis"], "projected"),
            _node("ReduceL2", ["projected", "doubt_axis"], "size", keepdims=1),
            _node("Max", ["size", "doubt_tiny"], "positive_size"),
            _node("Div", ["projected", "positive_size"], "direction"),
            _node("MatMul", ["direction", "doubt_bank"], "likeness"),
            _node("TopK", ["likeness", "doubt_count"], "nearest", "nearest_indices", axis=1),
            _node("ReduceMin", ["nearest", "doubt_axis"], "least", keepdims=0),
            _node("Neg", ["least"], OUTPUT),
        ],
        {
            **_AXIS,
            "doubt_basis": basis,
            "doubt_tiny": np.array(_TINY, np.float32),
            "doubt_bank": np.ascontiguousarray(bank.T),
            "doubt_count": np.array([min(NEIGHBOUR, len(bank))], np.int64),
        },
    )


_AXIS: dict[str, npt.NDArray[np.generic]] = {"doubt_axis": np.array([1], np.int64)}


def _node(kind: str, inputs: Sequence[str], *outputs: str, **attributes: Any) -> onnx.NodeProto:
    named = [output if output == OUTPUT else _PREFIX + output for output in outputs]
    own = [name if name in ("logits", "embedding") or name.startswith("doubt_") else _PREFIX + name for name in inputs]
    return helper.make_node(kind, own, named, f"{named[0]}/{kind}", **attributes)
