"""
Matrix products of quantised weights, one maker per kernel of the catalogue.

A maker turns a weight of shape (out, in) into a function of activations of shape (rows, in). It is
probed where it is to run: a product that fails there, or is wrong, is refused with the reason.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cost_model.profiler.torch_devices import Device
from profiles.formats import Format, find_format
from profiles.gpus import Gpu
from profiles.kernels import kernels_for

__all__ = ["Matrix", "Probe", "TorchKernel", "probe_kernels", "torch_kernels"]

Matrix = Callable[[Tensor], Tensor]
Maker = Callable[[Tensor], Matrix]

_GROUP = 128
_INT8_MAX = 127
_PROBE_OUT, _PROBE_IN, _PROBE_ROWS = 512, 1024, 24
_MOST_ERROR = {16: 0.02, 8: 0.05, 4: 0.25, 32: 0.02}
"""Relative error of a product of random numbers that rounding weights and activations explains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchKernel:
    """
    A kernel that PyTorch, or a library on top of it, runs.

    Parameters
    ----------
    engine, name, format
        Names of the catalogues.
    dtype
        Type of the activations.
    maker
        Makes the product with a weight.
    group_size
        Weights that share a scale; None for one per output channel, or none at all.
    """

    engine: str
    name: str
    format: str
    dtype: torch.dtype
    maker: Maker
    group_size: int | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """A kernel of the catalogue on a device: what runs it, or why nothing does."""

    engine: str
    name: str
    format: str
    kernel: TorchKernel | None
    refusal: str = ""


# -- makers -------------------------------------------------------------------------------------


def _linear(weight: Tensor) -> Matrix:
    return lambda rows: functional.linear(rows, weight)


def _per_channel(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weight in int8 and a scale per output channel."""
    scales = weight.abs().amax(dim=1).float() / _INT8_MAX
    return (weight.float() / scales[:, None]).round().to(torch.int8), scales


def _int_mm(weight: Tensor) -> Matrix:
    """W8A8: activations rounded token by token, int8 product, both scales put back."""
    whole, scales = _per_channel(weight)
    turned, on_cuda = whole.t(), weight.is_cuda
    out_scales = scales.to(weight.dtype)

    def product(rows: Tensor) -> Tensor:
        row_scales = rows.abs().amax(dim=1, keepdim=True) / _INT8_MAX
        codes = (rows / row_scales).round().to(torch.int8)
        if on_cuda:  # takes more than 16 rows, in eights
            missing = max(24 - len(codes), -len(codes) % 8)
            codes = functional.pad(codes, (0, 0, 0, missing))
        found = torch._int_mm(codes, turned)[: len(rows)]  # noqa: SLF001
        return found.to(rows.dtype) * row_scales * out_scales

    return product


def _int8pack(weight: Tensor) -> Matrix:
    whole, scales = _per_channel(weight)
    out_scales = scales.to(weight.dtype)
    return lambda rows: torch._weight_int8pack_mm(rows, whole, out_scales)  # noqa: SLF001


def _grouped(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weight as codes 0 to 15 in int32, and scale and zero of every group: (in / group, out, 2)."""
    groups = weight.float().unflatten(1, (-1, _GROUP))
    low, high = groups.amin(dim=2, keepdim=True), groups.amax(dim=2, keepdim=True)
    scales = (high - low) / 15
    codes = ((groups - low) / scales).round().clamp(0, 15).to(torch.int32).flatten(1)
    zeros = low + 8 * scales  # the value of code 8, as the kernels have it
    both = torch.cat([scales, zeros], dim=2).transpose(0, 1).contiguous()
    return codes, both.to(weight.dtype)


def _int4pack(weight: Tensor) -> Matrix:
    codes, scales = _grouped(weight)
    if weight.is_cuda:
        pairs = (codes[:, ::2] << 4 | codes[:, 1::2]).to(torch.uint8)
        packed = torch.ops.aten._convert_weight_to_int4pack(pairs, 8)  # noqa: SLF001
        on_gpu = torch.ops.aten._weight_int4pack_mm  # noqa: SLF001
        return lambda rows: on_gpu(rows, packed, _GROUP, scales)
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)  # noqa: SLF001
    on_cpu = torch.ops.aten._weight_int4pack_mm_for_cpu  # noqa: SLF001
    return lambda rows: on_cpu(rows, packed, _GROUP, scales)


def _bnb_nf4(weight: Tensor) -> Matrix:
    import bitsandbytes

    layer = bitsandbytes.nn.Linear4bit(
        weight.shape[1], weight.shape[0], bias=False, compute_dtype=weight.dtype, quant_type="nf4"
    )
    layer.weight = bitsandbytes.nn.Params4bit(weight.cpu(), requires_grad=False, quant_type="nf4")
    made: Matrix = layer.to(weight.device)
    return made


def _bnb_int8(weight: Tensor) -> Matrix:
    import bitsandbytes

    layer = bitsandbytes.nn.Linear8bitLt(
        weight.shape[1], weight.shape[0], bias=False, has_fp16_weights=False
    )
    layer.weight = bitsandbytes.nn.Int8Params(weight.cpu(), requires_grad=False)
    made: Matrix = layer.to(weight.device).eval()
    return made


