"""What a bundle states of itself: `bundle.json`.

Every figure in it was measured by the export on the very files beside it. Must not import torch, ONNX Runtime or a web
framework.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from linnet.preprocess import PreprocessSpec

FORMAT_VERSION = 2
MODEL_NAME_PATTERN = r"^[a-z0-9][a-z0-9_.-]{0,63}$"

Precision = Literal["fp32", "int8", "fp16"]
Split = Literal["test", "val"]
ScoreName = Literal["max_softmax", "energy", "norm", "knn"]
GateName = Literal["parity", "accuracy", "batches", "alone", "range"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Record(BaseModel):
    """A part of a manifest: immutable, and any unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Metrics(Record):
    """What one variant's very file scored on one split, read through `load_image` and ONNX Runtime."""

    split: Split
    n: int = Field(ge=1, description="images")
    correct: int = Field(ge=0, description="images whose top-1 class is the label")
    accuracy: float = Field(ge=0.0, le=1.0, description="correct / n")
    loss: float = Field(ge=0.0, description="mean cross-entropy, nats")
    f1: float | None = Field(default=None, ge=0.0, le=1.0, description="mean over the classes; null before format 2")
    accuracy_low: float | None = Field(
        default=None, ge=0.0, le=1.0, description="lower end of the 95 % Wilson score interval; null in older bundles"
    )
    accuracy_high: float | None = Field(
        default=None, ge=0.0, le=1.0, description="upper end of it; null in older bundles"
    )
    confusion: tuple[tuple[Annotated[int, Field(ge=0)], ...], ...] | None = Field(
        default=None,
        description="images by label (row) and answer (column); null in older bundles and of more than 100 classes",
    )

    @model_validator(mode="after")
    def _confusion_counts_the_same_images(self) -> Metrics:
        if self.confusion is None:
            return self
        if any(len(row) != len(self.confusion) for row in self.confusion):
            raise ValueError("the confusion matrix is not square")
        if sum(map(sum, self.confusion)) != self.n:
            raise ValueError("the confusion matrix does not count n images")
        if sum(row[label] for label, row in enumerate(self.confusion)) != self.correct:
            raise ValueError("the diagonal of the confusion matrix does not count the correct ones")
        return self


class CalibrationError(Record):
    """Expected calibration error of the top class, before and after the temperature (Guo et al. 2017)."""

    split: Split
    n: int = Field(ge=1, description="images")
    bins: int = Field(ge=1, description="bins of equal width over the confidence")
    before: float = Field(ge=0.0, le=1.0)
    after: float = Field(ge=0.0, le=1.0)


class Calibration(Record):
    """How logits became probabilities; already applied inside the graph."""

    temperature: float = Field(gt=0.0, description="fitted on the validation split; 1 leaves the softmax as trained")
    slope: float = Field(
        default=0.0,
        ge=0.0,
        description="per unit of the lead of the first logit over the second, by whose exponential the logits are "
        "multiplied as well; 0 is the temperature alone",
    )
    error: CalibrationError | None = Field(default=None, description="null where no temperature was fitted")


class Abstain(Record):
    """When an answer is marked as uncertain: where the graph's output `uncertainty` exceeds the threshold."""

    score: ScoreName
    threshold: float
    true_positive_rate: float = Field(gt=0.0, lt=1.0, description="share of the validation split below the threshold")
    flagged: float = Field(ge=0.0, le=1.0, description="share of the test split above it")
    candidates: dict[ScoreName, float] = Field(
        description="AUROC of each score, validation images against foreign images made from them"
    )


class Quantisation(Record):
    """How a network became one of 8-bit integers, and what was tried."""

    calibration: str = Field(description="method that chose the ranges of the activations")
    images: int = Field(ge=1, description="training images the ranges were taken from")
    candidates: dict[str, float] = Field(
        description="KL divergence from fp32 on the validation split of each method, nats per image"
    )
    float_nodes: tuple[str, ...] = Field(description="nodes kept in float because the network needs them precise")


class Variant(Record):
    """One file with the network at one precision."""

    precision: Precision
    file: str = Field(pattern=r"^[A-Za-z0-9_.-]+\.onnx$")
    sha256: Sha256
    size_bytes: int = Field(ge=1)
    metrics: Metrics
    calibration: Calibration
    abstain: Abstain | None = None
    quantisation: Quantisation | None = None

    def is_uncertain(self, uncertainty: float | None) -> bool:
        """Tell whether an answer with this value of the output `uncertainty` is to be marked; never without a rule."""
        return self.abstain is not None and uncertainty is not None and uncertainty > self.abstain.threshold


