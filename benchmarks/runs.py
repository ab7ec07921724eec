"""Measure families: every instance in a process of its own, one after the other."""

import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.instances import Family, Instance
from benchmarks.results import FamilyResult, Measured, read_measured

__all__ = ["PACKAGES", "described", "run_family"]

ROOT = Path(__file__).parent.parent
PACKAGES = ("hetplan", "highspy", "pulp", "ortools", "numpy")
# Building and leaving may take this long beside the searches.
GRACE_S = 60.0


def run_family(family: Family, *, quick: bool, tell: Callable[[str], None]) -> FamilyResult:
    """
    Measure a family.

    Parameters
    ----------
    family, quick
        The family, cut down already where ``quick`` is set.
    tell
        Called with a line on every instance measured.
    """
    measured = []
    for instance in family.instances:
        for backend in family.backends:
            measured.append(_apart(family, instance, backend, quick=quick))
            tell(_line(measured[-1]))
    return described(family.name, tuple(measured))


def described(family: str, measured: tuple[Measured, ...]) -> FamilyResult:
    """A result with today's date, this commit, this machine and these versions."""
    return FamilyResult(
        family=family,
        date=datetime.now(tz=UTC).date().isoformat(),
        commit=commit(),
        machine=f"{processor()}, Python {platform.python_version()}",
        versions={package: version(package) for package in PACKAGES},
        measured=measured,
    )


def _apart(family: Family, instance: Instance, backend: str, *, quick: bool) -> Measured:
    command = [sys.executable, "-m", "benchmarks.measure", family.name, instance.name, backend]
    limit_s = GRACE_S + family.num_searches * (family.time_limit_s + GRACE_S)
    failure = f"no end within {limit_s:.0f} s"
    try:
        ended = subprocess.run(
            [*command, *(["--quick"] if quick else [])],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Measured(instance=instance.name, backend=backend, failure=failure)
    if ended.returncode == 0:
        return read_measured(json.loads(ended.stdout.splitlines()[-1]))
    last = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
    return Measured(
        instance=instance.name, backend=backend, size=instance.size, failure=last.split(":")[0]
    )


def _line(measured: Measured) -> str:
    runs = "; ".join(_run_texts(measured)) or f"failed: {measured.failure}"
    return f"{measured.instance} ({measured.backend}): {runs}"


def _run_texts(measured: Measured) -> Iterator[str]:
    for run in measured.runs:
        gap = "" if run.gap is None else f" gap {run.gap:.4%}"
        yield f"asked {run.asked:.2%}: {run.cpu_s:.2f} s{gap}"


def commit() -> str:
    """Short hash of the commit, with ``+`` where files differ from it; empty without git."""
    try:
        return _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*arguments: str) -> str:
    ended = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return ended.stdout.strip()


def processor() -> str:
    """Name of the processor."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), platform.processor() or platform.machine())
