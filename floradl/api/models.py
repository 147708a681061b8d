"""The values that travel through floradl: what the API lists, what is wanted, what came of it.

Records come from outside and are read with tolerance: a run needs an id and a status, and everything
else may be missing, new or of a type nobody expected, without costing the run. The record's own bytes
stay beside the fields (`Generation.raw`), so that `run.json` is what the API said, to the byte.

An asset, which is what somebody uploaded, is read as a run with one output: its file.

Source of the fields: FLORA's API reference for `GET /generations`, `GET /technique-runs`, `GET /assets` and
what they list by id.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any, cast

import msgspec

from floradl.clock import MAX_MS, parse_ms
from floradl.constants import TYPE_WORDS, Kind, OutputType, SharedBy, Source, Status
from floradl.errors import ApiAnswerError, printable

# The API's `created_at` has no documented unit; its webhooks send milliseconds. Anything below this is
# seconds: 10^11 ms is 1973, 10^11 s is the year 5138.
_SECONDS_BELOW = 100_000_000_000

_MAX_NUMBER = sys.float_info.max

# A JSON escape: a surrogate pair, half of one (the group), or any other.
_HEX = rb"[0-9a-fA-F]"
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB]%b{2}\\u[dD][c-fC-F]%b{2}|(u[dD][89a-fA-F]%b{2})|.)" % (_HEX, _HEX, _HEX), re.DOTALL
)


_TYPES = {"image": OutputType.IMAGE, "video": OutputType.VIDEO, "audio": OutputType.AUDIO}
ASSET_STATUS = {"ready": Status.COMPLETED, "pending_upload": Status.PENDING, "failed": Status.FAILED}
"""An asset's status as that of a run."""

MAX_SIZE_BYTES = 2**63 - 1
"""No file is larger, whatever an API says."""

MEDIA_TYPES = frozenset({OutputType.IMAGE, OutputType.VIDEO, OutputType.AUDIO})
"""Types whose bytes are never a page of HTML, XML or JSON."""


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a run, as listed.

    `key` is the output's id made unique within its run (`<id>`, then `<id>#2`…); `value` is the API's
    `url` field: a URL, the text itself for text outputs, or None when the API gave nothing usable;
    `size_bytes` how many bytes the API announces, None where it does not.
    """

    key: str
    type: str
    value: str | None
    size_bytes: int | None = None

    @property
    def is_text(self) -> bool:
        """Whether `value` is the content itself. A `text` output is one even if it looks like a URL."""
        if self.type == OutputType.TEXT:
            return True
        return self.type not in TYPE_WORDS.values() and self.value is not None and not is_http(self.value)


@dataclass(frozen=True, slots=True)
class Generation:
    """One run or asset, as the API lists it. `outputs` is None when the record had no such field.

    `run_id` is its id, an asset's too; `name` what an asset is called.
    """

    run_id: str
    workspace_id: str
    project_id: str
    status: str
    created_at_ms: int | None
    completed_at_ms: int | None
    charged_cost: float | None
    model_id: str | None
    outputs: tuple[Output, ...] | None
    poll_url: str | None
    progress: float | None = None
    raw: bytes = field(default=b"", repr=False)
    kind: Kind = Kind.RUN
    technique_id: str | None = None
    technique_name: str | None = None
    name: str | None = None

    @property
    def done_at_ms(self) -> int | None:
        """When it was completed, or created where the API does not say."""
        return self.completed_at_ms if self.completed_at_ms is not None else self.created_at_ms


class Workspace(msgspec.Struct, frozen=True):
    """A workspace that the key may see, as `GET /workspaces` gives it."""

    workspace_id: str
    name: str | None = None
    role: str | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """What one scan covers; each scope has a seal of its own. None means: all that the key can see."""

    workspace_id: str | None = None
    project_id: str | None = None
    source: str = Source.GENERATIONS

    @property
    def kind(self) -> Kind:
        """Of which kind what it lists is."""
        return _KINDS.get(self.source, Kind.RUN)

    def holds(self, workspace_id: str, project_id: str) -> bool:
        """Whether a run of this workspace and project lies in the scope."""
        return self.workspace_id in (None, workspace_id) and self.project_id in (None, project_id)

    def of(self, source: Source) -> Scope:
        """The same place, as another endpoint lists it."""
        return replace(self, source=source)

    def __str__(self) -> str:
        named = [name for name in (self.workspace_id, self.project_id) if name]
        place = "/".join(named) or "the whole account"
        return place if self.source == Source.GENERATIONS else f"{self.source} of {place}"


_KINDS: dict[str, Kind] = {Source.ASSETS: Kind.ASSET, Source.CANVAS: Kind.CANVAS}
EVERYTHING = Scope()


@dataclass(frozen=True, slots=True)
class Filters:
    """What the user wants of the runs in scope. Any of these makes the archive partial: no seal."""

    run_ids: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    models: tuple[str, ...] = ()
    since_ms: int | None = None
    until_ms: int | None = None
    max_runs: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether everything in scope is wanted."""
        return self == Filters()

    def wants(self, run: Generation) -> bool:
        """Whether this run is wanted; a run without a date or model passes no filter on it."""
        return (
            (not self.run_ids or run.run_id in self.run_ids)
            and self.wants_model(run.model_id)
            and self.wants_moment(run.created_at_ms)
        )

    def wants_model(self, model_id: str | None) -> bool:
        """Whether runs of this model are wanted."""
        return not self.models or any(fnmatchcase(model_id or "", glob) for glob in self.models)

    def wants_moment(self, created_at_ms: int | None) -> bool:
        """Whether runs created at this moment are wanted: `since` inclusive, `until` exclusive."""
        if created_at_ms is None:
            return self.since_ms is None and self.until_ms is None
        return (self.since_ms is None or created_at_ms >= self.since_ms) and (
            self.until_ms is None or created_at_ms < self.until_ms
        )

    def wants_type(self, output_type: str) -> bool:
        """Whether outputs of this API type are wanted."""
        return not self.types or output_type in self.types


