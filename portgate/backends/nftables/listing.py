"""Text of `nft list ruleset`, or an nft script -> the structure that `nft -j list ruleset` has.

Facts
    nft(8): a line ends a command or a rule, and so does `;`; a backslash before the end of the line continues it. `define` holds in
    its block and those inside of it. A command without a verb is `add`, a table without a family is `ip`.

Rules of this file
    A listing's objects come out bare (`{"chain": ...}`), a script's commands under their verb (`{"delete": {"chain": ...}}`).
    A line that is no command that is known, and an `include`, which is not followed, become `{"opaque": {"text": ...}}`.
    **Errors** only PG412: not one line is a command.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Sequence

from portgate.backends.nftables import bulk, words
from portgate.backends.nftables.expressions import concatenation, elements
from portgate.backends.nftables.grammar import rule as statements_of
from portgate.backends.nftables.tokens import Cursor, UnreadableError, expand, native, seconds, tokenize, unquote
from portgate.core.diagnostics import Diagnostic, PortgateError, Span

_VERBS = frozenset({"add", "create", "insert", "replace", "delete", "destroy", "flush", "rename"})
_QUERIES = frozenset({"list", "reset", "get", "describe", "monitor", "export"})
_OBJECTS = frozenset({"counter", "quota", "limit", "flowtable", "secmark", "synproxy", "ct", "meter", "tunnel"})
_PRIORITY = re.compile(r"([a-z]+)?([+-]?\d{1,10})?")
_DEPTH = 16

Body = dict[str, object]


def to_json(text: str, source: str = "") -> dict[str, list[object]]:
    """**Shape** `{"nftables": [...]}`; rules also carry their `line`. **Errors** PortgateError, PG412."""
    reader = _Reader(text)
    reader.commands()
    unread = [one for one in reader.found if "opaque" in one]
    if unread and len(unread) == len(reader.found):
        span = Span(source, reader.first_unread, 1, reader.first_unread, 1) if source else None
        detail = f"no line of {source or 'the text'} is a command of nft, from line {reader.first_unread} on"
        remedy = "save the rules with `nft list ruleset`"
        raise PortgateError(Diagnostic("PG412", detail, span, remedy))
    return {"nftables": list(reader.found)}


def rule(text: str) -> list[object]:
    """The statements of one rule."""
    return _rule(tokenize(text)[0])[0]


class _Reader:
    """A cursor on the tokens of a text, and the objects that were found."""

    def __init__(self, text: str) -> None:
        folded, runs = bulk.fold(text)
        self.tokens, self.lines = tokenize(folded)
        if runs:
            self.tokens = [runs.get(word, word) for word in self.tokens]
        self.tokens.append("\n")
        self.at = 0
        self.line = 1
        self.line_end, self.line_is_plain = -1, True
        self.variables: ChainMap[str, Sequence[str]] = ChainMap()
        self.found: list[Body] = []
        self.first_unread = 1
        self.tables: set[tuple[str, str]] = set()

    # -------------------------------------------------------------- pieces of text

    def piece(self) -> list[str]:
        """The tokens up to the end of the line, or `;`, or the `}` of the block around; braces inside are balanced."""
        start = self.at
        if start > self.line_end:  # looked at once a line, for one line may hold thousands of pieces
            self.line_end = self.tokens.index("\n", start)
            self.line_is_plain = {";", "}", "{"}.isdisjoint(self.tokens[start : self.line_end])
        self.at = self.line_end if self.line_is_plain else self._balanced_end(start)
        return self._expanded(self.tokens[start : self.at])

    def _balanced_end(self, at: int) -> int:
        depth = 0
        tokens = self.tokens
        while at < len(tokens):
            word = tokens[at]
            if word == "{":
                depth += 1
            elif word == "}":
                if depth == 0:
                    return at
                depth -= 1
            elif depth == 0 and word in ("\n", ";"):
                return at
            at += 1
        return at - 1

    def _expanded(self, part: list[str]) -> list[str]:
        return expand(part, self.variables) if any(word[0] == "$" for word in part) else part

    def separators(self) -> bool:
        """Passes over ends of lines. False at the end of the text."""
        while self.at < len(self.tokens):
            word = self.tokens[self.at]
            if word not in ("\n", ";") and word[0] != "#":
                return True
            self.at += 1
        return False

    def place(self) -> int:
        """The line of the cursor, which only moves forward."""
        while self.line <= len(self.lines) and self.lines[self.line - 1] <= self.at:
            self.line += 1
        return self.line

    def unread(self, part: Sequence[str], **of: str) -> None:
        if not any("opaque" in one for one in self.found):
            self.first_unread = self.place()
        self.found.append({"opaque": {"text": native(part), **of}})

    # -------------------------------------------------------------- commands

    def commands(self) -> None:
        while self.separators():
            if self.tokens[self.at] == "}":
                self.unread(["}"])
                self.at += 1
            elif not self.definition():
                self.command()

    def definition(self) -> bool:
        """`define`, `redefine`, `undefine`: read, if they come next."""
        word = self.tokens[self.at]
        if word not in ("define", "redefine", "undefine"):
            return False
        part = self.piece()
        match part:
            case [_, name, "=", *value]:
                self.variables[f"${name}"] = [word for word in value if word != "\n"]
            case ["undefine", name]:
                self.variables.pop(f"${name}", None)
            case _:
                self.unread(part)
        return True

    def command(self) -> None:
        start = self.at
        verb = self.tokens[start]
        if verb in _QUERIES:
            self.piece()
            return
        explicit = verb in _VERBS
        self.at += explicit
        if self.tokens[self.at] == "table" and verb in ("table", "add", "create"):
            self.table(verb if explicit else "")
            return
        line = self.place()
        part = self.piece()
        found = _command(verb if explicit else "add", part, line, self.tables) if part else None
        if found is None:
            self.unread([verb, *part] if explicit else part)
        elif found:
            self.found.append(found)

    def add(self, verb: str, kind: str, body: Body) -> None:
        self.found.append({verb: {kind: body}} if verb else {kind: body})

    # -------------------------------------------------------------- blocks

    def table(self, verb: str) -> None:
        """`table [family] name [{ ... }]`, at the word `table`."""
        start = self.at
        header = self.header()
        match header:
            case ["table", family, name] if family in words.TABLE_FAMILIES:
                pass
            case ["table", name]:
                family = "ip"
            case _:
                self.at = start
                self.unread(self.piece())
                return
        identity: Body = {"family": family, "table": unquote(name)}
        self.tables.add((family, unquote(name)))
        table: Body = {"family": family, "name": unquote(name)}
        self.add(verb, "table", table)
        if self.opens():
            self.variables = self.variables.new_child()
            while self.inside():
                self.in_table(identity, table)
            self.variables = self.variables.parents

    def header(self) -> list[str]:
        """The tokens before `{` or the end of the line."""
        start = self.at
        while self.tokens[self.at] not in ("{", "\n", ";", "}"):
            self.at += 1
        return self._expanded([word for word in self.tokens[start : self.at] if word[0] != "#"])

    def opens(self) -> bool:
        if self.tokens[self.at] != "{":
            return False
        self.at += 1
        return True

    def inside(self) -> bool:
        """Whether the block goes on; passes its `}` if not."""
        if not self.separators():
            self.unread(["a block without its }"])
            return False
        if self.tokens[self.at] == "}":
            self.at += 1
            return False
        return True

    def in_table(self, identity: Body, table: Body) -> None:
        if self.definition():
            return
        start, line = self.at, self.place()
        header = self.header()
        match header:
            case ["chain", name] if self.opens():
                self.chain({**identity, "name": unquote(name)})
            case ["set" | "map" as kind, name] if self.opens():
                self.block(kind, {**identity, "name": unquote(name)})
            case [kind, *_] if kind in _OBJECTS:
                self.at = start
                self.piece()
                self.found.append({f"ct {header[1]}" if kind == "ct" and len(header) > 1 else kind: identity})
            case ["flags", *flags]:
                table["flags"] = [flag for flag in flags if flag != ","]
            case ["comment", _]:
                pass
            case _:
                self.at, self.line = start, line
                self.unread(self.piece())

    def chain(self, body: Body) -> None:
        self.found.append({"chain": body})
        family, table, name = body["family"], body["table"], body["name"]
        self.variables = self.variables.new_child()
        while self.inside():
            if self.definition():
                continue
            line = self.place()
            part = self.piece()
            if part[0] in _CHAIN_WORDS:
                if not _chain_entry(part, body):
                    self.unread(part, of="chain")
                continue
            statements, comment, handle = _rule(part)
            self.found.append({"rule": {
                "family": family, "table": table, "chain": name, "expr": statements, "line": line,
            } | ({"comment": comment} if comment else {}) | ({"handle": handle} if handle is not None else {})})  # fmt: skip
        self.variables = self.variables.parents

    def block(self, kind: str, body: Body) -> None:
        """A set or map."""
        self.found.append({kind: body})
        while self.inside():
            part = self.piece()
            if not _set_entry(part, body):
                # What is not understood of a set makes it opaque to all that look it up.
                body["type"] = None


def _command(verb: str, part: list[str], line: int, tables: set[tuple[str, str]]) -> Body | None:
    """One command as JSON; {} for one without consequence, None for one that is not known."""
    if part[0] == "ruleset" and verb == "flush":
        return {"flush": {"ruleset": {"family": part[1]} if len(part) > 1 else None}}
    kind, rest = part[0], part[1:]
    if kind in _OBJECTS:
        return {}
    if kind not in ("table", "chain", "rule", "set", "map", "element"):
        kind, rest = "rule", part
        if not _names_table(part, tables):
            return None
    family = rest.pop(0) if rest and rest[0] in words.TABLE_FAMILIES else "ip"
    names = [unquote(rest.pop(0)) for _ in range(1 if kind == "table" else 2) if rest]
    identity: Body = {"family": family}
    match kind, names:
        case "table", [name]:
            body: Body | None = {**identity, "name": name} if not rest else None
        case "chain", [table, name]:
            body = _chain_command({**identity, "table": table, "name": name}, verb, rest)
        case "rule", [table, name]:
            body = _rule_command({**identity, "table": table, "chain": name, "line": line}, verb, rest)
        case _, [table, name]:
            body = _set_command({**identity, "table": table, "name": name}, kind, rest)
        case _:
            return None
    return None if body is None else {verb: {kind: body}}


def _names_table(part: list[str], tables: set[tuple[str, str]]) -> bool:
    """`add [family] table chain statements`, with the word `rule` left out."""
    key = (part[0], part[1]) if part[0] in words.TABLE_FAMILIES and len(part) > 1 else ("ip", part[0])
    return key in tables


def _chain_command(body: Body, verb: str, rest: list[str]) -> Body | None:
    if verb == "rename" and len(rest) == 1:
        return {**body, "newname": unquote(rest[0])}
    if not rest:
        return body
    if rest[0] != "{" or rest[-1] != "}":
        return None
    for part in _pieces(rest[1:-1]):
        if not _chain_entry(part, body):
            return None
    return body


def _rule_command(body: Body, verb: str, rest: list[str]) -> Body | None:
    if rest and rest[0] in ("handle", "index", "position"):
        if len(rest) < 2 or not rest[1].isdecimal():
            return None
        body["index" if rest[0] == "index" else "handle"] = int(rest[1][:9])
        rest = rest[2:]
    if verb in ("delete", "destroy"):
        return body
    if not rest:
        return None
    body["expr"], comment, _ = _rule(rest)
    if comment:
        body["comment"] = comment
    return body


def _set_command(body: Body, kind: str, rest: list[str]) -> Body | None:
    if not rest:
        return body
    if rest[0] != "{" or rest[-1] != "}":
        return None
    if kind == "element":
        try:
            return {**body, "elem": elements(Cursor([word for word in rest if word != "\n"]))}
        except (UnreadableError, RecursionError):
            return None
    for part in _pieces(rest[1:-1]):
        if not _set_entry(part, body):
            body["type"] = None
    return body


def _pieces(tokens: list[str]) -> list[list[str]]:
    """The entries of a block."""
    found: list[list[str]] = [[]]
    depth = 0
    for word in tokens:
        depth += (word == "{") - (word == "}")
        if depth == 0 and word in ("\n", ";"):
            found.append([])
        else:
            found[-1].append(word)
    return [one for one in found if one and one[0][0] != "#"]


_CHAIN_WORDS = frozenset({"type", "policy", "comment", "flags", "device", "devices"})


def _chain_entry(part: list[str], body: Body) -> bool:
    """Takes one line of a chain that is no rule into `body`. False: not understood."""
    part = [word for word in part if word != "\n"]
    match part:
        case ["policy", ("accept" | "drop") as policy]:
            body["policy"] = policy
        case ["comment" | "flags", *_]:
            pass
        case ["type", kind, "hook", hook, *rest] if "priority" in rest:
            at = rest.index("priority")
            priority = _priority(rest[at + 1 :], str(body.get("family")))
            if priority is None or any(word[0] == "$" for word in part):
                return False
            body |= {"type": kind, "hook": hook, "prio": priority}
            if hook == "ingress" or at:
                body["dev"] = [unquote(word) for word in rest[1:at] if word not in ("=", "{", "}", ",")]
        case _:
            return False
    return True


def _priority(tokens: list[str], family: str) -> int | None:
    """`filter`, `filter - 5`, `-10`."""
    found = _PRIORITY.fullmatch("".join(map(unquote, tokens)))
    if not tokens or not found:
        return None
    name, offset = found.groups()
    names = words.BRIDGE_PRIORITIES if family == "bridge" else words.PRIORITIES
    if name is not None and name not in names:
        return None
    return (names[name] if name else 0) + int(offset or 0)


def _set_entry(part: list[str], body: Body) -> bool:
    """Takes one line of a set or map into `body`. False: not understood."""
    part = [word for word in part if word != "\n"]
    try:
        match part:
            case ["type", *types]:
                body["type"] = [word for word in _key_part(types) if word != "."]
            case ["typeof", *expression]:
                body["type"] = {"typeof": concatenation(Cursor(_key_part(expression)))}
            case ["elements", "=", *braces]:
                body["elem"] = elements(Cursor(braces))
            case ["timeout", time]:
                body["timeout"] = seconds(time)
            case ["flags", *flags]:
                body["flags"] = [word for word in flags if word != ","]
            case ["comment", comment]:
                body["comment"] = unquote(comment)
            case ["gc-interval" | "size" | "policy" | "auto-merge" | "counter" | "last", *_]:
                pass
            case _:
                return False
    except (UnreadableError, RecursionError):
        return False
    return True


def _key_part(tokens: list[str]) -> list[str]:
    return tokens[: tokens.index(":")] if ":" in tokens else tokens


def _rule(part: list[str], depth: int = 0) -> tuple[list[object], str, int | None]:
    """Statements, comment and handle of one rule."""
    handle = None
    if part and part[-1].startswith("# handle "):
        handle = int(part[-1].split()[-1][:18])
        part = part[:-1]
    inner: list[object] = []
    if "{" in part and ("jump" in part or "goto" in part):
        part, inner = _nested(part, depth)
    statements, comment = statements_of([word for word in part if word != "\n"])
    return [*statements, *inner], comment, handle


def _nested(part: list[str], depth: int) -> tuple[list[str], list[object]]:
    """A rule that ends in `jump { rules }`, as what is before, and that statement."""
    level = 0
    for at, word in enumerate(part):
        if level == 0 and word in ("jump", "goto") and part[at + 1 : at + 2] == ["{"]:
            if part[-1] != "}" or depth > _DEPTH:
                return part[:at], [{"opaque": {"text": native(part[at:])}}]
            rules = [_rule(one, depth + 1)[0] for one in _pieces(part[at + 2 : -1])]
            return part[:at], [{word: {"chain": rules}}]
        level += (word == "{") - (word == "}")
    return part, []
