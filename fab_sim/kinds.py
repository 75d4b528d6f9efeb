"""What each kind of module measures, which recipe parameters it has, and what is measured after it.

The numbers are typical set points of 300 mm tools, chosen for their order of magnitude; nothing
depends on them but the traces' looks. Spreads are wafer to wafer, one standard deviation.
"""

import msgspec

__all__ = ["INSPECTION", "KINDS", "METROLOGY", "TEST", "Kind", "Measured", "Parameter", "Variable"]

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
    """

    name: str
    level: float
    spread: float
    idle: float = 1.0
    purge: float = 1.0
    lag_s: float = 4.0


class Parameter(msgspec.Struct, frozen=True):
    """A recipe parameter and the range within which it may be set."""

    name: str
    nominal: float
    low: float
    high: float


class Measured(msgspec.Struct, frozen=True):
    """What metrology measures after a step, unit as suffix, with gauge noise and site spread."""

    parameter: str
    target: float
    spread: float
    gauge: float
    log: bool = False


class Kind(msgspec.Struct, frozen=True):
    """A kind of module; modules of one kind are comparable."""

    variables: tuple[Variable, ...]
    parameters: tuple[Parameter, ...]
    measured: Measured | None = None
    defects: Measured | None = Measured("defect_density_cm2", 0.08, 0.2, 0.05, True)
    batch: bool = False


_BLADE = Variable("blade_vibration_um", 12.0, 0.8)
_PARTICLES = Variable("particle_density_m3", 180.0, 12.0)

KINDS: dict[str, Kind] = {
    "litho": Kind(
        (
            Variable("dose_mj_cm2", 32.0, 0.12, 0.0, 0.0, 1.0),
            Variable("focus_offset_nm", 10.0, 1.2),
            Variable("stage_error_nm", 4.0, 0.25),
            Variable("lens_temp_c", 22.0, 0.02),
            Variable("resist_dispense_ml", 2.4, 0.02, 0.2, 0.2, 2.0),
            Variable("spin_speed_rpm", 2200.0, 6.0, 0.3, 0.1),
            Variable("bake_temp_c", 110.0, 0.15, 0.9, 0.8, 6.0),
            Variable("humidity_pct", 45.0, 0.25),
            Variable("vacuum_chuck_kpa", 80.0, 0.5, 0.9, 0.4, 2.0),
        ),
        (
            Parameter("focus_offset_nm", 10.0, -40.0, 60.0),
            Parameter("dose_mj_cm2", 32.0, 29.0, 35.0),
        ),
        Measured("cd_nm", 45.0, 0.35, 0.15),
    ),
    "etch": Kind(
        (
            Variable("rf_power_w", 900.0, 3.0, 0.0, 0.0, 1.5),
            Variable("rf_reflected_w", 12.0, 0.8, 0.3, 0.1, 2.0),
            Variable("match_position_pct", 48.0, 0.7, 0.9, 0.9),
            Variable("pressure_pa", 2.6, 0.02, 0.6, 0.3),
            Variable("helium_flow_sccm", 8.0, 0.3, 0.4, 0.1, 3.0),
            Variable("helium_pressure_pa", 1300.0, 8.0, 0.6, 0.1),
            Variable("chuck_temp_c", 60.0, 0.2, 0.98, 0.97, 8.0),
            Variable("edge_ring_bias_v", 310.0, 2.5, 0.1, 0.0, 2.0),
            Variable("endpoint_intensity_au", 4200.0, 35.0, 0.05, 0.02, 3.0),
            _BLADE,
            _PARTICLES,
        ),
        (
            Parameter("rf_power_w", 900.0, 800.0, 1000.0),
            Parameter("helium_pressure_pa", 1300.0, 1000.0, 1700.0),
            Parameter("edge_ring_bias_v", 310.0, 260.0, 380.0),
        ),
        Measured("etch_depth_nm", 320.0, 1.8, 0.6),
    ),
    "deposition": Kind(
        (
            Variable("gas_flow_sccm", 450.0, 1.5, 0.1, 0.0, 2.0),
            Variable("carrier_flow_sccm", 2000.0, 5.0, 0.8, 1.0, 2.0),
            Variable("pressure_pa", 560.0, 2.0, 0.7, 0.3),
            Variable("pedestal_temp_c", 400.0, 0.5, 0.98, 0.97, 8.0),
            Variable("showerhead_pressure_kpa", 3.2, 0.03, 0.3, 0.2),
            Variable("rf_power_w", 650.0, 2.0, 0.0, 0.0, 1.5),
            Variable("throttle_position_pct", 36.0, 0.5, 0.9, 1.1, 3.0),
            Variable("wall_temp_c", 85.0, 0.3, 1.0, 1.0, 10.0),
            _BLADE,
            _PARTICLES,
        ),
        (
            Parameter("gas_flow_sccm", 450.0, 400.0, 500.0),
            Parameter("rf_power_w", 650.0, 580.0, 720.0),
        ),
        Measured("film_thickness_nm", 480.0, 2.2, 0.5),
    ),
    "cmp": Kind(
        (
            Variable("platen_speed_rpm", 93.0, 0.3, 0.5, 0.4, 2.0),
            Variable("head_speed_rpm", 87.0, 0.3, 0.5, 0.4, 2.0),
            Variable("center_zone_kpa", 21.0, 0.12, 0.2, 0.0, 2.0),
            Variable("middle_zone_kpa", 20.0, 0.12, 0.2, 0.0, 2.0),
            Variable("edge_zone_kpa", 24.0, 0.15, 0.2, 0.0, 2.0),
            Variable("slurry_flow_ml_min", 220.0, 1.5, 0.5, 0.0, 3.0),
            Variable("slurry_pressure_kpa", 64.0, 0.6, 0.6, 0.2, 3.0),
            Variable("motor_current_a", 14.0, 0.12, 0.4, 0.3, 2.0),
            Variable("pad_temp_c", 38.0, 0.3, 0.8, 0.8, 10.0),
        ),
        (
            Parameter("middle_zone_kpa", 20.0, 16.0, 24.0),
            Parameter("slurry_flow_ml_min", 220.0, 180.0, 260.0),
        ),
        Measured("film_thickness_nm", 310.0, 2.4, 0.5),
    ),
    "implant": Kind(
        (
            Variable("beam_current_ma", 6.0, 0.03, 0.0, 0.0, 1.0),
            Variable("beam_energy_kev", 40.0, 0.04, 1.0, 1.0),
            Variable("dose_rate_pct", 100.0, 0.4, 0.0, 0.0, 1.5),
            Variable("source_current_a", 2.8, 0.03, 0.7, 0.7),
            Variable("chamber_pressure_upa", 260.0, 4.0),
            Variable("scan_frequency_hz", 210.0, 0.4, 1.0, 1.0),
            Variable("wafer_temp_c", 42.0, 0.6, 0.6, 0.8, 12.0),
            _BLADE,
            _PARTICLES,
        ),
        (
            Parameter("beam_current_ma", 6.0, 5.0, 7.0),
            Parameter("beam_energy_kev", 40.0, 38.0, 42.0),
        ),
        Measured("sheet_resistance_ohm_sq", 118.0, 0.7, 0.2),
    ),
    "clean": Kind(
        (
            Variable("concentration_pct", 4.9, 0.03),
            Variable("conductivity_ms_cm", 62.0, 0.4, 0.9, 0.3),
            Variable("bath_temp_c", 65.0, 0.2, 0.99, 0.99, 10.0),
            Variable("flow_l_min", 18.0, 0.15, 0.5, 1.0, 3.0),
            Variable("megasonic_w", 240.0, 1.5, 0.0, 0.0, 1.5),
            Variable("rinse_resistivity_mohm_cm", 17.8, 0.05, 0.9, 1.0),
            Variable("spin_speed_rpm", 600.0, 3.0, 0.2, 1.5),
            Variable("exhaust_pressure_pa", 95.0, 0.8),
            _PARTICLES,
        ),
        (
            Parameter("concentration_pct", 4.9, 4.3, 5.8),
            Parameter("bath_temp_c", 65.0, 60.0, 70.0),
        ),
    ),
    "diffusion": Kind(
        (Variable("zone_temp_c", 900.0, 0.5),),
        (),
        Measured("oxide_nm", 12.0, 0.1, 0.03),
        batch=True,
    ),
    METROLOGY: Kind((), (), defects=None),
    INSPECTION: Kind((), (), defects=None),
    TEST: Kind((), (), defects=None),
}
"""Every kind of equipment. `metrology` and `test` measure a whole lot and give no traces."""
