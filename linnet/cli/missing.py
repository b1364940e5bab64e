"""What it means that a module cannot be found: an extra is not installed, or an image does not hold the room."""

from __future__ import annotations

from linnet.errors import LinnetError, MissingExtra

# The module whose absence means that an extra is not installed.
EXTRA_OF = {
    "torch": "train", "torchvision": "train", "safetensors": "train", "onnx": "train", "onnxscript": "train",
    "matplotlib": "train", "scipy": "train", "sklearn": "train", "jinja2": "train", "tensorboard": "train",
    "fastapi": "serve", "uvicorn": "serve", "uvloop": "serve", "httptools": "serve", "onnxruntime": "serve",
    "orjson": "serve", "prometheus_client": "serve", "pydantic_settings": "serve", "python_multipart": "serve",
    "fsspec": "ray", "pyarrow": "ray", "ray": "ray",
}  # fmt: skip

# The image that holds the room.
IMAGE_OF = {"service": "linnet:latest", "trainer": "linnet:trainer", "export": "linnet:trainer"}


class MissingRoom(LinnetError):
    """A command needs a room of the repository that this image leaves out."""

    def __init__(self, command: str, room: str, image: str) -> None:
        super().__init__(
            f"`linnet {command}` needs {room}/, which this installation does not hold: use the image {image}, or a "
            "checkout of the whole repository."
        )


def explain(command: str, error: ModuleNotFoundError) -> LinnetError | None:
    """Return what `linnet COMMAND` lacks, or None where a module is missing that nobody is to install."""
    module = (error.name or "").partition(".")[0]
    if module in IMAGE_OF:
        return MissingRoom(command, module, IMAGE_OF[module])
    return MissingExtra(command, module, EXTRA_OF[module]) if module in EXTRA_OF else None
