"""Between the files of layers' losses and the values that the cost model works with."""

import numpy as np

from api.quality_words import omega_cautions
from api.schemas.omega import MethodName, OmegaBasis, OmegaFile
from cost_model.omega import Omega
from cost_model.rounding import Rounding
from profiles.errors import InputError

__all__ = ["omega_file", "omega_of"]


def omega_of(file: OmegaFile) -> Omega:
    """
    The losses in a file.

    Raises
    ------
    InputError
        When they grow with the bits, or their shape is not that of the widths.
    """
    for layer, row in enumerate(file.loss_nats):
        if len(row) != len(file.bits):
            raise InputError(
                f"Layer {layer} has {len(row)} losses, but there are {len(file.bits)} widths; give "
                "one loss for each."
            )
    return Omega(
        model=file.model,
        bits=tuple(file.bits),
        rounding=Rounding(group_size=file.group_size, symmetric=file.symmetric),
        nats=np.array(file.loss_nats, dtype=np.float64),
        w8a8_nats=file.w8a8_nats,
        provenance=file.provenance,
        text=file.text,
    )


def omega_file(omega: Omega, method: MethodName, basis: OmegaBasis) -> OmegaFile:
    """The file that holds these losses."""
    return OmegaFile(
        model=omega.model,
        method=method,
        bits=list(omega.bits),
        group_size=omega.rounding.group_size,
        symmetric=omega.rounding.symmetric,
        loss_nats=omega.nats.tolist(),
        w8a8_nats=omega.w8a8_nats,
        nats_at_4_bits=omega.nats_at_4_bits,
        provenance=omega.provenance,  # type: ignore[arg-type]
        text=omega.text,
        basis=basis,
        warnings=list(omega_cautions(omega, is_measured=method == "calibrated")),
    )
