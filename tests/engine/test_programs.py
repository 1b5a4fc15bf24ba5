"""Programs of the host: what they answer, and why they do not."""

from __future__ import annotations

import sys

import pytest

from portgate import programs


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-c", code)


def test_what_a_program_prints_is_its_answer() -> None:
    assert programs.run(python("print(input()[::-1])"), "abc\n") == "cba\n"


def test_bytes_that_are_no_text_are_shown() -> None:
    assert programs.run(python("import sys; sys.stdout.buffer.write(b'a\\xff')")) == "a\\xff"


@pytest.mark.parametrize(
    ("code", "why"),
    [("import sys; sys.exit('\\n first\\nsecond')", "first"), ("import sys; sys.exit(7)", "exit status 7")],
)
def test_a_program_that_fails_says_why(code: str, why: str) -> None:
    with pytest.raises(programs.ProgramError) as error:
        programs.run(python(code))
    assert str(error.value) == why


def test_a_program_that_is_not_there_is_told() -> None:
    with pytest.raises(programs.ProgramError, match="No such file or directory"):
        programs.ask(("/no/such/program",))


def test_a_program_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "PATIENCE", 1)
    with pytest.raises(programs.ProgramError, match="no answer in 1 seconds"):
        programs.ask(python("import time; time.sleep(60)"))


def test_programs_are_found_whatever_the_path_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    found = programs.find("sh")
    assert found is not None
    assert found.endswith("/sh")
    assert programs.find("no-such-program") is None
