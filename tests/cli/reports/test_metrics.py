"""Prometheus' text format: no sample twice, and none of what never happened."""

from __future__ import annotations

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from floradl.cli.reports.metrics import metric_lines
from floradl.repository.entries import (
    RunFacts,
    RunOp,
)
from floradl.repository.statistics import Status, summarize
from tests.cli.reports.test_status import manifest_of


def test_prometheus_of_an_archive_that_was_never_scanned() -> None:
    """What never was has no sample, and nothing is left to parse wrongly."""
    text = "\n".join(metric_lines(Status(), "/x", 0)) + "\n"
    names = {family.name for family in text_string_to_metric_families(text)}
    assert "floradl_runs" in names
    assert not {name for name in names if "timestamp" in name or "project" in name}


def test_no_sample_is_twice() -> None:
    """A model without a name and one with an empty name are one, as Prometheus has no other way."""
    facts = RunFacts("ws_a", "prj_a", "ws_a/prj_a/run_1", None, None, None, 1.0, "0" * 64)
    empty = msgspec.structs.replace(facts, model_id="")
    status = summarize(manifest_of(RunOp("run_1", facts), RunOp("run_2", empty)))
    text = "\n".join(metric_lines(status, "/x", 0)) + "\n"
    families = {family.name: family for family in text_string_to_metric_families(text)}
    (sample,) = families["floradl_model_cost_usd"].samples
    assert (sample.labels["model"], sample.value) == ("", 2.0)
    samples = [
        (sample.name, *sample.labels.items()) for family in families.values() for sample in family.samples
    ]
    assert len(samples) == len(set(samples))
