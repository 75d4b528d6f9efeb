"""Placeholder."""

from control.spc.rule_set import RuleSet

SITE_RULES = RuleSet(limit=4.5, ewma=(0.2, 4.0))
