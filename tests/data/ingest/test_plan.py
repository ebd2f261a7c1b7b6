"""The split is a function of the key alone."""

from pipeline.data.ingest.plan import is_heldout

KEYS = [f"digits/{i:05}" for i in range(1797)]


def test_the_share_is_close_to_the_fraction_and_grows_with_it() -> None:
    previous: set[str] = set()
    for fraction in (0.0, 0.1, 0.2, 0.5, 1.0):
        heldout = {key for key in KEYS if is_heldout(key, fraction)}
        assert abs(len(heldout) - fraction * len(KEYS)) < 5 * (len(KEYS) / 4) ** 0.5
        assert previous <= heldout
        previous = heldout
    assert previous == set(KEYS)


def test_the_split_never_changes() -> None:
    # Python salts its own hash anew in every process; this list may not change in any.
    heldout = [i for i in range(60) if is_heldout(KEYS[i], 0.2)]
    assert heldout == [14, 17, 20, 21, 24, 26, 42, 47, 49, 52]
