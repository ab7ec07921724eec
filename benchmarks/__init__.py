"""Programs that measure and calibrate hetplan; run them as `python -m benchmarks.NAME`."""
