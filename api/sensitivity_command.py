"""The command that finds the losses of layers: read, work with progress, write."""

from dataclasses import dataclass
from pathlib import Path

from api.count_line import CountLine
from api.render_omega import show_omega
from api.sensitivities import SensitivityRequest, sensitivities
from api.telling import telling
from api.writing import keep_inputs, write_answer
from cost_model.rounding import Rounding
from cost_model.sensitivity import SensitivityChoice
from cost_model.weight_errors import Sampling
from profiles.errors import InputError

__all__ = ["SensitivityOptions", "sensitivity_to"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivityOptions:
    """The options of the command line as they are given; see its help."""

    model: str | None
    bits: str
    group_size: int
    symmetric: bool
    rows: int
    seed: int
    nats_at_4_bits: float | None
    last_layer: float | None
    calibrate: bool
    tokens: Path | None
    scores: Path | None
    in_nats: bool
    noise_percentile: float | None

    def request(self, source: str) -> SensitivityRequest:
        """What is asked of a checkpoint."""
        return SensitivityRequest(
            source=source,
            choice=self._choice(),
            model=self.model,
            scores=self.scores,
            noise_percentile=self.noise_percentile,
            in_nats=self.in_nats,
            calibrate=self.calibrate,
            tokens=self.tokens,
        )

    def _choice(self) -> SensitivityChoice:
        return SensitivityChoice(
            bits=_widths(self.bits),
            rounding=Rounding(group_size=self.group_size or None, symmetric=self.symmetric),
            sampling=Sampling(rows=self.rows, seed=self.seed),
            nats_at_4_bits=self.nats_at_4_bits,
            last_layer=self.last_layer,
        )


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise InputError(f"--bits is {text!r}; write widths as 3,4,8.") from None


def sensitivity_to(
    source: str, options: SensitivityOptions, output: Path | None, *, as_json: bool
) -> None:
    """
    Find the losses of a model's layers and write them.

    Parameters
    ----------
    source
        A folder or file of a checkpoint, a config.json, or a model of the catalogue.
    options
        What losses are wanted, and how they are to be found.
    output
        File to write; None is standard output.
    as_json
        Whether to write JSON, which requests take, not text.
    """
    inputs = [path for path in (options.scores, options.tokens) if path is not None]
    keep_inputs({"--output": output}, [Path(source), *inputs])
    line = CountLine("layers")
    with telling(source):
        try:
            omega = sensitivities(options.request(source), line)
        finally:
            line.close()
    write_answer(omega, lambda console: show_omega(omega, console), output, as_json=as_json)
