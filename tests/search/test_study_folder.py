"""The folder of a study holds one study, and one driver at a time."""

import pytest

from pipeline.core.errors import UserError
from pipeline.search.journal import JOURNAL_NAME, Journal, read_journal
from pipeline.search.study_folder import open_study_folder, read_study


def _describe(kimg, code="c0de"):
    identity = {"study": "small", "max_kimg": kimg, "code_digest": code * 16}
    return {"identity": identity, "section": {}}


def test_another_study_is_refused_with_the_difference(tmp_path):
    with open_study_folder(tmp_path, _describe(1)):
        Journal(tmp_path / JOURNAL_NAME).append({"event": "trial", "id": "x"})
    with (
        pytest.raises(
            UserError, match=r"another study of this name; --restart discards it"
        ) as error,
        open_study_folder(tmp_path, _describe(2)),
    ):
        pass
    assert '-  "max_kimg": 1' in str(error.value)
    assert '+  "max_kimg": 2' in str(error.value)
    assert read_study(tmp_path)["identity"]["max_kimg"] == 1
    with open_study_folder(tmp_path, _describe(2), restart=True):
        assert read_journal(tmp_path / JOURNAL_NAME) == []
    assert read_study(tmp_path)["identity"]["max_kimg"] == 2


def test_trials_of_other_code_are_refused(tmp_path):
    with open_study_folder(tmp_path, _describe(1)):
        pass
    with (
        pytest.raises(UserError, match=r"other training code \(c0dec0dec0de, here babebabe"),
        open_study_folder(tmp_path, _describe(1, "babe")),
    ):
        pass


def test_a_second_driver_is_refused(tmp_path):
    with (
        open_study_folder(tmp_path, _describe(1)),
        pytest.raises(UserError, match=r"is in use by process \d+, which runs this study"),
        open_study_folder(tmp_path, _describe(1)),
    ):
        pass


def test_a_missing_or_damaged_study_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no such study yet; `python tune.py --study \w+` starts"):
        read_study(tmp_path / "nothing")
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(UserError, match=r"study\.json is damaged; --restart"):
        read_study(tmp_path)
