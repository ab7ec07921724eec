"""Coefficients of vLLM for every shipped GPU and kernel, carried over where none were measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import geometric_mean

from benchmarks.calibration.classes import LOW_POWER, class_coefficients
from profiles.coefficients import Coefficients
from profiles.gpus import Gpu, load_gpus
from profiles.kernels import Kernel, load_kernels

__all__ = [
    "NOT_HELD_OUT",
    "KernelRatio",
    "full_kernels",
    "low_bit_kernels",
    "pascal_kernels",
    "shipped_pairs",
]

_TOP_SHARE = 0.97
NOT_HELD_OUT = ""  # until `intervals` finds what stands in
TENSOR_CORES_FROM = 70  # compute capability
_PRODUCTS_PER_LAYER = 4  # QKV, attention output, gate and up, down
SIBLINGS = {
    "A100-40G-PCIe": "A100-40G-SXM",
    "A100-80G-PCIe": "A100-80G-SXM",
    "A6000": "A40",
    "H100-PCIe": "H100-SXM",
    "H200": "H100-SXM",
    "V100-16G": "V100-32G",
}
# Share of an A10G's 70 TFLOP/s in 256-token prefills, llm-perf-leaderboard.
A10G_COMPUTE_SHARE = 0.62
# The int8 tensor cores of a T4 make prefill 1.5-1.65 times as fast as fp16 ones (LLM-PQ), not
# twice: 0.8 of the fp16 share, since its 70 W bind. The L4 has 72 W.
LOW_POWER_INT8_RATIO = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelRatio:
    """
    What a low-bit kernel reaches beside the 16-bit one of the same GPU.

    Parameters
    ----------
    compute, memory
        Ratio of the reachable shares of peak.
    overhead_s
        Extra seconds per matrix product.
    half_tokens
        Rows at which compute reaches half of its share, where more than with 16 bits.
    narrow_factor, input_factor
        Of the kernel itself; None for those of 16 bits.
    fitted, on_gpu, fitted_on
        Fit behind the numbers and the GPU and data it comes from; ``fitted`` None where the
        ratios are assumed.
    """

    compute: float
    memory: float
    overhead_s: float = 0.0
    half_tokens: float = 0.0
    narrow_factor: float | None = None
    input_factor: float | None = None
    fitted: Coefficients | None = None
    on_gpu: str = ""
    fitted_on: str = ""

    @classmethod
    def between(cls, low: Coefficients, full: Coefficients, fitted_on: str) -> "KernelRatio":
        """The ratio of two fits to matrix products on one GPU."""
        memory = low.memory_share / full.memory_share
        compute = low.compute_share / full.compute_share
        # Above 1 a weight-only kernel would beat the tensor cores it feeds, or the low-bit
        # matrix sat in the L2 cache, where a whole model's does not.
        int8_activations = low.format in ("w8a8", "fp8")
        return cls(
            compute=compute if int8_activations else min(compute, 1.0),
            memory=min(memory, 1.0),
            overhead_s=max(low.layer_overhead_s - full.layer_overhead_s, 0.0),
            narrow_factor=low.narrow_factor,
            input_factor=low.input_factor,
            fitted=low,
            on_gpu=low.gpu,
            fitted_on=fitted_on,
        )


def shipped_pairs(engine: str) -> list[tuple[Gpu, Kernel]]:
    """Every GPU of the catalogue with every kernel of an engine that runs on it."""
    kernels = [kernel for kernel in load_kernels() if kernel.engine == engine]
    return [(gpu, k) for gpu in load_gpus().values() for k in kernels if k.runs_on(gpu)]


def _unmeasured(coefficients: Coefficients, **changes: object) -> Coefficients:
    """A copy for which no point of its own speaks."""
    return replace(
        coefficients,
        num_points=0,
        decode_mape=None,
        prefill_mape=None,
        decode_p90=None,
        prefill_p90=None,
        interval_basis=NOT_HELD_OUT,
        **changes,  # type: ignore[arg-type]
    )


def full_kernels(
    fitted: Mapping[str, Coefficients],
    products: Mapping[str, Coefficients],
    attention: Mapping[str, Coefficients],
) -> dict[str, Coefficients]:
    """
    The 16-bit kernels of vLLM by GPU.

    Parameters
    ----------
    fitted
        Fits to layers.
    products
        Fits to matrix products alone.
    attention
        Fits to attention kernels.
    """
    found = dict(fitted)
    both = [gpu for gpu in ("A100-80G-SXM", "H100-SXM") if gpu in fitted and gpu in products]
    for gpu in ("A10", "L40S"):
        found[gpu] = _from_products(
            products[gpu],
            found["A40"],
            attention.get(gpu),
            {
                share: geometric_mean(
                    getattr(fitted[each], share) / getattr(products[each], share) for each in both
                )
                for share in ("compute_share", "memory_share")
            },
        )
    found["A10G"] = _unmeasured(
        found["A10"],
        gpu="A10G",
        compute_share=A10G_COMPUTE_SHARE,
        basis="scaled from A10; compute share: llm-perf-leaderboard, A10G",
    )
    for gpu, sibling in SIBLINGS.items():
        scaled = _unmeasured(found[sibling], gpu=gpu, basis=f"scaled from {sibling}")
        found[gpu] = _with_attention(scaled, attention.get(gpu))
    return found | _of_classes(fitted, found)


def _of_classes(
    fitted: Mapping[str, Coefficients], found: Mapping[str, Coefficients]
) -> dict[str, Coefficients]:
    """The rest of the catalogue, but for Pascal, which has no tensor cores."""
    missing = [gpu for gpu in load_gpus().values() if gpu.name not in found]
    like = next(iter(fitted.values()))
    return {
        gpu.name: _unmeasured(
            class_coefficients(gpu, like, fitted), basis="means of the GPUs of its classes"
        )
        for gpu in missing
        if gpu.compute_capability >= TENSOR_CORES_FROM
    }


def _from_products(
    product: Coefficients,
    sibling: Coefficients,
    attention: Coefficients | None,
    layer_over_product: Mapping[str, float],
) -> Coefficients:
    """A layer's coefficients from matrix products; what those leave open is the sibling's."""
    shares = {name: getattr(product, name) * r for name, r in layer_over_product.items()}
    scaled = _unmeasured(
        sibling,
        gpu=product.gpu,
        half_tokens=product.half_tokens,
        sharpness=product.sharpness,
        cache_share=min(sibling.cache_share, shares["memory_share"]),
        fitted_on=f"matrix products on {product.gpu} ({product.fitted_on})",
        basis="fit of matrix products, at the ratio of layer to product of A100 and H100; "
        f"the rest scaled from {sibling.gpu}",
        **shares,
    )
    return _with_attention(scaled, attention)


def _with_attention(scaled: Coefficients, attention: Coefficients | None) -> Coefficients:
    if attention is None:
        return scaled
    return replace(
        scaled,
        cache_share=attention.cache_share,
        group_penalty=attention.group_penalty,
        attention_share=attention.attention_share,
        attention_half_tokens=attention.attention_half_tokens,
        basis=f"{scaled.basis}; attention: fit",
    )


def pascal_kernels(
    full: Mapping[str, Coefficients], old: Sequence[Coefficients]
) -> dict[str, Coefficients]:
    """
    The 16-bit kernel of vLLM on P100s, which no one has published.

    Parameters
    ----------
    full
        16-bit kernels of vLLM by GPU.
    old
        Those of LLM-PQ's engine, which was measured on P100 and V100: the P100 is taken to reach
        the same part of a V100's shares in both engines.
    """
    of_2023 = {c.gpu: c for c in old if c.format == "w16a16"}
    volta, volta_2023 = full["V100-32G"], of_2023["V100-32G"]
    found = {}
    for gpu in ("P100-12G", "P100-16G"):
        shares = {
            name: min(
                getattr(volta, name) * getattr(of_2023[gpu], name) / getattr(volta_2023, name),
                _TOP_SHARE,
            )
            for name in ("compute_share", "memory_share")
        }
        basis = f"scaled from V100-32G as the two compare in {volta_2023.engine}"
        found[gpu] = _unmeasured(volta, gpu=gpu, basis=basis, **shares)
    return found


_INTERVALS = ("decode_low", "decode_high", "prefill_low", "prefill_high", "interval_basis")
_ERRORS = (
    *("num_points", "decode_mape", "prefill_mape", "decode_p90", "prefill_p90"),
    *_INTERVALS,
)

# gptq_gemm works on CUDA cores for few rows and unpacks to 16 bits for many. Beside fp16,
# AWQ and GPTQ layers of its age decode 1.1-1.9 times as fast and prefill at 0.56-0.9 of the
# speed (llm-perf-leaderboard: T4, A10G, A100); 3 bits straddle words and read worst.
_GPTQ_GEMM = {
    form: KernelRatio(compute=0.85, memory=memory, half_tokens=32)
    for form, memory in {"w8a16": 0.85, "w4a16": 0.7, "w3a16": 0.6}.items()
}


def low_bit_kernels(
    full: Mapping[str, Coefficients],
    ratios: Mapping[tuple[str, str], KernelRatio],
    pairs: Sequence[tuple[Gpu, Kernel]],
) -> list[Coefficients]:
    """
    Kernels of fewer bits from those of 16 bits on the same GPU.

    Parameters
    ----------
    full
        16-bit kernels by GPU.
    ratios
        Measured ratios by (GPU, format).
    pairs
        GPUs and kernels of one engine; those of 16 bits are left out.
    """
    return [
        _low_bit(full[gpu.name], kernel, _ratio(gpu, kernel, ratios))
        for gpu, kernel in pairs
        if kernel.format != "w16a16"
    ]


def _ratio(gpu: Gpu, kernel: Kernel, ratios: Mapping[tuple[str, str], KernelRatio]) -> KernelRatio:
    if kernel.kernel == "gptq_gemm":
        return _GPTQ_GEMM[kernel.format]
    if gpu.name in LOW_POWER and kernel.format == "w8a8":
        return KernelRatio(compute=LOW_POWER_INT8_RATIO, memory=1.0)
    return ratios[_measured_like(gpu, kernel), kernel.format]


def _measured_like(gpu: Gpu, kernel: Kernel) -> str:
    """The GPU with measured products of a kernel that is nearest in architecture."""
    if kernel.format == "fp8":
        return "H100-SXM"
    if gpu.compute_capability == 89:
        return "L40S"
    if gpu.compute_capability in (80, 90) or kernel.format == "w8a8":
        return "A100-80G-SXM"
    return "A10" if kernel.format == "w4a16" else "L40S"


def _low_bit(full: Coefficients, kernel: Kernel, ratio: KernelRatio) -> Coefficients:
    assumed = ratio.fitted is None
    scaled = _unmeasured(
        full,
        engine=kernel.engine,
        kernel=kernel.kernel,
        format=kernel.format,
        compute_share=min(full.compute_share * ratio.compute, _TOP_SHARE),
        memory_share=min(full.memory_share * ratio.memory, _TOP_SHARE),
        half_tokens=max(full.half_tokens, ratio.half_tokens),
        narrow_factor=_given(ratio.narrow_factor, full.narrow_factor),
        input_factor=_given(ratio.input_factor, full.input_factor),
        layer_overhead_s=full.layer_overhead_s + _PRODUCTS_PER_LAYER * ratio.overhead_s,
        fitted_on=ratio.fitted_on,
        basis="assumed ratio to w16a16 on the same GPU"
        if assumed
        else f"w16a16 on the same GPU, scaled as matrix products on {ratio.on_gpu}",
    )
    if ratio.fitted is None or ratio.on_gpu not in (full.gpu, SIBLINGS.get(full.gpu)):
        return scaled
    if ratio.on_gpu != full.gpu:
        intervals = {name: getattr(ratio.fitted, name) for name in _INTERVALS}
        return replace(scaled, **intervals)  # of the same chip
    return replace(scaled, **{name: getattr(ratio.fitted, name) for name in _ERRORS})


def _given(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
