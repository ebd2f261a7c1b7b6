import os

from tests.support.digits import digits_shards
from tests.support.project import default_params
from tests.support.ray_nodes import cluster, joined, joined_alone
from tests.support.small_disk import mount_disk

# As `pipeline.tracking` sets it: mlflow reads it when it is imported, by whichever test is first.
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")

__all__ = [
    "cluster",
    "default_params",
    "digits_shards",
    "joined",
    "joined_alone",
    "mount_disk",
]
