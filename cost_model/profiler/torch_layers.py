"""
A decoder layer, embedding and LM head as one GPU of a tensor-parallel group runs them.

Weights are random: times do not depend on them. Norm, rotary positions and activation function are
RMSNorm, rotation by halves and SiLU in every model; against the matrices their cost is small. Each
token goes to experts drawn evenly, as the latency model has it (`cost_model.work`).
"""

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from cost_model.profiler.torch_kernels import Matrix, TorchKernel
from profiles.architecture import LayerKind

__all__ = ["DecoderLayer", "KvCache", "random_rows"]

_BLOCK = 1 << 20
_SCALE = 0.02
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def random_rows(*shape: int, dtype: torch.dtype, where: str) -> Tensor:
    """Random numbers, one block of them repeated: quick, and no two neighbours alike."""
    source = torch.Generator().manual_seed(prod(shape) % 2**31)
    size = prod(shape)
    block = torch.randn(min(size, _BLOCK), generator=source).mul_(_SCALE).to(where, dtype)
    times = -(-size // len(block))
    return block.repeat(times)[:size].view(*shape)


class KvCache:
    """
    Keys and values of some requests, in 16 bits.

    Parameters
    ----------
    batch, tokens
        Requests, and tokens of each, the newest included.
    """

    def __init__(
        self, kind: LayerKind, tp: int, batch: int, tokens: int, dtype: torch.dtype, where: str
    ) -> None:
        seen = min(tokens, kind.window or tokens)
        shape = (batch, max(kind.kv_heads // tp, 1), seen, kind.head_dim)
        self.keys = random_rows(*shape, dtype=dtype, where=where)
        self.values = random_rows(*shape, dtype=dtype, where=where)


class _FeedForward:
    def __init__(self, gate_and_up: Matrix, down: Matrix, *, gated: bool) -> None:
        self._gate_and_up, self._down, self._gated = gate_and_up, down, gated

    def __call__(self, rows: Tensor) -> Tensor:
        inner = self._gate_and_up(rows)
        if self._gated:
            gate, up = inner.chunk(2, dim=-1)
            return self._down(functional.silu(gate) * up)
        return self._down(functional.silu(inner))


class DecoderLayer:
    """
    One GPU's part of a decoder layer.

    Parameters
    ----------
    kind, tp
        Shape of the layer; GPUs that share it.
    kernel
        What multiplies.
    where
        Device in PyTorch's words.
    """

    def __init__(self, kind: LayerKind, tp: int, kernel: TorchKernel, where: str) -> None:
        self._kind, self._kernel, self._where = kind, kernel, where
        self._heads, self._kv_heads = kind.heads // tp, max(kind.kv_heads // tp, 1)
        self.cache_dtype = torch.bfloat16 if kernel.dtype == torch.float32 else kernel.dtype
        queries = self._heads * kind.head_dim
        self._norms = [self._random(kind.hidden) for _ in range(2)]
        self._qkv = self._matrix(queries + 2 * self._kv_heads * kind.head_dim, kind.hidden)
        self._out = self._matrix(kind.hidden, queries)
        count = max(kind.num_experts, 1)
        self._experts = [self._feed_forward(kind.ffn // tp) for _ in range(count)]
        self._shared = self._feed_forward(kind.shared_ffn // tp) if kind.shared_ffn else None
        self._router = self._random(count, kind.hidden)

    def _random(self, *shape: int) -> Tensor:
        return random_rows(*shape, dtype=self._kernel.dtype, where=self._where)

    def _matrix(self, num_out: int, num_in: int) -> Matrix:
        return self._kernel.maker(self._random(num_out, num_in))

    def _feed_forward(self, width: int) -> _FeedForward:
        hidden, gated = self._kind.hidden, self._kind.gated
        inner = self._matrix((2 if gated else 1) * width, hidden)
        return _FeedForward(inner, self._matrix(hidden, width), gated=gated)

    # -- runs -----------------------------------------------------------------------------------

    def prefill(self, batch: int, tokens: int) -> Callable[[], Tensor]:
        """A run over the prompts of a micro-batch."""
        window = self._kind.window
        attend: Attend = _causal
        if window is not None and window < tokens:
            attend = _windowed(tokens, window, self._where)
        return self._run(batch, tokens, torch.arange(tokens), attend)

    def decode(self, cache: KvCache, tokens: int) -> Callable[[], Tensor]:
        """A run over one new token of each request of a cache, which then holds ``tokens``."""
        batch = len(cache.keys)

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            cache.keys[:, :, -1:] = key
            cache.values[:, :, -1:] = value
            # Heads of one group stand below each other: no copies of keys and values.
            grouped = query.view(batch, self._kv_heads, -1, self._kind.head_dim)
            return functional.scaled_dot_product_attention(
                grouped, cache.keys, cache.values
            ).view_as(query)

        return self._run(batch, 1, torch.tensor([tokens - 1]), attend)

    def _run(
        self, batch: int, tokens: int, positions: Tensor, attend: Attend
    ) -> Callable[[], Tensor]:
        hidden = self._random(batch * tokens, self._kind.hidden)
        turn = _rotation(positions, self._kind.head_dim, self._kernel.dtype, self._where)
        chosen = self._routes(batch * tokens)

        def run() -> Tensor:
            rows = self._attention(hidden, (batch, tokens), turn, attend)
            return rows + self._mixed(self._normed(rows, 1), chosen)

        return run

    def _normed(self, rows: Tensor, which: int) -> Tensor:
        return functional.rms_norm(rows, (self._kind.hidden,), self._norms[which])

    def _attention(
        self, hidden: Tensor, shape: tuple[int, int], turn: tuple[Tensor, Tensor], attend: Attend
    ) -> Tensor:
        dim, heads, kv_heads = self._kind.head_dim, self._heads, self._kv_heads
        mixed = self._qkv(self._normed(hidden, 0)).view(*shape, -1, dim).transpose(1, 2)
        query, key, value = mixed.split([heads, kv_heads, kv_heads], dim=1)
        query, key = _rotated(query, *turn), _rotated(key, *turn)
        found = attend(*(each.to(self.cache_dtype) for each in (query, key, value)))
        rows = found.transpose(1, 2).reshape(len(hidden), -1).to(hidden.dtype)
        return hidden + self._out(rows)

    # -- experts --------------------------------------------------------------------------------

    def _routes(self, rows: int) -> list[tuple[int, Tensor]]:
        """By expert that is touched: the rows that go to it; none for a dense layer."""
        kind = self._kind
        if not kind.num_experts:
            return []
        source = torch.Generator().manual_seed(rows)
        scores = torch.rand(rows, kind.num_experts, generator=source)
        chosen = scores.topk(kind.experts_per_token, dim=1).indices
        return [
            (expert, (chosen == expert).any(dim=1).nonzero().flatten().to(self._where))
            for expert in chosen.unique().tolist()
        ]

    def _mixed(self, rows: Tensor, chosen: list[tuple[int, Tensor]]) -> Tensor:
        if not self._kind.num_experts:
            return self._experts[0](rows)
        shares = functional.linear(rows, self._router).softmax(dim=-1)
        found = torch.zeros_like(rows) if self._shared is None else self._shared(rows)
        for expert, members in chosen:
            part = self._experts[expert](rows.index_select(0, members))
            share = shares[:, expert].index_select(0, members)
            found.index_add_(0, members, part * share[:, None])
        return found


def _causal(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(
        query, key, value, is_causal=True, enable_gqa=query.shape[1] != key.shape[1]
    )


def _windowed(tokens: int, window: int, where: str) -> Attend:
    """Causal attention to the last ``window`` tokens, a block of queries at a time."""
    blocks = []
    for start in range(0, tokens, window):
        end, first = min(start + window, tokens), max(start - window + 1, 0)
        back = torch.arange(start, end)[:, None] - torch.arange(first, end)
        blocks.append((start, end, first, ((back >= 0) & (back < window)).to(where)))

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        is_grouped = query.shape[1] != key.shape[1]
        parts = [
            functional.scaled_dot_product_attention(
                query[:, :, start:end],
                key[:, :, first:end],
                value[:, :, first:end],
                attn_mask=mask,
                enable_gqa=is_grouped,
            )
            for start, end, first, mask in blocks
        ]
        return torch.cat(parts, dim=2)

    return attend


def _rotation(
    positions: Tensor, head_dim: int, dtype: torch.dtype, where: str
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions, shape (tokens, head_dim / 2) each."""
    steps = torch.arange(0, head_dim // 2) / (head_dim // 2)
    angles = positions[:, None] * 10_000.0**-steps
    return angles.cos().to(where, dtype), angles.sin().to(where, dtype)


def _rotated(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    left, right = heads.chunk(2, dim=-1)
    return torch.cat([left * cosine - right * sine, right * cosine + left * sine], dim=-1)
