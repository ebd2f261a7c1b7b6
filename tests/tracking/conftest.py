from tests.support.mlflow_server import empty_store, server, store

__all__ = ["empty_store", "server", "store"]
