"""The nouns of a request refuse values that make no sense."""

import pytest

from profiles.cluster import Cluster, EngineSettings, GpuGroup, Node, Workload
from profiles.errors import InputError
from profiles.gpus import find_gpu
from profiles.lengths import LengthBucket
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
        (lambda: workload(lengths=(bucket(8, 8),) * 2), "sum to 2.0, not 1"),
        (lambda: workload(lengths=(bucket(9, 8),)), "prompt_tokens is 8, but the lengths have 9"),
        (lambda: workload(lengths=(bucket(8, 9),)), "output_tokens is 8, but the lengths have 9"),
        (lambda: Workload.mixed((), batch_sizes=(1,)), "lengths is empty"),
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


def bucket(prompt, output, weight=1.0):
    return LengthBucket(prompt_tokens=prompt, output_tokens=output, weight=weight)


def test_several_lengths_count_by_their_means_rounded_up():
    """Three parts of (100, 10) and one of (203, 11): 125.75 and 10.25 tokens."""
    served = Workload.mixed((bucket(100, 10, 6), bucket(203, 11, 2)), batch_sizes=(4,))
    assert (served.prompt_tokens, served.output_tokens) == (126, 11)
    assert [each.weight for each in served.buckets] == [0.75, 0.25]
    assert (served.longest_prompt_tokens, served.longest_output_tokens) == (203, 11)


def test_a_whole_mean_is_not_rounded_up():
    """Weights of a tenth do not sum to 1 in binary, but the mean of 3 and 3 is 3."""
    lengths = tuple(bucket(10 * each, 3, 0.1) for each in range(1, 11))
    served = Workload.mixed(lengths, batch_sizes=(1,))
    assert (served.prompt_tokens, served.output_tokens) == (55, 3)


def test_the_longest_request_need_not_have_the_longest_prompt():
    served = Workload.mixed((bucket(100, 10), bucket(90, 50)), batch_sizes=(1,))
    assert (served.longest_prompt_tokens, served.longest_tokens) == (100, 140)


def test_one_length_is_a_workload_of_equal_requests():
    served = Workload.mixed((bucket(8, 8, 3.0), bucket(8, 8)), batch_sizes=(1,))
    assert served == workload()
    assert served.buckets == (bucket(8, 8),)
