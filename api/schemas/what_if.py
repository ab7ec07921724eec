"""What changes to a request would gain or lose."""

from typing import Literal

from pydantic import Field

from api.schemas.base import Figure, Schema

__all__ = ["EffectReport"]

KindName = Literal[
    "more_gpus",
    "more_memory",
    "faster_link",
    "more_formats",
    "looser_limit",
    "fewer_gpus",
    "forced_gpus",
]


class EffectReport(Schema):
    """
    What a change does to the objective.

    Gains are in the unit of the objective and in percent of it; a loss is a negative gain.
    """

    kind: KindName = Field(description="What changes.")
    subject: str = Field(
        description="Device class, GPU type, nodes, format, or limit as in the request."
    )
    change: str = Field(description="The change in words.")
    gpus: int = Field(description="GPUs given, taken or forced in; 0 for other changes.")
    confirmed: bool = Field(
        description="Whether the changed problem was solved, to `gap`; else `gain` is that of the "
        "present plan under the change, or of a better one found in time, and `most_gain` a bound."
    )
    joint: bool = Field(description="Whether `most_gain` bounds several changes together.")
    feasible: bool = Field(description="Whether the changed problem may have a plan at all.")
    gain: Figure = Field(
        description="Proven: of the best plan known for the changed problem; null where none is."
    )
    gain_percent: Figure = Field(description="The same in percent; null where the objective is 0.")
    estimate: Figure = Field(
        description="Not proven: the prediction made before anything was solved, by linear "
        "relaxations; null where they say nothing, or nothing is proven beside them."
    )
    estimate_percent: Figure = Field(description="The same in percent.")
    most_gain: Figure = Field(
        description="Proven: no plan gains more; null where nothing is proven, or there is no plan."
    )
    most_gain_percent: Figure = Field(description="The same in percent.")
    objective: Figure = Field(description="Of the best plan known for the changed problem.")
    bound: Figure = Field(description="Proven: no plan of the changed problem is better.")
    gap: Figure = Field(description="Between the two.")
    text: str = Field(description="The effect in words.")
