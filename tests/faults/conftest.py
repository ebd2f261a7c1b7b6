from tests.support.processes import make_project

__all__ = ["make_project"]
