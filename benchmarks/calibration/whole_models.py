"""Whole models as other engines run them, as a few factors to vLLM's layers on the same GPU."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import least_squares

from benchmarks.calibration.errors import MIN_POINTS_FOR_INTERVAL, PhaseErrors, with_errors
from benchmarks.calibration.fitting import bent
from benchmarks.calibration.points import BoolArray, join_works, kind_of
from cost_model.arrays import FloatArray
from cost_model.communication import all_reduce_s
from cost_model.roofline import roofline_s
from cost_model.work import LayerWork, decode_work, matrix_work, prefill_work
from profiles.coefficients import Coefficients
from profiles.formats import find_format
from profiles.gpus import find_gpu
from profiles.links import default_link
from profiles.units import US

__all__ = [
    "FAMILIES",
    "EngineFactor",
    "Family",
    "Runs",
    "engine_factors",
    "engine_row",
    "runs_of",
    "runs_s",
]

FullCoefficients = Mapping[str, Coefficients]
TOP_SHARE = 0.97
NO_ERRORS = PhaseErrors(*(np.empty(0, dtype=kind) for kind in (np.float64, np.bool_, np.int64)))
_SPREAD = 0.1
_FOLDS = 5
_PRIORS = {
    "compute": (1.0, 0.7),
    "memory": (1.0, 0.4),
    "host_floor_s": (100e-6, 2.0),
    "gate_host_s": (30e-6, 2.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """
    A kernel of an engine and the rows of ``layers.csv`` that time it.

    Parameters
    ----------
    engine, kernel, format
        Names of the catalogue.
    prefix
        How the column ``engine`` of such rows begins.
    methods
        Values of ``quant_method``; "none" for 16 bits.
    """

    engine: str
    kernel: str
    format: str
    prefix: str
    methods: tuple[str, ...]

    def rows(self, layers: pd.DataFrame) -> pd.DataFrame:
        """Its rows of whole models, but for those that the source itself calls outliers."""
        chosen = (layers["per"] == "model") & layers["engine"].str.startswith(self.prefix)
        chosen &= layers["quant_method"].fillna("none").isin(self.methods)
        if self.format == "w16a16":
            chosen &= layers["weight_bits"] == 16
        chosen &= ~layers["note"].fillna("").str.contains("outlier")
        return layers[chosen & layers["gpu"].ne("H100-powercap")]


_HALF = ("none", "none (fp16 or bf16, not told apart)")
FAMILIES = (
    Family(engine="transformers", kernel="cublas", format="w16a16", prefix="transformers",
           methods=_HALF),
    Family(engine="transformers", kernel="exllama", format="w4a16", prefix="transformers",
           methods=("gptq exllamav1", "gptq exllamav2")),
    Family(engine="transformers", kernel="awq", format="w4a16", prefix="transformers",
           methods=("awq", "awq gemv-sdpa")),
    Family(engine="transformers", kernel="bitsandbytes-4bit", format="nf4", prefix="transformers",
           methods=("bitsandbytes fp4", "bitsandbytes 4-bit")),
    Family(engine="transformers", kernel="llm-int8", format="llm-int8", prefix="transformers",
           methods=("bitsandbytes LLM.int8",)),
    Family(engine="llama.cpp", kernel="cublas", format="w16a16", prefix="llama.cpp",
           methods=("none",)),
    Family(engine="llama.cpp", kernel="gguf-k-quants", format="q4_k_m", prefix="llama.cpp",
           methods=("gguf Q4_K_M (4.8 bit/weight)",)),
    Family(engine="fastertransformer", kernel="cublas", format="w16a16",
           prefix="FasterTransformer", methods=("none",)),
    Family(engine="fastertransformer", kernel="int8-v2", format="w8a8",
           prefix="FasterTransformer", methods=("W8A8 int8-v2",)),
    Family(engine="tensorrt-llm", kernel="cublas", format="w16a16", prefix="TensorRT-LLM",
           methods=("none",)),
    Family(engine="vllm-2023", kernel="cublas", format="w16a16", prefix="vllm (Splitwise)",
           methods=("none",)),
    Family(engine="vllm-2024", kernel="cublas", format="w16a16", prefix="vLLM",
           methods=("none", "KV Cache = fp16")),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """
    Timed whole models on one GPU type: prompt passes, decode steps, or both; shapes (N,).

    Parameters
    ----------
    gpu
        Its name.
    prefill, decode, head
        Work of a layer in each phase, and of the LM head in either.
    prompts, steps
        Prompt passes and decode steps that a run consists of.
    layers, tp
        Layers of the model; GPUs that share them.
    seconds, phase, model
        What it took; ``prefill``, ``decode`` or ``e2e``; what ran.
    """

    gpu: str
    prefill: LayerWork
    decode: LayerWork
    head: LayerWork
    prompts: FloatArray
    steps: FloatArray
    layers: FloatArray
    tp: FloatArray
    seconds: FloatArray
    phase: NDArray[np.str_]
    model: NDArray[np.str_]

    @property
    def is_decode(self) -> BoolArray:
        """Whether a run counts as decode: most of the steps of ``e2e`` are."""
        return np.asarray(self.phase != "prefill")


def runs_of(rows: pd.DataFrame, gpu: str) -> Runs:
    """The rows of whole models on a GPU; ``e2e`` is a prompt pass and all but one of the steps."""
    own = rows[rows["gpu"] == gpu]
    works = [_works(row) for _, row in own.iterrows()]
    prefill, decode, head = (join_works(parts) for parts in zip(*works, strict=True))
    ends = own["phase"] == "e2e"
    decoding = own["phase"] == "decode"
    steps = np.where(ends, own["out_tokens"].fillna(1) - 1, decoding)
    return Runs(
        gpu=gpu,
        prefill=prefill,
        decode=decode,
        head=head,
        prompts=(~decoding).to_numpy(dtype=np.float64),
        steps=np.asarray(steps, dtype=np.float64),
        layers=own["n_layers"].to_numpy(dtype=np.float64),
        tp=own["tp"].to_numpy(dtype=np.float64),
        seconds=own["latency_us"].to_numpy(dtype=np.float64) * US,
        phase=own["phase"].to_numpy(dtype=np.str_),
        model=own["model"].to_numpy(dtype=np.str_),
    )


def _works(row: pd.Series) -> tuple[LayerWork, LayerWork, LayerWork]:
    kind, tp, tokens = kind_of(row), int(row["tp"]), float(row["tokens"])
    batch = np.array([int(row["batch"])])
    context = tokens + (row["out_tokens"] / 2 if row["phase"] == "e2e" else 0)
    return (
        prefill_work(kind, tp, batch, int(tokens)),
        decode_work(kind, tp, batch, context, 16),
        matrix_work(kind.hidden, int(row["vocab"]), tp, batch.astype(np.float64)),
    )


def runs_s(runs: Runs, coefficients: Coefficients) -> FloatArray:
    """What the model says about every run."""
    gpu, form = find_gpu(coefficients.gpu), find_format(coefficients.format)
    head = roofline_s(runs.head, gpu, find_format("w16a16"), coefficients)
    total = np.zeros(len(runs.seconds))
    for work, times in ((runs.prefill, runs.prompts), (runs.decode, runs.steps)):
        layer = roofline_s(work, gpu, form, coefficients)
        for tp in np.unique(runs.tp):
            own = runs.tp == tp
            layer[own] += 2 * all_reduce_s(default_link([gpu]), work.hidden_bytes[own], int(tp))
        total += times * (runs.layers * layer + head)
    return total


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFactor:
    """
    An engine's kernel beside vLLM's 16-bit layers on the same GPU.

    Parameters
    ----------
    engine, kernel, format
        Names of the catalogue.
    gpu
        Where it was timed; None for all GPUs of ``timed_on`` together.
    compute, memory
        Ratio of the reachable shares of peak.
    host_floor_s, gate_host_s
        Seconds the host needs per layer, and more where it has a gate.
    timed_on
        GPUs behind the numbers.
    errors
        On runs of models kept out of the fit.
    models
        What each of these ran, shape (N,).
    """

    engine: str
    kernel: str
    format: str
    gpu: str | None
    compute: float
    memory: float
    host_floor_s: float
    gate_host_s: float
    timed_on: tuple[str, ...]
    errors: PhaseErrors
    models: NDArray[np.str_]

    @property
    def has_medians(self) -> bool:
        """Whether models ran several times on one GPU."""
        return self.gpu is not None and len(self.models) > 3 * len(np.unique(self.models))

    @property
    def left_out(self) -> str:
        """What the fits that judge it left out."""
        few = len(np.unique(self.models)) < _FOLDS
        return "a fifth of the runs" if few else "a fifth of the models"

    def medians(self) -> PhaseErrors:
        """The run of median ratio of each model and phase."""
        errors, picked = self.errors, []
        for decode in (True, False):
            for model in np.unique(self.models):
                own = np.flatnonzero((self.models == model) & (errors.is_decode == decode))
                ordered = own[np.argsort(errors.ratios[own])]
                picked += ordered[(len(ordered) - 1) // 2 : (len(ordered) - 1) // 2 + 1].tolist()
        return PhaseErrors(errors.ratios[picked], errors.is_decode[picked], errors.fold[picked])

    def of(self, full: Coefficients) -> Coefficients:
        """The engine's coefficients on the GPU of these."""
        return replace(
            full,
            engine=self.engine,
            kernel=self.kernel,
            format=self.format,
            compute_share=min(full.compute_share * self.compute, TOP_SHARE),
            memory_share=min(full.memory_share * self.memory, TOP_SHARE),
            cache_share=min(full.cache_share * self.memory, TOP_SHARE),
            host_floor_s=self.host_floor_s,
            gate_host_s=self.gate_host_s,
        )


