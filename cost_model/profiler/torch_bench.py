"""The bench of a PyTorch device: builds what a subject is about, and runs it at a place."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

import torch
from torch.nn import functional

from cost_model.profiler.bench import DoesNotFitError
from cost_model.profiler.journal import Visit
from cost_model.profiler.subjects import EMBEDDING, HEAD, Place, Subject
from cost_model.profiler.torch_devices import Device
from cost_model.profiler.torch_kernels import TorchKernel
from cost_model.profiler.torch_layers import DecoderLayer, KvCache, random_rows
from profiles.architecture import LayerKind, Model
from profiles.formats import find_format

__all__ = ["TorchBench", "device_rates"]

Run = Callable[[], object]
_CACHES = 3
"""Copies of a layer together take this many times the last-level cache: each is read from memory,
as the layers of a whole model are."""
_MOST_COPIES = 8
_MAKING_BYTES = 8
"""Bytes per weight while the largest matrices are being made, at most."""
_MEMORY_SHARE = 0.8
_RATE_ROWS = 2048
_COPY_BYTES = 256 * 1024**2


@dataclass(slots=True, kw_only=True, eq=False)
class TorchBench:
    """
    See `cost_model.profiler.bench.Bench`.

    Parameters
    ----------
    device
        Where it runs.
    model
        Gives the shapes.
    kernels
        By engine, name and format.
    """

    device: Device
    model: Model
    kernels: Mapping[tuple[str, str, str], TorchKernel]
    _built: tuple[object, list[DecoderLayer] | list[torch.Tensor]] = field(
        default=(None, []), init=False
    )

    @torch.inference_mode()
    def visit(self, subject: Subject, place: Place) -> Visit:
        """
        Run a subject at a place for a short while.

        Raises
        ------
        DoesNotFitError
            When the memory does not suffice.
        """
        self._check_memory(subject, place)
        runs = [self.device.prepared(run) for run in self._runs(subject, place)]
        timing = self.device.timed(runs)
        return Visit(seconds=timing.seconds, runs=timing.runs, clock_mhz=self.device.clock_mhz())

    # -- what runs ------------------------------------------------------------------------------

    def _kernel(self, subject: Subject) -> TorchKernel:
        return self.kernels[subject.engine, subject.kernel, subject.format]

    def _kind(self, subject: Subject) -> LayerKind:
        return next(kind for kind in self.model.kinds if kind.name == subject.layer_kind)

    def _runs(self, subject: Subject, place: Place) -> Sequence[Run]:
        if subject.layer_kind == EMBEDDING:
            return self._embedding_runs(subject, place)
        if subject.layer_kind == HEAD:
            return self._head_runs(subject, place)
        layers = self._layers(subject)
        if subject.phase == "prefill":
            return [layer.prefill(*place) for layer in layers]
        caches = [self._cache(subject, place, layer) for layer in layers]
        return [
            layer.decode(cache, place.tokens) for layer, cache in zip(layers, caches, strict=True)
        ]

    def _cache(self, subject: Subject, place: Place, layer: DecoderLayer) -> KvCache:
        kind, where = self._kind(subject), self.device.where
        return KvCache(kind, subject.tp, *place, layer.cache_dtype, where)

    def _layers(self, subject: Subject) -> list[DecoderLayer]:
        """Equal layers of a subject, kept until others are asked for."""
        kernel, kind = self._kernel(subject), self._kind(subject)
        key = (kernel, kind.name, subject.tp)
        if self._built[0] != key:
            self._built = (None, [])  # frees the memory first
            copies = self._copies(self._weight_bytes(subject))
            where = self.device.where
            layers = [DecoderLayer(kind, subject.tp, kernel, where) for _ in range(copies)]
            self._built = (key, layers)
        return self._built[1]  # type: ignore[return-value]

    def _copies(self, num_bytes: float) -> int:
        wanted = ceil(_CACHES * self.device.cache_bytes / num_bytes)
        return min(max(wanted, 1), _MOST_COPIES)

    def _matrices(self, subject: Subject) -> list[torch.Tensor]:
        """Embedding or head, 16 bits, a vocabulary's share of rows."""
        dtype = self._kernel(subject).dtype
        key = (dtype, EMBEDDING, subject.tp)
        if self._built[0] != key:
            self._built = (None, [])
            rows = ceil(self.model.vocab / subject.tp)
            where, hidden = self.device.where, self.model.hidden
            copies = self._copies(self._weight_bytes(subject))
            matrices = [random_rows(rows, hidden, dtype=dtype, where=where) for _ in range(copies)]
            self._built = (key, matrices)
        return self._built[1]  # type: ignore[return-value]

    def _embedding_runs(self, subject: Subject, place: Place) -> Sequence[Run]:
        rows = place.batch * (place.tokens if subject.phase == "prefill" else 1)
        source = torch.Generator().manual_seed(rows)
        matrices = self._matrices(subject)
        drawn = torch.randint(len(matrices[0]), (rows,), generator=source)
        tokens = drawn.to(self.device.where)
        return [_Embedding(tokens, matrix) for matrix in matrices]

    def _head_runs(self, subject: Subject, place: Place) -> Sequence[Run]:
        matrices, dtype = self._matrices(subject), self._kernel(subject).dtype
        where = self.device.where
        rows = random_rows(place.batch, self.model.hidden, dtype=dtype, where=where)
        return [_Product(rows, matrix) for matrix in matrices]

    # -- memory ---------------------------------------------------------------------------------

    def _weight_bytes(self, subject: Subject) -> float:
        """Of one copy of what the subject is about."""
        if subject.layer_kind in (EMBEDDING, HEAD):
            return 2 * self.model.vocab * self.model.hidden / subject.tp
        bits = find_format(subject.format).bits_per_weight
        return self._kind(subject).weights * bits / 8 / subject.tp

    def _check_memory(self, subject: Subject, place: Place) -> None:
        """Refuse what would not fit before the system kills the process for it."""
        free = _MEMORY_SHARE * (self.device.free_bytes() + self._held_bytes(subject))
        needed = self._needed_bytes(subject, place)
        if needed > free:
            raise DoesNotFitError(
                f"about {needed / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB may be used"
            )

    def _held_bytes(self, subject: Subject) -> float:
        """What copies built already take, which `_needed_bytes` counts again."""
        weight = self._weight_bytes(subject)
        return weight * self._copies(weight) if self._built[1] else 0.0

    def _needed_bytes(self, subject: Subject, place: Place) -> float:
        weight = self._weight_bytes(subject)
        copies, hidden = self._copies(weight), self.model.hidden
        rows = place.batch * (place.tokens if subject.phase == "prefill" else 1)
        if subject.layer_kind in (EMBEDDING, HEAD):
            wide = self.model.vocab / subject.tp if subject.layer_kind == HEAD else hidden
            return weight * copies + 4 * rows * (hidden + wide)
        kind, tp = self._kind(subject), subject.tp
        making = _MAKING_BYTES * kind.hidden * max(2 * kind.ffn, kind.hidden) / tp
        seen = min(place.tokens, kind.window or place.tokens)
        cache = 2 * place.batch * seen * kind.kv_width / min(tp, kind.kv_heads)
        cache *= copies if subject.phase == "decode" else 1
        inner = max(kind.experts_per_token, 1) * 3 * kind.ffn / tp
        activations = 4 * rows * (6 * hidden + 3 * kind.heads * kind.head_dim / tp + inner)
        return weight * copies + making + cache + activations * (copies * 0.2 + 0.8)


