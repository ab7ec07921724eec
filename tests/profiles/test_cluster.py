"""The nouns of a request refuse values that make no sense."""

import pytest

from profiles.cluster import Cluster, EngineSettings, GpuGroup, Node, Workload
from profiles.errors import InputError
from profiles.gpus import find_gpu
from profiles.links import default_link, find_link


def node(name="box"):
    gpu = find_gpu("T4")
    return Node(
        name=name,
        groups=(GpuGroup(gpu=gpu, count=2),),
        link=default_link([gpu]),
        nic=find_link("ethernet-25g"),
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GpuGroup(gpu=find_gpu("T4"), count=0), "count of T4 is 0"),
        (lambda: GpuGroup(gpu=find_gpu("T4"), count=2, min_used=3), "min_used of T4 is 3"),
        (lambda: Cluster(nodes=()), "at least one"),
        (lambda: Cluster(nodes=(node(), node())), "each with its own name"),
        (lambda: Cluster(nodes=(node(),), tensor_parallel=(0, 1)), "1 or more"),
        (lambda: workload(batch_sizes=()), "batch_sizes is empty"),
        (lambda: workload(batch_sizes=(4, 0)), "batch_sizes is"),
        (lambda: workload(output_tokens=0), "output_tokens is 0"),
        (lambda: workload(num_requests=0), "num_requests is 0"),
        (lambda: workload(decode_micro_batches=(0,)), "decode_micro_batches is"),
        (lambda: EngineSettings(memory_fraction=1.5), "memory_fraction is 1.5"),
        (lambda: EngineSettings(reserve_bytes=-1), "reserve_bytes is -1"),
        (lambda: EngineSettings(kv_bits=4), "kv_bits is 4"),
    ],
)
def test_senseless_values_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


def workload(**fields):
    return Workload(**{"batch_sizes": (1,), "prompt_tokens": 8, "output_tokens": 8} | fields)
