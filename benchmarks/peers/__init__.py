"""The contestants: one module each, with the same four functions, which get their `Job`.

``serve(job)``
    consume ``job.queue`` and answer calls with their own parameters, ``job.pause`` seconds later,
    for ever.
``open_caller(job)``
    return ``call(payload) -> answer``.
``open_publisher(job)``
    return ``publish(payload)``, which with ``job.confirm`` returns when the broker has taken it.
``consume(job, handle)``
    give every payload to *handle*, acknowledge it, and return soon after *handle* returned False.

Those of a peer with the style ``asyncio`` are coroutine functions, and so is what they return.
What a peer cannot do it leaves out, and says in `benchmarks.contestants` why.
"""
