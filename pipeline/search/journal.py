"""`journal.jsonl` of a study: what happened, in order, each on disk before anything follows it.

The state of searchers and schedulers is what they make of it, so a study that was killed at any
moment goes on as if it had not been.
"""

import json
import os
from pathlib import Path
from typing import Any

from pipeline.errors import UserError

JOURNAL_NAME = "journal.jsonl"

Event = dict[str, Any]
"""JSON values; `event` says which kind."""


class Journal:
    """Appends to a file; one process at a time."""

    def __init__(self, path: Path) -> None:
        """Cuts off a line that a killed process left torn."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with open(path, "ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)

    def append(self, event: Event) -> None:
        """Returns when the event is on disk."""
        line = (json.dumps(event, allow_nan=False) + "\n").encode()
        with open(self._path, "ab", buffering=0) as file:
            while line:
                line = line[file.write(line) :]
            os.fsync(file.fileno())


def read_journal(path: Path) -> list[Event]:
    """The events of a file, none where there is no file; a torn last line is passed over.

    Raises UserError for a line that is damaged.
    """
    if not path.exists():
        return []
    events = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            event = json.loads(line)
            event["event"]
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"{path}, line {number} is damaged; take it out, or start the study afresh with "
                "--restart (finished runs are found again)"
            ) from None
        events.append(event)
    return events
