"""One thin script for each DVC stage; see dvc.yaml."""

import importlib.util
import sys

if importlib.util.find_spec("pydantic") is None or importlib.util.find_spec("pyarrow") is None:
    print(
        f"error: {sys.executable} lacks this project's packages; "
        "run `make setup`, then `. .venv/bin/activate`",
        file=sys.stderr,
    )
    sys.exit(2)
