"""Failure modes: what breaks, which sensors show it, which field it leaves on the wafer.

docs/fab.md has the same table with the reasons. The sign and the size of a signature are in
standard deviations of the sensor's normal wafer-to-wafer spread, at full growth and magnitude 1.
"""

from typing import Literal

import msgspec

__all__ = ["MODES", "Compensation", "Family", "Mode"]

Family = Literal["ring", "disc", "annulus", "edge_arc", "blob", "scratch", "scatter", "flood"]


class Compensation(msgspec.Struct, frozen=True):
    """A recipe change that makes up for a mode: `parameter` moved by `shift` cancels it."""

    parameter: str
    shift: float


class Mode(msgspec.Struct, frozen=True):
    """One way for a module to fail.

    Attributes:
        kinds: kinds of module it happens on.
        pattern: what the field looks like on a wafer map at full strength (WM-811K's name).
        family: shape of the field over the wafer; see `fab_sim.fields`.
        signature: sensor and its shift in standard deviations at full growth.
        metrology_shift: of the value measured after the step, in its standard deviations.
        defect_shift: of the logarithm of the defect density found after it, in its deviations.
        boat: first and last slot that suffer in a furnace's boat; None where the slot is no matter.
        compensation: for modes that drift; None where only maintenance helps.
    """

    kinds: tuple[str, ...]
    pattern: str
    family: Family
    signature: tuple[tuple[str, float], ...]
    metrology_shift: float = 0.0
    compensation: Compensation | None = None
    defect_shift: float = 0.0
    boat: tuple[int, int] | None = None


MODES: dict[str, Mode] = {
    "rf_match_drift": Mode(
        ("etch",),
        "Edge-Ring",
        "ring",
        (("rf_reflected_w", 8.0), ("match_position_pct", 7.0), ("rf_power_w", -3.0)),
        2.5,
        Compensation("rf_power_w", -60.0),
    ),
    "helium_chuck_leak": Mode(
        ("etch",),
        "Center",
        "disc",
        (("helium_flow_sccm", 9.0), ("helium_pressure_pa", -5.0), ("chuck_temp_c", 4.0)),
        2.0,
        Compensation("helium_pressure_pa", 250.0),
    ),
    "edge_ring_wear": Mode(
        ("etch",),
        "Edge-Loc",
        "edge_arc",
        (("edge_ring_bias_v", -7.0), ("endpoint_intensity_au", 5.0)),
        1.5,
        Compensation("edge_ring_bias_v", 40.0),
    ),
    "process_abort": Mode(
        ("etch",),
        "Near-full",
        "flood",
        (("rf_power_w", -25.0), ("endpoint_intensity_au", -18.0), ("rf_reflected_w", 15.0)),
        -8.0,
    ),
    "showerhead_clogging": Mode(
        ("deposition",),
        "Donut",
        "annulus",
        (("showerhead_pressure_kpa", 8.0), ("throttle_position_pct", -5.0)),
        2.0,
        defect_shift=1.5,
    ),
    "gas_flow_offset": Mode(
        ("deposition",),
        "Loc",
        "blob",
        (("gas_flow_sccm", -7.0), ("pressure_pa", -5.0)),
        -2.5,
        Compensation("gas_flow_sccm", 30.0),
    ),
    "particle_burst": Mode(
        ("etch", "deposition", "implant", "clean"),
        "Random",
        "scatter",
        (("particle_density_m3", 14.0),),
        defect_shift=5.0,
    ),
    "robot_blade_scratch": Mode(
        ("etch", "deposition", "implant"),
        "Scratch",
        "scratch",
        (("blade_vibration_um", 10.0),),
        defect_shift=3.5,
    ),
    "dispense_fault": Mode(
        ("litho",),
        "Loc",
        "blob",
        (("resist_dispense_ml", -8.0), ("spin_speed_rpm", 4.0)),
        1.5,
        defect_shift=2.5,
    ),
    "focus_drift": Mode(
        ("litho",),
        "Edge-Loc",
        "edge_arc",
        (("focus_offset_nm", 7.0), ("stage_error_nm", 5.0)),
        3.0,
        Compensation("focus_offset_nm", -25.0),
    ),
    "head_zone_wear": Mode(
        ("cmp",),
        "Donut",
        "annulus",
        (("middle_zone_kpa", -7.0), ("motor_current_a", 5.0)),
        2.5,
        Compensation("middle_zone_kpa", 2.4),
    ),
    "slurry_scratch": Mode(
        ("cmp",),
        "Scratch",
        "scratch",
        (("slurry_pressure_kpa", 8.0), ("motor_current_a", 6.0), ("slurry_flow_ml_min", -4.0)),
        defect_shift=4.0,
    ),
    "bath_dilution": Mode(
        ("clean",),
        "Random",
        "scatter",
        (("concentration_pct", -9.0), ("conductivity_ms_cm", -8.0)),
        0.0,
        Compensation("concentration_pct", 0.6),
        defect_shift=4.0,
    ),
    "beam_dropout": Mode(
        ("implant",),
        "Near-full",
        "flood",
        (("beam_current_ma", -20.0), ("dose_rate_pct", -20.0)),
        9.0,
    ),
    # The boat stands too low: its lower end leaves the flat zone for the hot one beside it, and the
    # controller of that zone takes power back.
    "boat_position": Mode(
        ("diffusion",),
        "Edge-Ring",
        "ring",
        (("boat_position_mm", -9.0), ("zone_bottom_power_pct", -6.0), ("profile_temp_c", 4.0)),
        4.0,
        boat=(1, 6),
    ),
}
"""Every failure mode by its name in scenario files."""
