"""Everything that reads text of others, each with the ways in which it may refuse one."""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from unittest import mock
from zlib import crc32

from portgate import backends, cli, engine, language, sockets
from portgate.cli import bug
from portgate.core import compile as compiler
from portgate.core.capture import Reading, from_json
from portgate.core.cgroup import path_of, place
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.facts import parse_facts, parse_interfaces
from portgate.core.net import Family
from portgate.core.packets import Packet
from portgate.core.policy import Policy
from portgate.core.routes import parse_routes
from portgate.core.ruleset import Ruleset
from portgate.core.semantics import Analysis
from portgate.core.sessions import parse_sessions
from portgate.language.lint import lint
from portgate.report.diagnostics import render
from portgate.sockets.live import owners, procnet
from tests.fuzz import mutate, seeds
from tests.written import TODAY

POLICIES = Path(__file__).parents[2] / "policies"
SETS = Reading("ipset", "create a hash:ip\nadd a 10.0.0.1\ncreate b hash:net,port\nadd b 10.0.0.0/8,tcp:80\n", "sets")
LOOKUPS = "*filter\n:INPUT ACCEPT [0:0]\n{}COMMIT\n"


class CrashError(Exception):
    """A command ended as a bug of portgate does."""


@dataclass(frozen=True, slots=True)
class Target:
    """`read` is what is measured; `use` asks something of what was read. Both may raise `refusals`."""

    name: str
    read: Callable[[str], object]
    use: Callable[[object], None] | None = None
    refusals: tuple[type[Exception], ...] = (PortgateError,)
    damage: Callable[..., str] = mutate.damaged
    share: float = 1.0

    @property
    def seeds(self) -> tuple[str, ...]:
        return seeds.seeds("capture" if self.name == "commands" else self.name)


# ------------------------------------------------------------------ rules


def _rules(kind: str, text: str) -> object:
    parser = next(one for one in backends.parsers() if kind in one.reading_kinds)
    return parser.parse((Reading(kind, text, "noise"), *([SETS] if kind.endswith("-save") else ())))


def _sets(text: str) -> object:
    """With rules that look up whatever the text makes."""
    names = {words[1] for line in text.splitlines() if len(words := line.split()) > 1 and words[0] == "create"}
    lines = (f"-A INPUT -m set --match-set {name} src,dst -j DROP\n" for name in sorted(names)[:5] if name.isalnum())
    listing = Reading("iptables-save", LOOKUPS.format("".join(lines)), "rules")
    return backends.reader("iptables").parse((Reading("ipset", text, "noise"), listing))


def _ask(ruleset: object) -> None:
    assert isinstance(ruleset, Ruleset)
    for family in Family:
        analysis = Analysis(family)
        analysis.settle(analysis.inbound(ruleset))


# ------------------------------------------------------------------ sockets, facts, captures


def _sockets(kind: str, text: str) -> object:
    return sockets.parse([Reading(kind, text, "noise")])


def _packet(text: str) -> object:
    fields = json.loads(text)
    return Packet.of_fields(fields) if isinstance(fields, dict) else None


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="portgate-fuzz-"))


def _proc_net(text: str) -> object:
    for name in ("tcp", "packet", "protocols"):
        (_folder() / name).write_text(text, encoding="utf-8", errors="replace")
    with mock.patch.object(procnet, "_NET", _folder()):
        for ask in (procnet.protocols, partial(procnet.listening, "tcp"), partial(procnet.established, "tcp", {53})):
            ask()
    return None


def _proc_status(text: str) -> object:
    with mock.patch.object(owners, "_read", lambda path: text if path.endswith("status") else "0::/\n"):
        return owners.describe([1])


# ------------------------------------------------------------------ policies


def _files(text: str) -> Callable[[str], bytes]:
    """Whatever it includes is the text itself, or one of the files beside the policies."""

    def read(path: str) -> bytes:
        found = POLICIES / path
        return found.read_bytes() if found.is_file() else text.encode("utf-8", "surrogatepass")

    return read


def _policy(text: str) -> object:
    loaded = language.load("fuzz.yaml", _files(text), TODAY)
    render(loaded.diagnostics, loaded.sources)
    return loaded.policy


def _list(text: str) -> object:
    policy = b"portgate: 1\ninbound: {allow: [{port: ssh, from: {file: lists/a}}]}\n"
    content = text.encode("utf-8", "surrogatepass")
    loaded = language.load("fuzz.yaml", lambda path: policy if path == "fuzz.yaml" else content, TODAY)
    render(loaded.diagnostics, loaded.sources)
    return loaded.policy


