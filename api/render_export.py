"""An export as text: what runs where, then the files themselves."""

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

from api.console import print_plainly
from api.schemas.export import ExportAnswer, NodeLaunchReport

__all__ = ["show_export"]


def show_export(answer: ExportAnswer, console: Console, folder: Path | None) -> None:
    """Print an answer; its files too where they were not written to a folder."""
    print_plainly(console, list(_summary(answer)))
    if folder is not None:
        names = ", ".join(answer.files)
        print_plainly(console, [Text(""), Text(f"Written to {folder}: {names}")])
        return
    for name, text in answer.files.items():
        # Not wrapped: a script must stay what it is.
        console.print(
            f"\n--- {name}\n{text}", end="", markup=False, highlight=False, soft_wrap=True
        )


def _summary(answer: ExportAnswer) -> Iterator[RenderableType]:
    request, cache = answer.request, answer.kv_cache
    count = len(answer.plan.stages)
    stages = "1 stage" if count == 1 else f"{count} stages"
    yield Text(f"{request.model} on {answer.engine}: {stages}", style="bold")
    yield from (_line(f"node {node.node}: {_gpus(node)}") for node in answer.nodes)
    yield _line(f"options   {_options(answer)}")
    yield _line(f"weights   {answer.checkpoint.text}")
    yield _line(
        f"KV cache  holds about {cache.fits_requests} requests at full length, set by stage "
        f"{cache.stage}; the plan serves {cache.needed_requests} at once"
    )
    for warning in answer.warnings:
        yield Padding(Text(f"- {warning}", style="yellow"), (0, 0, 0, 2), expand=False)


def _line(text: str) -> Padding:
    return Padding(Text(text), (0, 0, 0, 2), expand=False)


def _gpus(node: NodeLaunchReport) -> str:
    return ", ".join(
        f"stage {place.stage} {place.gpu} #{place.gpu_number} (device {place.device})"
        for place in node.gpus
    )


def _options(answer: ExportAnswer) -> str:
    return ", ".join(f"{name} {value}" for name, value in answer.settings.items())
