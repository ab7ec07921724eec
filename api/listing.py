"""The catalogues as text tables."""

import json
from collections.abc import Callable, Sequence
from typing import TypeVar

import typer
from pydantic import BaseModel
from rich import box
from rich.table import Table

from api.console import make_console, print_plainly
from api.schemas.catalogue import ExampleEntry, GpuEntry, ModelEntry

__all__ = ["examples_table", "gpus_table", "models_table", "print_list"]

Entry = TypeVar("Entry", bound=BaseModel)


def print_list(
    entries: Sequence[Entry], table: Callable[[Sequence[Entry]], Table], *, as_json: bool
) -> None:
    """Print a catalogue as a table, or as JSON."""
    if as_json:
        typer.echo(json.dumps([entry.model_dump() for entry in entries], indent=2))
    else:
        print_plainly(make_console(), [table(entries)])


def _table(names: Sequence[str], numbers: Sequence[str] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in names:
        table.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    return table


def gpus_table(entries: Sequence[GpuEntry]) -> Table:
    """GPUs with their figures and prices."""
    numbers = ("GiB", "GB/s", "TFLOP/s", "$/h")
    table = _table(("GPU", "sm", "GiB", "GB/s", "TFLOP/s", "$/h", "link", "price of"), numbers)
    for gpu in entries:
        table.add_row(
            gpu.name,
            f"{gpu.compute_capability * 10:.0f}",
            f"{gpu.memory_gib:.1f}",
            f"{gpu.memory_gb_per_s:.0f}",
            f"{gpu.fp16_tflops:g}",
            "-" if gpu.usd_per_hour is None else f"{gpu.usd_per_hour:.2f}",
            gpu.link,
            gpu.price_basis,
        )
    return table


def models_table(entries: Sequence[ModelEntry]) -> Table:
    """Models with their sizes."""
    names = ("model", "parameters", "layers", "hidden", "heads/kv", "KV KiB/token", "perplexity")
    table = _table(names, names[1:])
    for model in entries:
        table.add_row(
            model.name,
            f"{model.parameters_billion:.1f} B",
            str(model.layers),
            str(model.hidden),
            f"{model.heads}/{model.kv_heads}",
            f"{model.kv_kib_per_token:.0f}",
            "-" if model.perplexity_16 is None else f"{model.perplexity_16:.2f}",
        )
    return table


def examples_table(entries: Sequence[ExampleEntry]) -> Table:
    """Examples with what they show."""
    table = _table(("example", "what it shows"))
    table.columns[0].no_wrap = True
    for entry in entries:
        table.add_row(entry.name, entry.summary)
    return table
