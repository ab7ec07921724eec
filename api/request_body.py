"""A request as an answer repeats it: whole, and without the files that it was read from."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from api.reading import read_text
from api.schemas.calibration import CalibrationSpec
from api.schemas.coefficients import CoefficientsRequest
from api.schemas.request import PlanRequest
from api.schemas.serving import MixedWorkloadSpec, ModelSpec
from profiles.cluster import Workload
from profiles.tables import CostTable

__all__ = ["MAX_REPEATED_BYTES", "catalogue_body", "coefficients_body"]

MAX_REPEATED_BYTES = 1024**2
"""A larger request is not repeated: answers stay readable."""
Body = dict[str, Any]


def coefficients_body(request: CoefficientsRequest) -> Body | None:
    """The request as it was given; None where it is too large to be repeated."""
    return _if_small(request.model_dump(mode="json", exclude_unset=True))


def catalogue_body(
    request: PlanRequest,
    workload: Workload,
    tables: Sequence[CostTable],
    calibration: CalibrationSpec | None,
    folder: Path | None,
) -> Body | None:
    """
    The request with the content of its files in their place; None where that is too large.

    Parameters
    ----------
    request
        One whose files have been read without error.
    workload, tables, calibration
        What was read.
    folder
        Where its paths start; None where it has none.
    """
    body = request.model_dump(mode="json", exclude_unset=True)
    if request.tables:
        del body["tables"]
        body["cost_table"] = [row for table in tables for row in _rows(table)]
    if calibration is not None:
        body["calibration"] = calibration.model_dump(mode="json")
    model, mixed = request.model, request.workload
    if isinstance(model, ModelSpec) and model.config_file is not None:
        config, _ = read_text(((folder or Path()) / model.config_file).read_text(encoding="utf-8"))
        body["model"] = {"name": model.name, "config": config}
    if isinstance(mixed, MixedWorkloadSpec) and mixed.lengths_file is not None:
        del body["workload"]["lengths_file"]
        body["workload"]["lengths"] = [
            {
                "prompt_tokens": bucket.prompt_tokens,
                "output_tokens": bucket.output_tokens,
                "weight": bucket.weight,
            }
            for bucket in workload.buckets
        ]
    return _if_small(body)


def _rows(table: CostTable) -> list[Mapping[str, Any]]:
    """Rows with plain numbers, and None where a cell is missing."""
    rows: list[Mapping[str, Any]] = json.loads(
        table.rows.to_json(orient="records", double_precision=15)
    )
    return rows


def _if_small(body: Body) -> Body | None:
    return body if len(json.dumps(body)) <= MAX_REPEATED_BYTES else None
