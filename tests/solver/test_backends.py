"""One suite over all provers: the same models, the same answers, the same honest ends."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from math import inf, isfinite
from pathlib import Path

import highspy
import numpy as np
import pulp
import pytest
from ortools.linear_solver.python import model_builder_helper
from ortools.sat.python import cp_model
from pulp.apis.coin_api import pulp_cbc_path

from profiles.errors import BackendError, InputError
from solver.backends import cbc, cpsat, glop, highs, pulp_solver
from solver.backends.pulp_solver import PulpBackend
from solver.backends.registry import BackendName, backend_of
from solver.linear import BackendStop, Effort, ModelBuilder, is_feasible

EFFORT = Effort(gap=0.0, time_s=30, seed=0)
# As little as a search ever asks for; CP-SAT would go on through the last steps of a pace for long.
AGREED = Effort(gap=1e-7, time_s=600, seed=0)
CLOSE = 1e-7


@pytest.fixture(params=[*BackendName, "HiGHS through PuLP"], ids=str)
def backend(request):
    name = request.param
    return backend_of(name) if name in list(BackendName) else PulpBackend("HiGHS")


@pytest.fixture(params=list(BackendName), ids=str)
def prover(request):
    """The three that take a start, a cancel and limits on nodes."""
    return backend_of(request.param)


def value(model, result):
    return None if result.point is None else float(model.cost @ result.point)


def knapsack():
    """At least 7, by pieces of 3 that cost 2 and of 2 that cost 1.5: one and two, for 5."""
    build = ModelBuilder()
    three, two = build.add(5, integer=True), build.add(5, integer=True)
    build.row({three: 3.0, two: 2.0}, lower=7)
    return build.build({three: 2.0, two: 1.5})


def mixed():
    """x whole, y not: least 3x + y with x + y >= 2.5 and y <= 0.7 is x = 2, y = 0.5."""
    build = ModelBuilder()
    x, y = build.add(9, integer=True), build.add()
    build.row({x: 1.0, y: 1.0}, lower=2.5)
    build.row({y: 1.0}, upper=0.7)
    return build.build({x: 3.0, y: 1.0})


def hard(seed=1):
    """60 columns in 8 rows: no prover ends within seconds."""
    rng = np.random.default_rng(seed)
    build = ModelBuilder()
    columns = [build.add(3, integer=True) for _ in range(60)]
    weights = rng.uniform(1, 5, (8, 60))
    costs = weights.mean(axis=0) + rng.uniform(-0.3, 0.3, 60)
    for row in weights:
        build.row(dict(zip(columns, row, strict=True)), lower=row.sum() * 1.234)
    return build.build(dict(zip(columns, 10 * costs, strict=True)))


def hidden(seed=0):
    """A market split: equations with one hidden solution that nobody finds in a node."""
    rng = np.random.default_rng(seed)
    build = ModelBuilder()
    columns = [build.add(1, integer=True) for _ in range(40)]
    weights, solution = rng.integers(0, 1000, (4, 40)), rng.integers(0, 2, 40)
    for row in weights:
        sum_ = float(row @ solution)
        build.row(dict(zip(columns, map(float, row), strict=True)), lower=sum_, upper=sum_)
    return build.build(dict.fromkeys(columns, 1.0)), solution.astype(float)


def dense(size=300):
    """A linear program that takes a moment."""
    rng = np.random.default_rng(0)
    build = ModelBuilder()
    columns = [build.add() for _ in range(size)]
    for row in rng.uniform(0, 1, (size, size)):
        build.row(dict(zip(columns, row, strict=True)), lower=1 + rng.uniform())
    return build.build({column: 1 + rng.uniform() for column in columns})


def small(rng, *, continuous=False):
    """Up to 8 columns with negative limits, in ranges and equations, and a pace; some hopeless."""
    build = ModelBuilder()
    num = int(rng.integers(1, 9))
    columns = [
        build.add(
            float(rng.integers(1, 6)),
            lower=float(rng.integers(-3, 1)),
            integer=not continuous or rng.random() < 0.6,
        )
        for _ in range(num)
    ]
    inside = np.array([rng.integers(build.lower[j], build.upper[j] + 1) for j in columns])
    for _ in range(int(rng.integers(1, 6))):
        weights = np.where(rng.random(num) < 0.7, rng.normal(0, 2, num), 0.0)
        middle = float(weights @ inside)
        lower = -inf if rng.random() < 0.4 else middle - rng.choice([0.0, 0.5, 3.0])
        upper = inf if lower > -inf and rng.random() < 0.4 else middle + rng.choice([0.0, 0.5, 3.0])
        shift = 0.0 if rng.random() < 0.8 else 50.0  # now and then out of reach
        build.row(_entries(columns, weights), lower=lower + shift, upper=upper + shift)
    costs = _entries(columns, rng.normal(0, 1, num))
    pace = build.add()
    for _ in range(2):
        build.row({**_entries(columns, rng.normal(0, 2, num)), pace: -1.0}, upper=1.0)
    return build.build({**costs, pace: 1.5})


def _entries(columns, weights):
    return {j: float(w) for j, w in zip(columns, weights, strict=True) if w}


# -- answers --------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "best"), [(knapsack, 5.0), (mixed, 6.5)])
def test_optimum_by_hand(make, best, backend):
    model = make()
    result = backend.solve(model, EFFORT)
    assert result.stop is BackendStop.PROVEN
    assert value(model, result) == pytest.approx(best, rel=CLOSE)
    assert result.bound == pytest.approx(best, rel=2 * CLOSE)
    assert result.bound <= best + 1e-9
    assert is_feasible(model, result.point)


@pytest.mark.parametrize(("make", "best"), [(knapsack, 14 / 3), (mixed, 0.7 + 3 * 1.8)])
def test_relaxation_by_hand(make, best, backend):
    """Pieces of 3 alone cost 2/3 a unit of weight; y is cheaper than x as far as it goes."""
    result = backend.relax(make(), EFFORT)
    assert result.stop is BackendStop.PROVEN
    assert result.bound == pytest.approx(best, rel=2 * CLOSE)


def _agree(models, names):
    """The same feasibility, the same optimum, no bound above it; returns the ends that occurred."""
    ends = set()
    for model in models:
        first, *others = [backend_of(name).solve(model, AGREED) for name in names]
        ends.add(first.stop)
        for other in others:
            assert other.stop is first.stop
            if first.point is not None:
                best = value(model, first)
                assert value(model, other) == pytest.approx(best, rel=1e-6, abs=1e-6)
                assert other.bound <= best + 1e-6
                assert is_feasible(model, other.point)
    return ends


BOTH_ENDS = {BackendStop.PROVEN, BackendStop.INFEASIBLE}


def test_all_agree_on_small_models():
    rng = np.random.default_rng(7)
    assert _agree((small(rng) for _ in range(80)), list(BackendName)) == BOTH_ENDS


def test_highs_and_cbc_agree_where_columns_are_continuous_too():
    """CP-SAT would have to walk through the steps of continuous columns in equations."""
    rng = np.random.default_rng(9)
    models = (small(rng, continuous=True) for _ in range(80))
    assert _agree(models, [BackendName.HIGHS, BackendName.CBC]) == BOTH_ENDS


@pytest.mark.slow
def test_all_agree_on_many_small_models():
    """What led to the versions and options in use: wrong proofs in one of a hundred models."""
    rng = np.random.default_rng(2)
    assert _agree((small(rng) for _ in range(1500)), list(BackendName)) == BOTH_ENDS


def test_all_agree_on_small_relaxations():
    rng = np.random.default_rng(8)
    for _ in range(60):
        model = small(rng, continuous=True)
        first, *others = [backend_of(name).relax(model, EFFORT) for name in BackendName]
        for other in others:
            assert other.stop is first.stop
            assert other.bound == pytest.approx(first.bound, rel=1e-6, abs=1e-6)


def test_infeasible_is_proven(backend):
    """2x = 3 has no whole solution; 2x >= 11 with x <= 5 has none at all."""
    for row in ({"lower": 3, "upper": 3}, {"lower": 11}):
        build = ModelBuilder()
        x = build.add(5, integer=True)
        build.row({x: 2.0}, **row)
        result = backend.solve(build.build({x: 1.0}), EFFORT)
        assert result.stop is BackendStop.INFEASIBLE
        assert result.point is None
        assert result.bound == inf


@pytest.mark.parametrize("how", ["solve", "relax"])
def test_unbounded_is_an_error_never_an_answer(how, backend):
    """The more x, the better, and nothing stops it."""
    build = ModelBuilder()
    x, y = build.add(integer=True), build.add()
    build.row({x: 2.0, y: -1.0}, lower=3)
    with pytest.raises(BackendError):
        getattr(backend, how)(build.build({x: -1.0}), EFFORT)


def test_columns_without_limits_are_no_obstacle(backend):
    """The least pace of 7 layers on two slots is 4; nothing bounds the pace from above."""
    build = ModelBuilder()
    layers = [build.add(7, integer=True) for _ in range(2)]
    pace = build.add()
    build.row(dict.fromkeys(layers, 1.0), lower=7, upper=7)
    for count in layers:
        build.row({count: 1.0, pace: -1.0}, upper=0)
    result = backend.solve(build.build({pace: 1.0}), EFFORT)
    assert result.bound == pytest.approx(4.0, rel=2 * CLOSE)


def test_a_model_without_rows_or_costs_is_solved(backend):
    build = ModelBuilder()
    x = build.add(5, lower=2, integer=True)
    build.row({x: 1.0}, upper=4)
    result = backend.solve(build.build({}), EFFORT)
    assert result.stop is BackendStop.PROVEN
    assert 2 <= result.point[0] <= 4


# -- limits ---------------------------------------------------------------------------------


def test_a_time_limit_is_never_proof(backend):
    model = hard()
    begun = time.monotonic()
    result = backend.solve(model, Effort(gap=0.0, time_s=0.7, seed=0))
    assert result.stop is BackendStop.TIME_LIMIT
    assert time.monotonic() - begun < 4
    assert is_feasible(model, result.point)
    assert result.bound < value(model, result)


def test_a_node_limit_is_never_proof(prover):
    model = hard()
    result = prover.solve(model, Effort(gap=0.0, time_s=30, seed=0, max_nodes=3))
    assert result.stop is BackendStop.WORK_LIMIT
    assert -inf < result.bound < value(model, result)


def test_a_gap_is_enough_and_told(prover):
    """Within 5 %: proven, by a bound that is not the optimum."""
    model = hard()
    result = prover.solve(model, Effort(gap=0.05, time_s=30, seed=0))
    assert result.stop is BackendStop.PROVEN
    assert value(model, result) * (1 - 0.0527) <= result.bound < value(model, result)


def test_same_seed_same_point(prover):
    effort = Effort(gap=0.01, time_s=30, seed=5)
    first, second = (prover.solve(hard(), effort) for _ in range(2))
    assert np.array_equal(first.point, second.point)


def test_no_time_at_all_is_no_answer(prover):
    model = hard()
    result = prover.solve(model, Effort(gap=0.0, time_s=1e-3, seed=0))
    assert result.stop is BackendStop.TIME_LIMIT
    known = backend_of(BackendName.HIGHS).solve(model, Effort(gap=0.01, time_s=9, seed=0))
    assert result.bound < value(model, known)


def test_cancel_ends_the_search_and_keeps_its_fruit(prover):
    model = hard()
    begun = time.monotonic()
    result = prover.solve(model, EFFORT, cancelled=lambda: time.monotonic() - begun > 0.5)
    assert result.stop is BackendStop.CANCELLED
    assert time.monotonic() - begun < 3
    assert is_feasible(model, result.point)
    assert isfinite(result.bound)
    assert result.bound < value(model, result)


def test_cancel_ends_a_relaxation(prover):
    result = prover.relax(dense(), EFFORT, cancelled=lambda: True)
    assert result.stop is BackendStop.CANCELLED
    assert result.bound == -inf


def test_ctrl_c_is_left_to_the_caller(prover):
    """A signal during a search reaches the handler that stood before it."""
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append("Ctrl-C"))
    try:
        prover.solve(knapsack(), EFFORT, on_point=lambda _: os.kill(os.getpid(), signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard


def test_cancel_is_seen_before_a_solver_of_pulp_starts():
    result = PulpBackend("HiGHS").solve(hard(), EFFORT, cancelled=lambda: True)
    assert result.stop is BackendStop.CANCELLED


# -- start, points, bounds ------------------------------------------------------------------


def test_a_start_is_taken_up(prover):
    """Without it no point is found in one node; with it the point is there."""
    model, solution = hidden()
    effort = Effort(gap=0.0, time_s=20, seed=0, max_nodes=1)
    assert prover.solve(model, effort).point is None
    assert np.allclose(prover.solve(model, effort, start=solution).point, solution)


def test_a_start_that_breaks_the_model_is_left_aside(backend):
    model = knapsack()
    result = backend.solve(model, EFFORT, start=np.zeros(2))
    assert value(model, result) == pytest.approx(5.0)


def test_points_and_bounds_are_told_and_true(prover):
    """Points get better, bounds rise, and neither passes the other."""
    model = hard()
    points, bounds = [], []
    result = prover.solve(
        model, Effort(gap=0.005, time_s=30, seed=0), on_point=points.append, on_bound=bounds.append
    )
    costs = [float(model.cost @ point) for point in points]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == pytest.approx(value(model, result))
    assert bounds
    assert max(bounds) <= min(costs) * (1 + 1e-9)
    assert all(is_feasible(model, point) for point in points)


@pytest.mark.parametrize("event", ["on_point", "on_bound", "cancelled"])
def test_what_a_listener_raises_comes_through(event, prover):
    """`cancelled` is asked in a thread of its own by OR-Tools: it must not be lost there either."""

    def fail(*_):
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        prover.solve(hard(), Effort(gap=0.0, time_s=2, seed=0), **{event: fail})


@pytest.mark.parametrize("name", [BackendName.HIGHS, BackendName.CP_SAT], ids=str)
def test_lack_of_memory_keeps_the_point_and_the_bound(name):
    """Whatever was told before it happened."""
    model = hard()
    points = []

    def fail(_):
        if points:
            raise MemoryError

    result = backend_of(name).solve(model, EFFORT, on_point=points.append, on_bound=fail)
    assert result.stop is BackendStop.MEMORY
    assert np.array_equal(result.point, points[-1])
    assert -inf < result.bound < value(model, result)


# -- nothing is left behind -----------------------------------------------------------------


def children():
    """Processes below this one."""
    mine = Path("/proc/self").resolve().name
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if words[1] == mine:
            found.add(stat)
    return found


def test_cbc_leaves_no_process_and_no_file(monkeypatch, tmp_path):
    """After a proof, a time limit, a cancel and a failure of a listener."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = children()
    backend = backend_of(BackendName.CBC)
    model = hard()

    def fail(*_):
        raise LookupError

    backend.solve(knapsack(), EFFORT)
    backend.solve(model, Effort(gap=0.0, time_s=0.3, seed=0))
    backend.solve(model, EFFORT, cancelled=lambda: True)
    with pytest.raises(LookupError):
        backend.solve(model, EFFORT, on_bound=fail)
    assert children() == before
    assert list(tmp_path.iterdir()) == []


