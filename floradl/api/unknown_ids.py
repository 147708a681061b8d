"""Projects and workspaces that a user named and that nobody knows.

FLORA answers a list that is filtered by an unknown id with an empty list, not with an error. A job over an id
with a typing mistake would find nothing new and end well, night after night. So where a named place has never
given anything, it is asked for by its id.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from floradl.api.models import EVERYTHING, Scope
from floradl.api.projects import ask_project, ask_workspaces, discover
from floradl.api.raw_json import fields_of, text_of
from floradl.errors import ApiAnswerError, ApiError, FloradlError, UsageError, printable

if TYPE_CHECKING:
    from floradl.api.client import FloraApi

_NEAREST = 3
"""How many of the nearest ids a message names."""


async def unknown_places(api: FloraApi, scopes: Collection[Scope]) -> list[FloradlError]:
    """Ask for the named projects by their ids, and for the list of workspaces where one of these is named.

    Args:
        api: an open session.
        scopes: what the user named. Of a scope with a project only the project is looked at.

    Returns:
        A `UsageError` for each project and workspace that FLORA does not know, which names those with the
        most similar ids and names; an `ApiError` for each of which that could not be found out.
    """
    projects = sorted({scope.project_id for scope in scopes if scope.project_id is not None})
    workspaces = sorted({scope.workspace_id or "" for scope in scopes if scope.project_id is None} - {""})
    problems: list[FloradlError] = []
    unknown = [("project", each) for each in projects if await _is_unknown(api, each, problems)]
    if workspaces:
        known = await _known_workspaces(api, problems)
        unknown += [("workspace", each) for each in workspaces if known is not None and each not in known]
    places = await _places(api) if unknown else {}
    for kind, each in unknown:
        message = f"FLORA does not know the {kind} {{}}, or does not show it to this key"
        problems.append(unknown_error(message, each, places[kind]))
    return problems


def unknown_error(message: str, identifier: str, known: Mapping[str, str]) -> UsageError:
    """The error that names an unknown id, and those that are most like it.

    Args:
        message: what is wrong; `{}` in it stands for the id.
        identifier: the id, or what the user took for one, such as a name.
        known: the ids that there are, with their names.
    """
    shown = [
        printable(each, limit=80) + (f" ({printable(known[each], limit=60)})" if known[each] else "")
        for each in _nearest(identifier, known)
    ]
    hint = f"The nearest that there are: {', '.join(shown)}" if shown else "There is none at all."
    return UsageError(message.format(printable(identifier, limit=80)), hint=hint)


def _nearest(identifier: str, known: Mapping[str, str]) -> list[str]:
    """The ids that are most like a text, or whose names are; the most similar first."""
    from difflib import SequenceMatcher  # a night without a mistake does without it

    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(identifier.casefold())

    def likeness(text: str) -> float:
        matcher.set_seq1(text.casefold()[:200])
        return matcher.ratio()

    return heapq.nlargest(_NEAREST, known, key=lambda each: max(likeness(each), likeness(known[each])))


async def _is_unknown(api: FloraApi, project_id: str, problems: list[FloradlError]) -> bool:
    try:
        await ask_project(api, project_id)
    except ApiError as exc:
        if exc.is_refusal:
            return True
        problems.append(exc.concerning(f"project {printable(project_id, limit=80)}"))
    return False


async def _known_workspaces(api: FloraApi, problems: list[FloradlError]) -> set[str] | None:
    """The ids of the workspaces that the key can see; None, with a problem, where not all are known."""
    try:
        records = await ask_workspaces(api)
        if not records.is_whole or records.next_cursor is not None:
            raise ApiAnswerError("the list is not whole")
    except ApiError as exc:
        problems.append(exc.concerning("the workspaces"))
        return None
    return {record.identifier for record in records.items}


async def _places(api: FloraApi) -> dict[str, dict[str, str]]:
    """The projects and workspaces that the key can see, with their names, as far as they can be listed."""
    places: dict[str, dict[str, str]] = {"project": {}, "workspace": {}}
    try:
        found = await discover(api, [EVERYTHING])
    except ApiError:
        return places
    places["project"] = {project.project_id: project.name for project in found.projects.values()}
    for workspace_id, raw in (found.workspaces or {}).items():
        places["workspace"][workspace_id] = text_of(fields_of(raw), "name")
    return places
