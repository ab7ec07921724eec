"""
Losses of layers against the measured losses of a decoder trained here (a quarter of an hour).

Ten layers, byte level, the source of Python's standard library, one thread; the design of the study
whose results `tests/cost_model/test_published_quality.py` reads. Calibration and judgement use
different bytes.
"""

import numpy as np
import pytest
from scipy.stats import spearmanr

from cost_model.llama_forward import LlamaDecoder
from cost_model.rounding import Rounding
from cost_model.sensitivity import SensitivityChoice, calibrated_omega, weights_omega
from profiles.checkpoint import read_checkpoint
from tests.checkpoints import displaced, llama_config, llama_tensors, write_checkpoint

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from tests.cost_model import small_decoder  # noqa: E402

STEPS, BATCH = 2500, 16
ROUNDING = Rounding(group_size=64)
CHOICE = SensitivityChoice(bits=(2, 3, 4, 8), rounding=ROUNDING)
CALIBRATION, JUDGEMENT = 80, 80  # sequences of 128 bytes
ACROSS = 40  # mixes of any budget
ONE_BUDGET = (3, 3, 3, 3, 4, 4, 4, 4, 8, 8)
ONE_BUDGET_FROM_2 = (2, 2, 3, 3, 3, 4, 4, 4, 8, 8)
PERMUTATIONS = 40


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads would wait for each other on a machine that others use too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_forward_is_the_one_that_is_trained(tmp_path):
    """Two programs, one model: the same loss from random weights, norms apart from one."""
    tensors = llama_tensors(small_decoder.CONFIG, seed=3)
    folder = write_checkpoint(tmp_path, small_decoder.CONFIG, tensors)
    decoder = LlamaDecoder(read_checkpoint(folder, "random"), ROUNDING)
    tokens = np.random.default_rng(0).integers(0, 256, (2, 17))
    weights = {name: torch.from_numpy(each.astype(np.float32)) for name, each in tensors.items()}
    expected = float(small_decoder.loss_of(weights, torch.from_numpy(tokens)))
    assert Judge(decoder, tokens).loss((16,) * decoder.num_layers) == pytest.approx(expected, 1e-5)


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_a_rounded_layer_alone_differs(tmp_path, family):
    """Grouped queries, biases and norms of heads included; unrounded, nothing differs."""
    config = llama_config(model_type=family)
    tensors = llama_tensors(config)
    rng = np.random.default_rng(1)
    for layer in range(3):
        start = f"model.layers.{layer}.self_attn"
        if family == "qwen2":
            widths = {"q": 64, "k": 32, "v": 32}
            tensors |= {f"{start}.{m}_proj.bias": rng.standard_normal(n) for m, n in widths.items()}
        if family == "qwen3":
            tensors |= {f"{start}.{m}_norm.weight": np.ones(16) for m in "qk"}
    checkpoint = read_checkpoint(write_checkpoint(tmp_path, config, tensors), "mine")
    decoder = LlamaDecoder(checkpoint, Rounding(group_size=32))
    state = decoder.embed(rng.integers(0, 48, (2, 12)))
    first = decoder.layer(0, state)
    assert decoder.kl_nats(first, first) == 0
    off = [decoder.kl_nats(first, decoder.layer(0, state, bits)) for bits in (2, 3, 4, 8)]
    assert off == sorted(off, reverse=True)
    assert off[-1] > 0


def test_a_later_token_changes_nothing_before_it(tmp_path):
    config = llama_config()
    checkpoint = read_checkpoint(write_checkpoint(tmp_path, config, llama_tensors(config)), "mine")
    decoder = LlamaDecoder(checkpoint, ROUNDING)
    tokens = np.array([[1, 2, 3, 4], [1, 2, 3, 40]])
    out = decoder.log_probabilities(decoder.layer(0, decoder.embed(tokens)))
    torch.testing.assert_close(out[0, :3], out[1, :3])
    assert not torch.allclose(out[0, 3], out[1, 3])


