"""Turns a stage's outcome into its exit code: 0 done, 2 the user's mistake, 75 preempted."""

import sys
from collections.abc import Callable

from pipeline.errors import EXIT_PREEMPTED, EXIT_USER_ERROR, Preempted, UserError


def run_stage(main: Callable[[], None]) -> None:
    """Runs `main` and exits with the code of its outcome; defects keep their traceback."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except Preempted as stop:
        print(f"stopped: {stop}", file=sys.stderr)
        sys.exit(EXIT_PREEMPTED)
