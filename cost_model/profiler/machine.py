"""Facts about the machine's processor: its name, caches, clock and memory."""

import os
import platform
from pathlib import Path

__all__ = ["cpu_cache_bytes", "cpu_clock_mhz", "cpu_name", "free_memory_bytes", "memory_bytes"]

_CPU_INFO = Path("/proc/cpuinfo")
_MEM_INFO = Path("/proc/meminfo")
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
