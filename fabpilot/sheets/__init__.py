"""Sheets to look at: what a scenario's fab makes, as pictures."""
