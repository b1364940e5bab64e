"""Answers images in process with a bundle, or by asking a service: the same rows either way."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from linnet.bundle import bundle_directories, read_manifest, verify_files
from linnet.choice import open_bundle
from linnet.cli.origin import Origin
from linnet.cli.sources import Source
from linnet.cpu import usable_cpus
from linnet.errors import BundleNotFound, ImageError, LinnetError
from linnet.preprocess import PreprocessSpec, load_image
from linnet.session import Placement
from service.schemas import FailedPrediction, ItemError, Prediction, Score

if TYPE_CHECKING:
    from linnet_client import FailedPrediction as FailedThere
    from linnet_client import Prediction as PredictionThere

Row = Prediction | FailedPrediction
ROW: TypeAdapter[Row] = TypeAdapter(Row)

BATCH_SIZE = 16
# Long enough, at growing intervals, for a service to be restarted under the run: some 25 s.
RETRIES = 8


class MissingClient(LinnetError):
    """`--url` needs the client, which is a distribution of its own."""

    def __init__(self, module: str) -> None:
        super().__init__(
            f"`linnet predict --url` needs {module}, which is not installed here: run `make install`, or "
            "`pip install ./client`."
        )


class RunStopped(LinnetError):
    """The service cannot be asked, or refuses what every image would meet; the sentence is the client's."""

    def __init__(self, sentence: str) -> None:
        super().__init__(f"`linnet predict` stops here: {sentence}")


def classify_here(
    sources: Iterable[Source], bundle: Path, top_k: int, claim: Callable[[Origin], None] | None = None
) -> Generator[Row, None, None]:
    """Answer images with a bundle in this process, on the CPU; raises a `BundleError` before the first.

    `claim` is told what answers, before it does, and may refuse it.
    """
    from linnet.cli.in_process import answer_batch

    manifest = read_manifest(bundle)
    verify_files(bundle, manifest)
    opened = open_bundle(bundle, manifest, Placement("cpu", usable_cpus()))
    if claim is not None:
        claim(Origin(model=manifest.name, version=str(manifest.version), variant=opened.variant.precision, top_k=top_k))
    waiting = iter(sources)
    with ThreadPoolExecutor(usable_cpus()) as pool:
        while batch := list(islice(waiting, BATCH_SIZE)):
            inputs = pool.map(lambda source: (source.name, _load(source, manifest.preprocess)), batch)
            yield from map(ROW.validate_python, answer_batch(opened, manifest, list(inputs), top_k))


def _load(source: Source, spec: PreprocessSpec) -> npt.NDArray[np.uint8] | ImageError | OSError:  # [H, W, 3]
    try:
        return load_image(source.read(), spec)
    except (ImageError, OSError) as error:
        return error


def classify_there(  # noqa: PLR0913, PLR0917
    sources: Iterable[Source],
    url: str,
    top_k: int,
    model: str | None = None,
    concurrency: int = 8,
    claim: Callable[[Origin], None] | None = None,
) -> Generator[Row, None, None]:
    """Answer images by asking the service at `url`; raises `MissingClient` or `RunStopped`.

    `claim` is told what answered each image, before its row is given, and may refuse it.
    """
    try:
        from linnet_client import Client, ServiceError
        from linnet_client import FailedPrediction as FailedThere
    except ModuleNotFoundError as error:
        raise MissingClient(error.name or "linnet_client") from error
    try:
        with Client(url, retries=RETRIES) as client:
            health = client.health()  # a wrong address is said at once, and not after all retries
            if not health.is_live:
                raise RunStopped(health.reason or "nothing answers")
            asking = client.predict_many(sources, model=model, top_k=top_k, concurrency=concurrency)
            with closing(asking) as results:  # before the client is closed
                for result in results:
                    if claim is not None and not isinstance(result, FailedThere):
                        claim(_origin_of(result, top_k))
                    yield _row(result)
    except ServiceError as error:
        raise RunStopped(str(error)) from error


def _origin_of(result: PredictionThere, top_k: int) -> Origin:
    return Origin(model=result.model, version=result.version, variant=None, top_k=top_k)


def _row(result: PredictionThere | FailedThere) -> Row:
    """Return what the client understood in the schema in which the service says it."""
    from linnet_client import FailedPrediction as FailedThere

    if isinstance(result, FailedThere):
        return FailedPrediction(
            filename=result.filename, error=ItemError(code=result.error.code, detail=result.error.detail)
        )
    return Prediction(
        filename=result.filename,
        label=result.label,
        confidence=result.confidence,
        uncertain=result.uncertain,
        top=[Score(label=score.label, probability=score.probability) for score in result.top],
    )


def default_bundle(models_dir: Path, model: str | None = None) -> Path:
    """Return the highest version of `model`, or of the first name: what a service answers with by default."""
    directories = bundle_directories(models_dir)
    name = model or next((path.parent.name for path in directories), "")
    versions = [path for path in directories if path.parent.name == name]
    if not versions:
        raise BundleNotFound(models_dir / name)
    return max(versions, key=lambda path: int(path.name))
