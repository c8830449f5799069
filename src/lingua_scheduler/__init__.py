"""A central scheduler for real-time speech translation."""

__version__ = "0.1.0"
