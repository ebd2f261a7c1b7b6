"""What the texts tell people to type."""

import re
import shutil
import subprocess

import pytest
from ray.scripts.scripts import cli

from tests.support.project import ROOT

INFRA = ROOT / "infra"
TEXTS = [ROOT / "README.md", *sorted(p for p in INFRA.rglob("*") if p.is_file())]


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_that_are_named_exist(text):
    content = text.read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w/~.-])infra/[\w./-]*\w", content)) - {"infra/mlflow/.env"}
    assert all((ROOT / name).exists() for name in named), named


def test_readme_has_every_file():
    readme = (INFRA / "README.md").read_text(encoding="utf-8")
    for path in INFRA.iterdir():
        assert path.name in readme


def test_commands_of_ray_have_these_options():
    lines = re.sub(r"\\\n\s*", "", (INFRA / "README.md").read_text(encoding="utf-8")).splitlines()
    calls = {}
    for line in lines:
        if match := re.match(r"(ray (?:job )?[a-z-]+) ([^#]*)", line):
            options = re.findall(r"(?<!\S)(--?[a-z][\w-]*)", match[2].split(" -- ")[0])
            calls.setdefault(match[1], set()).update(options)
    assert {"ray up", "ray submit", "ray down", "ray job submit"} <= calls.keys()
    for call, options in calls.items():
        command = cli
        for name in call.split()[1:]:
            command = command.commands[name]
        known = {option for parameter in command.params for option in parameter.opts}
        assert options <= known, call


def test_scripts_pass_shellcheck():
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    scripts = [str(path) for path in [*INFRA.glob("*.sh"), ROOT / ".ci" / "run"]]
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
