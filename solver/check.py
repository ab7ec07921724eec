"""
The independent judge: values of a plan, recomputed from the problem alone.

Nothing here is shared with the formulation. Times follow

    T_p = sum_j (a_j + c_j) + (m_p - 1) A         A = slowest stage or link of prefill
    tau = max(sum_j (d_j + c_j) + c_ret, m_d D)   D = slowest stage or link of decode
    T   = T_p + sum_j (d_j + c_j) + (m_d - 1) D + (n - 2) tau

where one A and one D are those of the last micro-batch if it is smaller than the others, and
borders that leave (or enter) a node by the same network card add up their occupancy.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, exp

from profiles.errors import InputError
from profiles.units import GIB, HOUR, MILLION, MS
from solver.objective import Goal, Limits, Objective
from solver.problem import FloatArray, PipelineProblem
from solver.result import Evaluation, Memory, Plan, Stage, StageReport

__all__ = ["TOLERANCE", "Violation", "evaluate", "price_usd_per_hour", "score", "violations"]

# Relative slack of the check: what the solver's own tolerance of 1e-9 a row may add up to.
TOLERANCE = 1e-7

# Shares of a limit are told of this where the limit is less: of 0 there are none.
_LEAST_ALLOWED = 1e-3

_MOST_NATS = 700.0  # exp of more overflows

_VALUE_OF = {
    Goal.LATENCY: "latency_s",
    Goal.THROUGHPUT: "throughput_tokens_per_s",
    Goal.TTFT: "ttft_s",
    Goal.TPOT: "tpot_s",
    Goal.COST: "cost_usd_per_million_tokens",
    Goal.PRICE: "price_usd_per_hour",
    Goal.QUALITY_LOSS: "loss_nats",
    Goal.GPUS: "gpus",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A limit that a plan breaks, in base units, with one sentence for people."""

    limit: str
    value: float
    allowed: float
    text: str

    @property
    def excess(self) -> float:
        """By what share of the limit it is exceeded."""
        return abs(self.value - self.allowed) / max(abs(self.allowed), _LEAST_ALLOWED)


def evaluate(problem: PipelineProblem, plan: Plan) -> Evaluation:
    """
    Compute every value of a plan.

    Raises
    ------
    InputError
        When the plan does not fit the problem: layers left out, GPUs used twice, a format without
        a kernel, a batch or micro-batch size that is not among the candidates.
    """
    _check_structure(problem, plan)
    prefill, decode = _sizes(problem, plan)
    pipe = _Pipe(problem, plan, prefill, decode)
    first, later = pipe.work("prefill", prefill), pipe.work("decode", decode)
    link_p = pipe.links(problem.prefill_link_s[..., prefill])
    link_d = pipe.links(problem.decode_link_s[..., decode])
    ttft = sum(first.stages_s) + sum(link_p) + first.rounds_s - first.pace_s
    once = sum(later.stages_s) + sum(link_d)
    tokens = problem.output_tokens
    period = max(once + pipe.return_s(), later.rounds_s) if tokens > 1 else 0.0
    first_round = once + later.rounds_s - later.pace_s
    rest = first_round + (tokens - 2) * period if tokens > 1 else 0.0
    latency = (ttft + rest) * problem.waves(plan.batch_size)
    price = price_usd_per_hour(problem, plan.stages)
    output = problem.served_requests(plan.batch_size) * tokens
    loss = _loss(problem, plan)
    return Evaluation(
        ttft_s=ttft,
        tpot_s=period,
        batch_latency_s=ttft + rest,
        latency_s=latency,
        throughput_tokens_per_s=output / latency if latency > 0 else float("inf"),
        price_usd_per_hour=price,
        cost_usd_per_million_tokens=price * latency / HOUR / output * MILLION,
        loss_nats=loss,
        perplexity=_perplexity(problem, loss),
        gpus=sum(problem.groups[s.group].tensor_parallel for s in plan.stages),
        bottleneck_prefill=first.slowest,
        bottleneck_decode=later.slowest,
        stages=pipe.reports(first, later, link_p, link_d, ttft, rest),
    )


def price_usd_per_hour(problem: PipelineProblem, stages: Iterable[Stage]) -> float:
    """Price of the GPUs of these stages, and of every node that is rented whole once."""
    nodes, rent = set(), 0.0
    for stage in stages:
        group = problem.groups[stage.group]
        device = problem.devices[group.device]
        nodes.add(device.node)
        rent += device.price_usd_per_hour * group.tensor_parallel
    return rent + float(sum(problem.node_price_usd_per_hour[node] for node in sorted(nodes)))


