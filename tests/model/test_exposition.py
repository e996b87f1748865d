"""Pages for Prometheus, as its own parser reads them."""

from __future__ import annotations

import math

from prometheus_client.parser import text_string_to_metric_families as parsed

from postage.metrics.exposition import Family, labels_text, merged


def page(*families: Family) -> str:
    return "".join(line for each in families for line in each.lines())


def test_odd_labels_come_back_as_they_were() -> None:
    odd = 'a"b\\c\nd\x1b[2J{},= \N{SNOWMAN}'
    family = Family("x", "gauge", 'Help\nwith \\ and "quotes".')
    family.add(1, labels_text((("name", odd),)))

    (read,) = parsed(page(family))
    assert read.samples[0].labels == {"name": odd}
    assert page(family).count("\n") == 3


def test_numbers_come_back_as_they_were() -> None:
    values = [0, 10**15, -1.5, 1e-9, math.inf, -math.inf]
    family = Family("x", "gauge", "Help.")
    for number, value in enumerate([*values, math.nan]):
        family.add(value, labels_text((("n", str(number)),)))

    (read,) = parsed(page(family))
    assert [each.value for each in read.samples[:-1]] == values
    assert math.isnan(read.samples[-1].value)


def test_a_histogram_is_one() -> None:
    family = Family("x_seconds", "histogram", "Help.")
    family.add(1, 'a="b",le="0.1"', "_bucket")
    family.add(2, 'a="b",le="+Inf"', "_bucket")
    family.add(0.5, 'a="b"', "_sum")
    family.add(2, 'a="b"', "_count")

    (read,) = parsed(page(family))
    assert (read.type, len(read.samples)) == ("histogram", 4)


def test_blocks_of_a_family_are_put_together() -> None:
    pages = []
    for worker in range(3):
        one, two = Family("one_total", "counter", "One."), Family("two", "gauge", "Two.")
        one.add(worker, labels_text((("worker", str(worker)),)))
        two.add(-worker, labels_text((("worker", str(worker)),)))
        pages.append(page(one, two) if worker else page(two))

    text = "".join(merged(pages))
    assert text.count("# TYPE") == 2
    read = {each.name: [sample.value for sample in each.samples] for each in parsed(text)}
    assert read == {"one": [1.0, 2.0], "two": [0.0, -1.0, -2.0]}


def test_what_looks_like_a_head_stays_in_its_label() -> None:
    odd = "# HELP x\n# TYPE x\n# HELP "
    pages = []
    for worker in range(2):
        one, two = Family("one", "gauge", f"One. {odd}"), Family("two", "gauge", "Two.")
        one.add(worker, labels_text((("name", odd),)))
        two.add(-worker)
        pages.append(page(one, two))

    read = {each.name: each.samples for each in parsed("".join(merged(pages)))}
    assert [each.labels for each in read["one"]] == [{"name": odd}] * 2
    assert [each.value for each in read["two"]] == [0.0, -1.0]
