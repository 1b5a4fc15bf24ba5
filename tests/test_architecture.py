"""The rules of the house that a machine can check: who imports whom, what may act, how large a file may be."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "portgate").rglob("*.py"))
MAX_LINES = 700

# A layer is the folder or file right below portgate/; its value are the layers that it may import besides itself.
LAYERS = {
    "core": "",
    "programs": "",
    "children": "",
    "language": "core",
    "report": "core",
    "backends": "core programs children",
    "sockets": "core language",
    "linux_facts": "core sockets",
    "host": "core programs backends sockets linux_facts",
    "apply": "core backends",
    "engine": "core language backends sockets linux_facts host apply sandbox",
    "sandbox": "core children language backends sockets linux_facts host apply engine report",
    "promises": "core language engine",
    "changes": "core language backends sockets host apply engine",
    "applied": "core backends host apply engine",
    "ports": "core language backends apply engine changes",
    "rehearsal": "core host engine changes promises sandbox",
    "probing": "core sandbox",
    "cli": "core language backends sockets host apply engine changes applied ports promises sandbox report rehearsal probing",
    "__main__": "cli",
}

# Modules of the standard library that compute, and do nothing else.
PURE = {
    "__future__", "abc", "array", "bisect", "codecs", "collections", "contextlib", "dataclasses", "datetime", "difflib", "enum",
    "functools", "hashlib", "heapq", "itertools", "json", "math", "operator", "posixpath", "re", "shlex", "string", "struct", "textwrap",
    "types", "typing", "unicodedata", "xml", "zlib",
}  # fmt: skip
PURE_LAYERS = ("core", "language", "report", "backends", "sockets")  # but for sessions, and what is live
# What a pure layer may import besides, each for a reason.
THIRD_PARTY = {"language": {"yaml"}, "report": {"rich"}, "cli": {"click"}}
PURE_EXCEPTIONS = {
    "portgate/backends/__init__.py": {"importlib", "os"},  # discovery
    "portgate/sockets/__init__.py": {"importlib", "os"},  # discovery
    "portgate/language/": {
        "gc",
        "io",
        "pkgutil",
    },  # the collector, text streams for yaml, a table that lies beside the code
}
# Modules that act, and what of them does not.
PURE_NAMES = {
    "sys": {"platform"},
    "socket": {"AF_INET", "AF_INET6", "inet_ntop", "inet_pton", "inet_aton"},
    "urllib.parse": {"quote"},
}
NATIVE = {"nftables", "iptc"}
# Who may catch everything: one reports a bug with its reproduction, one carries an error out of a forked child.
CATCH_ALL = {"portgate/cli/__init__.py", "portgate/children.py"}
WRITES_CODE = {"portgate/core/dataclasses.py"}  # an `__init__` of the names of its fields, as the standard library does


@dataclass(frozen=True)
class Import:
    """One imported module; `names` of a from-import; `lazy` inside of a function."""

    module: str
    names: frozenset[str]
    lazy: bool
    line: int

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


@cache
def tree(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text())


@cache
def imports(file: str) -> tuple[Import, ...]:
    return tuple(_imports(tree(file), lazy=False))


def _imports(node: ast.AST, *, lazy: bool) -> Iterator[Import]:
    match node:
        case ast.Import():
            yield from (Import(alias.name, frozenset(), lazy, node.lineno) for alias in node.names)
        case ast.ImportFrom():
            assert node.level == 0, f"line {node.lineno}: a relative import"
            yield Import(node.module or "", frozenset(alias.name for alias in node.names), lazy, node.lineno)
        case _:
            inner = lazy or _runs_late(node)
            for child in ast.iter_child_nodes(node):
                yield from _imports(child, lazy=inner)


def _runs_late(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def layer(file_or_module: str) -> str:
    parts = file_or_module.removesuffix(".py").replace("/", ".").split(".")
    return parts[1] if len(parts) > 1 and parts[1] != "__init__" else ""


def backend_of(file_or_module: str) -> str:
    """The folder below portgate/backends, "" for the protocol itself."""
    parts = file_or_module.removesuffix(".py").replace("/", ".").split(".")
    return parts[2] if parts[1] == "backends" and len(parts) > 2 and parts[2] != "__init__" else ""


def is_pure(file: str) -> bool:
    acts = file.endswith("/session.py") or "/live/" in file or "/kernel/" in file
    return layer(file) in PURE_LAYERS and not acts


every_file = pytest.mark.parametrize("file", FILES)


def test_every_layer_is_known() -> None:
    assert {layer(file) for file in FILES} - {""} <= set(LAYERS)


@every_file
def test_a_layer_imports_only_the_layers_below_it(file: str) -> None:
    own = layer(file)
    allowed = {own, "", *LAYERS.get(own, " ".join(LAYERS)).split()}
    wrong = [one for one in imports(file) if one.top == "portgate" and layer(one.module) not in allowed]
    assert not wrong


@every_file
def test_a_backend_imports_no_other_backend(file: str) -> None:
    own = backend_of(file)
    used = {backend_of(one.module) for one in imports(file) if one.module.startswith("portgate.backends")}
    if layer(file) == "backends":
        assert used <= {"", own}
    else:
        assert used <= {""}, "a backend is found by its name, never imported"


@every_file
def test_third_party_modules_stay_in_their_layer(file: str) -> None:
    allowed = {"portgate", *sys.stdlib_module_names, *THIRD_PARTY.get(layer(file), ())}
    if file.endswith(("/session.py", "/live/library.py")):
        allowed |= NATIVE
    assert {one.top for one in imports(file)} <= allowed


@every_file
def test_pure_code_imports_only_what_computes(file: str) -> None:
    if is_pure(file):
        excepted = set().union(*(names for place, names in PURE_EXCEPTIONS.items() if file.startswith(place)))
        allowed = PURE | {"portgate"} | THIRD_PARTY.get(layer(file), set()) | excepted
        assert not [one for one in imports(file) if one.top not in allowed and not _takes_what_is_pure(one)]


def _takes_what_is_pure(one: Import) -> bool:
    return bool(one.names) and one.names <= PURE_NAMES.get(one.module, set())


@every_file
def test_pure_code_runs_no_program(file: str) -> None:
    if is_pure(file):
        assert not [one for one in imports(file) if one.module == "portgate.programs"]
        assert not [one for one in imports(file) if one.module == "portgate" and "programs" in one.names]


@every_file
def test_what_is_slow_or_native_is_imported_when_needed(file: str) -> None:
    eager = [one for one in imports(file) if one.top in NATIVE | {"rich"} and not one.lazy]
    assert not eager


@every_file
def test_no_file_is_too_long_to_read(file: str) -> None:
    assert len((ROOT / file).read_text().splitlines()) < MAX_LINES


@every_file
def test_public_names_of_the_core_are_documented(file: str) -> None:
    if layer(file) == "core":
        definitions = [one for one in tree(file).body if isinstance(one, ast.FunctionDef | ast.ClassDef)]
        assert not [one.name for one in definitions if not one.name.startswith("_") and not ast.get_docstring(one)]


@every_file
def test_every_file_says_what_it_is(file: str) -> None:
    assert ast.get_docstring(tree(file))


@every_file
def test_no_handler_swallows_what_it_does_not_know(file: str) -> None:
    handlers = [node for node in ast.walk(tree(file)) if isinstance(node, ast.ExceptHandler)]
    broad = [one.lineno for one in handlers if one.type is None or _names(one.type) & {"Exception", "BaseException"}]
    assert len(broad) == (file in CATCH_ALL)


@every_file
def test_no_shell_ever_sees_a_command(file: str) -> None:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Call):
            assert not [one for one in node.keywords if one.arg == "shell"], f"line {node.lineno}: shell="
            refused = {"os.system", "os.popen", "eval"} | ({"exec"} if file not in WRITES_CODE else set())
            assert ast.unparse(node.func) not in refused, f"line {node.lineno}"


def _names(node: ast.expr) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


@pytest.mark.parametrize("file", FILES)
def test_no_pattern_repeats_a_group_possessively(file: str) -> None:
    """Python 3.11.2, which Debian 12 has, does not take back what such a group began to match in vain: `a(?: *b)*+` matches "a " of "a c"."""
    assert not re.search(r"\)(?:[*+?]|\{\d*,?\d*\})\+", (ROOT / file).read_text())
