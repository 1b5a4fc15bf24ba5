"""Whole commands against the tools that people use, in turn on the same machine: A B A B.

Run as root: `python benchmarks/bench_commands.py [--sizes N,N] [--rounds N]`. It works in a network namespace of its own.
Entry i of every policy is "tcp port P(i) from 10.x.y.0/24". Whole processes are timed, from exec to exit, with their output
thrown away; the table shows the quickest round, for what else runs on the machine only adds to a time, and to those of Python more than to those of C; ratios to the
first row; the same of processor time; and the largest memory of any process.
A tool that is not installed is left out, and said.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import goals

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
PORTGATE = (str(Path(sys.executable).with_name("portgate")),)
HELLO = """
import click
@click.command()
@click.option("--name", default="world")
def hello(name): click.echo(f"hello {name}")
hello()
"""


class Entry(NamedTuple):
    source: str
    port: int


class Tool(NamedTuple):
    """`write` gives the text of its file; `command` loads the file at the place of `{}`, which lies in `{folder}`."""

    name: str
    command: tuple[str, ...]
    write: Callable[[list[Entry]], str]
    file: str = "load.yaml"


class Cost(NamedTuple):
    """**Units** milliseconds from exec to exit, and of processor time; MiB."""

    time: float
    processor: float
    memory: float


# ------------------------------------------------------------------ the same policy in every language


def entries(count: int, *, changed: bool) -> list[Entry]:
    made = [Entry(f"10.{i >> 8 & 255}.{i & 255}.0/24", 1024 + i * 7 % 60000) for i in range(count)]
    if changed:
        made[count // 2] = made[count // 2]._replace(port=1023)
    return made


def portgate_policy(wanted: list[Entry]) -> str:
    grants = "".join(f"    - {{port: {one.port}/tcp, from: {one.source}}}\n" for one in wanted)
    return f"portgate: 1\nname: bench\ninbound:\n  default: drop\n  allow:\n{grants}"


def nft_chain(wanted: list[Entry]) -> str:
    return _nft("", "".join(f"ip saddr {one.source} tcp dport {one.port} accept\n" for one in wanted))


def nft_set(wanted: list[Entry]) -> str:
    elements = ", ".join(f"{one.source} . {one.port}" for one in wanted)
    declared = f"set s {{ type ipv4_addr . inet_service; flags interval; elements = {{ {elements} }}\n}}\n"
    return _nft(declared, "ip saddr . tcp dport @s accept\n")


def _nft(sets: str, rules: str) -> str:
    chain = f"chain input {{ type filter hook input priority 0; policy drop;\nct state established,related accept\n{rules}}}\n"
    return f"table inet bench\ndelete table inet bench\ntable inet bench {{\n{sets}{chain}}}\n"


def iptables(wanted: list[Entry]) -> str:
    rules = "".join(f"-A INPUT -s {one.source} -p tcp -m tcp --dport {one.port} -j ACCEPT\n" for one in wanted)
    return f"*filter\n:INPUT DROP [0:0]\n-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n{rules}COMMIT\n"


def ferm(wanted: list[Entry]) -> str:
    rules = "".join(f"saddr {one.source} proto tcp dport {one.port} ACCEPT;\n" for one in wanted)
    return f"table filter chain INPUT {{ policy DROP; mod conntrack ctstate (ESTABLISHED RELATED) ACCEPT;\n{rules}}}\n"


def foomuuri(wanted: list[Entry]) -> str:
    rules = "".join(f"  tcp {one.port} saddr {one.source}\n" for one in wanted)
    zones = "zone {\n  localhost\n  public *\n}\nlocalhost-public {\n  accept\n}\n"
    return f"{zones}public-localhost {{\n{rules}  drop\n}}\n"


FOOMUURI = ("foomuuri", *(f"--set={name}_dir={{folder}}" for name in ("etc", "state", "run")), "start")
TOOLS = (
    Tool("nft -f, a chain of rules", ("nft", "-f", "{}"), nft_chain),
    Tool("nft -f, one set", ("nft", "-f", "{}"), nft_set),
    Tool("iptables-nft-restore", ("iptables-nft-restore", "{}"), iptables),
    Tool("iptables-legacy-restore", ("iptables-legacy-restore", "{}"), iptables),
    Tool("ferm", ("ferm", "{}"), ferm),
    Tool("foomuuri", FOOMUURI, foomuuri, "foomuuri.conf"),
    Tool("portgate apply", (*PORTGATE, "apply", "{}", "--yes"), portgate_policy),
)
MANAGERS = ("foomuuri", "ferm")  # that read a policy of their own language; the first that is here is compared with
SCENARIOS = ("first load", "no change", "one change")


# ------------------------------------------------------------------ measuring


def main() -> None:
    options = _options()
    _new_namespace()
    with TemporaryDirectory() as folder:
        use_plain_python(Path(folder, "compiled"))
        os.environ["PORTGATE_STATE_DIR"] = str(Path(folder, "state"))
        _start_up(Path(folder), options.rounds)
        for size in options.sizes:
            costs = _loads(Path(folder), size, options.rounds)
            read = _reading(Path(folder), size, options.rounds)
            _compare(size, costs, read)


def _new_namespace() -> int:
    """Makes a network namespace, in which this process goes on. Its descriptor."""
    if LIBC.unshare(CLONE_NEWNET):
        raise SystemExit(f"no network namespace: {os.strerror(ctypes.get_errno())}")
    return os.open("/proc/self/ns/net", os.O_RDONLY)


def _enter(namespace: int) -> None:
    if LIBC.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def use_plain_python(compiled: Path) -> None:
    """As a user has it: compiled modules are kept, and output is buffered, whatever is set here."""
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        del os.environ[name]
    os.environ["PYTHONPYCACHEPREFIX"] = str(compiled)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sizes", type=lambda text: [int(one) for one in text.split(",")], default=[10, 100, 1000, 10000]
    )
    parser.add_argument("--rounds", type=int, default=11)
    return parser.parse_args()


def _start_up(folder: Path, rounds: int) -> None:
    hello, policy = folder / "hello.py", folder / "small.yaml"
    hello.write_text(HELLO)
    policy.write_text(portgate_policy(entries(10, changed=False)))
    commands = {
        "click hello world": (sys.executable, str(hello)),
        "ufw status": ("ufw", "status"),
        "portgate --help": (*PORTGATE, "--help"),
        "portgate check, 10 grants": (*PORTGATE, "check", str(policy)),
        "portgate sockets": (*PORTGATE, "sockets"),
        "portgate status": (*PORTGATE, "status"),
    }
    costs = _in_turn(commands, rounds)
    _show("start-up, small host", costs)
    for goal, ours, theirs in (
        ("sockets, small host", "portgate sockets", "ufw status"),
        ("status, small host", "portgate status", "ufw status"),
        ("--help", "portgate --help", "click hello world"),
        ("check of a small policy", "portgate check, 10 grants", "click hello world"),
    ):
        if theirs in costs:
            _judge(goal, costs[ours], costs[theirs])


def _reading(folder: Path, size: int, rounds: int) -> dict[str, list[Cost]]:
    """Commands that change nothing, with the policy applied; beside them another manager that starts with the same in a namespace of its own.

    Both are new: where rules of iptables-legacy ever were, whoever reads a host asks for them.
    """
    other, here = _new_namespace(), _new_namespace()
    policy = str(folder / "policy.yaml")
    Path(policy).write_text(portgate_policy(entries(size, changed=False)))
    run((*PORTGATE, "apply", policy, "--yes"))
    managers = {one.name: one for one in TOOLS if one.name in MANAGERS and _installed(one.command[0])}
    for one in managers.values():
        (folder / one.file).write_text(one.write(entries(size, changed=False)))
    commands = {
        "nft -j list ruleset": ("nft", "-j", "list", "ruleset"),
        "portgate check": (*PORTGATE, "check", policy),
        "portgate plan, no change": (*PORTGATE, "plan", policy),
        "portgate verify": (*PORTGATE, "verify", policy),
        "portgate audit": (*PORTGATE, "audit", policy),
        "portgate status": (*PORTGATE, "status"),
        **{name: _command_of(one, folder) for name, one in managers.items()},
    }
    costs = _in_turn(commands, rounds, dict.fromkeys(managers, other), here)
    _show(f"nothing to change, N={size}", costs)
    return costs


def _compare(size: int, costs: dict[str, dict[str, list[Cost]]], read: dict[str, list[Cost]]) -> None:
    """With the goals that there are for this size."""
    ours, chain = "portgate apply", "nft -f, a chain of rules"
    manager = next((one for one in MANAGERS if one in costs["no change"]), "")
    for what, scenario, theirs in (
        ("apply, first load from YAML", "first load", chain),
        ("apply, nothing changed", "no change", chain),
        ("apply, one grant changed", "one change", manager),
    ):
        if theirs in costs[scenario]:
            found = costs[scenario]
            _judge(f"{what}, N={size:,}", found[ours], found[theirs], theirs)
    if manager:
        _judge(f"plan, nothing changed, N={size:,}", read["portgate plan, no change"], read[manager], manager)
    first = costs["first load"]
    goals.compare(f"MiB of the first load, N={size:,}", _memory(first[ours]), _memory(first[chain]))


def _judge(what: str, ours: list[Cost], theirs: list[Cost], name: str = "") -> None:
    goals.compare(what, _quickest(ours), _quickest(theirs), name, _processor(ours) / _processor(theirs))


def _loads(folder: Path, size: int, rounds: int) -> dict[str, dict[str, list[Cost]]]:
    tools = [tool for tool in TOOLS if _installed(tool.command[0])]
    costs: dict[str, dict[str, list[Cost]]] = {name: {tool.name: [] for tool in tools} for name in SCENARIOS}
    texts = {tool.name: [tool.write(entries(size, changed=changed)) for changed in (False, True)] for tool in tools}
    for _ in range(rounds):
        for tool in tools:
            _clear(folder)
            file = folder / tool.file
            for scenario, text in zip(SCENARIOS, (0, 0, 1), strict=True):
                file.write_text(texts[tool.name][text])
                costs[scenario][tool.name].append(run(_command_of(tool, folder)))
    for scenario in SCENARIOS:
        _show(f"{scenario}, N={size}", costs[scenario])
    return costs


def _command_of(tool: Tool, folder: Path) -> tuple[str, ...]:
    file = str(folder / tool.file)
    return tuple(word.replace("{}", file).replace("{folder}", str(folder)) for word in tool.command)


def _clear(folder: Path) -> None:
    """An empty firewall in this benchmark's namespace, and no memory of an apply."""
    for command in (
        ("nft", "flush", "ruleset"),
        ("iptables-legacy", "-F"),
        ("iptables-legacy", "-P", "INPUT", "ACCEPT"),
    ):
        subprocess.run(command, check=False, capture_output=True)
    shutil.rmtree(folder / "state", ignore_errors=True)


