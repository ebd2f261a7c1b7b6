"""What every stage and search shares. Public face: `from pipeline import load_generator`."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    # Looked up by name on first use: importing a sub-package must not import all the others.
    if name == "load_generator":
        return importlib.import_module("pipeline.training.generator").load_generator
    raise AttributeError(f"module 'pipeline' has no attribute '{name}'")