class Judge:
    """Measures the loss of mixes of widths on some bytes."""

    def __init__(self, decoder, tokens):
        self.decoder = decoder
        self.inputs = tokens[:, :-1]
        self.targets = torch.from_numpy(tokens[:, 1:])

    def loss(self, bits):
        """Mean loss in nats of a byte, with each layer at its width."""
        state = self.decoder.embed(np.ascontiguousarray(self.inputs))
        for layer, width in enumerate(bits):
            state = self.decoder.layer(layer, state, width)
        log_p = self.decoder.log_probabilities(state)
        return -float(log_p.gather(-1, self.targets[..., None]).mean())


class Remembering(LlamaDecoder):
    """The decoder with all rounded layers kept, as mixes use them again and again."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.kept = {}

    def _at(self, index, bits):
        if (index, bits) not in self.kept:
            self.kept[index, bits] = super()._at(index, bits)
        return self.kept[index, bits]


class Study:
    """The trained decoder, its losses of layers, and mixes of widths with measured losses."""

    def __init__(self, folder):
        self.checkpoint = read_checkpoint(folder, "small-decoder")
        self.decoder = Remembering(self.checkpoint, ROUNDING)
        seen, held = small_decoder.corpus()
        self.calibration = small_decoder.sequences(seen, CALIBRATION, seed=1)
        self.judge = Judge(self.decoder, small_decoder.sequences(held, JUDGEMENT, seed=2))
        rng = np.random.default_rng(3)
        layers = self.decoder.num_layers
        self.mixes = {
            "across from 2": rng.choice([2, 3, 4, 8], (ACROSS, layers)),
            "across": rng.choice([3, 4, 8, 16], (ACROSS, layers)),
            "one budget": [rng.permutation(ONE_BUDGET) for _ in range(PERMUTATIONS)],
            "one budget from 2": [rng.permutation(ONE_BUDGET_FROM_2) for _ in range(PERMUTATIONS)],
        }
        whole = self.judge.loss((16,) * layers)
        self.losses = {
            name: np.array([self.judge.loss(bits) - whole for bits in mixes])
            for name, mixes in self.mixes.items()
        }

    def calibrated(self, batches):
        return calibrated_omega(
            self.checkpoint, self.decoder, batches, CHOICE, tokens_text="bytes of text"
        )

    def rank(self, omega, name, order=None):
        """Spearman's correlation of predicted and measured; layers of omega in another order."""
        rows = range(omega.num_layers) if order is None else order
        predicted = [
            sum(omega.at(int(width))[row] for row, width in zip(rows, bits, strict=True))
            for bits in self.mixes[name]
        ]
        return spearmanr(predicted, self.losses[name]).statistic


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The decoder after a quarter of an hour of training."""
    folder = tmp_path_factory.mktemp("small-decoder")
    return Study(small_decoder.train(folder, steps=STEPS, batch=BATCH))


@pytest.fixture(scope="module")
def measured(study):
    """Losses measured with one layer rounded at a time."""
    return study.calibrated([study.calibration[:, :-1]])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.xfail(
    reason="0.90: on this decoder the widths alone reach 0.90, and rounding errors tell no more",
    strict=True,
)
@pytest.mark.parametrize("name", ["across from 2", "across"])
def test_rounding_errors_rank_mixes_across_budgets(study, name):
    omega = weights_omega(study.checkpoint, CHOICE)
    assert "last layer" not in omega.text
    assert study.rank(omega, name) >= 0.95


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("name", "least"),
    [("across from 2", 0.95), ("across", 0.95), ("one budget", 0.70), ("one budget from 2", 0.70)],
)
def test_calibrated_losses_rank_mixes_also_of_one_budget(study, measured, name, least):
    assert study.rank(measured, name) >= least


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_shuffled_losses_rank_nothing_of_one_budget(study, measured):
    """Every layer has the losses of another one: none of 200 such orders passes the test."""
    orders = displaced(measured.num_layers, 200)
    ranks = [study.rank(measured, "one budget", order) for order in orders]
    assert max(ranks) < 0.70
    assert np.mean(ranks) < 0.1
