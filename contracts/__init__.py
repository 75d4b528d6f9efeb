"""The vocabulary everyone shares: events, topics, codec, wafer-map geometry, errors and clock.

Imports nothing else of ours. Import from the modules (`from contracts.events import WaferMap`).
"""
