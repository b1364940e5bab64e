"""Why a run is not tracked as it was asked to be."""

from __future__ import annotations

from linnet.errors import LinnetError, UsageError


class MlflowMissing(UsageError):
    """Tracking by MLflow was asked for and MLflow is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "MLflow, which tracking.mlflow or MLFLOW_TRACKING_URI asks for, is not installed: "
            "`pip install -e '.[mlflow]'`, or leave it out."
        )


class MlflowUnreachable(LinnetError):
    """MLflow does not take the run."""

    def __init__(self, uri: str, reason: str) -> None:
        super().__init__(f"MLflow at {uri} takes no run ({reason}): check the address, or leave tracking.mlflow out.")
