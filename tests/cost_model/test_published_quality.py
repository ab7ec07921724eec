"""
Losses of layers against published and studied results (the folder that HETPLAN_QUALITY names).

GGUF types of whole models, of single tensors and of mixed recipes; a small decoder with every layer
rounded alone and 220 mixes of widths.
"""

import csv
import os
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from cost_model.layer_divergence import calibrated, needed_passes
from cost_model.omega import anchored
from cost_model.scores import carried_score, without_noise
from tests.checkpoints import displaced

MODELS = (
    "Qwen3-4B-Instruct-2507",
    "Qwen3.5-0.8B",
    "Qwen3.5-4B",
    "Qwen3.5-27B",
    "Qwen3.6-27B",
)
# No curve of Qwen3-4B is published; that of the next model of its size stands in.
CURVE_OF = {"Qwen3-4B-Instruct-2507": "Qwen3.5-4B"}
NOISE_PERCENTILE = 5
WIDTHS = (2, 3, 4, 8)


def rows(name):
    folder = os.environ.get("HETPLAN_QUALITY", "")
    path = Path(folder) / name
    if not folder or not path.is_file():
        pytest.skip("HETPLAN_QUALITY does not name the folder of published quality data")
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


# -- imported scores of tensors -----------------------------------------------------------------


@cache
def curve(model):
    """Divergence of the whole model by GGUF type, nats."""
    wanted = CURVE_OF.get(model, model)
    return {
        row["qtype"].lower(): float(row["kld_nats"])
        for row in rows("kld_by_qtype.csv")
        if row["model"] == wanted
    }


@cache
def tensor_scores(model):
    """By tensor and type: divergence with that tensor alone in it, less the noise floor."""
    scores = defaultdict(dict)
    for row in rows("per_layer.csv"):
        if row["model"] == model and row["metric"] == "kld_nats_single_tensor":
            layer = int(row["layer"])
            name = row["module"] if layer < 0 else f"blk.{layer}.{row['module']}"
            scores[name][row["qtype"].lower()] = float(row["value"])
    return dict(zip(scores, without_noise(scores.values(), NOISE_PERCENTILE), strict=True))


@cache
def recipes(model):
    """Bits per weight, perplexity and predicted loss of each mixed recipe, distinct ones only."""
    types = defaultdict(list)
    for row in rows("mixed_recipe_tensors.csv"):
        types[row["recipe_id"]].append((row["tensor"], row["qtype"].lower()))
    found = {}
    for row in rows("mixed_recipes.csv"):
        if row["model"] == model:
            tensors = types[row["recipe_id"]]
            loss = sum(
                carried_score(tensor_scores(model)[name], each, curve(model))
                for name, each in tensors
            )
            values = (float(row["bits_per_weight"]), float(row["ppl_wikitext2_ctx512"]), loss)
            found.setdefault(frozenset(tensors), values)
    return np.array(list(found.values()))


def share_in_order(predicted_by):
    """Share of pairs at equal bits per weight (within 2 %) that the prediction orders rightly."""
    right = []
    for model in MODELS:
        values = recipes(model)
        for one in range(len(values)):
            for other in range(one):
                bits = values[[one, other], 0]
                if bits.max() / bits.min() - 1 <= 0.02:
                    measured = values[one, 1] - values[other, 1]
                    predicted = predicted_by(values[one]) - predicted_by(values[other])
                    right.append(measured * predicted > 0)
    return np.mean(right), len(right)


def test_scores_of_tensors_order_recipes_of_equal_size():
    """Fourteen pairs or so; bits per weight alone, the more the better, orders one in five."""
    share, pairs = share_in_order(lambda values: values[2])
    by_bits, _ = share_in_order(lambda values: -values[0])
    assert pairs >= 13
    assert share >= 0.85
    assert by_bits <= 0.25


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(
            name,
            marks=pytest.mark.xfail(
                strict=True,
                reason="0.964: of seven recipes, two within 1 % of perplexity are the wrong way",
            )
            if name == "Qwen3.5-0.8B"
            else (),
        )
        for name in MODELS
    ],
)
def test_scores_of_tensors_rank_recipes(model):
    values = recipes(model)
    assert spearmanr(values[:, 1], values[:, 2]).statistic >= 0.97


# -- the study of a small decoder ---------------------------------------------------------------


@cache
def singles(column):
    """Of each of 10 layers at 2, 3, 4 and 8 bits, shape (10, 4)."""
    values = {(row["layer"], row["bits"]): float(row[column]) for row in rows("study_single.csv")}
    return np.array([[values[str(layer), str(bits)] for bits in WIDTHS] for layer in range(10)])


@cache
def mixes(name):
    """Widths of the layers, shape (mixes, 10), and measured losses of a set."""
    chosen = [row for row in rows("study_mixed.csv") if row["set"].startswith(name)]
    bits = np.array([row["bits_of_layers_0_to_9"].split() for row in chosen], dtype=int)
    return bits, np.array([float(row["delta_loss_nats"]) for row in chosen])


def predicted(omega, bits):
    padded = np.column_stack([omega, np.zeros(len(omega))])
    columns = np.searchsorted((*WIDTHS, 16), bits)
    return padded[np.arange(len(omega)), columns].sum(axis=1)


def rank(omega, name):
    bits, losses = mixes(name)
    return spearmanr(predicted(omega, bits), losses).statistic


def weights_only():
    return anchored(singles("t2"), WIDTHS, anchor_nats=0.01, last_layer=1.0)


def measured_singly():
    passes = [WIDTHS.index(bits) for bits in needed_passes(WIDTHS)]
    return calibrated(singles("kl_nats")[:, passes], singles("t2"), WIDTHS)


@pytest.mark.parametrize("name", ["A", "B"])
def test_rounding_errors_rank_mixes_across_budgets(name):
    assert rank(weights_only(), name) >= 0.95


@pytest.mark.parametrize(("name", "least"), [("A", 0.95), ("B", 0.95), ("C", 0.70), ("D", 0.70)])
def test_calibrated_losses_rank_mixes_also_of_one_budget(name, least):
    assert rank(measured_singly(), name) >= least


@pytest.mark.parametrize("name", ["C", "D"])
def test_shuffled_losses_rank_nothing_of_one_budget(name):
    """Every layer has the losses of another one: none of 200 such orders passes the test."""
    ranks = [rank(measured_singly()[order], name) for order in displaced(10, 200)]
    assert max(ranks) < 0.70
    assert np.mean(ranks) < 0.1


def test_two_bits_need_a_pass_of_their_own():
    """Carried over from 3 bits they rank mixes with 2 bits worse than measured."""
    own = measured_singly()
    at_three = WIDTHS.index(3)
    carried = singles("kl_nats")[:, [at_three]] * singles("t2") / singles("t2")[:, [at_three]]
    assert rank(carried, "D") < 0.70 < rank(own, "D")


def test_losses_add_up_from_three_bits_on():
    """Sums of single divergences against measured losses, no scale fitted: within 1.3 times."""
    bits, losses = mixes("C")
    ratio = losses / predicted(measured_singly(), bits)
    assert 1 / 1.3 < np.median(ratio) < 1.3
