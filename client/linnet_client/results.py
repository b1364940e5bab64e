"""What the service answers, as frozen records; `linnet_client.parsing` builds them and passes over fields they lack."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """One class and its probability in [0, 1]."""

    label: str
    probability: float


@dataclass(frozen=True)
class TimingMs:
    """Milliseconds in each stage of the service."""

    decode: float
    queue: float
    inference: float


@dataclass(frozen=True)
class Prediction:
    """What one image shows, and which file of which model says so."""

    label: str
    confidence: float
    """Probability of `label`."""
    uncertain: bool
    """True where the model's rule says to abstain."""
    top: tuple[Score, ...]
    """The most probable classes, `label` first."""
    model: str
    version: str
    variant: str
    request_id: str
    timing_ms: TimingMs
    filename: str | None = None
    """As the image was named: its path, the name of a file object, or None."""


@dataclass(frozen=True)
class ItemError:
    """Why one image of many has no prediction."""

    code: str
    detail: str


@dataclass(frozen=True)
class FailedPrediction:
    """An image of many that could not be classified; it stands in its place, and the others go on."""

    error: ItemError
    filename: str | None = None
    request_id: str | None = None
    """None where the file could not even be sent."""


@dataclass(frozen=True)
class Metrics:
    """What the very file in use scored on `n` images."""

    accuracy: float
    n: int
    correct: int
    loss: float
    """Mean cross-entropy, nats."""
    split: str
    f1: float | None = None
    """Mean over the classes; None in bundles of before it was measured."""
    accuracy_low: float | None = None
    """Lower end of the 95 % confidence interval of the accuracy; None where it is not stated."""
    accuracy_high: float | None = None
    """Upper end of it."""
    confusion: tuple[tuple[int, ...], ...] | None = None
    """Images by label (rows) and answer (columns), in the order of the classes; None where it is not stated."""


@dataclass(frozen=True)
class Model:
    """One version of a model; what one that is not ready does not have is None."""

    name: str
    version: str
    default: bool
    """True for the version that answers requests naming no model."""
    state: str
    classes: tuple[str, ...] | None
    input_size: int | None
    """Side of the square input, pixels."""
    variant: str | None
    provider: str | None
    metrics: Metrics | None
    fallback: str | None = None
    """Why a variant that would be faster is not used; None where it is."""

    @property
    def is_ready(self) -> bool:
        """Say whether it answers requests."""
        return self.state == "ready"


@dataclass(frozen=True)
class Health:
    """How the service is: alive when it answers at all, ready when its models are loaded and warm."""

    is_live: bool
    is_ready: bool
    reason: str | None = None
    """Why it is not ready."""


@dataclass(frozen=True)
class Explanation:
    """Which parts of an image speak for a class."""

    label: str
    probability: float
    """Of `label`."""
    method: str
    """How the evidence was found: 'cam' reads it from the network, 'occlusion' covers parts of the image."""
    grid: tuple[tuple[float, ...], ...]
    """Rows from the top, in [0, 1]: 1 where the evidence is strongest."""
    model: str
    version: str
    variant: str
    request_id: str
    timing_ms: TimingMs
