"""How a CUDA GPU is timed, with a stand-in for ``torch.cuda``; no GPU is needed."""

import contextlib
import os
from types import SimpleNamespace

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'hetplan[torch]'")

from cost_model.profiler.bench import DoesNotFitError
from cost_model.profiler.torch_devices import CpuDevice, CudaDevice, find_device
from profiles.errors import InputError


class OutOfMemoryError(RuntimeError):
    """As ``torch.cuda.OutOfMemoryError``."""


class FakeCuda:
    """A GPU on which time passes only when a run says so, in milliseconds."""

    OutOfMemoryError = OutOfMemoryError

    def __init__(self, *, captures=True):
        self.now_ms, self.capturing, self.emptied = 0.0, False, 0
        self.captures, self.synchronised = captures, 0
        self.recorded = []

    def get_device_properties(self, _index):
        return SimpleNamespace(
            name="NVIDIA A10", major=8, minor=6, total_memory=1000, L2_cache_size=100
        )

    def run(self, ms):
        """A run of this length; while captured it is only recorded."""

        def run():
            if self.capturing:
                if not self.captures:
                    raise RuntimeError("operation not permitted when stream is capturing")
                self.recorded.append(ms)
            else:
                self.now_ms += ms

        return run

    def Event(self, enable_timing):  # noqa: N802
        assert enable_timing
        event = SimpleNamespace(at=None)
        event.record = lambda: setattr(event, "at", self.now_ms)
        event.elapsed_time = lambda end: end.at - event.at
        return event

    def Stream(self):  # noqa: N802
        return SimpleNamespace(wait_stream=lambda _other: None)

    current_stream = Stream

    def stream(self, _stream):
        return contextlib.nullcontext()

    def CUDAGraph(self):  # noqa: N802
        def replay():
            self.now_ms += sum(self.recorded)

        return SimpleNamespace(replay=replay)

    @contextlib.contextmanager
    def graph(self, _graph):
        self.capturing = True
        try:
            yield
        finally:
            self.capturing = False

    def synchronize(self):
        self.synchronised += 1

    def empty_cache(self):
        self.emptied += 1

    def mem_get_info(self, _index):
        return 400, 1000

    def memory_reserved(self, _index):
        return 300

    def memory_allocated(self, _index):
        return 100


def test_a_gpu_is_timed_by_its_events():
    """Runs of 2 ms: 40 ms are 20 of them, and each took 2 ms."""
    cuda = FakeCuda()
    timing = CudaDevice(0, cuda).timed([cuda.run(2.0)])
    assert timing.seconds == pytest.approx(2e-3)
    assert timing.runs == 20
    assert cuda.synchronised >= 2


def test_copies_take_turns_and_the_median_counts():
    """Copies of 1, 2 and 9 ms in turn: 2 ms."""
    cuda = FakeCuda()
    timing = CudaDevice(0, cuda).timed([cuda.run(1.0), cuda.run(2.0), cuda.run(9.0)])
    assert timing.seconds == pytest.approx(2e-3)


def test_a_run_becomes_a_graph_where_it_can():
    cuda = FakeCuda()
    replay = CudaDevice(0, cuda).prepared(cuda.run(3.0))
    before = cuda.now_ms
    replay()
    assert cuda.now_ms - before == 3.0
    assert cuda.recorded == [3.0]


def test_a_run_that_cannot_be_captured_runs_as_it_is():
    cuda = FakeCuda(captures=False)
    run = cuda.run(3.0)
    assert CudaDevice(0, cuda).prepared(run) is run


def test_running_out_of_memory_is_told_and_what_was_kept_is_freed():
    cuda = FakeCuda()

    def too_large():
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")

    with pytest.raises(DoesNotFitError, match=r"Tried to allocate 2 GiB$"):
        CudaDevice(0, cuda).timed([too_large])
    assert cuda.emptied == 1


def test_memory_that_is_kept_for_reuse_is_free():
    assert CudaDevice(0, FakeCuda()).free_bytes() == 400 + 300 - 100
    assert CudaDevice(0, FakeCuda()).compute_capability == 86


def test_a_cpu_is_pinned_and_given_back():
    before = os.sched_getaffinity(0)
    with CpuDevice() as device:
        assert os.sched_getaffinity(0) == {max(before)}
        assert device.facts()["threads"] == 1
    assert os.sched_getaffinity(0) == before


def test_more_threads_than_cores_are_refused():
    with pytest.raises(InputError, match="--threads is 1000"):
        CpuDevice(1000)


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(InputError, match=f"--device is '{name}'"):
        find_device(name)
