from tests.support.digits import digits_shards
from tests.support.groups import pytest_collection_modifyitems
from tests.support.project import default_params
from tests.support.ray_nodes import cluster, joined, joined_alone
from tests.support.small_disk import mount_disk

__all__ = [
    "cluster",
    "default_params",
    "digits_shards",
    "joined",
    "joined_alone",
    "mount_disk",
    "pytest_collection_modifyitems",
]
