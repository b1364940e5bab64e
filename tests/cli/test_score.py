"""`linnet score`: shards of Parquet that say what `linnet predict` says, whoever computes them and however often."""

from __future__ import annotations

import errno
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from linnet.cli.scoring.image_set import ImageSet
from linnet.cli.scoring.scorer import Scorer
from tests.cli.conftest import Linnet
from tests.service.bundles import png, write_model

parquet = pytest.importorskip("pyarrow.parquet", reason="the ray extra is not installed")

COUNT = 23  # images that can be read; with the damaged one, four shards of seven


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("scoring") / "models")


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of all colours in two folders, one of them damaged, and what is not to be scored."""
    folder = tmp_path_factory.mktemp("album")
    colours = np.random.default_rng(0).integers(0, 256, (COUNT, 3))
    for number, colour in enumerate(colours):
        path = folder / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 20), tuple(map(int, colour))).save(path)
    (folder / "a" / "broken.png").write_bytes(png()[:60])
    (folder / "a" / "notes.txt").write_text("no image")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "00.png").write_bytes(png())
    return folder


def table(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of all shards, in order."""
    rows: list[dict[str, Any]] = parquet.read_table(folder).to_pylist()
    return rows


def test_scores_are_the_predictions(linnet: Linnet, bundle: Path, album: Path, tmp_path: Path) -> None:
    answer = linnet("score", album, "--out", tmp_path / "scores", "--bundle", bundle, "--shard-images", 7)
    summary = json.loads(answer.out)
    assert (summary["images"], summary["scored_now"], summary["failed_now"]) == (COUNT + 1, COUNT + 1, 1)
    assert sorted(path.name for path in (tmp_path / "scores").glob("part-*")) == [
        f"part-{number:06}.parquet" for number in range(4)
    ]
    predicted = [json.loads(line) for line in linnet("predict", album, "--bundle", bundle).out.splitlines()]
    for row, expected in zip(table(tmp_path / "scores"), predicted, strict=True):
        assert str(album / row["filename"]) == expected["filename"]
        if "error" in expected:
            assert (row["error_code"], row["error_detail"]) == tuple(expected["error"].values())
            assert row["label"] is None
        else:
            assert (row["label"], row["uncertain"]) == (expected["label"], expected["uncertain"])
            assert row["top_labels"] == [score["label"] for score in expected["top"]]
            assert row["top_probabilities"] == pytest.approx([score["probability"] for score in expected["top"]])


def test_a_zip_holds_the_same_images(linnet: Linnet, bundle: Path, album: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "album.zip", "w") as archive:
        for path in album.rglob("*"):
            archive.write(path, path.relative_to(album))
    linnet("score", album, "--out", tmp_path / "folder", "--bundle", bundle)
    linnet("score", tmp_path / "album.zip", "--out", tmp_path / "zip", "--bundle", bundle)
    assert len(table(tmp_path / "zip")) == COUNT + 1
    assert table(tmp_path / "zip") == table(tmp_path / "folder")


