"""Damage to a text: what is cut, doubled, exchanged, mixed up or written in by somebody who means harm."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from random import Random

_TOKEN = re.compile(r"[^\W_]+|\s+|.", re.DOTALL)
_NUMBER = re.compile(r"\d+")
NASTY = (
    "", " ", "\t", "\n", "\r", "\r\n", "\x00", "\x0b", "\x0c", "\x1b[2J", "\x85", "\u2028", "\ufeff", "\u202e", "\ud800", "é", "日本", "²", "٣", "\uff11",
    "0", "-1", "1", "65535", "65536", "4294967296", "99999999999999999999", "9" * 5000, "0x", "0x1_0", "1e9", "1_0", "1.5", "nan",
    "/", "/0", "/33", "/129", "/-1", "0.0.0.0", "255.255.255.255", "1.2.3", "::", "::1", "::ffff:1.2.3.4", "fe80::1%eth0", "1:2:3:4:5:6:7:8:9",
    "!", "! !", "-", "--", "*", "%", "$", "${", "$(", "@", "@@", "\\", "\\\n", "\"", "'", "`", "(", ")", "{", "}", "[", "]", "<", ">", "<>", "><", ",", ",,", ";",
    ";;", ":", "::", "=", "==", "!=", "|", "||", "&", "&&", "#", "..", "...", "~", "^", "?", "+",
    "any", "all", "none", "null", "true", "self", "lo", "eth0", "eth*", "tcp", "icmp", "255", "256", "22", "80-22", "22-", "-22", "a" * 300,
)  # fmt: skip
_LEAVES: tuple[object, ...] = (
    None, True, False, 0, -1, 1, 4, 6, 255, 65536, 1 << 32, 1 << 70, 1.5, 1e300, "", "*", "a", "@a", "ip", "0.0.0.0", "::1", "eth*", [], {}, [[]], [{}], {"": None},
)  # fmt: skip

Damage = Callable[[Random, str, Sequence[str]], str]


def damaged(rng: Random, seeds: Sequence[str]) -> str:
    """One of the seeds, or a few of its lines, wrong in one to six ways."""
    text = _some_lines(rng, rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4, 6))):
        text = rng.choice(_WAYS)(rng, text, seeds)
    return text


def grown(rng: Random, seeds: Sequence[str], length: int) -> str:
    """A seed in which a piece stands again and again, up to a length: what takes long once in a while takes long here."""
    text = _some_lines(rng, rng.choice(seeds))
    unit = rng.choice((_tokens, str.splitlines))(text) or ["{"]
    first = rng.randrange(len(unit))
    piece = "".join(unit[first : first + rng.randint(1, 4)]) + rng.choice(("", "", "", " ", "\n", ",", "{", "("))
    before = "".join(unit[:first])
    return before + (piece or "(") * (length // max(1, len(piece))) + rng.choice(("", "".join(unit[first:])))


def damaged_json(rng: Random, seeds: Sequence[str]) -> str:
    """The same for a seed that is JSON, mostly so that it stays JSON. Large lists are cut short first."""
    if rng.random() < 0.2:
        return damaged(rng, seeds)
    value = _shortened(rng, json.loads(rng.choice(seeds)))
    for _ in range(rng.choice((1, 1, 2, 3, 5))):
        value = _changed(rng, value, seeds)
    return json.dumps(value)


# ------------------------------------------------------------------ text


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


def _some_lines(rng: Random, text: str) -> str:
    lines = text.splitlines(keepends=True)
    if len(lines) < 4 or rng.random() < 0.15:
        return text
    count = rng.randint(2, 12)
    first = rng.randrange(max(1, len(lines) - count + 1))
    kept = lines[first : first + count]
    return "".join(lines[: rng.choice((0, 1, 3))] + kept + lines[len(lines) - rng.choice((0, 1)) :])


def _tokenwise(change: Callable[[Random, list[str], Sequence[str]], list[str]]) -> Damage:
    def damage(rng: Random, text: str, seeds: Sequence[str]) -> str:
        return "".join(change(rng, _tokens(text) or [""], seeds))

    return damage


def _linewise(change: Callable[[Random, list[str], Sequence[str]], list[str]]) -> Damage:
    def damage(rng: Random, text: str, seeds: Sequence[str]) -> str:
        return "".join(change(rng, text.splitlines(keepends=True) or [""], seeds))

    return damage


def _without(rng: Random, parts: list[str], _: Sequence[str]) -> list[str]:
    first = rng.randrange(len(parts))
    return parts[:first] + parts[first + rng.choice((1, 1, 2, 5)) :]


def _twice(rng: Random, parts: list[str], _: Sequence[str]) -> list[str]:
    first, last = sorted((rng.randrange(len(parts)), rng.randrange(len(parts))))
    span = parts[first : min(last, first + 6) + 1]
    return parts[:first] + span * rng.choice((2, 2, 3, 40)) + parts[first:]


def _exchanged(rng: Random, parts: list[str], _: Sequence[str]) -> list[str]:
    first, second = rng.randrange(len(parts)), rng.randrange(len(parts))
    parts[first], parts[second] = parts[second], parts[first]
    return parts


def _nasty(rng: Random, parts: list[str], _: Sequence[str]) -> list[str]:
    at = rng.randrange(len(parts))
    return [*parts[:at], rng.choice(NASTY), *parts[at + rng.choice((0, 1)) :]]


def _from_elsewhere(rng: Random, parts: list[str], seeds: Sequence[str]) -> list[str]:
    others = _tokens(_some_lines(rng, rng.choice(seeds))) or [""]
    first, at = rng.randrange(len(others)), rng.randrange(len(parts))
    return parts[:at] + others[first : first + rng.choice((1, 1, 3, 9))] + parts[at + rng.choice((0, 1)) :]


def _lines_from_elsewhere(rng: Random, parts: list[str], seeds: Sequence[str]) -> list[str]:
    others = rng.choice(seeds).splitlines(keepends=True) or [""]
    first, at = rng.randrange(len(others)), rng.randrange(len(parts) + 1)
    return parts[:at] + others[first : first + rng.randint(1, 4)] + parts[at:]


def _cut_off(rng: Random, text: str, _: Sequence[str]) -> str:
    return text[: rng.randrange(len(text) + 1)]


def _a_character(rng: Random, text: str, _: Sequence[str]) -> str:
    at = rng.randrange(len(text) + 1)
    sign = chr(rng.choice((rng.randrange(32, 127), rng.randrange(128), rng.randrange(0xD7FF))))
    return text[:at] + sign + text[at + rng.choice((0, 1)) :]


def _another_number(rng: Random, text: str, _: Sequence[str]) -> str:
    found = list(_NUMBER.finditer(text))
    if not found:
        return text
    one = rng.choice(found)
    value = int(one[0][:18])
    other = rng.choice((value + 1, value - 1, -value, value * 256, 0, 0xFFFF, 1 << 32, 1 << 128, "9" * 5000))
    return f"{text[: one.start()]}{other}{text[one.end() :]}"


_WAYS: tuple[Damage, ...] = (
    *(_tokenwise(one) for one in (_without, _twice, _exchanged, _nasty, _nasty, _from_elsewhere, _from_elsewhere)),
    *(_linewise(one) for one in (_without, _twice, _exchanged, _lines_from_elsewhere)),
    _cut_off,
    _a_character,
    _another_number,
)


# ------------------------------------------------------------------ JSON


def _shortened(rng: Random, value: object) -> object:
    """What is in order first, for it names what the rest speaks of."""
    if isinstance(value, dict):
        return {key: _shortened(rng, inner) for key, inner in value.items()}
    if isinstance(value, list) and len(value) > 12:
        start = rng.randrange(3, len(value) - 5)
        return value[: rng.choice((1, 3))] + value[start : start + rng.randint(2, 6)]
    return value


def _changed(rng: Random, value: object, seeds: Sequence[str]) -> object:
    """With one place somewhere in it that is otherwise."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        return rng.choice(_OF_DICTS)(rng, dict(value), key, seeds)
    if isinstance(value, list) and value and rng.random() < 0.9:
        return rng.choice(_OF_LISTS)(rng, list(value), rng.randrange(len(value)), seeds)
    return _other(rng, value, seeds)