def test_cbc_that_dies_or_lacks_memory_is_told(monkeypatch, tmp_path):
    """A signal from outside counts as lack of memory, another failure as a failure."""

    def run(script):
        path = tmp_path / "cbc"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(cbc, "pulp_cbc_path", str(path))
        return backend_of(BackendName.CBC).solve(knapsack(), EFFORT)

    assert run("kill -9 $$").stop is BackendStop.MEMORY
    assert run("echo std::bad_alloc; exit 1").stop is BackendStop.MEMORY
    with pytest.raises(BackendError, match="exit code 3"):
        run("echo what; exit 3")
    with pytest.raises(BackendError, match="exit code 0"):
        run("exit 0")


# -- statuses -------------------------------------------------------------------------------


def test_every_status_of_highs_is_translated():
    assert set(highs._STOPS) == set(highspy.HighsModelStatus.__members__)


def test_every_status_of_cp_sat_is_translated():
    assert set(cpsat._STOPS) == {
        status.name for status in vars(cp_model).values() if _is_status(status)
    }


def _is_status(status):
    return type(status).__name__ == "CpSolverStatus"


def test_every_status_of_glop_is_translated():
    assert set(glop._STOPS) == set(model_builder_helper.SolveStatus.__members__)


def test_every_status_of_pulp_is_translated():
    """A proof only where PuLP says that the solution is the best one."""
    assert set(pulp_solver._STOPS) == set(pulp.LpStatus)
    for status in pulp.LpStatus:
        for solution in pulp.LpSolution:
            try:
                stop = pulp_solver._stop("X", status, solution)
            except BackendError:
                continue
            best = (status, solution) == (pulp.LpStatusOptimal, pulp.LpSolutionOptimal)
            assert (stop is BackendStop.PROVEN) is best


