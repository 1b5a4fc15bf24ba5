"""The engine on large rule sets: seconds, nodes, peak memory, and whether it agrees with brute force.

Run as `python benchmarks/bench_engine.py [NAME...]`. The ClassBench sets are read from `$PORTGATE_CORPUS`, by default
`../shared/corpus` beside the repository; what is not there is left out, and said. Every row is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import NamedTuple

import goals

from portgate.core.addresses import Host
from portgate.core.audit import Situation, audit
from portgate.core.decision import Diagram, evaluate
from portgate.core.listener import Interface, Listener
from portgate.core.net import (
    IFNAME_MAX,
    PORT_PROTOCOLS,
    PROTOCOLS,
    TCP,
    UDP,
    Family,
    Interval,
    interface_interval,
    interface_name,
    parse_prefix,
)
from portgate.core.packets import Packet, describe
from portgate.core.ruleset import (
    Accept,
    All,
    Base,
    Chain,
    Container,
    CtState,
    Drop,
    Field,
    Hook,
    Match,
    Rule,
    Ruleset,
    Test,
)
from portgate.core.semantics import NEW_CONNECTION, Analysis, Answer
from portgate.core.trace import decide
from portgate.core.verify import differences

CORPUS = Path(os.environ.get("PORTGATE_CORPUS", Path(__file__).parent.parent.parent / "shared" / "corpus"))
PROBES = 6_000
EVERY_ADDRESS = (0, Family.IPV4.top)
EVERY_PORT = (0, 0xFFFF)
NEW = CtState.NEW.value


# ------------------------------------------------------------------ flat rule lists


class Row(NamedTuple):
    """One rule of a flat list, as the intervals that it asks for."""

    src: Interval = EVERY_ADDRESS
    dst: Interval = EVERY_ADDRESS
    dport: Interval = EVERY_PORT
    sport: Interval = EVERY_PORT
    protocol: Interval = (0, 255)
    iif: Interval = (0, IFNAME_MAX)
    state: Interval = (0, 4)
    accepts: bool = True


def classbench(name: str) -> list[Row]:
    """The rules of a flat `iptables-save` file with one chain and its default of drop."""
    lines = (CORPUS / "iptables-save" / "classbench" / f"{name}.iptables-save").read_text().splitlines()
    return [_row(line.split()) for line in lines if line.startswith("-A INPUT ")]


_PROTOCOLS = {**PROTOCOLS, "icmp": 1}


def _row(words: Sequence[str]) -> Row:
    """Options and their values in turn. Errors: KeyError for an option that is not one of these."""
    row = Row()
    for option, value in zip(words[2::2], words[3::2], strict=True):
        match option:
            case "-m":
                pass
            case "-j":
                row = row._replace(accepts={"ACCEPT": True, "DROP": False}[value])
            case "-s":
                row = row._replace(src=parse_prefix(value)[1])
            case "-d":
                row = row._replace(dst=parse_prefix(value)[1])
            case "-p":
                number = _PROTOCOLS[value] if value in _PROTOCOLS else int(value)
                row = row._replace(protocol=(number, number))
            case "-i":
                row = row._replace(iif=interface_interval(value))
            case "--dport":
                row = row._replace(dport=_ports(value))
            case "--sport":
                row = row._replace(sport=_ports(value))
            case "--ctstate":
                assert value == "RELATED,ESTABLISHED", value
                row = row._replace(state=(CtState.ESTABLISHED.value, CtState.RELATED.value))
            case _:
                raise KeyError(option)
    return row


def _ports(text: str) -> Interval:
    first, colon, last = text.partition(":")
    return int(first), int(last) if colon else int(first)


def mixed(count: int) -> list[Row]:
    """Random rules over protocol, port, interface, source and destination, of the sorts that hosts have."""
    rng = Random(count)
    interfaces = [interface_interval(name) for name in ("eth0", "eth1", "wg*", "docker0", "br-*")]
    return [
        Row(
            src=_prefix(rng, 0.8),
            dst=_prefix(rng, 0.2),
            dport=_some_ports(rng),
            protocol=rng.choice(((TCP, TCP), (TCP, TCP), (UDP, UDP))),
            iif=rng.choice(interfaces) if rng.random() < 0.3 else Row().iif,
            accepts=rng.random() < 0.6,
        )
        for _ in range(count)
    ]


def _prefix(rng: Random, share: float) -> Interval:
    if rng.random() > share:
        return EVERY_ADDRESS
    host = (1 << rng.choice((0, 0, 4, 8, 8, 8, 12, 16))) - 1
    first = rng.choice((10 << 24, 192 << 24, 198 << 24)) + rng.randrange(1 << 24) & ~host
    return first, first | host


def _some_ports(rng: Random) -> Interval:
    first = rng.choice((22, 25, 53, 80, 443, 3306, 5432, 8080, rng.randrange(1024, 60000), rng.randrange(1024, 60000)))
    return first, first + rng.choice((0, 0, 0, 0, 10, 100))


def as_ruleset(rows: Sequence[Row]) -> Ruleset:
    rules = tuple(Rule(_match(row), Accept() if row.accepts else Drop()) for row in rows)
    chain = Chain("INPUT", rules, Base(Hook.INPUT, 0, Drop()))
    return Ruleset((Container("filter", (Family.IPV4,), (chain,)),))


def _match(row: Row) -> Match:
    sides = (
        (Field.SRC4, row.src),
        (Field.DST4, row.dst),
        (Field.DPORT, row.dport),
        (Field.SPORT, row.sport),
        (Field.PROTOCOL, row.protocol),
        (Field.IIF, row.iif),
        (Field.CT_STATE, row.state),
    )
    return All(tuple(Test(field, (side,)) for field, side in sides if side != (0, field.top)))


# ------------------------------------------------------------------ brute force


def probes(rows: Sequence[Row], count: int) -> list[Packet]:
    """New connections on, beside and between the ends of the rules' intervals."""
    rng = Random(1)
    return [_probe(rng, rng.choice(rows), rng.choice(rows)) for _ in range(count)]


