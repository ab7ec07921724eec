"""Calibrations: from plans and measurements, and into the problem of a request."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from api.given_plans import plan_from_spec
from api.measured import MeasuredRow
from api.prepared import Prepared
from api.problems import InvalidRequestError, Problem
from api.request import parse_request, prepare
from api.schemas.calibration import (
    CalibrationSpec,
    EngineFactorSpec,
    FactorSpec,
    MeasuredPlan,
)
from api.schemas.plan import GivenPlan
from api.schemas.request import PlanRequest
from api.version import hetplan_version
from cost_model.answer import full_kernel
from cost_model.arrays import FloatArray
from cost_model.lookup import Phase
from cost_model.uncertainty import ErrorTerm, error_of
from profiles.calibration import FactorKey
from profiles.errors import InputError
from profiles.formats import find_format
from profiles.gpus import find_gpu
from profiles.kernels import find_kernel
from solver import FittedFactors, Observation, fit_factors

__all__ = ["Launched", "calibrate"]

PHASES: tuple[Phase, ...] = ("prefill", "decode")
# Standard deviations of ln(factor) before anything is measured: engines differ by 1.1 to 3 times on
# the same GPU; a kernel is at least this uncertain.
ENGINE_PRIOR, LEAST_PRIOR = 0.5, 0.02
# A factor is identified where its standard deviation is below this share of what the kernel alone
# had before, or small by itself.
IDENTIFIED, WELL_KNOWN = 0.5, 0.05


@dataclass(frozen=True, slots=True)
class Launched:
    """A plan, its request, where that request's paths start, and what was measured of it."""

    plan: GivenPlan
    request: PlanRequest
    prepared: Prepared
    folder: Path
    measured_file: str
    rows: tuple[MeasuredRow, ...]


def calibrate(launched: Sequence[Launched], made_by: str) -> CalibrationSpec:
    """
    Factors on the times of an engine that explain what was measured of its plans.

    Parameters
    ----------
    launched
        At least one plan, all on one engine.
    made_by
        Who measured.

    Raises
    ------
    InvalidRequestError, InputError
        When the plans run on several engines, or a load does not fit its plan.
    """
    engine = _engine_of(launched)
    keys = tuple(dict.fromkeys(key for each in launched for key in _keys(each, engine)))
    observations = [_observation(each, row, keys) for each in launched for row in each.rows]
    kernel_priors = [max(_error(engine, key), LEAST_PRIOR) for key in keys]
    priors = np.array([ENGINE_PRIOR] * len(PHASES) + kernel_priors)
    fitted = fit_factors(observations, priors)
    return CalibrationSpec(
        kind="calibration",
        engine=engine,
        made_by=made_by,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        hetplan=hetplan_version(),
        plans=[_measured_plan(each) for each in launched],
        values=fitted.num_values,
        error_before=fitted.error_before,
        error_after=fitted.error_after,
        engine_factors=[
            EngineFactorSpec.model_validate({"phase": phase, **_factor(fitted, priors, [index])})
            for index, phase in enumerate(PHASES)
        ],
        factors=[
            FactorSpec.model_validate(
                {
                    **key._asdict(),
                    **_factor(fitted, priors, [PHASES.index(key.phase), len(PHASES) + index]),
                }
            )
            for index, key in enumerate(keys)
        ],
    )


def _engine_of(launched: Sequence[Launched]) -> str:
    engines = sorted({each.prepared.background.engine for each in launched})
    if len(engines) > 1:
        raise InputError(f"The plans run on {', '.join(engines)}; calibrate one engine at a time.")
    return engines[0]


def _factor(fitted: FittedFactors, priors: FloatArray, indices: list[int]) -> dict[str, object]:
    """The product of factors, the last of which is the kernel's own."""
    factor, low, high = fitted.factor(indices)
    enough = max(IDENTIFIED * float(priors[indices[-1]]), WELL_KNOWN)
    return {
        "factor": factor,
        "low": low,
        "high": high,
        "identified": fitted.sigma(indices) < enough,
    }


