"""The HTTP service: answers, problem details, OpenAPI, the pool."""

import asyncio
import os
import time

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from api import work
from api.example_files import example_names
from api.main import create_app
from api.pool import BusyError, ProcessPool, StoppingError, WorkerDiedError
from api.settings import Settings, load_settings
from profiles.errors import BackendError, InputError

PROBLEM = "application/problem+json"


def test_plan_is_answered(client, two_layers):
    """The same answer as on the command line."""
    response = client.post("/v1/plans", json=two_layers)
    assert response.status_code == 200
    answer = response.json()
    assert (answer["kind"], answer["status"]) == ("plan", "optimal")


def test_infeasible_is_an_answer(client, two_layers):
    """200 with reasons."""
    two_layers["devices"][0]["memory_gib"] = 0.1
    response = client.post("/v1/plans", json=two_layers)
    assert response.status_code == 200
    assert response.json()["status"] == "infeasible"


def test_evaluation_is_answered(client, two_layers):
    """A plan goes back in."""
    plan = client.post("/v1/plans", json=two_layers).json()["plan"]
    body = {"request": two_layers, "plan": plan}
    answer = client.post("/v1/evaluations", json=body).json()
    assert (answer["kind"], answer["feasible"], answer["status"]) == ("evaluation", True, "optimal")
    assert client.post("/v1/evaluations", json={**body, "solve": False}).json()["best"] is None


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"plan": None}, "/plan"),
        ({"request": {}}, "/request/model"),
        ({"more": 1}, "/more"),
        ({"solve": "yes"}, "/solve"),
    ],
    ids=["plan", "request", "field", "type"],
)
def test_bad_evaluation_is_422_with_pointers(change, pointer, client, two_layers):
    """Pointers start at the body of the evaluation."""
    plan = client.post("/v1/plans", json=two_layers).json()["plan"]
    response = client.post("/v1/evaluations", json={"request": two_layers, "plan": plan, **change})
    assert response.status_code == 422
    assert pointer in [error["pointer"] for error in response.json()["errors"]]


def test_names_in_a_request_to_evaluate_point_into_it(client, small_request, two_layers):
    """The request stands below /request."""
    plan = client.post("/v1/plans", json=two_layers).json()["plan"]
    small_request["model"] = "gpt-9"
    response = client.post("/v1/evaluations", json={"request": small_request, "plan": plan})
    assert response.json()["errors"][0]["pointer"] == "/request/model"


def test_long_searches_are_cut_to_the_cap(client, two_layers):
    """And the answer says so."""
    two_layers["solver"] = {"time_limit_s": 5000}
    answer = client.post("/v1/plans", json=two_layers).json()
    assert answer["solver"]["time_limit_s"] == 60
    assert any("at most" in warning for warning in answer["warnings"])


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/v1/nothing", {}, 404),
        ("GET", "/v1/examples/nothing", {}, 404),
        ("GET", "/v1/schemas/nothing", {}, 404),
        ("PUT", "/v1/plans", {}, 405),
        (
            "POST",
            "/v1/plans",
            {"content": "model: x", "headers": {"content-type": "text/plain"}},
            415,
        ),
        ("POST", "/v1/plans", {"content": "{}"}, 415),
        ("POST", "/v1/plans", {"json": {"model": "x" * 2_000_000}}, 413),
    ],
)
def test_every_error_is_problem_details(method, path, options, status, client):
    """RFC 9457 throughout."""
    response = client.request(method, path, **options)
    assert response.status_code == status
    assert response.headers["content-type"] == PROBLEM
    body = response.json()
    assert (body["status"], body["instance"]) == (status, path)
    assert body["title"]
    assert body["detail"].endswith(".")


class FailingPool:
    """Fails as it is told."""

    def __init__(self, error):
        self.error = error

    async def run(self, *_):
        raise self.error

    def close(self):
        pass


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BusyError("Busy."), 429),
        (StoppingError("Ending."), 503),
        (WorkerDiedError("Died."), 500),
        (RuntimeError("secret"), 500),
    ],
)
def test_failures_of_the_pool_are_told(error, status, client, two_layers):
    """429 and 503 say when to come back; a bug keeps its secrets."""
    client.app = create_app(Settings(), FailingPool(error))
    response = client.post("/v1/plans", json=two_layers)
    assert response.status_code == status
    assert response.headers["content-type"] == PROBLEM
    assert ("retry-after" in response.headers) is (status in (429, 503))
    assert "secret" not in response.text


@pytest.mark.parametrize(
    ("error", "title"),
    [
        (BackendError("HiGHS ended with 'Unknown'."), "The solver failed"),
        (OverflowError("secret"), "Internal Server Error"),
        (ValidationError.from_exception_data("secret", []), "Internal Server Error"),
    ],
)
def test_failures_within_a_search_are_500(error, title, client, two_layers, monkeypatch, caplog):
    """The worker tells of them in words; what it raises could not always travel."""

    def fail(*_):
        raise error

    monkeypatch.setattr(work, "plan", fail)
    response = client.post("/v1/plans", json=two_layers)
    assert response.status_code == 500
    assert response.json()["title"] == title
    assert "secret" not in response.text
    assert caplog.records