@dataclass(frozen=True, slots=True)
class Receipt:
    """Bytes that are hashed, flushed and under their final name. Only then does a receipt exist.

    `aside` is where the damaged file went whose place they took, `in_the_way` where something else went
    that stood under their name. `same_as` is the file, relative to the archive, of which they were made
    because it has the same, and `shared_by` how.
    """

    run_id: str
    key: str
    type: str
    file: str
    size_bytes: int
    sha256: str
    content_type: str
    url: str | None
    is_fetched: bool
    aside: PurePosixPath | None = None
    in_the_way: PurePosixPath | None = None
    same_as: str | None = None
    shared_by: SharedBy | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """One output that could not be archived, and why.

    `url` has no query. `keeps_entry` says that the manifest's entry still stands, as for a file that
    was archived once and has changed since.
    """

    run_id: str
    key: str
    type: str
    url: str | None
    code: str
    message: str
    attempts: int
    keeps_entry: bool = False


def failure_objects(failures: Iterable[Failure]) -> list[dict[str, object]]:
    """Failures as the reports of `--json` have them; docs/format.md describes them."""
    return [
        {
            "run_id": failure.run_id,
            "output": failure.key,
            "type": failure.type,
            "url": failure.url,
            "code": failure.code,
            "message": failure.message,
            "attempts": failure.attempts,
        }
        for failure in failures
    ]


def parse_generation(raw: bytes, *, known: Generation | None = None) -> Generation:
    """Read one record of `GET /generations` or `GET /runs/{run_id}`.

    Args:
        raw: the record's JSON.
        known: an earlier record of the same run; what `raw` lacks is taken from it, since
            `GET /runs/{run_id}` names neither workspace, project nor model.

    Raises:
        ApiAnswerError: the record is no JSON object, or has no run id or status.
    """
    raw, record = _record_of(raw, known, "a run")
    run_id = _text(record, "run_id") or _text(record, "generation_id")
    status = _text(record, "status")
    if not run_id or not status:
        shown = printable(run_id or "without an id", limit=80)
        raise ApiAnswerError(f"the record of a run ({shown}) lacks its run_id or status")
    model, technique = record.get("model"), record.get("technique")
    return Generation(
        run_id=run_id,
        workspace_id=_text(record, "workspace_id") or "",
        project_id=_text(record, "project_id") or "",
        status=status,
        created_at_ms=_moment(record, "created_at"),
        completed_at_ms=_moment(record, "completed_at"),
        charged_cost=_number(record, "charged_cost"),
        model_id=_text(model, "model_id") if isinstance(model, dict) else None,
        outputs=parse_outputs(record.get("outputs")),
        poll_url=_text(record, "poll_url"),
        progress=_number(record, "progress"),
        raw=raw,
        technique_id=_text(technique, "technique_id") if isinstance(technique, dict) else None,
        technique_name=_text(technique, "name") if isinstance(technique, dict) else None,
    )


