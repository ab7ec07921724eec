"""The command that profiles links: of the GPUs here, over loopback, and to another host."""

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from api.console import make_console, print_plainly
from api.profile_device import needing_torch
from api.telling import telling
from api.writing import check_suffix, write_text
from cost_model.profiler.links import LinkFit, measure_tcp, receive_tcp
from profiles.errors import InputError
from profiles.units import GB, US

__all__ = ["listen", "profile_links_to"]

_LOOPBACK = "127.0.0.1"
_MOST_PORT = 65535


def profile_links_to(connect: str | None, output: Path | None) -> None:
    """
    Measure links and print latency and bandwidth as a request states them.

    Parameters
    ----------
    connect
        Receiver on another host, as ADDRESS:PORT; None measures loopback, and the GPUs here.
    output
        File for all times, .json; None writes none.
    """
    if output is not None:
        check_suffix(output, "--output", (".json", ".json"))
    with telling("the options"):
        fits = list(_links(connect))
    if output is not None:
        write_text(json.dumps([_record(fit) for fit in fits], indent=2) + "\n", output, "--output")
    print_plainly(make_console(), [_table(fits), *(_as_request(fit) for fit in fits)])


def listen(address: str) -> None:
    """Receive what other hosts send until Ctrl-C."""
    with telling("the options"), receive_tcp(*_address("--listen", address)) as port:
        typer.echo(f"Listening on port {port}; Ctrl-C ends it.", err=True)
        Event().wait()


def _links(connect: str | None) -> Iterator[LinkFit]:
    if connect is not None:
        yield measure_tcp(*_address("--connect", connect))
        return
    with receive_tcp(_LOOPBACK, 0) as port:
        yield measure_tcp(_LOOPBACK, port)
    with needing_torch():
        from cost_model.profiler.torch_links import measure_gpu_links

        yield from measure_gpu_links()


def _address(option: str, text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > _MOST_PORT:
        raise InputError(f"{option} is {text!r}; give an address and a port, as 10.0.0.7:5201.")
    return host, int(port)


def _table(fits: list[LinkFit]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("link")
    for name in ("latency", "bandwidth", "fit off by at most"):
        table.add_column(name, justify="right")
    for fit in fits:
        table.add_row(
            fit.name,
            f"{fit.latency_s / US:.1f} us",
            f"{fit.bytes_per_s / GB:.3g} GB/s",
            f"{fit.error:.0%}",
        )
    return table


def _as_request(fit: LinkFit) -> Text:
    figures = f"{{gb_per_s: {fit.bytes_per_s / GB:.3g}, latency_us: {fit.latency_s / US:.1f}}}"
    return Text(f"{fit.name} in a request: {figures}")


def _record(fit: LinkFit) -> dict[str, object]:
    return {
        "link": fit.name,
        "gb_per_s": fit.bytes_per_s / GB,
        "latency_us": fit.latency_s / US,
        "fit_error": fit.error,
        "us_by_bytes": {str(size): seconds / US for size, seconds in fit.seconds.items()},
    }
