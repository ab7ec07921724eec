"""Devices that PyTorch runs on: how long runs take there, and what the device is."""

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from time import perf_counter
from typing import Any, Protocol

import torch

from cost_model.profiler.bench import DoesNotFitError
from cost_model.profiler.machine import (
    cpu_cache_bytes,
    cpu_clock_mhz,
    cpu_name,
    free_memory_bytes,
    keep_freed_memory,
    memory_bytes,
)
from profiles.errors import InputError

__all__ = ["CpuDevice", "CudaDevice", "Device", "Timing", "find_device"]

Run = Callable[[], object]

_VISIT_S = 0.04
"""Least time of a stay, once warm."""
_FEWEST_RUNS, _MOST_RUNS = 3, 200
_LONG_RUN_S = 1.0
"""Runs as long as this are made once a stay: the stays repeat them."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Median seconds of the runs of a stay, and how many there were."""

    seconds: float
    runs: int


class Device(Protocol):
    """
    A device of the machine.

    Parameters
    ----------
    name
        As the device calls itself.
    where
        Its name in PyTorch.
    compute_capability
        Ten times the CUDA compute capability; 0 for a CPU.
    memory_bytes, cache_bytes
        All of its memory; its last-level cache.
    share
        Of the visits to an anchor, the fastest, that count; see `reading_of`.
    """

    name: str
    where: str
    compute_capability: int
    memory_bytes: int
    cache_bytes: int
    share: float

    def facts(self) -> Mapping[str, Any]:
        """What to note beside the numbers."""
        ...

    def free_bytes(self) -> int:
        """Memory that is free now."""
        ...

    def clock_mhz(self) -> float | None:
        """The clock at this moment; None where it is not told."""
        ...

    def prepared(self, run: Run) -> Run:
        """A run in the form in which it is timed."""
        ...

    def timed(self, runs: Sequence[Run]) -> Timing:
        """The time of one run; they are equal, and take turns to keep caches cold."""
        ...


def _as_many(runs: Sequence[Run], cold_s: float) -> Sequence[Run]:
    """The runs that take turns: one where it is so long that a warm cache saves it nothing."""
    return runs[:1] if cold_s >= _VISIT_S else runs


def _num_runs(first_s: float, num_different: int) -> int:
    """How many runs a stay makes, given how long the first took."""
    if first_s >= _LONG_RUN_S:
        return 1
    wanted = round(_VISIT_S / max(first_s, 1e-7))
    return min(max(wanted, _FEWEST_RUNS, num_different), _MOST_RUNS)


class CpuDevice:
    """
    The machine's processor, one thread pinned to one core by default.

    Parameters
    ----------
    threads
        Threads of PyTorch; each has a core of its own, the last ones that the process may use.

    Raises
    ------
    InputError
        When there are not that many cores.
    """

    def __init__(self, threads: int = 1) -> None:
        self.name = cpu_name()
        self.where = "cpu"
        self.compute_capability = 0
        self.memory_bytes = memory_bytes()
        self.cache_bytes = cpu_cache_bytes()
        self.share = 0.4
        cores = sorted(os.sched_getaffinity(0))
        if not 1 <= threads <= len(cores):
            raise InputError(
                f"--threads is {threads}, but this process may use {len(cores)} cores; give 1 to "
                f"{len(cores)}."
            )
        self._cores = cores[-threads:]

    def __enter__(self) -> "CpuDevice":
        """Pin the calling thread; threads that PyTorch starts for it inherit the cores."""
        self._before = os.sched_getaffinity(0), torch.get_num_threads()
        keep_freed_memory()
        os.sched_setaffinity(0, self._cores)
        torch.set_num_threads(len(self._cores))
        return self

    def __exit__(self, *_: object) -> None:
        """Give the cores back."""
        cores, threads = self._before
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)

    def facts(self) -> Mapping[str, Any]:
        """What to note beside the numbers."""
        return {
            "device": self.name,
            "threads": len(self._cores),
            "cores": self._cores,
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "cache_bytes": self.cache_bytes,
            "torch": torch.__version__,
        }

    def free_bytes(self) -> int:
        """Memory that is free now."""
        return free_memory_bytes()

    def clock_mhz(self) -> float | None:
        """The clock of the first core in use."""
        return cpu_clock_mhz(self._cores[0])

    def prepared(self, run: Run) -> Run:
        """The run as it is."""
        return run

    def timed(self, runs: Sequence[Run]) -> Timing:
        """Median by the monotonic clock, after a warm-up of every run."""
        with _refusing_large():
            runs = _as_many(runs, _seconds(runs[0]))
            for run in runs[1:]:
                run()
            first = _seconds(runs[0])
            count = _num_runs(first, len(runs))
            times = [_seconds(runs[turn % len(runs)]) for turn in range(count)]
        return Timing(median(times), count)


def _seconds(run: Run) -> float:
    start = perf_counter()
    run()
    return perf_counter() - start


