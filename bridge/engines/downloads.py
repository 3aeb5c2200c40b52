"""A result over HTTP into a file: whole or not at all."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import aiohttp

from ..redact import redact
from ..results.whole import why_not_whole
from .errors import FileUnavailableError, UnreachableError

#: Seconds for one request; rendering is not waited for inside a request.
TIMEOUT = aiohttp.ClientTimeout(total=600, connect=10, sock_read=60)
#: HTTP statuses after which the same address may answer.
_LATER = (408, 425, 429)


async def fetch(url: str, name: str, target: Path) -> None:
    """Fetch the file `name` from its address into `target`.

    Raises UnreachableError where another look for its address may bring it, FileUnavailableError where none would.
    """
    try:
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT, trust_env=True) as session,
            session.get(url) as response,
        ):
            if response.status != 200:  # its life may be over: the engine gives another one when it is asked again
                raise UnreachableError(f"{name} cannot be fetched from where it lay: HTTP {response.status}")
            try:
                await save(response, name, target)
            except FileUnavailableError as error:  # a proxy's page, perhaps: what was paid for is not given up
                raise UnreachableError(error.wording) from error
    except (aiohttp.ClientError, asyncio.TimeoutError, ConnectionError) as error:
        if isinstance(error, UnreachableError):
            raise
        # an address may carry a signature: it is not repeated
        raise UnreachableError(f"{name} cannot be fetched: {type(error).__name__}") from error
    except ValueError as error:
        raise FileUnavailableError(f"{name} has no address that can be fetched: {redact(str(error))}") from error


async def save(response: aiohttp.ClientResponse, name: str, target: Path) -> None:
    """Write an answer's content into `target`, through a `.part` file. Raises as `fetch`; and OSError of the disk."""
    if response.status >= 500 or response.status in _LATER:
        raise UnreachableError(f"{name} cannot be fetched now: HTTP {response.status}")
    if response.status != 200:
        raise FileUnavailableError(f"there is no file {name} (HTTP {response.status})")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    with part.open("wb") as out:
        async for block in response.content.iter_chunked(1 << 20):
            await asyncio.to_thread(out.write, block)
        out.flush()
        await asyncio.to_thread(os.fsync, out.fileno())
    size, length = part.stat().st_size, response.content_length
    if length is not None and "Content-Encoding" not in response.headers and size != length:
        raise UnreachableError(f"{name} broke off after {size} of {length} bytes")
    whole = target.with_suffix(f".part{target.suffix}")  # the suffix tells the format
    part.replace(whole)
    reason = await asyncio.to_thread(why_not_whole, whole)
    if reason:
        whole.unlink(missing_ok=True)
        raise FileUnavailableError(f"{name} is no whole result: {reason}")
    whole.replace(target)
