"""Which variables an induced fault's label means.

LAM 9600's labels name a set point ('TCP +50'), its sensors have names of their own. The table says
which sensor reads the changed quantity, and which actuator of the tool must answer to it. Both name
the variable, because in this set the sensor's own reading was moved back to normal after the fault
had been induced (see `load_lam`): a changed power shows at the match network that takes it up, a
changed pressure at the throttle valve that holds it, a changed gas flow at the same valve, which
has to let it through. What moves further on does not count: the endpoint signal, the other
generator.

| label | read by | answered by |
|---|---|---|
| TCP | TCP Top Pwr | TCP Tuner, TCP Load (match network of the top coil) |
| RF | RF Btm Pwr, RF Pwr | RF Tuner, RF Load (match network of the bottom electrode) |
| Pr | Pressure | Vat Valve (throttle valve) |
| BCl3 | BCl3 Flow | Vat Valve |
| Cl2 | Cl2 Flow | Vat Valve |
| He Chuck | He Press | nothing that is recorded |
"""

from dataclasses import dataclass

__all__ = ["LAM_FAULTS", "Changed", "changed_by"]


@dataclass(frozen=True)
class Changed:
    """What a fault changed.

    Attributes:
        read_by: the sensors that read the changed quantity.
        answered_by: the actuators that must answer to it.
    """

    read_by: tuple[str, ...]
    answered_by: tuple[str, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """All variables that name it."""
        return frozenset(self.read_by + self.answered_by)


LAM_FAULTS: dict[str, Changed] = {
    "TCP": Changed(("TCP Top Pwr",), ("TCP Tuner", "TCP Load")),
    "RF": Changed(("RF Btm Pwr", "RF Pwr"), ("RF Tuner", "RF Load")),
    "Pr": Changed(("Pressure",), ("Vat Valve",)),
    "BCl3": Changed(("BCl3 Flow",), ("Vat Valve",)),
    "Cl2": Changed(("Cl2 Flow",), ("Vat Valve",)),
    "He Chuck": Changed(("He Press",)),
}


def changed_by(label: str, variables: tuple[str, ...]) -> Changed | None:
    """What a label such as 'TCP +50' means among these variables.

    A label that is not in the table may start with a variable's name. None: it names nothing here.
    """
    for name, changed in LAM_FAULTS.items():
        if label.startswith(name) and changed.read_by[0] in variables:
            return changed
    own = [name for name in variables if label.startswith(name)]
    return Changed((max(own, key=len),)) if own else None
