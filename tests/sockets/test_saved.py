"""Every real output of the corpus is read, and programs stand in for the kernel where that tells nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from portgate.core.capture import Reading
from portgate.core.listener import Process
from portgate.sockets import parse, sources
from portgate.sockets.live import programs

CORPUS = Path(os.environ.get("PORTGATE_CORPUS", Path(__file__).parents[3] / "shared" / "corpus")) / "sockets"
KINDS = {
    "pfiles": "pfiles", "lsof": "lsof", "sockstat": "sockstat", "osx": "netstat-macos", "freebsd": "netstat-bsd",
    "hpux": "netstat-bsd", "netstat-aan": "netstat-bsd", "netstat": "netstat-linux", "ss": "ss",
}  # fmt: skip
REAL = {
    "insights/parsers_NETSTAT_MATCH1.txt": 3, "insights/parsers_NETSTAT_NOMATCH1.txt": 3,
    "insights/parsers_NETSTAT_NOMATCH2.txt": 3,
    "insights/parsers_NETSTAT.txt": 4, "insights/parsers_NETSTAT_CONTENT_BUT_NO_PID_PROGRAM.txt": 4,
    "insights/parsers_NETSTAT_DOCS.txt": 4, "insights/parsers_NETSTAT_TEST_RUNNING_PROCESSES.txt": 5,
    "insights/parsers_SS_TULPN_2.txt": 22, "insights/parsers_Ss_TULPN.txt": 12, "insights/parsers_Ss_TUPNA.txt": 13,
    "inspec/hpux-netstat-inet": 5, "inspec/netstat-aan": 2, "inspec/netstat-tulpen": 7, "inspec/sockstat": 4,
    "inspec/ss-tulpen": 9, "jc/centos-7.7_netstat-l.out": 7, "jc/centos-7.7_netstat-sudo-aeep.out": 7,
    "jc/centos-7.7_netstat-sudo-lnp.out": 7, "jc/centos-7.7_ss-sudo-a.out": 9, "jc/freebsd12_netstat-Aa.out": 5,
    "jc/freebsd12_netstat-AaT.out": 5, "jc/freebsd12_netstat-Aax.out": 5, "jc/freebsd12_netstat-an.out": 5,
    "jc/freebsd12_netstat-aT.out": 5, "jc/generic_netstat-no-state.out": 4, "jc/generic_netstat-old.out": 2,
    "jc/osx-10.14.6_netstat-An.out": 34, "jc/osx-10.14.6_netstat.out": 52, "ufw/netstat.enlp": 15,
    "solaris-pfiles/solaris-pfiles-ports.txt": 28, "tool-generated/docker20-published.ss-tulpn": 5,
}  # fmt: skip
"""How many listeners a reader finds, who knows the format. The other files have none, which is told."""


def kind_of(name: str) -> str:
    return next(kind for part, kind in KINDS.items() if part in name.lower())


@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS.is_dir(), reason="the shared corpus is not here")
def test_every_real_output_is_read_and_what_has_no_listener_says_so() -> None:
    files = [one for one in sorted(CORPUS.glob("*/*")) if one.suffix != ".json" and "proc_net" not in one.name]
    assert len(files) > 45
    for path in files:
        name = path.relative_to(CORPUS).as_posix()
        found = parse([Reading(kind_of(name), path.read_text(errors="replace"), name)])
        assert len(found.listeners) == REAL.get(name, 0), name
        assert found.listeners or {one.code for one in found.notes} & {"PG442", "PG443"}, name


@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS.is_dir(), reason="the shared corpus is not here")
def test_the_wrong_kind_makes_no_reader_fail() -> None:
    for path in sorted(CORPUS.glob("*/*")):
        for kind in sources().keys() - {"linux-sockets"}:
            parse([Reading(kind, path.read_text(errors="replace"), path.name)])


@pytest.mark.parametrize("kind", sorted(sources().keys() - {"linux-sockets", "ss"}))
def test_a_line_without_end_is_a_note_and_takes_no_time(kind: str) -> None:
    for text in ("tcp 0 0 1.1 *.* " + "a " * 50000, "x " * 50000 + "IPv4 internet stream tcp sockname"):
        found = parse([Reading(kind, text, "long")])
        assert [one.detail for one in found.notes] == ["this line is longer than any row"]


# ------------------------------------------------------------------ two programs tell of one host


def test_a_socket_that_two_programs_list_is_one_with_its_owner() -> None:
    listing = "tcp 0 0 *.22 *.* LISTEN\ntcp 0 0 *.80 *.* LISTEN\n"
    owners = "root sshd 7 3* internet stream tcp 0x0 *:22\n"
    found = parse([Reading("netstat-bsd", listing, "netstat"), Reading("fstat", owners, "fstat")])
    assert [(one.where, one.processes) for one in found.listeners] == [
        ("0.0.0.0:22", (Process(7, "sshd", "root"),)),
        ("0.0.0.0:80", ()),
    ]
    assert [one.code for one in found.notes] == ["PG440"]
    alone = parse([Reading("netstat-bsd", "tcp 0 0 *.22 *.* LISTEN\n", "netstat"), Reading("fstat", owners, "fstat")])
    assert alone.notes == ()


# ------------------------------------------------------------------ which programs are run

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts programs, which print a text, where alone programs are found."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def put(**texts: str) -> None:
        for name, text in texts.items():
            (tmp_path / name).write_text(f"#!/bin/sh\necho '{text}'\n")
            (tmp_path / name).chmod(0o755)

    return put


@pytest.mark.parametrize(
    ("system", "here", "chosen"),
    [
        ("FreeBSD", "sockstat lsof netstat", ["sockstat"]),
        ("FreeBSD", "netstat", ["netstat-bsd"]),
        ("OpenBSD", "fstat netstat", ["netstat-bsd", "fstat"]),
        ("OpenBSD", "fstat", ["fstat"]),
        ("Darwin", "lsof netstat", ["netstat-macos", "lsof"]),
        ("Darwin", "netstat", ["netstat-macos"]),
        ("Linux", "netstat ss", ["ss"]),
        ("Linux", "netstat", ["netstat-linux"]),
        ("SunOS", "pfiles", ["pfiles"]),
        ("Haiku", "netstat", ["netstat-bsd"]),
    ],
)
def test_the_most_telling_programs_of_a_system_are_asked(
    system: str, here: str, chosen: list[str], install: Install, tmp_path: Path
) -> None:
    install(**dict.fromkeys(here.split(), "something"))
    (tmp_path / "proc").mkdir()
    found = programs.capture(system, tmp_path / "proc")
    assert [one.kind for one in found.readings] == chosen
    assert found.notes == ()


def test_pfiles_is_asked_about_every_process(install: Install, tmp_path: Path) -> None:
    for name in ("10", "9", "self"):
        (tmp_path / "proc" / name).mkdir(parents=True)
    (tmp_path / "pfiles").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "pfiles").chmod(0o755)
    assert programs.capture("SunOS", tmp_path / "proc").readings[0].text == "9 10\n"


def test_a_system_without_any_of_them_is_told(install: Install) -> None:
    found = programs.capture("OpenBSD")
    assert found.readings == ()
    assert [one.detail for one in found.notes] == ["sockets: none of netstat, fstat is here"]


def test_a_program_that_prints_nothing_is_told(install: Install, tmp_path: Path) -> None:
    (tmp_path / "sockstat").write_text("#!/bin/sh\necho 'sockstat: no kernel' >&2\nexit 1\n")
    (tmp_path / "sockstat").chmod(0o755)
    (note,) = programs.capture("FreeBSD").notes
    assert note.detail == "`sockstat -46ln` printed nothing: sockstat: no kernel"
