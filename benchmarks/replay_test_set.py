"""Replay a test split over HTTP and hold the count of correct answers against what the service states of itself.

    .venv/bin/python benchmarks/replay_test_set.py data/cifar10/test --url http://127.0.0.1:8000

Posts every file of a class-per-folder tree, one request each, and compares with `metrics` of `GET /models`. Prints one
JSON object; exits with 1 where the counts differ or any request failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path

import httpx

CONNECTIONS = 16
ATTEMPTS = 5  # a refusal (503) says when to come back


async def replay(folder: Path, url: str) -> dict[str, object]:
    """Post all files of `folder` and return the counts."""
    files = sorted(path for path in folder.glob("*/*") if path.is_file())
    if not files:
        sys.exit(f"There are no files in class folders at {folder}: name a test split.")
    waiting = iter(files)
    outcomes: Counter[str] = Counter()
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        entry = next(model for model in (await client.get("/models")).json()["models"] if model["default"])

        async def post_all() -> None:
            for path in waiting:
                outcomes[await outcome_of(client, path)] += 1

        started = time.perf_counter()
        await asyncio.gather(*(post_all() for _ in range(CONNECTIONS)))
        seconds = time.perf_counter() - started
    stated = entry["metrics"]
    return {
        "model": f"{entry['name']} {entry['version']} {entry['variant']}",
        "files": len(files),
        "correct": outcomes["correct"],
        "wrong": outcomes["wrong"],
        "failed": outcomes["failed"],
        "stated_n": stated["n"],
        "stated_correct": stated["correct"],
        "equal": outcomes["correct"] == stated["correct"] and len(files) == stated["n"] and not outcomes["failed"],
        "images_per_s": round(len(files) / seconds, 1),
    }


async def outcome_of(client: httpx.AsyncClient, path: Path) -> str:
    """Post one file; return 'correct', 'wrong' or 'failed'."""
    data = path.read_bytes()
    for _ in range(ATTEMPTS):
        answer = await client.post("/predict", files={"file": (path.name, data)}, params={"top_k": 1})
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
        await asyncio.sleep(float(answer.headers.get("Retry-After", "1")))
    if not answer.is_success:
        return "failed"
    return "correct" if answer.json()["predictions"][0]["label"] == path.parent.name else "wrong"


def main() -> None:
    """Read the arguments, replay, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="test split: one folder of images per class")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="address of the service")
    arguments = parser.parse_args()
    counts = asyncio.run(replay(arguments.folder, arguments.url))
    print(json.dumps(counts))  # noqa: T201
    sys.exit(0 if counts["equal"] else 1)


if __name__ == "__main__":
    main()
