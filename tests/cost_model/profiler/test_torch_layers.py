"""Layers and kernels that are measured: they compute what a layer computes, on the CPU."""

# ruff: noqa: E402 - what needs PyTorch is imported once that is known to be there

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is missing: pip install 'hetplan[torch]'")

from cost_model.profiler.bench import DoesNotFitError
from cost_model.profiler.campaign import Ranges, campaign
from cost_model.profiler.subjects import Place, Subject
from cost_model.profiler.torch_bench import TorchBench
from cost_model.profiler.torch_devices import CpuDevice
from cost_model.profiler.torch_kernels import TorchKernel, probe_kernels
from cost_model.profiler.torch_layers import DecoderLayer, KvCache
from profiles.architecture import LayerKind, Model
from profiles.errors import InputError
from profiles.gpus import Gpu, find_gpu

KIND = LayerKind(name="decoder", hidden=64, heads=4, kv_heads=2, head_dim=16, ffn=128, gated=True)
CPU = Gpu(
    name="CPU",
    architecture="",
    compute_capability=0,
    memory_bytes=1,
    memory_bytes_per_s=1.0,
    fp16_flops=1.0,
    multiprocessors=1,
    int8_ops=None,
    link="pcie3-x16",
    source="",
)
KEY = ("torch", "fp32", "w32a32")


def kernel_of(name):
    (found,) = [p for p in probe_kernels(CpuDevice(), CPU, "torch") if p.name == name]
    assert found.kernel is not None, found.refusal
    return found.kernel


def model_of(*kinds):
    return Model(
        name="tiny",
        hidden=64,
        vocab=256,
        tied_embeddings=False,
        learned_positions=0,
        kinds=kinds,
        layer_kinds=tuple(range(len(kinds))),
        pretrained=False,
        source="",
    )


def subject(phase="prefill", kind="decoder", tp=1):
    engine, kernel, form = KEY
    return Subject(layer_kind=kind, engine=engine, kernel=kernel, format=form, tp=tp, phase=phase)


@pytest.mark.parametrize("name", ["bf16", "fp16", "fp32", "int-mm", "int8pack", "int4pack"])
def test_kernels_of_a_cpu_multiply_right(name):
    """Each is probed against the exact product; one that were wrong would be refused."""
    assert kernel_of(name).name == name


def test_a_kernel_that_multiplies_wrong_is_refused(monkeypatch):
    def wrong(weight):
        return lambda rows: 1.3 * torch.nn.functional.linear(rows, weight)

    kernel = TorchKernel(
        engine="torch", name="fp32", format="w32a32", dtype=torch.float32, maker=wrong
    )
    monkeypatch.setattr("cost_model.profiler.torch_kernels.torch_kernels", lambda: (kernel,))
    (probe,) = probe_kernels(CpuDevice(), CPU, "torch")
    assert probe.kernel is None
    assert probe.refusal == "its product is off by 30.0% of random numbers"


def test_what_is_not_installed_is_refused_with_the_reason(monkeypatch):
    """vLLM's kernels as if this were an A10: the library is not there, or its op fails."""
    by_name = {p.name: p for p in probe_kernels(CpuDevice(), find_gpu("A10"), "vllm")}
    assert by_name["cutlass-int8"].kernel is None
    assert by_name["cutlass-int8"].refusal
    assert by_name["cublas"].kernel is not None


def test_decode_goes_on_where_prefill_ended():
    """The last token of a prompt of 9: the same row from prefill, and from a cache of 8 and it."""
    layer = DecoderLayer(KIND, 1, kernel_of("fp32"), "cpu")
    caught = {}

    def attend(query, key, value):
        caught["keys"], caught["values"] = key, value
        return torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, enable_gqa=True
        )

    hidden = torch.randn(9, 64, generator=torch.Generator().manual_seed(0))
    layer._random = lambda *shape: hidden[-shape[0] :]
    whole = layer._run(1, 9, torch.arange(9), attend)()
    cache = KvCache(KIND, 1, 1, 9, layer.cache_dtype, "cpu")
    cache.keys[:], cache.values[:] = caught["keys"], caught["values"]
    cache.keys[:, :, -1], cache.values[:, :, -1] = 0, 0
    (last,) = layer.decode(cache, 9)()
    assert torch.allclose(last, whole[-1], atol=1e-4)


def test_a_window_hides_what_lies_before_it():
    """In blocks, as with one mask over the whole prompt of 13 tokens."""
    windowed = replace(KIND, window=4)
    layer = DecoderLayer(windowed, 1, kernel_of("fp32"), "cpu")
    back = torch.arange(13)[:, None] - torch.arange(13)
    mask = (back >= 0) & (back < 4)

    def attend(query, key, value):
        return torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, enable_gqa=True
        )

    whole = layer._run(1, 13, torch.arange(13), attend)()
    assert torch.allclose(layer.prefill(1, 13)(), whole, atol=1e-5)


def test_a_token_goes_to_its_experts_alone():
    """8 experts, 2 per token: one token touches 2, and 64 tokens all 8."""
    kind = replace(KIND, num_experts=8, experts_per_token=2)
    layer = DecoderLayer(kind, 1, kernel_of("fp32"), "cpu")
    assert len(layer._routes(1)) == 2
    routes = layer._routes(64)
    assert len(routes) == 8
    assert sum(len(rows) for _, rows in routes) == 128
    assert layer.prefill(2, 5)().shape == (10, 64)


@pytest.mark.parametrize("kind", ["decoder", "embedding", "lm_head"])
@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_everything_runs_in_parts_too(kind, phase):
    """As one GPU of two: 2 heads and one head of keys, half the inner width."""
    bench = TorchBench(device=CpuDevice(), model=model_of(KIND), kernels={KEY: kernel_of("fp32")})
    visit = bench.visit(subject(phase, kind, tp=2), Place(2, 8))
    assert visit.seconds > 0
    assert visit.runs >= 3


def test_what_does_not_fit_is_not_tried():
    """A cache of 10^9 tokens for each of 1000 requests."""
    bench = TorchBench(device=CpuDevice(), model=model_of(KIND), kernels={KEY: kernel_of("fp32")})
    with pytest.raises(DoesNotFitError, match="GB are needed"):
        bench.visit(subject("decode"), Place(1000, 10**9))


def test_a_campaign_measures_each_kind_once_and_the_ends_at_16_bits():
    local = replace(KIND, name="local", window=4)
    ranges = Ranges(batch=(1, 4), prompt_tokens=(8, 16), context_tokens=(8, 32), tp=(1, 4))
    spans, notes = campaign(
        model_of(KIND, local), [(("torch", "bf16", "w16a16"), None), (KEY, None)], ranges
    )
    kinds = [each.layer_kind for each in spans]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "decoder": 8,  # 2 kernels, 2 phases, 2 sizes
        "local": 8,
        "embedding": 4,  # one kernel, 2 phases, 2 sizes
        "lm_head": 2,
    }
    assert not notes


def test_a_kernel_whose_groups_do_not_fit_is_left_out():
    ranges = Ranges(batch=(1, 4), prompt_tokens=(8, 16), context_tokens=(8, 32))
    spans, (note,) = campaign(model_of(KIND), [(("torch", "int4pack", "w4a16"), 128)], ranges)
    assert not spans
    assert "a width of 64" in note


def test_a_range_that_holds_nothing_is_refused():
    with pytest.raises(InputError, match="batch is 4-1"):
        Ranges(batch=(4, 1), prompt_tokens=(1, 1), context_tokens=(1, 1))
