"""
Plans for vLLM: environment, commands and checkpoint.

Facts: vLLM 0.33 and its public issues and source. GPUs from sm75 (PR 39878). Layers per stage by
VLLM_PP_LAYER_PARTITION (as many numbers as stages, their sum the layers); one tensor-parallel size
for all stages (issue 27239); one data type for all stages, and none below sm80 has bf16; the KV
cache holds what the stage with the least room for it holds (PR 6920), in fp8 from sm80 only (issue
47549); mixed GPU types work, but are not what vLLM aims at (issue 9157).
"""

from collections.abc import Iterator, Mapping

from api.exports.checkpoints import COMPRESSED, Checkpoint, checkpoint_of
from api.exports.given import ExportInput, LaunchStage
from api.exports.launch import CHECKPOINT, HEAD_ADDRESS, KvCache, Launch, NodeLaunch
from api.exports.placement import Executor, NodePlace, Placement, placement_of
from api.problems import ProblemList
from profiles.formats import find_format
from profiles.kernels import default_kernel

__all__ = ["vllm_launch"]

_NAME, _TODAY = "vllm", "vllm-0.33"
_RUNS_FROM, _BF16_FROM, _FP8_KV_FROM = 75, 80, 80
_FULL_BITS = 16
_RAY_PORT = 6379
# vllm/config/model.py: numerically unstable in float16.
_NO_FLOAT16 = ("gemma2", "gemma3", "gemma3_text", "glm4", "plamo2")
_DROPPED_KERNEL, _MARLIN_BITS = "gptq_gemm", (4, 8)


def vllm_launch(given: ExportInput) -> Launch:
    """
    What starts a plan on vLLM.

    Raises
    ------
    InvalidRequestError
        With every reason why vLLM cannot run it.
    """
    problems = ProblemList()
    _check_gpus(given, problems)
    _check_tensor_parallel(given, problems)
    _check_kernels(given, problems)
    _check_length(given, problems)
    placement = placement_of(given.stages, problems)
    checkpoint = checkpoint_of(given)
    settings = _settings(given, checkpoint, placement, problems)
    problems.raise_if_any()
    return Launch(
        nodes=tuple(
            _node(rank, placement, settings, _environment(given))
            for rank in range(len(placement.nodes))
        ),
        checkpoint=checkpoint,
        settings=settings,
        kv_cache=_kv_cache(given),
        warnings=tuple(_warnings(given, checkpoint, placement)),
    )


# -- what cannot be launched ----------------------------------------------------------------------


def _check_gpus(given: ExportInput, problems: ProblemList) -> None:
    for stage in given.stages:
        if stage.gpu.compute_capability < _RUNS_FROM:
            problems.add(
                f"{stage.pointer}/gpu",
                f"vLLM runs on sm{_RUNS_FROM} and newer, {stage.gpu.name} is "
                f"sm{stage.gpu.compute_capability}; plan again without it.",
            )


def _check_tensor_parallel(given: ExportInput, problems: ProblemList) -> None:
    sizes = [len(stage.devices) for stage in given.stages]
    for stage, size in zip(given.stages, sizes, strict=True):
        if size != sizes[0]:
            problems.add(
                f"{stage.pointer}/tensor_parallel",
                f"Stage {stage.number} has tensor_parallel {size} and stage 1 has {sizes[0]}; "
                "vLLM has one size for all stages. Plan again with `cluster.tensor_parallel: "
                f"[{min(size, sizes[0])}]`.",
            )


def _check_kernels(given: ExportInput, problems: ProblemList) -> None:
    for stage in given.stages:
        for name in dict.fromkeys(stage.formats):
            if default_kernel(_NAME, find_format(name), stage.gpu) is None:
                problems.add(
                    f"{stage.pointer}/formats",
                    f"vLLM has no kernel for {name} on {stage.gpu.name} "
                    f"(sm{stage.gpu.compute_capability}) that hetplan knows of; plan again with "
                    "`engine: vllm`.",
                )


def _check_length(given: ExportInput, problems: ProblemList) -> None:
    tokens, most = given.workload.longest_tokens, given.model.max_positions
    if most is not None and tokens > most:
        problems.add(
            "/request/workload",
            f"Prompt and output are {tokens} tokens together, {given.model.name} has {most} "
            "positions, and vLLM refuses a longer --max-model-len; shorten them, or give the "
            "model's config.json with the rope_scaling that its checkpoint has.",
        )


def _data_type(given: ExportInput, problems: ProblemList) -> str:
    """The checkpoint's own where every GPU has it, else float16."""
    old = [gpu.name for gpu in given.gpus if gpu.compute_capability < _BF16_FROM]
    if not old:
        return "auto"
    if given.model.model_type in _NO_FLOAT16:
        problems.add(
            "/plan/stages",
            f"vLLM refuses {given.model.model_type} in float16 (unstable), and {', '.join(old)} "
            "has no bfloat16; plan again without it.",
        )
    return "float16"


def _kv_type(given: ExportInput, problems: ProblemList) -> str | None:
    """The type of an 8-bit KV cache; None leaves it at 16 bits."""
    if given.engine.kv_bits == _FULL_BITS:
        return None
    old = [gpu.name for gpu in given.gpus if gpu.compute_capability < _FP8_KV_FROM]
    if old:
        problems.add(
            "/request/engine/kv_cache_bits",
            f"vLLM's 8-bit KV cache is fp8, which it reads on sm{_FP8_KV_FROM} and newer only, not "
            f"on {', '.join(old)}; plan again with `kv_cache_bits: 16` or without it.",
        )
    return "fp8"


# -- settings -------------------------------------------------------------------------------------


