"""What can be wrong with an image set, a folder of scores or a cluster."""

from __future__ import annotations

from linnet.errors import LinnetError, UsageError


class SetUnusable(LinnetError):
    """The images cannot be listed."""

    def __init__(self, location: str, reason: str) -> None:
        super().__init__(
            f"The images at {location} cannot be listed ({reason}): check the address, and that the package for it is "
            "installed (s3fs for s3://, gcsfs for gs://, adlfs for abfs://)."
        )


class ScoresUnusable(LinnetError):
    """The scores cannot be written where they are to go."""

    def __init__(self, location: str, reason: str) -> None:
        super().__init__(
            f"Scores cannot be written to {location} ({reason}): check the address and who may write there."
        )


class NothingToScore(UsageError):
    """There is no image in the set."""

    def __init__(self, location: str) -> None:
        super().__init__(f"There is no image at {location}: name a folder, a zip or a bucket that holds some.")


class ReadsFail(LinnetError):
    """The storage of the images does not answer any more."""

    def __init__(self, location: str, count: int, name: str, reason: str) -> None:
        super().__init__(
            f"The images at {location} cannot be read any more ({count} in a row, the last of them {name}: {reason}): "
            "see to it and say the same again; what is scored stays, and this shard has not been written."
        )


class DamagedJob(LinnetError):
    """The note of what a folder's scores are of cannot be read."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"{path} cannot be read ({reason}): name another folder, or remove the whole of that one to begin anew."
        )


class UnknownScores(UsageError):
    """The folder holds scores, and the note of what they are of is gone."""

    def __init__(self, out: str, note: str) -> None:
        super().__init__(
            f"{out} holds scores and no {note} that says of what: name another folder, or remove that one."
        )


class OtherScores(UsageError):
    """The folder holds the scores of another job, which this one would mix with its own."""

    def __init__(self, out: str, what: str) -> None:
        super().__init__(f"{out} holds scores with another {what}: name another folder, or remove that one.")


class ClusterUnreachable(LinnetError):
    """No Ray cluster answers at the address."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"No Ray cluster answers at {address} ({reason}): start one with `ray start --head`, or say `--ray local`."
        )


class ClusterFailed(LinnetError):
    """The cluster was reached and could not do the work."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"The Ray cluster at {address} stopped scoring ({reason}): see that its nodes have the `serve` and `ray` "
            "extras and reach images and scores, and say the same again; what is scored stays."
        )
