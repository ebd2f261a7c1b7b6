"""Editing YAML in place: the value changes, every other character stays."""

import pytest
import yaml

from pipeline.config.edit import edited, yaml_text
from pipeline.core.errors import UserError

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
  g_lr:
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
        ("train.g_lr", 1e-5, "  g_lr: 1.0e-05"),
        ("train.flow", {"a": 2}, "  flow: {a: 2}              # short"),
        ("train.flow.a", 3, "  flow: {a: 3, b: [1, 2]}   # short"),
        ("train.quoted", None, "  quoted: null              # not a comment inside"),
        (
            "model.variant",
            "a-name-that-is-longer-than-the-column",
            "  variant: a-name-that-is-longer-than-the-column  # by name",
        ),
    ],
)
def test_one_line_changes_and_comments_keep_their_column(key, value, line):
    changed = edited(TEXT, {key: value}, "params.yaml")
    old, new = TEXT.splitlines(), changed.splitlines()
    assert len(new) == len(old)
    (different,) = [b for a, b in zip(old, new, strict=True) if a != b]
    assert different == line


def test_a_key_that_is_missing_comes_to_the_end_of_its_section():
    changed = edited(TEXT, {"model.new": True, "train.d_lr": 4e-4}, "params.yaml")
    assert "    - 16\n  new: true\n\ntrain:" in changed
    assert "inside\n  d_lr: 0.0004\n\n  # At the end.\n" in changed


def test_a_block_becomes_one_line():
    changed = edited(TEXT, {"model.sizes": [32]}, "params.yaml")
    assert "  sizes: [32]\n\ntrain:" in changed
    assert yaml.safe_load(changed)["model"]["sizes"] == [32]


def test_editing_the_project_s_own_file_keeps_all_other_lines():
    from tests.support.project import ROOT

    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    values = {"train.g_lr": 2.5e-4, "train.d_lr": 1e-3, "model.variant": "sagan-feat8"}
    changed = edited(text, values, "params.yaml")
    pairs = zip(text.splitlines(), changed.splitlines(), strict=True)
    assert sum(a != b for a, b in pairs) == 3
    assert "  variant: sagan-feat8      # a system" in changed


def test_a_section_that_is_missing_is_told():
    with pytest.raises(UserError, match=r"params.yaml has no section `loss:`, where loss.kind"):
        edited(TEXT, {"loss.kind": "hinge"}, "params.yaml")


def test_values_read_back_as_they_were():
    for value in (1e-5, 3, None, True, "sagan", "yes", [8, 16], "1e5", 1.5e-7):
        assert yaml.safe_load(yaml_text(value)) == value
