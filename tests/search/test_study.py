"""Mistakes in a study, found before anything starts."""

import pytest

from pipeline.config.params import Params, load_params, override
from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import read_manifest
from pipeline.search.space import corners
from pipeline.search.study import Request, find_section, make_study
from tests.support.project import ROOT
from tests.support.studies import RATES, SMALL, section


@pytest.fixture(scope="module")
def manifest(digits_shards):
    return read_manifest(digits_shards)


def _load(tmp_path, **changes):
    import yaml

    content = section().model_dump(exclude_none=True) | {"space": RATES} | changes
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({"search": {"studies": {"mine": content}}}))
    return load_params(path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"grce_kimg": 3},
            r"unknown key `search\.studies\.mine\.grce_kimg`; the nearest valid key",
        ),
        (
            {"space": {"train.g_lrr": {"uniform": [1.0, 2.0]}}},
            r"studies\.mine\.space: unknown key `train\.g_lrr`; the nearest valid key is `train\.g",
        ),
        ({"space": {"train.seed": {"choice": [1]}}}, r"train\.seed is not searched.*`seeds`"),
        (
            {"space": {"train.g_lr": {"uniform": [1.0, 2.0], "choice": [1]}}},
            r"mine\.space\.train\.g_lr: a key of a space has one of .* not uniform and choice",
        ),
        ({"space": {"train.g_lr": {"loguniform": [0, 2.0]}}}, r"needs bounds above 0"),
        ({"space": {"train.g_lr": {"uniform": [2.0, 1.0]}}}, r"is empty; give the lower first"),
        ({"space": {}}, r"`search\.studies\.mine\.space` = \{\} is not valid"),
        (
            {"searcher": "grid"},
            r"train\.[gd]_lr has a continuous range, which searcher: grid cannot",
        ),
        ({"searcher": "bayes"}, r"mine\.searcher` = 'bayes' is not valid: .*'grid', 'random' or"),
        ({"num_trials": None}, r"num_trials is missing"),
        ({"grace_kimg": 20.0}, r"report_kimg = 1, grace_kimg = 20 and max_kimg = 9 must not"),
        ({"seeds": [1, 1]}, r"seeds = \[1, 1\] repeat"),
        ({"scheduler": "pbt"}, r"mine\.scheduler` = 'pbt' is not valid: .*'none' or 'asha'"),
    ],
)
def test_mistake_is_one_sentence(tmp_path, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        _load(tmp_path, **changes)


def test_unknown_study_names_the_nearest():
    params = load_params(ROOT / "params.yaml")
    with pytest.raises(UserError, match=r"no study 'atention' .*the nearest is attention; there a"):
        find_section(params, Request(study="atention"))


def test_request_replaces_a_studys_own_values():
    params = load_params(ROOT / "params.yaml")
    request = Request(study="ttur", num_trials=3, max_kimg=8.0, seeds=[4, 5])
    changed = find_section(params, request)
    assert (changed.num_trials, changed.max_kimg, changed.seeds) == (3, 8.0, [4, 5])
    with pytest.raises(UserError, match=r"study ttur: num_trials = 0 is not valid"):
        find_section(params, Request(study="ttur", num_trials=0))
    with pytest.raises(UserError, match=r"study ttur: report_kimg = 2, grace_kimg = 4 and max"):
        find_section(params, Request(study="ttur", max_kimg=3.0))
    short = find_section(params, Request(study="ttur", max_kimg=0.4, smoke=True))
    assert (short.max_kimg, short.report_kimg) == (0.4, 0.4)


def _make(manifest, **changes):
    params = override(Params(), SMALL)
    return make_study("mine", section(**changes), params, manifest, "shards", "reference")


def test_all_refused_combinations_are_listed(manifest):
    variants = ["sagan", "sagan-feat32", "residual-feat64", "sagan-feat8"]
    space = {"model.variant": {"choice": variants}, "train.batch": {"choice": [16, 2000]}}
    with pytest.raises(UserError) as caught:
        _make(manifest, space=space, searcher="random")
    text = str(caught.value)
    assert "6 of 8 combinations of its space cannot be trained" in text
    for variant in ("sagan-feat32", "residual-feat64"):
        for batch in (16, 2000):
            assert f"model.variant = {variant}, train.batch = {batch}" in text
    assert "model.variant = sagan, train.batch = 2000; " in text
    assert "larger than the training split" in text
    assert "model.variant = sagan-feat8, train.batch = 16" not in text


def test_workers_that_cannot_share_the_batch(manifest):
    with pytest.raises(UserError, match=r"train\.batch = 16 cannot be shared by 3 processes"):
        _make(manifest, workers_per_trial=3)


def test_metric_without_its_extractor(manifest):
    with pytest.raises(UserError, match=r"metric = fid2k is not among .*choose fid2k_dataset_cnn"):
        _make(manifest, metric="fid2k")
    with pytest.raises(UserError, match=r"reference does not exist, and fid2k_dataset_cnn needs i"):
        _make(manifest, metric=None)


def test_every_shipped_study_can_be_trained(manifest, tmp_path):
    params = load_params(ROOT / "params.yaml")
    assert set(params.search.studies) == {
        *("ttur", "attention", "stabilization", "systems", "joint")
    }
    for name in params.search.studies:
        for smoke in (False, True):
            chosen = find_section(params, Request(study=name, smoke=smoke))
            study = make_study(name, chosen, params, manifest, "shards", str(tmp_path))
            assert study.metric == "fid2k_dataset_cnn"
            for config in corners(chosen.space):
                trial = study.trial_params(config, 7)
                assert trial.train.seed == 7
                assert trial.train.total_kimg == chosen.max_kimg
                assert trial.train.eval_kimg == chosen.report_kimg


def test_identity_does_not_depend_on_how_a_study_is_run(manifest):
    first = _make(manifest).identity()
    assert _make(manifest, num_trials=30, max_concurrent=2).identity() == first
    assert _make(manifest, workers_per_trial=2).identity() == first
    assert _make(manifest, max_kimg=12.0).identity() != first
    assert _make(manifest, seeds=[1]).identity() != first
