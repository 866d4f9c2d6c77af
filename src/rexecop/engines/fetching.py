"""Asking an identity provider: one request, bounded in time and size, no redirect followed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping

from rexecop.engines.errors import NotFetched


async def fetch(
    url: str,
    tls: ssl.SSLContext | None,
    *,
    seconds: float,
    bytes_max: int,
    form: Mapping[str, str] | None = None,
    authorization: str | None = None,
) -> bytes:
    """Return what is at `url`, or what it answers to `form`, over `tls` where it is given.

    Raises:
        NotFetched: it is not there, longer than `bytes_max`, or did not come within `seconds`. Its fact
            `status` is that of an answer which is another than 200.
    """
    import aiohttp  # Who lets nobody in by a provider need not wait for it.

    try:
        async with asyncio.timeout(seconds), aiohttp.ClientSession() as client:
            headers = {"accept": "application/json"}
            headers |= {} if authorization is None else {"authorization": authorization}
            async with client.request(
                "GET" if form is None else "POST",
                url,
                data=form,
                ssl=True if tls is None else tls,
                headers=headers,
                allow_redirects=False,
            ) as answer:
                if answer.status != 200:
                    words = f"`{url}` answered with status {answer.status}"
                    raise NotFetched(words, url=url, status=answer.status)
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
