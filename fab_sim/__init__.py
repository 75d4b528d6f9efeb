"""The synthetic fab: equipment, recipes, lots, hidden state, excursions, and the truth."""
