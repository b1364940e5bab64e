"""The fastest variant that answers here as it was measured is used, and what is not used is said."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from linnet.bundle import file_name, read_manifest, write_bundle
from linnet.choice import open_bundle
from linnet.errors import BundleMismatch, CorruptBundle, ProviderUnavailable, SelfTestFailed, VariantMissing
from linnet.manifest import Precision
from linnet.preprocess import load_image
from linnet.session import PROVIDER_NAMES, Network, Placement, open_network
from tests.linnet.manifests import manifest
from tests.linnet.networks import write_network

WriteBundle = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> WriteBundle:
    """A function that writes a bundle whose variants expect answers so far from what the network says."""

    def write_variants(**offsets: float) -> Path:
        sources = {name: write_network(tmp_path / f"{name}.onnx") for name in offsets}
        described = manifest({name: path.read_bytes() for name, path in sources.items()})  # type: ignore[misc]
        picture = described.self_test[0].image_png
        image = load_image(base64.b64decode(picture), described.preprocess)
        said = open_network(next(iter(sources.values())), Placement("cpu"))(image[None]).probabilities[0]
        rows = {name: (float(said[0]) + offset, *map(float, said[1:])) for name, offset in offsets.items()}
        described = described.model_copy(
            update={"self_test": (described.self_test[0].model_copy(update={"probabilities": rows}),)}
        )
        files = {file_name(variant.precision): sources[variant.precision] for variant in described.variants}
        return write_bundle(tmp_path / "models", described, files)

    return write_variants


def test_int8_is_used_where_it_answers_as_measured(write: WriteBundle) -> None:
    directory = write(fp32=0.0, int8=0.0, fp16=0.0)
    opened = open_bundle(directory, read_manifest(directory), Placement("cpu"))
    assert (opened.variant.precision, opened.fallback) == ("int8", None)
    assert opened.network.provider == PROVIDER_NAMES["cpu"]


def test_fp32_is_used_where_int8_answers_differently_and_that_is_said(write: WriteBundle) -> None:
    directory = write(fp32=0.0, int8=0.3)
    opened = open_bundle(directory, read_manifest(directory), Placement("cpu"))
    assert opened.variant.precision == "fp32"
    assert opened.fallback == (
        "int8 is not used: its probabilities differ by 0.3 where 0.02 is allowed on this processor."
    )


def test_a_bundle_of_fp32_alone_lacks_nothing(write: WriteBundle) -> None:
    directory = write(fp32=0.0)
    for provider in ("cpu", "auto"):
        opened = open_bundle(directory, read_manifest(directory), Placement(provider))
        assert (opened.variant.precision, opened.fallback) == ("fp32", None)


@pytest.mark.parametrize("precision", ["fp32", "int8", "fp16"])
def test_what_is_asked_for_by_name_is_used(write: WriteBundle, precision: Precision) -> None:
    directory = write(fp32=0.0, int8=0.0, fp16=0.0)
    assert open_bundle(directory, read_manifest(directory), wanted=precision).variant.precision == precision


def test_what_is_asked_for_by_name_is_never_replaced(write: WriteBundle) -> None:
    directory = write(fp32=0.0, int8=0.3)
    with pytest.raises(SelfTestFailed, match="The int8 variant"):
        open_bundle(directory, read_manifest(directory), wanted="int8")
    with pytest.raises(VariantMissing, match=r"has no fp16 variant \(it has fp32, int8\): choose"):
        open_bundle(directory, read_manifest(directory), wanted="fp16")


def test_there_is_nothing_to_fall_back_to_but_fp32(write: WriteBundle) -> None:
    directory = write(fp32=0.3, int8=0.3)
    with pytest.raises(SelfTestFailed, match="The fp32 variant"):
        open_bundle(directory, read_manifest(directory), Placement("cpu"))


def test_a_bundle_without_fp32_is_refused(write: WriteBundle) -> None:
    directory = write(int8=0.0)
    with pytest.raises(BundleMismatch, match="has no fp32 variant"):
        open_bundle(directory, read_manifest(directory), Placement("cpu"))


def test_the_precise_setting_is_used_where_only_that_answers_as_measured(
    write: WriteBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processor that saturates is played by a session that is opened on another network unless it is precise."""
    directory = write(fp32=0.0, int8=0.0)
    other = write_network(directory.parent / "saturated.onnx", scale=1.0)

    def open_as_without_vnni(path: Path, place: Placement, *, precise: bool) -> Network:
        saturates = "int8" in path.name and not precise
        return open_network(other if saturates else path, place, precise=precise)

    monkeypatch.setattr("linnet.choice.open_network", open_as_without_vnni)
    opened = open_bundle(directory, read_manifest(directory), Placement("cpu"))
    assert opened.variant.precision == "int8"
    assert opened.fallback is not None
    assert opened.fallback.startswith("int8 runs with the slower precise sums: without, its probabilities differ by 0.")


def test_a_file_that_does_not_run_is_refused(write: WriteBundle) -> None:
    directory = write(fp32=0.0)
    (directory / "model.onnx").write_bytes(b"no network")
    with pytest.raises(CorruptBundle, match="does not run"):
        open_bundle(directory, read_manifest(directory), Placement("cpu"))


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_where_cuda_is_offered_and_does_not_become_active_the_choice_is_that_of_a_cpu(
    write: WriteBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(PROVIDER_NAMES.values()))
    directory = write(fp32=0.0, int8=0.0, fp16=0.0)
    opened = open_bundle(directory, read_manifest(directory))
    assert (opened.variant.precision, opened.network.provider) == ("int8", PROVIDER_NAMES["cpu"])


def test_cuda_is_no_wish(write: WriteBundle) -> None:
    import onnxruntime

    if PROVIDER_NAMES["cuda"] in onnxruntime.get_available_providers():
        pytest.skip("CUDA is there")
    directory = write(fp32=0.0)
    with pytest.raises(ProviderUnavailable):
        open_bundle(directory, read_manifest(directory), Placement("cuda"))
