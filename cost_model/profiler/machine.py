"""Facts about the machine's processor: its name, caches, clock and memory."""

import ctypes
import os
import platform
from pathlib import Path

__all__ = [
    "cpu_cache_bytes",
    "cpu_clock_mhz",
    "cpu_name",
    "free_memory_bytes",
    "keep_freed_memory",
    "memory_bytes",
]

_CPU_INFO = Path("/proc/cpuinfo")
_MEM_INFO = Path("/proc/meminfo")
# Options of glibc's mallopt (malloc.h): one arena, no trimming below 1 GiB, mmap from 32 MiB on.
_KEEPING = {-8: 1, -1: 1 << 30, -3: 32 << 20}
_DEFAULT_CACHE_BYTES = 32 * 1024**2


def _field(path: Path, name: str, nth: int = 0) -> str | None:
    """The text behind the n-th line that begins with a name; None where there is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = [line.partition(":")[2].strip() for line in lines if line.startswith(name)]
    return found[nth] if nth < len(found) else None


def cpu_name() -> str:
    """What the processor calls itself."""
    return _field(_CPU_INFO, "model name") or platform.processor() or platform.machine()


def cpu_clock_mhz(core: int) -> float | None:
    """The clock of a core at this moment, as the system tells it; None where it does not."""
    text = _field(_CPU_INFO, "cpu MHz", core)
    return None if text is None else float(text)


def cpu_cache_bytes() -> int:
    """Bytes of the last-level cache; 32 MiB where the system does not tell."""
    name = "SC_LEVEL3_CACHE_SIZE"
    found = os.sysconf(name) if name in os.sysconf_names else 0
    return found if found > 0 else _DEFAULT_CACHE_BYTES


def memory_bytes() -> int:
    """Bytes of memory that the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def free_memory_bytes() -> int:
    """Bytes of memory that a program can still get without swapping."""
    text = _field(_MEM_INFO, "MemAvailable")
    kib = None if text is None else int(text.split()[0])
    return memory_bytes() // 2 if kib is None else kib * 1024


def keep_freed_memory() -> None:
    """
    Have the process keep memory that it frees, for good, as the allocators of engines do.

    Else a run may take twice as long whenever the system hands out its buffers anew, page by page.
    Where the C library has no such setting, nothing changes.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        for option, value in _KEEPING.items():
            set_option(option, value)
