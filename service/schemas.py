"""The JSON that the service sends, as it stands in the OpenAPI document.

Must not import anything of the service, so that a client can be held against it.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Body(BaseModel):
    """A JSON object of an answer; immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ProblemBody(Body):
    """Why a request failed (RFC 9457)."""

    type: str = Field(description="URN that names the problem")
    title: str
    status: int
    detail: str = Field(description="what happened and what to do, one sentence")
    code: str = Field(description="stable name to decide on")
    request_id: str


class Score(Body):
    """One class and its probability."""

    label: str
    probability: float = Field(description="calibrated, in [0, 1], 6 decimals")


class Prediction(Body):
    """What one image shows."""

    filename: str | None = Field(description="as sent with the image; null where the request names none")
    label: str = Field(description="the most probable class")
    confidence: float = Field(description="its probability")
    uncertain: bool = Field(description="true where the bundle's rule says to abstain; false without a rule")
    top: list[Score] = Field(description="the top_k classes, most probable first")


class ItemError(Body):
    """Why one image of several has no prediction."""

    code: str
    detail: str


class FailedPrediction(Body):
    """An image of several that could not be read."""

    filename: str | None
    error: ItemError


class TimingMs(Body):
    """Milliseconds of the slowest image of the request in each stage."""

    decode: float = Field(description="waiting for a decoding thread and decoding")
    queue: float = Field(description="waiting for the batch before to finish")
    inference: float = Field(description="the batch it was in")


class PredictBody(Body):
    """The answer of POST /predict."""

    model: str
    version: str
    variant: str
    request_id: str
    predictions: list[Prediction | FailedPrediction] = Field(description="in the order of the images sent")
    timing_ms: TimingMs


class ExplainBody(Body):
    """The answer of POST /explain as JSON."""

    model: str
    version: str
    variant: str
    request_id: str
    label: str = Field(description="the class that is explained")
    probability: float
    method: Literal["cam", "occlusion"] = Field(
        description="class activation map of the network, or the fall of the probability where parts are covered"
    )
    grid: list[list[float]] = Field(description="rows from the top, in [0, 1]: 1 where the evidence is strongest")
    timing_ms: TimingMs


class MetricsBody(Body):
    """What the very file in use scored."""

    accuracy: float = Field(description="correct / n")
    n: int = Field(description="images")
    correct: int
    loss: float = Field(description="mean cross-entropy, nats")
    split: Literal["test", "val"]
    f1: float | None = Field(description="mean over the classes; null in bundles of before it was measured")
    accuracy_low: float | None = Field(
        description="lower end of the accuracy's 95 % Wilson score interval; null as f1 is"
    )
    accuracy_high: float | None = Field(description="upper end of it")
    confusion: list[list[int]] | None = Field(
        description="images by label (rows) and answer (columns), in the order of the classes; null of more than 100 "
        "classes, and in bundles of before it was measured"
    )


class ModelBody(Body):
    """One version of a model; what a failed one would have is null."""

    name: str
    version: str
    default: bool = Field(description="true for the version that answers requests naming no model")
    state: Literal["ready", "failed", "unloaded"]
    classes: list[str] | None
    input_size: int | None = Field(description="side of the square input, pixels")
    variant: str | None
    fallback: str | None = Field(description="why a variant that would be faster is not used here; null where it is")
    provider: str | None = Field(description="ONNX Runtime execution provider that is active")
    metrics: MetricsBody | None


class ModelsBody(Body):
    """The model repository, ordered by name and version."""

    models: list[ModelBody]


class StatusBody(Body):
    """The answer of the probes."""

    status: str
