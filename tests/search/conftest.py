from tests.support.study_project import make_project

__all__ = ["make_project"]
