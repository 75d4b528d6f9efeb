"""Data sets, networks, training, evaluation, export, registry. The only place torch is imported."""
