"""The catalogues, ready for listing."""

from collections.abc import Iterator

from api.example_files import example_names, example_summary
from api.schemas.catalogue import ExampleEntry, GpuEntry, GpuFormat, ModelEntry
from profiles.formats import load_formats
from profiles.gpus import Gpu, find_gpu, load_gpus
from profiles.kernels import default_kernel, engines, formats_of
from profiles.models import Model, find_model, load_models
from profiles.prices import default_price_usd_per_hour
from profiles.quality import anchor_for
from profiles.units import GB, GIB, TERA

__all__ = ["gpu_entry", "list_examples", "list_gpus", "list_models", "model_entry"]

BILLION = 1e9
KIB = 1024
BYTES_16_BIT = 2


def list_gpus() -> list[GpuEntry]:
    """Every GPU, in the order of the catalogue."""
    return [_gpu(gpu) for gpu in load_gpus().values()]


def gpu_entry(name: str) -> GpuEntry:
    """
    One GPU by name or alias.

    Raises
    ------
    InputError
        When there is none of this name.
    """
    return _gpu(find_gpu(name))


def _gpu(gpu: Gpu) -> GpuEntry:
    price = default_price_usd_per_hour(gpu.name)
    return GpuEntry(
        name=gpu.name,
        architecture=gpu.architecture,
        compute_capability=gpu.compute_capability / 10,
        memory_gib=gpu.memory_bytes / GIB,
        memory_gb_per_s=gpu.memory_bytes_per_s / GB,
        fp16_tflops=gpu.fp16_flops / TERA,
        link=gpu.link,
        usd_per_hour=None if price is None else price.usd_per_gpu_hour,
        price_basis="unknown" if price is None else f"{price.cloud} {price.instance}",
        formats=list(_formats(gpu)),
    )


def _formats(gpu: Gpu) -> Iterator[GpuFormat]:
    for engine in engines():
        for name in formats_of(engine):
            kernel = default_kernel(engine, load_formats()[name], gpu)
            if kernel is not None:
                yield GpuFormat(engine=engine, format=name, kernel=kernel.kernel)


def list_models() -> list[ModelEntry]:
    """Every model, in the order of the catalogue."""
    return [_model(model) for model in load_models().values()]


def model_entry(name: str) -> ModelEntry:
    """
    One model by name or alias.

    Raises
    ------
    InputError
        When there is none of this name.
    """
    return _model(find_model(name))


def _model(model: Model) -> ModelEntry:
    anchor = anchor_for(model.name)
    first = model.kinds[0]
    return ModelEntry(
        name=model.name,
        parameters_billion=model.num_parameters / BILLION,
        layers=model.num_layers,
        layer_kinds=[kind.name for kind in model.kinds],
        hidden=model.hidden,
        heads=first.heads,
        kv_heads=first.kv_heads,
        kv_kib_per_token=sum(kind.kv_width for kind in model.layers) * BYTES_16_BIT / KIB,
        vocab=model.vocab,
        perplexity_16=None if anchor is None else anchor.perplexity_16,
    )


def list_examples() -> list[ExampleEntry]:
    """Every example, by name."""
    return [ExampleEntry(name=name, summary=example_summary(name)) for name in example_names()]
