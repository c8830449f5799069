"""What several processes agree on, in Redis: keys, scripts and one typed function per script.

Start at `Store`. Outcomes are values (`records`, `core/placement`); the one fault is `StoreError`.
"""

from lingua_scheduler.store.errors import StoreError

__all__ = ["StoreError"]
