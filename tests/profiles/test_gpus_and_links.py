"""GPUs, the links between them, and what they cost."""

import csv
import os
from pathlib import Path

import pytest

from profiles.errors import InputError
from profiles.gpus import find_gpu, gpu_aliases, load_gpus
from profiles.links import default_link, find_link, load_links
from profiles.prices import default_price_usd_per_hour, load_prices


def test_every_gpu_names_a_link_that_exists():
    assert {gpu.link for gpu in load_gpus().values()} <= set(load_links())


def test_usual_names_mean_one_gpu_whatever_their_case():
    assert find_gpu("a100").name == find_gpu("A100-40G").name == "A100-40G-SXM"
    assert find_gpu("A100-80G").name == "A100-80G-SXM"
    assert find_gpu("V100").name == "V100-32G"
    assert find_gpu("H100").name == "H100-SXM"
    assert set(gpu_aliases().values()) <= set(load_gpus())
    assert not set(gpu_aliases()) & {name.lower() for name in load_gpus()}


def test_a_t4_holds_less_than_its_nominal_16_gib():
    assert find_gpu("T4").memory_bytes == round(14.57 * 2**30)
    assert find_gpu("T4").fp16_flops == 65e12


def test_gpus_without_int8_tensor_cores_have_no_int8_rate():
    assert find_gpu("V100-16G").int8_ops is None
    assert find_gpu("T4").int8_ops == 130e12


def test_an_unknown_gpu_is_refused_with_the_names_there_are():
    with pytest.raises(InputError, match=r"Unknown GPU 'B9000'. Known: T4, A10") as caught:
        find_gpu("B9000", "/cluster/gpus/0")
    assert caught.value.pointer == "/cluster/gpus/0"


def test_equal_gpus_are_joined_by_their_own_link():
    assert default_link([find_gpu("A100")] * 4).name == "nvlink-a100"


def test_mixed_gpus_meet_over_the_slowest_pcie_among_them():
    t4, a10, h100 = find_gpu("T4"), find_gpu("A10"), find_gpu("H100")
    assert default_link([h100, a10]).name == "pcie4-x16"
    assert default_link([h100, a10, t4]).name == "pcie3-x16"


def test_a_node_without_gpus_has_no_link():
    with pytest.raises(InputError, match="at least one GPU"):
        default_link([])


def test_links_are_in_bytes_and_seconds():
    """PCIe 3.0 x16 moves 15.75 GB/s one way, of which a transfer reaches 0.8."""
    link = find_link("pcie3-x16")
    assert link.bytes_per_s == pytest.approx(0.8 * 15.75e9)
    assert 1e-6 <= link.latency_s <= 1e-4


def test_prices_name_gpus_that_exist_and_mark_at_most_one_row_each():
    prices = load_prices()
    assert {price.gpu for price in prices} <= set(load_gpus())
    defaults = [price.gpu for price in prices if price.is_default]
    assert len(defaults) == len(set(defaults))
    assert set(defaults) == {price.gpu for price in prices}


def test_a_gpu_of_an_eight_gpu_node_costs_an_eighth_of_it():
    """A p4d.24xlarge costs 21.9576 dollars an hour, so each A100 2.7447."""
    price = default_price_usd_per_hour("A100-40G-SXM")
    assert price is not None
    assert price.instance == "p4d.24xlarge"
    assert price.usd_per_gpu_hour == pytest.approx(2.7447)


def test_a_gpu_without_a_known_price_has_none():
    assert default_price_usd_per_hour("A40") is None


def test_every_price_says_where_it_comes_from():
    assert all(price.source and price.usd_per_hour > 0 for price in load_prices())


def test_gpus_agree_with_the_published_datasheet_figures():
    folder = os.environ.get("HETPLAN_MEASUREMENTS", "")
    path = Path(folder) / "gpus.csv"
    if not folder or not path.is_file():
        pytest.skip("HETPLAN_MEASUREMENTS does not name the folder of published measurements")
    for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
        gpu = find_gpu(row["gpu"])
        assert gpu.fp16_flops == pytest.approx(float(row["fp16_tensor_tflops_dense"]) * 1e12)
        assert gpu.memory_bytes_per_s == pytest.approx(float(row["mem_gb_s"]) * 1e9)
        assert 0.85 < gpu.memory_bytes / (float(row["mem_gb"]) * 2**30) <= 1
