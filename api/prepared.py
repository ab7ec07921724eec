"""A request made ready: the frozen problem, and what an answer should say about its making."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cost_model.intervals import TimeGroup
from cost_model.uncertainty import ErrorTerm
from profiles.calibration import Calibration
from solver import (
    BackendName,
    Change,
    Limits,
    Objective,
    PipelineProblem,
    RegretRule,
    StopRule,
)

__all__ = ["Asked", "AskedRegret", "Background", "IdleGpus", "KernelUse", "Prepared", "PriceUse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelUse:
    """
    The kernel by which a GPU type runs a format.

    The errors are those of the latency model, None where unknown; ``basis`` says what it rests on.
    The intervals are its 90 % intervals, factors low and high of a time; None without a model.
    """

    gpu: str
    format: str
    kernel: str
    decode_error: float | None = None
    prefill_error: float | None = None
    basis: str = ""
    decode_interval: tuple[float, float] | None = None
    prefill_interval: tuple[float, float] | None = None
    interval_basis: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceUse:
    """A price in play, in US dollars per hour (None: unknown), and where it comes from."""

    what: str
    usd_per_hour: float | None
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleGpus:
    """GPUs that no plan can use: the engine has no kernel for them, or none may be used."""

    node: str
    gpu: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """
    What an answer says about the problem's making.

    Parameters
    ----------
    model, engine, cluster
        For people; ``engine`` is empty in the coefficient form.
    gpu_names
        GPU type of every device class.
    format_bits
        Weight bits of every format.
    kernels, prices
        In play, whether or not the plan uses them.
    unpriced
        Indices of device classes whose price is not known.
    idle
        GPUs of the cluster that the problem leaves out.
    source, quality_source
        Weakest provenance of the times; where quality figures come from.
    times_by_source
        Number of times by provenance; empty in the coefficient form.
    time_groups
        Times by the error they share; empty in the coefficient form.
    quality_limit
        How the quality limit was set: ``asked``, ``uniform 4 bits`` (the default) or ``none``.
    quality_in_percent
        Whether it is shown as an increase of perplexity, not in nats.
    warnings
        What the user should know before trusting the plan.
    num_lengths
        Lengths of requests that the problem has the means of.
    calibration
        Factors on the times.
    """

    model: str
    engine: str
    cluster: str
    gpu_names: tuple[str, ...]
    format_bits: tuple[float, ...]
    kernels: tuple[KernelUse, ...] = ()
    prices: tuple[PriceUse, ...] = ()
    unpriced: frozenset[int] = frozenset()
    idle: tuple[IdleGpus, ...] = ()
    source: str
    quality_source: str
    times_by_source: Mapping[str, int] = field(default_factory=dict)
    time_groups: tuple[TimeGroup, ...] = ()
    quality_limit: str
    quality_in_percent: bool = False
    warnings: tuple[str, ...] = ()
    num_lengths: int = 1
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """
    What-if questions: changes, and the problem that they change.

    The problem has the plans of the one that is solved, and may name formats that no layer may
    take yet.
    """

    problem: PipelineProblem
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedRegret:
    """How tables are drawn: the random factors of a problem's times, and how many tables."""

    terms: tuple[ErrorTerm, ...]
    rule: RegretRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """
    Everything `solver.solve` asks for, with its background.

    ``request_body`` repeats the request for the answer; None where it is too large. ``what_if`` and
    ``regret`` are None where they are not asked.
    """

    problem: PipelineProblem
    objective: Objective
    limits: Limits
    stop: StopRule
    background: Background
    backend: BackendName = BackendName.HIGHS
    request_body: Mapping[str, Any] | None = None
    what_if: Asked | None = None
    regret: AskedRegret | None = None
