"""Runs a study: many trainings that differ in named keys, tried and compared under Ray Tune.

The studies are in `params.yaml: search.studies`. The same command continues a study that was
stopped or killed. With RAY_ADDRESS trials run on that cluster, else on this machine.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

try:  # this file may be outside of the project: a cluster has it in the home folder
    from pipeline.config.overrides import read_assignment
    from pipeline.config.params import describe
    from pipeline.config.search import SearchSection, SmokeSection, StudySection
    from pipeline.jobs.study import Command, apply_best, dry_run, enter_project, run
    from pipeline.search.study import Request
    from stages.entry import run_stage
except ModuleNotFoundError as missing:
    print(
        f"error: {sys.executable} has no {missing.name}; run `make setup` in the project's folder, "
        "put its .venv/bin first on PATH, and the folder on PYTHONPATH",
        file=sys.stderr,
    )
    sys.exit(2)

_SMOKE_STUDY = "ttur"


def main() -> None:
    command, project, action = _parse()
    enter_project(project)
    action(command)


def _parse() -> tuple[Command, Path | None, Callable[[Command], None]]:
    parser = argparse.ArgumentParser(
        prog="python tune.py",
        description=__doc__,
        epilog="keys of params.yaml\n\n" + describe(SearchSection, StudySection, SmokeSection),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--study", help=f"name of a study; default with --smoke: {_SMOKE_STUDY}")
    parser.add_argument("--num-trials", type=int, metavar="N", help="configurations to try")
    parser.add_argument("--max-kimg", type=float, metavar="K", help="length of a trial")
    parser.add_argument("--seeds", metavar="0,1", help="seeds of each configuration")
    parser.add_argument(
        "--smoke", action="store_true", help="a small version on the digits, minutes on two cores"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print trials and cost without training"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue with the settings that the study started with",
    )
    parser.add_argument(
        "--apply", action="store_true", help="write the best configuration to params.yaml"
    )
    parser.add_argument("--restart", action="store_true", help="discard the study first")
    parser.add_argument(
        *("-S", "--set"),
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a value of params.yaml, such as -S train.batch=32",
    )
    parser.add_argument("--project", type=Path, help="folder of params.yaml and data")
    parser.add_argument("--shards", help="the shards; default data/shards")
    parser.add_argument("--reference", help="the reference statistics; default data/reference")
    arguments = parser.parse_args()
    name = arguments.study or (_SMOKE_STUDY if arguments.smoke else None)
    if name is None:
        parser.error("--study is missing; its names are the keys of search.studies in params.yaml")
    settings = ("num_trials", "max_kimg", "seeds", "set", "shards", "reference", "restart")
    given = [key for key in settings if getattr(arguments, key)]
    if arguments.resume and given:
        option = f"--{given[0].replace('_', '-')}"
        parser.error(
            f"--resume takes all settings from the study's folder; leave {option} out, or run the "
            "study's own command without --resume, which continues it too and accepts --num-trials"
        )
    request = Request(
        study=name,
        num_trials=arguments.num_trials,
        max_kimg=arguments.max_kimg,
        seeds=_read_seeds(parser, arguments.seeds),
        smoke=arguments.smoke,
    )
    command = Command(
        request=request,
        values=dict(map(read_assignment, arguments.set)),
        shards=arguments.shards or "data/shards",
        reference=arguments.reference or "data/reference",
        resume=arguments.resume,
        restart=arguments.restart,
    )
    action = apply_best if arguments.apply else dry_run if arguments.dry_run else run
    return command, arguments.project, action


def _read_seeds(parser: argparse.ArgumentParser, text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(seed) for seed in text.split(",")]
    except ValueError:
        parser.error(f"--seeds {text!r} must be whole numbers, such as 0,1,2")


if __name__ == "__main__":
    run_stage(main)
