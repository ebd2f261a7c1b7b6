"""The sections of `params.yaml`: every key with its type, range and meaning."""

import re
from typing import Annotated, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from models.configuration import (
    AttentionBlock,
    AttentionForm,
    BnStatistics,
    CbnInitialization,
    Conditioning,
    Initialization,
)
from pipeline.config.extractors import check_extractors, check_weights

# YAML 1.1 reads 2e-4 (no dot, no signed exponent) as a string; researchers write it all the time.
_SCIENTIFIC = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def _read_scientific(value: object) -> object:
    return float(value) if isinstance(value, str) and _SCIENTIFIC.fullmatch(value) else value


Float = Annotated[float, BeforeValidator(_read_scientific)]
"""A float, in any notation that researchers write."""


class Section(BaseModel):
    """A frozen section that refuses unknown keys and does not convert types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataSection(Section):
    """What the shards hold; read by `shard`."""

    source: Literal[
        "digits", "folder", "cifar10", "cifar100", "imagenet", "parquet", "webdataset"
    ] = Field(
        "digits",
        description="digits (ships with scikit-learn), folder (one sub-folder a class), or what "
        "the name says",
    )
    path: str | None = Field(
        None,
        description="where it is: a path or s3://bucket/prefix; for CIFAR also `download`",
    )
    image_column: str | None = Field(
        None, description="Parquet's column of images; null: the only one there is"
    )
    label_column: str | None = Field(
        None,
        description="where labels are: Parquet's column, WebDataset's field of .json, CIFAR-100's "
        "coarse_labels; null: the usual place",
    )
    classes: list[str] | None = Field(
        None, min_length=1, description="names of the classes to take; null: all"
    )
    limit: int | None = Field(
        None,
        ge=1,
        description="most images to take, chosen by a hash of the key, each class by its share",
    )
    resolution: Literal[32, 64, 128] = Field(32, description="side of the square images, pixels")
    channels: Literal[1, 3] = Field(1, description="1 (grey) or 3 (RGB)")
    resize: Literal["bicubic", "lanczos", "box"] = Field(
        "bicubic", description="antialiased filter"
    )
    crop: Literal["center", "long-edge"] = Field(
        "center",
        description="the largest square: the middle one, or one along the long edge, chosen by a "
        "hash of the key",
    )
    background: str = Field(
        "white",
        pattern=r"^(white|black|#[0-9a-fA-F]{6})$",
        description="colour behind transparent pixels: white, black or #rrggbb",
    )
    heldout_fraction: Float = Field(
        0.2, ge=0.0, lt=1.0, description="share held out of training, by a hash of the key"
    )
    shard_rows: int = Field(16384, ge=1, description="most images in one shard")
    max_rejected_fraction: Float = Field(
        0.01, ge=0.0, lt=1.0, description="share of unusable images above which the stage fails"
    )


def _known_extractors(extractors: list[str]) -> list[str]:
    try:
        check_extractors(extractors)
    except ValueError as error:
        raise ValueError(f"`reference.extractors`: {error}") from None
    return extractors


def _fitting_weights(weights: dict[str, str]) -> dict[str, str]:
    try:
        check_weights(weights)
    except ValueError as error:
        raise ValueError(f"`reference.extractor_weights`: {error}") from None
    return weights


def _read_number_kept(value: object, read: ValidatorFunctionWrapHandler) -> object:
    try:
        return read(value)
    except ValidationError:
        raise ValueError(
            f"reference.keep_features = {value!r} is not valid: it is a number of images, 10 or "
            "more, or `all`"
        ) from None


def _check_replicates(replicates: int) -> int:
    if replicates == 1:
        raise ValueError("`evaluate.bootstrap` is 1; a deviation takes 2 or more, or 0 for none")
    return replicates


class ReferenceSection(Section):
    """The reference statistics of the metrics; read by `reference`."""

    extractors: Annotated[list[str], AfterValidator(_known_extractors)] = Field(
        ["dataset-cnn"],
        min_length=1,
        description="feature extractors, each with metrics of its own: names of docs/metrics.md, "
        "with -bf16 after them for that precision, and .pt, .pth, .ts or .onnx files",
    )
    inception_weights: str | None = Field(
        None,
        description="torch-fidelity's Inception weights: a file, s3://bucket/key, or `download`",
    )
    extractor_weights: Annotated[dict[str, str], AfterValidator(_fitting_weights)] = Field(
        {},
        description="the same for other extractors, by their names; where one is missing: "
        "`download`",
    )
    cnn_epochs: int = Field(10, ge=1, description="passes of dataset-cnn over the training split")
    seed: int = Field(0, ge=0, description="seed of dataset-cnn's training")
    keep_features: Annotated[
        Annotated[int, Field(ge=10)] | Literal["all"], WrapValidator(_read_number_kept)
    ] = Field(
        50_000, description="images of each split whose features are kept, evenly chosen; or all"
    )


class ModelSection(Section):
    """The two networks; read by `train`. Where a key is null, the variant decides."""

    variant: str = Field(
        "sagan", description="system of the paper, by name; docs/systems.md lists them"
    )
    z_dim: int = Field(128, ge=1, description="length of the latent vector")
    g_width: int = Field(8, ge=1, description="generator's width; the paper's is 64")
    d_width: int = Field(32, ge=1, description="discriminator's width; the paper's is 64")
    g_attention: list[int] | None = Field(
        None, description="generator feature sizes with attention, such as [16, 32]; [] is none"
    )
    d_attention: list[int] | None = Field(
        None, description="discriminator feature sizes with attention"
    )
    attention_block: AttentionBlock | None = Field(
        None, description="residual: a residual block of as many parameters in attention's place"
    )
    attention_form: AttentionForm | None = Field(
        None, description="released: pooled keys, C/2 values; paper: its text, neither"
    )
    conditioning: Conditioning | None = Field(
        None, description="how labels enter the discriminator"
    )
    g_spectral_norm: bool | None = Field(
        None, description="spectral normalisation in the generator"
    )
    d_spectral_norm: bool | None = Field(
        None, description="spectral normalisation in the discriminator"
    )
    spectral_norm_eps: Float | None = Field(
        None, gt=0, description="smallest length that spectral norm's vectors are divided by"
    )
    cbn_spectral_norm: bool | None = Field(
        None, description="spectral normalisation of the class tables too; known to harm G"
    )
    cbn_initialization: CbnInitialization | None = Field(
        None, description="initial class tables: gain 1 and bias 0, or drawn around them"
    )
    initialization: Initialization | None = Field(None, description="initial weights")
    bn_statistics: BnStatistics | None = Field(
        None, description="of the global batch, of ghost batches, or of each process's share"
    )
    bn_ghost_batch: int | None = Field(
        None, ge=2, description="images that share statistics with bn_statistics: ghost"
    )
    bn_eps: Float | None = Field(None, gt=0, description="batch normalisation's epsilon")
    d_shortcut_relu: bool | None = Field(
        None, description="D's shortcuts take relu(x), the effect of an in-place ReLU"
    )


class TrainSection(Section):
    """The optimisation; read by `train`. Where a key is null, the variant decides."""

    seed: int = Field(0, ge=0, description="decides every random draw of the run")
    total_kimg: Float = Field(64, gt=0, description="length: thousands of real images seen by D")
    batch: int = Field(64, ge=2, description="global batch, images")
    order: Literal["global", "block"] = Field(
        "global", description="block: rows mixed within windows of shards, for shards in a bucket"
    )
    order_window: int = Field(8, ge=1, description="shards that a block order mixes at a time")
    loss: Literal["hinge", "non-saturating", "wasserstein-gp", "least-squares"] | None = Field(
        None, description="adversarial loss"
    )
    gp_weight: Float | None = Field(
        None, gt=0, description="weight of wasserstein-gp's penalty; null: 10"
    )
    class_loss_weight: Float | None = Field(
        None, gt=0, description="weight of the auxiliary classifier's loss; null: 1"
    )
    d_steps: int | None = Field(None, ge=1, description="updates of D, a batch each, for each of G")
    g_lr: Float | None = Field(None, gt=0, description="generator's Adam learning rate")
    d_lr: Float | None = Field(None, gt=0, description="discriminator's Adam learning rate")
    lr_multiplier: Float = Field(
        4.5, gt=0, description="of both rates of the variant: 1 for the paper's sizes"
    )
    lr_decay: Literal["constant", "linear"] | None = Field(
        None, description="linear: both rates fall to 0 over the last ninth of the run"
    )
    g_lr_halflife_kimg: Float | None = Field(
        28,
        gt=0,
        description="with two time scales, G's rate halves with every so many kimg; null: it does "
        "not; equal rates stay equal",
    )
    adam_beta1: Float | None = Field(None, ge=0, lt=1, description="Adam's beta1")
    adam_beta2: Float | None = Field(
        None, ge=0, lt=1, description="Adam's beta2; released 0.999, the paper's text 0.9"
    )
    adam_eps: Float | None = Field(None, gt=0, description="Adam's epsilon")
    ema: bool | None = Field(
        None, description="average of the generator's weights; false: the raw one stands for it"
    )
    ema_halflife_kimg: Float = Field(5, gt=0, description="half-life of the average, kimg")
    ema_start_kimg: Float = Field(
        0, ge=0, description="until then the average is the raw generator"
    )
    flip: bool | None = Field(None, description="mirror real images at random, left to right")
    diffaugment: list[Literal["color", "translation", "cutout"]] = Field(
        [], description="DiffAugment's policies, for small data sets; [] is none"
    )
    precision: Literal["bf16", "fp32", "fp64"] = Field(
        "bf16", description="of convolutions and matrix products; weights stay fp32 under bf16"
    )
    snapshot_kimg: Float = Field(8, gt=0, description="interval of snapshots and sample grids")
    eval_kimg: Float | None = Field(
        8,
        gt=0,
        description="interval of FIDs of 2,000 samples during training, against --reference; "
        "weights do not depend on it; null: none",
    )


MetricFamily = Literal[
    "fid", "is", "kid", "prc", "prdc", "intra-fid", "fid-infinity", "memorisation", "accuracy"
]
IntraFidPreset = Literal["match", "miyato5k"]


class EvaluateSection(Section):
    """The protocol of the metrics; read by `evaluate`."""

    num_samples: int = Field(5000, ge=10, description="generated images for each metric")
    seed: int = Field(1000, ge=0, description="seed of the samples' latents and labels")
    selection_seed: int = Field(
        3000, ge=0, description="the same where the best of several snapshots is looked for"
    )
    selection_samples: int | None = Field(
        None, ge=10, description="generated images of each of them; null: num_samples"
    )
    is_splits: int = Field(10, ge=1, description="splits of the inception score")
    kid_subsets: int = Field(100, ge=1, description="subsets of KID")
    kid_subset_size: int = Field(300, ge=2, description="images in each subset of KID")
    metrics: list[MetricFamily] = Field(
        list(get_args(MetricFamily)),
        min_length=1,
        description="what to measure: fid, is, kid, prc (precision and recall), prdc (density and "
        "coverage), intra-fid, fid-infinity (from 10,000 samples on), memorisation, accuracy",
    )
    intra_fid: IntraFidPreset = Field(
        "match",
        description="generated images of each class: as many as there are real ones, of the "
        "samples at hand, or 5,000 drawn for it",
    )
    bootstrap: Annotated[int, AfterValidator(_check_replicates)] = Field(
        20, ge=0, description="replicates behind each 95 % interval; 0: no intervals"
    )

    @property
    def num_selection_samples(self) -> int:
        """Generated images of each of several snapshots."""
        return self.selection_samples or self.num_samples


class ReportSection(Section):
    """What the report shows; read by `report`."""

    samples_per_class: int = Field(10, ge=1, le=50, description="columns of the class grid")
    attention_samples: int = Field(4, ge=1, le=16, description="samples with attention maps")


class RuntimeSection(Section):
    """What cannot change a result; no stage depends on it."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where to train")
    num_threads: int | None = Field(None, ge=1, description="CPU threads; null: torch's choice")
    launcher: Literal["auto", "inprocess", "torchrun", "ray"] = Field(
        "auto",
        description="what starts the processes of train, reference and evaluate; auto: ray where "
        "RAY_ADDRESS is set, torchrun for several workers, else this process",
    )
    num_workers: int | None = Field(
        None, ge=1, description="how many processes; null: one for each GPU of this machine"
    )
    resources_per_worker: dict[str, Float] = Field(
        {}, description="what Ray reserves for each, such as {CPU: 4, GPU: 1}; {}: 1 CPU or 1 GPU"
    )
    max_failures: int = Field(
        3, ge=0, description="times that a launcher starts failed workers again"
    )
    join_timeout_s: Float = Field(
        300, gt=0, description="how long the processes of a job wait for each other at the start"
    )
    peer_timeout_s: Float = Field(
        1800, gt=0, description="how long a process waits for another that does not answer"
    )
    ingest_workers: int | None = Field(
        None, ge=1, description="processes that decode images for the shards; null: one a core"
    )
    runs_dir: str = Field("runs", min_length=1, description="folder of the run folders")
    cache_dir: str = Field(
        "data/cache",
        min_length=1,
        description="where shards downloaded from S3 and reference statistics are kept",
    )
    cache_gb: Float = Field(
        50, gt=0, description="most gigabytes of them; the least recently used are deleted"
    )
    mirror: str | None = Field(
        None, description="s3://bucket/prefix where run folders are backed up and restored from"
    )
    batch_per_process: int | None = Field(
        None, ge=1, description="images that a process computes at a time; null: all its share"
    )
    on_collapse: Literal["log", "stop"] = Field(
        "log", description="what to do when generated images hardly differ or the loss of D is 0"
    )
    status_kimg: Float = Field(1, gt=0, description="interval of status records")
    checkpoint_kimg: Float = Field(8, gt=0, description="interval of checkpoints")
    keep_checkpoints: int = Field(
        3, ge=2, description="how many of the newest checkpoints are kept"
    )
    tracker: Literal["mlflow", "none"] = Field(
        "mlflow", description="where runs are logged besides their stats.jsonl"
    )
    tracking_uri: str | None = Field(
        None, description="MLflow's address; null: MLFLOW_TRACKING_URI, else a local SQLite file"
    )
    experiment: str = Field("sagan", min_length=1, description="MLflow experiment")
