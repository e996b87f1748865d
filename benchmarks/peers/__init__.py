"""The contestants: one module each, with the same four functions, which take a `Job`.

``serve(job)``
    consume ``job.queue`` and answer calls with their own parameters, ``job.pause`` seconds later,
    for ever.
``open_caller(job)``
    return ``call(payload) -> answer``.
``open_publisher(job)``
    return ``publish(payload)``, which with ``job.confirm`` returns when the broker has taken it.
``consume(job, handle)``
    give every payload to *handle*, acknowledge it, and return soon after *handle* returned False.

With the style ``asyncio`` these functions, and those that they return, are coroutine functions.
A peer leaves out what it cannot do; `benchmarks.contestants` says why.
"""
