"""iptables: its listings are read, of both stores and both families."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portgate.core.capture import Capture, Reading
    from portgate.core.ruleset import Ruleset


class Iptables:
    """See `portgate.backends.Reader`. Everything is imported when it is used, because start-up shall be quick."""

    reading_kinds = ("iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save", "ipset")

    def parse(self, readings: tuple[Reading, ...]) -> Ruleset:
        from portgate.backends.iptables import parse

        return parse.parse(readings)

    def capture(self) -> Capture:
        from portgate.backends.iptables import live

        return live.capture()


READER = Iptables()