def _compile(policy: object) -> None:
    if not isinstance(policy, Policy):
        return
    lint(policy, TODAY)
    desired = compiler.compile(policy, TODAY)
    for name in backends.names():
        backend = backends.get(name)
        try:
            lowered = backend.lower(desired)
        except PortgateError:
            continue
        text = backend.emit(lowered).text
        backend.parse((Reading(backend.reading_kinds[-1], text, "ours"),))


# ------------------------------------------------------------------ whole commands

_COMMANDS = (
    "audit --host HOST", "audit POLICY --host HOST", "verify POLICY --host HOST", "plan POLICY --host HOST",
    "trace tcp 198.51.100.7 22 --iif eth0 --host HOST", "trace --packets PACKETS --host HOST", "sockets --host HOST",
    "status --host HOST", "import --host HOST", "audit --host HOST --format json", "trace udp 2001:db8::7 53 --host HOST --format json",
)  # fmt: skip
_PACKETS = "".join(
    json.dumps({"proto": proto, "src": src, **more}) + "\n"
    for proto, src in (("tcp", "198.51.100.7"), ("udp", "2001:db8::7"), ("icmp", "203.0.113.66"))
    for more in ({"iif": "eth0"}, {"dst": "192.0.2.8"} if "." in src else {"dst": "2001:db8:1::8"}, {"state": "established"})
)  # fmt: skip


def _commands(text: str) -> object:
    """One of the commands, with one of the policies, which the text decides."""
    folder, number = _folder(), crc32(text.encode("utf-8", "surrogatepass"))
    policies = sorted(POLICIES.glob("*.yaml"))
    (folder / "host.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    (folder / "packets").write_text(_PACKETS, encoding="utf-8")
    places = {
        "HOST": folder / "host.json",
        "PACKETS": folder / "packets",
        "POLICY": policies[number // 64 % len(policies)],
    }
    words = [str(places.get(word, word)) for word in _COMMANDS[number % len(_COMMANDS)].split()]
    with _bugs_raised(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        code = cli.run(words)
    if code not in (0, 1, 2, 3):
        raise CrashError(f"{words}: exit code {code}")
    return None


@contextmanager
def _bugs_raised() -> Iterator[None]:
    def report(error: BaseException, _: object) -> Diagnostic:
        raise error

    assert sys.getrecursionlimit() >= engine.DEEPEST, "whatever is read, is read as commands do it"
    private = {"PORTGATE_STATE_DIR": str(_folder() / "state")}
    with mock.patch.object(bug, "report", report), mock.patch.dict(os.environ, private):
        yield


# ------------------------------------------------------------------ all of them

_RULES = (
    "nft",
    "iptables-save",
    "ip6tables-save",
    "iptables-legacy-save",
    "ip6tables-legacy-save",
    "iptables",
    "pf",
    "ipfw",
)
_SOCKETS = ("ss", "netstat-linux", "netstat-bsd", "netstat-macos", "sockstat", "fstat", "lsof", "pfiles")
TARGETS = (
    *(Target(kind, partial(_rules, kind), _ask) for kind in _RULES),
    Target("nft-json", partial(_rules, "nft-json"), _ask, damage=mutate.damaged_json),
    Target("ipset", _sets, _ask),
    *(Target(kind, partial(_sockets, kind)) for kind in _SOCKETS),
    Target("linux-sockets", partial(_sockets, "linux-sockets"), damage=mutate.damaged_json),
    Target("interfaces", lambda text: parse_interfaces(Reading("interfaces", text, "noise"))),
    Target("sysctl", lambda text: parse_facts(Reading("sysctl", text, "noise"))),
    Target("routes4", lambda text: parse_routes(Reading("routes4", text, "noise"), Family.IPV4)),
    Target("routes6", lambda text: parse_routes(Reading("routes6", text, "noise"), Family.IPV6)),
    Target("ssh-connections", lambda text: parse_sessions(Reading("ssh-connections", text, "noise"))),
    Target("capture", lambda text: from_json(text, "noise"), damage=mutate.damaged_json),
    Target("packet", _packet, refusals=(ValueError, RecursionError), damage=mutate.damaged_json),
    Target("policy", _policy, _compile),
    Target("list", _list),
    Target("proc-net", _proc_net, refusals=(OSError,)),
    Target("proc-status", _proc_status),
    Target("proc-cgroup", lambda text: place(path_of(text))),
    Target("commands", _commands, damage=mutate.damaged_capture, share=0.1),
)  # fmt: skip
