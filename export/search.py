"""Find the quantisation that changes the answers least, and the layers that must not be quantised.

Everything is measured on files, in ONNX Runtime, on the validation split and on training images.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnxruntime.quantization.calibrate import TensorsData

from export.calibration import divergence
from export.drift import Drifts, find_drifts
from export.errors import AccuracyLost
from export.gates import images_allowed
from export.material import Material
from export.measure import run_in_batches
from export.pixels import read_pixels
from export.quantise import METHODS, find_ranges, quantisable, quantise
from export.tail import AS_TRAINED, with_answers
from linnet.cpu import usable_cpus
from linnet.manifest import Quantisation
from linnet.session import Placement, open_network
from trainer.progress import Reporter

Logits = npt.NDArray[np.float32]  # [N, K]

RANGE_IMAGES = 256
SENSITIVITY_IMAGES = 64
LARGEST_FLOAT_SHARE = 0.5  # of the layers; with more of them in float there is no point in the variant


@dataclass(frozen=True)
class Quantised:
    """A quantised graph and what it took."""

    core: onnx.ModelProto
    record: Quantisation


@dataclass(frozen=True)
class _Seen:
    """A float graph, and what was seen of it on training images."""

    core: onnx.ModelProto
    ranges: TensorsData
    drifts: Drifts

    def quantised(self, float_nodes: Sequence[str]) -> onnx.ModelProto:
        return quantise(self.core, self.ranges, float_nodes, self.drifts)


@dataclass(frozen=True)
class _Trial:
    """How one quantisation answers the validation split."""

    divergence: float  # from fp32, nats per image
    correct: int


@dataclass(frozen=True)
class Search:
    """Looks for a quantisation of `core` that loses at most `max_points` of accuracy on the validation split."""

    core: onnx.ModelProto
    material: Material
    fp32_logits: Logits  # on the validation split
    max_points: float
    reporter: Reporter

    def run(self) -> Quantised:
        """Quantise with the calibration method whose answers stay nearest to fp32's.

        Where that loses too much, the layers that disturb the answers most, one, two, four and so on, stay in float
        until it does not. Raises `AccuracyLost` where half of them are not enough.
        """
        images = self.material.train[:RANGE_IMAGES].numpy()
        core = read_pixels(self.core)
        ranges = {method.name: find_ranges(core, images, method) for method in METHODS}
        drifts = find_drifts(core, quantise(core, ranges[METHODS[0].name]), images)  # the same whatever the ranges
        seen = {name: _Seen(core, ranges[name], drifts) for name in ranges}
        trials = {name: self._try(seen[name], [], f"ranges by {name}") for name in seen}
        best = min(trials, key=lambda name: trials[name].divergence)
        float_nodes = self._float_nodes(seen[best], trials[best])
        record = Quantisation(
            calibration=best,
            images=len(images),
            candidates={name: trial.divergence for name, trial in trials.items()},
            float_nodes=tuple(float_nodes),
        )
        return Quantised(seen[best].quantised(float_nodes), record)

    def _float_nodes(self, seen: _Seen, plain: _Trial) -> list[str]:
        """Return the layers to be kept in float: none where plain quantisation loses little enough."""
        images = len(self.material.val)
        allowed = images_allowed(images, self.max_points)
        least_lost = self._lost(plain)
        if least_lost <= allowed:
            return []
        self.reporter.start("rank layers", len(quantisable(seen.core)))
        few = self.material.train[-SENSITIVITY_IMAGES:]
        ranked = rank_nodes(seen.core, seen.ranges, few, self.reporter.advance, seen.drifts)
        for count in float_counts(len(ranked)):
            trial = self._try(seen, ranked[:count], f"{count} of {len(ranked)} layers in float")
            if self._lost(trial) <= allowed:
                return ranked[:count]
            least_lost = min(least_lost, self._lost(trial))
        raise AccuracyLost("int8", least_lost, images, allowed)

    def _lost(self, trial: _Trial) -> int:
        return int((self.fp32_logits.argmax(1) == self.material.val_labels).sum()) - trial.correct

    def _try(self, seen: _Seen, float_nodes: list[str], what: str) -> _Trial:
        logits = answer_logits(seen.quantised(float_nodes), self.material.val)
        correct = int((logits.argmax(1) == self.material.val_labels).sum())
        trial = _Trial(divergence(self.fp32_logits, logits), correct)
        self.reporter.say(
            f"int8, {what}: {correct} of {len(logits)} validation images correct, {trial.divergence:.1e} nats from fp32"
        )
        return trial


def float_counts(layers: int) -> list[int]:
    """Return how many of so many layers are tried in float: 1, 2, 4, … and at last `LARGEST_FLOAT_SHARE` of them."""
    most = max(1, int(LARGEST_FLOAT_SHARE * layers))
    return [2**power for power in range(most.bit_length()) if 2**power < most] + [most]


def rank_nodes(
    core: onnx.ModelProto,
    ranges: TensorsData,
    images: torch.Tensor,
    advance: Callable[[int], None] = lambda _: None,
    drifts: Drifts | None = None,
) -> list[str]:
    """Order the layers by how far the answers to images [N, H, W, 3] move when that layer alone is quantised."""
    nodes = quantisable(core)
    expected = answer_logits(core, images)
    harm = {}
    for node in nodes:
        alone = quantise(core, ranges, [name for name in nodes if name != node], drifts)
        harm[node] = divergence(expected, answer_logits(alone, images))
        advance(1)
    return sorted(nodes, key=lambda node: -harm[node])


def answer_logits(core: onnx.ModelProto, images: torch.Tensor) -> Logits:
    """Return the logits of a graph without answers to images [N, H, W, 3]."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "trial.onnx"
        onnx.save(with_answers(core, AS_TRAINED, None), path)
        return run_in_batches(open_network(path, Placement("cpu", usable_cpus()), precise=True), images).logits
