"""From catalogue nouns (model, cluster, workload, engine) to the coefficients of a problem."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np

from cost_model.calibration import calibrated_times
from cost_model.intervals import TimeGroup, time_groups
from cost_model.lookup import CostTables
from cost_model.network import network_times
from cost_model.omega import Omega, omega_loss_nats
from cost_model.quality import layer_loss_nats, quality_source
from cost_model.source import Source
from cost_model.stages import StageType, stage_bytes, stage_times
from cost_model.uncertainty import ErrorTerm, error_terms
from profiles.architecture import Model
from profiles.calibration import Calibration
from profiles.cluster import Cluster, EngineSettings, Workload
from profiles.coefficients import coefficients_for
from profiles.errors import InputError
from profiles.formats import Format, find_format
from profiles.quality import best_anchor, given_anchor
from profiles.tables import CostTable
from solver.cautions import check_positions, length_cautions, table_cautions
from solver.places import FormatChoice, Place, find_places, layer_formats, stage_types
from solver.problem import (
    BatchOption,
    FloatArray,
    IntArray,
    PipelineProblem,
    StageGroup,
    default_micro_batches,
)

__all__ = ["BuiltProblem", "FormatChoice", "ModelError", "QualityChoice", "build_problem"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityChoice:
    """
    Own figures on quality; None takes what is published or predicted.

    Parameters
    ----------
    nats_at_4_bits
        Loss of the whole model at uniform 4 bits (group 128), nats of ln(perplexity).
    perplexity_16
        Perplexity at 16 bits.
    loss_nats
        Loss of every layer in every format, shape (L, F), formats as in `FormatChoice.names`.
    omega
        Losses of every layer at every width, made beforehand.
    """

    nats_at_4_bits: float | None = None
    perplexity_16: float | None = None
    loss_nats: tuple[tuple[float, ...], ...] | None = None
    omega: Omega | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelError:
    """
    How far the calibrated model is off for a kernel.

    Parameters
    ----------
    decode, prefill
        Mean absolute relative error on points kept out of the fit; None where there are none.
    basis
        ``fit``, or what the coefficients were carried over from.
    decode_interval, prefill_interval
        90 % intervals: factors of a time, low and high.
    interval_basis
        What they rest on.
    """

    decode: float | None
    prefill: float | None
    basis: str
    decode_interval: tuple[float, float]
    prefill_interval: tuple[float, float]
    interval_basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltProblem:
    """
    A problem and what it rests on.

    Parameters
    ----------
    problem
        The coefficients.
    gpu_names
        GPU type of every device class.
    kernels
        Kernel by (GPU name, format name).
    source
        Weakest provenance of the times.
    times_by_source
        How many single times are ``measured``, ``interpolated`` and ``analytic``: one per stage
        type, format, kind of layer (or embedding, or head), micro-batch size, phase and length.
    errors
        What is known about the calibrated model's error, by (GPU name, format name).
    time_groups
        The times by the error they share, with its 90 % interval.
    quality_source
        What the quality loss rests on, in words: ``measured``, ``analytic`` or ``given`` first.
    default_loss_limit_nats
        Loss of the whole model at uniform 4 bits; None when no 4-bit loss is known.
    workload
        What is served, with all lengths, of which the problem has the means.
    warnings
        What the user should know before trusting the plan.
    error_terms
        How far the times may be off, as independent random factors.
    """

    problem: PipelineProblem
    gpu_names: tuple[str, ...]
    kernels: Mapping[tuple[str, str], str]
    source: Source
    times_by_source: Mapping[str, int]
    errors: Mapping[tuple[str, str], ModelError]
    time_groups: tuple[TimeGroup, ...]
    quality_source: str
    default_loss_limit_nats: float | None
    workload: Workload
    warnings: tuple[str, ...]
    error_terms: tuple[ErrorTerm, ...] = ()


def build_problem(
    *,
    model: Model,
    cluster: Cluster,
    workload: Workload,
    engine: EngineSettings,
    formats: FormatChoice,
    quality: QualityChoice | None = None,
    tables: tuple[CostTable, ...] = (),
    calibration: Calibration | None = None,
) -> BuiltProblem:
    """
    Price every layer, GPU, format and micro-batch size of a request.

    Parameters
    ----------
    model, cluster, workload, engine, formats, quality
        What is asked.
    tables
        Cost tables of the user; they answer before the calibrated model does.
    calibration
        Factors on all times of layers and ends, from measurements of launched plans.

    Raises
    ------
    InputError
        When no GPU can run anything, a layer's formats have no kernel on any GPU, or the
        requests are longer than the learned positions of the model.
    MissingProfileError
        When a time is neither in a table nor modelled.
    """
    too_long = check_positions(model, workload)
    chosen = tuple(find_format(name) for name in formats.names)
    places, unused = find_places(cluster, engine, formats)
    homes, stages = _stages(model, cluster, chosen, places)
    sizes, batches = _micro_batches(workload)
    cost_tables = CostTables.of(model.name, tables)
    times, sources = stage_times(model, stages, chosen, engine, workload, sizes, cost_tables)
    if calibration is not None:
        times = calibrated_times(times, stages, chosen, calibration)
    unanswered = table_cautions(tables, sources, model, engine, workload, sizes)
    loss = _loss(model, chosen, quality or QualityChoice())
    problem = PipelineProblem(
        devices=tuple(place.device(cluster, engine) for place in places),
        groups=tuple(
            StageGroup(device=home, tensor_parallel=stage.tp)
            for home, stage in zip(homes, stages, strict=True)
        ),
        node_names=tuple(node.name for node in cluster.nodes),
        node_price_usd_per_hour=np.array([n.price_usd_per_hour or 0.0 for n in cluster.nodes]),
        format_names=formats.names,
        kind_names=tuple(kind.name for kind in model.kinds),
        layer_kinds=np.array(model.layer_kinds, dtype=np.int64),
        loss_nats=loss.nats,
        layer_formats=layer_formats(formats, model.num_layers),
        group_formats=np.array([stage.formats for stage in stages]),
        micro_batches=sizes,
        batches=batches,
        prompt_tokens=workload.prompt_tokens,
        output_tokens=workload.output_tokens,
        num_requests=workload.num_requests,
        **times,
        **stage_bytes(model, [s.tp for s in stages], chosen, engine, workload, sizes),
        **network_times(cluster, model.hidden, workload, sizes),
        perplexity_16=loss.perplexity_16,
    )
    _check_layers(problem, formats, engine)
    return BuiltProblem(
        problem=problem,
        gpu_names=tuple(place.group.gpu.name for place in places),
        kernels={
            (place.group.gpu.name, name): kernel.kernel
            for place in places
            for name, kernel in place.kernels.items()
        },
        source=sources.weakest,
        times_by_source={each.label: sources.counts.get(each, 0) for each in Source},
        errors=_errors(stages, engine.name),
        time_groups=time_groups(stages, chosen, engine.name, sources.weakest_of),
        quality_source=loss.text,
        default_loss_limit_nats=loss.at_4_bits,
        workload=workload,
        warnings=tuple(
            dict.fromkeys(
                (*model.notes, *length_cautions(workload), *too_long, *unused, *unanswered)
            )
        ),
        error_terms=error_terms(stages, chosen, engine.name, calibration),
    )


def _stages(
    model: Model, cluster: Cluster, formats: tuple[Format, ...], places: list[Place]
) -> tuple[list[int], list[StageType]]:
    found = stage_types(model, cluster, formats, places)
    if not found:
        sizes = ", ".join(map(str, cluster.tensor_parallel))
        raise InputError(
            f"No stage can be formed with tensor-parallel sizes {sizes}: they exceed the GPUs of "
            f"a node or do not divide the layers of {model.name}; allow 1.",
            pointer="/cluster/tensor_parallel",
        )
    return [home for home, _ in found], [stage for _, stage in found]


def _check_layers(problem: PipelineProblem, choice: FormatChoice, engine: EngineSettings) -> None:
    for layer in range(problem.num_layers):
        if not any(problem.allowed(g, layer).any() for g in range(len(problem.groups))):
            names = choice.per_layer.get(layer, choice.names)
            raise InputError(
                f"Layer {layer} may only be {', '.join(names)}, which no GPU here runs with "
                f"{engine.name}; allow another format.",
                pointer="/formats",
            )


# -- micro-batches ------------------------------------------------------------------------------


def _candidates(batch: int, chosen: tuple[int, ...] | None) -> tuple[int, ...]:
    if chosen is None:
        return default_micro_batches(batch)
    fitting = tuple(size for size in chosen if size <= batch)
    if not fitting:
        raise InputError(
            f"Every micro-batch size ({', '.join(map(str, chosen))}) exceeds the batch of {batch}; "
            f"give one of at most {batch}.",
            pointer="/workload",
        )
    return fitting


def _of_batch(workload: Workload, batch: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Micro-batch sizes of prefill and decode; one will do where nothing is decoded."""
    prefill = _candidates(batch, workload.prefill_micro_batches)
    if workload.output_tokens == 1:
        return prefill, prefill[:1]
    return prefill, _candidates(batch, workload.decode_micro_batches)