@pytest.mark.parametrize("kind", ["application/yaml", "application/x-yaml", "text/yaml"])
def test_yaml_is_read_as_strictly_as_json(kind, client, two_layers):
    """The same request in YAML; a key that occurs twice is refused."""
    headers = {"content-type": kind}
    text = yaml.safe_dump(two_layers)
    assert client.post("/v1/plans", content=text, headers=headers).status_code == 200
    response = client.post("/v1/plans", content="a: 1\na: 2\n", headers=headers)
    assert response.status_code == 422
    assert "occurs twice" in response.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/gpus?name=T4", "/v1/plans?gap=1", "/healthz/live?x"])
def test_unknown_query_parameters_are_422(path, client, two_layers):
    """What has no effect is not taken silently."""
    method = "POST" if "plans" in path else "GET"
    response = client.request(method, path, json=two_layers if method == "POST" else None)
    assert response.status_code == 422
    assert "Unknown query parameter" in response.json()["detail"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/gpus/t4", "T4"),
        ("/v1/models/OPT-1.3b", "opt-1.3b"),
        ("/v1/models/facebook/opt-1.3b", "opt-1.3b"),
    ],
)
def test_single_entries_are_found_by_name_or_alias(path, name, client):
    """In any case; repository names hold a slash."""
    assert client.get(path).json()["name"] == name
    assert client.get("/v1/gpus/t5").status_code == 404
    assert "request" in client.get("/v1/schemas").json()


@pytest.mark.parametrize(
    "path",
    ["/healthz/live", "/healthz/ready", "/version", "/v1/gpus", "/v1/models", "/v1/examples"],
)
def test_what_can_be_read_is_read(path, client):
    """200 and JSON."""
    response = client.get(path)
    assert response.status_code == 200
    assert response.json()


def test_examples_can_be_sent_as_they_are(client):
    """The coefficient example goes straight back in."""
    body = client.get("/v1/examples/coefficients").json()
    response = client.post("/v1/plans", json={**body, "solver": {"gap": 0.05}})
    assert response.json()["status"] in ("optimal", "feasible")


def references(value):
    """Every $ref within a document."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref":
                yield item
            else:
                yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_openapi_is_whole(client):
    """Every reference resolves; every component is a valid schema; examples are named."""
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    components = document["components"]["schemas"]
    examples = document["paths"]["/v1/plans"]["post"]["requestBody"]["content"]["application/json"][
        "examples"
    ]
    assert set(examples) == set(example_names())
    del document["paths"]["/v1/plans"]["post"]["requestBody"]["content"]["application/json"][
        "examples"
    ]
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in components, reference
    for schema in components.values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_route_is_documented_and_declares_its_errors(client):
    """A sentence each; problem details for what may go wrong; none of the framework's forms."""
    document = client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation.get("description"), path
            assert "500" in operation["responses"], path
            for status, response in operation["responses"].items():
                if not status.startswith("2"):
                    assert PROBLEM in response["content"], (path, status)
            if method == "post":
                assert {"413", "415", "422", "429", "503"} <= set(operation["responses"])


def test_answers_follow_the_published_schema(client, two_layers):
    """What /v1/schemas says is what comes back."""
    schema = client.get("/v1/schemas/answer").json()
    jsonschema.validate(client.post("/v1/plans", json=two_layers).json(), schema)


def test_full_queue_is_refused_and_a_dead_worker_is_replaced():
    """One worker, no queue: the second is refused; after a death the pool works again."""

    async def scenario():
        pool = ProcessPool(workers=1, queue=0)
        first = asyncio.create_task(pool.run(time.sleep, 0.5))
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await pool.run(time.sleep, 0)
        await first
        await asyncio.sleep(0.05)
        with pytest.raises(WorkerDiedError):
            await pool.run(os._exit, 1)
        await asyncio.sleep(0.05)
        answer = await pool.run(len, "alive")
        pool.close()
        return answer

    assert asyncio.run(scenario()) == 5


def test_settings_come_from_the_environment_and_are_checked(monkeypatch):
    """HETPLAN_* set them; a wrong one is named."""
    monkeypatch.setenv("HETPLAN_WORKERS", "3")
    assert load_settings().workers == 3
    monkeypatch.setenv("HETPLAN_WORKERS", "many")
    with pytest.raises(InputError, match="HETPLAN_WORKERS is 'many'"):
        load_settings()


def test_every_setting_is_explained():
    """No setting without a word on it."""
    assert all(field.description for field in Settings.model_fields.values())
