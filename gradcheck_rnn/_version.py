"""The version, on its own so that any room can print it without importing the package itself."""

__version__ = "0.1.0"
