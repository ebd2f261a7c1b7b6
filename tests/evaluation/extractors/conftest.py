from tests.support.torch_hub import hub

__all__ = ["hub"]
