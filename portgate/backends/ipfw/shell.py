"""The calls of ipfw in a script for the shell, without running it.

Theory
    Followed are variables, lists, loops over words, functions of the script, and sums. What depends on anything else (the
    result of a program, a condition) is not guessed: a word that is not known stays as it is written, and what runs only
    under a condition is a command that runs perhaps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from portgate.backends.ipfw.commands import UNREAD, Command, called
from portgate.backends.ipfw.words import COMMANDS
from portgate.core.diagnostics import Diagnostic, PortgateError

MOST_WORDS = 50_000  # of a script, loops and functions followed, or ten times what is written
MOST_CHARACTERS = 50_000_000  # that variables are replaced by
DEPTH = 20  # of functions that call each other
NEST = 40  # of conditions in conditions


class Token(NamedTuple):
    """A word as it is written, or a sign that separates commands."""

    text: str
    line: int
    sign: bool = False


_PLAIN = re.compile(r"[^\s;&|()<>'\"`\\$]+")
_BLANK = re.compile(r"(?:[ \t\r]|\\\r?\n)+")
_REDIRECTION = re.compile(r"\d*(?:>>|>&|<<-?|<&|<|>)[ \t]*(?:&?\d+|-|[^\s;&|<>]+)?")
_SIGN = re.compile(r"\n|;;|&&|\|\||[;|&()]")


def tokens(text: str) -> Iterator[Token]:
    """Words and signs, without comments and redirections."""
    word: list[str] = []
    at, line, begun = 0, 1, 1
    while at < len(text):
        end, kind = _piece(text, at, within=bool(word))
        if kind == "part":
            begun = begun if word else line
            word.append(text[at:end])
        elif word:
            yield Token("".join(word), begun)
            word = []
        if kind == "sign":
            yield Token(text[at:end], line, sign=True)
        line += text.count("\n", at, end)
        at = end
    if word:
        yield Token("".join(word), begun)


def _piece(text: str, at: int, *, within: bool) -> tuple[int, str]:
    """Where the piece that begins here ends, and what it is. `within` a word `#` is no comment."""
    if text[at] == "#" and not within:
        end = text.find("\n", at)
        return (len(text) if end < 0 else end), "comment"
    for kind, pattern in (("blank", _BLANK), ("redirection", _REDIRECTION), ("sign", _SIGN)):
        found = pattern.match(text, at)
        if found and not (kind == "redirection" and within and text[at].isdigit()):
            return found.end(), kind
    return _part(text, at), "part"


def _part(text: str, at: int) -> int:
    """Where a part of a word ends: plain, quoted, or to be replaced. What is left open goes on to the end."""
    plain = _PLAIN.match(text, at)
    if plain:
        return plain.end()
    two = text[at : at + 2]
    if text[at] in "'`" or two == "${":
        end = text.find("}" if two == "${" else text[at], at + 1)
        return len(text) if end < 0 else end + 1
    if two == "$(":
        return _closed(text, at + 1)
    if text[at] == '"':
        return _quote(text, at + 1)
    if text[at] == "$":
        name = _VARIABLE_NAME.match(text, at + 1)
        return name.end() if name else at + 1
    return min(at + 1 + (text[at] == "\\"), len(text))


_VARIABLE_NAME = re.compile(r"\w+|[@*#?!-]")


def _quote(text: str, at: int) -> int:
    while at < len(text) and text[at] != '"':
        two = text[at : at + 2]
        if two == "$(":
            at = _closed(text, at + 1)
        else:
            at += 2 if text[at] == "\\" else 1
    return min(at + 1, len(text))


def _closed(text: str, at: int) -> int:
    """Behind the parenthesis that closes this one."""
    depth = 0
    for found in _PARENTHESIS.finditer(text, at):
        depth += 1 if found[0] == "(" else -1
        if not depth:
            return found.end()
    return len(text)


_PARENTHESIS = re.compile(r"[()]")


def commands(text: str) -> Iterator[Command]:
    """Errors: PG483 for a script that never ends."""
    found = list(tokens(text))
    _require_shallow(found)
    yield from _Script(max(MOST_WORDS, 10 * len(found))).run(found, "")


def _require_shallow(found: Sequence[Token]) -> None:
    depth = 0
    for index, one in enumerate(found):
        if _starts(found, index):
            depth += (one.text in _OPENING) - (one.text in _OPENING.values())
        if depth > NEST:
            raise PortgateError(Diagnostic("PG483", f"line {one.line}: conditions within {NEST} conditions"))


_OPENING = {"if": "fi", "case": "esac", "while": "done", "until": "done", "for": "done", "{": "}"}
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.S)
_BEFORE = frozenset({"sudo", "doas", "exec", "command", "time", "nice", "env", "then", "do", "else", "!"})
_DECLARING = frozenset({"export", "readonly", "local", "declare", "typeset"})


class _Script:
    def __init__(self, most: int) -> None:
        self.most = most
        self.variables: dict[str, str | None] = {}  # None: not known
        self.functions: dict[str, list[Token]] = {}
        self.calls: list[str] = []
        self.read = 0
        self.grown = 0

    def run(self, found: Sequence[Token], maybe: str) -> Iterator[Command]:
        at = 0
        while at < len(found):
            token = found[at]
            if token.sign:
                at += 1
            elif token.text in _OPENING:
                end = _end(found, at)
                yield from self._compound(token.text, found[at + 1 : end], maybe)
                at = end + 1
            elif [one.text for one in found[at + 1 : at + 3]] == ["(", ")"]:
                at = self._function(found, at)
            else:
                end = next((index for index in range(at, len(found)) if found[index].sign), len(found))
                before = found[at - 1].text if at and found[at - 1].sign else ""
                yield from self._simple(found[at:end], maybe or _CONDITIONAL.get(before, ""))
                at = end

    def _function(self, found: Sequence[Token], at: int) -> int:
        start = next((index for index in range(at + 3, len(found)) if not found[index].sign), len(found))
        if start == len(found) or found[start].text != "{":
            return at + 3
        end = _end(found, start)
        self.functions[found[at].text] = list(found[start + 1 : end])
        return end + 1

    def _compound(self, word: str, body: Sequence[Token], maybe: str) -> Iterator[Command]:
        if word == "{":
            yield from self.run(body, maybe)
        elif word == "for":
            yield from self._loop(body, maybe)
        else:
            yield from self._branches(word, body, maybe)

    def _loop(self, body: Sequence[Token], maybe: str) -> Iterator[Command]:
        start = next((index for index, one in enumerate(body) if one.text == "do"), len(body))
        head = [one.text for one in body[:start] if not one.sign]
        if len(head) < 2 or head[1] != "in":
            yield from self._branches("for", body[start:], maybe)
            return
        words = [word for text in head[2:] for word in self._expanded(text)]
        if any(_unknown(one) for one in words):
            self.variables[head[0]] = None
            yield from self._branches("for", body[start:], maybe)
            return
        for word in words:
            self.variables[head[0]] = word
            yield from self.run(body[start + 1 :], maybe)

    def _branches(self, word: str, body: Sequence[Token], maybe: str) -> Iterator[Command]:
        """Each part runs perhaps, and begins with the variables as they are here."""
        before, changed = dict(self.variables), set[str]()
        reason = maybe or f"whether a part of the script runs (`{word}` in line {body[0].line if body else 0})"
        for part in _parts(word, body):
            self.variables = dict(before)
            yield from self.run(part, reason)
            changed |= {
                name for name, value in self.variables.items() if before.get(name) != value or name not in before
            }
        self.variables = {**before, **dict.fromkeys(changed)}

    # -------------------------------------------------------------- commands

    def _simple(self, found: Sequence[Token], maybe: str) -> Iterator[Command]:
        line = found[0].line
        texts = [one.text for one in found]
        while texts and (texts[0] in _BEFORE or texts[0] in _DECLARING or _ASSIGNMENT.fullmatch(texts[0])):
            self._assign(texts.pop(0), maybe)
        words = [word for text in texts for word in self._expanded(text)]
        self.read += len(words) + 1
        if self.read > self.most or self.grown > MOST_CHARACTERS:
            raise PortgateError(Diagnostic("PG483", f"more than {self.most} words once its loops are followed"))
        if not words:
            return
        if words[0] in self.functions and len(self.calls) < DEPTH and words[0] not in self.calls:
            yield from self._calls(words, maybe)
        else:
            yield from _of_ipfw(words, line, " ".join(texts), maybe)

    def _assign(self, text: str, maybe: str) -> None:
        found = _ASSIGNMENT.fullmatch(text)
        if found:
            value = " ".join(self._expanded(f'"{found[2]}"' if found[2][:1] not in "\"'" else found[2]))
            self.variables[found[1]] = None if _unknown(value) else value

    def _calls(self, words: list[str], maybe: str) -> Iterator[Command]:
        name, *arguments = words
        outer = {key: self.variables.get(key) for key in (*"123456789", "@", "*")}
        self.variables.update({str(at): value for at, value in enumerate(arguments, 1)})
        self.variables.update(dict.fromkeys(("@", "*"), " ".join(arguments)))
        self.calls.append(name)
        yield from self.run(self.functions[name], maybe)
        self.calls.pop()
        self.variables.update(outer)

    # -------------------------------------------------------------- words

    def _expanded(self, text: str) -> list[str]:
        """The words that a word becomes. What is not known stays as it is written."""
        result: list[str] = []
        glue = False
        for part in _parts_of(text):
            quoted = part[:1] in "\"'\\"
            values = [self._quoted(part)] if quoted else self._unquoted(part)
            for index, value in enumerate(values):
                if glue and index == 0:
                    result[-1] += value
                else:
                    result.append(value)
            glue = bool(result)
        return result

    def _quoted(self, part: str) -> str:
        if part[0] == "\\":
            return part[1:]
        inner = part[1:-1] if len(part) > 1 and part[-1] == part[0] else part[1:]
        if part[0] == "'":
            return inner
        return re.sub(r'\\(?:\n|(["\\$`]))', r"\1", _VARIABLE.sub(self._value, inner))

    def _unquoted(self, part: str) -> list[str]:
        if not part.startswith(("$", "`")):
            return [part]
        counted = _EXPR.fullmatch(part)
        total = self._sum(counted[1]) if counted else None
        if total is not None:
            return [str(total)]
        value = _VARIABLE.sub(self._value, part)
        return [value] if _unknown(value) else value.split()

    def _value(self, found: re.Match[str]) -> str:
        if found["sum"] is not None:
            total = self._sum(found["sum"])
            return found[0] if total is None else str(total)
        value = self.variables.get(found["name"] or found["braced"])
        self.grown += len(value or "")
        return found[0] if value is None or self.grown > MOST_CHARACTERS else value

    def _sum(self, text: str) -> int | None:
        """`a + b - c`, of numbers and variables that are known."""
        plain = _NAME.sub(lambda name: self.variables.get(name[1]) or "?", text)
        if not re.fullmatch(r"\s*-?\d{1,9}(\s*[-+]\s*\d{1,9})*\s*", plain):
            return None
        return sum(int(one.replace(" ", "").replace("\t", "")) for one in re.findall(r"[-+]?\s*\d+", plain))


_CONDITIONAL = {
    "&&": "whether the command before succeeds",
    "||": "whether the command before fails",
    "|": "what the command before prints",
}
_VARIABLE = re.compile(r"\$(?:\(\((?P<sum>.*?)\)\)|(?P<name>[A-Za-z_]\w*|[0-9@*])|\{(?P<braced>\w+)\})", re.S)
_EXPR = re.compile(r"(?:`|\$\()\s*expr\s+([^`()]*)[`)]")
_NAME = re.compile(r"\$?\{?([A-Za-z_]\w*)\}?")


def _parts_of(word: str) -> Iterator[str]:
    at = 0
    while at < len(word):
        end = _part(word, at)
        yield word[at:end]
        at = end


def _unknown(value: str) -> bool:
    return "$" in value or "`" in value


def _end(found: Sequence[Token], at: int) -> int:
    """Where a compound command ends that begins at a token; the end of the script for one that never does."""
    depth: list[str] = []
    for index in range(at, len(found)):
        text = "" if found[index].sign else found[index].text
        starts = index == at or _starts(found, index)
        if depth and text == depth[-1] and (starts or text == "}"):
            depth.pop()
            if not depth:
                return index
        elif starts and text in _OPENING and (text != "{" or _begins_group(found, index)):
            depth.append(_OPENING[text])
    return len(found)


def _starts(found: Sequence[Token], at: int) -> bool:
    """Whether a word stands where a command begins."""
    return not found[at].sign and (at == 0 or found[at - 1].sign or found[at - 1].text in _BEFORE)


def _begins_group(found: Sequence[Token], at: int) -> bool:
    """Whether a brace is one of the shell, not of an address or a list of ipfw."""
    return at + 1 < len(found) and (found[at + 1].sign or at == 0 or found[at - 1].sign)


def _parts(word: str, body: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """What runs under one condition each, and the conditions."""
    cuts = {"if": ("then", "elif", "else"), "case": (";;",)}.get(word, ("do",))
    depth, start = 0, 0
    for index, one in enumerate(body):
        starts = _starts(body, index)
        if starts and one.text in _OPENING and one.text != "{":
            depth += 1
        elif starts and one.text in ("fi", "esac", "done"):
            depth -= 1
        elif not depth and one.text in cuts and (one.sign or starts):
            yield _without_pattern(word, body[start:index])
            start = index + 1
    yield _without_pattern(word, body[start:])


def _without_pattern(word: str, part: Sequence[Token]) -> Sequence[Token]:
    """The commands behind `pattern)` of a case."""
    if word != "case":
        return part
    closing = next((index for index, one in enumerate(part) if one.sign and one.text == ")"), -1)
    return part[closing + 1 :]


def _of_ipfw(words: list[str], line: int, text: str, maybe: str) -> Iterator[Command]:
    """The call, where the program is ipfw, or has a name that is not known and its arguments look like it."""
    name, *arguments = words
    while name in ("xargs", *_BEFORE) and arguments:
        name, *arguments = arguments
    verb = next((one for one in arguments if not one.startswith("-")), "")
    if name.rpartition("/")[2] == "ipfw" or (_unknown(name) and verb in COMMANDS):
        yield from _call(arguments, words[0] == "xargs", line, text, maybe)
    elif name == "sysctl":
        yield from _settings(arguments, line, text, maybe)
    elif name in COMMANDS - {"set", "show", "list", "enable", "disable", "print"}:
        yield from called((name, *arguments), line, text, maybe)
    elif "from" in words and "to" in words and ("any" in words or "me" in words):
        yield Command(UNREAD, line, text, maybe)


def _call(arguments: list[str], fed: bool, line: int, text: str, maybe: str) -> Iterator[Command]:
    if len(arguments) == 1 and " " in arguments[0]:
        arguments = arguments[0].split()
    if arguments and arguments[-1].startswith("/"):
        yield Command(UNREAD, line, f"{text}: a file of rules that was not read", maybe)
    elif fed and arguments[:1] == ["table"]:
        yield Command(("table", *arguments[1:2], "filled by a program"), line, text, maybe)
    else:
        yield from called(tuple(arguments), line, text, maybe)


def _settings(arguments: list[str], line: int, text: str, maybe: str) -> Iterator[Command]:
    for one in arguments:
        name, _, value = one.partition("=")
        if name.startswith("net.inet") and value.isdecimal() and not maybe:
            yield Command(("sysctl", name, value[:9]), line, text)
