"""Data sets, networks, training, evaluation, export, registry. The only place torch is imported.

Import from the modules. `data`, `map_files`, `splits`, `evaluate` and `options` need no torch.
"""

import os

from contracts.quiet import keep_libraries_quiet

# Read by the libraries once, when they are imported, so set before anything of ours imports them.
# Waiting threads sleep instead of spinning: beside one other busy process, training on two cores
# fell from 1,000 maps a second to under 300 without it, and keeps 800 with it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
keep_libraries_quiet()
