"""What port numbers mean by themselves: who assigned them, who may listen on them, what the kernel does with them.

**Source** RFC 6335, section 6; ip(7) and Documentation/networking/ip-sysctl.rst of Linux 6.x for the defaults.
"""

from __future__ import annotations

from enum import StrEnum

from portgate.core.net import PORT_MAX, Interval

EPHEMERAL: Interval = (32768, 60999)
"""The default of net.ipv4.ip_local_port_range: the kernel hands these out to outgoing connections."""
FIRST_UNPRIVILEGED = 1024
"""The default of net.ipv4.ip_unprivileged_port_start: below it only root may listen."""


class Range(StrEnum):
    """The ranges of IANA: assigned by a standard, registered by somebody, for nobody in particular."""

    WELL_KNOWN = "well-known"
    REGISTERED = "registered"
    DYNAMIC = "dynamic"

    @property
    def ports(self) -> Interval:
        return {Range.WELL_KNOWN: (0, 1023), Range.REGISTERED: (1024, 49151), Range.DYNAMIC: (49152, PORT_MAX)}[self]


def range_of(port: int) -> Range:
    """The one of IANA that holds it."""
    return next(one for one in Range if port <= one.ports[1])


def is_privileged(port: int, first_unprivileged: int = FIRST_UNPRIVILEGED) -> bool:
    """Whether only root, or who has CAP_NET_BIND_SERVICE, may listen there."""
    return port < first_unprivileged


def is_ephemeral(port: int, handed_out: Interval = EPHEMERAL, reserved: tuple[Interval, ...] = ()) -> bool:
    """Whether the kernel may give it to an outgoing connection."""
    first, last = handed_out
    return first <= port <= last and not any(low <= port <= high for low, high in reserved)
