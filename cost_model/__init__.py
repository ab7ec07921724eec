"""Seconds, bytes, nats and dollars of a stage, each with its source."""