def test_a_zip_is_read_by_many_at_once_from_the_start(tmp_path: Path) -> None:
    """Each reader would begin the table of contents, and others find it half made."""
    names = [f"{number:05}.png" for number in range(5000)]
    with zipfile.ZipFile(tmp_path / "album.zip", "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    for _ in range(3):
        assert set(ImageSet(str(tmp_path / "album.zip")).read(names[-64:])) == {b"x"}


def test_addresses_of_storage_are_read_and_written(linnet: Linnet, bundle: Path, album: Path) -> None:
    """Memory stands for a bucket: the same calls, another kind of storage."""
    import fsspec

    storage = fsspec.filesystem("memory")
    for path in album.rglob("*.png"):
        storage.pipe_file(f"/bucket/{path.relative_to(album)}", path.read_bytes())
    answer = linnet("score", "memory://bucket", "--out", "memory://scores", "--bundle", bundle)
    assert json.loads(answer.out)["scored_now"] == COUNT + 1
    with storage.open("/scores/part-000000.parquet") as file:
        assert parquet.read_table(file).num_rows == COUNT + 1


def test_a_stopped_run_continues(linnet: Linnet, bundle: Path, album: Path, tmp_path: Path) -> None:
    words = ("score", album, "--out", tmp_path / "scores", "--bundle", bundle, "--shard-images", 7)
    linnet(*words)
    whole = table(tmp_path / "scores")
    kept = (tmp_path / "scores" / "part-000000.parquet").stat()
    (tmp_path / "scores" / "part-000002.parquet").unlink()
    assert json.loads(linnet(*words).out)["scored_now"] == 7
    assert table(tmp_path / "scores") == whole
    assert (tmp_path / "scores" / "part-000000.parquet").stat() == kept
    assert json.loads(linnet(*words).out)["scored_now"] == 0


def test_scores_of_another_job_are_not_mixed(linnet: Linnet, bundle: Path, album: Path, tmp_path: Path) -> None:
    words = ("score", album, "--out", tmp_path / "scores", "--bundle", bundle)
    linnet(*words)
    assert linnet(*words, "--top-k", 2).complaint == (
        f"{tmp_path / 'scores'} holds scores with another top k: name another folder, or remove that one."
    )
    other = shutil.copytree(album, tmp_path / "album")
    (other / "b" / "01.png").rename(other / "b" / "one.png")
    assert linnet("score", other, *words[2:]).code == 2


@pytest.fixture
def bucket(album: Path) -> Iterator[set[str]]:
    """Storage at away://bucket that holds the album and twenty more; names in the set cannot be read just now."""
    import fsspec
    from fsspec.implementations.memory import MemoryFileSystem

    away: set[str] = set()

    class Storage(MemoryFileSystem):  # type: ignore[misc]
        protocol = "away"
        store: ClassVar[dict[str, Any]] = {}
        pseudo_dirs: ClassVar[list[str]] = [""]
        cachable = False

        def makedirs(self, path: str, exist_ok: bool = False) -> None:
            """Make nothing: object storage has no folders, and lists none that is empty."""

        def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
            if not any(name.startswith(f"{self._strip_protocol(path)}/") for name in self.store):
                raise FileNotFoundError(path)
            return super().ls(path, detail, **options)

        @classmethod
        def _strip_protocol(cls, path: str) -> Any:
            return super()._strip_protocol(str(path).removeprefix("away://"))

        def cat_file(self, path: str, *args: Any, **options: Any) -> Any:
            if path.rpartition("/")[2] in away:
                raise OSError(errno.ESTALE, "Stale file handle")
            return super().cat_file(path, *args, **options)

    fsspec.register_implementation("away", Storage, clobber=True)
    storage = Storage()
    for path in album.rglob("*.png"):
        storage.pipe_file(f"/bucket/{path.relative_to(album)}", path.read_bytes())
    for number in range(20):
        storage.pipe_file(f"/bucket/c/c{number:02}.png", png())
    yield away
    Storage.store.clear()


def test_storage_that_has_gone_is_not_written_down_as_scores(
    linnet: Linnet, bundle: Path, bucket: set[str], tmp_path: Path
) -> None:
    bucket |= {f"c{number:02}.png" for number in range(20)}
    words = ("score", "away://bucket", "--out", tmp_path / "scores", "--bundle", bundle, "--shard-images", 24)
    complaint = linnet(*words).complaint
    assert complaint.startswith("The images at away://bucket cannot be read any more (16 in a row, the last of them ")
    assert "c/c15.png: Stale file handle)" in complaint
    assert not (tmp_path / "scores" / "part-000001.parquet").exists()
    bucket.clear()
    assert json.loads(linnet(*words).out)["images"] == COUNT + 21
    assert sum(row["error_code"] is not None for row in table(tmp_path / "scores")) == 1


def test_a_folder_of_object_storage_is_there_once_it_holds_something(
    linnet: Linnet, bundle: Path, bucket: set[str]
) -> None:
    words = ("score", "away://bucket", "--out", "away://scores/new", "--bundle", bundle)
    assert not bucket
    assert json.loads(linnet(*words).out)["scored_now"] == COUNT + 21
    assert json.loads(linnet(*words).out)["scored_now"] == 0


def test_a_shard_at_whose_end_the_storage_goes_is_not_written(
    linnet: Linnet, bundle: Path, bucket: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer than sixteen are left in it, and what was read before cannot be read again."""
    read, gone = Scorer._decoded, {f"c{number:02}.png" for number in range(20)}

    def decoded(scorer: Scorer, name: str, data: bytes | OSError) -> Any:
        if name == "c/c14.png":
            bucket.update(gone)
        return read(scorer, name, OSError(errno.ESTALE, "Stale file handle") if name > "c/c14.png" else data)

    words = ("score", "away://bucket", "--out", tmp_path / "scores", "--bundle", bundle)
    with monkeypatch.context() as storage_goes:
        storage_goes.setattr(Scorer, "_decoded", decoded)
        assert "(6 in a row, the last of them c/c14.png: Stale file handle)" in linnet(*words).complaint
    assert not list((tmp_path / "scores").glob("part-*"))
    bucket.clear()
    assert json.loads(linnet(*words).out)["failed_now"] == 1


def test_an_image_here_and_there_that_cannot_be_read_is_a_row(
    linnet: Linnet, bundle: Path, bucket: set[str], tmp_path: Path
) -> None:
    bucket |= {"c07.png"}
    answer = linnet("score", "away://bucket", "--out", tmp_path / "scores", "--bundle", bundle)
    assert json.loads(answer.out)["failed_now"] == 2
    codes = {row["filename"]: row["error_code"] for row in table(tmp_path / "scores")}
    assert codes["c/c07.png"] == "unreadable_file"


def test_a_damaged_note_of_the_job_is_said(linnet: Linnet, bundle: Path, album: Path, tmp_path: Path) -> None:
    words = ("score", album, "--out", tmp_path / "scores", "--bundle", bundle)
    linnet(*words)
    note = tmp_path / "scores" / "_job.json"
    whole = note.read_text()
    for damaged in ("", "[1]", whole[:30]):
        note.write_text(damaged)
        assert linnet(*words).complaint.startswith(f"{note} cannot be read (")
    note.unlink()
    assert linnet(*words).complaint == (
        f"{note.parent} holds scores and no _job.json that says of what: name another folder, or remove that one."
    )
    note.write_text(whole)
    assert json.loads(linnet(*words).out)["scored_now"] == 0


def test_a_name_that_is_no_text_is_said(linnet: Linnet, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "album").mkdir()
    (tmp_path / "album" / os.fsdecode(b"caf\xe9.png")).write_bytes(png())
    complaint = linnet("score", tmp_path / "album", "--out", tmp_path / "scores", "--bundle", bundle).complaint
    assert complaint.startswith(r"The name of caf\xe9.png is not UTF-8")


def test_what_cannot_be_scored_is_said(linnet: Linnet, bundle: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "scores", "--bundle", bundle)
    assert linnet("score", tmp_path / "nothing", *out).code == 2
    assert "cannot be listed" in linnet("score", "nonsense://there", *out).complaint
    (tmp_path / "damaged.zip").write_bytes(b"PK")
    assert "cannot be listed" in linnet("score", tmp_path / "damaged.zip", *out).complaint
    assert not (tmp_path / "scores").exists()
