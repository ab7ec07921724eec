"""The version of the program."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

__all__ = ["hetplan_version"]


@cache
def hetplan_version() -> str:
    """Version of the installed package."""
    try:
        return version("hetplan")
    except PackageNotFoundError:
        return "0+unknown"
