"""`try` and `test --in sandbox`: the kernel does what the engine says, and when it does not, that is seen."""

from __future__ import annotations

import codecs
import ctypes
import json
import os
from collections.abc import Iterator
from datetime import date
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from random import Random
from tempfile import TemporaryDirectory

import pytest

import portgate as portgate_package
from portgate import backends, rehearsal
from portgate.core.diagnostics import PortgateError
from portgate.core.net import TCP, Family
from portgate.rehearsal import Met, Rehearsal, Stage
from portgate.sandbox import Answer, Sandbox, namespace
from portgate.sandbox.packets import of_policy, packet_of
from tests.cli.conftest import process
from tests.generate import policies
from tests.report.structure import check_junit

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).parents[2]
TODAY = date(2026, 1, 1)
RANDOM_POLICIES = int(os.environ.get("PORTGATE_REHEARSALS", "3"))


@pytest.fixture(scope="module", autouse=True)
def kernel() -> None:
    try:
        with Sandbox() as sandbox:
            sandbox.run(["nft", "--version"])
    except PortgateError as error:
        pytest.skip(f"no sandbox here: {error}")


def tried(path: Path, text: str | None = None) -> Rehearsal:
    if text is not None:
        path.write_text(text)
    return rehearsal.rehearse(str(path), "auto", TODAY)


def met(done: Rehearsal, who: str, protocol: int = TCP) -> dict[tuple[Family, int | None], Answer]:
    """What somebody met, by family and port."""
    return {(one.packet.family, one.packet.dport): one.answer for one in _of(done, who, protocol)}


def _of(done: Rehearsal, who: str, protocol: int) -> Iterator[Met]:
    return (one for one in done.conversations if one.origin.name == who and one.packet.protocol == protocol)


# ------------------------------------------------------------------ what people meet


def test_everybody_meets_what_the_policy_says() -> None:
    done = tried(ROOT / "policies" / "web-server.yaml")
    assert done.disagreements == ()
    assert len(done.packets) > 100
    four = Family.IPV4
    office, stranger, abuser = (met(done, who) for who in ("office", "anybody else", "abusers"))
    assert [office[four, port] for port in (22, 23, 443)] == [Answer.OPEN, Answer.FILTERED, Answer.OPEN]
    assert [stranger[four, port] for port in (22, 80, 443)] == [Answer.FILTERED, Answer.OPEN, Answer.OPEN]
    assert set(abuser.values()) == {Answer.FILTERED}
    assert stranger[Family.IPV6, 443] is Answer.OPEN


def test_a_forwarded_port_leads_to_the_machine_behind() -> None:
    done = tried(ROOT / "policies" / "wireguard-gateway.yaml")
    assert done.disagreements == ()
    assert met(done, "tunnel")[Family.IPV4, 2222] is Answer.OPEN
    assert met(done, "anybody else")[Family.IPV4, 2222] is Answer.FILTERED


@pytest.mark.parametrize("backend", [one for one in backends.names() if one not in ("pf", "ipfw")])
def test_every_backend_of_linux_can_be_tried(backend: str, tmp_path: Path) -> None:
    if reason := backends.get(backend).available():
        pytest.skip(reason)
    path = tmp_path / "p.yaml"
    path.write_text(policies.policy(Random(11)))
    for one in (path, ROOT / "policies" / "wireguard-gateway.yaml"):
        done = rehearsal.rehearse(str(one), backend, TODAY)
        assert (done.backend, done.disagreements) == (backend, ())


def test_a_default_of_reject_answers(tmp_path: Path) -> None:
    done = tried(tmp_path / "p.yaml", "portgate: 1\ninbound: {default: reject, allow: [https]}\n")
    assert done.disagreements == ()
    found = met(done, "anybody else")
    assert (found[Family.IPV4, 442], found[Family.IPV4, 443]) == (Answer.CLOSED, Answer.OPEN)


def test_an_address_that_a_grant_names_is_the_host_s(tmp_path: Path) -> None:
    text = "portgate: 1\ninbound: {allow: [{port: ssh, to: [10.0.0.5, '2001:db8:5::5']}]}\n"
    done = tried(tmp_path / "p.yaml", text)
    assert done.disagreements == ()
    open_at = {one.packet.dst for one in done.conversations if one.answer is Answer.OPEN}
    assert open_at == {10 << 24 | 5, 0x20010DB8 << 96 | 5 << 80 | 5}


