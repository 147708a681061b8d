"""Reading the JSON of one record into a `Generation`, with tolerance.

A field that is missing, or of another type than expected, is read as absent; a record fails only where it
lacks its id or, for runs and assets, its status.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, cast

import msgspec

from floradl.api.models import Generation, Output
from floradl.api.raw_json import NOT_READABLE, merge_records
from floradl.bounds import MAX_USD
from floradl.clock import MAX_MS, parse_ms
from floradl.constants import Kind, OutputType, Status
from floradl.errors import ApiAnswerError, printable

# The API's `created_at` has no documented unit; its webhooks send milliseconds. Anything below this is
# seconds: 10^11 ms is 1973, 10^11 s is the year 5138.
_SECONDS_BELOW = 100_000_000_000


_TYPES = {"image": OutputType.IMAGE, "video": OutputType.VIDEO, "audio": OutputType.AUDIO}
ASSET_STATUS = {"ready": Status.COMPLETED, "pending_upload": Status.PENDING, "failed": Status.FAILED}
"""The API's status of an asset → the status of a run that means the same."""

MAX_SIZE_BYTES = 2**63 - 1
"""The largest size that is believed; no file can be larger."""


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

    A file on a canvas that is no asset of its own is listed without `asset_id`; its `node_id` is taken.

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
        asset_id,
        _type_of(content_type),
        _text(record, "url"),
        announced_size(record.get("size_bytes")),
        content_type,
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
    """Decode a record, merged over an earlier one where there is one. Returns its JSON and its fields."""
    if known is not None:
        raw = merge_records(known.raw, raw)
    record = _decode(raw)
    if not isinstance(record, dict):
        raise ApiAnswerError(f"{what}'s record is not a JSON object")
    return raw, record


def parse_record(kind: Kind, raw: bytes) -> Generation:
    """Read the record of an asset where `kind` says so, else of a run.

    Raises:
        ApiAnswerError: as `parse_asset` and `parse_generation`.
    """
    return (parse_asset if kind is Kind.ASSET else parse_generation)(raw)


def parse_outputs(value: object) -> tuple[Output, ...] | None:
    """Read the field `outputs`, and give each output a unique key; None where the field is no list.

    The first output with an id has the id as its key. A further one with the same id gets the first of
    `<id>#2`, `<id>#3`… that no other output has.
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
    """Read a moment written as a number or as ISO 8601, in unix milliseconds; None where it is neither."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return _moment_or_date({"at": value}, "at")


def announced_size(value: object) -> int | None:
    """Return a size in bytes as the API announces it; None where the value cannot be one, such as 0."""
    is_size = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_SIZE_BYTES
    return cast("int", value) if is_size else None


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
    """Read a field that some endpoints write as a number, and others as ISO 8601."""
    text = _text(record, name)
    moment_ms = parse_ms(text) if text is not None else _moment(record, name)
    return moment_ms if moment_ms is not None and 0 < moment_ms <= MAX_MS else None


def _type_of(content_type: str) -> OutputType:
    """Return the output type for a `Content-Type`; a document where it is no image, video or audio."""
    return _TYPES.get(content_type.partition("/")[0].strip().lower(), OutputType.DOCUMENT)


def _decode(raw: bytes) -> object:
    try:
        return msgspec.json.decode(raw)
    except NOT_READABLE:
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
    # JSON allows what no double holds, and what would make a sum of prices infinite.
    return value if -MAX_USD <= value <= MAX_USD else None


def _moment(record: dict[str, Any], name: str) -> int | None:
    value = _number(record, name)
    if value is None or not 0 < value <= MAX_MS:
        return None
    moment_ms = int(value * 1000) if value < _SECONDS_BELOW else int(value)
    return moment_ms if moment_ms <= MAX_MS else None