class Tensor(Record):
    """A named input or output of the graph; -1 in the shape is the batch."""

    name: str
    dtype: Literal["uint8", "float32"]
    shape: tuple[int, ...]


class Parity(Record):
    """The trainer's network against ONNX Runtime on the fp32 file."""

    n: int = Field(ge=1, description="images compared")
    top1_agreement: float = Field(ge=0.0, le=1.0)
    max_probability_difference: float = Field(ge=0.0)
    batch_sizes: tuple[int, ...] = Field(description="batch sizes whose outputs were compared as well")


class Gate(Record):
    """A condition that had to hold before the bundle was written, and by how much it did."""

    name: GateName
    precision: Precision
    measured: float
    limit: float
    unit: str = Field(description="what the two numbers count")


class SelfTestCase(Record):
    """A stored image and what each variant answered to it when it was measured."""

    image_png: str = Field(description="the encoded image, base64; PNG, so that no decoder can differ")
    probabilities: dict[Precision, tuple[float, ...]]

    @field_validator("image_png")
    @classmethod
    def _is_base64(cls, text: str) -> str:
        base64.b64decode(text, validate=True)
        return text


class Provenance(Record):
    """Where the bundle comes from."""

    created: str = Field(description="UTC, ISO 8601")
    backbone: str
    weights: str = Field(description="what the backbone started from")
    data: str = Field(description="what it was trained and tested on")
    recipe: dict[str, Any] = Field(description="the resolved recipe of the run")
    seed: int
    run_seconds: float = Field(ge=0.0)
    device: str
    git_revision: str | None
    libraries: dict[str, str]


class Manifest(Record):
    """All that is known of a bundle; `bundle.json`. Reads format 1 as well, and is format 2 from then on."""

    format_version: Literal[2] = 2
    name: str = Field(pattern=MODEL_NAME_PATTERN)
    version: int = Field(ge=1)
    variants: tuple[Variant, ...] = Field(min_length=1)
    input: Tensor
    outputs: tuple[Tensor, ...] = Field(min_length=1)
    classes: tuple[str, ...] = Field(min_length=2)
    preprocess: PreprocessSpec
    parity: Parity
    gates: tuple[Gate, ...] = ()
    self_test: tuple[SelfTestCase, ...] = Field(min_length=1)
    provenance: Provenance
    licence: str = Field(description="licences and credits of weights and data")

    @model_validator(mode="before")
    @classmethod
    def _from_format_1(cls, document: Any) -> Any:
        """Format 1 stated one calibration for the bundle; each variant has its own now."""
        if not isinstance(document, dict) or document.get("format_version", 1) != 1 or "calibration" not in document:
            return document
        rest = {key: value for key, value in document.items() if key != "calibration"}
        variants = [{"calibration": document["calibration"], **variant} for variant in document.get("variants", ())]
        return {**rest, "format_version": FORMAT_VERSION, "variants": variants}

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Manifest:
        precisions = [variant.precision for variant in self.variants]
        if len(set(precisions)) != len(precisions):
            raise ValueError("two variants have the same precision")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("two classes have the same name")
        for case in self.self_test:
            if set(case.probabilities) != set(precisions):
                raise ValueError("the self-test does not cover exactly the variants")
            if any(len(row) != len(self.classes) for row in case.probabilities.values()):
                raise ValueError("a self-test row does not have one probability per class")
        confusions = [variant.metrics.confusion for variant in self.variants]
        if any(confusion is not None and len(confusion) != len(self.classes) for confusion in confusions):
            raise ValueError("a confusion matrix does not have one row per class")
        if any(variant.abstain for variant in self.variants) and "uncertainty" not in self.output_names:
            raise ValueError("a rule to abstain needs the output 'uncertainty'")
        return self

    @property
    def output_names(self) -> tuple[str, ...]:
        """List the outputs of every variant's graph."""
        return tuple(output.name for output in self.outputs)

    def variant(self, precision: Precision) -> Variant | None:
        """Return the variant of that precision, or None."""
        return next((variant for variant in self.variants if variant.precision == precision), None)
