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
from pathlib import Path

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


def install(top: Path, closing: Sequence[str], opening: Sequence[str], opened: Path, rules: Path) -> bool:
    """What the machine shall run when it starts. Whether it has something to do that with.

    All commands of `closing`, even if one fails; then `opening` up to the first that fails; then the script `opened`.

    **Shape** `rules` is the file of the last command, which OpenBSD's pf.conf loads by itself. **Errors** OSError.
    """
    chain = "; ".join((*closing, " && ".join(opening)))
    found = False
    if (units := top / "etc/systemd/system").is_dir():
        starts = "\n".join([*(f"ExecStart=-{one}" for one in closing), *(f"ExecStart={one}" for one in opening)])
        unit = _UNIT.format(directory=opened.parent, commands=starts, opened=opened)
        _write(units / "portgate.service", unit, 0o644)
        _link(top / _SYSTEMD_WANTS, "../portgate.service")
        found = True
    if (top / "sbin/openrc-run").exists() and (top / "etc/init.d").is_dir():
        _write(top / "etc/init.d/portgate", _OPENRC.format(commands=chain, opened=opened), 0o755)
        _link(top / _OPENRC_LEVEL, "/etc/init.d/portgate")
        found = True
    if _is_freebsd(top):
        for folder in ("usr/local/etc/rc.d", "etc/rc.conf.d"):
            (top / folder).mkdir(parents=True, exist_ok=True)
        _write(top / "usr/local/etc/rc.d/portgate", _FREEBSD.format(commands=chain), 0o555)
        _write(top / "etc/rc.conf.d/portgate", _FREEBSD_ON, 0o644)
        found = True
    return found or _loaded_by_pf_conf(top, rules)


def enabled(top: Path, rules: Path) -> str | None:
    """By what the machine starts our rules; None when by nothing."""
    for link in (top / _SYSTEMD_WANTS, top / _OPENRC_LEVEL):
        if link.is_symlink() and _target(top, link).exists():
            return link.name
    if (top / "etc/rc.conf.d/portgate").is_file() and (top / "usr/local/etc/rc.d/portgate").is_file():
        return "rc.d/portgate"
    return "pf.conf" if _loaded_by_pf_conf(top, rules) else None


def remedy(top: Path, rules: Path) -> str | None:
    """What to do where nothing can be written that starts the rules."""
    if (top / "etc/rc.d/rc.subr").exists() and (top / "etc/pf.conf").exists():
        return f'add to /etc/pf.conf, behind its line `anchor "portgate"`: load anchor "portgate" from "{rules}"'
    return None


def _target(top: Path, link: Path) -> Path:
    """Where a link leads, below `top`."""
    target = link.readlink()
    return top / target.relative_to("/") if target.is_absolute() else link.parent / target


def _is_freebsd(top: Path) -> bool:
    return (top / "bin/freebsd-version").exists() and (top / "etc/rc.subr").exists()


def _loaded_by_pf_conf(top: Path, rules: Path) -> bool:
    """Whether this is OpenBSD, and its pf.conf has the line that fills our anchor."""
    if not (top / "etc/rc.d/rc.subr").exists():
        return False
    try:
        text = (top / "etc/pf.conf").read_text(errors="replace")
    except FileNotFoundError:
        return False
    return str(rules) in _LOAD_ANCHOR.findall(text)


def _write(path: Path, text: str, mode: int) -> None:
    """Whole or not at all; not again where it is there already."""
    if path.is_file() and not path.is_symlink() and path.read_text(errors="replace") == text:
        return
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.chmod(mode)
    beside.replace(path)


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(exist_ok=True)
    if not path.is_symlink():
        path.symlink_to(target)
