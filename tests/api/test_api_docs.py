"""Every field, command, route and setting stands in the docs."""

from pathlib import Path

import pytest
from typer.main import get_command

from api.cli import app
from api.main import create_app
from api.schemas.goal import LimitsSpec, SolverSpec
from api.schemas.names import GoalChoice
from api.schemas.request import PlanRequest
from api.schemas.serving import EngineSpec, LengthSpec, MixedWorkloadSpec, QualitySpec, WorkloadSpec
from api.settings import Settings
from profiles.table_schema import COLUMNS

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "requests.md").read_text(encoding="utf-8")
LENGTHS = (WorkloadSpec, MixedWorkloadSpec, LengthSpec)
FIELDS = sorted(
    {
        name
        for schema in (PlanRequest, LimitsSpec, SolverSpec, EngineSpec, QualitySpec, *LENGTHS)
        for name in schema.model_fields
    }
)


@pytest.mark.parametrize("name", [*FIELDS, *(str(goal.value) for goal in GoalChoice), *COLUMNS])
def test_every_field_is_documented(name):
    assert name in TEXT


def test_every_command_is_documented():
    assert all(f"`{name}`" in TEXT for name in get_command(app).commands)


def test_every_route_is_documented():
    assert all(f"{path}`" in TEXT for path in create_app(Settings()).openapi()["paths"])


def test_every_setting_is_documented():
    assert all(f"HETPLAN_{name.upper()}" in TEXT for name in Settings.model_fields)


def test_the_plan_in_the_docs_is_judged(tmp_path):
    """The hand-written plan fits the request of the README."""
    from api.reading import read_text
    from api.request import parse_request, prepare
    from api.schemas.plan import GivenPlan
    from api.service import judge

    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    request, plan = (text.split("```yaml\n")[1].split("```")[0] for text in (readme, TEXT))
    prepared = prepare(parse_request(read_text(request)[0]))
    answer = judge(prepared, GivenPlan.model_validate(read_text(plan)[0]), with_solve=False)
    assert answer.feasible


def test_llmpq_is_solved_as_the_docs_say(capsys):
    """The snippet runs as pasted and prints what stands below it."""
    snippet = (DOCS / "llmpq.md").read_text(encoding="utf-8").split("```python\n")[1]
    code, told = snippet.split("```")[0].split("\n# ")
    exec(compile(code, "docs/llmpq.md", "exec"), {})
    assert capsys.readouterr().out == told


def test_the_column_in_the_docs_exists():
    """In the model of the request of the README."""
    from api.reading import read_text
    from api.request import parse_request, prepare
    from solver.model_file import Pair, pair_model
    from solver.model_names import NAME_LEGEND

    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    prepared = prepare(parse_request(read_text(readme.split("```yaml\n")[1].split("```")[0])[0]))
    size = prepared.problem.batches[0].size
    pair = Pair(batch_size=size, prefill_micro_batch=size, decode_micro_batch=size)
    model = pair_model(prepared.problem, prepared.objective, prepared.limits, pair)
    name = NAME_LEGEND[0].partition(":")[0]
    assert name in model.columns
    assert f"`{name}`" in TEXT
