"""How a driver comes to its Ray cluster: Ray imported, an address that is one, and what Ray prints of its own hidden.

Nothing here imports Ray before it is asked for, as Ray reads some of its variables when it is imported. Whether there
may be a cluster at an address is seen here first: Ray would try for a minute, and print lines about it, where nobody
is; at whoever else speaks gRPC for a third of that.
"""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType

from dimvida import interruption
from dimvida.data.names import counted
from dimvida.errors import InputError

_NO_ADDRESSES = ("", "auto", "local")  # but words for what there is on this machine

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # of a cluster that is started here: it tells nobody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # and prints no advice about that
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # no "(raylet)" lines about workers that die, of which the driver tells
}
"""Variables of Ray for a driver, where they are not set."""

_CONNECT = 10.0  # seconds in which a cluster must answer
_FRAMES = 16  # of an answer that are looked through

_DATA, _HEADERS, _SETTINGS = 0, 1, 4  # kinds of frames
_LAST, _WHOLE = 1, 4  # flags: of the stream's last frame, of headers that do not go on
_PATH = b"/ray.rpc.NodeInfoGcsService/CheckAlive"
_FIELDS = b"\x83\x86\x04%c%b\x01\x03ray\x0f\x10\x10application/grpc\x00\x02te\x08trailers" % (len(_PATH), _PATH)
"""POST by http, then fields by their numbers or their names (RFC 7541, appendix A)."""

_UNKNOWN = (b"\x0bgrpc-status\x0212", bytes.fromhex("889acac8b21234da8f8208bf"))
"""The field of an answer that says that whoever speaks gRPC knows no such call, plain and in Huffman's code."""

_NOT_LET_IN = (b"\x0bgrpc-status\x0216", bytes.fromhex("889acac8b21234da8f820b9f"))
"""That of a cluster that wants a token, or another one."""

_NO_TOKEN = "wants a token; set RAY_AUTH_MODE=token, with its token in ~/.ray/auth_token"
_OTHER_TOKEN = "wants another token than ~/.ray/auth_token or RAY_AUTH_TOKEN has here"


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
        found: The cluster's address or "local", as ``find_cluster`` returns it.
        cpus: Cores of a worker; None for a GPU each, of which Ray tells when the cluster is there.
    """
    cores = import_ray()._private.utils.get_num_cpus(override_docker_cpu_warning=True)  # as it counts them itself
    if found == "local" and cpus is not None and cpus > cores:
        raise InputError(f"--cpus-per-worker {cpus}: what Ray starts here has {counted(int(cores), 'core')}")


@contextmanager
def ray_connection(found: str) -> Iterator[bool]:
    """This process is a driver of a cluster, while entered; gives whether nodes may join that, which was there before.

    Args:
        found: The cluster's address or "local", as ``find_cluster`` returns it.

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


def host_and_port(address: str) -> tuple[str, int]:
    """The two of an address.

    Raises:
        ValueError: It is none; says what one looks like.
    """
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s\[\]:/@?#]+):([0-9]{1,9})", address)
    if match is None:
        raise ValueError("give HOST:PORT of the cluster's head, as 10.0.0.1:6379, or 'auto' or 'local'")
    if not 0 < int(match[2]) < 1 << 16:
        raise ValueError(f"{match[2]} is no port, which are 1 to 65535")
    return match[1].strip("[]"), int(match[2])


class _NotLetIn(Exception):
    """What is there is a cluster, and takes no call without its token."""


def why_none(address: str, authorization: str = "") -> str | None:
    """Why no cluster can be there, as far as that is soon seen; None where one may be.

    Args:
        address: Where its head may listen, as HOST:PORT.
        authorization: The header of HTTP that has our token; empty without one.

    Raises:
        InputError: A cluster is there, and lets nobody in without its token, which Ray would try for some 20 seconds.
    """
    try:
        with socket.create_connection(host_and_port(address), _CONNECT) as connection:
            ours = os.environ.get("RAY_USE_TLS", "0") != "0" or _may_be_ray(connection, authorization)
    except _NotLetIn:
        wanted = _OTHER_TOKEN if authorization else _NO_TOKEN
        raise InputError(f"--ray: the cluster {address} {wanted}") from None
    except (OSError, UnicodeError) as error:
        return f"no cluster can be reached ({error})"
    except ValueError as error:
        return str(error)
    return None if ours else "no head of a Ray cluster answers there (its port is mostly 6379)"


def _may_be_ray(connection: socket.socket, authorization: str) -> bool:
    """Whether the other end speaks HTTP/2, as gRPC needs it, and does not say that it knows no call of Ray."""
    connection.settimeout(_CONNECT)
    kind = None
    try:
        connection.sendall(_question(authorization))
        with connection.makefile("rb") as answer:
            for _ in range(_FRAMES):
                head = answer.read(9)
                if len(head) < 9 or (kind is None and (head[3] != _SETTINGS or head[5:] != bytes(4))):
                    return kind is not None
                kind, payload = head[3], answer.read(int.from_bytes(head[:3], "big"))
                if kind == _HEADERS:
                    if any(text in payload for text in _NOT_LET_IN):
                        raise _NotLetIn
                    return not any(text in payload for text in _UNKNOWN)
    except OSError:  # whoever is slow may be one
        return kind is not None
    return True


def _question(authorization: str) -> bytes:
    """A call of gRPC that the heads of clusters know; whether they answer it does not matter."""
    fields, value = _FIELDS, authorization.encode()
    if 0 < len(value) < 127:  # whose length is one byte
        fields += b"\x1f\x08%c%b" % (len(value), value)
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + _frame(_SETTINGS, 0, 0, b"")
        + _frame(_HEADERS, _WHOLE, 1, fields)
        + _frame(_DATA, _LAST, 1, bytes(5))  # a message without fields
    )


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2 (RFC 9113, 4.1) as its bytes."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