def score(evaluation: Evaluation, objective: Objective) -> float:
    """Value of the objective, in its unit."""
    if objective.goal is Goal.LATENCY_AND_QUALITY:
        return evaluation.latency_s + objective.theta_s_per_nat * evaluation.loss_nats
    if objective.goal is Goal.STAGES:
        return float(len(evaluation.stages))
    return float(getattr(evaluation, _VALUE_OF[objective.goal]))


def violations(
    problem: PipelineProblem, evaluation: Evaluation, limits: Limits
) -> tuple[Violation, ...]:
    """Every limit that the plan breaks, memory and forced GPUs included; none if feasible."""
    broken = [*_memory_violations(problem, evaluation), *_forced_violations(problem, evaluation)]
    stages = len(evaluation.stages)
    for name, value, text, unit in (
        ("ttft_s", evaluation.ttft_s, "TTFT is {0:.1f} ms; at most {1:.1f} ms", MS),
        ("tpot_s", evaluation.tpot_s, "TPOT is {0:.2f} ms; at most {1:.2f} ms", MS),
        ("latency_s", evaluation.latency_s, "Latency is {0:.3f} s; at most {1:.3f} s", 1.0),
        ("loss_nats", evaluation.loss_nats, "Quality loss is {0:.4f} nats; at most {1:.4f}", 1.0),
        (
            "price_usd_per_hour",
            evaluation.price_usd_per_hour,
            "The price is {0:.3f} USD per hour; at most {1:.3f}",
            1.0,
        ),
        (
            "cost_usd_per_million_tokens",
            evaluation.cost_usd_per_million_tokens,
            "The cost is {0:.3f} USD per million tokens; at most {1:.3f}",
            1.0,
        ),
        (
            "s_per_token",
            1 / evaluation.throughput_tokens_per_s,
            "A token takes {0:.3f} ms; at most {1:.3f} ms",
            MS,
        ),
        ("gpus", evaluation.gpus, "{0:.0f} GPUs are used; at most {1:.0f}", 1.0),
        ("stages", stages, "There are {0:.0f} stages; at most {1:.0f}", 1.0),
    ):
        allowed = getattr(limits, name)
        if allowed is not None and _exceeds(value, allowed):
            sentence = f"{text.format(value / unit, allowed / unit)} may be."
            broken.append(Violation(limit=name, value=value, allowed=allowed, text=sentence))
    if stages < limits.min_stages:
        text = f"There are {stages} stages; at least {limits.min_stages} are asked for."
        broken.append(
            Violation(limit="min_stages", value=stages, allowed=limits.min_stages, text=text)
        )
    return tuple(broken)


def _exceeds(value: float, allowed: float) -> bool:
    return value > allowed + TOLERANCE * max(abs(allowed), _LEAST_ALLOWED)


def _memory_violations(problem: PipelineProblem, evaluation: Evaluation) -> list[Violation]:
    broken = []
    for number, stage in enumerate(evaluation.stages, start=1):
        memory = stage.memory
        if _exceeds(memory.used_bytes, memory.available_bytes):
            text = (
                f"Stage {number} on {problem.devices[stage.device].name} needs "
                f"{memory.used_bytes / GIB:.2f} GiB on each GPU and has "
                f"{memory.available_bytes / GIB:.2f} GiB."
            )
            broken.append(
                Violation(
                    limit="memory",
                    value=memory.used_bytes,
                    allowed=memory.available_bytes,
                    text=text,
                )
            )
    return broken


def _forced_violations(problem: PipelineProblem, evaluation: Evaluation) -> list[Violation]:
    used: Counter[int] = Counter()
    for stage in evaluation.stages:
        used[stage.device] += stage.tensor_parallel
    return [
        Violation(
            limit="min_used",
            value=used[index],
            allowed=device.min_used,
            text=f"{used[index]} GPUs of {device.name} are used; {device.min_used} are asked for.",
        )
        for index, device in enumerate(problem.devices)
        if used[index] < device.min_used
    ]


def _check_structure(problem: PipelineProblem, plan: Plan) -> None:
    if not plan.stages:
        raise InputError("The plan has no stages; give at least one.", pointer="/plan/stages")
    position, used = 0, Counter[int]()
    for number, stage in enumerate(plan.stages):
        where = f"/plan/stages/{number}"
        if not 0 <= stage.group < len(problem.groups):
            raise InputError(f"Stage group {stage.group} does not exist.", pointer=where)
        if stage.first_layer != position or not stage.formats:
            raise InputError(
                f"Stage {number + 1} starts at layer {stage.first_layer} with "
                f"{len(stage.formats)} layers; it must start at layer {position} and hold at "
                "least one, so that every layer is held once and in order.",
                pointer=where,
            )
        _check_formats(problem, number, stage)
        position += len(stage.formats)
        group = problem.groups[stage.group]
        used[group.device] += group.tensor_parallel
    if position != problem.num_layers:
        raise InputError(
            f"The plan holds {position} layers; the model has {problem.num_layers}.",
            pointer="/plan/stages",
        )
    for index, count in used.items():
        device = problem.devices[index]
        if count > device.count:
            raise InputError(
                f"The plan uses {count} GPUs of {device.name}; {device.count} may be used.",
                pointer="/plan/stages",
            )


