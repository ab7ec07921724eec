"""What is known of the coefficients before any fit."""

from benchmarks.calibration.fitting import Fit, Prior
from profiles.coefficients import Coefficients
from profiles.gpus import find_gpu
from profiles.links import default_link

__all__ = ["ATTENTION", "GEMM", "LAYER", "LINEAR", "MAT_VEC", "OLD_INT8", "OLD_LAYER", "start"]

_SHARE = {"upper": 0.97}

LINEAR = {
    "compute_share": Prior(0.6, 0.5, **_SHARE),
    "memory_share": Prior(0.75, 0.3, **_SHARE),
    "half_tokens": Prior(12, 0.5),
    "wave_share": Prior(0.3, 1.0, 1.0),
    "narrow_factor": Prior(0.02, 1.0),
    "sharpness": Prior(1.2, 0.5),
    "activation_factor": Prior(14, 0.3),
    "layer_overhead_s": Prior(20e-6, 0.5),
}
# Attention on A100, H100 and H200 comes to 0.55-0.58 of peak, half of it at some 650 tokens; old
# kernels that read KV heads once per query head cost up to twice the traffic at 8 heads a group.
LAYER = {
    **LINEAR,
    "half_tokens": Prior(12, 0.3),
    "step_share": Prior(0.1, 1.5),
    "layer_overhead_s": Prior(15e-6, 0.3),
    "attention_share": Prior(0.57, 0.3, **_SHARE),
    "group_penalty": Prior(0.25, 0.35, 1.0),
    "all_reduce_latency_s": Prior(30e-6, 0.7),
    "all_reduce_bytes_per_s": Prior(5e9, 2.0),
}
ATTENTION = {
    "attention_share": Prior(0.5, 0.5, **_SHARE),
    "attention_half_tokens": Prior(500, 1.0),
    "cache_share": Prior(0.8, 0.3, **_SHARE),
    "group_penalty": Prior(0.05, 0.5, 1.0),
    "layer_overhead_s": Prior(10e-6, 0.5),
}
GEMM = {
    "compute_share": Prior(0.6, 0.5, **_SHARE),
    "memory_share": Prior(0.75, 0.3, **_SHARE),
    "half_tokens": Prior(12, 0.7),
    "wave_share": Prior(0.3, 1.0, 1.0),
    "narrow_factor": Prior(0.05, 1.0),
    "input_factor": Prior(0.5, 1.5),
    "sharpness": Prior(1.2, 0.7),
    "layer_overhead_s": Prior(5e-6, 0.5),
}
OLD_LAYER = {
    "compute_share": Prior(0.5, 0.7, **_SHARE),
    "memory_share": Prior(0.7, 0.2, **_SHARE),
    "layer_overhead_s": Prior(50e-6, 1.0),
}
# A thread block per output column and row: no tensor cores, time linear in rows.
MAT_VEC = {
    "compute_share": Prior(0.015, 1.5, **_SHARE),
    "memory_share": Prior(0.6, 0.3, **_SHARE),
}
# Outliers are split off at run time: several milliseconds of launches a layer.
OLD_INT8 = {
    "compute_share": Prior(0.4, 0.7, **_SHARE),
    "layer_overhead_s": Prior(2e-3, 1.0),
}


def start(gpu_name: str, engine: str, kernel: str, format_name: str) -> Fit:
    """Coefficients to start from, with the usual values of what a fit leaves alone."""
    gpu = find_gpu(gpu_name)
    coefficients = Coefficients(
        gpu=gpu.name,
        engine=engine,
        kernel=kernel,
        format=format_name,
        compute_share=0.6,
        memory_share=0.75,
        cache_share=0.8,
        group_penalty=0.0,
        attention_share=0.57,
        attention_half_tokens=650.0,
        activation_factor=14.0,
        half_tokens=12.0,
        wave_share=0.3,
        narrow_factor=0.02,
        step_rows=32.0 if gpu.architecture == "Volta" else 16.0,
        step_share=0.0,
        input_factor=0.0,
        sharpness=1.2,
        layer_overhead_s=15e-6,
        host_floor_s=0.0,
        host_sharpness=4.0,
        gate_host_s=0.0,
        fitted_on="",
        num_points=0,
        decode_mape=None,
        prefill_mape=None,
        decode_p90=None,
        prefill_p90=None,
        decode_low=1.0,
        decode_high=1.0,
        prefill_low=1.0,
        prefill_high=1.0,
        interval_basis="",
        basis="fit",
    )
    return Fit(coefficients, default_link([gpu]))
