"""The catalogue of links between GPUs: PCIe, NVLink, Ethernet, InfiniBand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from profiles.catalogue import look_up, read_rows
from profiles.errors import InputError
from profiles.gpus import Gpu
from profiles.units import GB, US

__all__ = ["Link", "default_link", "find_link", "load_links", "pcie_link", "pcie_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """
    What joins two GPUs, or two nodes.

    One all-reduce of S bytes over t GPUs takes
    ``all_reduce_latency_s + 2 (t - 1) / t * S / all_reduce_bytes_per_s`` seconds.

    Parameters
    ----------
    name
        Unique within the catalogue, or given by the user.
    bytes_per_s
        Effective bandwidth of one transfer in one direction.
    latency_s
        Seconds before the first byte of a transfer arrives.
    all_reduce_bytes_per_s, all_reduce_latency_s
        Coefficients of the formula above.
    source
        Where the figures come from.
    provenance
        ``measured``, ``interpolated`` or ``analytic``.
    """

    name: str
    bytes_per_s: float
    latency_s: float
    all_reduce_bytes_per_s: float
    all_reduce_latency_s: float
    source: str
    provenance: str

    def __post_init__(self) -> None:
        """Refuse a link that could move nothing."""
        for field in ("bytes_per_s", "all_reduce_bytes_per_s"):
            value = getattr(self, field)
            if not value > 0:
                raise InputError(f"{field} of link {self.name!r} is {value}; it must be positive.")
        for field in ("latency_s", "all_reduce_latency_s"):
            value = getattr(self, field)
            if not value >= 0:
                raise InputError(f"{field} of link {self.name!r} is {value}; it must be >= 0.")


def _link(row: Mapping[str, str]) -> Link:
    return Link(
        name=row["name"],
        bytes_per_s=float(row["gb_per_s"]) * GB,
        latency_s=float(row["latency_us"]) * US,
        all_reduce_bytes_per_s=float(row["all_reduce_gb_per_s"]) * GB,
        all_reduce_latency_s=float(row["all_reduce_latency_us"]) * US,
        source=f"{row['source']} ({row['basis']})",
        provenance=row["provenance"],
    )


@cache
def load_links() -> Mapping[str, Link]:
    """All links of the catalogue by name."""
    return {row["name"]: _link(row) for row in read_rows("links.csv")}


def find_link(name: str, pointer: str = "") -> Link:
    """
    The link of this name, whatever its case.

    Raises
    ------
    InputError
        When the catalogue has no such link; ``pointer`` says where the name stood.
    """
    return look_up(load_links(), {}, name, kind="link", pointer=pointer)


def pcie_link(gpu: Gpu) -> Link:
    """The PCIe link of a GPU: generation 3 up to Turing, 4 for Ampere and Ada, 5 from Hopper."""
    return pcie_of(gpu.compute_capability)


def pcie_of(compute_capability: int) -> Link:
    """The PCIe link usual with GPUs of a compute capability; 86 is sm86."""
    if compute_capability < 80:
        return find_link("pcie3-x16")
    return find_link("pcie4-x16" if compute_capability < 90 else "pcie5-x16")


def default_link(gpus: Sequence[Gpu]) -> Link:
    """
    What joins GPUs inside a node when the user does not say.

    Parameters
    ----------
    gpus
        Types of GPU in the node, at least one; repeats do no harm.

    Returns
    -------
    Link
        The type's own link if all are of one type, else the slowest PCIe among them.

    Raises
    ------
    InputError
        When there is no GPU.
    """
    if not gpus:
        raise InputError("A node without GPUs has no link; give it at least one GPU.")
    if len({gpu.name for gpu in gpus}) == 1:
        return find_link(gpus[0].link)
    return min((pcie_link(gpu) for gpu in gpus), key=lambda link: link.bytes_per_s)
