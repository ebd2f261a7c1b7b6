from tests.support.evaluated_models import inception_file, prepared, stripes

__all__ = ["inception_file", "prepared", "stripes"]