def _settings(
    given: ExportInput, checkpoint: Checkpoint, placement: Placement, problems: ProblemList
) -> dict[str, str | int | float]:
    """Options of ``vllm serve`` that are the same on every node."""
    prompts = given.plan.prefill_micro_batch * given.workload.longest_prompt_tokens
    settings: dict[str, str | int | float] = {
        "served-model-name": given.model.name,
        "pipeline-parallel-size": len(given.stages),
        "tensor-parallel-size": len(given.stages[0].devices),
        "dtype": _data_type(given, problems),
        "max-model-len": given.workload.longest_tokens,
        "max-num-seqs": given.plan.batch_size,
        "max-num-batched-tokens": max(prompts, given.plan.batch_size),
        "gpu-memory-utilization": given.engine.memory_fraction,
    }
    kv_type = _kv_type(given, problems)
    if checkpoint.kind == COMPRESSED:
        settings["quantization"] = checkpoint.kind
    if kv_type is not None:
        settings["kv-cache-dtype"] = kv_type
    if placement.executor is not Executor.ONE:
        settings["distributed-executor-backend"] = placement.executor.value
    return settings


def _environment(given: ExportInput) -> dict[str, str]:
    """Variables that are the same on every node."""
    if len(given.stages) == 1:
        return {}
    layers = ",".join(str(len(stage.formats)) for stage in given.stages)
    return {"VLLM_PP_LAYER_PARTITION": layers}


def _kv_cache(given: ExportInput) -> KvCache:
    """What the stage with the least room for it holds."""
    batch = given.plan.batch_size
    fits = {stage.number: _fitting_requests(stage, batch) for stage in given.stages}
    least = min(fits, key=lambda number: fits[number])
    return KvCache(stage=least, fits=fits[least], needed=batch)


def _fitting_requests(stage: LaunchStage, batch: int) -> int:
    """Requests at full length whose KV cache a stage holds, at least the batch."""
    memory = stage.memory
    room = memory.free_bytes + memory.kv_bytes
    return max(batch, int(room * batch // memory.kv_bytes))


# -- nodes ----------------------------------------------------------------------------------------


def _node(
    rank: int,
    placement: Placement,
    settings: Mapping[str, str | int | float],
    environment: Mapping[str, str],
) -> NodeLaunch:
    place = placement.nodes[rank]
    return NodeLaunch(
        name=place.name,
        stages=place.stages,
        environment={
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "CUDA_VISIBLE_DEVICES": ",".join(map(str, place.devices)),
            **environment,
        },
        commands=tuple(_commands(rank, placement, settings)),
    )


def _commands(
    rank: int, placement: Placement, settings: Mapping[str, str | int | float]
) -> Iterator[tuple[str, ...]]:
    options = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    serve = ("vllm", "serve", CHECKPOINT, *options)
    if placement.executor is not Executor.RAY:
        yield (*serve, *_rank_options(rank, placement.nodes))
    elif rank == 0:
        yield ("ray", "start", "--head", f"--port={_RAY_PORT}")
        yield serve
    else:
        yield ("ray", "start", "--block", "--address", f"{HEAD_ADDRESS}:{_RAY_PORT}")


def _rank_options(rank: int, nodes: tuple[NodePlace, ...]) -> tuple[str, ...]:
    if len(nodes) == 1:
        return ()
    where = ("--nnodes", str(len(nodes)), "--node-rank", str(rank), "--master-addr", HEAD_ADDRESS)
    return where if rank == 0 else (*where, "--headless")


# -- warnings -------------------------------------------------------------------------------------


def _warnings(given: ExportInput, checkpoint: Checkpoint, placement: Placement) -> Iterator[str]:
    yield from given.warnings
    yield from _of_gpus(given, placement)
    yield from _of_kernels(given)
    yield from _of_sizes(given)
    if checkpoint.kind == COMPRESSED and "w8a8" in checkpoint.recipe:
        yield (
            "The predicted quality of w8a8 is SmoothQuant's; put a SmoothQuantModifier first in "
            "recipe.yaml where llm-compressor knows the model."
        )


def _of_gpus(given: ExportInput, placement: Placement) -> Iterator[str]:
    names = [gpu.name for gpu in given.gpus]
    if len(names) > 1:
        yield f"{', '.join(names)} in one pipeline: vLLM runs it, but does not aim at mixed types."
    mixed = [node.name for node in given.cluster.nodes if len(node.groups) > 1]
    used = [node.name for node in placement.nodes if node.name in mixed]
    if used:
        yield (
            f"GPUs of {', '.join(dict.fromkeys(used))} are numbered as the request lists them; "
            "compare with nvidia-smi and correct CUDA_VISIBLE_DEVICES where its order differs."
        )


def _of_kernels(given: ExportInput) -> Iterator[str]:
    """Where vLLM takes another kernel than the one whose times the plan counts with."""
    engine = given.prepared.background.engine
    if engine not in (_NAME, _TODAY):
        yield f"The plan counts with the kernels of {engine}; vLLM's take other times."
        return
    used = {(stage.gpu.name, name) for stage in given.stages for name in stage.formats}
    for use in given.prepared.background.kernels:
        if use.kernel == _DROPPED_KERNEL and (use.gpu, use.format) in used:
            runs = "Marlin" if find_format(use.format).weight_bits in _MARLIN_BITS else "Humming"
            yield (
                f"{use.gpu} {use.format}: the plan counts with {use.kernel}, which vLLM no longer "
                f"has (PR 38288); it runs {runs}, at other times."
            )


def _of_sizes(given: ExportInput) -> Iterator[str]:
    plan = given.plan
    if plan.decode_micro_batch < plan.batch_size:
        yield (
            f"vLLM forms its own micro-batches: prefill is capped at {plan.prefill_micro_batch} "
            f"prompts by --max-num-batched-tokens, decode in {plan.decode_micro_batch}s cannot "
            "be asked for."
        )
