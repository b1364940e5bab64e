"""Classify files in process with a bundle, or by asking a service: the same answers either way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.bundle import bundle_directories, read_manifest, verify_files
from linnet.cpu import usable_cpus
from linnet.errors import BundleNotFound, ImageError, LinnetError, PathNotFound
from linnet.preprocess import IMAGE_SUFFIXES, load_image
from linnet.session import check_network, open_network
from service.prediction import top
from service.problems import PROBLEMS
from service.schemas import FailedPrediction, ItemError, PredictBody, Prediction, ProblemBody, Score

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 60.0


class ServiceUnreachable(LinnetError):
    """Nothing answers at the address, or not as a Linnet service does."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"The service at {url} cannot be asked ({reason}): check the address, or start it.")


def find_images(paths: Sequence[Path]) -> list[Path]:
    """List the files named and the images inside the folders named, sorted within each; raises `PathNotFound`.

    What is hidden inside a folder is passed over, as in training.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if _is_image(file, path))
            if not inside:
                raise PathNotFound(path, "image")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise PathNotFound(path, "image or folder")
    return found


def _is_image(file: Path, folder: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.suffix.lower() in IMAGE_SUFFIXES and not is_hidden and file.is_file()


def classify_here(images: Sequence[Path], bundle: Path, top_k: int) -> Iterator[Prediction | FailedPrediction]:
    """Answer images with a bundle in this process, on the CPU; raises a `BundleError` before the first."""
    manifest = read_manifest(bundle)
    verify_files(bundle, manifest)
    variant = manifest.variants[0]
    network = open_network(bundle / variant.file, provider="cpu", threads=usable_cpus())
    check_network(bundle, manifest, variant, network)
    for path in images:
        try:
            image = load_image(path.read_bytes(), manifest.preprocess)
        except ImageError as error:
            yield _failed(path, PROBLEMS[type(error)].code, str(error))
            continue
        except OSError as error:
            yield _unreadable(path, error)
            continue
        ranked = top(network(image[None]).probabilities[0], top_k)
        scores = [Score(label=manifest.classes[index], probability=probability) for index, probability in ranked]
        best = scores[0]
        yield Prediction(filename=str(path), label=best.label, confidence=best.probability, uncertain=False, top=scores)


def classify_there(images: Sequence[Path], url: str, top_k: int) -> Iterator[Prediction | FailedPrediction]:
    """Answer images by asking the service at `url`, one by one; raises `ServiceUnreachable`."""
    import httpx

    try:
        client = httpx.Client(base_url=url, timeout=TIMEOUT_S)
    except httpx.InvalidURL as error:
        raise ServiceUnreachable(url, str(error)) from error
    with client:
        for path in images:
            try:
                data = path.read_bytes()
            except OSError as error:
                yield _unreadable(path, error)
                continue
            try:
                answer = client.post("/predict", params={"top_k": top_k}, files={"file": (path.name, data)})
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise ServiceUnreachable(url, str(error)) from error
            try:
                yield _understood(path, answer)
            except ValueError as error:
                raise ServiceUnreachable(url, f"it answered {answer.status_code} in another format") from error


def _understood(path: Path, answer: httpx.Response) -> Prediction | FailedPrediction:
    """Read what the service said of one image; raises a pydantic error (`ValueError`) where it is no Linnet service."""
    if answer.is_success:
        prediction = PredictBody.model_validate_json(answer.content).predictions[0]
        return prediction.model_copy(update={"filename": str(path)})
    problem = ProblemBody.model_validate_json(answer.content)
    return _failed(path, problem.code, problem.detail)


def default_bundle(models_dir: Path) -> Path:
    """Return the highest version of the first name, which is what a service answers with by default."""
    directories = bundle_directories(models_dir)
    if not directories:
        raise BundleNotFound(models_dir)
    return max((path for path in directories if path.parent == directories[0].parent), key=lambda path: int(path.name))


def _unreadable(path: Path, error: OSError) -> FailedPrediction:
    return _failed(path, "unreadable_file", f"The file cannot be read ({error.strerror}): check it.")


def _failed(path: Path, code: str, detail: str) -> FailedPrediction:
    return FailedPrediction(filename=str(path), error=ItemError(code=code, detail=detail))
