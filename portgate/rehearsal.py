"""Use cases in a sandbox: a policy is applied to a host that is made up for it, and the kernel says what it does.

Errors of every function: PortgateError.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from enum import StrEnum
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory

from portgate import changes, engine, host, promises
from portgate.core.dataclasses import dataclass, replace
from portgate.core.diagnostics import OBJECTIONS, Diagnostic, Span
from portgate.core.expect import Result
from portgate.core.net import ICMP, ICMPV6, TCP, UDP, Family, contains, format_address
from portgate.core.packets import Packet
from portgate.core.policy import Grant, Policy
from portgate.core.semantics import Fate as Said
from portgate.core.trace import Decision
from portgate.promises import Kept, Tested
from portgate.sandbox import Answer, Fate, Oracle, Sandbox, Transport
from portgate.sandbox.oracle import is_unanswerable
from portgate.sandbox.packets import (
    Message,
    messages,
    of_expectation,
    of_policy,
    packet_of,
    probe,
    spread,
)
from portgate.sandbox.probe import Pace, Question
from portgate.sandbox.world import Origin, World, world_of

MOST_CONVERSATIONS = 600
MOST_PACKETS = 4000
MOST_OF_AN_EXPECTATION = 600
PACE = Pace(patience=0.3, at_once=MOST_CONVERSATIONS)
SECOND_PACE = Pace(patience=3.0, at_once=MOST_CONVERSATIONS)
"""For who should have answered: the machine may be busy."""

_TRANSPORTS = {TCP: Transport.TCP, UDP: Transport.UDP, ICMP: Transport.PING, ICMPV6: Transport.PING}
_MEANING = {Fate.INPUT: Said.ACCEPT, Fate.FORWARD: Said.ACCEPT, Fate.REJECTED: Said.REJECT, Fate.DROPPED: Said.DROP}
_ANSWERS = {Said.ACCEPT: Answer.OPEN, Said.REJECT: Answer.CLOSED, Said.DROP: Answer.FILTERED}


@dataclass(frozen=True, slots=True)
class Sent:
    """A packet that was put on the cable, what the kernel did with it, and what the engine says."""

    packet: Packet
    kernel: Said
    engine: Decision

    @property
    def agrees(self) -> bool:
        """Up to a rate limit both may be."""
        said = self.engine.answer.fate
        if said in (Said.DEPENDS, self.kernel):
            return True
        silent = is_unanswerable(self.packet.protocol, self.packet.tcp_flags)
        return silent and (said, self.kernel) == (Said.REJECT, Said.DROP)


@dataclass(frozen=True, slots=True)
class Met:
    """A conversation that somebody tried to begin: what came of it, and what the engine says about its first packet."""

    origin: Origin
    packet: Packet
    answer: Answer
    engine: Decision

    @property
    def agrees(self) -> bool:
        return self.answer is _ANSWERS.get(self.engine.answer.fate, self.answer)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What came of it. `system` is the kernel that it was, `left_out` are interfaces that the sandbox has not got."""

    policy: str
    backend: str
    system: str
    conversations: tuple[Met, ...]
    packets: tuple[Sent, ...]
    left_out: tuple[str, ...] = ()

    @property
    def disagreements(self) -> tuple[Diagnostic, ...]:
        """Where the kernel did otherwise than the engine says."""
        met = (_disagreement(one.packet, one.answer, one.engine) for one in self.conversations if not one.agrees)
        return (*met, *disagreements(self.packets))


def disagreements(sent: Iterable[Sent], span: Span | None = None) -> tuple[Diagnostic, ...]:
    """A diagnostic for each packet of which the kernel and the engine say different things."""
    return tuple(_disagreement(one.packet, one.kernel, one.engine, span) for one in sent if not one.agrees)


def _disagreement(packet: Packet, kernel: StrEnum, said: Decision, span: Span | None = None) -> Diagnostic:
    return Diagnostic("PG594", f"{packet}: {said.answer.fate.value} by the engine, {kernel.value} by the kernel", span)


# ------------------------------------------------------------------ the stage


