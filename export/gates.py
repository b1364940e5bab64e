"""The conditions that an exported file must meet before a bundle is written."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import softmax

from export.calibration import sharpened
from export.errors import AccuracyLost, BatchesDisagree, ParityFailed, TooLargeForFp16
from linnet.manifest import Calibration, Gate, GateName, Parity, Precision
from linnet.session import Network, Outputs
from trainer.evaluate import predict_logits
from trainer.network import Classifier

BATCH_SIZES = (1, 2, 3, 7, 32)
LARGEST_DIFFERENCE = 1e-4  # of a probability between the fp32 file and the trained network

# Of a probability between two batches. Sums in another order may cross a step of 8 or 16 bits, and steps add up.
LARGEST_BATCH_DIFFERENCE: dict[Precision, float] = {"fp32": 1e-4, "int8": 1e-2, "fp16": 1e-2}

# A CPU computes fp16 files in fp32, so nothing else would see that a number is too large for CUDA; with room for images
# that are not of the validation split.
LARGEST_IN_FP16 = 16_384

DEFAULT_MAX_LOSS_POINTS = 0.5

GATES: dict[GateName, str] = {
    "parity": f"fp32 answers as the trained network on every test image: the same top class, and no probability "
    f"further off than {LARGEST_DIFFERENCE:g}",
    "accuracy": f"int8 and fp16 lose at most {DEFAULT_MAX_LOSS_POINTS:g} points (--max-loss) of fp32's top-1 accuracy "
    "on the validation split, rounded up to whole images",
    "batches": f"batches of {', '.join(map(str, BATCH_SIZES[:-1]))} and {BATCH_SIZES[-1]} give every image the same "
    f"probabilities within {LARGEST_BATCH_DIFFERENCE['fp32']:g} (fp32) or {LARGEST_BATCH_DIFFERENCE['int8']:g}",
    "alone": "an image alone and inside a batch of 32 others gets the same probabilities, within the same limits",
    "range": f"for fp16, nothing in the backbone is larger than {LARGEST_IN_FP16:,} on the validation split: 16 bits "
    "end at 65,504",
}


def check_parity(
    trained: Classifier, calibration: Calibration, exported: Network, images: torch.Tensor, answers: Outputs
) -> Parity:
    """Hold what ONNX Runtime said (`answers`) against PyTorch on every image, and again on small batches.

    Top-1 must agree on all images and no probability may differ by more than `LARGEST_DIFFERENCE`.
    Raises `ParityFailed`.
    """
    expected = softmax(sharpened(predict_logits(trained, images).numpy(), calibration), axis=1)
    difference = float(np.abs(answers.probabilities - expected).max())
    agreement = float((answers.probabilities.argmax(1) == expected.argmax(1)).mean())
    for size in BATCH_SIZES:
        few = _spread(len(images), size)
        by_batch = exported(images.numpy()[few]).probabilities
        difference = max(difference, float(np.abs(by_batch - expected[few]).max()))
    if not difference <= LARGEST_DIFFERENCE:
        raise ParityFailed(
            "the largest difference of a probability", f"{difference:.2g}", f"at most {LARGEST_DIFFERENCE:g}"
        )
    if agreement < 1:
        raise ParityFailed("the top-1 agreement", f"{agreement:.4%}", "100 %")
    return Parity(
        n=len(images), top1_agreement=agreement, max_probability_difference=difference, batch_sizes=BATCH_SIZES
    )


def parity_gate(parity: Parity) -> Gate:
    """Return the parity gate that was passed, as the manifest lists it."""
    return Gate(
        name="parity",
        precision="fp32",
        measured=parity.max_probability_difference,
        limit=LARGEST_DIFFERENCE,
        unit="largest difference of a probability",
    )


def images_allowed(images: int, points: float) -> int:
    """Return how many of so many images a loss of `points` percentage points is, rounded up."""
    return math.ceil(points / 100 * images - 1e-9)


def check_accuracy(precision: Precision, fp32_correct: int, correct: int, images: int, max_points: float) -> Gate:
    """Hold the correct answers of a variant on the validation split against those of fp32; raises `AccuracyLost`."""
    lost, allowed = fp32_correct - correct, images_allowed(images, max_points)
    if lost > allowed:
        raise AccuracyLost(precision, lost, images, allowed)
    return Gate(
        name="accuracy",
        precision=precision,
        measured=100 * lost / images,
        limit=max(max_points, 100 * allowed / images),  # few images have large steps
        unit="percentage points of top-1 lost on the validation split",
    )


def check_range(largest: float) -> Gate:
    """Hold the largest number in the backbone against what 16 bits can hold; raises `TooLargeForFp16`."""
    if not largest <= LARGEST_IN_FP16:
        raise TooLargeForFp16(largest, LARGEST_IN_FP16)
    unit = "largest number in the backbone on the validation split"
    return Gate(name="range", precision="fp16", measured=largest, limit=LARGEST_IN_FP16, unit=unit)


def check_batches(precision: Precision, network: Network, images: torch.Tensor) -> tuple[Gate, Gate]:
    """Hold the answers to images [N, H, W, 3] in batches of several sizes, and alone, against those in one batch.

    Fewer images than the largest batch are repeated. Raises `BatchesDisagree`.
    """
    largest = max(BATCH_SIZES)
    batch = images.numpy()[_spread(len(images), largest)]
    together = network(batch).probabilities

    def difference(start: int, size: int) -> float:
        part = slice(start, start + size)
        return float(np.abs(network(batch[part]).probabilities - together[part]).max())

    by_size = np.max([difference(start, size) for size in BATCH_SIZES for start in (0, largest - size)])
    alone = np.max([difference(index, 1) for index in range(largest)])
    return _batch_gate("batches", precision, float(by_size)), _batch_gate("alone", precision, float(alone))


def _spread(images: int, count: int) -> npt.NDArray[np.int64]:  # [count]
    """Choose `count` of so many images from first to last, for they lie class by class; few images come repeatedly."""
    return np.linspace(0, images - 1, count).round().astype(np.int64)


def _batch_gate(name: GateName, precision: Precision, difference: float) -> Gate:
    limit = LARGEST_BATCH_DIFFERENCE[precision]
    if not difference <= limit:
        raise BatchesDisagree(precision, name, difference, limit)
    return Gate(
        name=name,
        precision=precision,
        measured=difference,
        limit=limit,
        unit="largest difference of a probability",
    )
