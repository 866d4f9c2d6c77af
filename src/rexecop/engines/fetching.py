"""Fetching what an identity provider publishes: one GET, bounded in time and size, no redirect followed."""

from __future__ import annotations

import asyncio
import ssl

from rexecop.engines.errors import NotFetched


async def fetch(url: str, tls: ssl.SSLContext | None, *, seconds: float, bytes_max: int) -> bytes:
    """Return what is at `url`, over `tls` where it is given.

    Raises:
        NotFetched: it is not there, longer than `bytes_max`, or did not come within `seconds`.
    """
    import aiohttp  # Who lets nobody in by a provider need not wait for it.

    try:
        async with asyncio.timeout(seconds), aiohttp.ClientSession() as client:
            headers = {"accept": "application/json"}
            async with client.get(
                url, ssl=True if tls is None else tls, headers=headers, allow_redirects=False
            ) as answer:
                if answer.status != 200:
                    raise NotFetched(f"`{url}` answered with status {answer.status}", url=url)
                parts, size = [], 0
                async for part in answer.content.iter_chunked(1 << 16):
                    size += len(part)
                    if size > bytes_max:
                        raise NotFetched(f"`{url}` holds more than {bytes_max} bytes", url=url)
                    parts.append(part)
                return b"".join(parts)
    except TimeoutError as error:
        raise NotFetched(f"`{url}` did not answer within {seconds:g} s", url=url) from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NotFetched(f"`{url}` is not reached: {type(error).__name__}", url=url) from error
