"""What starts portgate's rules with the machine: right for the system that reads it, and written only where that is."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from portgate import backends
from portgate.apply import boot, services
from portgate.apply.state import opened
from tests.apply.test_breaking import prepared

COMMANDS = ("/sbin/pfctl -a portgate -f /state/closed.pf", "/sbin/pfctl -a portgate -f /state/boot.pf")
OPENED, RULES = "/state/opened.sh", "/state/boot.pf"


def systemd(top: Path) -> None:
    (top / "etc/systemd/system").mkdir(parents=True)


def openrc(top: Path) -> None:
    for folder in ("sbin", "etc/init.d", "etc/runlevels/boot"):
        (top / folder).mkdir(parents=True)
    (top / "sbin/openrc-run").touch()


def freebsd(top: Path) -> None:
    for folder in ("bin", "etc"):
        (top / folder).mkdir(parents=True)
    (top / "bin/freebsd-version").touch()
    (top / "etc/rc.subr").touch()


def openbsd(top: Path, *lines: str) -> None:
    (top / "etc/rc.d").mkdir(parents=True)
    (top / "etc/rc.d/rc.subr").touch()
    (top / "etc/pf.conf").write_text("\n".join(["set skip on lo", 'anchor "portgate"', *lines]))


def install(top: Path, commands: tuple[str, ...] = COMMANDS) -> bool:
    return services.install(str(top), commands[:1], commands[1:], OPENED, RULES)


@pytest.mark.parametrize(
    ("system", "name"),
    [(systemd, "portgate.service"), (openrc, "portgate"), (freebsd, "rc.d/portgate")],
)
def test_each_system_gets_what_it_reads_and_that_is_enabled(
    system: Callable[[Path], None], name: str, tmp_path: Path
) -> None:
    system(tmp_path)
    assert services.enabled(str(tmp_path), RULES) is None
    assert install(tmp_path)
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert services.enabled(str(tmp_path), RULES) == name
    assert install(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == written


def test_where_no_system_is_known_nothing_is_written(tmp_path: Path) -> None:
    assert not install(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert (services.enabled(str(tmp_path), RULES), services.remedy(str(tmp_path), RULES)) == (None, None)


def ran(script: str, scratch: Path, *arguments: str) -> list[str]:
    """The programs that a script runs, in which those of the rules only say their names."""
    calls = scratch / "calls"
    calls.write_text("")
    stub = scratch / "stub"
    stub.write_text(f'#!/bin/sh\necho "$(basename "$1")" >>{calls}\n[ ! -e {scratch}/fails-"$(basename "$1")" ]\n')
    stub.chmod(0o755)
    text = re.sub(r"/(?:sbin/pfctl -a portgate -f|bin/sh) ", f"{stub} ", script)
    subprocess.run(["sh", "-c", text, "portgate", *arguments], check=False, cwd=scratch)
    return calls.read_text().split()


RC_SUBR = 'load_rc_config() { :; }\nrun_rc_command() { [ "$portgate_enable" = YES ] && "${name}_start"; }\n'


def test_the_script_of_freebsd_loads_the_closed_rules_first_and_then_the_policy(tmp_path: Path) -> None:
    freebsd(tmp_path)
    install(tmp_path)
    path = tmp_path / "usr/local/etc/rc.d/portgate"
    assert path.stat().st_mode & 0o777 == 0o555
    assert subprocess.run(["sh", "-n", path], check=False).returncode == 0
    (tmp_path / "rc.subr").write_text(RC_SUBR)
    script = path.read_text().replace(". /etc/rc.subr", f". {tmp_path}/rc.subr")
    assert ran(script, tmp_path, "start") == [], "it runs although nothing enables it"
    on = (tmp_path / "etc/rc.conf.d/portgate").read_text()
    assert ran(on + script, tmp_path, "start") == ["closed.pf", "boot.pf"]
    (tmp_path / "fails-closed.pf").touch()
    assert ran(on + script, tmp_path, "start") == ["closed.pf", "boot.pf"], "the rules are no worse for it"


def test_the_script_of_freebsd_comes_after_the_firewall_and_before_what_needs_a_network(tmp_path: Path) -> None:
    freebsd(tmp_path)
    install(tmp_path)
    script = (tmp_path / "usr/local/etc/rc.d/portgate").read_text()
    assert re.findall(r"^# ([A-Z]+): (.*)$", script, re.MULTILINE) == [
        ("PROVIDE", "portgate"),
        ("REQUIRE", "pf ipfw"),
        ("BEFORE", "NETWORKING"),
        ("KEYWORD", "nojailvnet"),
    ]


def test_the_script_of_openrc_opens_again_only_behind_the_policy(tmp_path: Path) -> None:
    openrc(tmp_path)
    install(tmp_path)
    path = tmp_path / "etc/init.d/portgate"
    assert subprocess.run(["sh", "-n", path], check=False).returncode == 0
    script = "ebegin() { :; }\neend() { return $1; }\n" + path.read_text() + "\nstart\n"
    assert ran(script, tmp_path) == ["closed.pf", "boot.pf", "opened.sh"]
    (tmp_path / "fails-boot.pf").touch()
    assert ran(script, tmp_path) == ["closed.pf", "boot.pf"]


def test_the_unit_of_systemd_is_taken_by_systemd(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here")
    systemd(tmp_path)
    install(tmp_path, ("/bin/true closed", "/bin/true boot"))
    unit = tmp_path / "etc/systemd/system/portgate.service"
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert "portgate.service" not in done.stderr, done.stderr
    assert [line.partition("=")[2] for line in unit.read_text().splitlines() if line.startswith("ExecStart=")] == [
        "-/bin/true closed",
        "/bin/true boot",
        "-/bin/sh /state/opened.sh",
    ]


# ------------------------------------------------------------------ OpenBSD, which is told and not edited


@pytest.mark.parametrize(
    ("line", "loads"),
    [
        ('load anchor "portgate" from "/state/boot.pf"', True),
        ("  load anchor portgate from /state/boot.pf", True),
        ('# load anchor "portgate" from "/state/boot.pf"', False),
        ('load anchor "portgate" from "/elsewhere"', False),
        ('load anchor "other" from "/state/boot.pf"', False),
        ("", False),
    ],
)
def test_openbsd_starts_with_the_rules_where_its_pf_conf_loads_them(line: str, loads: bool, tmp_path: Path) -> None:
    openbsd(tmp_path, line)
    before = (tmp_path / "etc/pf.conf").read_text()
    assert install(tmp_path) is loads
    assert services.enabled(str(tmp_path), RULES) == ("pf.conf" if loads else None)
    assert (tmp_path / "etc/pf.conf").read_text() == before


def test_the_line_that_openbsd_lacks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTGATE_BOOT_ROOT", str(tmp_path))
    openbsd(tmp_path)
    pf = replace(prepared(), backend="pf", closed="block", artifact="pass")
    with opened(tmp_path / "state") as state:
        (told,) = boot.install(state, pf, (), str(tmp_path))
        line = f'load anchor "portgate" from "{tmp_path}/state/boot.pf"'
        assert (told.code, told.remedy and told.remedy.endswith(line)) == ("PG550", True)
        openbsd_conf = tmp_path / "etc/pf.conf"
        openbsd_conf.write_text(f"{openbsd_conf.read_text()}\n{line}\n")
        assert boot.install(state, pf, (), str(tmp_path)) == ()
        assert state.read("boot.pf") == b"pass"
        assert boot.told(state).endswith(", by pf.conf")
    assert "pf" in backends.names()


def test_a_system_without_namespaces_is_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "freebsd14")
    assert boot.in_machine()
