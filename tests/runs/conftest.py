from tests.support.tiny_run import digits, run

__all__ = ["digits", "run"]
