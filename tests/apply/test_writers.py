"""Who changed our rules, from the log of the kernel's audit records."""

from __future__ import annotations

from pathlib import Path

import pytest

from portgate.apply import boot, writers

LOG = b"""\
type=NETFILTER_CFG msg=audit(1795243100.001:160): table=portgate:11 family=1 entries=9 op=nft_register_rule pid=41 subj=unconfined comm="portgate"
type=SYSCALL msg=audit(1795243200.001:161): arch=c000003e syscall=46 pid=42 comm="nft" exe="/usr/sbin/nft"
type=NETFILTER_CFG msg=audit(1795243200.001:161): table=other:12 family=1 entries=2 op=nft_register_rule pid=42 subj=unconfined comm="nft"
type=NETFILTER_CFG msg=audit(1795243201.001:162): table=portgate:13;input:4 family=1 entries=2 op=nft_register_rule pid=43 subj=a b comm="nft"
type=NETFILTER_CFG msg=audit(1795243202.001:163) : table=portgate:14 family=1 entries=2 op=nft_unregister_rule pid=43 subj=unconfined comm="nft"
type=NETFILTER_CFG msg=audit(1795243203.001:164): table=portgate:15 family=1 entries=2 op=nft_unregister_rule pid=44 subj=unconfined comm=6120621B
type=NETFILTER_CFG msg=audit(179524320
"""


def test_each_program_is_told_once_with_its_last_change() -> None:
    assert writers.found_in(LOG, 1795243150) == (
        "nft (process 43), 2026-11-21T06:40:02+00:00",
        "a b\x1b (process 44), 2026-11-21T06:40:03+00:00",
    )


def test_only_what_came_after_the_apply_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "audit.log").write_bytes(b"\xff" * 100 + b"\n" + LOG)
    monkeypatch.setattr(writers, "LOG", tmp_path / "audit.log")
    monkeypatch.setattr(boot, "in_machine", lambda: True)
    assert writers.since("2026-11-21T06:40:02+00:00") == ("a b\x1b (process 44), 2026-11-21T06:40:03+00:00",)
    monkeypatch.setattr(boot, "in_machine", lambda: False)
    assert writers.since("2026-11-21T06:40:02+00:00") == (), "the log does not say which namespace it means"


def test_without_a_log_nobody_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "LOG", tmp_path / "nothing")
    monkeypatch.setattr(boot, "in_machine", lambda: True)
    assert writers.since("2026-11-21T06:40:02+00:00") == ()
