from tests.support.train_project import make_project, undisturbed

__all__ = ["make_project", "undisturbed"]
