"""Pure decisions over explicit state: lineage, excursions, commonality, advice within guard rails."""
