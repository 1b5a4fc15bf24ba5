"""The rules of one direction as chains.

Theory
    The first rule that matches decides. Where a rule skips or calls, the list is cut at the rules to which it leads, each part
    is a chain, and a part ends with a goto to the next. A call is a jump, and what it leads to exists a second time,
    where `return` leads back; after the last rule of that the default decides. Without a call `return` does nothing.

Facts (kernel of FreeBSD 12.1)
    `skipto` to its own number or a lower one goes to the next number. `call` goes anywhere, and comes back to the next
    number, not to the next rule. Known connections are looked for at the first rule that checks or keeps states,
    in whatever direction, and fare as the rule that made their state has it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from portgate.backends.ipfw.rule import ANY_FLOW, Action, Back, Call, Check, Entry, Skip
from portgate.backends.ipfw.words import DEFAULT
from portgate.core.bsd import NEVER, both, either
from portgate.core.dataclasses import replace
from portgate.core.ruleset import (
    ALWAYS,
    Accept,
    Base,
    Bits,
    Chain,
    ChainKind,
    Continue,
    CtState,
    Dnat,
    Drop,
    Field,
    Goto,
    Hook,
    Jump,
    Match,
    Opaque,
    PlainVerdict,
    Return,
    Rule,
    SetMark,
    Test,
    Unknown,
)

KNOWN_CONNECTION = Test(Field.CT_STATE, ((CtState.ESTABLISHED.value, CtState.RELATED.value),))
FLOWS = 30  # names of states that are told apart
PASSED = SetMark(Field.MARK, 1, 1)  # a translation that is a decision, too
TRANSLATED = both(Test(Field.DNATED, ((1, 1),)), Bits(Field.MARK, PASSED.mask, 1))
UNTRANSLATED = Test(Field.DNATED, ((0, 0),))
Default = Accept | Drop


def chains(entries: Sequence[Entry], default: Default, hook: Hook) -> Iterator[Chain]:
    """Of one hook: `prerouting` translates, and lets all else pass as it is."""
    cutting = [index for index, one in enumerate(entries) if isinstance(one.action, Skip | Call)]
    if hook is Hook.PREROUTING and not cutting:
        last = max((index for index, one in enumerate(entries) if isinstance(one.action, Dnat)), default=-1)
        entries = entries[: last + 1]
    base = Base(hook, -100, kind=ChainKind.NAT) if hook is Hook.PREROUTING else Base(hook, 0, default)
    yield from _Parts(entries, default, hook).all(base)


class _Parts:
    """Cuts a list of rules where others lead to, and makes the parts that can be reached."""

    def __init__(self, entries: Sequence[Entry], default: Default, hook: Hook) -> None:
        self.entries = entries
        self.numbers = [one.number for one in entries]
        self.default = default
        self.hook = hook
        self.flows = {one.flow for one in entries if one.flow}
        self.bits = {flow: 2 << number for number, flow in enumerate(sorted(self.flows)[:FLOWS])}
        cuts = {self._from(number) for one in entries for number in _targets(one)}
        self.cuts = sorted({0, *cuts} - {len(entries)})
        self.wanted: list[tuple[int, bool]] = []
        self.seen: set[tuple[int, bool]] = set()

    def all(self, base: Base) -> Iterator[Chain]:
        rules = list(self._translated())
        self._part(0, called=False)
        for start, called in self.wanted:  # which grows meanwhile
            own = tuple(self._rules(start, called))
            first = (start, called) == (0, False)
            yield Chain(self.hook.value, (*rules, *own), base) if first else Chain(self._name(start, called), own)
            yield from self._calls(start, called)

    def _translated(self) -> Iterator[Rule]:
        if self.hook is Hook.INPUT and any(isinstance(one.action, Dnat) for one in self.entries):
            yield Rule(TRANSLATED, Accept(), comment="translated")

    def _from(self, number: int) -> int:
        """Where the first rule with this number or a higher one stands."""
        return bisect_left(self.numbers, number)

    def _name(self, start: int, called: bool) -> str:
        number = self.numbers[start] if start < len(self.entries) else DEFAULT
        return f"{self.hook.value}-{'called-' if called else ''}{number}"

    def _part(self, start: int, called: bool) -> str:
        """The name of a part, which is then made as well."""
        if (start, called) not in self.seen:
            self.seen.add((start, called))
            self.wanted.append((start, called))
        return self._name(start, called)

    def _end(self, start: int) -> int:
        following = bisect_left(self.cuts, start + 1)
        return self.cuts[following] if following < len(self.cuts) else len(self.entries)

    def _rules(self, start: int, called: bool) -> Iterator[Rule]:
        end = self._end(start)
        checked = False
        for index in range(start, end):
            one = self.entries[index]
            if one.checks and not checked and self.hook is not Hook.PREROUTING:
                yield from self._known(one)
                checked = one.checks == ANY_FLOW or self.flows <= {one.checks}
            yield from self._rule(index, called)
        if end < len(self.entries):
            yield Rule(ALWAYS, Goto(self._part(end, called)), comment="next")
        elif called:
            yield Rule(ALWAYS, self._verdict_of_default(), comment="default")

    def _verdict_of_default(self) -> Default:
        return Accept() if self.hook is Hook.PREROUTING else self.default

    def _known(self, one: Entry) -> Iterator[Rule]:
        """What becomes of a known connection, where a rule looks for it."""
        makers = [other for other in self.entries if other.flow and one.checks in (other.flow, ANY_FLOW)]
        if not makers:
            return
        match: Match = KNOWN_CONNECTION
        if one.checks != ANY_FLOW and self.flows != {one.checks}:
            match = both(match, Opaque(f"ipfw states {one.checks}", f"whether it has a state of the name {one.checks}"))
        accepting = all(isinstance(other.action, Accept | Dnat | Continue) for other in makers)
        verdict = Accept() if accepting else Unknown(f"the rule that made its state: {makers[0].origin.text}")
        yield Rule(match, verdict, comment=one.comment or "states", origin=one.origin)
        if self.hook is Hook.OUTPUT:
            entered = either([self._entered(flow) for flow in dict.fromkeys(other.flow for other in makers)])
            yield Rule(entered, verdict, comment=one.comment or "states", origin=one.origin)

    def _entered(self, flow: str) -> Match:
        """What has made a state when it arrived, and now passes through."""
        bit = self.bits.get(flow)
        return (
            Bits(Field.MARK, bit, bit)
            if bit
            else Opaque(f"ipfw states {flow}", f"whether it has a state of the name {flow}")
        )

    # -------------------------------------------------------------- one rule

    def _rule(self, index: int, called: bool) -> Iterator[Rule]:
        one = self.entries[index]
        verdict = None if one.match == NEVER else self._verdict(index, one.action, called)
        if verdict is None:
            return
        rule = Rule(one.match, verdict, (*one.effects, *self._marks(one)), one.comment, one.origin)
        if self.hook is Hook.PREROUTING:
            yield from _for_translation(rule)
        elif isinstance(verdict, Dnat):
            yield replace(rule, match=both(one.match, UNTRANSLATED), verdict=Accept())
        elif one.limited:
            within = Opaque(f"ipfw rule {one.origin.text}: a limit", "a limit of connections")
            yield replace(rule, match=both(one.match, within))
            yield replace(rule, verdict=Drop())
        else:
            yield rule

    def _marks(self, one: Entry) -> tuple[SetMark, ...]:
        """The state that a rule makes of what arrives, by which the packet is known when it leaves."""
        bit = self.bits.get(one.flow) if self.hook is Hook.INPUT else None
        return (SetMark(Field.MARK, bit, bit),) if bit else ()

    def _verdict(self, index: int, action: Action, called: bool) -> PlainVerdict | None:
        """None for a rule that decides nothing."""
        match action:
            case Check():
                return None
            case Back():
                return Return() if called else Continue()
            case Skip(number):
                return Goto(self._part(self._from(max(number, self.numbers[index] + 1)), called))
            case Call():
                return Goto(self._call_name(index, called))
            case _:
                return action

    def _call_name(self, index: int, called: bool) -> str:
        return f"{self.hook.value}-call-{'called-' if called else ''}{self.numbers[index]}-{index}"

    def _calls(self, start: int, called: bool) -> Iterator[Chain]:
        """A chain for each call in a part: there, and on behind it."""
        for index in range(start, self._end(start)):
            action = self.entries[index].action
            if isinstance(action, Call):
                there = self._part(self._from(action.number), True)
                behind = self._part(self._from(self.numbers[index] + 1), called)
                rules = (Rule(ALWAYS, Jump(there), comment="call"), Rule(ALWAYS, Goto(behind), comment="next"))
                yield Chain(self._call_name(index, called), rules)


def _targets(one: Entry) -> tuple[int, ...]:
    match one.action:
        case Skip(number):
            return (max(number, one.number + 1),)
        case Call(number):
            return (number, one.number + 1)
        case _:
            return ()


def _for_translation(rule: Rule) -> Iterator[Rule]:
    """Only what is translated is changed; what another rule decides, is kept from it."""
    match rule.verdict:
        case Dnat():
            yield replace(rule, effects=(*rule.effects, PASSED))
        case Goto() | Return() | Unknown():
            yield replace(rule, effects=())
        case Continue():
            return
        case _:
            yield replace(rule, verdict=Accept(), effects=())