def parse_asset(raw: bytes, *, known: Generation | None = None) -> Generation:
    """Read one record of `GET /assets` or `GET /assets/{asset_id}`: a run whose one output is the file.

    What is on a canvas without being an asset of its own is listed with the id of its node alone.

    Args:
        raw: the record's JSON.
        known: an earlier record of the same asset; the second endpoint does not name its project.

    Raises:
        ApiAnswerError: the record is no JSON object, or has no id or status.
    """
    raw, record = _record_of(raw, known, "an asset")
    asset_id = _text(record, "asset_id") or _text(record, "node_id")
    status = _text(record, "status")
    if not asset_id or not status:
        shown = printable(asset_id or "without an id", limit=80)
        raise ApiAnswerError(f"the record of an asset ({shown}) lacks its asset_id or status")
    content_type = _text(record, "content_type") or _text(record, "upload_content_type") or ""
    output = Output(
        asset_id, _type_of(content_type), _text(record, "url"), announced_size(record.get("size_bytes"))
    )
    return Generation(
        run_id=asset_id,
        workspace_id=_text(record, "workspace_id") or "",
        project_id=_text(record, "project_id") or "",
        status=ASSET_STATUS.get(status, status),
        created_at_ms=_moment_or_date(record, "created_at"),
        completed_at_ms=None,
        charged_cost=None,
        model_id=None,
        outputs=(output,),
        poll_url=None,
        raw=raw,
        kind=Kind.ASSET,
        name=_text(record, "name"),
    )


def parse_node(raw: bytes, *, known: Generation | None = None) -> Generation:
    """Read one record of `GET /projects/{project_id}/nodes`: what the node shows is its one output.

    `name` is the node's label.

    Args:
        raw: the record's JSON.
        known: an earlier record of the same node, whose fields stay where `raw` lacks them.

    Raises:
        ApiAnswerError: the record is no JSON object, or has no id.
    """
    if known is not None:
        raw = merge_records(known.raw, raw)
    record = _decode(raw)
    node_id = _text(record, "node_id") if isinstance(record, dict) else None
    if not isinstance(record, dict) or not node_id:
        raise ApiAnswerError("the record of a canvas node lacks its node_id")
    return Generation(
        run_id=node_id,
        workspace_id="",
        project_id="",
        status="",
        created_at_ms=None,
        completed_at_ms=None,
        charged_cost=None,
        model_id=None,
        outputs=(Output(node_id, _text(record, "type") or "", _text(record, "url")),),
        poll_url=None,
        raw=raw,
        kind=Kind.CANVAS,
        name=_text(record, "label"),
    )


def _record_of(raw: bytes, known: Generation | None, what: str) -> tuple[bytes, dict[str, Any]]:
    """A record, laid over an earlier one if there is one: its JSON, and its fields."""
    if known is not None:
        raw = merge_records(known.raw, raw)
    record = _decode(raw)
    if not isinstance(record, dict):
        raise ApiAnswerError(f"{what}'s record is not a JSON object")
    return raw, record


def parse_record(kind: Kind, raw: bytes) -> Generation:
    """Read the record of a run or an asset.

    Raises:
        ApiAnswerError: it is none.
    """
    return (parse_asset if kind is Kind.ASSET else parse_generation)(raw)


