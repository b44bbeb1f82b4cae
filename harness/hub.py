"""The Hugging Face hub, seen from a machine that may not reach it: one quick probe, then the local cache or a clear
line."""

from __future__ import annotations

import functools
import http.client
import os
import urllib.error
import urllib.request

from harness.errors import said

PROBE_SECONDS = 3.0


@functools.cache
def reachable() -> bool:
    """Whether the hub answers; asked once per process, honouring ``HF_HUB_OFFLINE`` and ``HF_ENDPOINT``."""
    if _switched_off():
        return False
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if not endpoint.startswith(("https://", "http://")):
        return False
    try:
        request = urllib.request.Request(endpoint, method="HEAD")  # noqa: S310 - the scheme was checked
        urllib.request.urlopen(request, timeout=PROBE_SECONDS).close()  # noqa: S310
    except urllib.error.HTTPError:
        return True  # it answered
    except (OSError, http.client.HTTPException):
        return False
    return True


def _switched_off() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}


def unreachable_reason() -> str:
    """Why nothing is fetched, for messages."""
    if _switched_off():
        return "HF_HUB_OFFLINE is set"
    return f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co')} cannot be reached"


def first_line(error: BaseException, limit: int = 300) -> str:
    """A third party's message on one line."""
    text = " ".join(said(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."