def _left_over(batch: int, size: int, num_requests: int | None) -> Iterator[int]:
    """Sizes of the last micro-batch of a batch, and of a last batch that is smaller."""
    last = (num_requests or batch) % batch
    for requests in (batch, last):
        if requests:
            yield (requests - 1) % size + 1


def _micro_batches(workload: Workload) -> tuple[IntArray, tuple[BatchOption, ...]]:
    """
    All sizes in play, shape (M,), and which of them go with each batch size.

    Sizes of smaller last micro-batches are in play, too, though not to be chosen.
    """
    chosen = {batch: _of_batch(workload, batch) for batch in workload.batch_sizes}
    sizes = sorted(
        {
            played
            for batch, phases in chosen.items()
            for size in chain(*phases)
            for played in (size, *_left_over(batch, size, workload.num_requests))
        }
    )
    batches = tuple(
        BatchOption(
            size=batch,
            prefill=tuple(sizes.index(size) for size in prefill),
            decode=tuple(sizes.index(size) for size in decode),
        )
        for batch, (prefill, decode) in chosen.items()
    )
    return np.array(sizes, dtype=np.int64), batches


# -- quality ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Loss:
    """Losses (L, F), what they rest on, the loss at uniform 4 bits, the perplexity at 16."""

    nats: FloatArray
    text: str
    at_4_bits: float | None
    perplexity_16: float | None


