"""The JSON of the Open Inference Protocol, as it stands in the OpenAPI document.

https://github.com/kserve/open-inference-protocol. Must not import a web framework.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field

Parameters = dict[str, Any]


class Read(BaseModel):
    """An object of a request; keys that the protocol does not know are passed over, as it asks."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Written(BaseModel):
    """An object of an answer."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class InferInput(Read):
    """A tensor that is sent."""

    name: str
    shape: Annotated[list[int], FailFast()] = Field(description="[N, H, W, 3]")
    datatype: str = Field(description="UINT8")
    parameters: Parameters = Field(default_factory=dict, description="binary_data_size: bytes that follow the JSON")
    data: list[Any] | None = Field(default=None, description="values, nested or flat; left out with binary_data_size")


class WantedOutput(Read):
    """A tensor that is asked for."""

    name: str
    parameters: Parameters = Field(default_factory=dict, description="binary_data: true for bytes after the JSON")


class InferRequest(Read):
    """The JSON of an inference request."""

    id: str | None = None
    inputs: Annotated[list[InferInput], FailFast()] = Field(min_length=1)
    outputs: Annotated[list[WantedOutput], FailFast()] = Field(
        default_factory=list, description="all of the model's where left out"
    )
    parameters: Parameters = Field(default_factory=dict, description="binary_data_output: true for all in binary")


class InferOutput(Written):
    """A tensor of the answer."""

    name: str
    datatype: str
    shape: list[int]
    data: list[float] | None = Field(default=None, description="values, flat; left out where they follow in binary")
    parameters: Parameters | None = None


class InferBody(Written):
    """The JSON of an inference answer."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferOutput]


class LiveBody(Written):
    """Whether the server lives."""

    live: bool


class ReadyBody(Written):
    """Whether the server is ready for inference."""

    ready: bool


class ModelReadyBody(Written):
    """Whether a model is ready for inference."""

    name: str
    ready: bool


class ServerBody(Written):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]


class TensorBody(Written):
    """An input or output of a model; -1 is the batch."""

    name: str
    datatype: str
    shape: list[int]


class ModelBody(Written):
    """What a model takes and returns."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorBody]
    outputs: list[TensorBody]


class IndexRequest(Read):
    """Which part of the repository is listed."""

    ready: bool = False


class IndexEntry(Written):
    """One version in the repository."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class ErrorBody(Written):
    """Why a request failed."""

    error: str
