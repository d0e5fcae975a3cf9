"""How a driver comes to its Ray cluster: Ray imported, an address that is one, and what Ray prints of its own hidden.

Nothing here imports Ray before it is asked for, as Ray reads some of its variables when it is imported.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType

from dimvida import interruption
from dimvida.data.names import counted
from dimvida.errors import InputError
from dimvida.generation.cluster_address import host_and_port, why_none

_NO_ADDRESSES = ("", "auto", "local")  # but words for what there is on this machine

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # of a cluster that is started here: it tells nobody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # and prints no advice about that
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # no "(raylet)" lines about workers that die, of which the driver tells
}
"""Variables of Ray for a driver, where they are not set."""


def import_ray() -> ModuleType:
    """Ray, told to be quiet.

    Raises:
        InputError: It is not installed, or what is installed cannot be imported.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.exceptions
    except Exception as error:  # an install that is broken raises anything
        if isinstance(error, ModuleNotFoundError) and error.name == "ray":
            raise InputError("--ray: needs Ray; pip install 'dimvida[ray]'") from None
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(f"--ray: Ray cannot be imported ({reason}); pip install 'dimvida[ray]'") from error
    return ray


def check_address(address: str) -> None:
    """Raise InputError for what cannot be the address of a cluster, whatever is there."""
    origin, place = _place(address)
    if place not in _NO_ADDRESSES:
        try:
            host_and_port(place)
        except ValueError as error:
            raise InputError(f"{origin}: {error}") from None


def find_cluster(address: str, tell: Callable[[str], object]) -> str:
    """What ``ray_connection`` is to take: a cluster that answers, or 'local', where Ray is to start one.

    Args:
        address: What was given. Empty: the cluster of ``RAY_ADDRESS``, as under ``ray job submit``, else the one
            that was started last on this machine, if it is there.
        tell: Hears that it is not there any more.

    Raises:
        InputError: Nothing answers at an address, or wants another token; no cluster runs on this machine for 'auto';
            no Ray is installed.
    """
    ray = import_ray()
    origin, place = _place(address)
    if place not in _NO_ADDRESSES:
        if (reason := why_none(place, _authorization(ray))) is not None:
            raise InputError(f"{origin}: {reason}")
        return place
    # Ray would try one that is gone for a minute, and print lines about it.
    recorded = ray._private.utils.read_ray_address() if place != "local" else None
    if recorded and why_none(recorded, _authorization(ray)) is None:
        return place
    if place == "auto":
        if not ray._private.services.find_gcs_addresses():
            raise InputError(f"{origin}: no cluster runs on this machine; without an address, Ray starts one")
        return place
    if recorded:
        tell(f"--ray: the cluster {recorded} that was started on this machine is gone; Ray starts one for this run")
    return "local"


def check_cores(found: str, cpus: int | None) -> None:
    """Raise InputError where Ray is to start a cluster, and no worker of so many cores would have room in it.

    Args:
        found: By ``find_cluster``.
        cpus: Cores of a worker; None for a GPU each, of which Ray tells when the cluster is there.
    """
    cores = import_ray()._private.utils.get_num_cpus(override_docker_cpu_warning=True)  # as it counts them itself
    if found == "local" and cpus is not None and cpus > cores:
        raise InputError(f"--cpus-per-worker {cpus}: what Ray starts here has {counted(int(cores), 'core')}")


@contextmanager
def ray_connection(found: str) -> Iterator[bool]:
    """This process is a driver of a cluster, while entered; gives whether nodes may join that, which was there before.

    Args:
        found: By ``find_cluster``.

    Raises:
        InputError: The cluster lets nobody in, or none can be started.
    """
    ray = import_ray()
    try:
        # A signal raised inside of Ray while it starts or ends leaves threads of its, over which the process crashes.
        with interruption.held():
            _start(ray, found)
        yield not ray._private.worker._global_node.is_head()
    finally:
        with interruption.held():
            ray.shutdown()


def _start(ray: ModuleType, found: str) -> None:
    utils = ray._private.utils
    sets_handler = utils.set_sigterm_handler
    try:
        with _left_alone():
            utils.set_sigterm_handler = lambda handler: None  # for one that leaves Ray in the middle of its start
            ray.init(found or None, log_to_driver=False, logging_level="CRITICAL", include_dashboard=False)
    except Exception as error:  # of many kinds, bare ones among them
        reason = str(error).strip().partition("\n")[0]
        token = "" if "RAY_AUTH_MODE" in os.environ else "; one with a token needs RAY_AUTH_MODE=token"
        raise InputError(
            f"{f'--ray {found}'.rstrip()}: no cluster can be reached or started ({reason}{token})"
        ) from error
    finally:
        utils.set_sigterm_handler = sets_handler


@contextmanager
def _left_alone() -> Iterator[None]:
    """What Ray does to this process while it starts is undone: its handlers of signals, and its group of processes.

    One that starts a cluster leaves the group that a terminal's ctrl-C goes to, as in a script.
    """
    numbers, group = (*interruption.SIGNALS, signal.SIGALRM), os.getpgrp()
    before = {number: signal.getsignal(number) for number in numbers}
    # Where SIGTERM comes while Ray starts, its own handler sets an alarm that kills the process three seconds later.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # forgets one that came
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if os.getpgrp() != group:
            with suppress(OSError):  # nobody is left in it
                os.setpgid(0, group)


def _authorization(ray: ModuleType) -> str:
    """The header that has this process's token, empty without one; asked of Ray, which knows where it may be.

    Raises:
        InputError: There is to be a token, and none is found.
    """
    loader = getattr(ray._raylet, "AuthenticationTokenLoader", None)  # which Ray has from 2.52 on
    try:
        return "" if loader is None else loader.instance().get_token_for_http_header().get("authorization", "")
    except ray.exceptions.AuthenticationError as error:
        raise InputError(f"--ray: {str(error).partition('. ')[0]}") from None


def _place(address: str) -> tuple[str, str]:
    """Where an address comes from, as errors say it, and the address."""
    variable = os.environ.get("RAY_ADDRESS", "")
    if address or not variable:
        return f"--ray {address}".rstrip(), address
    return f"RAY_ADDRESS={variable}", variable
