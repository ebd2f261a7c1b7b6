"""The documentation: its size, its links, and the commands and code in it."""

import ast
import importlib
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from ray.scripts.scripts import cli

from models.generator import Generator
from pipeline.config.overrides import read_assignment
from pipeline.config.params import load_params
from pipeline.core.randomness import generator_at
from pipeline.training.snapshot import prepare_for_sampling, write_snapshot
from tests.support.project import ROOT
from tests.support.tiny_run import TINY

README = ROOT / "README.md"
INFRA = ROOT / "infra"
PAGES = [
    README,
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    INFRA / "README.md",
]
TEXTS = [*PAGES, *sorted(p for p in INFRA.rglob("*") if p.is_file() and p not in PAGES)]


def _name(path):
    return path.relative_to(ROOT).as_posix()


def _blocks(language, pages=tuple(PAGES)):
    """The code blocks of a language in the pages."""
    pattern = re.compile(rf"^ *```{language}\n(.*?)^ *```", re.M | re.S)
    return [block for page in pages for block in pattern.findall(page.read_text(encoding="utf-8"))]


def _commands():
    """The lines of all shell blocks, without comments, continued ones joined."""
    lines = "\n".join(_blocks("bash")).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.strip()]


def _options(command):
    return set(re.findall(r"(?<!\S)(--?[a-zA-Z][\w-]*)", command))


def test_readme_is_for_newcomers():
    assert README.stat().st_size < 12_000


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_relative_links_lead_to_files_and_headings(page):
    content = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?://)([^)\s]+)\)", content)
    for link in links:
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.M)
            anchors = {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles}
            assert heading in anchors, link


def test_readme_leads_to_every_page():
    linked = set(re.findall(r"\]\(([^)#\s]+)\)", README.read_text(encoding="utf-8")))
    assert {_name(page) for page in PAGES} - {"README.md"} <= linked


def test_readme_shows_every_package():
    tree = README.read_text(encoding="utf-8").split("## The repository")[1].split("```")[1]
    shown = set(re.findall(r"^ *([\w/]+)/ ", tree, re.M))
    packages = {path.parent.name for path in ROOT.glob("pipeline/*/__init__.py")} - {"data"}
    packages |= {f"data/{path.parent.name}" for path in ROOT.glob("pipeline/data/*/__init__.py")}
    assert packages | {"models", "stages", "tests"} <= shown
    assert all((ROOT / each).is_dir() or (ROOT / "pipeline" / each).is_dir() for each in shown)


@pytest.mark.parametrize("text", TEXTS, ids=_name)
def test_files_that_are_named_exist(text):
    content = text.read_text(encoding="utf-8")
    top = "infra|configs|docs|models|pipeline|stages|tests|benchmarks"
    named = set(re.findall(rf"(?<![\w/~.*<-])(?:{top})/[\w./-]*\w", content))
    created = {"infra/mlflow/.env"}
    assert not {name for name in named - created if not (ROOT / name).exists()}


@pytest.mark.parametrize("text", TEXTS, ids=_name)
def test_modules_and_targets_that_are_named_exist(text):
    content = text.read_text(encoding="utf-8")
    for name in re.findall(r"python -m ((?:stages|pipeline|benchmarks)[\w.]*\w)", content):
        path = ROOT.joinpath(*name.split("."))
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), name
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:^|`)make ([a-z][\w-]*)", content, re.M):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_commands_of_the_project_have_these_options(monkeypatch, capsys):
    calls = {}
    for command in _commands():
        if match := re.search(r"(stages\.\w+|benchmarks\.\w+|tune)(?:\.py)? (?:-- )?(.*)", command):
            calls.setdefault(match[1], set()).update(_options(match[2]))
    assert {"tune", "stages.shard", "stages.train", "stages.evaluate"} <= calls.keys()
    for module, options in calls.items():
        monkeypatch.setattr(sys, "argv", [module, "--help"])
        with pytest.raises(SystemExit):
            importlib.import_module(module).main()
        assert options <= _options(capsys.readouterr().out.replace(",", "")), module


def test_keys_and_studies_in_commands_are_valid():
    studies = yaml.safe_load((ROOT / "params.yaml").read_text())["search"]["studies"]
    commands = "\n".join(_commands())
    named = set(re.findall(r"--study ([\w-]+)", commands))
    assert named
    assert named <= studies.keys()
    values = re.findall(r"-S '?([\w.]+=[^\s']+)", commands)
    assert values
    for value in values:
        load_params(ROOT / "params.yaml", dict([read_assignment(value)]))


def test_values_for_params_yaml_are_valid(tmp_path):
    blocks = _blocks("yaml")
    assert len(blocks) >= 4
    for number, block in enumerate(blocks):
        path = tmp_path / f"params-{number}.yaml"
        path.write_text(block, encoding="utf-8")
        load_params(path)


def test_readme_code_runs(tmp_path, monkeypatch):
    G = Generator(TINY.generator)
    G.initialize(generator_at(0, "test"))
    path = tmp_path / "data" / "model" / "generator.safetensors"
    path.parent.mkdir(parents=True)
    names = [str(index) for index in range(10)]
    sampled = prepare_for_sampling(G, seed=0, nimg=0, batch=16)
    write_snapshot(path, sampled, {"class_names": names, "nimg": 0, "ema": True})
    monkeypatch.chdir(tmp_path)
    (code,) = _blocks("python", (README,))
    values, shapes = {}, []
    for statement in ast.parse(code).body:
        if isinstance(statement, ast.Expr):
            value = eval(compile(ast.Expression(statement.value), "README.md", "eval"), values)
            shapes.append(tuple(value.shape))
        else:
            exec(compile(ast.Module([statement], []), "README.md", "exec"), values)
    assert tuple(values["images"].shape) == (10, 1, 32, 32)
    assert shapes[:2] == [(8, 8), (8, 1, 32, 32)]


def test_infra_readme_has_every_file():
    readme = (INFRA / "README.md").read_text(encoding="utf-8")
    for path in INFRA.iterdir():
        assert path.name in readme or path.name == "README.md"


def test_commands_of_ray_have_these_options():
    calls = {}
    for command in _commands():
        if match := re.match(r"(ray (?:job )?[a-z-]+) ([^#]*)", command):
            calls.setdefault(match[1], set()).update(_options(match[2].split(" -- ")[0]))
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
