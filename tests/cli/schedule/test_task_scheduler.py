"""A nightly job with Windows' Task Scheduler: its XML is as Microsoft's schema wants it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from xml.etree import ElementTree

import pytest

from floradl.cli.schedule.task_scheduler import task_xml
from floradl.errors import UsageError
from tests.cli.schedule.jobs import job

NOW = datetime(2026, 11, 25, 12, 0)


def test_the_task() -> None:
    """Element names, their order and their values are those of Microsoft's schema."""
    a_job = replace(job("C:\\Flora & <me>\\a b"), random_delay_s=600, at=(2, 30))
    root = ElementTree.fromstring(task_xml(a_job, NOW))  # noqa: S314 - our own
    namespace = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
    assert root.tag == f"{namespace}Task"
    assert root.get("version") == "1.2"
    tags = {child.tag.removeprefix(namespace): child for child in root}
    assert list(tags) == ["RegistrationInfo", "Triggers", "Principals", "Settings", "Actions"]
    trigger = tags["Triggers"][0]
    # calendarTriggerType: what all triggers have, then RandomDelay, then the schedule
    assert [(part.tag.removeprefix(namespace), part.text) for part in trigger][:2] == [
        ("StartBoundary", "2026-11-26T02:30:00"),
        ("RandomDelay", "PT600S"),
    ]
    assert trigger[2].tag == f"{namespace}ScheduleByDay"
    assert trigger[2][0].text == "1"
    settings = {part.tag.removeprefix(namespace): part.text for part in tags["Settings"]}
    assert settings["StartWhenAvailable"] == settings["RunOnlyIfNetworkAvailable"] == "true"
    assert tags["Principals"][0].get("id") == tags["Actions"].get("Context")
    command, arguments = tags["Actions"][0]
    assert (command.text, arguments.text) == ("/bin/true", 'archive "C:\\Flora & <me>\\a b"')


@pytest.mark.parametrize("path", ["C:\\100%", "C:\\%TEMP%\\x", "C:\\$(Arg0)"])
def test_a_task_cannot_name_everything(path: str) -> None:
    """What Task Scheduler would replace is refused."""
    with pytest.raises(UsageError, match="would replace"):
        task_xml(job(path), NOW)
