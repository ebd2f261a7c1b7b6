"""The exceptions that decide a command's exit code."""

EXIT_USER_ERROR = 2
EXIT_PREEMPTED = 75


class UserError(Exception):
    """A mistake that the user can mend; its message is one sentence that says what and how."""


class ObstacleError(UserError):
    """A mistake around the work and not in it; when it is mended the same command goes on."""


class Preempted(Exception):  # noqa: N818, it is no error
    """Work stopped early on request with its state saved; the same command goes on from there."""