@dataclass(frozen=True, slots=True)
class Stage:
    """A host in a sandbox, with the policy in force and programs that listen."""

    policy: Policy
    backend: str
    world: World
    sandbox: Sandbox
    seen: engine.Seen
    state: str

    @property
    def environment(self) -> dict[str, str]:
        """For programs on the host: portgate finds there what it applied."""
        return {**os.environ, "PORTGATE_STATE_DIR": self.state}


@contextmanager
def staged(path: str, backend: str, today: date) -> Iterator[Stage]:
    """A made-up host that the policy was applied to, by the whole transaction of an apply."""
    policy = engine.load(path, today).policy
    world = world_of(policy)
    with TemporaryDirectory(prefix="portgate-try-") as folder, Sandbox(world.links) as sandbox:
        state = str(Path(folder, "state"))
        used = sandbox.call(_apply, path, backend, today, state)
        yield Stage(policy, used, world, sandbox, engine.understand(sandbox.call(host.capture_rules)), state)


def _apply(path: str, backend: str, today: date, state: str) -> str:
    """In a child process, on the host of the sandbox. Nobody is locked out of it."""
    os.environ["PORTGATE_STATE_DIR"] = state
    terms = changes.Terms(overrides=OBJECTIONS, confirm=0, persist=False)
    applied = changes.apply(path, backend, today, None, _nobody_waits, terms)
    return applied.backend if applied else backend


def _nobody_waits() -> None:
    """Its state is new, so no other apply is running."""


# ------------------------------------------------------------------ conversations


def rehearse(path: str, backend: str, today: date) -> Rehearsal:
    """Somebody from everywhere talks to the host, then single packets from the edges of everything are sent."""
    with staged(path, backend, today) as stage:
        met = tuple(conversations(stage))
        sent = send(stage, of_policy(stage.policy, stage.world, MOST_PACKETS))
    system = f"{platform.system()} {platform.release()}"
    return Rehearsal(stage.policy.name, stage.backend, system, met, sent, stage.world.left_out)


def run(path: str, backend: str, today: date, command: Sequence[str]) -> int:
    """The exit status of a command on the made-up host, with the policy in force and programs that listen."""
    with staged(path, backend, today) as stage:
        start_listeners(stage)
        return stage.sandbox.hand_over(command, env=stage.environment)


def start_listeners(stage: Stage) -> None:
    """Programs at every port that is asked about, on the host and on the machines behind it."""
    ports = dict.fromkeys(_listening(stage, _asked(stage)))
    stage.sandbox.listen_all([(_TRANSPORTS[protocol], "::", port) for protocol, port in ports])
    for link, family, address in stage.world.behind:
        text = format_address(family, address)
        stage.sandbox.listen_all([(_TRANSPORTS[protocol], text, port) for protocol, port in ports], inside=link)


def _listening(stage: Stage, asked: Mapping[Origin, Sequence[Message]]) -> Iterator[Message]:
    yield from (message for messages in asked.values() for message in messages)
    for one in stage.policy.forwards:
        yield from ((kind.protocol, one.port) for kind in one.grant.traffic if one.port and kind.protocol in (TCP, UDP))