def _measured_plan(each: Launched) -> MeasuredPlan:
    background = each.prepared.background
    return MeasuredPlan(
        plan_hash=hashlib.sha256(each.plan.model_dump_json().encode()).hexdigest(),
        model=background.model,
        cluster=background.cluster,
        measured=each.measured_file,
        rows=len(each.rows),
    )


# -- factors ------------------------------------------------------------------------------------


def _keys(each: Launched, engine: str) -> list[FactorKey]:
    """Kernels that the plan runs, and those of embedding and head at its ends."""
    prepared, stages = each.prepared, plan_from_spec(each.plan, each.prepared).stages
    names, problem = prepared.background.gpu_names, prepared.problem
    kernels = {(use.gpu, use.format): use.kernel for use in prepared.background.kernels}
    gpus = [names[problem.groups[stage.group].device] for stage in stages]
    pairs: dict[tuple[str, str], str] = {}
    for gpu, stage in zip(gpus, stages, strict=True):
        for index in sorted(set(stage.formats)):
            format_name = problem.format_names[index]
            pairs[gpu, format_name] = kernels[gpu, format_name]
    for gpu in (gpus[0], gpus[-1]):
        full = full_kernel(engine, find_gpu(gpu))
        if full is not None:
            pairs[gpu, full[1].name] = full[0].kernel
    return [
        FactorKey(gpu, kernel, name, phase)
        for (gpu, name), kernel in pairs.items()
        for phase in PHASES
    ]


def _error(engine: str, key: FactorKey) -> float:
    gpu, layer_format = find_gpu(key.gpu), find_format(key.format)
    kernel = find_kernel(engine, layer_format, gpu, key.kernel)
    return error_of(gpu, engine, kernel, layer_format, key.phase).sigma


def _terms(prepared: Prepared, keys: Sequence[FactorKey]) -> tuple[ErrorTerm, ...]:
    """Which times of a problem the factors multiply: those of the engine first."""
    problem, background = prepared.problem, prepared.background
    gpus = np.array([background.gpu_names[group.device] for group in problem.groups])
    formats = np.array(problem.format_names)
    everywhere = np.ones(len(gpus), dtype=bool)
    terms = [
        _term(phase, np.ones((len(gpus), len(formats)), dtype=bool), everywhere) for phase in PHASES
    ]
    for key in keys:
        on_gpu = gpus == key.gpu
        cells = on_gpu[:, None] & (formats == key.format)
        is_full = key.format == "w16a16"
        terms.append(_term(key.phase, cells, on_gpu & is_full))
    return tuple(terms)


def _term(phase: Phase, cells: NDArray[np.bool_], ends: NDArray[np.bool_]) -> ErrorTerm:
    return ErrorTerm(
        name="factor",
        phase=phase,
        sigma=1.0,
        is_known=True,
        cells=cells,
        ends=ends,
    )


# -- loads --------------------------------------------------------------------------------------


def _observation(each: Launched, row: MeasuredRow, keys: Sequence[FactorKey]) -> Observation:
    """A load as a problem of its own, with the plan's stages and micro-batches."""
    plan = each.plan
    sizes = {
        phase: min(getattr(plan, f"{phase}_micro_batch") or row.batch_size, row.batch_size)
        for phase in PHASES
    }
    workload = {
        "batch_size": row.batch_size,
        "prompt_tokens": row.prompt_tokens,
        "output_tokens": row.output_tokens,
        **{f"{phase}_micro_batches": [size] for phase, size in sizes.items()},
    }
    left_out = {"workload", "calibration", "what_if", "regret"}
    data = each.request.model_dump(exclude_unset=True, exclude=left_out)
    try:
        prepared = prepare(parse_request({**data, "workload": workload}), folder=each.folder)
    except InvalidRequestError as error:
        problems = [Problem(row.pointer, problem.detail) for problem in error.problems]
        raise InvalidRequestError(problems) from error
    update = {
        "batch_size": row.batch_size,
        **{f"{phase}_micro_batch": size for phase, size in sizes.items()},
    }
    return Observation(
        problem=prepared.problem,
        plan=plan_from_spec(plan.model_copy(update=update), prepared),
        terms=_terms(prepared, keys),
        measured=row.values,
    )
