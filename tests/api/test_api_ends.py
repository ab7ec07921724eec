"""How the service ends: workers that die, servers that die, searches that are cut off."""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from api.cli import app
from api.example_files import examples_folder
from api.main import create_app
from api.pool import ProcessPool, StoppingError
from api.settings import Settings

FOLDER = examples_folder().parent
SERVER = "from api.main import serve; serve(port={port})"


def is_alive(pid):
    """Whether the process runs (a zombie does not)."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return words[0] != "Z"


def descendants(pid):
    """Processes below a process."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found, last = set(), {pid}
    while last:
        last = {child for child, parent in parents.items() if parent in last}
        found |= last
    return found


def wait_until(condition, seconds=20.0):
    """Whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def a_long_search():
    """A request that is solved for as long as it may be: ten GPUs and 60 layers, all different."""
    draw = random.Random(1)
    num, layers, sizes = 10, 60, (1, 2, 4, 8)
    cost = [draw.uniform(0.5, 1.5) for _ in range(layers)]
    speed = [1 + 0.37 * i for i in range(num)]
    return {
        "kind": "coefficients",
        "nodes": [{"name": f"n{i}"} for i in range(num)],
        "devices": [{"name": f"d{i}", "node": f"n{i}", "memory_gib": 6} for i in range(num)],
        "groups": [{"device": f"d{i}"} for i in range(num)],
        "formats": [{"name": "w16a16", "bits": 16}, {"name": "w8a16", "bits": 8}],
        "kinds": [f"layer {i}" for i in range(layers)],
        "layer_kinds": list(range(layers)),
        "loss_nats": [[0.0, draw.uniform(0.01, 0.2)] for _ in range(layers)],
        "micro_batches": sizes,
        "batches": [{"size": 32}],
        "prompt_tokens": 64,
        "output_tokens": 50,
        "prefill_ms": [[[[c * m / s for m in sizes] for c in cost]] * 2 for s in speed],
        "decode_ms": [
            [[[c * (1 + m) / s / f for m in sizes] for c in cost] for f in (1, 2)] for s in speed
        ],
        "weight_mib": [[[1000.0 * c / f for c in cost] for f in (1, 2)]] * num,
        "kv_mib": [[draw.uniform(0.5, 1.5) for _ in range(layers)]] * num,
        "limits": {"quality_loss_nats": 2.0},
        "solver": {"gap": 0, "time_limit_s": 50},
    }


def test_a_worker_killed_by_the_system_is_told_and_replaced(two_layers):
    """500 with problem details; the next request is answered."""
    pool = ProcessPool(workers=1, queue=4)
    app = create_app(Settings(), pool)

    async def scenario():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            await client.post("/v1/plans", json=two_layers)
            worker = next(iter(pool._executor._processes))
            long = asyncio.create_task(client.post("/v1/plans", json=a_long_search(), timeout=90))
            await asyncio.sleep(2)
            os.kill(worker, signal.SIGKILL)
            died = await long
            return worker, died, await client.post("/v1/plans", json=two_layers, timeout=90)

    try:
        worker, died, after = asyncio.run(scenario())
    finally:
        pool.close()
    assert not is_alive(worker)
    assert died.status_code == 500
    assert died.headers["content-type"] == "application/problem+json"
    assert "lack of memory" in died.json()["detail"]
    assert after.json()["status"] == "optimal"


def test_a_closed_pool_ends_its_workers_at_once():
    """Though one of them is at work; who waits for them is told."""
    pool = ProcessPool(workers=1, queue=3)

    async def scenario():
        tasks = [asyncio.create_task(pool.run(time.sleep, 60)) for _ in range(4)]
        await asyncio.sleep(0.1)
        workers = list(pool._executor._processes)
        assert await asyncio.to_thread(wait_until, lambda: all(map(is_alive, workers)))
        await asyncio.sleep(1)
        pool.close()
        gone = await asyncio.to_thread(wait_until, lambda: not any(map(is_alive, workers)))
        for task in tasks:
            with pytest.raises(StoppingError):
                await task
        with pytest.raises(StoppingError):
            await pool.run(time.sleep, 0)
        return gone

    assert asyncio.run(scenario())


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=str)
def test_a_server_that_ends_takes_its_workers_along(how, tmp_path, unused_port):
    """However it ends, and though a search is under way."""
    script = SERVER.format(port=unused_port)
    server = subprocess.Popen(
        [sys.executable, "-c", script], cwd=FOLDER, env={**os.environ, "HETPLAN_WORKERS": "1"}
    )
    url = f"http://127.0.0.1:{unused_port}"
    body = tmp_path / "request.json"
    body.write_text(json.dumps(a_long_search()))
    try:
        assert wait_until(lambda: answers(f"{url}/healthz/live"), 60)
        post = "import sys, httpx; httpx.post(sys.argv[1], content=open(sys.argv[2]).read(), "
        post += "headers={'content-type': 'application/json'}, timeout=2)"
        subprocess.run(
            [sys.executable, "-c", post, f"{url}/v1/plans", str(body)],
            stderr=subprocess.DEVNULL,
            check=False,
        )  # a client that goes away after two seconds
        workers = descendants(server.pid)
        assert workers
        server.send_signal(how)
        server.wait(30)
        assert wait_until(lambda: not any(map(is_alive, workers)))
    finally:
        server.kill()
        server.wait()


def test_a_server_that_ends_tells_its_clients(two_layers, unused_port):
    """503 with problem details and Retry-After for a search under way; no traceback in the log."""
    script = f"import api.main; api.main.LAST_ANSWERS_S = 0; api.main.serve(port={unused_port})"
    server = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=FOLDER,
        env={**os.environ, "HETPLAN_WORKERS": "1", "HETPLAN_QUEUE": "0"},
        stderr=subprocess.PIPE,
        text=True,
    )
    url = f"http://127.0.0.1:{unused_port}"

    def post(request):
        return httpx.post(f"{url}/v1/plans", json=request, timeout=60)

    def post_until_taken():
        while (answer := post(a_long_search())).status_code == 429:
            time.sleep(0.05)
        return answer

    try:
        assert wait_until(lambda: answers(f"{url}/healthz/live"), 60)
        with ThreadPoolExecutor(1) as client:
            long = client.submit(post_until_taken)
            assert wait_until(lambda: post(two_layers).status_code == 429, 60)
            server.terminate()
            answer = long.result()
        log = server.communicate(timeout=30)[1]
    finally:
        server.kill()
        server.wait()
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert "retry-after" in answer.headers
    assert "shutting down" in answer.json()["detail"]
    assert "Traceback" not in log


def test_a_port_that_is_taken_is_told(unused_port):
    """Exit code 2, and what to do."""
    with socket.create_server(("127.0.0.1", unused_port)):
        result = CliRunner().invoke(app, ["serve", "--port", str(unused_port)])
    assert result.exit_code == 2
    assert result.stderr.endswith(
        f"  Port {unused_port} of 127.0.0.1 cannot be listened on; "
        "choose another --port or --host.\n"
    )


def test_a_search_that_is_terminated_ends_with_what_it_has(tmp_path):
    """SIGTERM counts as Ctrl-C: CBC ends, and its folder goes."""
    (tmp_path / "temporary").mkdir()
    request = tmp_path / "request.json"
    request.write_text(json.dumps({**a_long_search(), "solver": {"gap": 0, "backend": "cbc"}}))
    program = subprocess.Popen(
        [sys.executable, "-c", "from api.cli import main; main()", "plan", str(request)],
        cwd=FOLDER,
        env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert wait_until(lambda: any((tmp_path / "temporary").iterdir()), 50)
        program.terminate()
        told = program.communicate(timeout=50)[1]
    finally:
        program.kill()
        program.wait()
    assert program.returncode in (0, 4)
    assert "Stopping with the best plan so far" in told
    assert not any((tmp_path / "temporary").iterdir())


def answers(url):
    """Whether the server is up."""
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def unused_port():
    """A port that is free."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
