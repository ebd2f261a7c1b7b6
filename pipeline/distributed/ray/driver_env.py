"""Where a Ray job was started: the variables and the folder that its workers take over."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from pipeline.core.errors import UserError

STORAGE = "AWS_"
TRACKING = "MLFLOW_"


def variables(*beginnings: str) -> dict[str, str]:
    """The environment variables of this process whose names begin so."""
    return {name: value for name, value in os.environ.items() if name.startswith(beginnings)}


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The driver's own, sent to the workers."""

    program: str
    """What was started there, for people."""
    folder: str
    """Its working directory, the same on all nodes."""
    environment: Mapping[str, str]
    """Variables that a worker gets where its node does not set them."""

    @classmethod
    def here(cls, program: str) -> Self:
        """That of this process."""
        environment = variables(STORAGE, TRACKING)
        return cls(program=program, folder=os.getcwd(), environment=environment)

    def enter(self) -> None:
        """Makes this process one of the job's. Raises UserError where its node has no folder."""
        for name, value in self.environment.items():
            os.environ.setdefault(name, value)
        try:
            os.chdir(self.folder)
        except OSError:
            raise UserError(
                f"node {socket.gethostname()} has no folder {self.folder}, where {self.program} "
                "started; start it from a folder that all nodes share or have"
            ) from None
