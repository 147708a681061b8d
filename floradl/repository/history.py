"""The form of `project.json` and `workspace.json`: the API's record, and what it said before.

The fields of the newest record stand at the top, each value as the API wrote it, so that `jq .name` gives
the name. Beside them stands one key of floradl's, `floradl`, with the former values of fields that have
changed, and when each change was seen. A field that the newest record does not have any more keeps its last
value. So nothing that was known once is lost, apart from the limits below. Older versions of floradl kept
the plain record; it is read as a first state without a date.

Everything here is pure. docs/format.md describes the file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from floradl.api.raw_json import NOT_READABLE, fields_of, replace_half_pairs, text_of, value_of
from floradl.clock import format_ms
from floradl.errors import ApiAnswerError

FORMAT = "floradl-names"
VERSION = 1
OURS = "floradl"
"""The key under which floradl's own part of the file stands."""

MAX_VALUES = 20
"""How many former values of one field are kept, newest first. Of names, every different one is kept."""

MAX_PAST_BYTES = 1024 * 1024
"""How many bytes the former values of all fields may take together, names apart; the oldest are dropped."""

MAX_FORMER_FIELDS = 100
"""How many fields are kept that the newest record does not have any more."""

MAX_ACCOUNTS = 50
"""How many accounts are kept that have seen the project or workspace, the newest."""

_NAME = "name"


class Past(msgspec.Struct, frozen=True):
    """Fields and their former values (`was`), and when the next values were seen (`until`, ISO 8601)."""

    until: str
    was: dict[str, msgspec.Raw]


class _Ours(msgspec.Struct, frozen=True):
    """The value of the key `floradl`. `field` is the API's own field of that name, should it have one."""

    format: str
    version: int
    first_seen_at: str = ""
    seen_by: tuple[str, ...] = ()
    field: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    history: tuple[Past, ...] = ()


_OUR_FIELDS = frozenset(_Ours.__struct_fields__)


@dataclass(frozen=True, slots=True)
class History:
    """What is known of a project or workspace.

    Args:
        fields: the last value of each field, in JSON as the API wrote it.
        history: former values of fields, oldest first.
        first_seen_at: when it was first seen, in ISO 8601; "" when an older floradl did not note it.
        seen_by: the accounts (`client.FloraApi.account`) that are known to have seen it.
        more: keys under `floradl` that this version does not know, which are kept.
    """

    fields: Mapping[str, bytes]
    history: tuple[Past, ...] = ()
    first_seen_at: str = ""
    seen_by: tuple[str, ...] = ()
    more: Mapping[str, bytes] | None = None

    def text(self, key: str) -> str:
        """The last value of a field that is a text; "" when it is missing or something else."""
        return text_of(self.fields, key)


def read_history(raw: bytes) -> History | None:
    """What a file says; None when it is no JSON object, or of a version that is not known here."""
    try:
        fields = fields_of(raw)
    except ApiAnswerError:
        return None
    inner = _fields_or_nothing(fields.get(OURS, b"null"))
    if value_of(inner.get("format", b"null")) != FORMAT:
        return History(fields)  # a plain record; the API itself may have a field `floradl`
    try:
        ours = msgspec.json.decode(replace_half_pairs(fields.pop(OURS)), type=_Ours)
    except NOT_READABLE:
        return None
    if ours.version != VERSION:
        return None
    if isinstance(ours.field, msgspec.Raw):
        fields[OURS] = inner["field"]
    more = {key: value for key, value in inner.items() if key not in _OUR_FIELDS}
    return History(fields, ours.history, ours.first_seen_at, ours.seen_by, more)


def with_record(known: History | None, record: bytes, now_ms: int, *, account: str = "") -> History | None:
    """What is known once a record was seen; None when it says nothing new.

    Args:
        known: what was known before; None when nothing was.
        record: the API's record.
        now_ms: when it came, in milliseconds since 1970.
        account: the account that saw it; "" to keep that to itself.

    Raises:
        ApiAnswerError: the record is no JSON object in UTF-8.
    """
    fields = fields_of(record)
    if known is None:
        return History(fields, first_seen_at=format_ms(now_ms), seen_by=(account,) if account else ())
    was = {
        name: msgspec.Raw(known.fields[name])
        for name in known.fields.keys() & fields.keys()
        if not _is_same(known.fields[name], fields[name])
    }
    is_new_here = account not in ("", *known.seen_by)
    if not was and not is_new_here and fields.keys() <= known.fields.keys():
        return None
    lacking = [item for item in known.fields.items() if item[0] not in fields]
    history = known.history
    if was:
        history = _pruned((*history, Past(format_ms(now_ms), dict(sorted(was.items())))))
    return replace(
        known,
        fields=fields | dict(lacking[:MAX_FORMER_FIELDS]),
        history=history,
        seen_by=(*known.seen_by, account)[-MAX_ACCOUNTS:] if is_new_here else known.seen_by,
    )


def history_bytes(history: History) -> bytes:
    """The bytes of the file: one line for each field, and one for each time when something changed."""
    fields = dict(history.fields)
    ours: dict[str, bytes] = {"format": _json(FORMAT), "version": _json(VERSION)}
    if history.first_seen_at:
        ours["first_seen_at"] = _json(history.first_seen_at)
    if history.seen_by:
        ours["seen_by"] = _json(history.seen_by)
    if OURS in fields:
        ours["field"] = fields.pop(OURS)
    if history.history:
        ours["history"] = b"[\n%b\n    ]" % b",\n".join(b"      " + _json(past) for past in history.history)
    fields[OURS] = _lines(ours | dict(history.more or {}), indent=b"  ")
    return _lines(fields) + b"\n"


def _pruned(history: Sequence[Past]) -> tuple[Past, ...]:
    """The history within the limits. A former name is dropped only if a later entry has the same name."""
    kept: list[Past] = []
    uses: Counter[str] = Counter()
    names: set[bytes] = set()
    size_bytes = 0
    for past in reversed(history):
        was = {}
        for field, value in past.was.items():
            raw = bytes(value)
            uses[field] += 1
            is_the_only = field == _NAME and raw not in names
            size_bytes += 0 if is_the_only else len(field) + len(raw)
            if is_the_only or (uses[field] <= MAX_VALUES and size_bytes <= MAX_PAST_BYTES):
                was[field] = value
                names.update({raw} if field == _NAME else ())
        if was:
            kept.append(Past(past.until, was))
    return tuple(reversed(kept))


def _is_same(one: bytes, other: bytes) -> bool:
    """Whether two values of JSON are equal, however they are spaced and escaped."""
    try:
        return one == other or bool(_parsed(one) == _parsed(other))
    except (ValueError, RecursionError):
        return False


def _parsed(value: bytes) -> object:
    """A value of JSON, with numbers as they are written.

    In Python 1 equals True, and a long number would lose digits as a float; neither may pass for equal.
    """
    return json.loads(replace_half_pairs(value), parse_int=_number, parse_float=_number)


def _number(digits: str) -> tuple[str]:
    return (digits,)  # no other value of JSON is a tuple


def _fields_or_nothing(raw: bytes) -> dict[str, bytes]:
    try:
        return fields_of(raw)
    except ApiAnswerError:
        return {}


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)


def _lines(fields: Mapping[str, bytes], *, indent: bytes = b"") -> bytes:
    lines = (b"%b  %b: %b" % (indent, _json(name), value) for name, value in fields.items())
    return b"{\n%b\n%b}" % (b",\n".join(lines), indent)