def _other(rng: Random, value: object, seeds: Sequence[str]) -> object:
    if isinstance(value, str) and rng.random() < 0.5:
        return rng.choice(_WAYS)(rng, value, (value, "a b\nc"))
    if isinstance(value, int) and rng.random() < 0.4:
        return rng.choice((value + 1, -value, value << 33, str(value)))
    return rng.choice(
        (rng.choice(_LEAVES), rng.choice(_LEAVES), [value], {"a": value}, _piece(rng, json.loads(rng.choice(seeds))))
    )


def _piece(rng: Random, value: object) -> object:
    while isinstance(value, dict | list) and value and rng.random() < 0.85:
        value = rng.choice(list(value.values()) if isinstance(value, dict) else value)
    return value


def _of_dict_deeper(rng: Random, value: dict[str, object], key: str, seeds: Sequence[str]) -> object:
    return value | {key: _changed(rng, value[key], seeds)}


def _of_dict_less(_: Random, value: dict[str, object], key: str, __: Sequence[str]) -> object:
    del value[key]
    return value


def _of_dict_renamed(rng: Random, value: dict[str, object], key: str, seeds: Sequence[str]) -> object:
    names = re.findall(r'"([^"\s]{1,20})"', rng.choice(seeds)) or ["a"]
    return {rng.choice(names) if name == key else name: inner for name, inner in value.items()}


def _of_dict_more(rng: Random, value: dict[str, object], _: str, seeds: Sequence[str]) -> object:
    piece = _piece(rng, json.loads(rng.choice(seeds)))
    return value | (piece if isinstance(piece, dict) else {"a": piece})


def _of_list_deeper(rng: Random, value: list[object], at: int, seeds: Sequence[str]) -> object:
    value[at] = _changed(rng, value[at], seeds)
    return value


def _of_list_less(_: Random, value: list[object], at: int, __: Sequence[str]) -> object:
    del value[at]
    return value


def _of_list_more(rng: Random, value: list[object], at: int, seeds: Sequence[str]) -> object:
    value.insert(rng.randrange(len(value) + 1), rng.choice((value[at], _piece(rng, json.loads(rng.choice(seeds))))))
    return value


_OF_DICTS = (_of_dict_deeper,) * 6 + (_of_dict_less, _of_dict_renamed, _of_dict_more)
_OF_LISTS = (_of_list_deeper,) * 6 + (_of_list_less, _of_list_more)


def damaged_capture(rng: Random, seeds: Sequence[str]) -> str:
    """A capture of which one text is damaged, or the whole file."""
    if rng.random() < 0.2:
        return damaged_json(rng, seeds)
    capture = json.loads(rng.choice(seeds))
    for reading in rng.sample(capture["readings"], rng.choice((1, 1, 2))):
        like = [one["text"] for seed in seeds for one in json.loads(seed)["readings"] if one["kind"] == reading["kind"]]
        is_json = reading["text"].startswith("{")
        reading["text"] = (damaged_json if is_json else damaged)(rng, [reading["text"], *like[:5]])
    if rng.random() < 0.1:
        rng.choice(capture["readings"])["kind"] = rng.choice(capture["readings"])["kind"]
    return json.dumps(capture)
