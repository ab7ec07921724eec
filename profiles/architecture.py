"""The nouns of a model: a kind of decoder layer, and a stack of them."""

from dataclasses import dataclass

from profiles.errors import InputError

__all__ = ["LayerKind", "Model"]

_BYTES_16_BIT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerKind:
    """
    The shape of a decoder layer; layers of equal kind cost the same.

    Parameters
    ----------
    name
        Unique within the model; the ``layer_kind`` of cost tables.
    hidden
        Width of the residual stream.
    heads, kv_heads, head_dim
        Query heads, heads of keys and values (a divisor of ``heads``), width of each.
    ffn
        Inner width of the feed-forward network, or of each expert.
    gated
        Whether the network has a gate beside its up and down matrices.
    num_experts, experts_per_token
        Routed experts and how many of them a token visits; 0 for a dense layer.
    shared_ffn
        Inner width of the expert that every token visits; 0 for none.
    window
        Tokens the attention looks back; None for all.
    small_weights
        Parameters that stay at 16 bits in every format: norms, biases, router.
    """

    name: str
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    gated: bool
    num_experts: int = 0
    experts_per_token: int = 0
    shared_ffn: int = 0
    window: int | None = None
    small_weights: int = 0

    def __post_init__(self) -> None:
        """Refuse shapes that no layer can have."""
        for field in ("hidden", "heads", "kv_heads", "head_dim", "ffn"):
            if getattr(self, field) < 1:
                raise self._wrong(f"{field} is {getattr(self, field)}; it must be at least 1")
        if self.heads % self.kv_heads:
            raise self._wrong(f"kv_heads {self.kv_heads} does not divide heads {self.heads}")
        if not min(self.num_experts, 1) <= self.experts_per_token <= self.num_experts:
            raise self._wrong(
                f"experts_per_token is {self.experts_per_token} of {self.num_experts} experts"
            )
        if self.window is not None and self.window < 1:
            raise self._wrong(f"window is {self.window}; it must be at least 1, or none")

    def _wrong(self, what: str) -> InputError:
        return InputError(f"Layer kind {self.name!r}: {what}.")

    @property
    def attention_weights(self) -> int:
        """Parameters of the four attention matrices."""
        return self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads)

    @property
    def matrices_per_ffn(self) -> int:
        """Matrices of one feed-forward network: up and down, and the gate if there is one."""
        return 3 if self.gated else 2

    @property
    def expert_weights(self) -> int:
        """Parameters of one routed expert, or of the whole network of a dense layer."""
        return self.matrices_per_ffn * self.hidden * self.ffn

    @property
    def shared_weights(self) -> int:
        """Parameters of the shared expert."""
        return self.matrices_per_ffn * self.hidden * self.shared_ffn

    @property
    def ffn_weights(self) -> int:
        """Parameters of the feed-forward network, all experts together."""
        return max(self.num_experts, 1) * self.expert_weights + self.shared_weights

    @property
    def active_ffn_weights(self) -> int:
        """Parameters of the feed-forward network that one token is multiplied with."""
        return max(self.experts_per_token, 1) * self.expert_weights + self.shared_weights

    @property
    def weights(self) -> int:
        """Parameters that a format stores: attention and feed-forward matrices."""
        return self.attention_weights + self.ffn_weights

    @property
    def active_weights(self) -> int:
        """Those of `weights` that one token is multiplied with."""
        return self.attention_weights + self.active_ffn_weights

    @property
    def small_bytes(self) -> int:
        """Bytes of what stays at 16 bits."""
        return _BYTES_16_BIT * self.small_weights

    @property
    def kv_width(self) -> int:
        """Numbers that the cache keeps per token: keys and values of every head."""
        return 2 * self.kv_heads * self.head_dim


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """
    A decoder-only language model.

    Parameters
    ----------
    name
        As the catalogue or the user calls it.
    hidden, vocab
        Width of the residual stream; number of tokens in the vocabulary.
    tied_embeddings
        Whether the LM head is the embedding matrix.
    learned_positions
        Rows of the matrix of learned positions; 0 if there is none.
    kinds
        The kinds of layer that occur.
    layer_kinds
        Index into ``kinds`` of every layer, from the first to the last.
    pretrained
        Whether the weights are a real training's: its last layer is the most sensitive one.
    source
        Where the figures come from.
    small_weights
        Parameters beside layers, embedding and head: final norm and the like.
    max_positions
        Tokens of prompt and answer together that the model was made for; None when unknown.
    notes
        What the user should know about how the model was read, one sentence each.
    model_type
        The family as its config.json names it; empty when unknown.
    """

    name: str
    hidden: int
    vocab: int
    tied_embeddings: bool
    learned_positions: int
    kinds: tuple[LayerKind, ...]
    layer_kinds: tuple[int, ...]
    pretrained: bool
    source: str
    small_weights: int = 0
    max_positions: int | None = None
    notes: tuple[str, ...] = ()
    model_type: str = ""

    def __post_init__(self) -> None:
        """Refuse a model without layers, or with layers of no known kind."""
        if not self.layer_kinds:
            raise InputError(f"Model {self.name!r} has no layers; it must have at least one.")
        if not set(self.layer_kinds) <= set(range(len(self.kinds))):
            raise InputError(
                f"Model {self.name!r} has {len(self.kinds)} kinds of layer, but layer_kinds "
                f"names {max(self.layer_kinds)}; count from 0."
            )

    @property
    def num_layers(self) -> int:
        """Number of decoder layers."""
        return len(self.layer_kinds)

    @property
    def layers(self) -> tuple[LayerKind, ...]:
        """The kind of every layer, from the first to the last."""
        return tuple(self.kinds[index] for index in self.layer_kinds)

    @property
    def embedding_weights(self) -> int:
        """Parameters of token embedding and learned positions."""
        return (self.vocab + self.learned_positions) * self.hidden

    @property
    def head_weights(self) -> int:
        """Parameters of the LM head, whether or not they are those of the embedding."""
        return self.vocab * self.hidden

    @property
    def num_parameters(self) -> int:
        """All parameters, those of tied embeddings counted once."""
        layers = sum(kind.weights + kind.small_weights for kind in self.layers)
        head = 0 if self.tied_embeddings else self.head_weights
        return layers + self.embedding_weights + head + self.small_weights
