"""The cluster of a request: from names and figures to the nouns of `profiles.cluster`."""

from collections import Counter
from functools import partial

from api.names import found
from api.prepared import PriceUse
from api.problems import ProblemList, pointer_to
from api.schemas.cluster import ClusterSpec, GpuGroupSpec, LinkSpec, NodeSpec, OwnGpuSpec
from profiles.cluster import Cluster, GpuGroup, Node
from profiles.errors import InputError, unknown_name
from profiles.gpus import Gpu, OwnGpus, find_gpu, load_gpus
from profiles.links import Link, default_link, find_link, load_links, pcie_of
from profiles.prices import default_price_usd_per_hour
from profiles.units import GB, GIB, TERA, US

__all__ = ["cluster_of", "own_gpus_of", "prices_of"]


_OTHER_GPUS = (
    "State any other GPU in cluster.own_gpus and bring a cost table (docs/profiling.md), or by its "
    "coefficients (kind: coefficients); `hetplan examples coefficients` shows how."
)
_OTHER_LINKS = "State any other link by its figures: {gb_per_s: ..., latency_us: ...}."


_OWN = "the user's own"
_TENTHS = 10


def own_gpus_of(spec: ClusterSpec) -> OwnGpus:
    """
    The GPUs of the user's own that a cluster states, by name.

    Raises
    ------
    InvalidRequestError
        When a name is one of the catalogue, or stands there twice; all are listed.
    """
    problems = ProblemList()
    own: dict[str, Gpu] = {}
    for position, each in enumerate(spec.own_gpus):
        with problems.catching(pointer_to("cluster", "own_gpus", position, "name")):
            _check_own_name(each.name, own)
            own[each.name] = _own_gpu(each)
    problems.raise_if_any()
    return own


def _check_own_name(name: str, own: OwnGpus) -> None:
    try:
        taken = find_gpu(name, own=own).name
    except InputError:
        return
    where = "own_gpus" if taken in own else f"the catalogue ({taken})"
    raise InputError(f"{name!r} is in {where} already; give it another name.")


def _own_gpu(spec: OwnGpuSpec) -> Gpu:
    capability = round(spec.compute_capability * _TENTHS)
    return Gpu(
        name=spec.name,
        architecture=_OWN,
        compute_capability=capability,
        memory_bytes=round(spec.memory_gib * GIB),
        memory_bytes_per_s=spec.memory_gb_per_s * GB,
        fp16_flops=spec.fp16_tflops * TERA,
        multiprocessors=1,  # no model asks for them: own tables alone price these
        int8_ops=None,
        link=pcie_of(capability).name,
        source="request",
    )


def cluster_of(spec: ClusterSpec) -> Cluster:
    """
    The cluster that a request describes.

    Raises
    ------
    InvalidRequestError
        When names are unknown or repeat, or numbers of GPUs contradict each other; all are listed.
    """
    problems = ProblemList()
    own = own_gpus_of(spec)
    names = [node.name for node in spec.nodes]
    for position, name in enumerate(names):
        if name in names[:position]:
            problems.add(
                pointer_to("cluster", "nodes", position, "name"),
                f"Node name {name!r} is taken already; give every node its own.",
            )
    nodes = []
    for position, node in enumerate(spec.nodes):
        pointer = pointer_to("cluster", "nodes", position)
        with problems.catching(pointer):
            nodes.append(_node(node, spec, own, pointer))
    between = _between(spec, names, problems)
    problems.raise_if_any()
    sizes = tuple(sorted(set(spec.tensor_parallel)))
    return Cluster(nodes=tuple(nodes), tensor_parallel=sizes, between=between)


def _node(spec: NodeSpec, cluster: ClusterSpec, own: OwnGpus, pointer: str) -> Node:
    problems = ProblemList()
    groups = []
    for position, group in enumerate(spec.gpus):
        with problems.catching(f"{pointer}/gpus/{position}"):
            groups.append(_group(group, spec, own, f"{pointer}/gpus/{position}"))
    for name, count in Counter(group.gpu.name for group in groups).items():
        if count > 1:
            problems.add(
                f"{pointer}/gpus", f"{name} is listed {count} times in one node; add up the counts."
            )
    nic = cluster.nic if spec.nic is None else spec.nic
    nic_pointer = "/cluster/nic" if spec.nic is None else f"{pointer}/nic"
    with problems.catching(pointer):
        network = _link(nic, f"network of {spec.name}", nic_pointer)
    with problems.catching(pointer):
        inside = (
            _link(spec.link, f"link in {spec.name}", f"{pointer}/link")
            if spec.link is not None
            else default_link([group.gpu for group in groups])
            if groups
            else None
        )
    problems.raise_if_any()
    if inside is None:
        raise InputError(f"Node {spec.name!r} has no usable GPU.", pointer=f"{pointer}/gpus")
    return Node(
        name=spec.name,
        groups=tuple(groups),
        link=inside,
        nic=network,
        price_usd_per_hour=spec.price_usd_per_hour,
    )


