"""A bundle is what was measured: the file answers as the network did, and every number can be recounted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import trainer
from export.export import export_run
from export.gates import BATCH_SIZES, LARGEST_DIFFERENCE
from export.measure import measure, run_in_batches
from linnet.bundle import MANIFEST_FILE, read_manifest, verify_files
from linnet.manifest import Manifest
from linnet.preprocess import PreprocessSpec, load_image
from linnet.session import Network, Outputs, check_network
from trainer.data import Example
from trainer.evaluation import read_evaluation
from trainer.image_cache import decode_cached
from trainer.images import Advance, decode
from trainer.network import Classifier
from trainer.recipe import Recipe
from trainer.run import dataset_of, read_run


@pytest.fixture(scope="module")
def graph(bundle_dir: Path) -> onnx.ModelProto:
    return onnx.load(bundle_dir / "model.onnx")


def shape(value: onnx.ValueInfoProto) -> list[str | int]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


def test_the_graph_takes_uint8_images_and_gives_its_answers(graph: onnx.ModelProto) -> None:
    (image,) = graph.graph.input
    assert (image.name, image.type.tensor_type.elem_type) == ("image", onnx.TensorProto.UINT8)
    assert shape(image) == ["N", 33, 33, 3]
    assert {output.name: shape(output) for output in graph.graph.output} == {
        "probabilities": ["N", 3],
        "logits": ["N", 3],
        "embedding": ["N", 1280],
        "uncertainty": ["N"],
        "cam": ["N", 3, 2, 2],
    }
    assert {output.type.tensor_type.elem_type for output in graph.graph.output} == {onnx.TensorProto.FLOAT}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 32])
def test_any_batch_gives_each_image_its_own_answer(exported: Network, images: torch.Tensor, size: int) -> None:
    batch = torch.cat([images, images])[:size].numpy()
    together = exported(batch)
    assert together.probabilities.shape == (size, 3)
    assert together.embedding.shape == (size, 1280)
    assert np.allclose(together.probabilities.sum(1), 1, atol=1e-6)
    alone = np.concatenate([exported(image[None]).probabilities for image in batch])
    assert np.allclose(together.probabilities, alone, atol=1e-5)


def test_the_outputs_are_the_networks(
    exported: Network, trained: Classifier, images: torch.Tensor, manifest: Manifest
) -> None:
    answers = exported(images.numpy())
    with torch.no_grad():
        embedding = trained.embed(images)
        logits = trained.head(embedding)
    assert np.allclose(answers.embedding, embedding, atol=1e-4)
    assert np.allclose(answers.logits, logits, atol=1e-4)
    temperature = manifest.variants[0].calibration.temperature
    assert temperature != 1
    assert np.allclose(answers.probabilities, torch.softmax(logits / temperature, 1), atol=1e-5)
    assert logits.std() > 0.1, "a network that answers alike to everything would hide a mistake"


def test_the_file_says_nothing_of_the_machine_it_was_made_on(bundle_dir: Path, graph: onnx.ModelProto) -> None:
    data = (bundle_dir / "model.onnx").read_bytes()
    home = str(Path(trainer.__file__).parents[1])
    for trace in (home, "site-packages", "Traceback", "stack_trace", 'File "', str(Path.home())):
        assert trace.encode() not in data, trace
    assert not [node.name for node in graph.graph.node if node.metadata_props or node.doc_string]
    assert len(data) < 10e6


def test_norms_are_folded_into_convolutions(graph: onnx.ModelProto) -> None:
    kinds = [node.op_type for node in graph.graph.node]
    assert "BatchNormalization" not in kinds
    assert kinds.count("Conv") == 52, "one for each convolution of MobileNetV2"


def test_nothing_in_the_graph_is_for_nothing(graph: onnx.ModelProto) -> None:
    outputs = {output.name for output in graph.graph.output}
    used = {name for node in graph.graph.node for name in node.input} | outputs
    assert {item.name for item in graph.graph.initializer} <= used
    idle = [node.name for node in graph.graph.node if not used & set(node.output)]
    assert not idle


def test_the_mean_of_the_class_activation_map_is_the_logit(
    exported: Network, trained: Classifier, images: torch.Tensor
) -> None:
    answers = exported(images.numpy())
    assert answers.cam is not None
    bias = trained.head.state_dict()["1.bias"].numpy()
    assert np.allclose(answers.cam.mean((2, 3)) + bias, answers.logits, atol=1e-4)


def test_the_metrics_are_what_anyone_can_count(bundle_dir: Path, manifest: Manifest, photos: Path) -> None:
    """Nothing of ours but the preprocessing: the folders are the truth, ONNX Runtime answers one image at a time."""
    session = onnxruntime.InferenceSession(bundle_dir / "model.onnx", providers=["CPUExecutionProvider"])
    counts, losses = [[0] * 3 for _ in range(3)], []
    for path in sorted((photos / "test").rglob("*.jpg")):
        image = load_image(path.read_bytes(), manifest.preprocess)
        (row,) = session.run(["probabilities"], {"image": image[None]})[0]
        truth = manifest.classes.index(path.parent.name)
        counts[truth][int(row.argmax())] += 1
        losses.append(-np.log(float(row[truth])))
    metrics = manifest.variants[0].metrics
    correct = sum(counts[label][label] for label in range(3))
    assert metrics.confusion == tuple(map(tuple, counts))
    assert (metrics.split, metrics.n, metrics.correct) == ("test", 18, correct)
    assert metrics.accuracy == correct / 18
    assert metrics.loss == pytest.approx(float(np.mean(losses)), abs=1e-5)
    assert 6 < correct < 18, "neither chance nor certainty, so that a wrong count shows"


def test_the_metrics_are_those_of_the_run(manifest: Manifest, run_dir: Path) -> None:
    stated, variant = read_run(run_dir).metrics["test"], manifest.variants[0]
    assert (variant.metrics.n, variant.metrics.correct) == (stated.n, stated.correct)
    answers = read_evaluation(run_dir).predictions["test"]
    served = torch.from_numpy(answers.logits) / variant.calibration.temperature
    loss = torch.nn.functional.cross_entropy(served, torch.from_numpy(answers.labels))
    assert variant.metrics.loss == pytest.approx(float(loss), abs=1e-4)


def test_the_manifest_describes_the_bundle(
    bundle_dir: Path, manifest: Manifest, run_dir: Path, recipe: Recipe, exported: Network
) -> None:
    record = read_run(run_dir)
    assert bundle_dir.parts[-2:] == ("colours", "1")
    assert (manifest.name, manifest.version) == ("colours", 1)
    assert {path.name for path in bundle_dir.iterdir()} == {MANIFEST_FILE, "model.onnx"}
    assert (manifest.classes, manifest.preprocess) == (record.classes, record.preprocess)
    assert manifest.input.shape == (-1, 33, 33, 3)
    assert manifest.output_names == ("probabilities", "logits", "embedding", "uncertainty", "cam")
    assert [output.shape for output in manifest.outputs] == [(-1, 3), (-1, 3), (-1, 1280), (-1,), (-1, 3, 2, 2)]
    assert [(gate.name, gate.precision) for gate in manifest.gates] == [
        ("parity", "fp32"), ("batches", "fp32"), ("alone", "fp32")
    ]  # fmt: skip
    assert all(gate.measured <= gate.limit for gate in manifest.gates)
    assert (manifest.parity.n, manifest.parity.top1_agreement) == (18, 1.0)
    assert manifest.parity.batch_sizes == BATCH_SIZES == (1, 2, 3, 7, 32)
    assert manifest.parity.max_probability_difference <= LARGEST_DIFFERENCE
    assert Recipe.model_validate(manifest.provenance.recipe) == recipe
    assert manifest.provenance.libraries.keys() >= {"torch", "onnx", "onnxruntime", "python"}
    assert manifest.licence == "weights: not stated; data: not stated"
    verify_files(bundle_dir, manifest)
    check_network(bundle_dir, manifest, manifest.variants[0], exported)


def test_the_self_test_tells_this_network_from_one_that_answers_alike_to_everything(manifest: Manifest) -> None:
    rows = np.array([case.probabilities["fp32"] for case in manifest.self_test])
    assert rows.shape == (8, 3)
    assert np.ptp(rows, axis=0).max() > 0.01, "the stored images are answered alike"
    assert len({case.image_png for case in manifest.self_test}) == 8


def test_batches_change_no_answer_and_lose_no_image(exported: Network, images: torch.Tensor) -> None:
    whole, cut = exported(images.numpy()), run_in_batches(exported, images, 5)
    assert np.allclose(whole.probabilities, cut.probabilities, atol=1e-6)
    assert np.allclose(whole.embedding, cut.embedding, atol=1e-4)
    assert len(cut.logits) == len(images)


def test_scoring_counts_by_hand() -> None:
    rows = np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.0, 1.0, 0.0]], np.float32)
    metrics = measure(Outputs(rows, rows, rows), np.array([0, 1, 0]))
    assert metrics.f1 == pytest.approx((2 / 3 + 0 + 0) / 3, abs=1e-6), (
        "2 x 1 / (1 + 2), and nothing right of the others"
    )
    assert (metrics.n, metrics.correct, metrics.accuracy) == (3, 1, 1 / 3)
    tiny = float(np.finfo(np.float32).tiny)
    assert metrics.loss == pytest.approx(-(np.log(0.7) + np.log(0.2) + np.log(tiny)) / 3, rel=1e-6)


def test_the_interval_and_the_confusion_are_stated() -> None:
    rows = np.eye(3, dtype=np.float32)[[0, 2, 1, 1]]
    metrics = measure(Outputs(rows, rows, rows), np.array([0, 1, 0, 1]))
    assert metrics.confusion == ((1, 1, 0), (0, 1, 1), (0, 0, 0)), "rows are labels, and a class without images is one"
    assert (metrics.accuracy_low, metrics.accuracy_high) == pytest.approx((0.15004, 0.84996), abs=1e-5)


@pytest.mark.parametrize("classes", [100, 101])
def test_a_confusion_matrix_of_more_than_a_hundred_classes_is_left_out(classes: int) -> None:
    rows = np.eye(classes, dtype=np.float32)
    confusion = measure(Outputs(rows, rows, rows), np.arange(classes)).confusion
    assert (confusion is not None) == (classes <= 100)


@pytest.mark.e2e
def test_what_the_training_has_decoded_is_not_decoded_again(
    run_dir: Path, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, spec = dataset_of(read_run(run_dir)), manifest.preprocess
    for split in (dataset.val, dataset.test):
        decode_cached(split, [dataset.digests[example.path] for example in split], spec, tmp_path / "cache")

    decoded: list[int] = []

    def refuse(*_: object) -> None:
        raise AssertionError("a split is decoded")

    def count(examples: Sequence[Example], spec: PreprocessSpec, advance: Advance) -> torch.Tensor:
        decoded.append(len(examples))
        return decode(examples, spec, advance)

    monkeypatch.setattr("trainer.image_cache.decode_in_chunks", refuse)
    monkeypatch.setattr("trainer.image_cache.decode", refuse)
    monkeypatch.setattr("export.material.decode", count)
    again = read_manifest(export_run(run_dir, tmp_path / "models", cache=tmp_path / "cache"))
    assert again.variants[0].metrics == manifest.variants[0].metrics
    assert again.parity == manifest.parity
    assert decoded == [len(dataset.train)], "the sample alone"


@pytest.mark.e2e
def test_versions_go_up_and_a_bundle_that_cannot_be_written_leaves_nothing(run_dir: Path, tmp_path: Path) -> None:
    """A full disk is a folder that is a file here: the last step fails, after all the work."""
    models = tmp_path / "models"
    (models / "colours" / "7").mkdir(parents=True)
    (models / "colours" / "7" / MANIFEST_FILE).touch()
    assert export_run(run_dir, models) == models / "colours" / "8"
    (models / "taken").touch()
    with pytest.raises(OSError):
        export_run(run_dir, models, name="taken")
    assert sorted(path.name for path in models.rglob("*")) == [
        "7", "8", MANIFEST_FILE, MANIFEST_FILE, "colours", "model.onnx", "taken",
    ]  # fmt: skip
