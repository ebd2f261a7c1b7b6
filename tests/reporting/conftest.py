from tests.support.stage_outputs import digits_report

__all__ = ["digits_report"]
