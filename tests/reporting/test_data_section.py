"""The report's section on the data: warnings, rejected images, duplicates, a sheet of images."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pipeline.data.ingest.dataset import write_dataset
from pipeline.data.ingest.preprocessing import Preprocessing
from pipeline.data.shards.manifest import identity_digest, read_manifest, write_manifest
from pipeline.data.shards.reader import open_dataset
from pipeline.data.sources.select import open_source
from pipeline.reporting.build import build_report
from pipeline.reporting.data_section import data_section
from pipeline.storage.digest import digest_json
from tests.reporting.test_page import Page
from tests.support.photographs import encoded, photograph
from tests.support.stage_outputs import write_stage_outputs

NASTY = "<script>alert(1)<script>"


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Photographs of two classes, with damaged ones, duplicates and nasty names."""
    root = tmp_path_factory.mktemp("photos")
    for label, name in enumerate((NASTY, "\U0001f431")):
        (root / "photos" / name).mkdir(parents=True)
        for index in range(20):
            content = encoded(Image.fromarray(photograph(50, 40, seed=30 * label + index)), "PNG")
            (root / "photos" / name / f"{index:02}.png").write_bytes(content)
    copy = (root / "photos" / NASTY / "03.png").read_bytes()
    (root / "photos" / "\U0001f431" / "<i>copy.png").write_bytes(copy)
    (root / "photos" / NASTY / "<b>bad.png").write_bytes(b"<u>oops")
    write_dataset(
        open_source("folder", str(root / "photos")), root / "shards",
        Preprocessing(resolution=128, channels=3), heldout_fraction=0.2, shard_rows=100,
        max_rejected_fraction=0.1,
    )  # fmt: skip
    return root / "shards"


@pytest.fixture(scope="module")
def page(tmp_path_factory, shards):
    stages = write_stage_outputs(tmp_path_factory.mktemp("report"), shards)
    build_report(stages.inputs, stages.outputs, samples_per_class=4, attention_samples=2)
    return Page(stages.outputs.page.read_text(encoding="utf-8"))


def test_what_was_noticed_is_told(page):
    text = page.text
    assert "2 of 2 classes have fewer than 50 images: '<script>alert(1)<script>' with 20" in text
    assert "classes share 1 image, the same pixel for pixel." in text
    assert "41 of 41 originals are smaller than the shards' resolution." in text
    assert "1 image could not be used. 1 image is a duplicate pixel for pixel" in text
    assert f"{NASTY}/<b>bad.png no known image format; it begins with b'<u>oops'" in text
    assert f"{NASTY}/03.png" in text
    assert "\U0001f431/<i>copy.png" in text


def test_no_name_becomes_markup(page):
    assert [tag for tag, _ in page.tags].count("u") == 0
    assert all(attributes == {} or attributes.keys() <= {"type", "id"}
               for tag, attributes in page.tags if tag == "script")  # fmt: skip


def test_the_sheet_shows_training_images_of_each_class(shards, page):
    section = data_section(open_dataset(shards))
    assert [row.name for row in section.sheet] == [NASTY, "\U0001f431"]
    dataset = open_dataset(shards)
    for label, row in enumerate(section.sheet):
        assert row.count == np.count_nonzero(dataset.train.labels == label)
        assert (row.images.width, row.images.height) == (12 * 64, 64)
    alts = [image["alt"] for image in page.images()]
    assert f"12 training images of class {NASTY}" in alts


def test_a_manifest_without_observations_is_shown(tmp_path, digits_shards):
    section = data_section(open_dataset(digits_shards))
    assert (section.num_rejected, section.num_duplicates, list(section.warnings)) == (0, 0, [])
    old = tmp_path / "shards"
    old.mkdir()
    for path in digits_shards.iterdir():
        (old / path.name).write_bytes(path.read_bytes())
    manifest = replace(read_manifest(old), observations={})
    assert identity_digest(manifest) == manifest.digest
    write_manifest(old, manifest)
    assert data_section(open_dataset(old)) == section


def test_manifests_of_earlier_programs_are_read(tmp_path, digits_shards):
    content = json.loads((digits_shards / "manifest.json").read_text())
    del content["observations"], content["checksum"]
    content["checksum"] = digest_json(content)
    (tmp_path / "manifest.json").write_text(json.dumps(content, indent=2) + "\n")
    assert read_manifest(tmp_path).observations == {}
