"""Settings of the HTTP service, from HETPLAN_* environment variables."""

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from profiles.errors import InputError

__all__ = ["Settings", "load_settings"]

MIB = 1024**2


class Settings(BaseSettings):
    """Every setting has a safe default; nothing else is read from the environment."""

    model_config = SettingsConfigDict(env_prefix="HETPLAN_", frozen=True, extra="ignore")

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0: any.")
    workers: int = Field(default=2, ge=1, le=256, description="Searches that run at a time.")
    queue: int = Field(
        default=8, ge=0, le=10_000, description="Searches that may wait; more are refused (429)."
    )
    max_time_limit_s: float = Field(
        default=60.0, gt=0, le=86400, description="Longest search; longer requests are cut to it."
    )
    max_body_bytes: int = Field(
        default=16 * MIB, ge=1024, le=1024 * MIB, description="Largest request body."
    )
    max_problem_size: int = Field(
        default=200_000_000,
        ge=1,
        description="Largest layers x GPUs x formats x micro-batch pairs of a request.",
    )


def load_settings() -> Settings:
    """
    The settings in force.

    Raises
    ------
    InputError
        When a variable does not hold what it should, naming it.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = f"HETPLAN_{'_'.join(map(str, first['loc'])).upper()}"
        raise InputError(f"{name} is {first['input']!r}: {first['msg']}.") from error