class _Embedding:
    def __init__(self, tokens: torch.Tensor, matrix: torch.Tensor) -> None:
        self._tokens, self._matrix = tokens, matrix

    def __call__(self) -> torch.Tensor:
        return functional.embedding(self._tokens, self._matrix)


class _Product:
    def __init__(self, rows: torch.Tensor, matrix: torch.Tensor) -> None:
        self._rows, self._matrix = rows, matrix

    def __call__(self) -> torch.Tensor:
        return functional.linear(self._rows, self._matrix)


@torch.inference_mode()
def device_rates(device: Device, dtype: torch.dtype) -> tuple[float, float]:
    """
    Bytes per second of a long copy (read and written), and FLOP per second of a large product.

    Parameters
    ----------
    device
        Where.
    dtype
        Of the product.
    """
    where = device.where
    one = random_rows(_COPY_BYTES // 2, dtype=torch.float16, where=where)
    other = torch.empty_like(one)
    copying = device.timed([lambda: other.copy_(one)]).seconds
    left = random_rows(_RATE_ROWS, _RATE_ROWS, dtype=dtype, where=where)
    right = random_rows(_RATE_ROWS, _RATE_ROWS, dtype=dtype, where=where)
    multiplying = device.timed([lambda: functional.linear(left, right)]).seconds
    return 2 * _COPY_BYTES / copying, 2 * _RATE_ROWS**3 / multiplying