def _in_turn(
    commands: dict[str, tuple[str, ...]], rounds: int, elsewhere: dict[str, int] | None = None, here: int | None = None
) -> dict[str, list[Cost]]:
    """**Shape** `elsewhere` are the network namespaces of some of the commands, `here` is that of the others."""
    present = {name: command for name, command in commands.items() if _installed(command[0])}
    costs: dict[str, list[Cost]] = {name: [] for name in present}
    places = elsewhere or {}
    for name, command in present.items():
        run(command, places.get(name, here))  # compiles the modules, which an installed portgate has behind it
    for _ in range(rounds):
        for name, command in present.items():
            costs[name].append(run(command, places.get(name, here)))
    return costs


def _installed(program: str) -> bool:
    if shutil.which(program):
        return True
    print(f"(left out, not installed: {program})")
    return False


def run(command: tuple[str, ...], namespace: int | None = None) -> Cost:
    """What a command took, which must have succeeded: a tool that fails is cheap. Our own may say with 1 that there is something to see."""
    if namespace is not None:
        _enter(namespace)
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    complaint = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    spent = 1000 * (time.perf_counter() - start)
    process.returncode = os.waitstatus_to_exitcode(status)
    finding = process.returncode == 1 and command[: len(PORTGATE)] == PORTGATE
    if process.returncode and not finding:
        raise SystemExit(f"{' '.join(command)}: {complaint.decode(errors='replace')}")
    return Cost(spent, 1000 * (used.ru_utime + used.ru_stime), used.ru_maxrss / 1024)


def _show(title: str, costs: dict[str, list[Cost]]) -> None:
    print(
        f"\n{title}, the quickest of {len(next(iter(costs.values())))}; milliseconds, ratio; of processor time, ratio"
    )
    first = next(iter(costs.values()))
    for name, found in costs.items():
        time, ratio = _quickest(found), _quickest(found) / _quickest(first)
        busy, busy_ratio = _processor(found), _processor(found) / _processor(first)
        print(f"  {name:<28} {time:9.1f} {ratio:7.2f}  {busy:9.1f} {busy_ratio:7.2f}  {_memory(found):6.0f} MiB")


def _processor(costs: list[Cost]) -> float:
    return min(one.processor for one in costs)


def _quickest(costs: list[Cost]) -> float:
    return min(one.time for one in costs)


def _memory(costs: list[Cost]) -> float:
    return max(one.memory for one in costs)


if __name__ == "__main__":
    main()
