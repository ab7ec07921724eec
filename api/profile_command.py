"""The command that profiles: find the device, probe its kernels, measure, write the table."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import typer

from api.names import found
from api.profile_device import gpu_of_device, needing_torch, own_gpus_with
from api.profile_progress import ProfileProgress
from api.progress import run_until_interrupt
from api.reading import read_text
from api.render_profile import ProfileSummary, show_kernels, show_profile
from api.telling import NO_PLAN, telling
from api.version import hetplan_version
from api.writing import check_suffix, write_text
from cost_model.profiler.bench import measure
from cost_model.profiler.campaign import Ranges, campaign
from cost_model.profiler.journal import Journal
from cost_model.profiler.rows import ROW_COLUMNS, TableMaker
from cost_model.profiler.subjects import Span, Subject
from profiles.errors import InputError
from profiles.gpus import Gpu
from profiles.links import Link, find_link
from profiles.models import Model, find_model, load_models, model_from_config
from profiles.tables import read_cost_table

if TYPE_CHECKING:
    from cost_model.profiler.torch_devices import CpuDevice, CudaDevice
    from cost_model.profiler.torch_kernels import Probe, TorchKernel

__all__ = ["ProfileOptions", "kernels_to", "profile_layers_to"]

OK = 0
_PERCENT = 100
_OTHER_MODELS = "Give the path of any other decoder's config.json."


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileOptions:
    """Options of the command line, ranges as text such as ``1-32``."""

    name: str | None
    device: str
    gpu: str | None
    engine: str
    kernels: str | None
    batch: str
    prompt: str
    context: str
    tp: str
    link: str | None
    tolerance_percent: float
    visits: int
    threads: int
    time_limit_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setup:
    """What is measured, on what, and for which table."""

    device: "CpuDevice | CudaDevice"
    gpu: Gpu
    model: Model
    kernels: "Mapping[tuple[str, str, str], TorchKernel]"
    spans: Mapping[Subject, Span]
    refusals: Sequence[str]
    maker: TableMaker


def kernels_to(device_name: str, engine: str) -> None:
    """List the kernels of an engine on a device, and why others do not run there."""
    with telling("the options"), needing_torch():
        from cost_model.profiler.torch_devices import find_device
        from cost_model.profiler.torch_kernels import probe_kernels

        device = find_device(device_name)
        show_kernels(device.name, probe_kernels(device, gpu_of_device(device, None), engine))


def profile_layers_to(model_text: str, output: Path, options: ProfileOptions) -> int:
    """
    Measure the layers of a model on this machine and write the cost table.

    Parameters
    ----------
    model_text
        Name of the catalogue, or path of a config.json.
    output
        The table, .csv; its journal lies beside it.
    options
        How.

    Returns
    -------
    int
        The exit code: 4 where time ran out, or Ctrl-C came, before the table was fine enough.
    """
    check_suffix(output, "--output", (".csv", ".csv"))
    with telling(model_text):
        model = _model(model_text, options.name)
    with telling("the options"), needing_torch():
        setup = _setup(model, options)
        journal = Journal.open(_journal_path(output), _header(setup, options), setup.device.share)
    is_done, rates = _measured(setup, journal, options)
    with telling(str(journal.path)):
        rows = setup.maker.rows(journal, setup.spans)
        checks = setup.maker.checks(journal, setup.spans)
    if rows:
        write_text(_csv(rows), output, "--output")
        read_cost_table(output, own_gpus_with(setup.gpu))
    show_profile(
        ProfileSummary(
            table=output if rows else None,
            journal=journal,
            gpu=setup.gpu,
            rates=rates,
            rows=rows,
            checks=checks,
            refusals=setup.refusals,
            is_done=is_done,
        )
    )
    return OK if is_done else NO_PLAN


def _journal_path(output: Path) -> Path:
    """Where the journal of a table lies."""
    return output.with_suffix(".journal.jsonl")


# -- options ------------------------------------------------------------------------------------


def _model(text: str, name: str | None) -> Model:
    path = Path(text)
    if path.suffix != ".json":
        return found(find_model, text, "", load_models(), _OTHER_MODELS)
    try:
        config, _ = read_text(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text: {error}.") from None
    if not isinstance(config, dict):
        raise InputError(f"{path} does not hold an object; give the model's config.json.")
    if name is None:
        raise InputError(f"{path} does not name the model; add --name, as requests will say it.")
    return model_from_config(config, name)


def _range(option: str, text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    try:
        return int(low), int(high or low)
    except ValueError:
        raise InputError(
            f"{option} is {text!r}; give a whole number or a range such as 1-32."
        ) from None


def _sizes(text: str) -> tuple[int, ...]:
    allowed = ("1", "2", "4", "8")
    sizes = [size.strip() for size in text.split(",")]
    if not set(sizes) <= set(allowed):
        raise InputError(f"--tp is {text!r}; give some of 1, 2, 4, 8, with commas between.")
    return tuple(sorted({int(size) for size in sizes}))


def _link(options: ProfileOptions, gpu: Gpu, sizes: Sequence[int]) -> Link | None:
    if max(sizes) == 1:
        return None
    return find_link(options.link or gpu.link)


# -- setup --------------------------------------------------------------------------------------


def _setup(model: Model, options: ProfileOptions) -> _Setup:
    from cost_model.profiler.torch_devices import find_device
    from cost_model.profiler.torch_kernels import probe_kernels

    device = find_device(options.device, options.threads)
    gpu = gpu_of_device(device, options.gpu)
    probes = probe_kernels(device, gpu, options.engine)
    kernels = {(p.engine, p.name, p.format): p.kernel for p in _wanted(probes, options.kernels)}
    sizes = _sizes(options.tp)
    ranges = Ranges(
        batch=_range("--batch", options.batch),
        prompt_tokens=_range("--prompt", options.prompt),
        context_tokens=_range("--context", options.context),
        tp=sizes,
    )
    groups = {key: kernel.group_size for key, kernel in kernels.items()}
    spans, notes = campaign(model, list(groups.items()), ranges)
    if not spans:
        raise InputError(f"There is nothing to measure: {'; '.join(notes)}.")
    refusals = [f"{p.name} ({p.format}): {p.refusal}" for p in probes if p.kernel is None]
    maker = TableMaker(
        gpu=gpu.name,
        model=model,
        source=_source(device),
        group_sizes=groups,
        link=_link(options, gpu, sizes),
        tolerance=options.tolerance_percent / _PERCENT,
        visits=options.visits,
    )
    return _Setup(
        device=device,
        gpu=gpu,
        model=model,
        kernels=kernels,
        spans=spans,
        refusals=[*refusals, *notes],
        maker=maker,
    )


def _wanted(probes: "Sequence[Probe]", names: str | None) -> "list[Any]":
    """Probes of kernels that run, those named where some are."""
    running = [probe for probe in probes if probe.kernel is not None]
    if not running:
        reasons = "; ".join(f"{probe.name}: {probe.refusal}" for probe in probes)
        raise InputError(f"No kernel runs here ({reasons or 'none is known for this engine'}).")
    if names is None:
        return running
    asked = [name.strip() for name in names.split(",")]
    by_name = {probe.name: probe for probe in probes}
    for name in asked:
        if name not in by_name:
            raise InputError(
                f"--kernels names {name!r}; there are {', '.join(by_name)}, with commas between."
            )
        if by_name[name].kernel is None:
            raise InputError(
                f"--kernels names {name!r}, which does not run here: {by_name[name].refusal}."
            )
    return [probe for probe in running if probe.name in asked]


def _source(device: "CpuDevice | CudaDevice") -> str:
    facts = device.facts()
    threads = f", {facts['threads']} thread(s)" if "threads" in facts else ""
    today = datetime.now(UTC).date().isoformat()
    return (
        f"hetplan {hetplan_version()} profile, {today}: {device.name}{threads}, "
        f"PyTorch {facts['torch']}"
    )


def _header(setup: _Setup, options: ProfileOptions) -> Mapping[str, Any]:
    return {
        "hetplan": hetplan_version(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "gpu": setup.gpu.name,
        "model": setup.model.name,
        "layers": [repr(kind) for kind in setup.model.kinds],
        "facts": dict(setup.device.facts()),
        "visits": options.visits,
    }


# -- measuring ----------------------------------------------------------------------------------


def _measured(
    setup: _Setup, journal: Journal, options: ProfileOptions
) -> tuple[bool, tuple[float, float] | None]:
    """Whether all is measured, and the device's rates where plans need them stated."""
    from cost_model.profiler.torch_bench import TorchBench, device_rates

    progress = ProfileProgress()
    end = None if options.time_limit_s is None else monotonic() + options.time_limit_s
    bench = TorchBench(device=setup.device, model=setup.model, kernels=setup.kernels)

    def work(cancelled: Callable[[], bool]) -> tuple[bool, tuple[float, float] | None]:
        with ExitStack() as stack:
            stack.enter_context(setup.device)
            done = measure(
                bench,
                setup.spans,
                journal,
                tolerance=setup.maker.tolerance,
                visits=setup.maker.visits,
                stopped=lambda: cancelled() or (end is not None and monotonic() > end),
                on_event=progress,
            )
            if not (done and own_gpus_with(setup.gpu)):
                return done, None
            return True, device_rates(setup.device, next(iter(setup.kernels.values())).dtype)

    def tell() -> None:
        typer.echo("Stopping after this visit; the same command goes on from there.", err=True)

    with telling(str(journal.path)):
        try:
            return run_until_interrupt(work, tell)
        finally:
            progress.close()
    raise typer.Exit(NO_PLAN)


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(ROW_COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
