"""Study folders as a driver leaves them: study.json and the journal."""

from pipeline.config.params import Params
from pipeline.config.search import StudySection
from pipeline.search.journal import JOURNAL_NAME, Journal
from pipeline.search.space import trial_id
from pipeline.search.study_folder import STUDY_NAME
from pipeline.storage.atomic import write_json

DIGITS = {
    "name": "digits",
    "kind": "digits",
    "resolution": 32,
    "num_classes": 10,
    "num_train": 1440,
    "protocol": {
        "extractor": "dataset-cnn",
        "weights_official": False,
        "num_generated": 2000,
        "weights": "EMA",
        "num_real": 1440,
        "reference_split": "train",
    },
}
IMAGENET = {
    "name": "ImageNet",
    "kind": "imagenet",
    "resolution": 128,
    "num_classes": 1000,
    "num_train": 1281167,
    "protocol": {
        "extractor": "inception-v3-compat",
        "weights_official": True,
        "num_generated": 50000,
        "weights": "raw",
        "num_real": 50000,
        "reference_split": "train",
    },
}
RATES = {
    "train.g_lr": {"loguniform": [5e-5, 5e-3]},
    "train.d_lr": {"loguniform": [5e-5, 5e-3]},
}


def write_study(folder, trials, *, study="ttur", space=None, request=None, **changes):
    """Writes a folder; `trials` are (config, seed, status, [(kimg, value), ...]) in order."""
    section = StudySection(
        space=space or RATES,
        **{
            "searcher": "random",
            "num_trials": max(len(trials), 1),
            "max_kimg": 8.0,
            "report_kimg": 2.0,
            **{key: value for key, value in changes.items() if key in StudySection.model_fields},
        },
    )
    assert section.mistakes() == []
    params = Params().model_dump(include={"data", "reference", "model", "train"})
    described = {
        "identity": {
            "study": study,
            "metric": changes.get("metric_key", "fid2k_dataset_cnn"),
            "params": params,
            "dataset_digest": "d1" * 32,
        },
        "section": section.model_dump(),
        "request": {"study": study.removesuffix("-smoke"), "smoke": False, **(request or {})},
        "measured": changes.get("measured", DIGITS),
    }
    write_json(folder / STUDY_NAME, described)
    journal = Journal(folder / JOURNAL_NAME)
    indices = {}
    for config, seed, status, reports in trials:
        index = indices.setdefault(str(config), len(indices))
        id = trial_id(index, seed)
        journal.append({"event": "trial", "id": id, "index": index, "seed": seed, "config": config})
        for kimg, value in reports:
            journal.append(
                {
                    "event": "report",
                    "id": id,
                    "kimg": kimg,
                    "value": value,
                    "run_key": f"{index}{seed}" * 20,
                }
            )
        if status != "unfinished":
            message = "it <b>died</b>" if status == "failed" else ""
            journal.append({"event": "end", "id": id, "status": status, "message": message})
    return folder


def falling(end, kimg=8.0):
    """Reports every 2 kimg of a metric that falls to `end`."""
    steps = int(kimg // 2)
    return [(2.0 * (i + 1), end * (1 + 0.5 * (steps - 1 - i))) for i in range(steps)]


def write_ttur(folder, **changes):
    """A study over rates under ASHA: finished, stopped and failed trials."""
    rates = [
        (1e-4, 4e-4),
        (5e-5, 5e-3),
        (2e-3, 3e-4),
        (9e-4, 1.2e-3),
        (4.5e-4, 1.8e-3),
        (3e-3, 4e-3),
    ]
    outcomes = [
        ("complete", falling(61.2)),
        ("stopped", falling(190.0, 2)),
        ("stopped", falling(130.0, 6)),
        ("complete", falling(44.4)),
        ("complete", falling(39.7)),
        ("failed", [(2.0, None)]),
    ]
    trials = [
        ({"train.g_lr": g, "train.d_lr": d}, 0, *outcome)
        for (g, d), outcome in zip(rates, outcomes, strict=True)
    ]
    return write_study(folder, trials, scheduler="asha", **changes)


def write_attention(folder, values=None, *, seeds=(0, 1), **changes):
    """A study over systems: `values` of each, the seeds scattered about them."""
    values = values or {
        "no-attention": 31.0,
        "sagan-feat8": 28.0,
        "sagan-feat16": 24.5,
        "residual-feat8": 40.0,
        "residual-feat16": 27.0,
    }
    trials = [
        ({"model.variant": name}, seed, "complete", falling(value + 0.8 * number))
        for name, value in values.items()
        for number, seed in enumerate(seeds)
    ]
    space = {"model.variant": {"grid": list(values)}}
    return write_study(
        folder,
        trials,
        **{
            "study": "attention",
            "space": space,
            "searcher": "grid",
            "num_trials": None,
            "seeds": list(seeds),
            **changes,
        },
    )
