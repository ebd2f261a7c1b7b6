from tests.support.seeded import seeded

__all__ = ["seeded"]