def _probe(rng: Random, one: Row, other: Row) -> Packet:
    def near(mine: Interval, others: Interval, top: int) -> int:
        first, last = mine if rng.random() < 0.8 else others
        return min(max(rng.choice((first - 1, first, last, last + 1, rng.randint(first, last))), 0), top)

    protocol = near(one.protocol, other.protocol, 255)
    has_ports = protocol in PORT_PROTOCOLS
    return Packet(
        family=Family.IPV4,
        protocol=protocol,
        iif=interface_name(one.iif[0]) if one.iif != Row().iif else "eth9",
        src=near(one.src, other.src, Family.IPV4.top),
        dst=near(one.dst, other.dst, Family.IPV4.top),
        dport=near(one.dport, other.dport, 0xFFFF) if has_ports else None,
        sport=near(one.sport, other.sport, 0xFFFF) if has_ports else None,
    )


def first_match(rows: Sequence[Row], packet: Packet) -> bool:
    """Whether the flat list accepts the packet. Ports of a protocol that has none count as 0, as in a diagram."""
    src, dst, protocol = packet.src, packet.dst or 0, packet.protocol
    dport, sport, iif = packet.dport or 0, packet.sport or 0, interface_interval(packet.iif)[0]
    return next(
        (
            accepts
            for (s0, s1), (d0, d1), (p0, p1), (q0, q1), (r0, r1), (i0, i1), (c0, c1), accepts in rows
            if s0 <= src <= s1
            and d0 <= dst <= d1
            and p0 <= dport <= p1
            and q0 <= sport <= q1
            and r0 <= protocol <= r1
            and i0 <= iif <= i1
            and c0 <= NEW <= c1
        ),
        False,
    )


# ------------------------------------------------------------------ what is measured


@dataclass(frozen=True)
class Result:
    """One line of the table. **Units** seconds, MiB."""

    what: str
    seconds: float
    goal: float
    detail: str
    memory: int = 0


def _timed(work: Callable[[], object]) -> float:
    """Processor time, with the cyclic collector off, as the command line has it."""
    gc.collect()
    gc.disable()
    started = time.process_time()
    work()
    return time.process_time() - started


def diagram(name: str, goal: float) -> Result:
    """One decision diagram a family, from a `Ruleset` to settled answers; then brute force."""
    rows = _rows(name)
    ruleset = as_ruleset(rows)
    analyses = [Analysis(family) for family in Family]
    roots: list[Diagram] = []
    seconds = _timed(lambda: roots.extend(one.settle(one.inbound(ruleset)) for one in analyses))
    memory = _peak()
    packets = probes(rows, PROBES)
    wrong = sum(_accepts(evaluate(roots[0], packet.levels())) != first_match(rows, packet) for packet in packets)
    detail = f"{len(rows)} rules, {sum(len(one.space) for one in analyses)} nodes, {wrong} of {PROBES} probes disagree"
    return Result(f"diagrams of {name}", seconds, goal, detail, memory)


def _accepts(answer: object) -> bool:
    assert isinstance(answer, Answer)
    return answer.fate.value == "accept"


