"""
Programs that measure and calibrate hetplan.

``python -m benchmarks`` (``make bench``) measures the families of ``families/index.yaml``: how fast
plans are found and proven, against what. Run the others as ``python -m benchmarks.NAME``: how plans
compare with LLM-PQ's on many instances (``llmpq``), how well the formulas describe a replay
(``simulation``), how well times are predicted (``calibrate``).
"""
