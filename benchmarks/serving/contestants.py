"""Who is measured: the service in its two layouts, and its peers with the same file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.serving.payloads import TINY_RAW, Payload
from benchmarks.serving.peers.classifier import VARIABLE, Task
from benchmarks.serving.server import HOST, Contestant, Server
from benchmarks.serving.subject import Subject

PEERS = ("robyn", "mosec", "litserve", "fastapi")
PACKAGES = (*PEERS, "uvicorn", "onnxruntime", "pillow")


def ours(subject: Subject, repository: Path, workers: int) -> Contestant:
    """Return the service with its own defaults, or with what LINNET_* variables of this process say.

    `repository` is an empty folder; it becomes a model repository that holds the subject alone.
    """
    link = repository / subject.manifest.name / str(subject.manifest.version)
    if not link.exists():
        link.parent.mkdir()
        link.symlink_to(subject.directory)
    environment = {
        "LINNET_MODELS_DIR": str(repository),
        "LINNET_VARIANT": subject.precision,
        "LINNET_PROVIDER": "cpu",
        "LINNET_ACCESS_LOG": "false",
        "LINNET_WORKERS": str(workers),
    }
    return linnet(f"Linnet, {processes(workers)}", environment)


def linnet(name: str, environment: Mapping[str, str]) -> Contestant:
    """Return the service as these variables set it up."""
    return Contestant(
        name,
        (sys.executable, "-m", "linnet.cli", "serve", "--host", HOST, "--port", "{port}"),
        environment,
        ready_path="/readyz",
        announcement="Serving http",
    )


def processes(count: int) -> str:
    """Put a number of processes into words."""
    return "1 process" if count == 1 else f"{count} processes"


@dataclass(frozen=True)
class PeerPlan:
    """How the peers are run."""

    python: Path
    workers: int
    max_batch: int
    wait_ms: int


def peers(subject: Subject, plan: PeerPlan, names: Sequence[str]) -> list[Contestant]:
    """Return the peers of those names; exits with a sentence where their environment is missing."""
    if not plan.python.is_file():
        sys.exit(f"{plan.python} is not there: `make .venv-peers/.installed`, or leave `peers` out.")
    spec = subject.manifest.preprocess
    task = Task(
        file=str(subject.file),
        labels=subject.manifest.classes,
        size_px=spec.size_px,
        resize=spec.resize,
        crop_fraction=spec.crop_fraction,
        interpolation=spec.interpolation,
        workers=plan.workers,
        max_batch=plan.max_batch,
        wait_ms=plan.wait_ms,
    )
    module, workers = "benchmarks.serving.peers.with_", str(plan.workers)
    batching = f"{processes(plan.workers)}, batching"
    arguments = {
        "robyn": ("-m", f"{module}robyn", "{port}", "--processes", workers, "--log-level", "WARNING"),
        "mosec": ("-m", f"{module}mosec", "--address", "127.0.0.1", "--port", "{port}", "--log-level", "warning"),
        "litserve": ("-m", f"{module}litserve", "{port}"),
        "fastapi": ("-m", "uvicorn", f"{module}fastapi:app", "--port", "{port}", "--workers", workers,
                    "--timeout-worker-healthcheck", "60", "--no-access-log", "--log-level", "warning"),
    }  # fmt: skip
    titles = {
        "robyn": f"Robyn, {processes(plan.workers)}",
        "mosec": f"mosec, {batching}",
        "litserve": f"LitServe, {batching}",
        "fastapi": f"FastAPI, {processes(plan.workers)}",
    }
    environment = {VARIABLE: task.to_json()}
    all_peers = {
        name: Contestant(titles[name], (str(plan.python.absolute()), *arguments[name]), environment) for name in PEERS
    }
    all_peers["mosec"] = replace(all_peers["mosec"], path="/inference", tiny=TINY_RAW)
    return [all_peers[name] for name in names]


def peer_versions(python: Path) -> dict[str, str]:
    """Return the versions of the peers and of what they share with us."""
    code = f"import json, importlib.metadata as m; print(json.dumps({{name: m.version(name) for name in {PACKAGES}}}))"
    text = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    return dict(json.loads(text))


def linnet_settings() -> dict[str, str]:
    """Return the settings of the service that come from whoever started the benchmark."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith("LINNET_")}


def check_good(server: Server, payload: Payload) -> None:
    """Exit where a server does not answer a request well, every image of it."""
    status, body = server.ask(payload)
    if status != 200 or any("error" in one for one in json.loads(body)["predictions"]):
        sys.exit(f"{server.contestant.name} answered {payload.name} with {status}: {body[:300]!r}")


def check_answer(server: Server, subject: Subject, expected: tuple[str, float]) -> None:
    """Exit where a server does not say of the small image what the file alone says."""
    status, body = server.ask(server.contestant.tiny)
    if status != 200:
        sys.exit(f"{server.contestant.name} answered {status}: {body[:300]!r}")
    answer = json.loads(body)
    (answer,) = answer.get("predictions", [answer])
    label, probability = answer["label"], answer.get("probability", answer.get("confidence"))
    if label != expected[0] or abs(probability - expected[1]) > subject.tolerance:
        sys.exit(
            f"{server.contestant.name} says {label} ({probability:.4f}) instead of {expected[0]} ({expected[1]:.4f})."
        )
