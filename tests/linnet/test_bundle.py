"""A bundle is written whole or not at all, and what is not what was measured is refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from linnet.bundle import (
    MANIFEST_FILE,
    bundle_directories,
    next_version,
    read_manifest,
    sha256_of,
    verify_files,
    write_bundle,
)
from linnet.errors import BundleExists, BundleNotFound, CorruptBundle
from tests.linnet.manifests import CONTENTS, manifest, write_sources

SHIPPED = Path(__file__).parents[2] / "models"


def everything_under(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def test_a_bundle_is_a_numbered_directory_with_manifest_and_networks(bundle: Path) -> None:
    assert bundle.parts[-2:] == ("pets", "1")
    assert everything_under(bundle) == ["bundle.json", "model.int8.onnx", "model.onnx"]
    assert (bundle / "model.onnx").read_bytes() == b"a network"
    assert bundle.stat().st_mode & 0o777 == 0o755
    verify_files(bundle, read_manifest(bundle))


def test_every_bundle_that_ships_can_be_read_and_is_whole() -> None:
    directories = bundle_directories(SHIPPED)
    assert SHIPPED / "cifar10" / "4" in directories
    for directory in directories:
        verify_files(directory, read_manifest(directory))


def test_no_bundle_where_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "nothing", tmp_path / "file"):
        with pytest.raises(BundleNotFound):
            read_manifest(place)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b"a networ"), "has 8 bytes instead of 9"),
        (lambda path: path.write_bytes(b"A network"), "another SHA-256"),
    ],
)
def test_a_file_that_is_not_the_measured_one_is_refused(
    bundle: Path, damage: Callable[[Path], object], complaint: str
) -> None:
    damage(bundle / "model.onnx")
    with pytest.raises(CorruptBundle, match=complaint):
        verify_files(bundle, read_manifest(bundle))


def test_the_hash_is_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # the example of FIPS 180-2, appendix B.1
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_an_existing_version_is_never_overwritten(bundle: Path, tmp_path: Path) -> None:
    before = (bundle / MANIFEST_FILE).read_bytes()
    with pytest.raises(BundleExists):
        write_bundle(
            bundle.parents[1], manifest(CONTENTS, licence="another"), write_sources(tmp_path / "other", CONTENTS)
        )
    assert (bundle / MANIFEST_FILE).read_bytes() == before
    assert len(list(bundle.parent.iterdir())) == 1


def test_a_version_that_appears_while_writing_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process finishes the same version between our look and our rename."""
    sources = write_sources(tmp_path / "sources", CONTENTS)
    rename = Path.rename

    def late_rename(self: Path, target: Path) -> Path:
        target.mkdir()
        (target / MANIFEST_FILE).write_text("theirs")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late_rename)
    with pytest.raises(BundleExists):
        write_bundle(tmp_path / "models", manifest(CONTENTS), sources)
    assert everything_under(tmp_path / "models") == ["pets/1/bundle.json"]
    assert (tmp_path / "models/pets/1/bundle.json").read_text() == "theirs"


def test_a_failing_write_leaves_nothing(tmp_path: Path) -> None:
    models = tmp_path / "models"
    sources = write_sources(tmp_path / "sources", CONTENTS)
    (tmp_path / "sources" / "source-int8").write_bytes(b"another network")
    with pytest.raises(CorruptBundle):
        write_bundle(models, manifest(CONTENTS), sources)
    with pytest.raises(CorruptBundle, match="is missing"):
        write_bundle(models, manifest(CONTENTS), {"model.onnx": sources["model.onnx"]})
    (tmp_path / "sources" / "source-int8").unlink()
    with pytest.raises(OSError, match="source-int8"):
        write_bundle(models, manifest(CONTENTS), sources)
    assert list((models / "pets").iterdir()) == []
    assert next_version(models, "pets") == 1


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("linnet.bundle.verify_files", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(tmp_path / "models", manifest(CONTENTS), write_sources(tmp_path / "sources", CONTENTS))
    assert list((tmp_path / "models" / "pets").iterdir()) == []


def test_versions_count_up_as_numbers(tmp_path: Path) -> None:
    assert next_version(tmp_path / "nowhere", "pets") == 1
    for version in ("1", "2", "9", "10", "draft", ".11-abc"):
        (tmp_path / "pets" / version).mkdir(parents=True)
    (tmp_path / "cars" / "40").mkdir(parents=True)
    (tmp_path / "pets" / "12").touch()  # a file is no bundle
    assert next_version(tmp_path, "pets") == 11
    assert next_version(tmp_path, "birds") == 1
    found = [f"{path.parent.name}/{path.name}" for path in bundle_directories(tmp_path)]
    assert found == ["cars/40", "pets/1", "pets/2", "pets/9", "pets/10"]


def test_a_link_that_leads_nowhere_or_to_itself_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "a" / "1").mkdir(parents=True)
    (tmp_path / "b").symlink_to(tmp_path / "b")
    (tmp_path / "a" / "2").symlink_to(tmp_path / "nowhere")
    (tmp_path / "c").write_text("no folder")
    assert bundle_directories(tmp_path) == [tmp_path / "a" / "1"]
    assert bundle_directories(tmp_path / "nowhere") == []
