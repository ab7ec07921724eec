"""Adapters to solvers, one file each; only they import a solver."""
