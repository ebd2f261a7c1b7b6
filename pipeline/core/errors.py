"""The exceptions that decide a command's exit code."""

EXIT_USER_ERROR = 2
EXIT_PREEMPTED = 75


class UserError(Exception):
    """A mistake of the user; its message is one sentence that names it and the cure."""


class ObstacleError(UserError):
    """A UserError of the surroundings (a full disk, a lock); the same command succeeds later."""


class Preempted(Exception):  # noqa: N818, it is no error
    """Work stopped early on request with its state saved; the same command goes on from there."""
