"""Names of variables as people write them: the unit at their end, apart."""

__all__ = ["in_words"]

# Longest first where one ends with another.
_UNITS = {
    "_mohm_cm": "MΩ cm",
    "_ms_cm": "mS/cm",
    "_mj_cm2": "mJ/cm²",
    "_ml_min": "ml/min",
    "_ohm_sq": "Ω/sq",
    "_l_min": "l/min",
    "_sccm": "sccm",
    "_slm": "slm",
    "_kev": "keV",
    "_kpa": "kPa",
    "_upa": "µPa",
    "_pct": "%",
    "_rpm": "1/min",
    "_khz": "kHz",
    "_mhz": "MHz",
    "_ppm": "ppm",
    "_m3": "1/m³",
    "_hz": "Hz",
    "_ma": "mA",
    "_ml": "ml",
    "_mm": "mm",
    "_nm": "nm",
    "_um": "µm",
    "_pa": "Pa",
    "_au": "a.u.",
    "_kw": "kW",
    "_kv": "kV",
    "_mv": "mV",
    "_a": "A",
    "_c": "°C",
    "_g": "g",
    "_s": "s",
    "_v": "V",
    "_w": "W",
}


def in_words(variable: str) -> tuple[str, str]:
    """A variable's name and its unit, '' if it ends with none that we know.

    >>> in_words("slurry_flow_ml_min")
    ('slurry flow', 'ml/min')
    """
    for suffix, unit in _UNITS.items():
        if variable.endswith(suffix):
            return variable.removesuffix(suffix).replace("_", " "), unit
    return variable.replace("_", " "), ""
