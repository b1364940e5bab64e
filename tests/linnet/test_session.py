"""A network is opened on the provider that was asked for, and held against its manifest."""

from __future__ import annotations

import base64
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from linnet.errors import BundleMismatch, ProviderUnavailable, SelfTestFailed
from linnet.manifest import Manifest
from linnet.preprocess import load_image
from linnet.session import SELF_TEST_TOLERANCE, Network, Placement, check_network, open_network, providers_of
from tests.linnet.manifests import CLASSES, SIZE_PX, manifest
from tests.linnet.networks import write_network


@pytest.fixture(scope="module")
def network_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("network") / "model.onnx")


@pytest.fixture(scope="module")
def network(network_path: Path) -> Network:
    return open_network(network_path, Placement("cpu"))


def images(n: int) -> npt.NDArray[np.uint8]:  # [N, H, W, 3]
    return np.random.default_rng(n).integers(0, 256, (n, SIZE_PX, SIZE_PX, 3), dtype=np.uint8)


def expecting(offset: float, network: Network) -> Manifest:
    """Return a manifest whose first self-test probability is `offset` away from what the network says."""
    described = manifest({"fp32": b"x"})
    case = described.self_test[0]
    said = network(load_image(base64.b64decode(case.image_png), described.preprocess)[None]).probabilities[0]
    row = [float(value) for value in said]
    row[0] += offset
    return manifest({"fp32": b"x"}, self_test=[{"image_png": case.image_png, "probabilities": {"fp32": row}}])


@pytest.mark.parametrize("n", [1, 2, 3, 7, 32])
def test_any_batch_size_works(network: Network, n: int) -> None:
    outputs = network(images(n))
    assert outputs.probabilities.shape == outputs.logits.shape == (n, len(CLASSES))
    assert outputs.embedding.shape == (n, 3)
    assert outputs.probabilities.dtype == outputs.logits.dtype == outputs.embedding.dtype == np.float32
    assert outputs.probabilities.sum(axis=1) == pytest.approx(np.ones(n), abs=1e-6)
    assert outputs.embedding == pytest.approx(images(n).mean(axis=(1, 2)), abs=1e-3)


def test_the_graph_states_its_shapes(network: Network) -> None:
    assert network.input_shape == ["N", SIZE_PX, SIZE_PX, 3]
    assert network.class_count == len(CLASSES)
    assert network.provider == "CPUExecutionProvider"


def test_threads_share_a_network(network: Network) -> None:
    batches = [images(n) for n in (1, 2, 3, 4)] * 8
    alone = [network(batch).probabilities for batch in batches]
    start = threading.Barrier(4)
    with ThreadPoolExecutor(4, initializer=start.wait) as pool:
        for together, expected in zip(pool.map(network, batches), alone, strict=True):
            assert np.array_equal(together.probabilities, expected)


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="CUDA may be active here")
def test_cuda_is_refused_where_it_is_not_active(network_path: Path) -> None:
    with pytest.raises(ProviderUnavailable, match=r"CUDAExecutionProvider here .*CPUExecutionProvider"):
        open_network(network_path, Placement("cuda"))


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_that_cuda_is_offered_is_no_evidence(network_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is what the session has when it is there."""
    offered = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: offered)
    with pytest.raises(ProviderUnavailable):
        open_network(network_path, Placement("cuda"))


def test_the_options_of_cuda_reach_onnx_runtime() -> None:
    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    assert providers_of(Placement("cpu", cuda_device=1)) == [cpu]
    assert providers_of(Placement("cuda")) == [(cuda, {"device_id": "0"}), cpu]
    limited = {"device_id": "1", "gpu_mem_limit": "1000", "arena_extend_strategy": "kSameAsRequested"}
    assert providers_of(Placement("cuda", cuda_device=1, cuda_memory_bytes=1000)) == [(cuda, limited), cpu]


def test_auto_takes_what_there_is(network_path: Path) -> None:
    assert open_network(network_path, Placement("auto")).provider in onnxruntime.get_available_providers()


def test_a_network_that_answers_as_measured_is_accepted(network: Network, tmp_path: Path) -> None:
    described = expecting(0.0, network)
    check_network(tmp_path, described, described.variants[0], network)


@pytest.mark.parametrize(("share", "is_refused"), [(0.9, False), (-0.9, False), (1.1, True), (-1.1, True)])
def test_the_self_test_tolerates_a_little(network: Network, tmp_path: Path, share: float, is_refused: bool) -> None:
    described = expecting(share * SELF_TEST_TOLERANCE["fp32"], network)
    if is_refused:
        with pytest.raises(SelfTestFailed, match=r"fp32 variant .* 0\.001 is allowed"):
            check_network(tmp_path, described, described.variants[0], network)
    else:
        check_network(tmp_path, described, described.variants[0], network)


def test_an_answer_that_is_not_a_number_is_refused(tmp_path: Path) -> None:
    """NaN is larger than nothing and smaller than nothing; it must not pass for equal."""
    broken = open_network(write_network(tmp_path / "broken.onnx", scale=float("nan")), Placement("cpu"))
    described = manifest({"fp32": b"x"})
    with pytest.raises(SelfTestFailed, match="nan"):
        check_network(tmp_path, described, described.variants[0], broken)


def test_another_input_size_is_refused(tmp_path: Path) -> None:
    other = open_network(write_network(tmp_path / "other.onnx", size_px=SIZE_PX * 2), Placement("cpu"))
    described = manifest({"fp32": b"x"})
    with pytest.raises(BundleMismatch, match=rf"32, 32, 3.* instead of \[N, {SIZE_PX}, {SIZE_PX}, 3\]"):
        check_network(tmp_path, described, described.variants[0], other)


def test_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    other = open_network(write_network(tmp_path / "other.onnx", class_count=4), Placement("cpu"))
    described = manifest({"fp32": b"x"})
    with pytest.raises(BundleMismatch, match="4 outputs for 3 classes"):
        check_network(tmp_path, described, described.variants[0], other)