def _asked(stage: Stage) -> dict[Origin, list[Message]]:
    """The ports that everybody tries: those that the policy speaks of and their neighbours.

    If they are too many, half are ports of grants to whom they are tried by.
    """
    world, grants = stage.world, stage.policy.arriving()
    talkers = sum(len(one.addresses) for one in world.origins) * (1 + len(world.destinations))
    most = max(4, MOST_CONVERSATIONS // max(1, talkers))
    ports = _ports(grants)

    def of(origin: Origin) -> list[Message]:
        own = _ports(one for one in grants if any(world.holds(peer, origin) for peer in one.sources))
        near = set(spread(own, most // 2))
        return sorted([*near, *spread([one for one in ports if one not in near], most - len(near))])

    return {origin: of(origin) for origin in world.origins}


def _ports(grants: Iterable[Grant]) -> list[Message]:
    traffic = (one for grant in grants for one in grant.traffic)
    return sorted(one for one in messages(traffic, Family.IPV4) if one[0] in (TCP, UDP))


def conversations(stage: Stage) -> Iterator[Met]:
    """Everybody with every port that listens, and a ping."""
    start_listeners(stage)
    asked = _asked(stage)
    tried = [(origin, packet) for origin in asked for packet in _packets(stage.world, origin, asked[origin])]
    known = zip(tried, engine.decide(stage.seen, [stage.world.addressed(packet) for _, packet in tried]), strict=True)
    talks = [(origin, packet, said) for (origin, packet), said in known if not _is_beside(stage.world, said)]
    questions = [_question(said.packet) for _, _, said in talks]
    answers = dict(zip(questions, stage.sandbox.ask(questions, PACE), strict=True))
    hoped = (
        one
        for one, (_, _, said) in zip(questions, talks, strict=True)
        if said.answer.fate in (Said.ACCEPT, Said.REJECT)
    )
    again = [one for one in hoped if answers[one] is Answer.FILTERED]
    answers |= zip(again, stage.sandbox.ask(again, SECOND_PACE) if again else (), strict=True)
    for question, (origin, packet, said) in zip(questions, talks, strict=True):
        yield Met(origin, packet, answers[question], said)


def _is_beside(world: World, said: Decision) -> bool:
    """Whether a packet is sent back to its own link: the machine there would answer its neighbour without the host."""
    landing = said.answer.landing
    machines = [(one, address) for one, family, address in world.behind if family is said.packet.family]
    return landing is not None and any(
        link == said.packet.iif and contains(landing.addresses, address) for link, address in machines
    )


def _packets(world: World, origin: Origin, ports: Sequence[Message]) -> Iterator[Packet]:
    """The first packet of each conversation of somebody."""
    for family, source in origin.addresses:
        ping = (ICMP, 8) if family is Family.IPV4 else (ICMPV6, 128)
        named = [address for of, address in world.destinations if of is family]
        ways = product([None, *named], [*ports, ping])
        yield from (packet_of(family, origin.link, source, to, message) for to, message in ways)


def _question(packet: Packet) -> Question:
    return Question(
        _TRANSPORTS[packet.protocol],
        format_address(packet.family, packet.dst or 0),
        packet.dport or 0,
        packet.iif,
        format_address(packet.family, packet.src),
    )


# ------------------------------------------------------------------ single packets


def send(stage: Stage, packets: Sequence[Packet]) -> tuple[Sent, ...]:
    """Each packet with its fate. No program is reached from then on."""
    oracle = Oracle(stage.sandbox)
    oracle.attach()
    addressed = [stage.world.addressed(one) for one in packets]
    fates = oracle.judge([probe(one) for one in addressed])
    said = engine.decide(stage.seen, addressed)
    return tuple(Sent(one.packet, _MEANING[fate], one) for fate, one in zip(fates, said, strict=True))


# ------------------------------------------------------------------ expectations


def test(path: str, backend: str, today: date) -> Tested:
    """What `promises.test` tells, and real packets for each expectation, its counterexamples among them."""
    tested = promises.test(path, today)
    if not tested.results:
        return tested
    with staged(path, backend, today) as stage:
        groups = [_packets_for(one.result, stage) for one in tested.results]
        sent = iter(send(stage, [packet for group in groups for packet in group]))
    return replace(
        tested,
        results=tuple(
            _with_packets(one, list(islice(sent, len(group))))
            for one, group in zip(tested.results, groups, strict=True)
        ),
    )


def _with_packets(kept: Kept, sent: Sequence[Sent]) -> Kept:
    return replace(kept, sent=len(sent), surprises=disagreements(sent, kept.result.expectation.span))


def _packets_for(result: Result, stage: Stage) -> list[Packet]:
    world = stage.world
    shown = [one.packet for one in result.counterexamples if one.packet.iif in world.link_names]
    possible = [one for one in shown if contains(world.foreign(one.family), one.src)]
    return [*possible, *of_expectation(result.expectation, stage.policy, world, MOST_OF_AN_EXPECTATION)]