def _group(spec: GpuGroupSpec, node: NodeSpec, own: OwnGpus, pointer: str) -> GpuGroup:
    find = partial(find_gpu, own=own)
    gpu = found(find, spec.type, f"{pointer}/type", (*load_gpus(), *own), _OTHER_GPUS)
    if spec.max_used is not None and spec.max_used > spec.count:
        raise InputError(
            f"max_used is {spec.max_used}, but there are {spec.count}; lower it or leave it out.",
            pointer=f"{pointer}/max_used",
        )
    price = spec.price_usd_per_hour
    if price is None and node.price_usd_per_hour is None:
        listed = default_price_usd_per_hour(gpu.name)
        price = None if listed is None else listed.usd_per_gpu_hour
    return GpuGroup(
        gpu=gpu,
        count=spec.count,
        price_usd_per_hour=price,
        min_used=spec.min_used,
        max_used=spec.max_used,
    )


def _link(choice: str | LinkSpec, name: str, pointer: str) -> Link:
    if isinstance(choice, str):
        return found(find_link, choice, pointer, load_links(), _OTHER_LINKS)
    reduce_gb, reduce_us = choice.all_reduce_gb_per_s, choice.all_reduce_latency_us
    return Link(
        name=name,
        bytes_per_s=choice.gb_per_s * GB,
        latency_s=choice.latency_us * US,
        all_reduce_bytes_per_s=(choice.gb_per_s if reduce_gb is None else reduce_gb) * GB,
        all_reduce_latency_s=(choice.latency_us if reduce_us is None else reduce_us) * US,
        source="request",
        provenance="given",
    )


def _between(
    spec: ClusterSpec, names: list[str], problems: ProblemList
) -> dict[frozenset[str], Link]:
    links: dict[frozenset[str], Link] = {}
    for position, pair in enumerate(spec.links):
        pointer = pointer_to("cluster", "links", position)
        ends = frozenset(pair.between)
        with problems.catching(pointer):
            for name in pair.between:
                if name not in names:
                    raise unknown_name("node", name, names, pointer=f"{pointer}/between")
            if len(ends) < 2:
                raise InputError(
                    "A link joins two different nodes; for GPUs of one node set its `link`.",
                    pointer=f"{pointer}/between",
                )
            if ends in links:
                raise InputError(
                    f"Nodes {' and '.join(pair.between)} have a link already; drop one.",
                    pointer=f"{pointer}/between",
                )
            links[ends] = _link(pair.link, "-".join(pair.between), f"{pointer}/link")
    return links


def prices_of(spec: ClusterSpec, cluster: Cluster) -> tuple[PriceUse, ...]:
    """Prices in play, node by node; a GPU type without one is listed with None."""
    uses: list[PriceUse] = []
    for node_spec, node in zip(spec.nodes, cluster.nodes, strict=True):
        if node.price_usd_per_hour is not None:
            uses.append(
                PriceUse(
                    what=f"node {node.name}",
                    usd_per_hour=node.price_usd_per_hour,
                    basis="request, whole node",
                )
            )
            continue
        for group_spec, group in zip(node_spec.gpus, node.groups, strict=True):
            basis = _basis(group_spec, group)
            uses.append(
                PriceUse(what=group.gpu.name, usd_per_hour=group.price_usd_per_hour, basis=basis)
            )
    return tuple(dict.fromkeys(uses))


def _basis(spec: GpuGroupSpec, group: GpuGroup) -> str:
    if spec.price_usd_per_hour is not None:
        return "request"
    listed = default_price_usd_per_hour(group.gpu.name)
    if listed is None:
        return "unknown"
    date = f", {listed.date}" if listed.date else ""
    return f"{listed.cloud} {listed.instance}{date}"
