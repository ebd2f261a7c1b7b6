"""What every stage's command line shares: its help, and the exit code of its outcome."""

import argparse
import sys
from collections.abc import Callable

from pipeline.config.params import describe
from pipeline.config.schema import Section
from pipeline.core.errors import EXIT_PREEMPTED, EXIT_USER_ERROR, Preempted, UserError


def stage_parser(
    name: str, description: str | None, *sections: type[Section]
) -> argparse.ArgumentParser:
    """A parser for the stage's paths, whose help explains the keys that the stage reads."""
    return argparse.ArgumentParser(
        prog=f"python -m stages.{name}",
        description=description,
        epilog="keys of params.yaml\n\n" + describe(*sections),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run_stage(main: Callable[[], None]) -> None:
    """Runs `main` and exits: 0 done, 2 the user's mistake, 75 preempted.

    Anything else is a defect and keeps its traceback, exit code 1.
    """
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except Preempted as stop:
        print(f"stopped: {stop}", file=sys.stderr)
        sys.exit(EXIT_PREEMPTED)
