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
from profiles.units import GB

__all__ = ["TorchBench", "device_rates"]

Run = Callable[[], object]
_CACHES = 3
"""Copies of a layer together take this many times the last-level cache: each is read from memory,
as the layers of a whole model are."""
_MOST_COPIES = 8
_MAKING_BYTES = 8
"""Bytes per weight while the largest matrices are being made, at most."""
_MEMORY_SHARE = 0.8
_RATE_ROWS = 1024
_COPY_BYTES = 128 * 1024**2


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
    _layers_built: dict[object, list[DecoderLayer]] = field(default_factory=dict, init=False)
    _matrices_built: dict[object, list[torch.Tensor]] = field(default_factory=dict, init=False)

    @torch.inference_mode()
    def visit(self, subject: Subject, place: Place) -> Visit:
        """
        Run a subject at a place for a short while.

        Raises
        ------
        DoesNotFitError
            When the memory does not suffice.
        """
        self._make_room(subject, place)
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
        """Equal layers of a subject, kept as long as the memory suffices."""
        kernel, kind = self._kernel(subject), self._kind(subject)
        key = self._built_key(subject)
        if key not in self._layers_built:
            copies = self._copies(self._weight_bytes(subject))
            self._layers_built[key] = [
                DecoderLayer(kind, subject.tp, kernel, self.device.where) for _ in range(copies)
            ]
        return self._layers_built[key]

    def _built_key(self, subject: Subject) -> object:
        """What subjects have in common that run the same layers, or the same matrix."""
        if subject.layer_kind in (EMBEDDING, HEAD):
            return self._kernel(subject).dtype, subject.tp
        return self._kernel(subject), subject.layer_kind, subject.tp

    def _copies(self, num_bytes: float) -> int:
        wanted = ceil(_CACHES * self.device.cache_bytes / num_bytes)
        return min(max(wanted, 1), _MOST_COPIES)

    def _matrices(self, subject: Subject) -> list[torch.Tensor]:
        """Embedding or head, 16 bits, a vocabulary's share of rows."""
        key, dtype = self._built_key(subject), self._kernel(subject).dtype
        if key not in self._matrices_built:
            shape = ceil(self.model.vocab / subject.tp), self.model.hidden
            copies = self._copies(self._weight_bytes(subject))
            self._matrices_built[key] = [
                random_rows(*shape, dtype=dtype, where=self.device.where) for _ in range(copies)
            ]
        return self._matrices_built[key]

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

    def _make_room(self, subject: Subject, place: Place) -> None:
        """
        Drop what else is built where memory is short.

        Refuses what would still not fit, before the system kills the process for it.
        """
        if self._is_short(subject, place):
            self._layers_built.clear()
            self._matrices_built.clear()
        if self._is_short(subject, place):
            needed = self._needed_bytes(subject, place) / GB
            free = self.device.free_bytes() / GB
            raise DoesNotFitError(
                f"about {needed:.2f} GB are needed, {_MEMORY_SHARE:.0%} of {free:.2f} GB may be "
                "used"
            )

    def _is_short(self, subject: Subject, place: Place) -> bool:
        key, needed = self._built_key(subject), self._needed_bytes(subject, place)
        if key in self._layers_built or key in self._matrices_built:
            weight = self._weight_bytes(subject)
            needed -= weight * self._copies(weight)
        return needed > _MEMORY_SHARE * self.device.free_bytes()

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
