"""The composition root: settings, commands and wiring. The only package that imports all others."""

__version__ = "0.1.0"
