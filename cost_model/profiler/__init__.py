"""
Measuring a cost table on the machine's own device.

It stands on this floor because it chooses its points by the table's own interpolation
(`cost_model.grid`). PyTorch is imported only by the modules named ``torch_*``, when they run.
"""
