from __future__ import annotations

import subprocess
import sys

import pytest

from tests.service.running import ROOT


@pytest.mark.e2e
def test_the_service_starts_without_the_training_stack() -> None:
    code = (
        "import sys, service.app, service.server; "
        "found = {'torch', 'torchvision', 'onnx', 'onnxruntime', 'trainer', 'export'} & set(sys.modules); "
        "print(*sorted(found))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "\n", "")