ODD = {
    "nothing at all": "portgate: 1\n",
    "what is accepted anyway": "portgate: 1\ninbound: {default: accept, block: [{port: smtp}]}\n",
    "protocols without ports": "portgate: 1\ninbound: {allow: [{proto: gre}, {port: 36412/sctp}, ping]}\n",
    "headers of IPv6 that are no protocols": "portgate: 1\n"
    "inbound: {allow: [{proto: [0, 43, 44, esp, ah, 59, 60, 135], from: [198.51.100.0/24, '2001:db8::/32']}]}\n",
    "everybody by name": 'portgate: 1\nzones: {all: {sources: ["0.0.0.0/0", "::/0"]}, w: {interfaces: ["wg*", lo]}}\n'
    "inbound: {allow: [{port: ssh, from: all}, {port: http, from: w}]}\n",
    "every usual interface": 'portgate: 1\nzones: {e: {interfaces: ["eth*", outside0]}}\n'
    "inbound: {allow: [{port: ssh, from: e}]}\n",
    "every interface": 'portgate: 1\nzones: {a: {interfaces: ["*"], sources: [10.0.0.0/8]}, b: {interfaces: ["*", eth7]}}\n'
    "inbound: {allow: [{port: ssh, from: a}, {port: http, from: b}]}\n",
    "sources that never come": 'portgate: 1\nzones: {l: {sources: ["fe80::/10", 127.0.0.0/8, 224.0.0.0/4]}}\n'
    "inbound: {default: reject, allow: [{port: ssh, from: l}, {port: mdns, to: [224.0.0.251, 'ff02::fb']}]}\n",
    "two ways to one machine": "portgate: 1\nforward:\n  - {port: 80/tcp, to: '10.0.0.7:8080'}\n"
    "  - {port: 81/tcp, to: '10.0.0.7:8081'}\n  - {port: 82/tcp, to: 8082}\n",
    "nothing that leaves": "portgate: 1\ninbound: {allow: [https]}\noutbound: {default: drop}\n",
}


@pytest.mark.parametrize("what", ODD)
def test_a_policy_of(what: str, tmp_path: Path) -> None:
    done = tried(tmp_path / "p.yaml", ODD[what])
    assert done.disagreements == ()
    assert done.conversations
    assert done.packets


def test_more_interfaces_than_a_sandbox_has_and_names_that_nobody_can_give_are_left_out(tmp_path: Path) -> None:
    zones = "".join(f"  z{number}: {{interfaces: [if{number}]}}\n" for number in range(14))
    grants = "".join(f"    - {{port: {1000 + number}/tcp, from: z{number}}}\n" for number in range(14))
    odd = '  odd: {interfaces: ["a#b", "-x", "eth%d", all]}\n'
    text = f"portgate: 1\nzones:\n{zones}{odd}inbound:\n  allow:\n{grants}    - {{port: 9/tcp, from: odd}}\n"
    done = tried(tmp_path / "p.yaml", text)
    assert done.disagreements == ()
    assert set(done.left_out) == {"if11", "if12", "if13", "a#b", "-x", "eth%d", "all"}
    assert met(done, "z3")[Family.IPV4, 1003] is Answer.OPEN


@pytest.mark.parametrize("seed", range(RANDOM_POLICIES))
def test_the_kernel_does_what_the_engine_says_of_a_random_policy(seed: int, tmp_path: Path) -> None:
    assert tried(tmp_path / "p.yaml", policies.policy(Random(seed))).disagreements == ()


# ------------------------------------------------------------------ when the kernel does otherwise


POLICY = "portgate: 1\nname: p\ninbound: {allow: [https, {port: ssh, from: 198.51.100.0/24}, ping]}\n"
SABOTAGE = {
    "a port too many": ("tcp dport 81 accept", "to 198.18.0.1:81 in eth0: drop by the engine, accept by the kernel"),
    "a port too few": ("tcp dport 443 drop", "to 198.18.0.1:443 in eth0: accept by the engine, drop by the kernel"),
    "an answer": ("udp dport 161 reject", "to 198.18.0.1:161 in eth0: drop by the engine, reject by the kernel"),
    "one family": ("meta nfproto ipv6 tcp dport 23 accept", "to [2001:2::1]:23 in eth0: drop by the engine, accept"),
    "a prefix": ("ip saddr 198.51.101.0 tcp dport 22 accept", "tcp 198.51.101.0:2000 to 198.18.0.1:22 in eth0: drop"),
}
"""Rules that somebody added, and what must be seen then."""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    path = tmp_path / "p.yaml"
    path.write_text(POLICY)
    with rehearsal.staged(str(path), "auto", TODAY) as stage:
        yield stage


def test_single_packets_show_where_the_kernel_does_otherwise(stage: Stage) -> None:
    for rule, _ in SABOTAGE.values():
        stage.sandbox.run(["nft", f"insert rule inet portgate input {rule}"])
    extra = [packet_of(family, "eth0", _stranger(stage, family), None, (TCP, 81)) for family in Family]
    sent = rehearsal.send(stage, [*of_policy(stage.policy, stage.world, 2000), *extra])
    told = [one.detail for one in rehearsal.disagreements(sent)]
    for what, (_, words) in SABOTAGE.items():
        assert any(words in one for one in told), what
    ports = {one.packet.dport for one in sent if not one.agrees}
    assert ports == {22, 23, 81, 161, 443}


