"""Plans to the simulator: the stages, links and requests that it replays."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cost_model.simulated_pipeline import (
    Hop,
    Order,
    Requests,
    SimulatedPipeline,
    SizedTimes,
    StageMachine,
    Start,
    Transfer,
)
from cost_model.simulation import Simulation
from cost_model.simulator import simulate
from profiles.errors import InputError
from profiles.lengths import LengthBucket
from solver.check import evaluate
from solver.problem import FloatArray, PipelineProblem
from solver.result import Plan, Stage

__all__ = ["PlanSimulation", "batch_lengths", "simulate_plan", "simulated_pipeline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSimulation:
    """
    A plan, replayed.

    Parameters
    ----------
    batch
        The first batch; all full batches are alike.
    last
        The last batch, where it holds fewer requests than the others; else None.
    waves
        Batches in all, one after the other.
    latency_s
        Until the last request of all batches is answered.
    """

    batch: Simulation
    last: Simulation | None
    waves: int
    latency_s: float


def simulate_plan(
    problem: PipelineProblem,
    plan: Plan,
    *,
    start: Start = Start.BARRIER,
    order: Order = Order.FIRST_COME,
    gantt_rounds: int = 0,
    prompt_tokens: Sequence[int] | None = None,
    output_tokens: Sequence[int] | None = None,
) -> PlanSimulation:
    """
    Replay a plan micro-batch by micro-batch.

    Parameters
    ----------
    problem, plan
        Times at the sizes of ``problem.micro_batches`` are exact; between them they lie on a
        straight line, and below the smallest they are those of the smallest. That matters for a
        last micro-batch that is smaller than the others.
    start, order, gantt_rounds
        See `cost_model.simulator.simulate`.
    prompt_tokens, output_tokens
        Lengths of the requests of a batch, one each; all as in the problem by default.

    Raises
    ------
    InputError
        When the plan does not fit the problem, there is not one length per request, or the replay
        would be too long.
    """
    evaluate(problem, plan)  # refuses a plan that does not fit; its values are not used
    pipeline = simulated_pipeline(problem, plan)
    prompts = _lengths("prompt_tokens", prompt_tokens, problem.prompt_tokens, plan.batch_size)
    outputs = _lengths("output_tokens", output_tokens, problem.output_tokens, plan.batch_size)

    def replay(count: int, rounds: int) -> Simulation:
        requests = Requests(
            prompt_tokens=prompts[:count],
            output_tokens=outputs[:count],
            prefill_micro_batch=plan.prefill_micro_batch,
            decode_micro_batch=plan.decode_micro_batch,
        )
        return simulate(pipeline, requests, start=start, order=order, gantt_rounds=rounds)

    waves = problem.waves(plan.batch_size)
    in_last = problem.served_requests(plan.batch_size) - (waves - 1) * plan.batch_size
    if waves == 1 or in_last == plan.batch_size:
        batch, last = replay(in_last, gantt_rounds), None
    else:
        batch, last = replay(plan.batch_size, gantt_rounds), replay(in_last, 0)
    latency_s = (waves - 1) * batch.latency_s + (last or batch).latency_s
    return PlanSimulation(batch=batch, last=last, waves=waves, latency_s=latency_s)


def _lengths(name: str, given: Sequence[int] | None, usual: int, batch: int) -> tuple[int, ...]:
    if given is None:
        return (usual,) * batch
    if len(given) != batch:
        raise InputError(
            f"{name} has {len(given)} entries, but a batch holds {batch} requests; give one each.",
            pointer=f"/{name}",
        )
    return tuple(given)


def batch_lengths(lengths: Sequence[LengthBucket], count: int) -> list[tuple[int, int]]:
    """
    A batch in which every length occurs as often as its weight says, spread evenly.

    Parameters
    ----------
    lengths
        At least one.
    count
        Requests of the batch. A length that is rarer than one in so many may be left out.

    Returns
    -------
    list of (int, int)
        Prompt and output tokens of every request.
    """
    total = sum(bucket.weight for bucket in lengths)
    owed = [0.0] * len(lengths)
    batch = []
    for _ in range(count):
        owed = [due + bucket.weight / total for due, bucket in zip(owed, lengths, strict=True)]
        at = max(range(len(lengths)), key=owed.__getitem__)
        owed[at] -= 1.0
        batch.append((lengths[at].prompt_tokens, lengths[at].output_tokens))
    return batch


def simulated_pipeline(problem: PipelineProblem, plan: Plan) -> SimulatedPipeline:
    """The machines of a plan that `solver.evaluate` accepts, with times at all sizes."""
    names = _gpu_names(problem, plan)
    stages = tuple(_stage(problem, plan, number, gpus) for number, gpus in enumerate(names))
    nodes = [problem.node_of(stage.group) for stage in plan.stages]
    links: list[str] = []
    hops = [
        _hop(problem, u, v, _links(problem, u, v, f"link {at}-{at + 1}", links), is_back=False)
        for at, (u, v) in enumerate(pairwise(nodes), start=1)
    ]
    back = None
    if hops:
        u, v = nodes[-1], nodes[0]
        used = _links(problem, u, v, f"link {len(nodes)}-1", links)
        back = _hop(problem, u, v, used, is_back=True)
    return SimulatedPipeline(
        stages=stages,
        links=tuple(links),
        hops=tuple(hops),
        back=back,
        prompt_tokens=problem.prompt_tokens,
    )


# -- stages -------------------------------------------------------------------------------------


def _gpu_names(problem: PipelineProblem, plan: Plan) -> list[tuple[str, ...]]:
    """GPUs of every stage, numbered within their device class as stages come."""
    taken: Counter[int] = Counter()
    names = []
    for stage in plan.stages:
        group = problem.groups[stage.group]
        first = taken[group.device]
        taken[group.device] += group.tensor_parallel
        device = problem.devices[group.device].name
        names.append(tuple(f"{device} #{number}" for number in range(first, taken[group.device])))
    return names


def _stage(
    problem: PipelineProblem, plan: Plan, number: int, gpus: tuple[str, ...]
) -> StageMachine:
    stage = plan.stages[number]
    group = problem.groups[stage.group]
    is_first, is_last = number == 0, number == len(plan.stages) - 1
    ends_bytes = is_first * problem.embedding_bytes[stage.group]
    ends_bytes += is_last * problem.head_bytes[stage.group]
    ends_bytes -= (is_first and is_last) * problem.shared_bytes[stage.group]
    kinds = _kinds(problem, stage)
    full_length = problem.prompt_tokens + problem.output_tokens
    return StageMachine(
        node=problem.node_names[problem.devices[group.device].node],
        gpus=gpus,
        prefill=_compute(problem, stage, "prefill", is_first=is_first, is_last=is_last),
        decode=_compute(problem, stage, "decode", is_first=is_first, is_last=is_last),
        weights_bytes=float(problem.weight_bytes[stage.group, stage.formats, kinds].sum()),
        embedding_and_head_bytes=float(ends_bytes),
        work_bytes=_work_bytes(problem, plan, stage, is_last=is_last),
        kv_bytes_per_token=float(problem.kv_bytes[stage.group, kinds].sum()) / full_length,
        available_bytes=problem.devices[group.device].memory_bytes,
    )


def _kinds(problem: PipelineProblem, stage: Stage) -> list[int]:
    end = stage.first_layer + len(stage.formats)
    return [int(kind) for kind in problem.layer_kinds[stage.first_layer : end]]


def _compute(
    problem: PipelineProblem, stage: Stage, phase: str, *, is_first: bool, is_last: bool
) -> SizedTimes:
    """Seconds of all layers, with the embedding on the first stage and the head on the last."""
    by_layer: FloatArray = getattr(problem, f"{phase}_s")[stage.group]
    seconds = by_layer[stage.formats, _kinds(problem, stage)].sum(axis=0)
    if is_first:
        seconds = seconds + getattr(problem, f"embedding_{phase}_s")[stage.group]
    if is_last:
        seconds = seconds + getattr(problem, f"head_{phase}_s")[stage.group]
    return _sized(problem, seconds)


def _work_bytes(problem: PipelineProblem, plan: Plan, stage: Stage, *, is_last: bool) -> float:
    """The larger of what the two phases need, as an engine sets aside."""
    sizes = problem.micro_batches.tolist()
    phases = (("prefill", plan.prefill_micro_batch), ("decode", plan.decode_micro_batch))
    needed = []
    for phase, size in phases:
        at = stage.group, sizes.index(size)
        work = float(getattr(problem, f"{phase}_work_bytes")[at])
        needed.append(work + is_last * float(getattr(problem, f"head_{phase}_work_bytes")[at]))
    return max(needed)


# -- links --------------------------------------------------------------------------------------


def _links(problem: PipelineProblem, u: int, v: int, own: str, links: list[str]) -> tuple[int, ...]:
    """Indices of what a transfer from node to node keeps busy; new links are added."""
    names = problem.node_names
    if u == v:
        needed = [f"{own} in {names[u]}"]
    else:
        needed = [f"network out of {names[u]}", f"network into {names[v]}"]
    links += [name for name in needed if name not in links]
    return tuple(links.index(name) for name in needed)


def _hop(problem: PipelineProblem, u: int, v: int, links: tuple[int, ...], *, is_back: bool) -> Hop:
    def transfer(phase: str) -> Transfer:
        return Transfer(
            seconds=_sized(problem, getattr(problem, f"{phase}_link_s")[u, v]),
            busy=_sized(problem, getattr(problem, f"{phase}_occupancy_s")[u, v]),
        )

    if is_back:
        tokens = transfer("return")
        return Hop(links=links, prefill=tokens, decode=tokens)
    return Hop(links=links, prefill=transfer("prefill"), decode=transfer("decode"))


def _sized(problem: PipelineProblem, seconds: FloatArray) -> SizedTimes:
    return SizedTimes(
        sizes=tuple(float(size) for size in problem.micro_batches),
        seconds=tuple(np.asarray(seconds, dtype=np.float64).tolist()),
    )
