"""Scores of other tools, in the forms they come in."""

import json

import numpy as np
import pytest

from profiles.errors import TableError
from profiles.scores import read_scores
from profiles.token_ids import random_tokens, read_tokens

MODELOPT = {
    "candidate_stats": {
        "model.layers.0.self_attn.q_proj.quant_recipe": {
            "formats": ["INT4_AWQ_CFG(effective-bits: 4.0)", "NONE(effective-bits: 16.0)"],
            "scores": [0.25, 0.0],
            "costs": [1.0, 4.0],
        },
        "lm_head.quant_recipe": {
            "formats": ["INT4_AWQ_CFG(effective-bits: 4.0)"],
            "scores": [9.0],
            "costs": [1.0],
        },
    }
}
AUTOROUND = {
    "options": ["W4A16", {"bits": 3}, "BF16"],
    "total_scores": {
        "model.layers.1.mlp.down_proj": [
            [0, 4400, 0.5, ["model.layers.1.mlp.down_proj"]],
            [1, 3300, 2.0, ["model.layers.1.mlp.down_proj"]],
            [2, 16000, 0.0, ["model.layers.1.mlp.down_proj"]],
        ]
    },
}


@pytest.fixture
def read(tmp_path):
    """Reads a text as CSV, or data as JSON."""

    def go(content):
        path = tmp_path / ("s.csv" if isinstance(content, str) else "s.json")
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_scores(path)

    return go


def values(table):
    return [(each.layer, each.module, each.bits, each.score) for each in table.scores]


def test_a_table_with_modules_is_read(read):
    table = read("layer,module,bits,score\n0,q,4,0.5\n0,q,3,2\n1,q,4,1e-3\n")
    assert values(table) == [(0, "q", 4, 0.5), (0, "q", 3, 2.0), (1, "q", 4, 1e-3)]


def test_a_table_of_layers_is_read_and_noise_below_zero_is_none(read):
    assert values(read("bits,score,layer,note\n8,-1e-5,0,x\n")) == [(0, "", 8, 0.0)]


def test_the_state_of_modelopt_is_read(read):
    """The head is in no layer: it is left out, and told."""
    table = read(MODELOPT)
    assert values(table) == [(0, "self_attn.q_proj", 4, 0.25), (0, "self_attn.q_proj", 16, 0.0)]
    assert table.left_out == ("lm_head",)
    assert table.tool == "ModelOpt AutoQuantize"


def test_the_losses_of_autoround_are_read(read):
    module = "mlp.down_proj"
    assert values(read(AUTOROUND)) == [(1, module, 4, 0.5), (1, module, 3, 2.0), (1, module, 16, 0)]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("layer,bits\n0,4\n", "s.csv, line 1: Column score is missing"),
        ("layer,bits,score\n0,4,x\n", "s.csv, line 2: score is 'x'; it must be a finite number"),
        ("layer,bits,score\n0,4.5,1\n", "bits is 4.5; it must be a whole number from 1 to 16"),
        ("layer,bits,score\n-1,4,1\n", "layer is -1"),
        ("layer,bits,score\n0,4,1\n0,4,2\n", "It scores layer 0 at 4 bits twice; keep one"),
        ("layer,bits,score\n", "no scores of layers"),
        ({"a": 1}, "neither `candidate_stats`"),
        ({"candidate_stats": {"model.layers.0.x": {"formats": ["A"], "scores": [1]}}}, "'A'"),
        ({"candidate_stats": {"model.layers.0.x": {}}}, "not as expected"),
        ({"options": ["W4A16"], "total_scores": {"h.0.x": [[1, 0, 1.0, []]]}}, "option is 1"),
        ({"options": ["Q"], "total_scores": {}}, "Option 'Q' does not tell its bits"),
    ],
)
def test_others_are_refused(read, content, why):
    with pytest.raises(TableError, match=why):
        read(content)


# -- tokens -------------------------------------------------------------------------------------


def test_sequences_of_one_length_run_together(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("1 2 3\n4 5 6\n\n7 8\n")
    batches = read_tokens(path, vocab=9)
    assert [batch.tolist() for batch in batches] == [[[1, 2, 3], [4, 5, 6]], [[7, 8]]]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1 2\n3 9\n", "t.txt, line 2: '9' is no token; they are numbers from 0 to 8"),
        ("a b\n", "'a' is no token"),
        ("1\n", "a single token"),
        ("", "no tokens"),
    ],
)
def test_other_tokens_are_refused(tmp_path, text, why):
    path = tmp_path / "t.txt"
    path.write_text(text)
    with pytest.raises(TableError, match=why):
        read_tokens(path, vocab=9)


def test_random_tokens_are_about_ten_thousand_of_the_vocabulary():
    batches = random_tokens(48, 64, seed=1)
    assert sum(batch.size for batch in batches) == 10_240
    assert {int(token) for batch in batches for token in batch.flat} == set(range(48))
    np.testing.assert_array_equal(batches[0], random_tokens(48, 64, seed=1)[0])
