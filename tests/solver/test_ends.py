"""A solve that is cut off keeps its plan, says why it ended, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from solver import BackendName, Limits, Status, StopReason, StopRule, relative_gap, solve
from tests.solver.test_backends import children
from tests.solver.test_solve import big_problem

ROOT = Path(__file__).parents[2]
LIMITS = Limits(loss_nats=0.3)


def assert_honest(report, reason):
    """A plan, a bound below it, their gap, and the reason."""
    assert report.stop_reason is reason
    assert report.status is Status.FEASIBLE
    assert report.plan is not None
    assert 0 < report.bound < report.objective
    assert report.gap == pytest.approx(relative_gap(report.objective, report.bound))


@pytest.mark.parametrize("backend", list(BackendName), ids=str)
def test_cancelled(backend):
    before, begun = children(), time.monotonic()
    report = solve(
        big_problem(),
        limits=LIMITS,
        stop=StopRule(gap=0.0),
        cancelled=lambda: time.monotonic() - begun > 2,
        backend=backend,
    )
    assert_honest(report, StopReason.CANCELLED)
    assert children() == before


@pytest.mark.parametrize("backend", list(BackendName), ids=str)
def test_out_of_time(backend):
    before = children()
    stop = StopRule(gap=0.0, time_limit_s=2)
    report = solve(big_problem(), limits=LIMITS, stop=stop, backend=backend)
    assert_honest(report, StopReason.TIME_LIMIT)
    assert report.runtime_s < 8
    assert children() == before


# Memory is limited to what is in use once there is a plan and a bound, and little more.
SHORT_OF_MEMORY = """
import json, resource
from pathlib import Path
from solver import Limits, StopRule, relative_gap, solve
from tests.solver.hand_made import pipeline
from tests.solver.test_solve import big_problem

def limit(progress):
    if progress.gap is None or resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + 2 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))

solve(pipeline())  # what is loaded late is there now
report = solve(
    big_problem(),
    limits=Limits(loss_nats=0.3),
    stop=StopRule(gap=0.0, time_limit_s=120),
    on_progress=limit,
)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
honest = report.gap == relative_gap(report.objective, report.bound)
print(json.dumps([report.status, report.stop_reason, report.plan is not None, honest]))
"""


def test_out_of_memory():
    """With HiGHS; the others lack memory in tests/solver/test_backends.py."""
    done = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert json.loads(done.stdout) == ["feasible", "memory", True, True]


def folders_in_use():
    """Where processes work."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            found.add(str(link.readlink()))
        except OSError:
            continue
    return found


def test_ctrl_c_ends_cbc_too(tmp_path):
    """The command line prints its plan; no CBC and no file of it remain."""
    command = "from api.cli import main; main()"
    options = ("--backend", "cbc", "--gap", "0", "--format", "json")
    process = subprocess.Popen(
        [sys.executable, "-c", command, "plan", "examples/llama-2-70b.yaml", *options],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not any(str(tmp_path) in folder for folder in folders_in_use()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    answer = json.loads(process.communicate(timeout=60)[0])
    assert answer["stop_reason"] == "cancelled"
    assert answer["plan"] is not None
    assert not any(str(tmp_path) in folder for folder in folders_in_use())
    assert list(tmp_path.iterdir()) == []
