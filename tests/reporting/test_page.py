"""The page says what the stages found, needs nothing else and lets no string break it."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.data.shards.reader import open_dataset
from pipeline.reporting.build import build_report
from tests.support.stage_outputs import write_shards, write_stage_outputs

NASTY = (
    "<script>alert(1)</script>",
    "../",
    "\N{GRINNING FACE} \N{HEBREW LETTER ALEF}",
    "x" * 300,
    "$a_b$ & 'q' \"d\" {{ 7 * 7 }}",
)
# Tag and attribute pairs that make a browser load something.
LOADING = {"src", "href", "srcset", "data", "poster", "action", "background", "xlink:href"}


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._silent = 0
        self.feed(html.replace("<wbr>", ""))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._silent += tag in ("script", "style")

    def handle_endtag(self, tag):
        self._silent -= tag in ("script", "style")

    def handle_data(self, data):
        if not self._silent:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def images(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == "img"]


@pytest.fixture(scope="module")
def html(digits_report):
    return digits_report.outputs.page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


@pytest.fixture(scope="module")
def nasty(tmp_path_factory):
    root = tmp_path_factory.mktemp("nasty")
    name = "<b>evil</b> " + "y" * 200
    stages = write_stage_outputs(root, write_shards(root / "shards", NASTY, 3, name), (8, 16))
    build_report(stages.inputs, stages.outputs, samples_per_class=4, attention_samples=5)
    return stages


def test_sections_stand_in_order(page):
    ids = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert ids == [
        "metrics",
        "paper",
        "samples",
        "time",
        "curves",
        "attention",
        "configuration",
        "reproduce",
        "data",
    ]
    links = [a["href"] for tag, a in page.tags if tag == "a"]
    assert links == [f"#{name}" for name in ids]


def test_page_says_what_was_run_and_how_to_run_it_again(page, digits_report):
    manifest = open_dataset(digits_report.shards).manifest
    assert "trained until its discriminator had seen 96 thousand real images" in page.text
    for words in (
        "1,426 real, 10 classes",
        "165,433 parameters",
        "3 min 43 s",
        "git checkout 0123456789abcdef0123456789abcdef01234567",
        manifest.digest,
        "3f9a1c" * 10 + "abcd",
        "A Processor (R) 2.10GHz",
        "g_lr 0.0002",
        "1,797 images of 32\N{MULTIPLICATION SIGN}32 pixels in 10 classes, grey: "
        "1,426 to train on, 371 held out",
    ):
        assert words in page.text


def test_numbers_stand_beside_baseline_and_protocol(page):
    text = page.text
    assert "FID dataset-cnn \N{DOWNWARDS ARROW} lower is better 12.3 15.1 \N{EN DASH}" in text
    assert "13.7 16.2 3.21 baseline" in text
    assert "\N{UPWARDS ARROW} higher is better 9.214 \N{PLUS-MINUS SIGN} 0.043" in text
    assert "96.8 % 94.1 % 98.6 % real held-out images" in text
    assert "0.732 0.780 1 real images" in text
    assert "Not the Inception FID." in text
    assert "The held-out baseline is what real images reach" in text
    assert "weights sha256 " + "ab" * 32 in text
    assert "num generated 5,000" in text
    assert "versions torch-fidelity 0.4.0" in text


def test_numbers_of_the_published_inception_carry_no_warning(tmp_path, digits_shards):
    stages = write_stage_outputs(tmp_path, digits_shards)
    stages.inputs.metrics.write_text('{"fid": 18.65, "is_mean": 52.52, "is_std": 0.8}')
    build_report(stages.inputs, stages.outputs, samples_per_class=2, attention_samples=1)
    text = Page(stages.outputs.page.read_text(encoding="utf-8")).text
    assert "Not the Inception FID" not in text
    assert "Inception-v3 (published weights)" in text
    assert "52.52 \N{PLUS-MINUS SIGN} 0.80" in text


def test_the_papers_numbers_stand_apart_where_they_do_not_compare(page):
    assert "Not comparable." in page.text
    assert "imagenet, not digits; 1,000 classes, not 10; 128x128 pixels, not 32x32" in page.text
    assert "Table 2; Zhang" in page.text


def test_ours_stand_beside_what_was_measured_alike(tmp_path):
    names = tuple(f"class {label}" for label in range(10))
    stages = write_stage_outputs(tmp_path, write_shards(tmp_path / "shards", names, 3, "cifar10"))
    entry = {
        "extractor": "inception-v3-compat",
        "weights_official": True,
        "weights": "raw",
        "num_generated": 50_000,
        "num_real": 49_000,
        "reference_split": "train",
    }
    stages.inputs.metrics.write_text('{"fid": 9.5, "fid_raw": 10.912}')
    stages.inputs.protocol.write_text(json.dumps({"fid_raw": entry}))
    build_report(stages.inputs, stages.outputs, samples_per_class=2, attention_samples=1)
    text = Page(stages.outputs.page.read_text(encoding="utf-8")).text
    assert "FID 10.35 ours 10.91 50,000 real images, ours 49,000" in text
    assert "Not comparable." not in text


def test_page_loads_nothing_from_elsewhere(html, page):
    for tag, attributes in page.tags:
        for name in LOADING & attributes.keys():
            value = attributes[name] or ""
            assert value.startswith(("data:", "#")), (tag, name, value[:60])
    own = re.sub(r'<script id="vega">.*?</script>', "", html, flags=re.DOTALL)
    assert len(html) - len(own) > 500_000
    assert not re.search(r"@import|url\((?!#)", own)
    assert "https:" not in own.replace("https://arxiv.org", "")
    assert not {tag for tag, _ in page.tags} & {"link", "iframe", "object", "embed"} - {"link"}
    assert [a["rel"] for tag, a in page.tags if tag == "link"] == ["icon"]


def test_every_picture_is_a_png_of_its_size_with_a_text(page):
    assert len(page.images()) > 40
    for attributes in page.images():
        assert attributes["alt"]
        kind, _, encoded = attributes["src"].partition(",")
        assert kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(encoded, validate=True))) as image:
            size = (int(attributes["width"]), int(attributes["height"]))
            assert (image.format, image.size) == ("PNG", size)


def test_real_images_are_the_training_images_of_the_class(page, digits_report):
    train = open_dataset(digits_report.shards).train
    (shown,) = [a for a in page.images() if a["alt"] == "5 real images of class 7"]
    with Image.open(io.BytesIO(base64.b64decode(shown["src"].partition(",")[2]))) as image:
        strip = np.asarray(image)
    rows = np.flatnonzero(train.labels == 7)[:5].astype(np.int64)
    expected = np.concatenate(list(train.gather(rows)[:, :, :, 0]), axis=1)
    np.testing.assert_array_equal(strip, expected)


def test_names_come_through_unharmed(nasty):
    html = nasty.outputs.page.read_text(encoding="utf-8")
    page = Page(html)
    for name in NASTY:
        assert " ".join(name.split()) in page.text
    assert "<b>evil</b>" in page.text
    assert "alert(1)</script>" not in html
    assert "{{ 7 * 7 }}" in page.text
    titles = {attributes.get("title") for tag, attributes in page.tags if tag == "span"}
    assert set(NASTY) <= titles


def test_data_for_the_script_cannot_end_it(html):
    blocks = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', html, re.DOTALL)
    assert len(blocks) == 5  # four charts and the palette, in any order
    assert html.count('<script id="vega">') == 1  # once for all charts
    for block in blocks:
        assert "<" not in block
        json.loads(block)


def test_same_inputs_make_the_same_bytes(tmp_path, digits_report):
    written = digits_report.outputs.page.read_bytes()
    again = write_stage_outputs(tmp_path, digits_report.shards)
    outputs = again.outputs
    build_report(digits_report.inputs, outputs, samples_per_class=10, attention_samples=4)
    assert outputs.page.read_bytes() == written
    figures = sorted(outputs.figures.iterdir())
    assert [path.name for path in figures] == ["attention.png", "class_grid.png", "curves.png"]
    for path in figures:
        assert path.read_bytes() == (digits_report.outputs.figures / path.name).read_bytes()


def test_generator_without_attention_says_so(tmp_path, digits_shards):
    stages = write_stage_outputs(tmp_path, digits_shards, attention_sizes=())
    build_report(stages.inputs, stages.outputs, samples_per_class=2, attention_samples=1)
    page = Page(stages.outputs.page.read_text(encoding="utf-8"))
    assert "This generator has no self-attention." in page.text
    assert not (stages.outputs.figures / "attention.png").exists()


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("data/model/config.json", "train"),
        ("data/model/stats.jsonl", "train"),
        ("data/model/samples/samples-000016000.png", "train"),
        ("reports/metrics.json", "evaluate"),
        ("reports/protocol.json", "evaluate"),
        ("reports/samples/class_grid.png", "evaluate"),
        ("reports/samples/attention.npz", "evaluate"),
    ],
)
@pytest.mark.parametrize("content", [None, b"", b"[1, 2", b'{"fid": "good"}\n'])
def test_missing_or_malformed_input_is_named(tmp_path, digits_shards, file, stage, content):
    stages = write_stage_outputs(tmp_path, digits_shards)
    path = tmp_path / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    if file.endswith("stats.jsonl") and content in (b"", b"[1, 2"):
        build_report(stages.inputs, stages.outputs, samples_per_class=2, attention_samples=1)
        return  # a run that had reported nothing yet; its torn line is no mistake
    with pytest.raises(UserError) as caught:
        build_report(stages.inputs, stages.outputs, samples_per_class=2, attention_samples=1)
    assert str(path) in str(caught.value)
    assert re.search(rf"`dvc repro (--force )?{stage}`", str(caught.value))
    assert "\n" not in str(caught.value)
    assert not stages.outputs.page.exists()


def test_grid_of_another_layout_is_refused(tmp_path, digits_shards):
    stages = write_stage_outputs(tmp_path, digits_shards)
    Image.new("L", (320, 300)).save(stages.inputs.samples / "class_grid.png")
    with pytest.raises(UserError, match=r"class_grid\.png of 320x300 pixels"):
        build_report(stages.inputs, stages.outputs, samples_per_class=2, attention_samples=1)


def test_shards_of_another_data_set_are_refused(tmp_path, digits_shards):
    stages = write_stage_outputs(tmp_path, digits_shards)
    config = json.loads((stages.inputs.model / "config.json").read_text())
    config["dataset_digest"] = "0" * 64
    (stages.inputs.model / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="holds another data set"):
        build_report(stages.inputs, stages.outputs, samples_per_class=2, attention_samples=1)
