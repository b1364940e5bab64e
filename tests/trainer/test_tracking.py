"""Dashboards hold what the history holds, once, also after a resumption; what they lack stops no training."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainer.checkpoint import RESUME_FILE, load_checkpoint
from trainer.evaluation import read_evaluation
from trainer.history import read_history
from trainer.recipe import Recipe, Tracking
from trainer.tracking import (
    MLFLOW_ENVIRONMENT,
    MLFLOW_EXPERIMENT,
    MLFLOW_RUN_FILE,
    TAGS,
    TENSORBOARD_FOLDER,
    Tracker,
    open_dashboards,
)
from trainer.tracking_errors import MlflowMissing, MlflowUnreachable
from trainer.train import train


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep an MLflow of the person who runs the tests out of them."""
    monkeypatch.delenv(MLFLOW_ENVIRONMENT, raising=False)


def nobody(text: str) -> None:
    raise AssertionError(text)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_has_every_epoch_and_the_evaluation(run_dir: Path) -> None:
    history, told = read_history(run_dir), scalars(run_dir / TENSORBOARD_FOLDER)
    assert set(TAGS.values()) <= told.keys()
    losses = [(step, row.val_loss) for step, row in enumerate(history)]
    assert [step for step, _ in told["loss/validation"]] == [step for step, _ in losses]
    assert [value for _, value in told["loss/validation"]] == pytest.approx([value for _, value in losses])
    assert [step for step, _ in told["loss/train"]] == [step for step, row in enumerate(history) if row.train_loss]
    ((step, accuracy),) = told["final/test_accuracy"]
    assert step == len(history)
    assert accuracy == pytest.approx(read_evaluation(run_dir).evaluation.test.accuracy)


def test_a_resumed_tracker_tells_only_what_is_new(run_dir: Path, recipe: Recipe, tmp_path: Path) -> None:
    history = read_history(run_dir)
    for told, upto in ((0, 4), (4, len(history))):
        with Tracker(open_dashboards(recipe, tmp_path, nobody), told) as tracker:
            tracker.tell_epochs(history[:upto])
            tracker.tell_epochs(history[:upto])
    assert [step for step, _ in scalars(tmp_path / TENSORBOARD_FOLDER)["loss/validation"]] == list(range(len(history)))


def test_nothing_is_written_before_there_is_something_to_tell(recipe: Recipe, tmp_path: Path) -> None:
    with Tracker(open_dashboards(recipe, tmp_path / "run", nobody), 0):
        pass
    assert not (tmp_path / "run").exists()


def tracked(recipe: Recipe, uri: str) -> Recipe:
    return recipe.model_copy(update={"tracking": Tracking(mlflow=uri)})


def test_a_missing_mlflow_is_one_sentence_before_any_work(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "mlflow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MlflowMissing, match=r"pip install -e '\.\[mlflow\]'"):
        train(tracked(recipe, "http://127.0.0.1:9"), tmp_path / "run")
    monkeypatch.setenv(MLFLOW_ENVIRONMENT, "http://127.0.0.1:9")
    with pytest.raises(MlflowMissing):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def mlflow_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a store in a folder, which MLflow wants to be asked for by name."""
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return (tmp_path / "mlflow").as_uri()


def mlflow_runs(uri: str) -> tuple[Any, list[Any]]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(MLFLOW_EXPERIMENT)
    assert experiment is not None
    return client, list(client.search_runs([experiment.experiment_id]))


def test_mlflow_has_the_recipe_every_epoch_and_the_evaluation(
    run_dir: Path, recipe: Recipe, mlflow_store: str, tmp_path: Path
) -> None:
    """The last steps of a training: all epochs are in the checkpoint, and the evaluation is made anew."""
    directory, history = tmp_path / "run", read_history(run_dir)
    directory.mkdir()
    with Tracker(open_dashboards(tracked(recipe, mlflow_store), directory, nobody), 0) as tracker:
        tracker.tell_epochs(history[:5])
    with Tracker(open_dashboards(tracked(recipe, mlflow_store), directory, nobody), 5) as tracker:
        tracker.tell_epochs(history)
        tracker.tell_evaluation(read_evaluation(run_dir).evaluation)
    client, (run,) = mlflow_runs(mlflow_store)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == recipe.name
    assert run.data.params["phase.head.epochs"] == "6"
    points = client.get_metric_history(run.info.run_id, "accuracy/validation")
    assert [(point.step, point.value) for point in points] == [(i, row.val_accuracy) for i, row in enumerate(history)]
    assert run.data.metrics["final/test_accuracy"] == read_evaluation(run_dir).evaluation.test.accuracy
    assert (directory / MLFLOW_RUN_FILE).read_text() == run.info.run_id


def test_a_training_ends_whole_though_mlflow_fails_midway(
    run_dir: Path, recipe: Recipe, mlflow_store: str, tmp_path: Path
) -> None:
    said: list[str] = []
    with Tracker(open_dashboards(tracked(recipe, mlflow_store), tmp_path, said.append), 0) as tracker:
        shutil.rmtree(tmp_path / "mlflow")
        tracker.tell_epochs(read_history(run_dir))
        tracker.tell_evaluation(read_evaluation(run_dir).evaluation)
    assert len(said) == 1
    assert said[0].startswith("MLflow is told no more of this run: ")


def test_an_mlflow_that_takes_no_run_stops_before_any_work(recipe: Recipe, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    with pytest.raises(MlflowUnreachable, match="MLflow at nonsense://x takes no run"):
        train(tracked(recipe, "nonsense://x"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_holds_no_more_than_tensorboard(run_dir: Path) -> None:
    state = load_checkpoint(run_dir)
    assert (run_dir / RESUME_FILE).is_file()
    assert len(scalars(run_dir / TENSORBOARD_FOLDER)["loss/validation"]) == len(state.history)
