"""The frame of the command line: help, exit codes, what happens when something goes wrong."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from portgate import __version__
from portgate.cli import COMMANDS
from portgate.cli import portgate as group
from portgate.core.diagnostics import Diagnostic, PortgateError

from .conftest import Done, process

ROOT = Path(__file__).parents[2]
Portgate = Callable[..., Done]
PYTHON = [sys.executable, "-m", "portgate"]


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Makes `portgate backends` fail."""

    def names() -> None:
        raise error

    monkeypatch.setattr("portgate.backends.names", names)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_is_in_the_documents(name: str) -> None:
    command = group.get_command(click.Context(group), name)
    assert command is not None
    assert command.name == name
    assert command.help
    assert len(command.help.splitlines()[0]) <= 62, "it would be cut in the list of commands"
    texts = (ROOT / "README.md").read_text() + "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    assert re.search(rf"`(portgate )?{name}\b", texts)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_is_shown_for_every_command(portgate: Portgate, name: str, flag: str) -> None:
    done = portgate(name, flag)
    assert done.code == 0
    assert done.out.startswith(f"Usage: portgate {name}")


def test_the_help_lists_every_command_in_full(portgate: Portgate) -> None:
    done = portgate("--help")
    commands = done.out.partition("Commands:")[2]
    assert re.findall(r"^  ([a-z]+) ", commands, re.MULTILINE) == list(COMMANDS)
    assert "..." not in commands


def test_the_version_is_told(portgate: Portgate) -> None:
    assert portgate("--version").out == f"portgate {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["--nonsense"], ["check"], ["services", "--format", "xml"]])
def test_a_wrong_command_line_exits_with_2(portgate: Portgate, arguments: list[str]) -> None:
    done = portgate(*arguments)
    assert done.code == 2
    assert "Usage:" in done.err
    assert done.out == ""


def test_a_misspelt_command_is_guessed(portgate: Portgate) -> None:
    assert "Did you mean 'sockets'?" in portgate("socket").err


@pytest.mark.parametrize(("code", "exit_code"), [("PG101", 2), ("PG201", 2), ("PG421", 3), ("PG520", 3), ("PG902", 4)])
def test_the_class_of_a_diagnostic_decides_the_exit_code(
    portgate: Portgate, monkeypatch: pytest.MonkeyPatch, code: str, exit_code: int
) -> None:
    fail_with(monkeypatch, PortgateError(Diagnostic(code, "a detail", remedy="a remedy")))
    done = portgate("backends")
    assert done.code == exit_code
    assert done.out == ""
    assert all(part in done.err for part in (code, "a detail", "a remedy"))


def test_an_interrupt_exits_with_130(portgate: Portgate, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    assert portgate("backends").code == 130


def test_a_bug_leaves_a_private_file_that_reproduces_it(
    portgate: Portgate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fail_with(monkeypatch, ZeroDivisionError("of all things"))
    done = portgate("backends")
    assert done.code == 4
    assert "PG901" in done.err
    assert "ZeroDivisionError: of all things" in done.err
    (saved,) = tmp_path.glob("portgate-bug-*.json")
    assert str(saved) in done.err
    assert saved.stat().st_mode & 0o777 == 0o600
    report = json.loads(saved.read_text())
    assert report["arguments"] == ["backends"]
    assert report["portgate"] == __version__
    assert "ZeroDivisionError" in "".join(report["traceback"])


def test_a_bug_report_holds_the_files_of_the_command_line(
    portgate: Portgate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("portgate: 1\n")
    monkeypatch.setattr("portgate.engine.check", lambda *_: 1 / 0)
    assert portgate("check", policy).code == 4
    (saved,) = tmp_path.glob("portgate-bug-*.json")
    assert json.loads(saved.read_text())["files"] == {str(policy): "portgate: 1\n"}


def test_a_bug_that_cannot_be_saved_is_shown_in_full(portgate: Portgate, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, ZeroDivisionError())
    monkeypatch.setenv("TMPDIR", "/proc/nowhere")
    monkeypatch.setattr("tempfile.mkstemp", lambda **_: os.open("/proc/nowhere/x", os.O_RDONLY))
    done = portgate("backends")
    assert done.code == 4
    assert "Traceback" in done.err


def test_a_reader_that_goes_away_is_no_error_to_tell() -> None:
    with subprocess.Popen([*PYTHON, "services"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stderr is not None
        writer.stdout.close()
        assert writer.stderr.read() == b""
    assert writer.returncode == 141


def test_a_terminal_sees_colour_unless_it_does_not_want_any() -> None:
    assert "\x1b[" in on_terminal({})
    assert "\x1b[" not in on_terminal({"NO_COLOR": "1"})
    assert "\x1b[" not in on_terminal({"TERM": "dumb"})
    assert "\x1b[" not in process("services", "ssh").stdout


def on_terminal(environment: dict[str, str]) -> str:
    ours, theirs = pty.openpty()
    inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    with os.fdopen(ours, "rb", buffering=0) as terminal, os.fdopen(theirs, "wb") as slave:
        subprocess.run(
            [*PYTHON, "services", "ssh"], stdout=slave, env={**inherited, "TERM": "xterm", **environment}, check=True
        )
        return terminal.read(4096).decode()


def test_text_that_the_terminal_cannot_encode_is_no_failure() -> None:
    done = process("services", "наверх", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 1
    assert r"\u043d" in done.stderr


def test_starting_up_imports_nothing_heavy() -> None:
    heavy = {
        "yaml",
        "rich",
        "json",
        "subprocess",
        "nftables",
        "difflib",
        "portgate.core.ruleset",
        "portgate.backends.nftables",
    }
    script = "import sys, portgate.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert heavy & set(loaded) == set()


@pytest.mark.parametrize("arguments", [("check", "/nowhere.yaml"), ("nonsense",)])
def test_a_reader_of_complaints_that_goes_away_is_no_finding(arguments: tuple[str, ...]) -> None:
    with subprocess.Popen([*PYTHON, *arguments], stderr=subprocess.PIPE) as writer:
        assert writer.stderr is not None
        writer.stderr.close()
    assert writer.returncode == 141


@pytest.mark.parametrize(
    ("streams", "code"), [(">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0), ("2>/dev/full", 0), (">/dev/full", 3)]
)
def test_closed_and_full_streams_are_no_bug(streams: str, code: int) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$@" {streams}', "sh", *PYTHON, "services", "ssh"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)


def test_a_complaint_that_cannot_be_written_is_no_finding() -> None:
    line = ["sh", "-c", '"$@" 2>/dev/full', "sh", *PYTHON, "check", "/nowhere.yaml"]
    assert subprocess.run(line, check=False).returncode == 3


def test_a_file_that_is_written_is_never_taken_for_a_closed_stream(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("portgate: 1\n")
    line = ["sh", "-c", '"$@" >&- 2>&-', "sh", *PYTHON, "compile", "p.yaml", "--to", "nftables", "-o", "rules"]
    assert subprocess.run(line, cwd=tmp_path, check=False).returncode == 0
    compiled = process("compile", str(tmp_path / "p.yaml"), "--to", "nftables").stdout
    assert (tmp_path / "rules").read_text() == compiled


def test_without_arguments_the_help_is_shown_and_nothing_was_asked(portgate: Portgate) -> None:
    done = portgate()
    assert (done.code, done.out) == (2, "")
    assert done.err == portgate("--help").out


def test_a_complaint_about_the_command_line_is_one_line(portgate: Portgate) -> None:
    done = portgate("compile", "policy.yaml")
    assert done.err.splitlines()[-1].startswith("Error: Missing option '--to'. Choose from: ")
    assert "\\n" not in done.err