def _stranger(stage: Stage, family: Family) -> int:
    (found,) = (one for one in stage.world.origins if one.name == "anybody else")
    return dict(found.addresses)[family]


def test_conversations_show_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "SECOND_PACE", rehearsal.PACE)
    for rule in ("tcp dport 443 drop", "tcp dport 442 accept"):
        stage.sandbox.run(["nft", f"insert rule inet portgate input {rule}"])
    wrong = {(one.packet.dport, one.answer) for one in rehearsal.conversations(stage) if not one.agrees}
    assert wrong == {(443, Answer.FILTERED), (442, Answer.OPEN)}


# ------------------------------------------------------------------ commands


def portgate(*arguments: str | Path, cwd: Path) -> tuple[int, str, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PORTGATE_STATE_DIR": str(cwd / "state")}
    done = process(*map(str, arguments), cwd=cwd, env=environment)
    return done.returncode, done.stdout, done.stderr


def test_try_prints_who_meets_what(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(POLICY)
    code, out, err = portgate("try", "p.yaml", cwd=tmp_path)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "p, by nftables"
    assert lines[2].split() == ["FROM", "IN", "OPEN", "FILTERED"]
    assert "198.51.100.0/24: 198.51.100.7" in out
    assert "tcp 22,443 ping" in out
    assert lines[-1].endswith("single packets: all as the engine says")
    assert not (tmp_path / "state").exists()


def test_a_command_runs_on_that_host_and_its_exit_status_is_ours(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(POLICY)
    script = (
        "nft list table inet portgate | head -1; ss -Htln | grep -c :443; python3 -m portgate status || true; exit 7"
    )
    code, out, err = portgate("try", "p.yaml", "--", "sh", "-c", script, cwd=tmp_path)
    assert code == 7, err
    assert out.startswith("table inet portgate {")
    assert "\n1\n" in out


def test_a_command_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(POLICY)
    code, _, err = portgate("try", "p.yaml", "--", "no-such-program-of-portgate", cwd=tmp_path)
    assert code == 3
    assert "there is no such program" in err


def test_a_wrong_policy_is_an_error_and_nothing_is_made_up(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("portgate: 1\ninbound: {allow: [htps]}\n")
    assert portgate("try", "p.yaml", cwd=tmp_path)[0] == 2


BROKEN = (
    "portgate: 1\ninbound: {allow: [https, 8080/tcp]}\n"
    "expect:\n  - {only: [https]}\n  - {port: https, is: accepted}\n  - {port: ssh, from: 192.0.2.0/24, is: blocked}\n"
)


def test_expectations_are_met_by_real_packets_too(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(BROKEN)
    code, out, _ = portgate("test", "p.yaml", "--in", "sandbox", "--format", "json", cwd=tmp_path)
    assert code == 1
    only, https, ssh = json.loads(out)["policies"][0]["expectations"]
    assert (only["holds"], https["holds"], ssh["holds"]) == (False, True, True)
    for one in (only, https, ssh):
        assert one["sent"] > 5
        assert one["surprises"] == []


def test_expectations_in_a_sandbox_have_the_formats_of_ci_systems(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(BROKEN)
    code, out, _ = portgate("test", "p.yaml", "--in", "sandbox", "--format", "junit", cwd=tmp_path)
    assert code == 1
    assert "8080" in out
    check_junit(out)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Where everybody may read, and nobody's own folder is."""
    with TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "own").mkdir()
        os.chown(folder / "own", 65534, 65534)
        yield folder


def test_an_ordinary_user_may_try_a_policy_where_user_namespaces_are_allowed(open_folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to become an ordinary user")
    path = open_folder / "p.yaml"
    path.write_text(POLICY)
    _load_everything()
    assert not tried(path).disagreements
    try:
        wrong, _ = namespace.in_child(lambda: (_tried_as_nobody(path, open_folder / "own"), ()))
    except PortgateError as refusal:
        if "PG590" not in str(refusal):
            raise
        pytest.skip(f"this kernel grants namespaces to root only: {refusal}")
    assert wrong == 0


def _load_everything() -> None:
    """While this user may still read it."""
    codecs.lookup("ascii")
    for found in walk_packages(portgate_package.__path__, "portgate."):
        if not found.name.endswith("__main__"):
            import_module(found.name)


def _tried_as_nobody(path: Path, folder: Path) -> int:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: a process that gave up root may look at itself again
    os.environ["TMPDIR"] = str(folder)
    return len(tried(path).disagreements)
