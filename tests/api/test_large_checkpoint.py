"""A random checkpoint of Llama-3.1-8B's shapes: time and memory of `hetplan sensitivity`."""

import json
import logging
import resource
import shutil
import struct
import subprocess
import sys
import time
from itertools import groupby

import numpy as np
import pytest

from tests.checkpoints import llama_config

CONFIG = llama_config(
    hidden_size=4096,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    intermediate_size=14336,
    vocab_size=128256,
    max_position_embeddings=8192,
)
DISK_BYTES = 40 * 1024**3  # free, of which 16 GB are written for a minute or so
BLOCK = 8 * 1024**2  # numbers that are drawn; they are written again and again
MOST_CPU_S, MOST_BYTES = 300, 1024**3


def shapes():
    hidden, ffn, keys = 4096, 14336, 1024
    yield "model.embed_tokens.weight", (128256, hidden)
    for layer in range(32):
        start = f"model.layers.{layer}"
        for name, shape in {
            "self_attn.q_proj": (hidden, hidden),
            "self_attn.k_proj": (keys, hidden),
            "self_attn.v_proj": (keys, hidden),
            "self_attn.o_proj": (hidden, hidden),
            "mlp.gate_proj": (ffn, hidden),
            "mlp.up_proj": (ffn, hidden),
            "mlp.down_proj": (hidden, ffn),
        }.items():
            yield f"{start}.{name}.weight", shape
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (128256, hidden)


def write_shard(path, tensors, block):
    """One file of bfloat16 tensors, filled with the block over and over."""
    header, offset = {}, 0
    for name, shape in tensors:
        size = 2 * int(np.prod(shape))
        ends = [offset, offset + size]
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": ends}
        offset += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        while offset:
            offset -= file.write(block[: min(offset, len(block))])


@pytest.fixture
def checkpoint(tmp_path):
    """Eight billion random weights in 16 shards."""
    if shutil.disk_usage(tmp_path).free < DISK_BYTES:
        pytest.skip("A checkpoint of 16 GB needs 40 GiB of free disk")
    numbers = np.random.default_rng(0).standard_normal(BLOCK).astype(np.float32) / 64
    block = (numbers.view(np.uint32) >> 16).astype("<u2").tobytes()
    folder = tmp_path / "random-8b"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    weight_map = {}
    for shard, group in groupby(enumerate(shapes()), key=lambda each: each[0] // 15):
        tensors = [tensor for _, tensor in group]
        file = f"model-{shard:05}.safetensors"
        write_shard(folder / file, tensors, block)
        weight_map |= {name: file for name, _ in tensors}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_eight_billion_weights_take_little_time_and_memory(checkpoint):
    """Of one process, its start included; ``--log-cli-level info`` tells what it took."""
    arguments = ["sensitivity", str(checkpoint), "--output", str(checkpoint / "omega.json")]
    code = f"import sys; from api.cli import main; sys.argv[1:] = {arguments!r}; main()"
    start_s = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    wall_s = time.monotonic() - start_s
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s, peak_bytes = used.ru_utime + used.ru_stime, used.ru_maxrss * 1024
    took = (cpu_s, wall_s, peak_bytes / 1024**2)
    logging.getLogger(__name__).info("%.1f s CPU, %.1f s by the clock, %.0f MiB", *took)
    assert cpu_s < MOST_CPU_S
    assert peak_bytes < MOST_BYTES
    omega = json.loads((checkpoint / "omega.json").read_text())
    assert len(omega["loss_nats"]) == 32
    # Random weights lose alike in every layer but the last, which counts twice.
    four = np.array([row[1] for row in omega["loss_nats"]])
    np.testing.assert_allclose(four[:-1] / four[:-1].mean(), 1, rtol=0.02)
    assert four[-1] / four[:-1].mean() == pytest.approx(2, rel=0.02)
