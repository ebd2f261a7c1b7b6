"""How a worker ended, told to the launcher that started it.

A launcher restarts workers that fail. One that was preempted, or met a mistake of the user's, must
not be restarted: it leaves a note and ends well.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.errors import EXIT_PREEMPTED, EXIT_USER_ERROR, Preempted, UserError
from pipeline.storage.atomic import write_json

OUTCOME_VARIABLE = "SAGAN_LAB_OUTCOME"
"""Environment variable with the folder of the notes; absent where nobody reads them."""


@contextmanager
def noted_outcome(rank: int) -> Iterator[None]:
    """Inside, Preempted and UserError become a note where a launcher wants one."""
    folder = os.environ.get(OUTCOME_VARIABLE)
    try:
        yield
    except (Preempted, UserError) as outcome:
        if folder is None:
            raise
        code = EXIT_PREEMPTED if isinstance(outcome, Preempted) else EXIT_USER_ERROR
        write_json(Path(folder) / f"{rank}.json", {"code": code, "message": str(outcome)})
    else:
        if folder is not None:
            write_json(Path(folder) / f"{rank}.json", {"code": 0, "message": ""})


def raise_noted(folder: Path) -> bool:
    """Raises what the workers noted, the main one first; whether all went well to the end."""
    notes = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    for code, error in ((EXIT_USER_ERROR, UserError), (EXIT_PREEMPTED, Preempted)):
        for note in notes:
            if note["code"] == code:
                raise error(note["message"])
    return (folder / "0.json").exists()
