"""The backends by name, each imported when it is first asked for."""

from enum import StrEnum

from profiles.errors import unknown_name
from solver.linear import Backend

__all__ = ["BackendName", "backend_of"]


class BackendName(StrEnum):
    """Provers that need no licence."""

    HIGHS = "highs"  # the fast path
    CBC = "cbc"  # through PuLP
    CP_SAT = "cp-sat"  # of OR-Tools


def backend_of(choice: "str | Backend") -> Backend:
    """
    The backend of this name; a backend is returned as it is.

    Raises
    ------
    InputError
        For an unknown name, listing those that are known.
    """
    if not isinstance(choice, str):
        return choice
    if choice == BackendName.HIGHS:
        from solver.backends.highs import HighsBackend

        return HighsBackend()
    if choice == BackendName.CBC:
        from solver.backends.cbc import CbcBackend

        return CbcBackend()
    if choice == BackendName.CP_SAT:
        from solver.backends.cpsat import CpSatBackend

        return CpSatBackend()
    raise unknown_name("backend", choice, [str(name) for name in BackendName])
