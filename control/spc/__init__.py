"""Statistical process control on streams: charts, rules, limits, and how often they cry wolf."""

from control.spc.arl import Arl, average_run_length
from control.spc.rule_set import Monitor, MonitorRecord, RuleSet
from control.spc.rules import NELSON, RULES, WESTERN_ELECTRIC

__all__ = [
    "NELSON",
    "RULES",
    "WESTERN_ELECTRIC",
    "Arl",
    "Monitor",
    "MonitorRecord",
    "RuleSet",
    "average_run_length",
]