def merge_records(older: bytes, newer: bytes) -> bytes:
    """`older` with every field of `newer` that is not null laid over it, each value as the API wrote it.

    Raises:
        ApiAnswerError: one of them is no JSON object.
    """
    try:
        fields = msgspec.json.decode(replace_half_pairs(older), type=dict[str, msgspec.Raw])
        later = msgspec.json.decode(replace_half_pairs(newer), type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ApiAnswerError(f"a run's record is not a JSON object: {printable(str(exc))}") from exc
    told = {name: value for name, value in later.items() if bytes(value) != b"null" or name not in fields}
    return msgspec.json.encode(fields | told)


def replace_half_pairs(raw: bytes) -> bytes:
    """JSON with each half of a surrogate pair replaced by `\\ufffd`, which is as long; the rest as it is.

    Half a pair is legal JSON, and msgspec refuses it even in what it only passes over.
    """
    if b"\\ud" not in raw and b"\\uD" not in raw:
        return raw
    return _ESCAPE.sub(lambda match: rb"\ufffd" if match[1] else match[0], raw)


def items_verbatim(body: bytes, readable: bytes, items: Iterable[msgspec.Raw]) -> Iterator[bytes]:
    """The records of a list as they came, to the byte.

    Args:
        body: the answer.
        readable: the same with `replace_half_pairs`, which keeps every place.
        items: the records, in order, as they were decoded from `readable`.
    """
    end = 0
    for item in items:
        raw = bytes(item)
        start = readable.index(raw, end)
        end = start + len(raw)
        yield body[start:end]


def parse_outputs(value: object) -> tuple[Output, ...] | None:
    """The `outputs` list with a unique key for each; None when the field is absent or null.

    An id that occurs once keeps it as its key whatever stands beside it; the second use of an id gets
    the first of `<id>#2`, `<id>#3`… that no other output has.
    """
    if not isinstance(value, list):
        return None
    items = [item if isinstance(item, dict) else {} for item in value]
    ids = [_text(item, "output_id") or "output" for item in items]
    return tuple(
        Output(key, _text(item, "type") or "", _text(item, "url"))
        for item, key in zip(items, _unique_keys(ids), strict=True)
    )


def moment_ms(raw: bytes) -> int | None:
    """A moment that an endpoint writes as a number or as ISO 8601; None where it is neither."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return _moment_or_date({"at": value}, "at")


def announced_size(value: object) -> int | None:
    """What the API announces as a file's size, in bytes; None for what can be none, nothing included."""
    is_size = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_SIZE_BYTES
    return cast("int", value) if is_size else None


def is_http(value: str) -> bool:
    """Whether this looks like a URL that a web client could fetch."""
    return value[:8].lower().startswith(("https://", "http://"))


def _unique_keys(ids: list[str]) -> list[str]:
    taken = set(ids)
    uses: Counter[str] = Counter()
    keys = []
    for name in ids:
        uses[name] += 1
        key = name
        while uses[name] > 1:
            key = f"{name}#{uses[name]}"
            if key not in taken:
                break
            uses[name] += 1
        taken.add(key)
        keys.append(key)
    return keys


def _moment_or_date(record: dict[str, Any], name: str) -> int | None:
    """A moment that one endpoint writes as a number, and another as ISO 8601."""
    text = _text(record, name)
    moment_ms = parse_ms(text) if text is not None else _moment(record, name)
    return moment_ms if moment_ms is not None and 0 < moment_ms <= MAX_MS else None


def _type_of(content_type: str) -> OutputType:
    """The type that an output with such a `Content-Type` has."""
    return _TYPES.get(content_type.partition("/")[0].strip().lower(), OutputType.DOCUMENT)


def _decode(raw: bytes) -> object:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Half a surrogate pair or a number beyond a double is legal JSON that msgspec refuses; a prompt
        # cut in the middle of an emoji must not cost the run its archive.
        try:
            return json.loads(raw)
        except (ValueError, RecursionError) as exc:
            raise ApiAnswerError(f"a run's record is not JSON: {printable(str(exc))}") from exc


def _text(record: dict[str, Any], name: str) -> str | None:
    value = record.get(name)
    if not isinstance(value, str):
        return None
    # Half a surrogate pair has no UTF-8; it becomes U+FFFD, as in every browser.
    return (
        value
        if value.isascii()
        else value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    )


def _number(record: dict[str, Any], name: str) -> float | None:
    value = record.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    # JSON allows what no double holds, and what is not finite could not be written to the manifest.
    return value if -_MAX_NUMBER <= value <= _MAX_NUMBER else None


def _moment(record: dict[str, Any], name: str) -> int | None:
    value = _number(record, name)
    if value is None or not 0 < value <= MAX_MS:
        return None
    moment_ms = int(value * 1000) if value < _SECONDS_BELOW else int(value)
    return moment_ms if moment_ms <= MAX_MS else None
