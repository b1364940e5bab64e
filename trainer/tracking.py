"""Tell dashboards of a run while it goes: TensorBoard always, MLflow where the recipe or the environment names one.

What is told is what `history.csv` and `evaluation.json` hold; the run itself depends on none of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from linnet.errors import first_line
from trainer.evaluation import Evaluation
from trainer.history import Epoch
from trainer.recipe import Recipe
from trainer.tracking_errors import MlflowMissing, MlflowUnreachable

TENSORBOARD_FOLDER = "tensorboard"
MLFLOW_ENVIRONMENT = "MLFLOW_TRACKING_URI"  # MLflow's own
MLFLOW_EXPERIMENT = "linnet"
MLFLOW_RUN_FILE = "mlflow-run"  # holds the id, so that a resumed run goes on in its place
MLFLOW_PARAM_LENGTH = 6000  # MLflow's limit

# How a column of the history is called where several runs are drawn together.
TAGS = {
    "train_loss": "loss/train",
    "val_loss": "loss/validation",
    "train_accuracy": "accuracy/train",
    "val_accuracy": "accuracy/validation",
    "lr": "learning_rate",
    "images_per_s": "images_per_s",
}


class Dashboard(Protocol):
    """Something that draws numbers over steps."""

    def tell(self, step: int, scalars: Mapping[str, float]) -> None:
        """Add one point to each of the curves named."""

    def close(self, *, finished: bool) -> None:
        """Say that no more will come."""


class Tracker:
    """Tells every dashboard of every epoch once, from the epoch after the `told` first; use as a context manager."""

    def __init__(self, dashboards: Sequence[Dashboard], told: int) -> None:
        self._dashboards = dashboards
        self._told = told
        self._finished = False

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for dashboard in self._dashboards:
            dashboard.close(finished=self._finished)

    def tell_epochs(self, history: Sequence[Epoch]) -> None:
        """Tell of the epochs that are new since the last time; a step is a row of the history."""
        for step in range(self._told, len(history)):
            row = {tag: getattr(history[step], column) for column, tag in TAGS.items()}
            self._tell(step, {tag: value for tag, value in row.items() if value is not None})
        self._told = len(history)

    def tell_evaluation(self, evaluation: Evaluation) -> None:
        """Tell of the final evaluation, at the step after the last epoch."""
        scalars: dict[str, float] = {}
        for name, split in (("validation", evaluation.val), ("test", evaluation.test)):
            scalars |= {f"final/{name}_accuracy": split.accuracy, f"final/{name}_loss": split.loss}
            scalars |= {f"final/{name}_f1": split.macro.f1, f"final/{name}_ece": split.calibration_error}
        self._tell(self._told, scalars)
        self._finished = True

    def _tell(self, step: int, scalars: Mapping[str, float]) -> None:
        for dashboard in self._dashboards:
            dashboard.tell(step, scalars)


def open_dashboards(recipe: Recipe, directory: Path, say: Callable[[str], None]) -> list[Dashboard]:
    """Open the dashboards of the run in `directory`; `say` gets what goes wrong later.

    Nothing is written into `directory` before the first epoch is told. Raises `MlflowMissing` or `MlflowUnreachable`.
    """
    dashboards: list[Dashboard] = [TensorBoard(directory / TENSORBOARD_FOLDER)]
    uri = recipe.tracking.mlflow or os.environ.get(MLFLOW_ENVIRONMENT, "")
    if uri:
        dashboards.append(Mlflow(uri, recipe, directory / MLFLOW_RUN_FILE, say))
    return dashboards


class TensorBoard:
    """Event files in the run's folder: `tensorboard --logdir runs` draws all runs together."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None

    def tell(self, step: int, scalars: Mapping[str, float]) -> None:
        """Add one point to each of the curves named; it is on the disk when this returns."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder))
        for tag, value in scalars.items():
            self._writer.add_scalar(tag, value, step)
        self._writer.flush()

    def close(self, *, finished: bool) -> None:  # noqa: ARG002
        """Close the file."""
        if self._writer is not None:
            self._writer.close()


class Mlflow:
    """A run of an MLflow server or store; a failure after its start is said once and stops nothing."""

    def __init__(self, uri: str, recipe: Recipe, id_file: Path, say: Callable[[str], None]) -> None:
        mlflow = _mlflow()
        self._metric = mlflow.entities.Metric
        self._id_file = id_file
        self._say = say
        self._is_broken = False
        try:
            self._client = mlflow.MlflowClient(tracking_uri=uri)
            self._run_id = self._continued() or self._started(recipe, mlflow.entities.Param)
        except Exception as error:  # stores raise what they like
            raise MlflowUnreachable(uri, first_line(error).rstrip(". ")) from error

    def tell(self, step: int, scalars: Mapping[str, float]) -> None:
        """Add one point to each of the curves named."""
        now_ms = int(time.time() * 1000)
        metrics = [self._metric(tag, value, now_ms, step) for tag, value in scalars.items()]
        self._try(lambda: self._id_file.write_text(self._run_id, encoding="utf-8"))
        self._try(lambda: self._client.log_batch(self._run_id, metrics=metrics))

    def close(self, *, finished: bool) -> None:
        """End the run at MLflow."""
        self._try(lambda: self._client.set_terminated(self._run_id, "FINISHED" if finished else "KILLED"))

    def _started(self, recipe: Recipe, param: Any) -> str:
        experiment = self._client.get_experiment_by_name(MLFLOW_EXPERIMENT)
        experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(MLFLOW_EXPERIMENT)
        run_id: str = self._client.create_run(experiment_id, run_name=recipe.name).info.run_id
        flat = _flat(recipe.model_dump(mode="json"))
        params = [param(key, value[:MLFLOW_PARAM_LENGTH]) for key, value in flat if value]
        self._client.log_batch(run_id, params=params)
        return run_id

    def _continued(self) -> str | None:
        """Return the run that this one was before it was interrupted."""
        if not self._id_file.is_file():
            return None
        run_id = self._id_file.read_text(encoding="utf-8").strip()
        self._client.update_run(run_id, "RUNNING")
        return run_id

    def _try(self, call: Callable[[], object]) -> None:
        if self._is_broken:
            return
        try:
            call()
        except Exception as error:  # stores raise what they like, and no tracking is worth a training
            self._is_broken = True
            reason = first_line(error).rstrip(". ")
            self._say(f"MLflow is told no more of this run: {reason}.")


def _mlflow() -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # who tracks a run has not asked for that
    try:
        import mlflow.entities
    except ModuleNotFoundError as error:
        raise MlflowMissing from error
    return mlflow


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return the values of nested tables and lists of tables by dotted names: `phase.head.epochs`."""
    flat: list[tuple[str, str]] = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat += _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            for item in value:
                flat += _flat(item, f"{prefix}{key}.{item.get('name', '')}.")
        else:
            flat.append((f"{prefix}{key}", str(value)))
    return flat
