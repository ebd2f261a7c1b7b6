"""Which snapshots a user means."""

import json
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.evaluation.evaluate import CONFIG_FILE
from pipeline.runs.run_folder import run_folder


def find_snapshots(place: str, model_dir: Path, runs_dir: Path) -> list[Path]:
    """A snapshot file, those of averaged generators in a folder, or with `all` of model_dir's run.

    Raises UserError where there are none.
    """
    folder = _snapshots_of_run(model_dir, runs_dir) if place == "all" else Path(place)
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise UserError(
            f"{folder} does not exist; --snapshots takes a snapshot's file, a folder of them, or "
            "`all`"
        )
    found = [
        path
        for path in sorted(folder.glob("generator*.safetensors"))
        if not path.name.startswith("generator-raw")
    ]
    if not found:
        raise UserError(
            f"{folder} holds no snapshots (generator-*.safetensors); "
            "--snapshots takes a run's folder `snapshots`, such as runs/<key>/snapshots"
        )
    return found


def _snapshots_of_run(model_dir: Path, runs_dir: Path) -> Path:
    path = model_dir / CONFIG_FILE
    try:
        run_key = str(json.loads(path.read_text(encoding="utf-8"))["run_key"])
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; `dvc repro train` makes it") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error!r}); `dvc repro --force train` writes it anew"
        ) from None
    folder = run_folder(runs_dir, run_key) / "snapshots"
    if not folder.is_dir():
        raise UserError(
            f"{folder} does not exist: the run that made {model_dir} is not in {runs_dir} "
            "(runtime.runs_dir); give --snapshots the folder of its snapshots"
        )
    return folder
