"""Links of a machine's GPUs: from host memory to each and back, and from GPU to GPU."""

from collections.abc import Callable, Iterator

import torch

from cost_model.profiler.links import LinkFit, measure_copies

__all__ = ["measure_gpu_links"]


def measure_gpu_links() -> Iterator[LinkFit]:
    """Host to each GPU and back from pinned memory, then every pair of GPUs; none without GPUs."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for index in range(count):
        where = f"cuda:{index}"
        yield _measured(f"host to GPU {index}", "cpu", where)
        yield _measured(f"GPU {index} to host", where, "cpu")
    for one in range(count):
        for other in range(one + 1, count):
            yield _measured(f"GPU {one} to GPU {other}", f"cuda:{one}", f"cuda:{other}")


def _measured(name: str, source: str, target: str) -> LinkFit:
    def copy_of(size: int) -> Callable[[], object]:
        start, end = _buffer(size, source), _buffer(size, target)
        return lambda: end.copy_(start, non_blocking=True)

    def wait() -> None:
        for place in {source, target} - {"cpu"}:
            torch.cuda.synchronize(place)

    return measure_copies(name, copy_of, wait)


def _buffer(size: int, where: str) -> torch.Tensor:
    return torch.empty(size, dtype=torch.uint8, device=where, pin_memory=where == "cpu")
