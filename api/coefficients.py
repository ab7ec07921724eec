"""The coefficient form of a request: arrays of JSON to the frozen problem."""

from collections.abc import Iterator, Sequence

import numpy as np

from api.coefficient_arrays import read_arrays
from api.goals import limits_of, objective_of, quality_limit_of, stop_of
from api.prepared import Asked, Background, Prepared, PriceUse
from api.problems import ProblemList, pointer_to
from api.request_body import coefficients_body
from api.schemas.coefficients import BatchSpec, CoefficientsRequest
from profiles.errors import unknown_name
from profiles.units import GIB
from solver import (
    BackendName,
    BatchOption,
    DeviceClass,
    PipelineProblem,
    StageGroup,
    possible_changes,
)

__all__ = ["prepare_coefficients"]


def prepare_coefficients(request: CoefficientsRequest) -> Prepared:
    """
    The problem that a request states by its coefficients.

    Raises
    ------
    InvalidRequestError
        When names do not match, sizes repeat, or arrays have the wrong shape.
    """
    _check_names(request)
    problem = _problem(request)
    loss_nats, how = quality_limit_of(request.limits, None)
    limits = limits_of(request.limits, loss_nats)
    return Prepared(
        problem=problem,
        objective=objective_of(request.objective),
        limits=limits,
        stop=stop_of(request.solver),
        backend=BackendName(request.solver.backend),
        background=_background(request, how),
        request_body=coefficients_body(request),
        what_if=Asked(problem=problem, changes=possible_changes(problem, limits))
        if request.what_if
        else None,
    )


def _background(request: CoefficientsRequest, how: str) -> Background:
    open_end = how == "none" and any(max(row) > 0 for row in request.loss_nats)
    warning = "Quality is not limited; set limits.quality_loss_nats to bound the loss."
    nodes = [
        PriceUse(what=f"node {node.name}", usd_per_hour=node.price_usd_per_hour, basis="request")
        for node in request.nodes
        if node.price_usd_per_hour
    ]
    devices = [
        PriceUse(what=device.name, usd_per_hour=device.price_usd_per_hour, basis="request")
        for device in request.devices
        if device.price_usd_per_hour
    ]
    return Background(
        model=request.name,
        engine="",
        cluster=" + ".join(f"{device.count}x {device.name}" for device in request.devices),
        gpu_names=tuple(device.name for device in request.devices),
        format_bits=tuple(format_.bits for format_ in request.formats),
        prices=(*nodes, *devices),
        source="as given",
        quality_source="as given in loss_nats",
        quality_limit=how,
        quality_in_percent=request.limits.perplexity_increase_percent is not None,
        warnings=(warning,) if open_end else (),
    )


def _repeats(names: Sequence[object]) -> Iterator[int]:
    """Positions of entries that occurred before."""
    for position, name in enumerate(names):
        if name in names[:position]:
            yield position


def _check_names(request: CoefficientsRequest) -> None:
    problems = ProblemList()
    for field in ("nodes", "devices", "formats"):
        names = [entry.name for entry in getattr(request, field)]
        for position in _repeats(names):
            pointer = pointer_to(field, position, "name")
            problems.add(pointer, f"{names[position]!r} is listed twice in {field}; rename one.")
    for field in ("kinds", "micro_batches", "groups"):
        for position in _repeats(getattr(request, field)):
            problems.add(pointer_to(field, position), f"Repeats an entry of {field}; drop it.")
    _check_references(request, problems)
    problems.raise_if_any()


def _check_references(request: CoefficientsRequest, problems: ProblemList) -> None:
    nodes = [node.name for node in request.nodes]
    devices = [device.name for device in request.devices]
    for position, device in enumerate(request.devices):
        with problems.catching():
            _known("node", device.node, nodes, pointer_to("devices", position, "node"))
        if device.min_used > device.count:
            problems.add(
                pointer_to("devices", position, "min_used"),
                f"min_used is {device.min_used}, but there are {device.count}; lower it.",
            )
    for position, group in enumerate(request.groups):
        with problems.catching():
            _known("device", group.device, devices, pointer_to("groups", position, "device"))
    for position, batch in enumerate(request.batches):
        for field in ("prefill_micro_batches", "decode_micro_batches"):
            for size in getattr(batch, field) or ():
                if size not in request.micro_batches:
                    problems.add(
                        pointer_to("batches", position, field),
                        f"Micro-batch size {size} is not in micro_batches; add it there.",
                    )


def _known(kind: str, name: str, known: list[str], pointer: str) -> None:
    if name not in known:
        raise unknown_name(kind, name, known, pointer=pointer)


def _batch(batch: BatchSpec, sizes: list[int]) -> BatchOption:
    every = [size for size in sizes if size <= batch.size]
    return BatchOption(
        size=batch.size,
        prefill=tuple(sizes.index(size) for size in batch.prefill_micro_batches or every),
        decode=tuple(sizes.index(size) for size in batch.decode_micro_batches or every),
    )


def _problem(request: CoefficientsRequest) -> PipelineProblem:
    nodes = [node.name for node in request.nodes]
    devices = [device.name for device in request.devices]
    return PipelineProblem(
        devices=tuple(
            DeviceClass(
                name=device.name,
                node=nodes.index(device.node),
                count=device.count,
                memory_bytes=device.memory_gib * GIB,
                price_usd_per_hour=device.price_usd_per_hour,
                min_used=device.min_used,
            )
            for device in request.devices
        ),
        groups=tuple(
            StageGroup(device=devices.index(g.device), tensor_parallel=g.tensor_parallel)
            for g in request.groups
        ),
        node_names=tuple(nodes),
        node_price_usd_per_hour=np.array([node.price_usd_per_hour for node in request.nodes]),
        format_names=tuple(format_.name for format_ in request.formats),
        kind_names=tuple(request.kinds),
        layer_kinds=np.array(request.layer_kinds, dtype=np.int64),
        micro_batches=np.array(request.micro_batches, dtype=np.int64),
        batches=tuple(_batch(batch, request.micro_batches) for batch in request.batches),
        prompt_tokens=request.prompt_tokens,
        output_tokens=request.output_tokens,
        num_requests=request.num_requests,
        perplexity_16=request.perplexity_16,
        **read_arrays(request),
    )
