"""The folder of scores: one Parquet file per shard, each written whole or not at all."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from linnet.cli.scoring.errors import DamagedJob, OtherScores, ScoresUnusable, UnknownScores

if TYPE_CHECKING:
    import pyarrow

# Readers of Parquet folders pass over names that begin so.
JOB_FILE = "_job.json"

# What is said of one image, as `service.schemas` has it: a Prediction or a FailedPrediction.
Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What decides the content of the shards; a folder holds those of one job."""

    images: str  # where they lie
    image_count: int
    names_sha256: str  # of all their names, in order
    model: str
    version: int
    model_sha256: str
    shard_images: int
    top_k: int


@dataclass(frozen=True)
class Shard:
    """A run of the images' names."""

    number: int
    names: Sequence[str]

    @property
    def file(self) -> str:
        """Return the name of its file."""
        return f"part-{self.number:06}.parquet"


def cut(names: Sequence[str], shard_images: int) -> list[Shard]:
    """Cut the names into shards of `shard_images`; the last takes the rest."""
    starts = range(0, len(names), shard_images)
    return [Shard(number, names[start : start + shard_images]) for number, start in enumerate(starts)]


class ScoreFolder:
    """Where the shards of a job are written: a folder of this machine, a shared one, or object storage."""

    def __init__(self, location: str) -> None:
        """Open the location, and make the folder; raises `ScoresUnusable`."""
        import fsspec

        self.location = location
        try:
            self._files, self._root = fsspec.core.url_to_fs(location)
            self._files.makedirs(self._root, exist_ok=True)
        except Exception as error:  # every kind of storage has its own
            raise ScoresUnusable(location, str(error) or type(error).__name__) from error

    def claim(self, job: Job) -> None:
        """Write down what is scored here, or continue with it.

        Raises `OtherScores` where it is something else, `DamagedJob` or `UnknownScores` where that cannot be told.
        """
        path = f"{self._root}/{JOB_FILE}"
        if not self._files.exists(path):
            if self.finished():
                raise UnknownScores(self.location, JOB_FILE)
            staging = f"{self._root}/.{JOB_FILE}.{uuid.uuid4().hex}"
            self._files.pipe_file(staging, json.dumps(asdict(job), indent=2).encode() + b"\n")
            self._files.mv(staging, path)
        there = self._read_job(path)  # of another, too, that claimed it at the same time
        for key, value in asdict(job).items():
            if there.get(key) != value:
                raise OtherScores(self.location, key.replace("_", " "))

    def _read_job(self, path: str) -> dict[str, Any]:
        try:
            return dict(json.loads(self._files.cat_file(path)))
        except (TypeError, ValueError) as error:
            raise DamagedJob(f"{self.location}/{JOB_FILE}", str(error)) from error

    def finished(self) -> set[str]:
        """List the files of the shards that are there."""
        try:
            found = self._files.ls(self._root, detail=False, refresh=True)
        except FileNotFoundError:  # object storage knows no empty folder
            return set()
        names = (str(path).rsplit("/", 1)[-1] for path in found)
        return {name for name in names if re.fullmatch(r"part-\d{6,}\.parquet", name)}

    def write(self, shard: Shard, rows: Sequence[Row]) -> None:
        """Write the file of a shard; who reads the folder sees all of it or nothing."""
        import pyarrow.parquet

        staging = f"{self._root}/.{shard.file}.{uuid.uuid4().hex}"
        with self._files.open(staging, "wb") as file:
            pyarrow.parquet.write_table(_table(rows), file, compression="zstd")
        self._files.mv(staging, f"{self._root}/{shard.file}")


def _table(rows: Sequence[Row]) -> pyarrow.Table:
    """Return the rows as columns; those of an image that failed hold an error and nothing else."""
    import pyarrow as pa

    schema = pa.schema(
        {
            "filename": pa.string(),
            "label": pa.string(),
            "confidence": pa.float32(),
            "uncertain": pa.bool_(),
            "top_labels": pa.list_(pa.string()),
            "top_probabilities": pa.list_(pa.float32()),
            "error_code": pa.string(),
            "error_detail": pa.string(),
        }
    )
    return pa.Table.from_pylist([_columns(row) for row in rows], schema=schema)


def _columns(row: Row) -> Row:
    if "error" in row:
        return {"filename": row["filename"], "error_code": row["error"]["code"], "error_detail": row["error"]["detail"]}
    return row | {
        "top_labels": [score["label"] for score in row["top"]],
        "top_probabilities": [score["probability"] for score in row["top"]],
    }
