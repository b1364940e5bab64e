from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linnet.bundle import bundle_directories, sha256_of
from linnet.errors import ProviderUnavailable
from linnet.session import PROVIDER_NAMES
from service.loading import Loaded, Loader
from service.metrics import Metrics
from service.settings import Settings
from tests.service.bundles import write_model


def load_all(models_dir: Path, **settings: Any) -> Loaded:
    loader = Loader(Settings(models_dir=models_dir, provider="cpu", **settings), Metrics())
    return loader.load(bundle_directories(models_dir))


def _truncate(bundle: Path) -> None:
    network = bundle / "model.onnx"
    network.write_bytes(network.read_bytes()[:-1])


def _swap_a_byte(bundle: Path) -> None:
    network = bundle / "model.onnx"
    content = bytearray(network.read_bytes())
    content[len(content) // 2] ^= 1
    network.write_bytes(content)


def _remove_network(bundle: Path) -> None:
    (bundle / "model.onnx").unlink()


def _break_json(bundle: Path) -> None:
    (bundle / "bundle.json").write_text("{")


def _remove_manifest(bundle: Path) -> None:
    (bundle / "bundle.json").unlink()


def _rename(bundle: Path) -> None:
    _edit(bundle, "name", "others")


def _expect_other_answers(bundle: Path) -> None:
    cases = json.loads((bundle / "bundle.json").read_text())["self_test"]
    cases[0]["probabilities"]["fp32"] = [0.1, 0.2, 0.7]
    _edit(bundle, "self_test", cases)


def _edit(bundle: Path, key: str, value: object) -> None:
    path = bundle / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_truncate, "bytes instead of"),
        (_swap_a_byte, "another SHA-256"),
        (_remove_network, "is missing"),
        (_break_json, "is not valid"),
        (_remove_manifest, "no bundle"),
        (_rename, "states the name others"),
        (_expect_other_answers, "fails its self-test"),
    ],
)
def test_a_bad_bundle_is_refused_with_one_sentence_and_the_others_load(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None], reason: str
) -> None:
    write_model(tmp_path / "models", "good")
    damage(write_model(tmp_path / "models", "bad", 3))
    with caplog.at_level(logging.ERROR):
        loaded = load_all(tmp_path / "models")
    assert [model.name for model in loaded.models] == ["good"]
    assert [(entry.name, entry.version) for entry in loaded.failed] == [("bad", 3)]
    assert reason in loaded.failed[0].reason
    assert [record.getMessage() for record in caplog.records] == [loaded.failed[0].reason]


def test_a_network_that_onnx_runtime_cannot_open_is_refused(tmp_path: Path) -> None:
    """Its hash is right: it was damaged before it was measured."""
    bundle = write_model(tmp_path / "models")
    (bundle / "model.onnx").write_bytes(b"not a network")
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["variants"][0] |= {"size_bytes": 13, "sha256": sha256_of(bundle / "model.onnx")}
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    loaded = load_all(tmp_path / "models")
    assert "does not run" in loaded.failed[0].reason


@pytest.fixture
def doubtful(tmp_path: Path) -> Path:
    """A models folder whose bundle has an int8 variant that answers here as it was not measured."""
    bundle = write_model(tmp_path / "models")
    shutil.copyfile(bundle / "model.onnx", bundle / "model.int8.onnx")
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["variants"].append({**manifest["variants"][0], "precision": "int8", "file": "model.int8.onnx"})
    for case in manifest["self_test"]:
        case["probabilities"]["int8"] = [0.0, 0.5, 0.5]
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    return tmp_path / "models"


def test_a_variant_that_fails_its_self_test_here_is_not_served_and_that_is_said(
    doubtful: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As int8 does on a processor whose sums saturate."""
    metrics = Metrics()
    with caplog.at_level(logging.WARNING):
        loader = Loader(Settings(models_dir=doubtful, provider="cpu"), metrics)
        (model,) = loader.load(bundle_directories(doubtful)).models
    assert metrics.registry.get_sample_value("linnet_model_fallbacks_total", {"model": "colours", "version": "1"}) == 1
    assert model.variant.precision == "fp32"
    assert model.fallback is not None
    assert model.fallback.startswith("int8 is not used: its probabilities differ by")
    assert [record.getMessage() for record in caplog.records] == [f"Model colours 1: {model.fallback}"]
    assert load_all(doubtful, variant="fp32").models[0].fallback is None


def test_a_variant_asked_for_by_name_is_never_replaced(doubtful: Path) -> None:
    assert "The int8 variant of the bundle" in load_all(doubtful, variant="int8").failed[0].reason
    assert "has no fp16 variant (it has fp32, int8)" in load_all(doubtful, variant="fp16").failed[0].reason


def test_cuda_asked_for_and_not_there_stops_everything(models_dir: Path) -> None:
    import onnxruntime

    if PROVIDER_NAMES["cuda"] in onnxruntime.get_available_providers():
        pytest.skip("CUDA is there")
    with pytest.raises(ProviderUnavailable):
        Loader(Settings(models_dir=models_dir, provider="cuda"), Metrics()).load(bundle_directories(models_dir))


def test_a_file_that_cannot_be_read_is_said_and_the_others_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    write_model(models, "bad", 1)
    write_model(models, "good", 1)

    def unreadable(path: Path) -> str:
        if "bad" in path.parts:
            raise PermissionError(13, "Permission denied")
        return sha256_of(path)

    monkeypatch.setattr("linnet.bundle.sha256_of", unreadable)
    loaded = load_all(models)
    assert [model.name for model in loaded.models] == ["good"]
    (failed,) = loaded.failed
    assert "model.onnx cannot be read (Permission denied)" in failed.reason
