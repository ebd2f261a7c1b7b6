"""Query positions worth looking at, and heat where the weights are."""

import base64

import numpy as np
from PIL import Image

from pipeline.reporting.attention_figure import (
    attention_figures,
    choose_queries,
    heat_overlay,
    upscaled,
)
from pipeline.reporting.inputs import read_inputs


def stroke_image():
    """A bright vertical bar on a dark ground, 32x32 grey: columns 12..19, rows 4..27."""
    image = np.full((32, 32, 1), 20, np.uint8)
    image[4:28, 12:20] = 230
    return image


def uniform_maps(size=16):
    return np.full((size, size, size // 2, size // 2), 4 / size**2, np.float32)


def test_queries_lie_on_the_object_and_the_last_on_the_background():
    queries = choose_queries(stroke_image(), uniform_maps())
    assert len(set(queries)) == 4
    for row, column in queries[:3]:
        assert 2 <= row < 14
        assert 6 <= column < 10
    row, column = queries[3]
    assert not (2 <= row < 14 and 6 <= column < 10)


def test_queries_prefer_places_that_look_elsewhere():
    maps = np.zeros((16, 16, 8, 8), np.float32)
    maps[:, :, 0, 0] = 1.0
    maps[10, 8] = 0.0
    maps[10, 8, 7, 7] = 1.0  # the only position on the bar with another map
    assert (10, 8) in choose_queries(stroke_image(), maps)[:3]


def test_blank_image_still_gets_queries():
    queries = choose_queries(np.zeros((32, 32, 3), np.uint8), uniform_maps())
    assert len(set(queries)) == 4


def test_heat_is_brightest_where_the_weight_is_largest():
    weights = np.zeros((8, 8), np.float32)
    weights[2, 5] = 1.0
    image = upscaled(Image.new("L", (32, 32)), 6)
    heat = np.asarray(heat_overlay(image, weights), np.int64).sum(axis=2)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert (row // 24, column // 24) == (2, 5)
    assert heat[-24:, :24].max() < 0.1 * heat.max()


def test_figure_names_its_samples_and_packs_their_maps(digits_report):
    inputs = read_inputs(digits_report.inputs)
    (figure,) = attention_figures(inputs, num_samples=2)
    assert (figure.size, [s.label for s in figure.samples]) == (16, ["0", "1"])
    maps = inputs.attention.maps[16][0]
    packed = np.frombuffer(base64.b64decode(figure.samples[0].maps), np.uint8)
    packed = packed.reshape(16, 16, 8, 8)
    assert (packed.max(axis=(2, 3)) == 255).all()
    np.testing.assert_allclose(packed[3, 4] / 255, maps[3, 4] / maps[3, 4].max(), atol=0.003)
    query = figure.samples[0].queries[0]
    assert float(query.peak) == float(f"{maps[query.row, query.column].max() * 64:.2g}")
