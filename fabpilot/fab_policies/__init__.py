"""Policies that steer a synthetic fab: the baselines, and the project's own controller."""

from fabpilot.fab_policies.advisor import AdvisorPolicy
from fabpilot.fab_policies.oracle import OraclePolicy
from fabpilot.fab_policies.policy import FabPolicy, NoPolicy
from fabpilot.fab_policies.spc import SpcPolicy

__all__ = ["AdvisorPolicy", "FabPolicy", "NoPolicy", "OraclePolicy", "SpcPolicy"]
