"""Class numbers of the labels of external images."""

import pytest

from pipeline.evaluation.external.labels import number_classes, own_classes

NAMES = ("cat", "dog", "eel")


@pytest.mark.parametrize(
    ("labels", "numbers"),
    [
        ({0, 2}, {0: 0, 2: 2}),
        ({"dog", "eel"}, {"dog": 1, "eel": 2}),
        ({("cat",), ("dog",)}, {("cat",): 0, ("dog",): 1}),
        ({("a", "cat", "x"), ("b", "dog")}, {("a", "cat", "x"): 0, ("b", "dog"): 1}),
        ({("cat", "dog"), ("cat", "eel")}, {("cat", "dog"): 0, ("cat", "eel"): 0}),
    ],
)
def test_labels_that_are_classes_are_numbered(labels, numbers):
    assert number_classes(labels, NAMES).numbers == numbers


@pytest.mark.parametrize(
    ("labels", "note"),
    [
        ({()}, "none: the images have none"),
        ({None}, "none: the images have none"),
        ({0, 3}, "none: 3 is no class of the 3 of the real images"),
        ({-5}, "none: -5 is no class of the 3 of the real images"),
        ({"dog", "cow"}, "none: 'cow' is no class of the 3 of the real images"),
        ({"dog", None}, "none: some images have none of the 3 of the real images"),
        ({("cat",), ("cow",)}, "none: folders such as 'cow' are no classes"),
        ({(), ("cat",)}, "none: the folders of the classes are not on one level"),
    ],
)
def test_others_leave_all_images_without(labels, note):
    labelling = number_classes(labels, NAMES)
    assert labelling.numbers is None
    assert labelling.note == note


def test_without_classes_there_are_none():
    assert number_classes({1}, None).numbers is None


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({0, 2}, ("0", "1", "2")),
        ({"b", "a"}, ("a", "b")),
        ({("b", "x"), ("a",)}, ("a", "b")),
        ({("all",)}, None),
        ({(), ("a",)}, None),
        ({()}, None),
        ({None, 1}, None),
        ({-1, 1}, None),
        ({10**9}, None),
        (set(), None),
    ],
)
def test_a_real_set_makes_its_own_classes(labels, names):
    assert own_classes(labels) == names
