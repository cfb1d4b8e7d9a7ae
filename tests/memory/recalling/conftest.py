"""What recall is tested on: a real server and a real file."""

from tests.caches.conftest import engine

__all__ = ["engine"]
