"""Plans as people write them (or as answers give them) to the solver's."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from api.prepared import Prepared
from api.problems import ProblemList, pointer_to
from api.schemas.plan import FormatRun, GivenPlan, GivenStage, PlanSpec, StageSpec
from profiles.errors import InputError
from profiles.gpus import gpu_aliases
from solver import PipelineProblem, Plan, Stage

__all__ = ["plan_from_spec"]

AnyStage = StageSpec | GivenStage


def plan_from_spec(spec: PlanSpec | GivenPlan, prepared: Prepared) -> Plan:
    """
    The plan that was written down.

    Raises
    ------
    InvalidRequestError
        When it names GPUs, formats, layers or sizes that the request does not have; all are
        listed.
    """
    problems = ProblemList()
    given: Sequence[AnyStage] = spec.stages
    stages = []
    taken: Counter[tuple[int, int]] = Counter()
    for position, stage in enumerate(given):
        pointer = pointer_to("plan", "stages", position)
        with problems.catching(pointer):
            group = _group_of(stage, prepared, pointer)
            _check_numbers(stage, group, prepared.problem, taken, pointer)
            formats = _formats_of(stage, prepared.problem, pointer)
            stages.append(Stage(group=group, first_layer=stage.first_layer, formats=formats))
    sizes: dict[str, int] = {}
    with problems.catching("/plan"):
        sizes = _sizes(spec, prepared.problem, problems)
    problems.raise_if_any()
    return Plan(**sizes, stages=tuple(stages))


# -- sizes ------------------------------------------------------------------------------------


def _sizes(
    spec: PlanSpec | GivenPlan, problem: PipelineProblem, problems: ProblemList
) -> dict[str, int]:
    """Batch size and micro-batch sizes by field; those left out must leave no choice."""
    batches = problem.batches
    batch = _only("batch_size", spec.batch_size, [option.size for option in batches])
    option = next((option for option in batches if option.size == batch), None)
    if option is None:
        known = ", ".join(str(option.size) for option in batches)
        raise InputError(
            f"Batch {batch} is not among the request's: {known}.", pointer="/plan/batch_size"
        )
    sizes = {"batch_size": batch}
    for field, given, indices in (
        ("prefill_micro_batch", spec.prefill_micro_batch, option.prefill),
        ("decode_micro_batch", spec.decode_micro_batch, option.decode),
    ):
        with problems.catching():
            candidates = [int(problem.micro_batches[index]) for index in indices]
            sizes[field] = _candidate(field, given, candidates, batch)
    return sizes


def _candidate(field: str, given: int | None, candidates: Sequence[int], batch: int) -> int:
    size = _only(field, given, candidates)
    if size not in candidates:
        raise InputError(
            f"{field} is {size}, which is not among the request's candidates for batch {batch}: "
            f"{', '.join(map(str, candidates))}; take one of these, or list {size} in "
            f"{field}es of the request.",
            pointer=f"/plan/{field}",
        )
    return size


def _only(field: str, given: int | None, choices: Sequence[int]) -> int:
    if given is not None:
        return given
    if len(choices) > 1:
        raise InputError(
            f"{field} is missing and the request leaves a choice: "
            f"{', '.join(map(str, choices))}; add it to the plan.",
            pointer=f"/plan/{field}",
        )
    return choices[0]


# -- GPUs -------------------------------------------------------------------------------------


def _same(name: str, known: Iterable[str]) -> str:
    """The known name that is meant, whatever its case; else the name itself."""
    by_lower = {each.lower(): each for each in known}
    return name if name in by_lower.values() else by_lower.get(name.lower(), name)


def _group_of(stage: AnyStage, prepared: Prepared, pointer: str) -> int:
    problem, names = prepared.problem, prepared.background.gpu_names
    places = {
        (problem.node_names[device.node], name): index
        for index, (device, name) in enumerate(zip(problem.devices, names, strict=True))
    }
    device = _device(stage, places)
    if device is None:
        known = ", ".join(f"{gpu} on {node}" for node, gpu in places)
        raise InputError(
            f"There is no {stage.gpu} on node {stage.node!r}. There are: {known}.",
            pointer=f"{pointer}/gpu",
        )
    sizes = {g.tensor_parallel: i for i, g in enumerate(problem.groups) if g.device == device}
    if stage.tensor_parallel not in sizes:
        raise InputError(
            f"tensor_parallel is {stage.tensor_parallel}; on {stage.gpu} of {stage.node!r} it may "
            f"be {', '.join(map(str, sorted(sizes))) or 'nothing: no format runs there'}.",
            pointer=f"{pointer}/tensor_parallel",
        )
    return sizes[stage.tensor_parallel]


def _device(stage: AnyStage, places: Mapping[tuple[str, str], int]) -> int | None:
    """Device class by node and GPU type, by alias and in any case too."""
    node = _same(stage.node, [node for node, _ in places])
    here = [gpu for at, gpu in places if at == node]
    name = _same(stage.gpu, here)
    if name not in here:
        name = gpu_aliases().get(name.lower(), name)
    return places.get((node, name))


def _check_numbers(
    stage: AnyStage,
    group: int,
    problem: PipelineProblem,
    taken: Counter[tuple[int, int]],
    pointer: str,
) -> None:
    """GPUs that are named must exist, once each, as many as the stage has."""
    if not stage.gpu_numbers:
        return
    pointer = f"{pointer}/gpu_numbers"
    device = problem.groups[group].device
    count = problem.devices[device].count
    where = f"{stage.gpu} on node {stage.node!r}"
    if len(stage.gpu_numbers) != stage.tensor_parallel:
        raise InputError(
            f"gpu_numbers has {len(stage.gpu_numbers)} entries, but tensor_parallel is "
            f"{stage.tensor_parallel}; name each GPU of the stage once, or leave it out.",
            pointer=pointer,
        )
    for number in stage.gpu_numbers:
        if not 0 <= number < count:
            raise InputError(
                f"There is no {where} with number {number}; they are numbered 0 to {count - 1}.",
                pointer=pointer,
            )
        taken[device, number] += 1
        if taken[device, number] > 1:
            raise InputError(
                f"Number {number} of {where} is used twice; name every GPU once.", pointer=pointer
            )


# -- formats ----------------------------------------------------------------------------------


def _formats_of(stage: AnyStage, problem: PipelineProblem, pointer: str) -> tuple[int, ...]:
    if stage.last_layer < stage.first_layer or stage.last_layer >= problem.num_layers:
        raise InputError(
            f"Layers {stage.first_layer} to {stage.last_layer} are not within the model's, "
            f"0 to {problem.num_layers - 1}.",
            pointer=f"{pointer}/last_layer",
        )
    known = problem.format_names
    num_layers = stage.last_layer - stage.first_layer + 1
    given = (
        [stage.formats] * num_layers
        if isinstance(stage.formats, str)
        else _layer_by_layer(stage.formats, stage.first_layer, problem.num_layers, pointer)
    )
    names = [_same(name, known) for name in given]
    _check_complete(stage, names, [_same(name, known) for name in stage.layer_formats], pointer)
    for position, name in enumerate(names):
        if name not in known:
            raise InputError(
                f"Layer {stage.first_layer + position} has format {name!r}, which the request "
                f"does not have. It has: {', '.join(known)}.",
                pointer=f"{pointer}/formats",
            )
    return tuple(known.index(name) for name in names)


def _layer_by_layer(
    runs: Sequence[FormatRun], first_layer: int, most: int, pointer: str
) -> list[str]:
    names: list[str] = []
    for position, run in enumerate(runs):
        if run.first_layer != first_layer + len(names) or run.last_layer < run.first_layer:
            raise InputError(
                f"Layers {run.first_layer} to {run.last_layer} do not follow layer "
                f"{first_layer + len(names) - 1}; list every layer of the stage once, in order.",
                pointer=f"{pointer}/formats/{position}",
            )
        names += [run.format] * min(run.last_layer - run.first_layer + 1, most)
    return names


def _check_complete(stage: AnyStage, names: list[str], again: list[str], pointer: str) -> None:
    num_layers = stage.last_layer - stage.first_layer + 1
    if len(names) != num_layers:
        raise InputError(
            f"formats cover {len(names)} layers, but the stage has {num_layers}.",
            pointer=f"{pointer}/formats",
        )
    if again and again != names:
        raise InputError(
            "layer_formats and formats disagree; correct one or leave layer_formats out.",
            pointer=f"{pointer}/layer_formats",
        )