def _folds(runs: Sequence[Runs]) -> list[NDArray[np.int64]]:
    """The split that each run is kept out of: a fifth of the models, or of the runs of few."""
    models = np.unique(np.concatenate([each.model for each in runs]))
    if len(models) < _FOLDS:
        return [np.arange(len(each.model)) % _FOLDS for each in runs]
    order = np.random.default_rng(0).permutation(len(models)) % _FOLDS
    fold_of = dict(zip(models, order, strict=True))
    return [np.array([fold_of[model] for model in each.model]) for each in runs]


def _factor(
    family: Family, gpu: str | None, runs: Sequence[Runs], full: FullCoefficients
) -> EngineFactor:
    ratios, phases, ran, kept_out = [], [], [], []
    folds = _folds(runs)
    for fold in range(_FOLDS):
        out = [each == fold for each in folds]
        factor = _fitted(family, gpu, runs, full, [~each for each in out])
        for each, own in zip(runs, out, strict=True):
            found = each.seconds / runs_s(each, factor.of(full[each.gpu]))
            ratios.append(found[own])
            phases.append(each.is_decode[own])
            ran.append(each.model[own])
            kept_out.append(np.full(own.sum(), fold))
    errors = PhaseErrors(*map(np.concatenate, (ratios, phases, kept_out)))
    everything = [np.ones(len(each.seconds), dtype=bool) for each in runs]
    fitted = _fitted(family, gpu, runs, full, everything)
    return replace(fitted, errors=errors, models=np.concatenate(ran))


