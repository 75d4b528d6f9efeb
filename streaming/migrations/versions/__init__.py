"""One file a step, numbered: v0001_loops.py, v0002_... A released step never changes."""
