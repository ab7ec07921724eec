"""Fitting the latency model to published measurements."""
