from tests.support.train_project import make_project

__all__ = ["make_project"]