def decisions(name: str, goal: float) -> Result:
    """10,000 packets, with the rule that decides."""
    rows = _rows(name)
    ruleset, packets = as_ruleset(rows), probes(rows, 10_000)
    seconds = _timed(lambda: decide(ruleset, packets))
    return Result(f"decide against {name}", seconds, goal, f"{len(packets)} packets, {len(rows)} rules", _peak())


def opened(name: str, goal: float) -> Result:
    """What a large set lets through that an empty one does not: its difference in words."""
    rows = _rows(name)
    closed = as_ruleset(())
    seconds = _timed(lambda: differences(closed, as_ruleset(rows), most_cubes=12))
    return Result(f"differences to {name}", seconds, goal, f"{len(rows)} rules, 12 cubes each", _peak())


def cubes(name: str, goal: float) -> Result:
    """What a large set accepts, in at most twelve cubes."""
    rows = _rows(name)
    analysis = Analysis(Family.IPV4)
    root = analysis.settle(analysis.inbound(as_ruleset(rows), NEW_CONNECTION))
    accepted = analysis.space.where(root, _accepts)
    seconds = _timed(lambda: describe(analysis.space, Family.IPV4, accepted, analysis.space.true, 12))
    return Result(f"cubes of {name}", seconds, goal, f"{len(rows)} rules", _peak())


def audited(name: str, goal: float) -> Result:
    """200 listeners under 3,000 rules, with what the policy wants beside them."""
    rows = _rows(name)
    live, listeners = as_ruleset(rows), tuple(_listeners(200))
    wanted = as_ruleset([row for row in rows if row.dport[0] < 1024])
    situation = Situation(live, listeners, _HOST)
    alone = _timed(lambda: audit(situation))
    seconds = _timed(lambda: audit(replace(situation, desired=wanted)))
    detail = f"{len(rows)} rules, {len(listeners)} listeners; without a policy {alone:.2f} s"
    return Result(f"audit under {name}", seconds, goal, detail, _peak())


_HOST = Host(
    (
        Interface("lo", ((Family.IPV4, 127 << 24 | 1, 8), (Family.IPV6, 1, 128))),
        Interface("eth0", ((Family.IPV4, 198 << 24 | 7, 24), (Family.IPV6, 0x20010DB8 << 96 | 7, 64))),
        Interface("eth1", ((Family.IPV4, 10 << 24 | 7, 24),)),
    )
)


def _listeners(count: int) -> Iterator[Listener]:
    rng = Random(count)
    for index in range(count):
        port = rng.choice((22, 80, 443, 5432, 8080, rng.randrange(1024, 60000)))
        stream = index % 3 > 0
        kind, protocol = ("stream", TCP) if stream else ("datagram", UDP)
        if index % 4:
            yield Listener(kind, protocol, Family.IPV6, None, port, dual=True, inode=index)
        else:
            yield Listener(kind, protocol, Family.IPV4, 198 << 24 | 7, port, inode=index)


def _rows(name: str) -> list[Row]:
    return mixed(int(name.removeprefix("mixed_"))) if name.startswith("mixed_") else classbench(name)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


Measurement = tuple[Callable[[str, float], Result], str, float]
MEASUREMENTS: Mapping[str, Measurement] = {
    "acl1": (diagram, "acl1_10000", 0.3),
    "fw1": (diagram, "fw1_10000", 2.0),
    "mixed": (diagram, "mixed_30000", 4.0),
    "decide": (decisions, "acl1_10000", 3.0),
    "decide-mixed": (decisions, "mixed_10000", 3.0),
    "decide-fw1": (decisions, "fw1_10000", 3.0),
    "cubes": (cubes, "acl1_10000", 1.0),
    "cubes-fw1": (cubes, "fw1_10000", 1.0),
    "differences": (opened, "acl1_10000", 3.0),
    "audit": (audited, "mixed_3000", 1.5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {', '.join(MEASUREMENTS)}; default: all")
    names = parser.parse_args().names or list(MEASUREMENTS)
    if unknown := [name for name in names if name not in MEASUREMENTS]:
        parser.error(f"unknown: {', '.join(unknown)}")
    print(f"{'':28} {'seconds':>8} {'goal':>6} {'MiB':>6}")
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for name in names:
            work, rows, goal = MEASUREMENTS[name]
            if not rows.startswith("mixed_") and not CORPUS.is_dir():
                print(f"{name}: left out, there is no {CORPUS}")
                continue
            one = pool.submit(work, rows, goal).result()
            goals.compare(f"engine, {name}, seconds", one.seconds)
            print(f"{one.what:28} {one.seconds:8.2f} {one.goal:6.1f} {one.memory:6}  {one.detail}", flush=True)


if __name__ == "__main__":
    main()
