"""What clouds ask for their GPUs, by the hour and on demand."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from profiles.catalogue import read_rows

__all__ = ["Price", "default_price_usd_per_hour", "load_prices"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """
    A row of a price list.

    Parameters
    ----------
    gpu
        Name of the GPU in the catalogue.
    cloud, instance
        Who rents it out, and as what machine.
    gpus_per_instance
        How many GPUs the machine has; the whole machine is rented.
    usd_per_hour
        Price of the whole machine.
    date
        When the price was read (ISO 8601); empty when that is not known.
    is_default
        Whether this row answers for its GPU when the user names no price.
    source
        Where the price comes from.
    """

    gpu: str
    cloud: str
    instance: str
    gpus_per_instance: int
    usd_per_hour: float
    date: str
    is_default: bool
    source: str

    @property
    def usd_per_gpu_hour(self) -> float:
        """Price of one GPU of the machine."""
        return self.usd_per_hour / self.gpus_per_instance


def _price(row: Mapping[str, str]) -> Price:
    return Price(
        gpu=row["gpu"],
        cloud=row["cloud"],
        instance=row["instance"],
        gpus_per_instance=int(row["gpus_per_instance"]),
        usd_per_hour=float(row["usd_per_hour"]),
        date=row["date"],
        is_default=row["default"] == "yes",
        source=row["source"],
    )


@cache
def load_prices() -> tuple[Price, ...]:
    """All prices, in the order of the catalogue."""
    return tuple(_price(row) for row in read_rows("prices.csv"))


def default_price_usd_per_hour(gpu_name: str) -> Price | None:
    """
    The price that stands for a GPU when the user names none.

    Parameters
    ----------
    gpu_name
        Name in the catalogue of GPUs.

    Returns
    -------
    Price or None
        The row marked so in the price list (per GPU: `Price.usd_per_gpu_hour`); None where no
        price is known.
    """
    return next((p for p in load_prices() if p.gpu == gpu_name and p.is_default), None)