def test_every_status_of_cbc_is_translated():
    """The words stand in the program itself."""
    program = Path(pulp_cbc_path).read_bytes()
    stopped = {word.decode() for word in re.findall(rb"\0(Stopped on [a-z-]+)(?=\0)", program)}
    assert {word for word in cbc._STOPS if word.startswith("Stopped on")} == stopped
    for word in ("Unbounded", "Integer infeasible", "Status unknown", " (within gap tolerance)"):
        assert f"\0{word}\0".encode() in program
        assert any(word in known for known in cbc._STOPS)
    assert cbc._WITHOUT_POINT.encode() in program


@pytest.mark.parametrize("module", [highs, cbc, cpsat, glop])
def test_an_unknown_status_is_an_error(module):
    """As is every status that is neither an answer nor a proof."""
    unknown = "Something new"
    words = [unknown, *(word for word, stop in module._STOPS.items() if stop is None)]
    for word in words:
        with pytest.raises(BackendError, match="neither a solution nor a proof"):
            module._stop(_Ended(word) if module is highs else word)


class _Ended:
    """A HiGHS that ended with a status."""

    def __init__(self, name):
        self.name = name

    def getModelStatus(self):  # noqa: N802
        return self

    def modelStatusToString(self, status):  # noqa: N802
        return status.name


# -- names ----------------------------------------------------------------------------------


def test_unknown_backends_are_told():
    with pytest.raises(InputError, match=r"Unknown backend 'gurobi'. Known: highs, cbc, cp-sat"):
        backend_of("gurobi")


@pytest.mark.parametrize(
    ("name", "word"),
    [("nobody", "Unknown solver"), ("GUROBI_CMD", "does not find"), ("CHOCO_CMD", "cannot pass")],
)
def test_solvers_that_pulp_cannot_use_are_told(name, word):
    with pytest.raises(InputError, match=word):
        PulpBackend(name)


LIGHT = """
import sys
import solver
from tests.solver.hand_made import pipeline
report = solver.solve(pipeline())
heavy = {"pulp", "ortools"} & sys.modules.keys()
sys.exit(f"{report.status} {heavy}" if heavy or report.plan is None else 0)
"""


def test_the_fast_path_imports_no_other_solver():
    done = subprocess.run(
        [sys.executable, "-c", LIGHT],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stderr
