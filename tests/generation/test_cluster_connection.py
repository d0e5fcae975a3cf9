"""How a driver comes to a cluster: what is found from what is given; one that lets nobody in; a broken install."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from dimvida.errors import InputError
from dimvida.generation import cluster_connection
from dimvida.generation.cluster_connection import check_address, check_cores, find_cluster, import_ray, ray_connection


def test_a_broken_install(monkeypatch, tmp_path):
    """Of a package whose import fails, in whatever way."""
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("ray", "ray.exceptions"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "ray.py").write_text("raise ImportError('libray.so: cannot open\\nmore')")
    with pytest.raises(InputError, match=r"--ray: Ray cannot be imported \(libray.so: cannot open\); pip install"):
        import_ray()


@pytest.fixture
def machine(monkeypatch, tmp_path) -> SimpleNamespace:
    """A machine where Ray would look: the address that is recorded there, and the heads that run."""
    pytest.importorskip("ray")
    from ray._private import services

    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    machine = SimpleNamespace(record=tmp_path / "ray" / "ray_current_cluster", heads=set(), answering=set())
    machine.record.parent.mkdir()
    monkeypatch.setattr(services, "find_gcs_addresses", lambda: machine.heads)
    monkeypatch.setattr(
        cluster_connection,
        "why_none",
        lambda address, authorization: None if address in machine.answering else "silence",
    )
    return machine


@pytest.mark.parametrize(
    ("given", "variable", "recorded", "found"),
    [
        ("", "", None, "local"),
        ("", "", "", "local"),
        ("", "", "old:1", "local"),
        ("", "", "head:1", ""),
        ("", "head:1", "old:1", "head:1"),
        ("", "local", "head:1", "local"),
        ("", "auto", "head:1", "auto"),
        ("auto", "", "head:1", "auto"),
        ("local", "old:1", "head:1", "local"),
        ("head:1", "old:1", "old:1", "head:1"),
    ],
)
def test_what_is_found(machine, monkeypatch, given: str, variable: str, recorded: str | None, found: str):
    """Also where the cluster that was started last on this machine is gone, of which a line tells."""
    monkeypatch.setenv("RAY_ADDRESS", variable)
    machine.answering.add("head:1")
    if recorded is not None:
        machine.record.write_text(recorded)
    told: list[str] = []
    assert find_cluster(given, told.append) == found
    gone = ["--ray: the cluster old:1 that was started on this machine is gone; Ray starts one for this run"]
    assert told == (gone if recorded == "old:1" and not (given or variable) else [])


def test_what_is_not_found(machine, monkeypatch):
    with pytest.raises(InputError, match=r"^--ray old:1: silence$"):
        find_cluster("old:1", print)
    with pytest.raises(InputError, match=r"^--ray auto: no cluster runs on this machine; without an address"):
        find_cluster("auto", print)
    machine.heads.add("other:1")  # which Ray finds itself
    assert find_cluster("auto", print) == "auto"
    monkeypatch.setenv("RAY_ADDRESS", "old:1")
    with pytest.raises(InputError, match=r"^RAY_ADDRESS=old:1: silence$"):
        find_cluster("", print)


def test_a_token_is_asked_of_ray(machine, monkeypatch):
    """Which looks for it, and knows whether there is to be one; a Ray before 2.52 knows none."""
    from ray import _raylet
    from ray.exceptions import AuthenticationError

    def loader(header: Any) -> SimpleNamespace:
        return SimpleNamespace(instance=lambda: SimpleNamespace(get_token_for_http_header=header))

    def missing() -> dict[str, str]:
        raise AuthenticationError("No token in /none. Ensure that ...")

    monkeypatch.setattr(cluster_connection, "why_none", lambda address, authorization: f"sent {authorization!r}")
    for there, line in (
        (loader(lambda: {"authorization": "Bearer 0123"}), r"--ray head:1: sent 'Bearer 0123'"),
        (loader(dict), r"--ray head:1: sent ''"),
        (None, r"--ray head:1: sent ''"),
        (loader(missing), r"--ray: No token in /none"),
    ):
        monkeypatch.setattr(_raylet, "AuthenticationTokenLoader", there)
        with pytest.raises(InputError, match=f"^{line}$"):
            find_cluster("head:1", print)


def test_a_worker_has_room_in_a_cluster_that_is_to_start(machine, monkeypatch):
    from ray._private import utils

    monkeypatch.setattr(utils, "get_num_cpus", lambda **_: 4)
    for found, cpus in (("local", 4), ("local", None), ("auto", 5), ("head:1", 5)):
        check_cores(found, cpus)
    with pytest.raises(InputError, match=r"^--cpus-per-worker 5: what Ray starts here has 4 cores$"):
        check_cores("local", 5)


def test_what_is_no_address_is_refused_by_its_name(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "head")
    with pytest.raises(InputError, match=r"^RAY_ADDRESS=head: give HOST:PORT"):
        check_address("")
    with pytest.raises(InputError, match=r"^--ray a:b:c: give HOST:PORT"):
        check_address("a:b:c")
    for address in ("auto", "local", "head:1"):
        check_address(address)


def ray_of(init: Any, shutdown: Any = lambda: None) -> SimpleNamespace:
    """Ray, as far as it is started and ended."""
    worker = SimpleNamespace(_global_node=SimpleNamespace(is_head=lambda: True))
    utils = SimpleNamespace(set_sigterm_handler=lambda handler: signal.signal(signal.SIGTERM, handler))
    return SimpleNamespace(init=init, shutdown=shutdown, _private=SimpleNamespace(worker=worker, utils=utils))


def test_a_cluster_that_lets_nobody_in_is_named_and_signals_stay_as_they_were(monkeypatch):
    def init(address: str, **options: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise ConnectionError("Failed to connect to Ray cluster\nmore")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(cluster_connection, "import_ray", lambda: ray_of(init))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    said = r"--ray head:6379: no cluster can be reached or started \(Failed to connect to Ray cluster"
    with pytest.raises(InputError, match=said + r"; one with a token needs RAY_AUTH_MODE=token\)$"):
        ray_connection("head:6379").__enter__()
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with pytest.raises(InputError, match=said + r"\)$"):
        ray_connection("head:6379").__enter__()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_process_stays_in_its_group(monkeypatch):
    """Ray makes the driver leader of a group, which a terminal's ctrl-C misses."""
    groups = [7]
    monkeypatch.setattr(os, "getpgrp", lambda: groups[-1])
    monkeypatch.setattr(os, "setpgid", lambda process, group: groups.append(group))
    monkeypatch.setattr(cluster_connection, "import_ray", lambda: ray_of(lambda address, **options: groups.append(8)))
    with ray_connection("local"):
        assert groups == [7, 8, 7]


