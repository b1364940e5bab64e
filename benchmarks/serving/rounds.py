"""The service and its peers side by side: everybody in turn, round after round, each with a server of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

from benchmarks.serving.closed_loop import closed_loop
from benchmarks.serving.contestants import check_answer
from benchmarks.serving.floor import Inference, images_per_s
from benchmarks.serving.load import Load, medians
from benchmarks.serving.progress import say
from benchmarks.serving.scenarios import Floor, Plan, Row, warm
from benchmarks.serving.server import Contestant, running
from benchmarks.serving.subject import Subject


def measure_rounds(
    subject: Subject, contestants: Sequence[Contestant], plan: Plan, floor: Floor, connections: int
) -> list[Row]:
    """Send one small image per request to everybody, as medians of all rounds.

    Each turn starts a server, holds its answer against what the file says, warms it for a second and loads it. Rounds
    begin with another contestant each, so that nobody always follows the same one.
    """
    loads: dict[str, list[Load]] = defaultdict(list)
    floors, expected = [], subject.answer()
    for number in range(plan.rounds):
        floors.append(images_per_s(Inference(subject, floor.batch), plan.cores, plan.seconds))
        first = number % len(contestants)
        for contestant in (*contestants[first:], *contestants[:first]):
            with running(contestant) as server:
                check_answer(server, subject, expected)
                warm(server)
                load = closed_loop(server, contestant.tiny, connections, plan.seconds)
            loads[contestant.name].append(load)
            say(f"{contestant.name}: {load.images_per_s:.0f} images/s, p99 {load.p99_ms:.1f} ms, {load.errors} errors")
    tiny = {contestant.name: contestant.tiny.name for contestant in contestants}
    return [
        Row(name, tiny[name], connections, None, medians(loads[name]), median(floors), tuple(loads[name]))
        for name in tiny
    ]
