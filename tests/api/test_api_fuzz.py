"""Random changes to a valid request never give a traceback or a 500."""

import contextlib
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.main import create_app
from api.problems import InvalidRequestError
from api.reading import read_text
from api.request import parse_request, prepare
from api.settings import Settings
from api.work import Caps, Outcome
from tests.api.mutations import places

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 70_000),
    st.sampled_from([10**9, 10**30, -(10**30), 0.5, -0.0, 1e308, 1e-308]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["T4", "H200", "w4a16", "w8a8", "llm-int8", "cost", "none", "0-3", "a", "b"]),
    st.recursive(
        st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=6,
    ),
)
FIELDS = st.sampled_from(
    [
        "count",
        "type",
        "link",
        "nic",
        "formats",
        "per_gpu",
        "loss_nats",
        "gpus",
        "kind",
        "tables",
        "cost_table",
        "config",
        "lengths",
        "lengths_file",
        "weight",
    ]
)
SETTINGS = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class BuildingPool:
    """Stops at the built problem: nothing is solved."""

    async def run(self, _: Callable[..., Any], data: Any, caps: Caps) -> Outcome:
        try:
            prepare(parse_request(data), max_size=caps.max_problem_size)
        except InvalidRequestError as error:
            return Outcome(problems=error.problems)
        return Outcome(answer="{}")

    def close(self) -> None:
        pass


def mutate(body: Any, data: st.DataObject) -> None:
    """One random change: a value replaced, left out, repeated or added."""
    path = data.draw(st.sampled_from(places(body)))
    parent = body
    for part in path[:-1]:
        parent = parent[part]
    action = data.draw(st.sampled_from(["replace", "replace", "drop", "repeat", "add"]))
    if action == "replace":
        parent[path[-1]] = data.draw(VALUES)
    elif action == "drop":
        del parent[path[-1]]
    elif action == "repeat" and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[path[-1]]))
    elif isinstance(parent, dict):
        parent[data.draw(FIELDS)] = data.draw(VALUES)


@pytest.fixture
def building_client(client):
    """The service with a pool that only builds, and a small cap."""
    client.app = create_app(Settings(max_problem_size=2_000_000), BuildingPool())
    return client


def send(client: Any, body: Any) -> tuple[int, Any]:
    """Status and problem of a body sent as JSON, NaN and all."""
    response = client.post(
        "/v1/plans", content=json.dumps(body), headers={"content-type": "application/json"}
    )
    return response.status_code, response.json()


def check(status: int, answer: Any) -> None:
    assert status in (200, 422), answer
    if status == 422:
        assert answer["errors"]
        assert all(entry["detail"] for entry in answer["errors"])


@SETTINGS
@given(data=st.data())
def test_mutated_catalogue_request_never_fails_inside(data, small_request, building_client):
    """Up to three changes to a request with every section filled in."""
    body = copy.deepcopy(small_request)
    for _ in range(data.draw(st.integers(1, 3))):
        if body:
            mutate(body, data)
    check(*send(building_client, body))


LENGTHS = [
    {"prompt_tokens": 32, "output_tokens": 1},
    {"prompt_tokens": 64, "output_tokens": 8, "weight": 2.5},
    {"prompt_tokens": 500, "output_tokens": 40, "weight": 1e-9},
]


@SETTINGS
@given(data=st.data())
def test_mutated_lengths_never_fail_inside(data, small_request, building_client):
    """Up to four changes to a workload of several lengths, all else as it was."""
    workload = {"batch_size": [2, 4], "num_requests": 9, "lengths": copy.deepcopy(LENGTHS)}
    for _ in range(data.draw(st.integers(1, 4))):
        if workload:
            mutate(workload, data)
    check(*send(building_client, {**small_request, "workload": workload}))


@SETTINGS
@given(data=st.data())
def test_mutated_coefficients_never_fail_inside(data, two_layers, building_client):
    """The same for the coefficient form."""
    body = copy.deepcopy(two_layers)
    for _ in range(data.draw(st.integers(1, 3))):
        if body:
            mutate(body, data)
    check(*send(building_client, body))


@settings(SETTINGS, max_examples=60)
@given(text=st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_read_or_refused(text):
    """The reader of YAML and JSON raises nothing of its own."""
    with contextlib.suppress(InvalidRequestError):
        read_text(text)