@pytest.mark.parametrize("when", ["init", "shutdown"])
def test_a_signal_waits_until_ray_has_started_or_ended(monkeypatch, when: str):
    """Raised inside of Ray it would leave threads, over which the process crashes at its end."""
    done = []

    def init(address: str, **options: object) -> None:
        if when == "init":
            os.kill(os.getpid(), signal.SIGINT)
        done.append("init")

    def shutdown() -> None:
        if when == "shutdown":
            os.kill(os.getpid(), signal.SIGINT)
        done.append("shutdown")

    monkeypatch.setattr(cluster_connection, "import_ray", lambda: ray_of(init, shutdown))
    with pytest.raises(KeyboardInterrupt), ray_connection("local"):
        done.append("connected")
    assert done == ["init", *["connected"] * (when == "shutdown"), "shutdown"]


def test_an_alarm_of_ray_s_is_taken_back_and_its_handler_of_sigterm_never_there(monkeypatch):
    """Both would end the process in the middle of Ray's start, where SIGTERM comes then."""
    before = signal.getsignal(signal.SIGALRM)

    def init(address: str, **options: object) -> None:
        signal.signal(signal.SIGALRM, lambda *told: pytest.fail("it rang"))
        signal.pthread_kill(threading.get_ident(), signal.SIGALRM)  # other threads would take the process's
        signal.alarm(100)
        handler = signal.getsignal(signal.SIGTERM)
        ray._private.utils.set_sigterm_handler(lambda *told: pytest.fail("it left"))
        assert signal.getsignal(signal.SIGTERM) is handler

    ray = ray_of(init)
    sets = ray._private.utils.set_sigterm_handler
    monkeypatch.setattr(cluster_connection, "import_ray", lambda: ray)
    with ray_connection("local"):
        assert signal.alarm(0) == 0 and signal.getsignal(signal.SIGALRM) is before
        assert signal.SIGALRM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        assert ray._private.utils.set_sigterm_handler is sets
