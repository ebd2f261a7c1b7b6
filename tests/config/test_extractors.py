"""What extractors are called, and what their metrics are."""

import pytest

from pipeline.config.extractors import (
    CLIP,
    DINOV2,
    INCEPTION,
    PUBLISHED,
    VGG16,
    check_extractors,
    check_weights,
    extractor_name,
    network_of,
)
from pipeline.evaluation.extractors.extractor import metric_key
from pipeline.evaluation.extractors.torchvision_import import import_torch_fidelity


def test_all_of_torch_fidelitys_are_named() -> None:
    registry = import_torch_fidelity("registry").FEATURE_EXTRACTORS_REGISTRY
    assert {INCEPTION, VGG16, *CLIP, *DINOV2} <= set(registry)
    assert {name for name in registry if network_of(name) in PUBLISHED} == {
        INCEPTION, VGG16, *CLIP, *DINOV2
    }  # fmt: skip


@pytest.mark.parametrize(
    ("stem", "name", "official", "key"),
    [
        ("fid", "inception-v3-compat", True, "fid"),
        ("is_mean", "inception-v3-compat", True, "is_mean"),
        ("fid", "inception-v3-compat", False, "fid_inception_v3_unofficial"),
        ("fid", "inception-v3-compat-bf16", True, "fid_inception_v3_bf16"),
        ("fid", "inception-v3-compat-bf16", False, "fid_inception_v3_unofficial_bf16"),
        ("intra_fid", "dataset-cnn", False, "intra_fid_dataset_cnn"),
        ("fid", "efficientnet-lite0", True, "fd_efficientnet_lite0"),
        ("fid2k", "efficientnet-lite0-bf16", True, "fd2k_efficientnet_lite0_bf16"),
        ("baseline_fid", "vgg16", False, "baseline_fd_vgg16_unofficial"),
        ("fid_infinity", "clip-vit-b-32", True, "fd_infinity_clip_vit_b_32"),
        ("kid_mean", "my-net", False, "kid_mean_my_net"),
        ("matched_fid", "my-net", False, "matched_fd_my_net"),
    ],
)
def test_keys_say_under_which_network(stem: str, name: str, official: bool, key: str) -> None:
    assert metric_key(stem, name, official) == key


def test_a_file_is_called_by_its_stem() -> None:
    assert extractor_name("s3://bucket/nets/My Net_v2.ONNX") == "my-net-v2"
    assert extractor_name("./a.b.pt") == "a-b"
    assert extractor_name("dinov2-vit-s-14") == "dinov2-vit-s-14"
    assert network_of("vgg16-bf16") == "vgg16"
    assert network_of("my-bf16") == "my-bf16"  # one's own network has no other precision


@pytest.mark.parametrize(
    ("extractors", "told"),
    [
        (["inception-v3"], "no extractor 'inception-v3'; the nearest is 'inception-v3-compat'"),
        (["dataset-cnn-bf16"], "no extractor 'dataset-cnn-bf16'; the nearest is 'dataset-cnn'"),
        (["?"], r"no extractor '\?'; there are dataset-cnn, "),
        (["nets/vgg16.pt"], "would be called 'vgg16'.* rename the file"),
        (["nets/Raw.onnx"], "would be called 'raw'.* rename the file"),
        (["nets/_.pt"], "would be called ''.* rename the file"),
        (["a/net.pt", "b/net.onnx"], "two extractors are called 'net'"),
        (["vgg16", "vgg16"], "two extractors are called 'vgg16'"),
    ],
)
def test_mistaken_names_are_told(extractors: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check_extractors(extractors)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("inception-v3-compat", "belong at `reference.inception_weights`"),
        ("vgg", "'vgg' takes no weights; the nearest name is 'vgg16'"),
        ("dataset-cnn", "'dataset-cnn' takes no weights"),
        ("dinov2-vit-s-14", "through torch.hub, which takes no file"),
    ],
)
def test_weights_that_nobody_reads_are_told(name: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check_weights({name: "a.pth"})


def test_what_there_is_passes() -> None:
    check_extractors(["dataset-cnn", *PUBLISHED, "inception-v3-compat-bf16", "nets/mine.ts"])
    check_weights({"vgg16": "a.pth", "clip-vit-b-32": "download", "efficientnet-lite0": "s3://b/k"})
