"""`journal.jsonl` of a study: what happened, in order, each on disk before anything follows it.

The state of searchers and schedulers is what they make of it, so a study that was killed at any
moment goes on as if it had not been.
"""

import json
import os
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError
from pipeline.storage.json_lines import append_line, complete_lines, cut_torn_line

JOURNAL_NAME = "journal.jsonl"

Event = dict[str, Any]
"""JSON values; `event` says which kind."""


class Journal:
    """Appends to a file; one process at a time."""

    def __init__(self, path: Path) -> None:
        """Cuts off a line that a killed process left torn."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        cut_torn_line(path)

    def append(self, event: Event) -> None:
        """Returns when the event is on disk; where there is no room the file is as it was."""
        line = json.dumps(event, allow_nan=False) + "\n"
        with open(self._path, "ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                append_line(file, line)
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise


def read_journal(path: Path) -> list[Event]:
    """The events of a file, none where there is no file; a torn last line is passed over.

    Raises UserError for a line that is damaged.
    """
    if not path.exists():
        return []
    events = []
    for number, line in enumerate(complete_lines(path.read_bytes()), start=1):
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
