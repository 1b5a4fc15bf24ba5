"""`probe`: a host is asked from another network namespace, and what answers is held against the policy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from portgate import engine, probing
from portgate.backends import get
from portgate.cli import run
from portgate.core.compile import compile as compiled
from portgate.core.diagnostics import PortgateError
from portgate.core.net import TCP, UDP, Family
from portgate.core.trace import decide
from portgate.probing import Meaning, Terms
from portgate.sandbox import Answer, Link, Sandbox, Transport
from tests.report.structure import check_junit, check_sarif

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).parents[2]
TODAY = date(2026, 1, 1)
POLICY = """\
portgate: 1
name: probed
zones: {near: {sources: [192.0.2.0/24, "2001:db8:1::/64"]}, far: {sources: [198.51.100.0/24]}}
inbound:
  allow:
    - {port: ssh, from: near}
    - {port: [http, 53/udp, 161/udp], from: near}
    - {port: 8080/tcp, from: far}
    - {port: smtp, from: near, limit: 3/minute}
"""
LINKS = (
    Link("eth0", ("192.0.2.1/24", "2001:db8:1::1/64"), ("192.0.2.2/24", "2001:db8:1::2/64")),
    Link("eth1", ("10.0.0.1/24",), ("10.0.0.2/24",)),
)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("probe") / "p.yaml"
    path.write_text(POLICY)
    return path


@pytest.fixture(scope="module")
def scene(policy: Path) -> Iterator[Sandbox]:
    """A host that listens to SSH, DNS and its database, and not to HTTP."""
    try:
        with Sandbox(LINKS) as sandbox:
            for transport, port in ((Transport.TCP, 22), (Transport.UDP, 53), (Transport.TCP, 5432)):
                sandbox.listen(transport, "::", port)
            yield sandbox
    except PortgateError as error:
        pytest.skip(f"no sandbox here: {error}")


@pytest.fixture
def sandbox(scene: Sandbox, policy: Path) -> Sandbox:
    """With the rules of the policy, and no others."""
    rules = get("nftables").emit(engine.rules_for(get("nftables"), engine.load(str(policy), TODAY), TODAY)).text
    scene.run(["nft", "-f", "-"], f"flush ruleset\n{rules}")
    return scene


def portgate(sandbox: Sandbox, *arguments: str | Path, link: str = "eth0") -> subprocess.CompletedProcess[str]:
    quick = ("--timeout", "0.3", "--rate", "2000", "--sample", "8")
    command = [sys.executable, "-m", "portgate", "probe", *map(str, arguments), *quick]
    return sandbox.run(command, inside=link, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})


def words(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split())


def test_a_host_that_obeys_its_policy_agrees(sandbox: Sandbox, policy: Path) -> None:
    done = portgate(sandbox, "192.0.2.1", policy)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[0] == ["192.0.2.1,", "asked", "from", "192.0.2.2"]
    assert ["tcp", "22", "open", "accept"] in rows
    assert ["tcp", "80", "closed", "accept", "nobody", "listens"] in rows
    assert ["udp", "53", "open", "accept"] in rows
    assert ["tcp", "25", "closed", "depends"] in rows
    assert rows[-1][1:] == ["other", "ports:", "blocked,", "as", "the", "policy", "says"]


def test_ipv6_is_asked_by_its_own_address(sandbox: Sandbox, policy: Path) -> None:
    done = portgate(sandbox, "2001:db8:1::1", policy)
    assert done.returncode == 0
    assert done.stdout.startswith("2001:db8:1::1, asked from 2001:db8:1::2\n")
    assert "tcp 22 open accept" in words(done)


def test_an_open_port_that_the_policy_blocks_is_found(sandbox: Sandbox, policy: Path) -> None:
    sandbox.run(["nft", "insert rule inet portgate input tcp dport 5432 accept"])
    done = portgate(sandbox, "192.0.2.1", policy)
    assert done.returncode == 1
    assert "tcp 5432 open drop should be blocked" in words(done)
    assert "PG630" in done.stderr
    assert "tcp 5432 of 192.0.2.1 is open; by the policy it is dropped for 192.0.2.2" in words(done)


def test_a_port_that_should_be_open_and_says_nothing_is_found(sandbox: Sandbox, policy: Path) -> None:
    sandbox.run(["nft", "insert rule inet portgate input tcp dport 22 drop"])
    done = portgate(sandbox, "192.0.2.1", policy)
    assert done.returncode == 1
    assert "PG631" in done.stderr


def test_silence_on_udp_says_nothing(sandbox: Sandbox, policy: Path) -> None:
    sandbox.run(["nft", "insert rule inet portgate input udp dport { 53, 161 } drop"])
    done = portgate(sandbox, "192.0.2.1", policy)
    assert done.returncode == 0
    assert "udp 53 filtered accept open, or nobody got it" in words(done)


def test_what_the_policy_says_depends_on_who_asks(sandbox: Sandbox, policy: Path) -> None:
    done = portgate(sandbox, "10.0.0.1", policy, link="eth1")
    assert done.returncode == 0
    assert "tcp 22" not in done.stdout
    told = portgate(sandbox, "10.0.0.1", policy, "--from", "198.51.100.7", link="eth1")
    assert told.returncode == 1, "as seen by the host, 8080 should be open"
    assert "tcp 8080 of 10.0.0.1 is filtered; by the policy it is open to 198.51.100.7" in words(told)


def test_every_format(sandbox: Sandbox, policy: Path) -> None:
    sandbox.run(["nft", "insert rule inet portgate input tcp dport 5432 accept"])
    found = json.loads(portgate(sandbox, "192.0.2.1", policy, "--format", "json").stdout)
    reached = [one for one in found["ports"] if one["meaning"] == "reached"]
    assert not found["agrees"]
    assert [(one["packet"]["dport"], one["answer"], one["verdict"]) for one in reached] == [(5432, "open", "drop")]
    check_junit(portgate(sandbox, "192.0.2.1", policy, "--format", "junit").stdout)
    check_sarif(json.loads(portgate(sandbox, "192.0.2.1", policy, "--format", "sarif").stdout))


def test_nobody_but_the_host_is_spoken_to_and_no_faster_than_told(sandbox: Sandbox, policy: Path) -> None:
    counting = "table inet count {\nset met { type ipv4_addr; flags dynamic; }\nset asked { type inet_service; flags dynamic; }\n"
    counting += "chain out {\ntype filter hook output priority 0;\nupdate @met { ip daddr }\nmeta l4proto { tcp, udp } update @asked { th dport }\n}\n}"
    sandbox.run(["nft", "-f", "-"], counting, inside="eth0")
    program = (
        "import time, sys; from datetime import date; from portgate import engine, probing\n"
        "begin = time.monotonic()\n"
        "policy = engine.load(sys.argv[1], date(2026, 1, 1)).policy\n"
        "found = probing.probe('192.0.2.1', policy, date(2026, 1, 1), probing.Terms(0.2, 50, 4), lambda *_: None)\n"
        "print(len(found), time.monotonic() - begin)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = sandbox.run([sys.executable, "-c", program, str(policy)], inside="eth0", env=environment)
    count, seconds = done.stdout.split()
    assert float(seconds) > int(count) / 50 - 1
    listing = sandbox.run(["nft", "list", "set", "inet", "count", "met"], inside="eth0").stdout
    assert listing.split("elements = {")[1].split("}")[0].strip() == "192.0.2.1"
    sandbox.run(["nft", "delete", "table", "inet", "count"], inside="eth0")


# ------------------------------------------------------------------ without a host


@pytest.mark.parametrize(
    "host", ["no-such-host.invalid", "", "a" * 70 + ".example", "256.1.1.1", "2001:db8::1%nowhere"]
)
def test_a_host_that_is_not_there_is_an_error(host: str) -> None:
    with pytest.raises(PortgateError, match="PG430"):
        probing.ways(host, Terms())


def test_a_family_that_the_host_has_not_got_is_left_out() -> None:
    assert [one.family for one in probing.ways("127.0.0.1", Terms())] == [Family.IPV4]
    with pytest.raises(PortgateError, match="PG430"):
        probing.ways("127.0.0.1", Terms(families=(Family.IPV6,)))


def test_an_address_may_stand_in_brackets() -> None:
    assert [one.address for one in probing.ways("[::1]", Terms())] == ["::1"]


def test_wide_ranges_are_sampled_and_their_edges_always_asked(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("portgate: 1\ninbound: {allow: [1000-60000/tcp, 7/udp]}\n")
    policy = engine.load(str(path), TODAY).policy
    (way,) = probing.ways("127.0.0.1", Terms())
    packets = list(probing._packets(policy, way, Terms(sample=10)))
    asked = {(one.protocol, one.dport) for one in packets}
    assert {(TCP, 999), (TCP, 1000), (TCP, 60000), (TCP, 60001), (UDP, 6), (UDP, 7), (UDP, 8)} <= asked
    assert len(packets) == len(asked) < 400
    assert {one.iif for one in packets} == {"lo"}


@pytest.mark.parametrize(
    ("answer", "rules", "meaning"),
    [
        (Answer.OPEN, "{default: accept}", Meaning.AGREES),
        (Answer.CLOSED, "{default: accept}", Meaning.AGREES),
        (Answer.FILTERED, "{default: accept}", Meaning.CLOSED),
        (Answer.OPEN, "{default: reject}", Meaning.REACHED),
        (Answer.CLOSED, "{default: reject}", Meaning.AGREES),
        (Answer.FILTERED, "{default: reject}", Meaning.AGREES),
        (Answer.OPEN, "{default: drop}", Meaning.REACHED),
        (Answer.CLOSED, "{default: drop}", Meaning.REACHED),
        (Answer.FILTERED, "{default: drop}", Meaning.AGREES),
    ],
)
def test_what_an_answer_means(answer: Answer, rules: str, meaning: Meaning, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(f"portgate: 1\ninbound: {rules}\n")
    policy = engine.load(str(tmp_path / "p.yaml"), TODAY).policy
    way = probing.Way(Family.IPV4, "192.0.2.1", "192.0.2.2")
    packet = next(iter(probing._packets(policy, way, Terms(sample=1))))
    (said,) = decide(compiled(policy, TODAY), [packet])
    assert probing.Probed(way, answer, said).meaning is meaning


@pytest.mark.parametrize("name", sorted(one.name for one in (ROOT / "policies").glob("*.yaml")))
def test_an_interface_that_nobody_names_changes_no_answer(name: str) -> None:
    policy = engine.load(str(ROOT / "policies" / name), TODAY).policy
    way = probing.Way(Family.IPV4, "192.0.2.1", "198.51.100.7")
    packets = list(probing._packets(policy, way, Terms(sample=10)))
    quick = [one.answer.fate for one in probing._decided(policy, packets, TODAY)]
    assert quick == [one.answer.fate for one in decide(compiled(policy, TODAY), packets)]


def test_bad_options_are_refused(policy: Path) -> None:
    for wrong in (["--from", "nobody"], ["--iif", "a/b"], ["--rate", "0"], ["--timeout", "-1"], ["--sample", "-1"]):
        assert run(["probe", "127.0.0.1", str(policy), *wrong]) == 2
