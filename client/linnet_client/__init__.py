"""Ask a Linnet service which class an image shows.

    from linnet_client import Client

    with Client("http://127.0.0.1:8000") as client:
        print(client.predict("cat.jpg").label)

`Client` and `AsyncClient` have the same methods. Needs httpx and nothing of the service's own code.
"""

from linnet_client.async_client import AsyncClient
from linnet_client.client import Client
from linnet_client.errors import (
    BodyTooSlow,
    DeadlineExceeded,
    Forbidden,
    InvalidAddress,
    InvalidKey,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    NotReadyInTime,
    Overloaded,
    Problem,
    ServiceError,
    ServiceFailed,
    TimedOut,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    UnreadableImage,
    UnsupportedImage,
    UnusableProxy,
)
from linnet_client.images import ImageSource
from linnet_client.results import (
    Explanation,
    FailedPrediction,
    Health,
    ItemError,
    Metrics,
    Model,
    Prediction,
    Score,
    TimingMs,
)

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "BodyTooSlow",
    "Client",
    "DeadlineExceeded",
    "Explanation",
    "FailedPrediction",
    "Forbidden",
    "Health",
    "ImageSource",
    "InvalidAddress",
    "InvalidKey",
    "ItemError",
    "MalformedRequest",
    "MethodNotAllowed",
    "Metrics",
    "Model",
    "NotFound",
    "NotReadyInTime",
    "Overloaded",
    "Prediction",
    "Problem",
    "Score",
    "ServiceError",
    "ServiceFailed",
    "TimedOut",
    "TimingMs",
    "TooLarge",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
    "UnreadableImage",
    "UnsupportedImage",
    "UnusableProxy",
]