def _check_formats(problem: PipelineProblem, number: int, stage: Stage) -> None:
    where = f"/plan/stages/{number}"
    if stage.first_layer + len(stage.formats) > problem.num_layers:
        raise InputError(
            f"Stage {number + 1} ends after the last of {problem.num_layers} layers.", pointer=where
        )
    for layer, fmt in enumerate(stage.formats, start=stage.first_layer):
        known = 0 <= fmt < len(problem.format_names)
        if not (known and problem.allowed(stage.group, layer)[fmt]):
            name = problem.format_names[fmt] if known else fmt
            device = problem.devices[problem.groups[stage.group].device].name
            raise InputError(
                f"Layer {layer} has format {name!r}, which {device} has no kernel for or the "
                "request does not allow.",
                pointer=where,
            )


def _sizes(problem: PipelineProblem, plan: Plan) -> tuple[int, int]:
    """Indices of the plan's micro-batch sizes."""
    sizes = [int(size) for size in problem.micro_batches]
    for batch in problem.batches:
        prefill = [i for i in batch.prefill if sizes[i] == plan.prefill_micro_batch]
        decode = [i for i in batch.decode if sizes[i] == plan.decode_micro_batch]
        if batch.size == plan.batch_size and prefill and decode:
            return prefill[0], decode[0]
    raise InputError(
        f"Batch {plan.batch_size} with micro-batches {plan.prefill_micro_batch} (prefill) and "
        f"{plan.decode_micro_batch} (decode) is not among the candidates of the request.",
        pointer="/plan",
    )


def _perplexity(problem: PipelineProblem, loss_nats: float) -> float | None:
    """Predicted perplexity; None when unknown or beyond any number."""
    if problem.perplexity_16 is None or loss_nats > _MOST_NATS:
        return None
    return problem.perplexity_16 * exp(loss_nats)


def _loss(problem: PipelineProblem, plan: Plan) -> float:
    chosen = [fmt for stage in plan.stages for fmt in stage.formats]
    return float(sum(problem.loss_nats[layer, fmt] for layer, fmt in enumerate(chosen)))


@dataclass(frozen=True, slots=True)
class _Work:
    """
    A batch cut into micro-batches.

    ``stages_s`` and ``pace_s`` (of the ``slowest`` stage or link) are those of a full micro-batch,
    ``last_s`` and ``last_pace_s`` those of the last one, which may be smaller.
    """

    count: int
    stages_s: list[float]
    last_s: list[float]
    pace_s: float
    last_pace_s: float
    slowest: str

    @property
    def rounds_s(self) -> float:
        """What the batch asks of the slowest."""
        return (self.count - 1) * self.pace_s + self.last_pace_s

    def busy_s(self, stage: int) -> float:
        """What the batch asks of a stage."""
        return (self.count - 1) * self.stages_s[stage] + self.last_s[stage]


