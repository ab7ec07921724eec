"""
Best-first search over subproblems: batch size, pair of micro-batch sizes, intervals of price, pace.

A subproblem is bounded in steps that grow dearer:

    QUICK     in closed form
    PHASED    by the two phases apart (`solver.phases`), shared by all pairs
    RELAXED   by the relaxation of the integer program
    BOXED     only plans within a *window* above the bound are looked for: the relaxation bounds
              the paces that such plans can have, and a stage within a pace holds a whole number
              of layers (`solver.capacity`); wide intervals of pace are halved
    COUNTED   by whole numbers of layers on equal stages together, whose stages give a plan
    exact     by the integer program itself

The subproblem with the least bound comes next, until no bound allows a plan that is better than
the incumbent by more than the gap. What lies above a window waits as a subproblem of its own, and
pruned subproblems keep their bounds, so the bound reported is global.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from time import monotonic

from solver.backends.highs import HighsBackend
from solver.explore import MOST_RUNS_UNMERGED, SCOUT_NEED, Explorer
from solver.incumbent import Best, Incumbent
from solver.instance import Pair
from solver.linear import Backend, BackendStop
from solver.nodes import Node
from solver.objective import Limits, Objective, StopRule
from solver.problem import PipelineProblem
from solver.result import OPTIMAL_GAP, Plan, Progress, StopReason, relative_gap
from solver.target import Target

__all__ = ["Search", "SearchResult"]

# Asked of the solver where the user asks for a full proof; ten times below OPTIMAL_GAP.
_LEAST_GAP = 1e-7
# The gap asked for counts as reached within this share.
_ROUNDING = 1e-9
# After so many relaxations in a row the most promising node is worked on, for the sake of a plan,
# while the incumbent may be this much worse than need be.
_RELAXATIONS_PER_DIVE = 32
_DIVE_GAP = 0.02

_STOPS = {
    BackendStop.TIME_LIMIT: StopReason.TIME_LIMIT,
    BackendStop.CANCELLED: StopReason.CANCELLED,
    BackendStop.MEMORY: StopReason.MEMORY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """
    What a search found; values are those to minimise, `Target.public` shows them.

    ``is_infeasible`` is a proof; ``bound`` is then inf. ``pair_bounds`` bounds every pair of
    micro-batch sizes by itself; pairs without plans are not in it. None: nothing is known.
    """

    incumbent: Incumbent | None
    bound: float
    stop: StopReason
    is_infeasible: bool
    num_bounds: int
    num_milps: int
    pair_bounds: Mapping[Pair, float] | None


@dataclass(slots=True, kw_only=True)
class Search:
    """
    One search; call `run`, or `bound` and then `run`.

    Parameters
    ----------
    problem, objective, limits, stop
        What to solve and when to stop.
    deadline
        Value of ``time.monotonic()`` at which to stop.
    start
        Plans to begin with; those that break a limit are left aside.
    on_progress, cancelled
        Called as the search goes on.
    phase
        Shown with progress.
    most_runs, scout_need
        As for `solver.explore.Explorer`.
    known
        Bounds by pair of micro-batch sizes, known from a looser problem; pairs that are not in it
        are left out. None: nothing is known.
    """

    problem: PipelineProblem
    objective: Objective
    limits: Limits
    stop: StopRule
    deadline: float
    start: tuple[Plan, ...] = ()
    on_progress: Callable[[Progress], None] | None = None
    cancelled: Callable[[], bool] | None = None
    phase: str = "search"
    most_runs: int = MOST_RUNS_UNMERGED
    scout_need: float = SCOUT_NEED
    backend: Backend = field(default_factory=HighsBackend)
    known: Mapping[Pair, float] | None = None
    _begun: float = field(default_factory=monotonic)
    _is_ready: bool = False
    _best: Best = field(init=False)
    _explorer: Explorer = field(init=False)

    def __post_init__(self) -> None:
        self._best = Best(
            problem=self.problem,
            limits=self.limits,
            target=Target(objective=self.objective),
            gap=max(self.stop.gap, _LEAST_GAP),
            on_better=self._tell,
        )
        self._explorer = Explorer(
            best=self._best,
            backend=self.backend,
            seed=self.stop.seed,
            seconds_left=self._left,
            cancelled=self.cancelled,
            most_runs=self.most_runs,
            scout_need=self.scout_need,
        )

    def run(self, gap: float | None = None) -> SearchResult:
        """
        Search until the gap is closed or a limit is reached.

        Parameters
        ----------
        gap
            In place of the one in ``stop``.
        """
        if gap is not None:
            self._best.gap = max(gap, _LEAST_GAP)
        explorer, tree = self._explorer, self._explorer.tree
        try:
            self._open()
            while tree and not explorer.must_stop() and tree.lowest < self._best.cutoff:
                explorer.work_on(self._next())
                self._tell()
        except MemoryError:
            explorer.stop = BackendStop.MEMORY
        return self._result()

    def bound(self) -> float | None:
        """
        Bound every plan by relaxations alone, at a share of the work of `run`, which goes on here.

        Returns
        -------
        float or None
            No plan has a lower value; inf where there is none. At most the value of the best plan
            given to start with. None where the search was cut before anything was known.
        """
        explorer, tree = self._explorer, self._explorer.tree
        try:
            self._open()
            while tree and not explorer.must_stop() and tree.lowest < self._best.cutoff:
                node = tree.pop()
                if not explorer.can_relax(node):
                    tree.push(node)
                    break
                explorer.work_on(node)
        except MemoryError:
            explorer.stop = BackendStop.MEMORY
        return self._bound() if self._is_ready else None

    @property
    def is_cut(self) -> bool:
        """Whether it was stopped before its end: by the clock, a cancel, or want of memory."""
        return self._explorer.stop is not None

    def _open(self) -> None:
        if self._is_ready:
            return
        for plan in self.start:
            self._best.offer(plan)
        self._is_ready = self._explorer.open_all(self.known)

    def _next(self) -> Node:
        """The node of least bound; now and then one that is ready to give a plan."""
        explorer = self._explorer
        if explorer.relaxed_since_milp >= _RELAXATIONS_PER_DIVE:
            node = explorer.tree.pop_relaxed(self._best.cutoff_at(_DIVE_GAP))
            if node is not None:
                return node
            explorer.relaxed_since_milp = 0
        return explorer.tree.pop()

    def _left(self) -> float:
        return self.deadline - monotonic()

    def _bound(self) -> float:
        """The least bound over all subproblems, never better than the incumbent."""
        if not self._is_ready:
            return 0.0
        explorer, tree = self._explorer, self._explorer.tree
        lowest = min(tree.closed_bound, explorer.working_bound, tree.lowest)
        return min(lowest, self._best.value)

    def _result(self) -> SearchResult:
        bound, best = self._bound(), self._best.incumbent
        infeasible = best is None and self._explorer.stop is None and bound == inf
        return SearchResult(
            incumbent=best,
            bound=bound,
            stop=StopReason.PROVEN if infeasible else self._reason(bound),
            is_infeasible=infeasible,
            num_bounds=self._explorer.num_bounds,
            num_milps=self._explorer.num_milps,
            pair_bounds=self._explorer.tree.bounds() if self._is_ready else None,
        )

    def _reason(self, bound: float) -> StopReason:
        """Why it ended: what stopped it, or how small the gap is."""
        best, target = self._best, self._best.target
        if self._explorer.stop is not None:
            return _STOPS[self._explorer.stop]
        if best.incumbent is None:
            return StopReason.NUMERICS
        if relative_gap(target.public(best.value), target.public(bound)) <= OPTIMAL_GAP:
            return StopReason.PROVEN
        enough = bound >= best.cutoff - _ROUNDING * abs(best.value)
        return StopReason.GAP_REACHED if enough else StopReason.NUMERICS

    def _tell(self) -> None:
        if self.on_progress is None:
            return
        best, target = self._best, self._best.target
        bound = target.public(self._bound())
        known = None if abs(bound) == inf or not self._is_ready else bound
        incumbent = None if best.incumbent is None else target.public(best.value)
        both = incumbent is not None and known is not None
        self.on_progress(
            Progress(
                elapsed_s=monotonic() - self._begun,
                goal=self.objective.goal,
                incumbent=incumbent,
                bound=known,
                gap=relative_gap(incumbent, known) if both else None,  # type: ignore[arg-type]
                phase=self.phase,
            )
        )
