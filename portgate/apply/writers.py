"""Who changed portgate's rules, where the machine keeps an audit log.

Source
    The kernel writes a record for each change of a table (kernel/auditsc.c, audit_log_nfcfg), since Linux 5.9:
    `type=NETFILTER_CFG msg=audit(1795243127.041:163): table=portgate:12 family=1 entries=2 op=nft_register_rule pid=4242 subj=... comm="nft"`.
    A name that holds blanks, quotes or control characters is written in hexadecimal.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path

from portgate.apply import boot

LOG = Path("/var/log/audit/audit.log")
_MOST_BYTES = 4 << 20
_RECORD = re.compile(
    rb"^type=NETFILTER_CFG msg=audit\((\d{1,12})\.\d+:\d+\) ?: table=portgate:\d+[; ]"
    rb'[^\n]* pid=(\d+) [^\n]*\bcomm=(?:"([^"\n]*)"|((?:[0-9A-F]{2})+))',
    re.MULTILINE,
)


def since(time: str) -> tuple[str, ...]:
    """Each program that changed a table of our name after this time (ISO 8601), with its last change; () where no log tells.

    In a network namespace of its own nothing is told, for the log doesn't say to which one a record belongs.
    """
    if not boot.in_machine():
        return ()
    try:
        with LOG.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _MOST_BYTES))
            return found_in(file.read(_MOST_BYTES), datetime.fromisoformat(time).timestamp())
    except (OSError, ValueError):
        return ()


def found_in(log: bytes, start: float) -> tuple[str, ...]:
    """The same, in the text of a log. **Units** `start` in seconds since 1970."""
    last: dict[tuple[str, bytes], int] = {}
    for seconds, pid, plain, coded in _RECORD.findall(log):
        if int(seconds) > start:
            name = plain or bytes.fromhex(coded.decode())
            last[name.decode(errors="backslashreplace"), pid] = int(seconds)
    return tuple(
        f"{name} (process {pid.decode()}), {datetime.fromtimestamp(at, UTC).isoformat()}"
        for (name, pid), at in last.items()
    )
