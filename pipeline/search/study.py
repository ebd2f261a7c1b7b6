"""A study, ready to run: its section of `params.yaml` with what every trial shares."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.extractors import extractor_name
from pipeline.config.params import Params, override
from pipeline.config.search import StudySection
from pipeline.evaluation.extractors.extractor import metric_key
from pipeline.evaluation.small_protocol import STEM
from pipeline.runs.run_folder import code_digest

# What may differ between two calls that go on with one study.
_HOW = {"num_trials", "workers_per_trial", "resources_per_worker", "max_concurrent"}

# Beginnings of what training itself computes, every `train.eval_kimg`; `fd` of other networks.
_EVALUATED = (STEM, STEM.replace("fid", "fd"))

Config = dict[str, Any]
"""Values by dotted keys of `params.yaml`."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Use `make_study`."""

    name: str
    section: StudySection
    params: Params
    """Of all trials alike."""
    metric: str
    shards: str
    """A folder, or `s3://bucket/prefix`."""
    reference: str
    """The folder of the real data's side of metrics."""
    dataset_digest: str

    @property
    def num_seeds(self) -> int:
        """Runs of each configuration."""
        return len(self.section.seeds)

    @property
    def is_evaluated(self) -> bool:
        """Whether the metric needs generated images, and not only what each step leaves."""
        return self.metric.startswith(_EVALUATED)

    def trial_params(self, config: Mapping[str, Any], seed: int) -> Params:
        """The parameters of one trial; raises UserError for values that the model refuses."""
        section = self.section
        own: Config = {
            "train.seed": seed,
            "train.total_kimg": section.max_kimg,
            # Each report has its checkpoint: a stopped trial continues from there.
            "runtime.checkpoint_kimg": section.report_kimg,
            "runtime.experiment": f"{self.params.runtime.experiment}-{self.name}",
        }
        if self.is_evaluated:
            own["train.eval_kimg"] = section.report_kimg
        return override(self.params, {**config, **own})

    def identity(self) -> dict[str, Any]:
        """JSON values that decide what the study finds; where they differ it is another study.

        More trials of the same study, other resources and other workers continue it.
        """
        params = self.params.model_dump(include={"data", "reference", "model", "train"})
        return {
            "study": self.name,
            "section": self.section.model_dump(exclude=_HOW),
            "metric": self.metric,
            "params": params,
            "dataset_digest": self.dataset_digest,
            "code_digest": code_digest(),
        }


def default_metric(params: Params) -> str:
    """FID over 2,000 images under the first configured extractor."""
    return metric_key(STEM, extractor_name(params.reference.extractors[0]), official=True)


def trial_id(index: int, seed: int) -> str:
    """`007-s1`: the study's eighth configuration with seed 1."""
    return f"{index:03d}-s{seed}"


def derived_seed(*parts: object) -> int:
    """A number below 2^32 that depends on all parts and on nothing else."""
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big")


def study_folder(name: str, root: Path = Path("reports/studies")) -> Path:
    """Where a study keeps what it finds."""
    return root / name
