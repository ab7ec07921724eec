"""
Write the shipped cost tables from the calibrated model: ``python -m benchmarks.tables``.

One file per GPU in ``profiles/data/tables``, for tools that read tables; hetplan itself asks the
model. Every row is ``analytic``.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cost_model.arrays import FloatArray
from cost_model.latency import decode_layer_s, embedding_s, head_s, prefill_layer_s
from cost_model.lookup import CostTables, Phase
from profiles.architecture import Model
from profiles.formats import Format, find_format, load_formats
from profiles.gpus import Gpu, load_gpus
from profiles.kernels import Kernel, default_kernel, kernels_for
from profiles.links import default_link
from profiles.models import find_model
from profiles.table_schema import COLUMNS
from profiles.units import US

__all__ = ["main", "table_path", "table_text"]

FOLDER = Path(__file__).parents[1] / "profiles" / "data" / "tables"
ENGINE = "vllm"
MODELS = ("llama-2-7b", "llama-2-70b", "opt-30b")
BATCHES = np.array([1, 4, 16, 64])
TOKENS = (128, 512, 2048)
PHASES: tuple[Phase, ...] = ("prefill", "decode")
KV_BITS = 16
NO_TABLES = CostTables()

Row = dict[str, object]


def table_path(gpu: Gpu) -> Path:
    """Where a GPU's table lies."""
    return FOLDER / f"{gpu.name.lower()}.csv"


def table_text(gpu: Gpu) -> str | None:
    """A GPU's table as CSV; None where the engine does not run on it."""
    if default_kernel(ENGINE, find_format("w16a16"), gpu) is None:
        return None
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    for name in MODELS:
        model = find_model(name)
        for phase in PHASES:
            for tokens in TOKENS:
                writer.writerows(_rows(gpu, model, phase, tokens))
    return text.getvalue()


def _rows(gpu: Gpu, model: Model, phase: Phase, tokens: int) -> Iterator[Row]:
    about = {"gpu": gpu.name, "model": model.name, "phase": phase, "tokens": tokens}
    kind = model.kinds[0]
    for form in load_formats().values():
        for kernel in kernels_for(ENGINE, form, gpu):
            seconds = _layer(gpu, model, kernel, form, phase, tokens)
            yield from _of_batches(about, kind.name, kernel, form, seconds)
    full = find_format("w16a16")
    kernel = kernels_for(ENGINE, full, gpu)[0]
    for layer_kind, ends in (("embedding", embedding_s), ("lm_head", head_s)):
        link = default_link([gpu])
        seconds = ends(model, gpu, ENGINE, 1, link, phase, BATCHES, tokens, NO_TABLES).seconds
        yield from _of_batches(about, layer_kind, kernel, full, seconds)


def _layer(
    gpu: Gpu, model: Model, kernel: Kernel, form: Format, phase: Phase, tokens: int
) -> FloatArray:
    link, kind = default_link([gpu]), model.kinds[0]
    if phase == "prefill":
        return prefill_layer_s(
            kind, gpu, ENGINE, kernel, form, 1, link, BATCHES, tokens, NO_TABLES
        ).seconds
    return decode_layer_s(
        kind, gpu, ENGINE, kernel, form, 1, link, BATCHES, tokens, KV_BITS, NO_TABLES
    ).seconds


def _of_batches(
    about: Row, layer_kind: str, kernel: Kernel, form: Format, seconds: FloatArray
) -> Iterator[Row]:
    for batch, value in zip(BATCHES, seconds, strict=True):
        yield about | {
            "engine": ENGINE,
            "layer_kind": layer_kind,
            "kernel": kernel.kernel,
            "weight_bits": form.weight_bits,
            "act_bits": form.act_bits,
            "kv_bits": KV_BITS,
            "group_size": form.group_size,
            "tp": 1,
            "batch": batch,
            "latency_us": f"{value / US:.1f}",
            "source": "latency model",
            "provenance": "analytic",
        }


def main() -> None:
    """Write all tables."""
    for gpu in load_gpus().values():
        text = table_text(gpu)
        if text is not None:
            table_path(gpu).write_text(text, encoding="utf-8")
            print(f"{table_path(gpu)}: {len(text) / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
