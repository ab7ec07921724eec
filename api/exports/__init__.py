"""Plans to what launches them on an engine: one module per engine, and what engines share."""
