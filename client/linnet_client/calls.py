"""What each method sends and how its answer is read, without any input or output: both clients build on it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from linnet_client.errors import Problem, ServiceError, UnexpectedAnswer, problem
from linnet_client.images import Picture
from linnet_client.parsing import Mismatch, parse
from linnet_client.results import Explanation, FailedPrediction, Health, ItemError, Model, Prediction
from linnet_client.retries import RETRIED_STATUSES, retry_after_s

T = TypeVar("T")

# The body is the image itself: neither side has a form to build or to take apart. The service looks at the content.
IMAGE_TYPE = "application/octet-stream"

_PROXY_ADVICE = {
    413: "send a smaller image, or raise its limit on bodies",
    **dict.fromkeys(RETRIED_STATUSES, "try again later"),
}

# Failures that say something about this one image; all others would meet the next image alike.
_ABOUT_THE_IMAGE = frozenset({413, 415, 422, 500})


@dataclass(frozen=True)
class Reply:
    """What came back, whoever sent it."""

    url: str
    status: int
    headers: Mapping[str, str]
    """Case-insensitive."""
    content: bytes

    @property
    def request_id(self) -> str | None:
        """Return the id under which the service's operator finds this request."""
        return self.headers.get("X-Request-ID")


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request and the reader of a successful answer."""

    method: str
    path: str
    read: Callable[[Reply], T]
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True)
class Question:
    """Which model is asked about images, and for how much; None leaves it to the service."""

    model: str | None = None
    version: str | int | None = None
    top_k: int | None = None
    label: str | None = None

    @property
    def params(self) -> dict[str, str]:
        """Return the query of the request."""
        named = {"model": self.model, "version": self.version, "top_k": self.top_k, "class": self.label}
        return {name: str(value) for name, value in named.items() if value is not None}


def read_reply(call: Call[T], reply: Reply) -> T:
    """Return what the service answers; raises the `Problem` it answers with, or `UnexpectedAnswer`."""
    if not 200 <= reply.status < 300:
        raise _problem(reply)
    try:
        return call.read(reply)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise UnexpectedAnswer(reply.url, reply.status, _in_short(error), reply.request_id) from error


def _problem(reply: Reply) -> Problem | UnexpectedAnswer:
    wait_s = retry_after_s(reply.headers.get("Retry-After"))
    try:
        body = json.loads(reply.content)
        code, detail = str(body["code"]), str(body["detail"])
    except (ValueError, KeyError, TypeError):
        if reply.status in _PROXY_ADVICE:  # said by a proxy before the service, which has its own words
            advice = _PROXY_ADVICE[reply.status]
            detail = f"What stands before the service answered with status {reply.status}: {advice}."
            return problem(reply.status, f"http_{reply.status}", detail, reply.request_id, wait_s)
        return UnexpectedAnswer(reply.url, reply.status, "not a problem of the service", reply.request_id)
    return problem(reply.status, code, detail, body.get("request_id") or reply.request_id, wait_s)


def predict(picture: Picture, question: Question) -> Call[Prediction]:
    """Ask for the class of one image."""

    def read(reply: Reply) -> Prediction:
        body = json.loads(reply.content)
        (item,) = body.pop("predictions")
        return parse(Prediction, {**body, **item, "filename": picture.filename})

    if not picture.data:  # a body of nothing is no request, but a form may hold a file of nothing
        return _form_of([picture], question, read)
    return _about(picture, "/predict", question.params, read)


def predict_group(pictures: Sequence[Picture], question: Question) -> Call[list[Prediction | FailedPrediction]]:
    """Ask for the classes of several images in one request (multipart/form-data, RFC 7578)."""

    def read(reply: Reply) -> list[Prediction | FailedPrediction]:
        body = json.loads(reply.content)
        items = zip(pictures, body.pop("predictions"), strict=True)
        return [_read_item(body, picture.filename, item) for picture, item in items]

    return _form_of(pictures, question, read)


def _form_of(pictures: Sequence[Picture], question: Question, read: Callable[[Reply], T]) -> Call[T]:
    boundary = secrets.token_hex(16)
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return Call("POST", "/predict", read, question.params, headers, _form(boundary, pictures))


def _read_item(body: Mapping[str, Any], filename: str | None, item: dict[str, Any]) -> Prediction | FailedPrediction:
    if "error" in item:
        return FailedPrediction(parse(ItemError, item["error"]), filename, body["request_id"])
    return parse(Prediction, {**body, **item, "filename": filename})


def _form(boundary: str, pictures: Sequence[Picture]) -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"\r\n\r\n'.encode()
    parts = [piece for picture in pictures for piece in (head, picture.data, b"\r\n")]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()])


def explain(picture: Picture, question: Question) -> Call[Explanation]:
    """Ask which parts of an image speak for a class."""

    def read(reply: Reply) -> Explanation:
        return parse(Explanation, json.loads(reply.content))

    return _about(picture, "/explain", {**question.params, "format": "json"}, read)


def explain_png(picture: Picture, question: Question) -> Call[bytes]:
    """Ask for the image with the explanation laid over it, a PNG."""

    def read(reply: Reply) -> bytes:
        if not reply.content.startswith(b"\x89PNG"):
            raise Mismatch("no PNG")
        return reply.content

    return _about(picture, "/explain", {**question.params, "format": "png"}, read)


def _about(picture: Picture, path: str, params: Mapping[str, str], read: Callable[[Reply], T]) -> Call[T]:
    return Call("POST", path, read, params, {"Content-Type": IMAGE_TYPE}, picture.data)


def models() -> Call[tuple[Model, ...]]:
    """Ask for every version of every model."""
    return Call("GET", "/models", _read_models)


def model(name: str, version: str | int | None) -> Call[Model]:
    """Ask for one version of a model; the one that answers requests where `version` is None."""

    def read(reply: Reply) -> Model:
        entries = _read_models(reply)
        if version is not None:
            entries = tuple(entry for entry in entries if entry.version == str(version))
        if not entries:
            detail = f"The model {name!r} has no version {str(version)!r}: see `models()` for what there is."
            raise problem(404, "unknown_version", detail, reply.request_id)
        return max(entries, key=lambda entry: (entry.is_ready, int(entry.version)))

    return Call("GET", f"/models/{quote(name, safe='')}", read)


def _read_models(reply: Reply) -> tuple[Model, ...]:
    return tuple(parse(Model, entry) for entry in json.loads(reply.content)["models"])


def ready() -> Call[Health]:
    """Ask whether requests may be sent; a service that is not ready answers with a problem."""
    return Call("GET", "/readyz", lambda reply: Health(True, bool(json.loads(reply.content)["status"])))


def health_after(error: ServiceError) -> Health:
    """Return the health of a service that answered the question for it with a problem, or not at all."""
    if isinstance(error, Problem):
        return Health(is_live=True, is_ready=False, reason=error.detail)
    return Health(is_live=False, is_ready=False, reason=str(error))


def is_worth_one_by_one(error: Problem) -> bool:
    """Tell whether the images of a group that failed may do better alone: one spoils the rest, or they are too many."""
    return error.status_code in _ABOUT_THE_IMAGE


def failed_prediction(filename: str | None, error: Problem | OSError) -> FailedPrediction:
    """Return what stands in the place of an image that failed; raises `error` where it would meet every image alike."""
    if isinstance(error, OSError):
        detail = f"The file cannot be read ({error.strerror or error}): check it."
        return FailedPrediction(ItemError("unreadable_file", detail), filename)
    if error.status_code not in _ABOUT_THE_IMAGE:
        raise error
    return FailedPrediction(ItemError(error.code, error.detail), filename, error.request_id)


def _in_short(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
