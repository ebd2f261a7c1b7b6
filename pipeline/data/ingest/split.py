"""Decides which images are held out of training."""

import hashlib


def is_heldout(key: str, fraction: float) -> bool:
    """Whether the image of this key is held out: its hash lies in the first `fraction` of all.

    It depends on the key alone: on no order, number of images, machine or seed. A larger fraction
    keeps all that a smaller one held out.
    """
    digest = hashlib.blake2b(key.encode(), digest_size=8, person=b"sagan-heldout").digest()
    return int.from_bytes(digest, "big") < int(fraction * 2**64)
