"""Processes that torchrun, or whatever sets the same environment variables, started together."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping

# While rank 0 reads, checks or encodes a lot, the others wait. A rank that dies is noticed at once all the same.
LONGEST_WAIT = datetime.timedelta(hours=12)


def is_rank(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is one of several."""
    return "RANK" in environment and "WORLD_SIZE" in environment
