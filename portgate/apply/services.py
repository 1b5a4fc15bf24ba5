"""What starts portgate's rules with the machine: a unit of systemd, a script of OpenRC or of FreeBSD's rc, a line of OpenBSD's pf.conf.

Facts
    What must be there before a network is goes before network-pre.target and wants it (systemd.special(7)). The services
    of the distributions, nftables.service and its like, begin with `flush ruleset`, so ours comes after them.
    FreeBSD's script pf empties everything before it loads pf.conf, so ours comes after it, too, and before what
    waits for NETWORKING; a file in /etc/rc.conf.d enables it, so /etc/rc.conf stays as it is.
    OpenBSD's rc(8) loads pf.conf before the network, over rules of its own that let in little but SSH; those stay where
    pf.conf can't be loaded. An anchor is filled by pf.conf itself (`load anchor`, pf.conf(5)).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress

_NOTE = "# Made by portgate; `portgate apply` writes it anew."
_UNIT = f"""\
{_NOTE}
[Unit]
Description=Firewall rules of portgate
DefaultDependencies=no
RequiresMountsFor={{directory}}
After=nftables.service netfilter-persistent.service firewalld.service
Wants=network-pre.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
Environment=TZ=UTC
{{commands}}
ExecStart=-/bin/sh {{opened}}

[Install]
WantedBy=sysinit.target
"""
_OPENRC = f"""\
#!/sbin/openrc-run
{_NOTE}
description="Firewall rules of portgate"

depend() {{{{
    need localmount
    after nftables iptables
    before net
}}}}

start() {{{{
    ebegin "Loading the rules of portgate"
    export TZ=UTC
    {{commands}}
    eend $? && /bin/sh {{opened}}
}}}}
"""
_FREEBSD = f"""\
#!/bin/sh
{_NOTE}
#
# PROVIDE: portgate
# REQUIRE: pf ipfw
# BEFORE: NETWORKING
# KEYWORD: nojailvnet

. /etc/rc.subr

name="portgate"
desc="Firewall rules of portgate"
rcvar="portgate_enable"
start_cmd="portgate_start"
stop_cmd=":"

portgate_start()
{{{{
    {{commands}}
}}}}

load_rc_config $name
: ${{{{portgate_enable:="NO"}}}}
run_rc_command "$1"
"""
_FREEBSD_ON = f'{_NOTE}\nportgate_enable="YES"\n'
_LOAD_ANCHOR = re.compile(r'^[^\S\n]*load\s+anchor\s+"?portgate"?\s+from\s+"?([^"\s]+)', re.MULTILINE)

_SYSTEMD_WANTS = "etc/systemd/system/sysinit.target.wants/portgate.service"
_OPENRC_LEVEL = "etc/runlevels/boot/portgate"


def install(top: str, closing: Sequence[str], opening: Sequence[str], opened: str, rules: str) -> bool:
    """What the machine shall run when it starts. Whether it has something to do that with.

    All commands of `closing`, even if one fails; then `opening` up to the first that fails; then the script `opened`.

    **Shape** `rules` is the file of the last command, which OpenBSD's pf.conf loads by itself. **Errors** OSError.
    """
    chain = "; ".join((*closing, " && ".join(opening)))
    found = False
    if os.path.isdir(units := os.path.join(top, "etc/systemd/system")):
        starts = "\n".join([*(f"ExecStart=-{one}" for one in closing), *(f"ExecStart={one}" for one in opening)])
        unit = _UNIT.format(directory=os.path.dirname(opened), commands=starts, opened=opened)
        _write(os.path.join(units, "portgate.service"), unit, 0o644)
        _link(os.path.join(top, _SYSTEMD_WANTS), "../portgate.service")
        found = True
    if _has(top, "sbin/openrc-run", "etc/init.d/"):
        _write(os.path.join(top, "etc/init.d/portgate"), _OPENRC.format(commands=chain, opened=opened), 0o755)
        _link(os.path.join(top, _OPENRC_LEVEL), "/etc/init.d/portgate")
        found = True
    if _is_freebsd(top):
        for folder, name, text, mode in (
            ("usr/local/etc/rc.d", "portgate", _FREEBSD.format(commands=chain), 0o555),
            ("etc/rc.conf.d", "portgate", _FREEBSD_ON, 0o644),
        ):
            os.makedirs(os.path.join(top, folder), exist_ok=True)
            _write(os.path.join(top, folder, name), text, mode)
        found = True
    return found or _loaded_by_pf_conf(top, rules)


def enabled(top: str, rules: str) -> str | None:
    """By what the machine starts our rules; None when by nothing."""
    for link in (_SYSTEMD_WANTS, _OPENRC_LEVEL):
        if os.path.islink(path := os.path.join(top, link)) and os.path.exists(_target(top, path)):
            return os.path.basename(link)
    if all(os.path.isfile(os.path.join(top, one)) for one in ("etc/rc.conf.d/portgate", "usr/local/etc/rc.d/portgate")):
        return "rc.d/portgate"
    return "pf.conf" if _loaded_by_pf_conf(top, rules) else None


def remedy(top: str, rules: str) -> str | None:
    """What to do where nothing can be written that starts the rules."""
    if _has(top, "etc/rc.d/rc.subr", "etc/pf.conf"):
        return f'add to /etc/pf.conf, behind its line `anchor "portgate"`: load anchor "portgate" from "{rules}"'
    return None


def _has(top: str, *names: str) -> bool:
    return all(os.path.exists(os.path.join(top, name)) for name in names)


def _target(top: str, link: str) -> str:
    """Where a link leads, below `top`."""
    target = os.readlink(link)
    return (
        os.path.join(top, target.lstrip("/")) if os.path.isabs(target) else os.path.join(os.path.dirname(link), target)
    )


def _is_freebsd(top: str) -> bool:
    return _has(top, "bin/freebsd-version", "etc/rc.subr")


def _loaded_by_pf_conf(top: str, rules: str) -> bool:
    """Whether this is OpenBSD, and its pf.conf has the line that fills our anchor."""
    if not _has(top, "etc/rc.d/rc.subr"):
        return False
    try:
        text = _content(os.path.join(top, "etc/pf.conf"))
    except FileNotFoundError:
        return False
    return rules in _LOAD_ANCHOR.findall(text)


def _content(path: str) -> str:
    with open(path, errors="replace") as file:
        return file.read()


def _write(path: str, text: str, mode: int) -> None:
    """Whole or not at all; not again where it is there already."""
    if os.path.isfile(path) and not os.path.islink(path) and _content(path) == text:
        return
    folder, name = os.path.split(path)
    beside = os.path.join(folder, f".{name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        os.unlink(beside)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(beside, mode)
    os.replace(beside, path)


def _link(path: str, target: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if not os.path.islink(path):
        os.symlink(target, path)