@dataclass(frozen=True, slots=True)
class _Pipe:
    """A plan at its micro-batch sizes: stages as machines."""

    problem: PipelineProblem
    plan: Plan
    prefill: int
    decode: int

    @property
    def nodes(self) -> list[int]:
        return [self.problem.node_of(stage.group) for stage in self.plan.stages]

    def work(self, phase: str, size: int) -> _Work:
        """The batch in micro-batches of one size (an index), in prefill or in decode."""
        sizes, batch = self.problem.micro_batches.tolist(), self.plan.batch_size
        count = ceil(batch / sizes[size])
        left = batch - (count - 1) * sizes[size]
        last = sizes.index(min(other for other in sizes if other >= left))
        usual_s, last_s = self.compute(phase, size), self.compute(phase, last)
        pace_s, slowest = self.pace(usual_s, phase, size)
        return _Work(count, usual_s, last_s, pace_s, self.pace(last_s, phase, last)[0], slowest)

    def compute(self, phase: str, size: int) -> list[float]:
        """Seconds of every stage for one micro-batch."""
        p, times = self.problem, []
        layer_s = getattr(p, f"{phase}_s")
        for stage in self.plan.stages:
            seconds = 0.0
            for layer, fmt in enumerate(stage.formats, start=stage.first_layer):
                seconds += layer_s[stage.group, fmt, p.layer_kinds[layer], size]
            times.append(float(seconds))
        first, last = self.plan.stages[0].group, self.plan.stages[-1].group
        times[0] += float(getattr(p, f"embedding_{phase}_s")[first, size])
        times[-1] += float(getattr(p, f"head_{phase}_s")[last, size])
        return times

    def links(self, seconds: FloatArray) -> list[float]:
        """Seconds from every stage to the next; 0 on the last."""
        nodes = self.nodes
        return [float(seconds[u, v]) for u, v in pairwise(nodes)] + [0.0]

    def return_s(self) -> float:
        """Seconds for sampled tokens from the last stage to the first."""
        if len(self.plan.stages) == 1:
            return 0.0
        return float(self.problem.return_link_s[self.nodes[-1], self.nodes[0], self.decode])

    def pace(self, compute: Sequence[float], phase: str, size: int) -> tuple[float, str]:
        """The slowest stage or link, and its name."""
        occupancy = getattr(self.problem, f"{phase}_occupancy_s")[..., size]
        busy = {f"stage {j}": seconds for j, seconds in enumerate(compute, start=1)}
        nodes, names = self.nodes, self.problem.node_names
        hops = [(u, v, float(occupancy[u, v])) for u, v in pairwise(nodes)]
        if phase == "decode" and len(nodes) > 1:
            back_s = self.problem.return_occupancy_s[nodes[-1], nodes[0], size]
            hops.append((nodes[-1], nodes[0], float(back_s)))
        cards: dict[str, float] = defaultdict(float)
        for u, v, seconds in hops:
            if u == v:
                cards[f"link inside {names[u]}"] = max(cards[f"link inside {names[u]}"], seconds)
            else:
                cards[f"network out of {names[u]}"] += seconds
                cards[f"network into {names[v]}"] += seconds
        slowest = max({**busy, **cards}.items(), key=lambda item: item[1])
        return slowest[1], slowest[0]

    def memory(self, number: int) -> Memory:
        """Bytes on each GPU of a stage."""
        p, stage = self.problem, self.plan.stages[number]
        group, batch = stage.group, self.plan.batch_size
        weights = kv = 0.0
        for layer, fmt in enumerate(stage.formats, start=stage.first_layer):
            weights += float(p.weight_bytes[group, fmt, p.layer_kinds[layer]])
            kv += batch * float(p.kv_bytes[group, p.layer_kinds[layer]])
        is_first, is_last = number == 0, number == len(self.plan.stages) - 1
        ends = is_first * float(p.embedding_bytes[group]) + is_last * float(p.head_bytes[group])
        ends -= (is_first and is_last) * float(p.shared_bytes[group])
        prefill = p.prefill_work_bytes[group, self.prefill]
        decode = p.decode_work_bytes[group, self.decode]
        if is_last:
            prefill = prefill + p.head_prefill_work_bytes[group, self.prefill]
            decode = decode + p.head_decode_work_bytes[group, self.decode]
        return Memory(
            weights_bytes=weights,
            kv_bytes=kv,
            embedding_and_head_bytes=ends,
            work_bytes=float(max(prefill, decode)),
            available_bytes=p.devices[p.groups[group].device].memory_bytes,
        )

    def reports(
        self,
        prefill: _Work,
        decode: _Work,
        prefill_link_s: Sequence[float],
        decode_link_s: Sequence[float],
        ttft_s: float,
        rest_s: float,
    ) -> tuple[StageReport, ...]:
        """One report per stage; GPUs are numbered as stages come."""
        taken: Counter[int] = Counter()
        steps = self.problem.output_tokens - 1
        reports = []
        for number, stage in enumerate(self.plan.stages):
            group = self.problem.groups[stage.group]
            numbers = range(taken[group.device], taken[group.device] + group.tensor_parallel)
            taken[group.device] += group.tensor_parallel
            reports.append(
                StageReport(
                    device=group.device,
                    node=self.nodes[number],
                    tensor_parallel=group.tensor_parallel,
                    gpus=tuple(numbers),
                    first_layer=stage.first_layer,
                    num_layers=len(stage.formats),
                    prefill_s=prefill.stages_s[number],
                    decode_s=decode.stages_s[number],
                    prefill_link_s=prefill_link_s[number],
                    decode_link_s=decode_link_s[number],
                    prefill_busy=prefill.busy_s(number) / ttft_s if ttft_s > 0 else 0.0,
                    decode_busy=steps * decode.busy_s(number) / rest_s if rest_s > 0 else 0.0,
                    memory=self.memory(number),
                )
            )
        return tuple(reports)
