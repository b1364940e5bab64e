"""What can go wrong between a recipe and a run, each in one sentence that says what to do."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from linnet.errors import LinnetError, Stopped, UsageError


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


class InvalidRecipe(UsageError):
    """The recipe or an override of it does not follow the schema."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"The recipe {path} is not valid: {problem}.")


class DataError(LinnetError):
    """The images cannot be trained on as they lie there."""


class DataNotFound(DataError):
    """The data folder does not exist."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"There is no data at {path}: set data.path to a folder that holds one folder of images per class."
        )


class CannotDownload(DataError):
    """torchvision could not fetch the data set."""

    def __init__(self, what: str, path: Path, reason: str) -> None:
        super().__init__(
            f"{what} cannot be downloaded to {path} ({reason}): check the network, or put the files there."
        )


class TooFewClasses(DataError):
    """Fewer than two class folders."""

    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        found = f"only the class folder {classes[0]!r}" if classes else "no class folder"
        super().__init__(f"{path} holds {found}: put the images of each class into a folder of its own, two at least.")


class EmptyClass(DataError):
    """A class folder without a single image."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"The class folder {path} holds no image: add images or remove the folder.")


class TooFewImages(DataError):
    """A class has too few images to be in every split."""

    def __init__(self, name: str, count: int, needed: int) -> None:
        images = "1 image" if count == 1 else f"{count} images"
        super().__init__(
            f"The class {name!r} has {images} for training, but {needed} are needed so that every split has one: "
            "add images or remove the class."
        )


class ClassesDiffer(DataError):
    """The split folders do not hold the same classes."""

    def __init__(self, split: Path, missing: Sequence[str], extra: Sequence[str]) -> None:
        parts = [f"lacks {', '.join(missing)}"] if missing else []
        parts += [f"has {', '.join(extra)} besides"] if extra else []
        super().__init__(f"{split} {' and '.join(parts)}: every split needs the same class folders as train.")


class SplitsUnclear(DataError):
    """The folders look like splits, not like classes, and which of them is which cannot be told."""

    def __init__(self, root: Path, folders: Sequence[str], classes: Sequence[str]) -> None:
        super().__init__(
            f"The folders of {root} ({', '.join(folders)}) all hold the same ones ({_some(classes)}), as splits do: "
            "name them train, val and test, or set data.path to the one that holds a folder per class; where they are "
            "classes, rename the one that is called as a split is."
        )


class UnreadableFiles(DataError):
    """Files with an image's name that cannot be decoded."""

    def __init__(self, paths: Sequence[Path], first_reason: str) -> None:
        shown = ", ".join(str(path) for path in paths[:3])
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        super().__init__(f"{len(paths)} of the images cannot be used: {shown}{more}. The first: {first_reason}")


class SingleImage(DataError):
    """A class of the training folder has one image, from which nothing general can be learnt."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The class {name!r} has a single image for training: add images or remove the class.")


class DuplicateImages(DataError):
    """The same image, byte for byte, lies in two splits, so that a score would count what was learnt by heart."""

    def __init__(self, pairs: Sequence[tuple[Path, Path]]) -> None:
        shown = ", ".join(f"{first} is also {second}" for first, second in pairs[:3])
        more = f" and {len(pairs) - 3} more" if len(pairs) > 3 else ""
        images = "1 image is" if len(pairs) == 1 else f"{len(pairs)} images are"
        super().__init__(f"{images} in more than one split ({shown}{more}): remove all but one of each.")


class DiskFull(LinnetError):
    """The disk has no room for what is to be written; nothing half-written is left."""

    def __init__(self, folder: Path, reason: str, advice: str) -> None:
        super().__init__(f"There is not enough space on the disk of {folder} ({reason}): {advice}.")


class WeightsNotFound(UsageError):
    """The weights file does not exist."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"There is no weights file at {path}: set network.weights to a safetensors file, 'imagenet' or 'none'."
        )


class WeightsMismatch(LinnetError):
    """The weights file does not belong to the backbone."""

    def __init__(self, path: Path, backbone: str, reason: str) -> None:
        super().__init__(
            f"{path} does not hold weights of {backbone} ({reason}): choose the matching file or backbone."
        )


class UnknownBackbone(UsageError):
    """No backbone has that name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        nearest = difflib.get_close_matches(name, known, n=3) or known[:20]
        super().__init__(f"There is no backbone {name!r}: choose one such as {', '.join(nearest)}, or a timm/NAME.")


class NoPublishedWeights(UsageError):
    """A network from scratch was asked for ImageNet weights."""

    def __init__(self, backbone: str) -> None:
        super().__init__(f"There are no ImageNet weights of {backbone}: set network.weights to 'none' or to a file.")


class TimmMissing(UsageError):
    """A backbone of timm was named and timm is not installed."""

    def __init__(self) -> None:
        super().__init__("Backbones named timm/NAME need timm, which is not installed: `pip install -e '.[timm]'`.")


class RunExists(UsageError):
    """The run directory is taken; runs are never overwritten."""

    def __init__(self, directory: Path, complete: bool) -> None:
        advice = (
            "choose another with --run DIR"
            if complete
            else "continue it with --resume or choose another with --run DIR"
        )
        super().__init__(f"There is {'a complete' if complete else 'an unfinished'} run in {directory}: {advice}.")


class FolderTaken(UsageError):
    """The directory for a run holds other things, or is a file."""

    def __init__(self, directory: Path) -> None:
        super().__init__(f"{directory} holds something else than a run: choose another with --run DIR.")


class RunNotFound(UsageError):
    """The directory holds no finished run."""

    def __init__(self, directory: Path) -> None:
        super().__init__(f"There is no finished run in {directory}: name a folder that `linnet train` has written.")


class InvalidRun(LinnetError):
    """run.json, resume.pt or the weights of a run cannot be read."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} cannot be read as part of a run ({reason}): train again.")


class NothingToResume(UsageError):
    """--resume without a checkpoint."""

    def __init__(self, directory: Path) -> None:
        super().__init__(f"There is nothing to resume in {directory}: start it without --resume.")


class ResumeMismatch(UsageError):
    """The recipe or the data changed since the run was interrupted."""

    def __init__(self, directory: Path, what: str) -> None:
        super().__init__(
            f"{what} changed since the run in {directory} was interrupted: restore it or start another run."
        )


class NonFiniteLoss(LinnetError):
    """Training diverged."""

    def __init__(self, phase: str, epoch: int, when: str) -> None:
        super().__init__(
            f"The loss is not finite in phase {phase!r}, epoch {epoch}, {when}: lower optim.lr and start another run "
            "with --run DIR."
        )


class BatchTooSmall(UsageError):
    """A batch cannot be cut into parts of two images."""

    def __init__(self, images: int, processes: int, accumulate: int) -> None:
        super().__init__(
            f"A batch of {images} images cannot be cut for {processes} processes times {accumulate} parts of two "
            "images each: raise batch_size, lower accumulate, or use fewer processes."
        )


class CannotCompile(LinnetError):
    """torch.compile does not work here."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The network cannot be compiled here ({reason}): install a C++ compiler or set compute.compile to false."
        )


class Interrupted(Stopped):
    """The person at the terminal stopped the training."""

    def __init__(self, directory: Path, resumable: bool) -> None:
        advice = (
            f"continue after the last whole epoch with --resume --run {directory}"
            if resumable
            else "no epoch was finished, so start it again"
        )
        super().__init__(f"Interrupted: {advice}.")


class DataChanged(DataError):
    """The images are not the ones the run was trained and tested on."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"The images in {path} are not the ones this run was tested on: restore them, or train on what is there."
        )
