"""Pure decisions over explicit state: lineage, excursions, commonality, advice in guard rails."""
