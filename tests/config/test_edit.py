"""Editing YAML: the value changes, every other line stays."""

import pytest
import yaml

from pipeline.config.edit import edited, yaml_text
from pipeline.core.errors import UserError
from tests.support.project import ROOT

TEXT = """\
# Head.
model:
  variant: sagan            # by name
  g_attention: null         # feature sizes
  sizes:
    - 8   # the first
    - 16

train:
  batch: 64
  g_lr: null
  flow: {a: 1, b: [1, 2]}   # short
  quoted: 'a # b'           # not a comment inside

  # At the end.
"""


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("model.variant", "no-attention", "  variant: no-attention     # by name"),
        ("model.g_attention", [8, 16], "  g_attention: [8, 16]      # feature sizes"),
        ("train.batch", 32, "  batch: 32"),
        ("train.g_lr", 1e-4, "  g_lr: 0.0001"),
        ("train.g_lr", 1.5e-7, "  g_lr: 1.5e-07"),
        ("train.g_lr", "yes", "  g_lr: 'yes'"),
        ("train.g_lr", 1e-5, "  g_lr: 1.0e-05"),
        ("train.flow", {"a": 2}, "  flow: {a: 2}              # short"),
        ("train.flow.a", 3, "  flow: {a: 3, b: [1, 2]}   # short"),
        ("train.quoted", None, "  quoted: null              # not a comment inside"),
        (
            "model.variant",
            "a-name-that-is-longer-than-the-column",
            "  variant: a-name-that-is-longer-than-the-column # by name",
        ),
    ],
)
def test_one_line_changes_and_comments_keep_their_column(key, value, line):
    changed = edited(TEXT, {key: value}, "params.yaml")
    old, new = TEXT.splitlines(), changed.splitlines()
    assert len(new) == len(old)
    (different,) = [b for a, b in zip(old, new, strict=True) if a != b]
    assert different == line


def test_a_missing_key_is_added_to_its_section():
    changed = edited(TEXT, {"model.new": True, "train.d_lr": 4e-4}, "params.yaml")
    assert "# feature sizes\n  new: true\n  sizes:\n" in changed
    assert "# short\n  d_lr: 0.0004\n  quoted: " in changed
    assert changed.replace("  new: true\n", "").replace("  d_lr: 0.0004\n", "") == TEXT


def test_a_block_becomes_one_line():
    changed = edited(TEXT, {"model.sizes": [32]}, "params.yaml")
    assert "  sizes: [32]\ntrain:" in changed
    assert yaml.safe_load(changed)["model"]["sizes"] == [32]


@pytest.mark.parametrize(
    "path", [ROOT / "params.yaml", *sorted((ROOT / "configs").glob("*.yaml"))], ids=lambda p: p.name
)
def test_all_other_lines_of_shipped_files_stay(path):
    text = path.read_text(encoding="utf-8")
    assert edited(text, {}, path.name) == text
    values = {"train.batch": 48, "train.total_kimg": 12.5, "model.variant": "sagan-feat8"}
    changed = edited(text, values, path.name)
    pairs = zip(text.splitlines(), changed.splitlines(), strict=True)
    assert sum(a != b for a, b in pairs) == 3
    if path.name == "params.yaml":
        assert "  variant: sagan-feat8      # a system" in changed


def test_missing_section_is_an_error():
    with pytest.raises(UserError, match=r"params.yaml has no section `loss:`, where loss.kind"):
        edited(TEXT, {"loss.kind": "hinge"}, "params.yaml")


def test_values_read_back_as_they_were():
    for value in (1e-5, 3, None, True, "sagan", "yes", [8, 16], "1e5", 1.5e-7):
        assert yaml.safe_load(yaml_text(value)) == value
