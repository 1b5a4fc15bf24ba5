"""Rate limits: the policy's, and what iptables lists of them.

Facts (iptables 1.8.9, Linux 6.18)
    hashlimit keeps a rate as millionths of a second from one packet to the next, and is listed by the longest unit that tells
    it best: 60/minute as 1/sec. It forgets a source that was quiet for --hashlimit-htable-expire, and with it what
    was taken of its allowance; that is not listed where it is just that unit.
"""

from __future__ import annotations

import re

from portgate.core.policy import Limit, Unit

_SCALE = 1_000_000
_SHORTEST_MEMORY = 60  # seconds
_NAMES = {Unit.DAY: "day", Unit.HOUR: "hour", Unit.MINUTE: "min", Unit.SECOND: "sec"}  # from the longest on
_NAME = re.compile(r"limit_\w+_(?P<amount>\d{1,9})_(?P<unit>second|minute|hour|day)_(?P<burst>\d{1,9})_v[46]", re.ASCII)


def limit_of(name: str) -> Limit | None:
    """The limit of which the set that counts has this name."""
    found = _NAME.fullmatch(name)
    if found is None or int(found["amount"]) == 0:
        return None
    return Limit(int(found["amount"]), Unit(found["unit"]), int(found["burst"]))


def limit_listed(limit: Limit) -> str:
    """`10/min`, as iptables-save has it."""
    period = max(1, _SCALE * limit.unit.seconds // limit.amount)
    units = list(_NAMES)
    chosen = units[0]
    for unit in units[1:]:
        span = _SCALE * unit.seconds
        if period > span or span // period < span % period:
            break
        chosen = unit
    return f"{_SCALE * chosen.seconds // period}/{_NAMES[chosen]}"


def limit_memory(limit: Limit) -> int:
    """Milliseconds until the allowance of a quiet source is full again."""
    return max(_SHORTEST_MEMORY, -(-limit.burst * limit.unit.seconds // limit.amount)) * 1000


def usual_memory(listed: str) -> int:
    """Milliseconds that belong to `10/min`."""
    return next((unit.seconds * 1000 for unit, name in _NAMES.items() if listed.endswith(f"/{name}")), 0)
