"""The exceptions that decide a command's exit code."""

EXIT_USER_ERROR = 2
EXIT_PREEMPTED = 75


class UserError(Exception):
    """A mistake that the user can mend: one sentence naming the key, file or value, and the cure."""


class Preempted(Exception):
    """Work stopped early on request with its state saved; the same command goes on from there."""
