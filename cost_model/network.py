"""Seconds between stages, by the nodes they are on."""

from dataclasses import replace

import numpy as np

from cost_model.arrays import FloatArray, IntArray
from cost_model.communication import (
    decode_boundary_bytes,
    occupancy_s,
    prefill_boundary_bytes,
    return_bytes,
    transfer_s,
)
from profiles.cluster import Cluster, Node, Workload
from profiles.links import Link

__all__ = ["link_between", "network_times"]


def link_between(cluster: Cluster, here: Node, there: Node) -> Link:
    """
    What joins two nodes.

    Within a node its own link; else the link given for the pair, or the narrower of the two
    network cards with the longer of their latencies.
    """
    if here.name == there.name:
        return here.link
    own = cluster.between.get(frozenset((here.name, there.name)))
    if own is not None:
        return own
    narrow = min(here.nic, there.nic, key=lambda nic: nic.bytes_per_s)
    return replace(narrow, latency_s=max(here.nic.latency_s, there.nic.latency_s))


def network_times(
    cluster: Cluster, hidden: int, workload: Workload, sizes: IntArray
) -> dict[str, FloatArray]:
    """
    Seconds of one micro-batch from node to node.

    Parameters
    ----------
    cluster, workload
        What is asked.
    hidden
        Width of the residual stream.
    sizes
        Micro-batch sizes, shape (M,).

    Returns
    -------
    dict
        ``prefill_link_s``, ``decode_link_s``, ``return_link_s`` until it has arrived, and
        ``..._occupancy_s`` for which the link is busy; each of shape (U, U, M).
    """
    sent = {
        "prefill": prefill_boundary_bytes(hidden, sizes, workload.prompt_tokens),
        "decode": decode_boundary_bytes(hidden, sizes),
        "return": return_bytes(sizes),
    }
    links = [[link_between(cluster, u, v) for v in cluster.nodes] for u in cluster.nodes]
    times = {}
    for phase, num_bytes in sent.items():
        times[f"{phase}_link_s"] = np.array(
            [[transfer_s(link, num_bytes) for link in row] for row in links]
        )
        times[f"{phase}_occupancy_s"] = np.array(
            [[occupancy_s(link, num_bytes) for link in row] for row in links]
        )
    return times
