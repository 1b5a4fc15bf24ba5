"""Policies for tests, from their text."""

from __future__ import annotations

from datetime import date

from portgate import language
from portgate.core.policy import Policy

TODAY = date(2027, 1, 1)


def policy(text: str) -> Policy:
    """A policy without errors; `portgate: 1` goes without saying."""
    loaded = language.load("policy.yaml", lambda path: f"portgate: 1\n{text}".encode(), TODAY)
    assert loaded.policy is not None, loaded.diagnostics
    return loaded.policy