def _loss(model: Model, formats: tuple[Format, ...], quality: QualityChoice) -> _Loss:
    own = quality.nats_at_4_bits
    anchor = best_anchor(model) if own is None else given_anchor(model, own)
    perplexity = quality.perplexity_16 or anchor.perplexity_16
    if quality.loss_nats is not None:
        nats = np.array(quality.loss_nats, dtype=np.float64)
        four = [f for f, each in enumerate(formats) if each.weight_bits == 4]
        return _Loss(
            nats=nats,
            text="given: losses of every layer in the request",
            at_4_bits=float(nats[:, four].min(axis=1).sum()) if four else None,
            perplexity_16=perplexity,
        )
    if quality.omega is not None:
        return _Loss(
            nats=omega_loss_nats(quality.omega, formats),
            text=f"{quality.omega.provenance}: {quality.omega.text}",
            at_4_bits=quality.omega.nats_at_4_bits,
            perplexity_16=perplexity,
        )
    return _Loss(
        nats=layer_loss_nats(model, formats, anchor),
        text=quality_source(anchor).text,
        at_4_bits=float(layer_loss_nats(model, [find_format("w4a16")], anchor).sum()),
        perplexity_16=perplexity,
    )


# -- errors -------------------------------------------------------------------------------------


def _errors(stages: list[StageType], engine: str) -> dict[tuple[str, str], ModelError]:
    """What is known about the calibrated model's error, by GPU and format."""
    errors = {}
    for stage in stages:
        for name, kernel in stage.kernels.items():
            known = coefficients_for(stage.gpu.name, engine, kernel.kernel, name)
            if known is not None:
                errors[stage.gpu.name, name] = ModelError(
                    decode=known.decode_mape,
                    prefill=known.prefill_mape,
                    basis=known.basis,
                    decode_interval=(known.decode_low, known.decode_high),
                    prefill_interval=(known.prefill_low, known.prefill_high),
                    interval_basis=known.interval_basis,
                )
    return errors
