"""The composition root: settings, commands and wiring. The only package that imports all others."""

from contracts.quiet import keep_libraries_quiet

__version__ = "0.1.0"

# Every command begins here, whatever it imports and starts later.
keep_libraries_quiet()