class CudaDevice:
    """
    A CUDA GPU, timed by events on its stream.

    Parameters
    ----------
    index
        Its number.
    cuda
        ``torch.cuda``, or what stands in for it in a test.
    """

    def __init__(self, index: int = 0, cuda: Any = torch.cuda) -> None:  # noqa: ANN401
        self._cuda = cuda
        self._index = index
        facts = cuda.get_device_properties(index)
        self.name = facts.name
        self.where = f"cuda:{index}"
        self.compute_capability = 10 * facts.major + facts.minor
        self.memory_bytes = facts.total_memory
        self.cache_bytes = getattr(facts, "L2_cache_size", 0)
        self.share = 1.0

    def __enter__(self) -> "CudaDevice":
        """Make it the current device."""
        self._cuda.set_device(self._index)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave memory to others."""
        self._cuda.empty_cache()

    def facts(self) -> Mapping[str, Any]:
        """What to note beside the numbers."""
        return {
            "device": self.name,
            "compute_capability": self.compute_capability / 10,
            "memory_bytes": self.memory_bytes,
            "cache_bytes": self.cache_bytes,
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "driver": _nvidia_smi(self._index, "driver_version"),
            "power_limit_w": _nvidia_smi(self._index, "power.limit"),
        }

    def free_bytes(self) -> int:
        """Memory that is free now, that which PyTorch keeps for reuse counted in."""
        free, _ = self._cuda.mem_get_info(self._index)
        kept = self._cuda.memory_reserved(self._index) - self._cuda.memory_allocated(self._index)
        return int(free + kept)

    def clock_mhz(self) -> float | None:
        """The clock of the multiprocessors."""
        text = _nvidia_smi(self._index, "clocks.sm")
        return None if text is None else float(text)

    def prepared(self, run: Run) -> Run:
        """
        The run as a CUDA graph, as engines replay a decode step; as it is where it cannot be one.

        A graph leaves out what Python and PyTorch take to launch each kernel.
        """
        with _refusing_large(self._cuda.OutOfMemoryError, self._cuda.empty_cache):
            stream = self._cuda.Stream()
            stream.wait_stream(self._cuda.current_stream())
            with self._cuda.stream(stream):
                run()
                run()
            self._cuda.current_stream().wait_stream(stream)
            graph = self._cuda.CUDAGraph()
            try:
                with self._cuda.graph(graph):
                    run()
            except self._cuda.OutOfMemoryError:
                raise
            except RuntimeError:  # it holds what cannot be captured
                self._cuda.synchronize()
                return run
        return lambda: graph.replay()

    def timed(self, runs: Sequence[Run]) -> Timing:
        """Median by CUDA events, after a warm-up of every run."""
        with _refusing_large(self._cuda.OutOfMemoryError, self._cuda.empty_cache):
            runs = _as_many(runs, *self._events([runs[0]]))
            for run in runs[1:]:
                run()
            (first,) = self._events([runs[0]])
            count = _num_runs(first, len(runs))
            times = self._events([runs[turn % len(runs)] for turn in range(count)])
        return Timing(median(times), count)

    def _events(self, runs: Sequence[Run]) -> list[float]:
        marks = [self._cuda.Event(enable_timing=True) for _ in range(len(runs) + 1)]
        self._cuda.synchronize()
        marks[0].record()
        for run, mark in zip(runs, marks[1:], strict=True):
            run()
            mark.record()
        self._cuda.synchronize()
        return [start.elapsed_time(end) / 1e3 for start, end in pairwise(marks)]


def _nvidia_smi(index: int, query: str) -> str | None:
    """One figure that the driver tells of a GPU; None where it does not."""
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits", "-i"]
    try:
        told = subprocess.run(
            [*command, str(index)], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip() or None


@contextmanager
def _refusing_large(
    error_type: type[Exception] = MemoryError, free: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Turn running out of memory into `DoesNotFitError`."""
    try:
        yield
    except (MemoryError, error_type) as error:
        free()
        raise DoesNotFitError(str(error).partition("\n")[0] or "out of memory") from None
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise DoesNotFitError(str(error).partition("\n")[0]) from None


def find_device(name: str, threads: int = 1) -> CpuDevice | CudaDevice:
    """
    The device of a name.

    Parameters
    ----------
    name
        ``cpu``, ``cuda``, ``cuda:1`` and so on; ``auto`` is the first CUDA GPU, else the CPU.
    threads
        Of the CPU.

    Raises
    ------
    InputError
        When there is no such device.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not count):
        return CpuDevice(threads)
    kind, _, number = name.replace("auto", "cuda").partition(":")
    if kind != "cuda" or not (number or "0").isdecimal():
        raise InputError(f"--device is {name!r}; give cpu, cuda or cuda:1 and so on.")
    index = int(number or 0)
    if index >= count:
        raise InputError(
            f"--device is {name!r}, but PyTorch {torch.__version__} finds {count} CUDA GPUs; give "
            "--device cpu, or install a PyTorch with CUDA."
        )
    return CudaDevice(index)
