"""What a run was made with: device, code, libraries."""

from __future__ import annotations

import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from trainer.network import Classifier

LIBRARIES = ("torch", "torchvision", "numpy", "pillow", "safetensors")


def device_name(network: Classifier) -> str:
    """Name the device that the network is on."""
    device = next(network.parameters()).device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of what computes."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def git_revision() -> str | None:
    """Return the commit of the code that runs, with '+changes' where files differ from it; None outside git."""
    git = shutil.which("git")
    if git is None:
        return None

    def ask(*arguments: str) -> str | None:
        here = Path(__file__).parent
        answer = subprocess.run([git, *arguments], cwd=here, capture_output=True, text=True, check=False)
        return answer.stdout.strip() if answer.returncode == 0 else None

    revision = ask("rev-parse", "HEAD")
    return f"{revision}+changes" if revision and ask("status", "--porcelain", "--untracked-files=no") else revision
