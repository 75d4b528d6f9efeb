"""What each kind of module measures, which recipe parameters it has, and what is measured after it.

The numbers are typical set points of 300 mm tools, chosen for their order of magnitude; nothing
depends on them but the traces' looks. Spreads are wafer to wafer, one standard deviation. Which
variables a tool offers follows public data sets where there is one: etch the LAM 9600 set (B. M.
Wise et al., J. Chemometrics 13, 1999), CMP the PHM 2016 challenge; the rest is what equipment
manuals list.
"""

import msgspec

__all__ = [
    "INSPECTION",
    "KINDS",
    "METROLOGY",
    "TEST",
    "Kind",
    "Measured",
    "Parameter",
    "Phase",
    "Variable",
]

METROLOGY, INSPECTION, TEST = "metrology", "inspection", "test"


class Variable(msgspec.Struct, frozen=True):
    """A sensor.

    Attributes:
        name: with its unit as suffix.
        level: normal value in the main phase.
        spread: standard deviation of a wafer's mean, from wafer to wafer.
        idle: share of `level` it has while the recipe stabilises (0 is off, 1 never changes).
        purge: the same for the purge at the end.
        lag_s: time constant with which it follows its set point.
        over: share of `level` it has in the over-etch, of kinds that have one.
        tied: a physical cause it shares with other variables (a supply, a plasma, a heater) and its
            correlation with that, -1 to 1. Two variables tied to one cause by a and b have a
            correlation of a * b, from wafer to wafer and from sample to sample.
        warm: shift of the first wafer of a lot, in spreads; it fades as the module warms up.
    """

    name: str
    level: float
    spread: float
    idle: float = 1.0
    purge: float = 1.0
    lag_s: float = 4.0
    over: float = 1.0
    tied: tuple[str, float] | None = None
    warm: float = 0.0


class Parameter(msgspec.Struct, frozen=True):
    """A recipe parameter and the range within which it may be set."""

    name: str
    nominal: float
    low: float
    high: float


class Measured(msgspec.Struct, frozen=True):
    """What is measured after a step, unit as suffix.

    Attributes:
        parameter: what, with the unit as suffix.
        target: its value on a good wafer; the median where `log`.
        spread: wafer to wafer, one standard deviation.
        gauge: the same, of repeated measurements.
        log: `spread` and `gauge` are of the natural logarithm, so the values are log-normal.
    """

    parameter: str
    target: float
    spread: float
    gauge: float
    log: bool = False


class Phase(msgspec.Struct, frozen=True):
    """A step of a recipe and its share of the recipe's time."""

    name: str
    share: float


