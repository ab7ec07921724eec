"""Which layers of a model attend through a sliding window, by its config.json."""

from collections.abc import Sequence

from profiles.config_fields import ConfigFields
from profiles.families import Family, WindowRule

__all__ = ["layer_windows"]

_FULL, _SLIDING = "full_attention", "sliding_attention"


def layer_windows(fields: ConfigFields, family: Family, num_layers: int) -> list[int | None]:
    """
    How far back each layer looks.

    Parameters
    ----------
    fields
        The config.json.
    family
        Gives the rule where the file has no ``layer_types``.
    num_layers
        Number of layers.

    Returns
    -------
    list of int or None
        Tokens of the window of each layer, None for full attention.

    Raises
    ------
    InputError
        When ``layer_types`` do not match the layers or name another kind of attention.
    """
    window = fields.optional_integer("sliding_window")
    layer_types = fields.texts("layer_types")
    if layer_types is not None:
        return _windows_by_type(fields, layer_types, window, num_layers)
    if window is None or not fields.flag("use_sliding_window", default=_uses_window(family)):
        return [None] * num_layers
    first = fields.integer("max_window_layers", default=num_layers, at_least=0)
    pattern = fields.integer("sliding_window_pattern", default=6)
    rule = family.window_rule
    return [window if _slides(rule, layer, first, pattern) else None for layer in range(num_layers)]


def _slides(rule: WindowRule, layer: int, first: int, pattern: int) -> bool:
    if rule == "from_max_window_layers":
        return layer >= first
    if rule == "even":
        return layer % 2 == 0
    if rule == "pattern":
        return (layer + 1) % pattern != 0
    return rule == "all"


def _uses_window(family: Family) -> bool:
    return family.window_rule != "from_max_window_layers"


def _windows_by_type(
    fields: ConfigFields, layer_types: Sequence[str], window: int | None, num_layers: int
) -> list[int | None]:
    if len(layer_types) != num_layers:
        raise fields.wrong(
            "layer_types", f"it names {len(layer_types)} layers, but there are {num_layers}"
        )
    other = set(layer_types) - {_FULL, _SLIDING}
    if other:
        raise fields.wrong("layer_types", f"{', '.join(map(repr, sorted(other)))} is not modelled")
    if _SLIDING in layer_types and window is None:
        raise fields.missing("sliding_window")
    return [window if each == _SLIDING else None for each in layer_types]
