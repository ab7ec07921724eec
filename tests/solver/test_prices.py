"""Prices, and the choices of GPUs behind each."""

from itertools import product

import pytest

from solver.instance import Instance
from solver.prices import PriceLevels
from tests.solver.random_problems import random_problem


def whole(problem, levels):
    return Instance(
        problem=problem,
        batch=problem.batches[0],
        prefill=problem.batches[0].prefill[0],
        decode=problem.batches[0].decode[0],
        price_low=levels.lowest,
        price_high=levels.highest,
    )


def leaves(levels, instance):
    """What is left when every interval was halved to its end."""
    if levels.is_single(instance):
        return [instance]
    return [leaf for part in levels.parts(instance) for leaf in leaves(levels, part)]


def test_one_price_is_not_parted():
    problem = random_problem(11)
    levels = PriceLevels.of(problem)
    assert levels.is_single(whole(problem, levels))


@pytest.mark.parametrize("seed", [seed for seed in range(40) if seed != 11])
def test_every_choice_of_gpus_is_met_once_at_its_price(seed):
    """Whatever a plan uses lies in one part of the search, whose price is that of its GPUs."""
    problem = random_problem(seed, tensor_parallel=seed % 2 == 0)
    rents = problem.node_price_usd_per_hour
    levels = PriceLevels.of(problem)
    met = [leaf.gpus for leaf in leaves(levels, whole(problem, levels))]
    assert len(set(met)) == len(met)
    least = [
        min(g.tensor_parallel for g in problem.groups if g.device == d)
        for d in range(len(problem.devices))
    ]
    ranges = [[0, *range(n, d.count + 1)] for n, d in zip(least, problem.devices, strict=True)]
    asked = [d.min_used for d in problem.devices]
    expected = {
        gpus
        for gpus in product(*ranges)
        if any(gpus) and all(n >= k for n, k in zip(gpus, asked, strict=True))
    }
    assert set(met) == expected
    for leaf in leaves(levels, whole(problem, levels)):
        used = {d.node for d, n in zip(problem.devices, leaf.gpus, strict=True) if n}
        price = sum(rents[list(used)]) + sum(
            d.price_usd_per_hour * n for d, n in zip(problem.devices, leaf.gpus, strict=True)
        )
        assert leaf.price_low == pytest.approx(price)
        assert leaf.price_high == pytest.approx(price)