# The main phase holds the middle 60 % of every recipe, which is what charts look at.
_PLAIN = (Phase("stabilise", 0.15), Phase("main", 0.73), Phase("purge", 0.12))
_WITH_OVER = (
    Phase("stabilise", 0.15),
    Phase("main", 0.67),
    Phase("over_etch", 0.10),
    Phase("purge", 0.08),
)


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of module; modules of one kind are comparable.

    Attributes:
        area: of the fab.
        variables: its sensors; none where a whole lot is measured at a time.
        parameters: of its recipes.
        measured: what metrology measures after its steps.
        defects: what inspection finds after its steps, defects per cm2.
        batch: one run treats a whole lot; a wafer's place in the boat is its slot.
        rate_hz: samples a second, as long as the trace does not become too long.
        phases: of its recipes; their shares add up to 1.
    """

    area: str
    variables: tuple[Variable, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    measured: Measured | None = None
    defects: Measured | None = None
    batch: bool = False
    rate_hz: float = 1.0
    phases: tuple[Phase, ...] = _PLAIN


def _defects(per_cm2: float) -> Measured:
    """Defect density around a baseline.

    Counts of wafers of one process are overdispersed (Stapper 1983): a log-normal with a spread of
    0.35 has a coefficient of variation of 36 %. Recipes of inspection find the same wafer's defects
    again to about 8 %.
    """
    return Measured("defect_density_cm2", per_cm2, 0.35, 0.08, log=True)


_BLADE = Variable("blade_vibration_um", 12.0, 0.8)
_PARTICLES = Variable("particle_density_m3", 180.0, 12.0)

KINDS: dict[str, Kind] = {
    "litho": Kind(
        area="lithography",
        variables=(
            Variable("dose_mj_cm2", 32.0, 0.12, 0.0, 0.0, 1.0, tied=("source", 0.6)),
            Variable("focus_offset_nm", 10.0, 1.2, tied=("stage", 0.4)),
            Variable("stage_error_nm", 4.0, 0.25, tied=("stage", 0.5)),
            Variable("lens_temp_c", 22.0, 0.02, tied=("heat", 0.5), warm=-1.0),
            Variable("resist_dispense_ml", 2.4, 0.02, 0.2, 0.2, 2.0),
            Variable("spin_speed_rpm", 2200.0, 6.0, 0.3, 0.1),
            Variable("bake_temp_c", 110.0, 0.15, 0.9, 0.8, 6.0, tied=("track", 0.4), warm=-0.8),
            Variable("humidity_pct", 45.0, 0.25, tied=("track", -0.4)),
            Variable("vacuum_chuck_kpa", 80.0, 0.5, 0.9, 0.4, 2.0),
            Variable("laser_power_w", 60.0, 0.3, 0.1, 0.1, 1.0, tied=("source", 0.7)),
            Variable("bandwidth_fm", 300.0, 3.0, tied=("source", -0.4)),
            Variable("leveling_error_nm", 12.0, 0.6, tied=("stage", 0.6)),
            Variable("reticle_temp_c", 22.3, 0.03, tied=("heat", 0.6), warm=-1.5),
            Variable("immersion_flow_l_min", 4.0, 0.03, 0.8, 0.8, 2.0),
            Variable("resist_temp_c", 22.0, 0.04, tied=("track", 0.5)),
            Variable("develop_flow_ml_min", 800.0, 5.0, 0.1, 0.0, 2.0),
            Variable("cool_plate_temp_c", 23.0, 0.05, tied=("track", 0.4)),
            Variable("exhaust_pressure_pa", 110.0, 0.8, tied=("track", -0.3)),
        ),
        parameters=(
            Parameter("focus_offset_nm", 10.0, -40.0, 60.0),
            Parameter("dose_mj_cm2", 32.0, 29.0, 35.0),
        ),
        measured=Measured("cd_nm", 45.0, 0.35, 0.15),
        defects=_defects(0.06),
    ),
    "etch": Kind(
        area="etch",
        rate_hz=2.0,
        phases=_WITH_OVER,
        variables=(
            Variable("rf_power_w", 900.0, 3.0, 0.0, 0.0, 1.5, 0.7, ("plasma", 0.5)),
            Variable("rf_reflected_w", 12.0, 0.8, 0.3, 0.1, 2.0, 0.8, ("match", 0.5)),
            Variable("match_position_pct", 48.0, 0.7, 0.9, 0.9, 4.0, 0.96, ("match", 0.6)),
            Variable("pressure_pa", 2.6, 0.02, 0.6, 0.3, 4.0, 1.2, ("gas", 0.6)),
            Variable("helium_flow_sccm", 8.0, 0.3, 0.4, 0.1, 3.0, 1.0, ("clamp", -0.4)),
            Variable("helium_pressure_pa", 1300.0, 8.0, 0.6, 0.1, tied=("clamp", 0.5)),
            Variable("chuck_temp_c", 60.0, 0.2, 0.98, 0.97, 8.0, tied=("heat", 0.5), warm=-1.5),
            Variable("edge_ring_bias_v", 310.0, 2.5, 0.1, 0.0, 2.0, 0.8, ("plasma", 0.4)),
            Variable("endpoint_intensity_au", 4200.0, 35.0, 0.05, 0.02, 3.0, 0.55, ("plasma", 0.5)),
            _BLADE,
            _PARTICLES,
            Variable("rf_bias_power_w", 220.0, 1.2, 0.0, 0.0, 1.5, 0.5, ("plasma", 0.3)),
            Variable("bias_voltage_v", 380.0, 3.0, 0.0, 0.0, 1.5, 0.6, ("plasma", 0.6)),
            Variable("etch_gas_flow_sccm", 120.0, 0.4, 0.9, 0.0, 2.0, 0.6, ("gas", 0.4)),
            Variable("oxygen_flow_sccm", 18.0, 0.1, 0.9, 0.0, 2.0, 1.3, ("gas", 0.3)),
            Variable("argon_flow_sccm", 300.0, 1.0, 1.0, 1.6, 2.0, tied=("gas", 0.3)),
            Variable("throttle_position_pct", 32.0, 0.4, 1.2, 2.4, 3.0, 0.95, ("gas", -0.6)),
            Variable("wall_temp_c", 70.0, 0.3, 0.99, 0.98, 12.0, tied=("heat", 0.6), warm=-2.0),
            Variable("chuck_voltage_v", 2000.0, 6.0, 0.8, 0.0, 1.0, tied=("clamp", 0.4)),
            Variable("foreline_pressure_pa", 18.0, 0.2, 0.8, 0.6, 3.0, tied=("gas", 0.4)),
        ),
        parameters=(
            Parameter("rf_power_w", 900.0, 800.0, 1000.0),
            Parameter("helium_pressure_pa", 1300.0, 1000.0, 1700.0),
            Parameter("edge_ring_bias_v", 310.0, 260.0, 380.0),
        ),
        measured=Measured("etch_depth_nm", 320.0, 1.8, 0.6),
        defects=_defects(0.09),
    ),
    "deposition": Kind(
        area="thin film",
        variables=(
            Variable("gas_flow_sccm", 450.0, 1.5, 0.1, 0.0, 2.0, tied=("gas", 0.3)),
            Variable("carrier_flow_sccm", 2000.0, 5.0, 0.8, 1.0, 2.0, tied=("gas", 0.4)),
            Variable("pressure_pa", 560.0, 2.0, 0.7, 0.3, tied=("gas", 0.6)),
            Variable("pedestal_temp_c", 400.0, 0.5, 0.98, 0.97, 8.0, tied=("heat", 0.6), warm=-1.5),
            Variable("showerhead_pressure_kpa", 3.2, 0.03, 0.3, 0.2, tied=("gas", 0.3)),
            Variable("rf_power_w", 650.0, 2.0, 0.0, 0.0, 1.5, tied=("plasma", 0.5)),
            Variable("throttle_position_pct", 36.0, 0.5, 0.9, 1.1, 3.0, tied=("gas", -0.5)),
            Variable("wall_temp_c", 85.0, 0.3, 1.0, 1.0, 10.0, tied=("heat", 0.5), warm=-2.0),
            _BLADE,
            _PARTICLES,
            Variable("rf_reflected_w", 8.0, 0.5, 0.2, 0.1, 2.0, tied=("plasma", -0.4)),
            Variable("bias_voltage_v", 40.0, 0.5, 0.0, 0.0, 1.5, tied=("plasma", 0.6)),
            Variable("oxidiser_flow_sccm", 1800.0, 4.0, 0.6, 0.0, 2.0, tied=("gas", 0.3)),
            Variable("foreline_pressure_pa", 90.0, 1.0, 0.8, 0.5, 3.0, tied=("gas", 0.4)),
            Variable("heater_power_w", 1500.0, 12.0, 1.05, 0.95, 6.0, tied=("heat", -0.5)),
            Variable("gap_spacing_mm", 9.0, 0.015, 1.4, 2.5, 1.5),
            Variable("inlet_temp_c", 60.0, 0.2, 1.0, 1.0, 8.0, tied=("heat", 0.3), warm=-0.8),
        ),
        parameters=(
            Parameter("gas_flow_sccm", 450.0, 400.0, 500.0),
            Parameter("rf_power_w", 650.0, 580.0, 720.0),
        ),
        measured=Measured("film_thickness_nm", 480.0, 2.2, 0.5),
        defects=_defects(0.05),
    ),
    "cmp": Kind(
        area="CMP",
        phases=_WITH_OVER,
        variables=(
            Variable("platen_speed_rpm", 93.0, 0.3, 0.5, 0.4, 2.0, 0.8, ("drive", 0.3)),
            Variable("head_speed_rpm", 87.0, 0.3, 0.5, 0.4, 2.0, 0.8, ("drive", 0.3)),
            Variable("center_zone_kpa", 21.0, 0.12, 0.2, 0.0, 2.0, 0.6, ("air", 0.5)),
            Variable("middle_zone_kpa", 20.0, 0.12, 0.2, 0.0, 2.0, 0.6, ("air", 0.5)),
            Variable("edge_zone_kpa", 24.0, 0.15, 0.2, 0.0, 2.0, 0.6, ("air", 0.5)),
            Variable("slurry_flow_ml_min", 220.0, 1.5, 0.5, 0.0, 3.0, tied=("slurry", 0.5)),
            Variable("slurry_pressure_kpa", 64.0, 0.6, 0.6, 0.2, 3.0, tied=("slurry", 0.5)),
            Variable("motor_current_a", 14.0, 0.12, 0.4, 0.3, 2.0, 0.7, ("drive", 0.6)),
            Variable("pad_temp_c", 38.0, 0.3, 0.8, 0.8, 10.0, 0.97, ("drive", 0.4), -2.0),
            Variable("retaining_ring_kpa", 32.0, 0.2, 0.3, 0.0, 2.0, 0.8, ("air", 0.4)),
            Variable("head_motor_current_a", 8.0, 0.08, 0.4, 0.3, 2.0, 0.7, ("drive", 0.5)),
            Variable("head_vibration_um", 5.0, 0.3, 0.5, 0.3, 2.0, tied=("drive", 0.3)),
            Variable("conditioner_speed_rpm", 68.0, 0.3, 1.0, 1.0, 2.0),
            Variable("conditioner_force_n", 22.0, 0.15, 1.0, 1.0, 2.0),
            Variable("carrier_sweep_mm", 12.0, 0.1, 0.2, 0.1, 2.0),
            Variable("slurry_temp_c", 23.0, 0.1, tied=("slurry", -0.3), warm=-0.8),
            Variable("rinse_flow_ml_min", 90.0, 1.0, 2.0, 12.0, 3.0),
        ),
        parameters=(
            Parameter("middle_zone_kpa", 20.0, 16.0, 24.0),
            Parameter("slurry_flow_ml_min", 220.0, 180.0, 260.0),
        ),
        measured=Measured("film_thickness_nm", 310.0, 2.4, 0.5),
        defects=_defects(0.14),
    ),
    "implant": Kind(
        area="implant",
        rate_hz=2.0,
        variables=(
            Variable("beam_current_ma", 6.0, 0.03, 0.0, 0.0, 1.0, tied=("beam", 0.6)),
            Variable("beam_energy_kev", 40.0, 0.04, tied=("supply", 0.5)),
            Variable("dose_rate_pct", 100.0, 0.4, 0.0, 0.0, 1.5, tied=("beam", 0.6)),
            Variable("source_current_a", 2.8, 0.03, 0.7, 0.7, tied=("beam", 0.4)),
            Variable("chamber_pressure_upa", 260.0, 4.0, tied=("vacuum", 0.5)),
            Variable("scan_frequency_hz", 210.0, 0.4),
            Variable("wafer_temp_c", 42.0, 0.6, 0.6, 0.8, 12.0, tied=("beam", 0.3), warm=-1.5),
            _BLADE,
            _PARTICLES,
            Variable("extraction_voltage_kv", 35.0, 0.05, tied=("supply", 0.5)),
            Variable("suppression_voltage_kv", 2.0, 0.01, tied=("supply", 0.3)),
            Variable("arc_voltage_v", 70.0, 0.4, 0.9, 0.9, tied=("beam", -0.3)),
            Variable("arc_current_a", 2.2, 0.03, 0.8, 0.8, tied=("beam", 0.4), warm=-1.0),
            Variable("source_gas_flow_sccm", 2.4, 0.02, 1.0, 1.0, 2.0, tied=("vacuum", 0.4)),
            Variable("analyser_current_a", 118.0, 0.2, tied=("supply", 0.4)),
            Variable("flood_current_ma", 6.0, 0.05, 0.3, 0.2, 1.5),
            Variable("tilt_angle_deg", 7.0, 0.02, 0.5, 0.0, 2.0),
        ),
        parameters=(
            Parameter("beam_current_ma", 6.0, 5.0, 7.0),
            Parameter("beam_energy_kev", 40.0, 38.0, 42.0),
        ),
        measured=Measured("sheet_resistance_ohm_sq", 118.0, 0.7, 0.2),
        defects=_defects(0.04),
    ),
    "clean": Kind(
        area="wet clean",
        variables=(
            Variable("concentration_pct", 4.9, 0.03, tied=("bath", 0.5)),
            Variable("conductivity_ms_cm", 62.0, 0.4, 0.9, 0.3, tied=("bath", 0.5)),
            Variable("bath_temp_c", 65.0, 0.2, 0.99, 0.99, 10.0, tied=("heat", 0.5), warm=-1.0),
            Variable("flow_l_min", 18.0, 0.15, 0.5, 1.0, 3.0, tied=("pump", 0.5)),
            Variable("megasonic_w", 240.0, 1.5, 0.0, 0.0, 1.5),
            Variable("rinse_resistivity_mohm_cm", 17.8, 0.05, 0.9, 1.0, tied=("water", 0.4)),
            Variable("spin_speed_rpm", 600.0, 3.0, 0.2, 1.5),
            Variable("exhaust_pressure_pa", 95.0, 0.8),
            _PARTICLES,
            Variable("peroxide_pct", 5.2, 0.04, tied=("bath", 0.4)),
            Variable("acidity_ph", 10.6, 0.03, tied=("bath", 0.4)),
            Variable("tank_level_mm", 310.0, 1.2, tied=("pump", 0.3)),
            Variable("filter_pressure_kpa", 85.0, 0.6, 0.6, 1.0, 3.0, tied=("pump", 0.6)),
            Variable("rinse_flow_l_min", 2.0, 0.04, 1.0, 11.0, 3.0, tied=("water", 0.4)),
            Variable("rinse_temp_c", 24.0, 0.1, tied=("water", -0.3)),
            Variable("nitrogen_flow_l_min", 30.0, 0.3, 1.0, 4.0, 2.0),
            Variable("dissolved_gas_ppm", 1.8, 0.04, tied=("water", 0.3)),
            Variable("heater_power_w", 3200.0, 25.0, 1.1, 0.9, 6.0, tied=("heat", -0.5)),
        ),
        parameters=(
            Parameter("concentration_pct", 4.9, 4.3, 5.8),
            Parameter("bath_temp_c", 65.0, 60.0, 70.0),
        ),
        defects=_defects(0.05),
    ),
    "diffusion": Kind(
        area="diffusion",
        batch=True,
        variables=(
            Variable("zone_top_temp_c", 950.0, 0.3, 0.8, 0.85, 240.0, tied=("heat", 0.5)),
            Variable("zone_center_temp_c", 950.0, 0.3, 0.8, 0.85, 240.0, tied=("heat", 0.5)),
            Variable("zone_bottom_temp_c", 950.0, 0.3, 0.8, 0.85, 240.0, tied=("heat", 0.5)),
            Variable("profile_temp_c", 948.0, 0.35, 0.8, 0.85, 300.0, tied=("heat", 0.5)),
            Variable("zone_top_power_pct", 38.0, 0.4, 1.4, 0.4, 60.0, tied=("mains", -0.5)),
            Variable("zone_center_power_pct", 31.0, 0.4, 1.4, 0.4, 60.0, tied=("mains", -0.5)),
            Variable("zone_bottom_power_pct", 44.0, 0.4, 1.4, 0.4, 60.0, tied=("mains", -0.5)),
            Variable("line_voltage_v", 398.0, 1.2, tied=("mains", 0.7)),
            Variable("oxygen_flow_sccm", 8000.0, 15.0, 0.05, 0.0, 3.0, tied=("gas", 0.4)),
            Variable("hydrogen_flow_sccm", 4000.0, 8.0, 0.0, 0.0, 3.0, tied=("gas", 0.4)),
            Variable("nitrogen_flow_sccm", 1000.0, 5.0, 10.0, 10.0, 3.0, tied=("gas", 0.3)),
            Variable("tube_overpressure_pa", 250.0, 4.0, 0.6, 0.6, 10.0, tied=("gas", 0.5)),
            Variable("exhaust_pressure_pa", 120.0, 1.0, tied=("gas", -0.4)),
            Variable("torch_temp_c", 750.0, 1.5, 0.9, 0.5, 60.0),
            Variable("boat_position_mm", 12.0, 0.3, 1.0, 1.0, 20.0),
            Variable("boat_rotation_rpm", 5.0, 0.02, 0.5, 0.5, 5.0),
            Variable("elevator_load_n", 210.0, 1.0),
            Variable("cooling_water_temp_c", 24.0, 0.15, 0.98, 1.0, 120.0),
            Variable("loadlock_oxygen_ppm", 12.0, 0.5, 1.6, 1.0, 60.0),
        ),
        parameters=(
            Parameter("zone_bottom_temp_c", 950.0, 940.0, 960.0),
            Parameter("oxygen_flow_sccm", 8000.0, 7200.0, 8800.0),
        ),
        measured=Measured("oxide_thickness_nm", 100.0, 0.5, 0.1),
        defects=_defects(0.03),
    ),
    METROLOGY: Kind(area="metrology"),
    INSPECTION: Kind(area="inspection"),
    TEST: Kind(area="test"),
}
"""Every kind of equipment. The last three measure a whole lot and give no traces."""
