"""How a driver comes to its Ray cluster: Ray imported, an address that is one, and what Ray prints of its own hidden.

Nothing here imports Ray before it is asked for, as Ray reads some of its variables when it is imported.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from dimvida import interruption
from dimvida.errors import InputError

_CONNECT = 10.0  # seconds in which a cluster must answer
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # RFC 9113, 3.4; no settings
_SETTINGS = 4  # type of the frame that whoever speaks HTTP/2 answers with

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


@contextmanager
def ray_connection(address: str) -> Iterator[bool]:
    """This process is a driver of a cluster, while entered; gives whether nodes may join that, which was there before.

    Args:
        address: As ``ray.init`` takes it. Empty: that of ``RAY_ADDRESS``, as under ``ray job submit``, or a cluster of
            this machine; where there is none, Ray starts one here.

    Raises:
        InputError: There is no such cluster, or no Ray.
    """
    ray = import_ray()
    place = address or os.environ.get("RAY_ADDRESS", "")
    _require_there(place)
    before = {number: signal.getsignal(number) for number in interruption.SIGNALS}
    try:
        ray.init(address or None, log_to_driver=False, logging_level="CRITICAL", include_dashboard=False)
    except Exception as error:  # of many kinds, bare ones among them
        reason = str(error).strip().partition("\n")[0]
        token = "" if "RAY_AUTH_MODE" in os.environ else "; one with a token needs RAY_AUTH_MODE=token"
        raise InputError(f"--ray {place}: no cluster can be reached or started ({reason}{token})") from error
    finally:
        for number, handler in before.items():  # Ray sets its own for SIGTERM
            signal.signal(number, handler)
    try:
        yield not ray._private.worker._global_node.is_head()
    finally:
        ray.shutdown()


def _require_there(address: str) -> None:
    """Raise InputError for an address where no cluster is; Ray would try for minutes, and print lines about it."""
    if address in ("", "auto", "local"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise InputError(f"--ray {address}: give HOST:PORT of the cluster's head, 'auto' or 'local'")
    if not 0 < int(port) < 1 << 16:
        raise InputError(f"--ray {address}: {port} is no port, which are 1 to 65535")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _CONNECT) as connection:
            ours = os.environ.get("RAY_USE_TLS", "0") != "0" or _speaks_http2(connection)
    except (OSError, UnicodeError) as error:
        raise InputError(f"--ray {address}: no cluster can be reached ({error})") from None
    if not ours:
        raise InputError(f"--ray {address}: no head of a Ray cluster answers there (its port is mostly 6379)")


def _speaks_http2(connection: socket.socket) -> bool:
    """Whether the other end does, as gRPC needs it: all else that listens at ports says something else, or nothing."""
    connection.settimeout(_CONNECT)
    answer = b""
    try:
        connection.sendall(_GREETING)
        while len(answer) < 9 and (more := connection.recv(9 - len(answer))):
            answer += more
    except OSError:
        return False
    return len(answer) == 9 and answer[3] == _SETTINGS and answer[5:] == bytes(4)
