"""The console in the browser: `postage web`.

`sightings` and `state` are pure: they make the map out of what processes answer.  `poller` asks,
`actions` does what a person wants, and the rest serves it by HTTP.
"""