def _vllm_int8(weight: Tensor) -> Matrix:
    """W8A8 by vLLM's own quantising and CUTLASS kernels."""
    from vllm import _custom_ops as ops

    whole, scales = _per_channel(weight)
    turned, out_scales = whole.t(), scales[:, None].contiguous()

    def product(rows: Tensor) -> Tensor:
        codes, row_scales, *_ = ops.scaled_int8_quant(rows)
        found: Tensor = ops.cutlass_scaled_mm(
            codes, turned, scale_a=row_scales, scale_b=out_scales, out_dtype=rows.dtype
        )
        return found

    return product


def _vllm_marlin(bits: int) -> Maker:
    def maker(weight: Tensor) -> Matrix:
        """Weight-only product by vLLM's Marlin kernel, packed by vLLM's own helpers."""
        from vllm.model_executor.layers.quantization.utils import marlin_utils, marlin_utils_test
        from vllm.scalar_type import scalar_types

        kind = {4: scalar_types.uint4b8, 8: scalar_types.uint8b128}[bits]
        num_out, num_in = weight.shape
        turned = weight.t().contiguous()
        _, packed, scales, order, sorting, *_ = marlin_utils_test.marlin_quantize(
            turned, kind, _GROUP, act_order=False
        )
        workspace = marlin_utils.marlin_make_workspace_new(weight.device)
        none = marlin_utils.marlin_make_empty_g_idx(weight.device)

        def product(rows: Tensor) -> Tensor:
            found: Tensor = marlin_utils.apply_gptq_marlin_linear(
                input=rows,
                weight=packed,
                weight_scale=scales,
                weight_zp=none,
                g_idx=order,
                g_idx_sort_indices=sorting,
                workspace=workspace,
                wtype=kind,
                output_size_per_partition=num_out,
                input_size_per_partition=num_in,
                is_k_full=True,
            )
            return found

        return product

    return maker


def torch_kernels() -> tuple[TorchKernel, ...]:
    """Every kernel that the profiler knows how to run, wherever it may run."""
    half, brain, full = torch.float16, torch.bfloat16, torch.float32
    return (
        TorchKernel(engine="torch", name="bf16", format="w16a16", dtype=brain, maker=_linear),
        TorchKernel(engine="torch", name="fp16", format="w16a16", dtype=half, maker=_linear),
        TorchKernel(engine="torch", name="fp32", format="w32a32", dtype=full, maker=_linear),
        TorchKernel(engine="torch", name="int-mm", format="w8a8", dtype=brain, maker=_int_mm),
        TorchKernel(engine="torch", name="int8pack", format="w8a16", dtype=brain, maker=_int8pack),
        TorchKernel(
            engine="torch",
            name="int4pack",
            format="w4a16",
            dtype=brain,
            maker=_int4pack,
            group_size=_GROUP,
        ),
        TorchKernel(engine="torch", name="bnb-nf4", format="w4a16", dtype=half, maker=_bnb_nf4),
        TorchKernel(
            engine="torch", name="bnb-int8", format="llm-int8", dtype=half, maker=_bnb_int8
        ),
        TorchKernel(engine="vllm", name="cublas", format="w16a16", dtype=half, maker=_linear),
        TorchKernel(
            engine="vllm", name="cutlass-int8", format="w8a8", dtype=half, maker=_vllm_int8
        ),
        *(
            TorchKernel(
                engine="vllm",
                name="marlin",
                format=f"w{bits}a16",
                dtype=half,
                maker=_vllm_marlin(bits),
                group_size=_GROUP,
            )
            for bits in (8, 4)
        ),
    )


# -- probing ------------------------------------------------------------------------------------


def probe_kernels(device: Device, gpu: Gpu, engine: str) -> list[Probe]:
    """
    Every kernel of an engine: those that run on a device and multiply right, and why others do not.

    Parameters
    ----------
    device
        Where.
    gpu
        The same device as plans know it.
    engine
        Name of the engine.
    """
    return list(_probes(device, gpu, engine))


def _probes(device: Device, gpu: Gpu, engine: str) -> Iterator[Probe]:
    known = [kernel for kernel in torch_kernels() if kernel.engine == engine]
    for kernel in known:
        form = find_format(kernel.format)
        if any(each.kernel == kernel.name for each in kernels_for(engine, form, gpu)):
            refusal = _why_not(kernel, form, device)
        else:
            refusal = f"not made for {_capability(gpu)}"
        found = None if refusal else kernel
        yield Probe(engine, kernel.name, kernel.format, found, refusal)


def _capability(gpu: Gpu) -> str:
    return f"sm{gpu.compute_capability}" if gpu.compute_capability else "a CPU"


@torch.inference_mode()
def _why_not(kernel: TorchKernel, form: Format, device: Device) -> str:
    """Why a kernel does not run right on a device; empty where it does."""
    source = torch.Generator().manual_seed(0)
    shapes = (_PROBE_OUT, _PROBE_IN), (_PROBE_ROWS, _PROBE_IN)
    weight, rows = (torch.randn(shape, generator=source) for shape in shapes)
    try:
        product = kernel.maker(weight.to(device.where, kernel.dtype))
        found = product(rows.to(device.where, kernel.dtype)).float().cpu()
    except ImportError as error:
        return f"not installed: {error}"
    except Exception as error:
        text = str(error).strip().partition("\n")[0]
        return f"{type(error).__name__}: {text[:200]}"
    right = rows @ weight.t()
    off = float((found - right).norm() / right.norm())
    if not off <= _MOST_ERROR[form.weight_bits]:
        return f"its product is off by {off:.1%} of random numbers"
    return ""
