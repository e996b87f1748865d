"""The broker inside the process of ``postage run``, for URLs that begin with ``embedded://``.

A single process has it inside, as every program with such a URL has.  Of several processes the
parent has it: the workers are its clients, so they share their queues, and all is still there after
``--reload`` has started them again.
"""

from __future__ import annotations

from urllib.parse import quote, urlencode

from postage.settings import Settings, live


def url_of_broker(settings: Settings) -> str:
    """Return the URL by which others reach the broker inside this process that *settings* name.

    Starts the broker, if nothing has yet; it ends with the process.  Returns an empty text if the
    settings name another broker.
    """
    if settings.embedded is None:
        return ""
    from postage.broker import embedded  # noqa: PLC0415 - most processes have none

    vhost = "" if settings.vhost == "/" else f"/{quote(settings.vhost, safe='')}"
    return embedded(settings.embedded, settings.vhost).url + vhost


def url_for_workers() -> str:
    """Return the URL of the broker inside this process, with the options of the URL that named it.

    An empty text if the components of the workers use a broker elsewhere.
    """
    url, options = url_of_broker(Settings.resolve()), urlencode(live.url.options)
    return f"{url}?{options}" if url and options else url
