"""What the paths of control groups say, as the engines make them."""

from __future__ import annotations

import pytest

from portgate.core.cgroup import path_of, place

ID = "0123456789abcdef" * 4
POD = "pod7a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9"


@pytest.mark.parametrize(
    ("path", "unit", "container"),
    [
        ("/", None, None),
        ("/system.slice/nginx.service", "nginx.service", None),
        ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service", None),
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope", None),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/web.service", "web.service", None),
        ("/init.scope", "init.scope", None),
        (f"/docker/{ID}", None, "docker:0123456789ab"),
        (f"/system.slice/docker-{ID}.scope", f"docker-{ID}.scope", "docker:0123456789ab"),
        (f"/machine.slice/libpod-{ID}.scope", f"libpod-{ID}.scope", "podman:0123456789ab"),
        (f"/machine.slice/libpod-{ID}.scope/container", f"libpod-{ID}.scope", "podman:0123456789ab"),
        (f"/libpod_parent/libpod-{ID}", None, "podman:0123456789ab"),
        (f"/machine.slice/libpod-conmon-{ID}.scope", f"libpod-conmon-{ID}.scope", None),
        (f"/kubepods/burstable/{POD}/{ID}", None, "kubernetes:0123456789ab"),
        (
            f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-{POD}.slice/cri-containerd-{ID}.scope",
            f"cri-containerd-{ID}.scope",
            "containerd:0123456789ab",
        ),
        (f"/kubepods.slice/kubepods-{POD}.slice/crio-{ID}.scope", f"crio-{ID}.scope", "cri-o:0123456789ab"),
        (f"/system.slice/nerdctl-{ID}.scope", f"nerdctl-{ID}.scope", "containerd:0123456789ab"),
        ("/lxc/web", None, "lxc:web"),
        ("/lxc.payload.web/system.slice/nginx.service", "nginx.service", "lxc:web"),
        ("/lxc.monitor.web", None, None),
        ("/machine.slice/machine-group.slice/web.service", "web.service", None),
        ("/machine.slice/machine-web.scope", "machine-web.scope", "machine:web"),
        (
            "/machine.slice/systemd-nspawn@web.service/payload/system.slice/nginx.service",
            "nginx.service",
            "machine:web",
        ),
        (f"/docker/{ID}/docker/{'f' * 64}", None, "docker:ffffffffffff"),
    ],
)
def test_a_path_names_the_unit_and_the_container(path: str, unit: str | None, container: str | None) -> None:
    assert place(path) == (unit, container)


def test_of_several_hierarchies_the_one_that_says_most_is_taken() -> None:
    assert path_of("0::/system.slice/nginx.service\n") == "/system.slice/nginx.service"
    assert path_of("9:name=systemd:/user.slice\n4:memory:/docker/1\n0::/\n") == "/user.slice"
    assert path_of(f"4:memory:/docker/{ID}\n1:name=systemd:/\n0::/\n") == f"/docker/{ID}"
    assert path_of("9:name=systemd:/\n0::/\n") == "/"
    assert path_of("") == "/"


def test_a_path_with_colons_stays_whole() -> None:
    assert path_of("0::/machine.slice/a:b.scope\n") == "/machine.slice/a:b.scope"
