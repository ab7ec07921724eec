"""Numbers with their units, as people write them."""

__all__ = ["with_unit"]

_COUNTED = ("GPUs", "stages")


def with_unit(number: str, unit: str) -> str:
    """``3 GPUs``, ``1 GPU``, ``2.5 ms``; the number alone where there is no unit."""
    if number == "1" and unit in _COUNTED:
        unit = unit.removesuffix("s")
    return f"{number} {unit}" if unit else number
