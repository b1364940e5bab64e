"""A run holds what was learnt and how; it is never overwritten, and continues only with what it began with."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from linnet.bundle import sha256_of
from trainer.checkpoint import RESUME_FILE, load_checkpoint, save_checkpoint
from trainer.data import find_dataset
from trainer.errors import (
    BatchTooSmall,
    DataNotFound,
    FolderTaken,
    InvalidRun,
    NonFiniteLoss,
    NothingToResume,
    ResumeMismatch,
    RunExists,
    RunNotFound,
    UnreadableFiles,
)
from trainer.evaluate import evaluate
from trainer.evaluation import EVALUATION_FILE
from trainer.gpu_memory import GpuFull
from trainer.images import decode, labels_of
from trainer.input_check import InputRefused
from trainer.recipe import Compute, Data, Recipe, Tracking
from trainer.recipe_file import load_recipe
from trainer.run import RUN_FILE, WEIGHTS_FILE, load_network, read_run
from trainer.run_lock import RunInUse, sole_writer
from trainer.tracking_errors import MlflowMissing, MlflowUnreachable
from trainer.train import train


def with_data(recipe: Recipe, path: Path) -> Recipe:
    return recipe.model_copy(update={"data": Data(path=path)})


def unfinished(run_dir: Path, directory: Path) -> Path:
    """Return `directory` as a kill just before the end leaves it: all trained, nothing written but the checkpoint."""
    directory.mkdir()
    shutil.copy(run_dir / RESUME_FILE, directory)
    return directory


def test_a_run_holds_what_it_promises(run_dir: Path) -> None:
    files = {str(path.relative_to(run_dir)) for path in run_dir.glob("*") if path.is_file()}
    assert files == {
        "weights.safetensors", "run.json", "evaluation.json", "predictions.npz", "history.csv", "resume.pt"
    }  # fmt: skip


def test_history_has_a_row_for_every_epoch(run_dir: Path) -> None:
    with (run_dir / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["phase"], row["epoch"]) for row in rows] == [
        *(("head", str(epoch)) for epoch in range(7)),
        *(("tail", str(epoch)) for epoch in range(4)),
    ]
    assert all(row["train_loss"] for row in rows if row["epoch"] != "0")


def test_the_record_describes_the_run(run_dir: Path, recipe: Recipe, recipe_file: Path) -> None:
    record = read_run(run_dir)
    assert record.recipe == recipe == load_recipe(recipe_file)
    assert record.classes == ("blue", "green", "red")
    assert record.split_sizes == {"train": 27, "val": 9, "test": 18}
    assert (record.name, record.backbone, record.seed) == ("colours", "mobilenet_v2", 3)
    assert record.preprocess == recipe.preprocess
    assert record.data_fingerprint == find_dataset(recipe.data, recipe.seed).fingerprint
    assert {"python", "torch", "torchvision", "pillow"} <= record.libraries.keys()


def test_the_record_states_what_the_stored_weights_score(run_dir: Path, recipe: Recipe) -> None:
    record = read_run(run_dir)
    network, dataset = load_network(run_dir, record), find_dataset(recipe.data, recipe.seed)
    assert not network.training
    for examples, metrics in ((dataset.val, record.metrics["val"]), (dataset.test, record.metrics["test"])):
        score = evaluate(network, decode(examples, record.preprocess), labels_of(examples))
        assert (score.n, score.correct) == (metrics.n, metrics.correct)
        assert score.loss == pytest.approx(metrics.loss, abs=1e-6)
        assert metrics.accuracy == metrics.correct / metrics.n
    assert record.metrics["test"].accuracy > 0.5, "a network that learnt nothing would hide mistakes"


def test_a_run_is_never_overwritten(run_dir: Path, recipe: Recipe) -> None:
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")}
    for resume in (False, True):
        with pytest.raises(RunExists, match=f"a complete run in {run_dir}: choose another with --run DIR"):
            train(recipe, run_dir, resume=resume)
    assert {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")} == before


def test_an_unfinished_run_is_continued_only_when_told(run_dir: Path, recipe: Recipe, tmp_path: Path) -> None:
    directory = unfinished(run_dir, tmp_path / "run")
    with pytest.raises(RunExists, match=f"an unfinished run in {directory}: continue it with --resume or choose"):
        train(recipe, directory)
    assert [path.name for path in directory.iterdir()] == [RESUME_FILE]


def test_a_run_killed_before_its_last_files_gets_the_same_ones(run_dir: Path, recipe: Recipe, tmp_path: Path) -> None:
    directory = unfinished(run_dir, tmp_path / "run")
    record = train(recipe, directory, resume=True)
    assert sha256_of(directory / WEIGHTS_FILE) == sha256_of(run_dir / WEIGHTS_FILE)
    assert record.metrics == read_run(run_dir).metrics
    assert {path.name for path in directory.iterdir()} >= {WEIGHTS_FILE, RUN_FILE, EVALUATION_FILE}


@pytest.mark.parametrize("left_over", [(), (".resume.pt",)])
def test_what_a_kill_before_the_first_checkpoint_leaves_is_in_nobodys_way(
    recipe: Recipe, tmp_path: Path, left_over: tuple[str, ...]
) -> None:
    """The folder is judged first, so that the complaint is of the data alone."""
    directory = tmp_path / "run"
    directory.mkdir()
    for name in left_over:
        (directory / name).write_bytes(b"half a checkpoint")
    nowhere = with_data(recipe, tmp_path / "nowhere")
    with pytest.raises(NothingToResume, match=f"nothing to resume in {directory}: start it without --resume"):
        train(nowhere, directory, resume=True)
    with pytest.raises(DataNotFound):
        train(nowhere, directory)


def test_a_folder_of_other_things_is_left_alone(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    for path in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(FolderTaken, match=f"{path} holds something else than a run: choose another with --run DIR"):
            train(recipe, path)


def test_resuming_wants_the_same_recipe(run_dir: Path, recipe: Recipe, tmp_path: Path) -> None:
    directory = unfinished(run_dir, tmp_path / "run")
    with pytest.raises(ResumeMismatch, match=f"The recipe changed since the run in {directory} was interrupted"):
        train(recipe.model_copy(update={"seed": 4}), directory, resume=True)


def test_a_resumed_run_may_tell_others_compute_otherwise_and_find_its_images_elsewhere(
    run_dir: Path, recipe: Recipe, photos: Path, tmp_path: Path
) -> None:
    directory = unfinished(run_dir, tmp_path / "run")
    moved = tmp_path / "moved" / photos.name
    shutil.copytree(photos, moved)
    changes = {
        "data": recipe.data.model_copy(update={"path": moved}),
        "compute": Compute(compile=True),
        "tracking": Tracking(mlflow=f"sqlite:///{tmp_path / 'no-longer' / 'there.db'}"),
    }
    with pytest.raises((MlflowUnreachable, MlflowMissing)):
        train(recipe.model_copy(update=changes), directory, resume=True)
    record = train(recipe.model_copy(update=changes | {"tracking": Tracking()}), directory, resume=True)
    assert sha256_of(directory / WEIGHTS_FILE) == sha256_of(run_dir / WEIGHTS_FILE)
    assert record.recipe.data.path == moved
    assert load_checkpoint(directory).recipe["data"]["path"] == str(photos), "all was trained before"


def test_a_batch_that_cannot_be_cut_is_found_before_anything_is_trained(recipe: Recipe, tmp_path: Path) -> None:
    last = recipe.phase[-1].model_copy(update={"batch_size": 64, "accumulate": 16})
    with pytest.raises(BatchTooSmall, match="A batch of 27 images cannot be cut for 1 processes times 16 parts"):
        train(recipe.model_copy(update={"phase": (*recipe.phase[:-1], last)}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_of_before_a_key_was_known_is_resumed(run_dir: Path, recipe: Recipe, tmp_path: Path) -> None:
    directory = unfinished(run_dir, tmp_path / "run")
    state = load_checkpoint(directory)
    for phase in state.recipe["phase"]:
        del phase["keep"]
    save_checkpoint(directory, state)
    train(recipe, directory, resume=True)
    assert (directory / "weights.safetensors").read_bytes() == (run_dir / "weights.safetensors").read_bytes()


def test_resuming_refuses_a_state_whose_recipe_it_cannot_read(run_dir: Path, recipe: Recipe, tmp_path: Path) -> None:
    directory = unfinished(run_dir, tmp_path / "run")
    state = load_checkpoint(directory)
    state.recipe["of_a_later_version"] = True
    save_checkpoint(directory, state)
    with pytest.raises(ResumeMismatch, match="The recipe changed since"):
        train(recipe, directory, resume=True)


def test_resuming_wants_the_same_data(run_dir: Path, recipe: Recipe, tmp_path: Path) -> None:
    directory = unfinished(run_dir, tmp_path / "run")
    state = load_checkpoint(directory)
    state.data = "0" * 64
    save_checkpoint(directory, state)
    with pytest.raises(ResumeMismatch, match="The data changed since"):
        train(recipe, directory, resume=True)


def test_an_unreadable_image_stops_before_anything_is_written(recipe: Recipe, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "photos" / "test" / "red" / "000.jpg").write_bytes(b"\xff\xd8\xff but no more")
    with pytest.raises(UnreadableFiles, match=r"1 of the images cannot be used: .*/test/red/000\.jpg"):
        train(with_data(recipe, tmp_path / "photos"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_phase_that_explodes_leaves_the_phase_before(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file, ["phase.tail.optim.lr=1e300", "phase.head.epochs=1"])
    with pytest.raises(NonFiniteLoss, match=r"in phase 'tail', epoch 1, step \d: lower optim\.lr"):
        train(recipe, tmp_path / "run")
    state = load_checkpoint(tmp_path / "run")
    assert (state.phase, state.epoch) == (1, 0)
    assert all(bool(tensor.isfinite().all()) for tensor in state.network.values())
    assert {path.name for path in (tmp_path / "run").iterdir()} == {RESUME_FILE, "history.csv", "tensorboard"}


def test_what_is_no_run_is_not_read_as_one(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(RunNotFound, match=f"no finished run in {tmp_path}: name a folder"):
        read_run(tmp_path)
    (tmp_path / RUN_FILE).write_text((run_dir / RUN_FILE).read_text().replace('"classes"', '"klasses"'))
    with pytest.raises(InvalidRun, match=r"run\.json cannot be read as part of a run \(classes: Field required\)"):
        read_run(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"something else entirely"])
def test_weights_that_cannot_be_read_are_named(run_dir: Path, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(InvalidRun, match=rf"{tmp_path / WEIGHTS_FILE} cannot be read as part of a run"):
        load_network(tmp_path, read_run(run_dir))


def test_weights_come_back_as_they_were_written(run_dir: Path) -> None:
    stored = load_file(run_dir / WEIGHTS_FILE)
    state = load_network(run_dir, read_run(run_dir)).state_dict()
    assert state.keys() == stored.keys()
    assert all((state[name] == tensor).all() for name, tensor in stored.items())


def test_a_full_gpu_is_said_in_a_sentence(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("trainer.train.run_phase", fill)
    with pytest.raises(GpuFull, match=r"does not suffice \(CUDA out of memory. Tried .*\): lower batch_size"):
        train(recipe, tmp_path / "run")


def test_two_trainings_do_not_share_a_folder(recipe: Recipe, tmp_path: Path) -> None:
    """The folder appears only after decoding, so its absence says nothing."""
    run = tmp_path / "run"
    with sole_writer(run):
        with pytest.raises(RunInUse, match=f"Another training is writing to {run}: wait for it, or choose"):
            train(recipe, run)
        with sole_writer(tmp_path / "other"):
            pass
    with sole_writer(run):
        pass
    assert list(tmp_path.iterdir()) == []


def test_two_trainings_do_not_share_a_folder_whose_parent_came_later(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "pets"
    with sole_writer(run):
        run.mkdir(parents=True)
        with pytest.raises(RunInUse), sole_writer(run):
            pass
    with sole_writer(run):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["runs", "pets"]


def test_a_run_is_resumed_without_the_weights_that_it_began_with(run_dir: Path, recipe: Recipe, tmp_path: Path) -> None:
    weights = tmp_path / "published.safetensors"
    shutil.copy(recipe.network.weights, weights)
    began_with = recipe.model_copy(update={"network": recipe.network.model_copy(update={"weights": str(weights)})})
    directory = unfinished(run_dir, tmp_path / "run")
    state = load_checkpoint(directory)
    state.recipe = began_with.model_dump(mode="json")
    save_checkpoint(directory, state)
    weights.unlink()
    train(began_with, directory, resume=True)
    assert (directory / "weights.safetensors").read_bytes() == (run_dir / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("backbone", ["vgg16", "inception_v3", "timm/vit_tiny_patch16_224"])
def test_a_size_that_the_backbone_cannot_take_is_found_before_the_work(
    recipe: Recipe, tmp_path: Path, backbone: str
) -> None:
    if backbone.startswith("timm/"):
        pytest.importorskip("timm", reason="timm is an optional extra")
    network = recipe.network.model_copy(update={"backbone": backbone, "weights": "none"})
    preprocess = recipe.preprocess.model_copy(update={"size_px": 16})
    with pytest.raises(InputRefused, match=rf"The backbone {backbone} cannot take images of 16 px \(.*\): set preproc"):
        train(recipe.model_copy(update={"network": network, "preprocess": preprocess}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
