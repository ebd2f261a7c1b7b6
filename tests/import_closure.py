"""The project's own files that a module imports, directly or not; run it to print dvc.yaml's deps.

python -m tests.import_closure train
"""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("models", "pipeline", "stages")


def import_closure(module: str) -> list[str]:
    """Sorted paths, relative to the root, of `module` and all that it imports of our rooms.

    Imports inside functions count too. A package's `__init__.py` counts where it holds code.
    """
    seen: set[Path] = set()
    queue = [module]
    while queue:
        for path in _files(queue.pop()):
            if path not in seen:
                seen.add(path)
                queue += imported_modules(path)
    return sorted(str(path.relative_to(ROOT)) for path in seen)


def imported_modules(path: Path) -> list[str]:
    """Dotted names that a file imports, `from a import b` as both `a` and `a.b`."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def _files(module: str) -> list[Path]:
    parts = module.split(".")
    if parts[0] not in ROOMS:
        return []
    files = [ROOT.joinpath(*parts[:end], "__init__.py") for end in range(1, len(parts) + 1)]
    files.append(ROOT.joinpath(*parts).with_suffix(".py"))
    return [file for file in files if file.exists() and not _only_docstring(file)]


def _only_docstring(path: Path) -> bool:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)


if __name__ == "__main__":
    for file in import_closure(f"stages.{sys.argv[1]}"):
        print(f"      - {file}")
