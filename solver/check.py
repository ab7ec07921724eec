"""
The independent judge: values of a plan, recomputed from the problem alone.

Nothing here is shared with the formulation. Times follow

    T_p = sum_j (a_j + c_j) + (m_p - 1) A + e_p         A = slowest stage or link of prefill
    tau = max(sum_j (d_j + c_j) + c_ret, m_d D + e_d)   D = slowest stage or link of decode
    T   = T_p + sum_j (d_j + c_j) + (m_d - 1) D + e_d + (n - 2) tau

where m counts a smaller last micro-batch in part and e is what it takes beyond (`solver.rounds`),
and borders that leave (or enter) a node by the same network card add up their occupancy.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp

from profiles.errors import InputError
from profiles.units import GIB, HOUR, MILLION, MS
from solver.objective import Goal, Limits, Objective
from solver.problem import FloatArray, PipelineProblem
from solver.result import Evaluation, Memory, Plan, Stage, StageReport
from solver.rounds import rounds_of

__all__ = ["TOLERANCE", "Violation", "evaluate", "score", "violations"]

# Relative slack of the check: what the solver's own tolerance of 1e-9 a row may add up to.
TOLERANCE = 1e-7

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
    a, d = pipe.compute(problem.prefill_s, "prefill"), pipe.compute(problem.decode_s, "decode")
    link_p = pipe.links(problem.prefill_link_s[..., prefill])
    link_d = pipe.links(problem.decode_link_s[..., decode])
    pace_p, slow_p = pipe.pace(a, problem.prefill_occupancy_s[..., prefill], None)
    pace_d, slow_d = pipe.pace(
        d, problem.decode_occupancy_s[..., decode], problem.return_occupancy_s[..., decode]
    )
    first = rounds_of(problem, plan.batch_size, prefill, "prefill")
    later = rounds_of(problem, plan.batch_size, decode, "decode")
    m_p, m_d = first.micro_batches, later.micro_batches
    ttft = sum(a) + sum(link_p) + (m_p - 1) * pace_p + first.excess_s
    once = sum(d) + sum(link_d)
    tokens = problem.output_tokens
    period = max(once + pipe.return_s(), m_d * pace_d + later.excess_s) if tokens > 1 else 0.0
    first_round = once + (m_d - 1) * pace_d + later.excess_s
    rest = first_round + (tokens - 2) * period if tokens > 1 else 0.0
    latency = (ttft + rest) * problem.waves(plan.batch_size)
    price = _price(problem, plan)
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
        bottleneck_prefill=slow_p,
        bottleneck_decode=slow_d,
        stages=pipe.reports(a, d, link_p, link_d, m_p, m_d, ttft, rest),
    )


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
    return value > allowed + TOLERANCE * max(abs(allowed), 1e-3)


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


def _price(problem: PipelineProblem, plan: Plan) -> float:
    nodes, rent = set(), 0.0
    for stage in plan.stages:
        group = problem.groups[stage.group]
        device = problem.devices[group.device]
        nodes.add(device.node)
        rent += device.price_usd_per_hour * group.tensor_parallel
    return rent + float(sum(problem.node_price_usd_per_hour[node] for node in sorted(nodes)))


def _perplexity(problem: PipelineProblem, loss_nats: float) -> float | None:
    """Predicted perplexity; None when unknown or beyond any number."""
    if problem.perplexity_16 is None or loss_nats > _MOST_NATS:
        return None
    return problem.perplexity_16 * exp(loss_nats)


def _loss(problem: PipelineProblem, plan: Plan) -> float:
    chosen = [fmt for stage in plan.stages for fmt in stage.formats]
    return float(sum(problem.loss_nats[layer, fmt] for layer, fmt in enumerate(chosen)))


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

    def compute(self, layer_s: FloatArray, phase: str) -> list[float]:
        """Seconds of every stage for one micro-batch."""
        p, size = self.problem, self.prefill if phase == "prefill" else self.decode
        times = []
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

    def pace(
        self, compute: Sequence[float], occupancy: FloatArray, back: FloatArray | None
    ) -> tuple[float, str]:
        """The slowest stage or link, and its name."""
        busy = {f"stage {j}": seconds for j, seconds in enumerate(compute, start=1)}
        nodes, names = self.nodes, self.problem.node_names
        hops = [(u, v, float(occupancy[u, v])) for u, v in pairwise(nodes)]
        if back is not None and len(nodes) > 1:
            hops.append((nodes[-1], nodes[0], float(back[nodes[-1], nodes[0]])))
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
        prefill_s: Sequence[float],
        decode_s: Sequence[float],
        prefill_link_s: Sequence[float],
        decode_link_s: Sequence[float],
        num_prefill: float,
        num_decode: float,
        ttft_s: float,
        rest_s: float,
    ) -> tuple[StageReport, ...]:
        """One report per stage; GPUs are numbered as stages come."""
        taken: Counter[int] = Counter()
        steps = num_decode * (self.problem.output_tokens - 1)
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
                    prefill_s=prefill_s[number],
                    decode_s=decode_s[number],
                    prefill_link_s=prefill_link_s[number],
                    decode_link_s=decode_link_s[number],
                    prefill_busy=num_prefill * prefill_s[number] / ttft_s if ttft_s > 0 else 0.0,
                    decode_busy=steps * decode_s[number] / rest_s if rest_s > 0 else 0.0,
                    memory=self.memory(number),
                )
            )
        return tuple(reports)