def _fitted(
    family: Family,
    gpu: str | None,
    runs: Sequence[Runs],
    full: FullCoefficients,
    inside: Sequence[BoolArray],
) -> EngineFactor:
    means = np.log([mean for mean, _ in _PRIORS.values()])
    spreads = np.array([spread for _, spread in _PRIORS.values()])

    def found(logs: FloatArray) -> EngineFactor:
        values = dict(zip(_PRIORS, np.exp(logs).tolist(), strict=True))
        return EngineFactor(
            engine=family.engine,
            kernel=family.kernel,
            format=family.format,
            gpu=gpu,
            timed_on=tuple(each.gpu for each in runs),
            errors=NO_ERRORS,
            models=np.empty(0, dtype=np.str_),
            **values,
        )

    def residuals(logs: FloatArray) -> FloatArray:
        factor = found(logs)
        off = [
            np.log(runs_s(each, factor.of(full[each.gpu])) / each.seconds)[kept]
            for each, kept in zip(runs, inside, strict=True)
        ]
        return np.concatenate([bent(np.concatenate(off) / _SPREAD), (logs - means) / spreads])

    return found(least_squares(residuals, means).x)


def engine_factors(layers: pd.DataFrame, full: FullCoefficients) -> list[EngineFactor]:
    """
    Factors of every family: of each GPU with enough runs, then of all GPUs together.

    Parameters
    ----------
    layers
        Rows of the layers' files.
    full
        vLLM's 16-bit coefficients by GPU.
    """
    found = []
    for family in FAMILIES:
        rows = family.rows(layers)
        runs = [runs_of(rows, gpu) for gpu in rows["gpu"].unique() if gpu in full]
        if not runs:
            continue
        own = [each for each in runs if len(each.seconds) >= 2 * MIN_POINTS_FOR_INTERVAL]
        found += [_factor(family, each.gpu, [each], full) for each in own]
        found.append(_factor(family, None, runs, full))
    return found


def engine_row(
    factors: Sequence[EngineFactor], full: Coefficients, format_name: str, kernel: str = "cublas"
) -> Coefficients:
    """
    An engine's kernel on a GPU, from what was timed there or on all GPUs together.

    Parameters
    ----------
    factors
        Those of the engine.
    full
        vLLM's 16-bit coefficients on the GPU.
    format_name, kernel
        Of the kernel.
    """
    own = {f.gpu: f for f in factors if (f.kernel, f.format) == (kernel, format_name)}
    factor = own.get(full.gpu) or own[None]
    timed = full.gpu in factor.timed_on
    others = ", ".join(factor.timed_on)
    row = replace(
        factor.of(full),
        interval_basis="",
        basis=f"{full.engine} w16a16 on the same GPU, scaled as whole models on {others}",
        fitted_on="published runs of whole models" if timed else full.fitted_on,
    )
    found = with_errors(row, len(factor.models), factor.errors)
    if timed:
        return found
    return replace(
        found,
        num_points=0,
        decode_mape=None,
        prefill_mape=None,
        decode_p90=None,
        prefill_p90=None,
        interval_basis=f"{found.interval_basis} of {others}",
    )
