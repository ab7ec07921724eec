"""
Factors between the field's units and the ones used inside (seconds, bytes, FLOP/s).

Multiply on the way in, divide on the way out; nothing else converts.
"""

__all__ = [
    "GB",
    "GBIT",
    "GIB",
    "HOUR",
    "MIB",
    "MILLION",
    "MS",
    "TERA",
    "US",
]

US = 1e-6  # microseconds to seconds
MS = 1e-3  # milliseconds to seconds
HOUR = 3600.0  # hours to seconds

MIB = 1024**2  # MiB to bytes
GIB = 1024**3  # GiB to bytes
GB = 1e9  # GB (or GB/s) to bytes (or bytes/s)
GBIT = 1e9 / 8  # Gbit (or Gbit/s) to bytes (or bytes/s)

TERA = 1e12  # TFLOP/s to FLOP/s
MILLION = 1e6  # "per million tokens"
