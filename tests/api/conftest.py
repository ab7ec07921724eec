"""Requests to vary, and an application whose searches run in the test's own process."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api.main import create_app
from api.settings import Settings


class InlinePool:
    """Runs work at once and here; `seen` counts how often."""

    def __init__(self) -> None:
        self.seen = 0

    async def run(self, work: Callable[..., Any], *arguments: object) -> Any:
        self.seen += 1
        return work(*arguments)

    def close(self) -> None:
        pass


@pytest.fixture
def small_request() -> dict[str, Any]:
    """OPT-1.3b on one T4: builds in milliseconds."""
    return {
        "model": "opt-1.3b",
        "engine": {"name": "vllm", "kernels": {"T4": {"w4a16": "gptq_gemm"}}},
        "cluster": {
            "nodes": [
                {"name": "a", "gpus": [{"type": "T4", "count": 2}], "link": "pcie3-x16"},
                {
                    "name": "b",
                    "gpus": [{"type": "P100-12G"}, {"type": "L4"}],
                    "nic": {"gb_per_s": 1.0, "latency_us": 50},
                },
            ],
            "links": [{"between": ["a", "b"], "link": "ethernet-10g"}],
            "tensor_parallel": [1, 2],
        },
        "workload": {"batch_size": [2, 4], "prompt_tokens": 64, "output_tokens": 8},
        "formats": {"default": ["w16a16", "w4a16"], "per_layer": {"0-1": ["w16a16"]}},
        "quality": {"nats_at_4_bits": 0.1, "perplexity_16": 14.6},
        "objective": {"goal": "latency"},
        "limits": {"ttft_ms": 10000, "gpus": 3},
        "solver": {"time_limit_s": 10, "gap": 0.01, "seed": 1},
    }


@pytest.fixture
def two_layers() -> dict[str, Any]:
    """Two layers on one GPU by coefficients: 3 ms prefill and 2 ms decode a layer, 2 tokens."""
    return {
        "kind": "coefficients",
        "name": "two layers",
        "nodes": [{"name": "n"}],
        "devices": [{"name": "d", "node": "n", "memory_gib": 1, "price_usd_per_hour": 3.6}],
        "groups": [{"device": "d"}],
        "formats": [{"name": "w16a16", "bits": 16}],
        "layer_kinds": [0, 0],
        "loss_nats": [[0.0], [0.0]],
        "micro_batches": [1],
        "batches": [{"size": 1}],
        "prompt_tokens": 4,
        "output_tokens": 2,
        "prefill_ms": [[[[3.0]]]],
        "decode_ms": [[[[2.0]]]],
        "weight_mib": [[[100.0]]],
        "kv_mib": [[1.0]],
    }


class Client:
    """Talks to an application in this process; a failure inside becomes a response, as it would."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, **options)

        return asyncio.run(send())

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)


@pytest.fixture
def client() -> Client:
    """The service with its searches in this process."""
    return Client(create_app(Settings(max_body_bytes=1_000_000), InlinePool()))
