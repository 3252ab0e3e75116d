"""Every class that is read from a file, in every room: whatever stands in any of its fields, it is the same
document again or it is damage. The classes are found here; none can be forgotten."""

import ast
import copy
import importlib
import json
import math
import re
from pathlib import Path

import pytest
from msgspec import inspect

from mlnb.store.border import Document
from mlnb.store.errors import IntegrityError

ROOT = Path(__file__).parents[1]
DIGEST = "a" * 64
TEXTS = (
    "a",
    DIGEST,
    "a" * 12,
    "a" * 16,
    "f" * 32,
    "v-" + "a" * 8,
    "2026-11",
    "2027-06-30",
    "a.b:C",
    "a 1",
)  # one of them has the form of any field
PLAIN = {
    "_Plain": {"a": [1, None]},
    "_JsonObject": {"a": [1, None]},
    "_Scalar": "a",
    "_Moment": "2026-11-27T17:00:00+00:00",
    "_Either": None,
}
GIVEN = {
    "Record.parts": {"observed": {"files": {"a.csv": DIGEST}}},
    "KeptPin.partitions": [["sql://a", 1, DIGEST]],
    "FileOpened.state": [3, 5, 7],
    "Axis.parts": [],
}
FREE = {
    *("Artifact.type", "Parts.digest", "Parts.type"),  # shown; or worked out anew
    *("Importance.name", "Importance.inputs", "DependenceCurve.name", "ModelExplanation.metric"),
    *(
        "ScoreReason.code",
        "ScoreReason.words",
        "ScoreReason.input",
        "ScoreReason.value",
        "ScoreReason.inputs",
    ),
    *("ReasonedScore.scale", "Reasons.why_not", "ExplainedAlerts.why_not"),
    *("FastWay.made_with", "FastWay.why"),
    *(
        "GateCheck.reason",
        "InputColumn.name",
        "InputColumn.type",
        "InputColumn.levels",
        "LearntFrom.inputs",
        "SliceFigure.slice",
        "InputImportance.name",
        "InputImportance.inputs",
        "PartialDependence.name",
        "PartialDependence.at",
    ),  # of people and data
    *("Observations.python", "Observations.native", "ObservedParts.packages", "Record.actor"),
    *("MadeWith.python", "MadeWith.platform", "MadeWith.packages", "KeyInput.filename", "KeyParameter.type"),
    *(
        "KeyParts.cells",
        "KeyParts.packages",
        "KeyParts.builds",
        "KeyParts.edited",
        "KeyParts.startup",
        "KeyParts.python",
    ),
    *("KeyOptions.env", "KeyInput.codec", "KeyInput.digest", "KeyParts.sources", "KeyParts.modules"),
    *("StageFailure.cell_id", "StageFailure.ename", "StageFailure.evalue"),
    *("UnreadSource.mend", "SecondResult.message", "Entry.not_opened", "Entry.last_lines"),
    *("Reason.name", "Reason.message"),
    *("GivenValue.type", "RunDocument.actor", "RunDocument.environment"),
    *("RunDocument.tried_inputs", "KeptPin.place", "KeptPin.partitions"),
    *("HeldElsewhere.host", "HeldElsewhere.since_utc", "HeldElsewhere.file"),
    *("KnownSource.refresh", "KnownSource.message", "KnownSource.stages"),
    *("SavedByHand.pipeline", "SavedByHand.name", "SavedByHand.type", "SavedByHand.digest"),
    *("TemplateStatus.modules", "ServerStatus.address", "ServerStatus.prefix", "ServerStatus.around"),
    *("ServerStatus.imported_by_stages",),
    *("ExecutionRequest.notebook", "ExecutionRequest.out", "ExecutionRequest.folder"),
    *("ExecutionRequest.environment", "ExecutionRequest.modules", "ExecutionRequest.server"),
    *("ServerRequest.sight", "ComingStage.environment", "ComingStage.modules", "KernelRequest.environment"),
    *("KernelRequest.modules", "KernelAddress.ip", "KernelAddress.key", "Handover.folder"),
    *("Handover.environment", "Handover.settings", "RunningKernel.connection", "ColdAnswer.cold"),
    *("ServerPlace.surroundings", "ServerPlace.limits", "ServerPlace.floor", "BadRequest.error"),
    *("TemplateOrder.environment", "TemplateOrder.modules", "TemplateReady.late", "TemplateReady.files"),
    *("EntryAnswer.refused", "FileOpened.opened", "FileMade.made", "FolderMoved.moved", "FolderMoved.to"),
    *("FolderListed.listed", "LinkFollowed.through", "ModuleLoaded.module", "ModuleLoaded.file"),
    *("PackageLoaded.top", "PackageLoaded.file", "ModuleAsked.asked", "ProgramStarted.spawned"),
    "ReadUnseen.native",
    *("CodePlaces.packages", "CodePlaces.loose", "CodePlaces.names", "InstalledPackage.version"),
    *("InstalledPackage.requires", "InstalledPackage.modules", "InstalledPackage.build"),
    *("InstalledPackage.info", "ListOrigin.machine", "ListOrigin.prefix", "PackageList.reader"),
    *("PackageList.state", "PackageList.packages"),
    *("ExecutionRequest.caps", "ExecutionRequest.settings", "CellBegins.notice", "ExecutionEnd.replies"),
    *("ExecutionEnd.raised", "ExecutionEnd.text", "ExecutionRequest.settings"),
    *("StageContext.store", "StageContext.below", "StageContext.root", "StageContext.files"),
    *("StageContext.journal", "StageContext.group", "StageContext.trusted_types"),
    *("GitStanding.commit", "GitStanding.branch", "GitStanding.dirty"),
    *("RunDocument.determinism", "RunDocument.experiment", "Record.parts"),
    *("JournalEntry.require", "JournalEntry.refused", "RunEvent.stage", "RunEvent.text"),
    "ReadList.place",  # which may lie beside the project
    *("AuditEntry.at_utc", "AuditEntry.actor", "AuditEntry.outcome", "AuditEntry.object", "AuditEntry.about"),
    *("Checkpoint.at_utc", "Checkpoint.origin", "SignedCheckpoint.signed"),
    *("NamedRuns.run", "NamedRuns.run_ids", "NamedTraces.run_ids", "NamedTraces.why"),
    *("NamedTraces.tombstones", "NamedTraces.tombstones_gone", "NamedTraces.keys"),
    *("ViolationRecord.what", "ViolationRecord.owner", "ViolationRecord.status"),
    *("RemoteMove.actor", "RemoteMove.reason", "PushMark.actor"),
    *("Axis.kind", "Axis.dtype", "Axis.freq", "Axis.closed", "CellNotes.kind", "CellNotes.missing"),
    *(
        "CellNotes.dtype",
        "CellNotes.texts",
        "CellNotes.numbers",
        "CellNotes.categories",
        "FrameNotes.columns",
        "FrameNotes.names",
    ),
    *("FrameNotes.cells", "FrameNotes.index", "FrameNotes.freq"),
    *("PolarsNotes.categories", "PolarsNotes.enumerations"),
    *(f"ModelDeclaration.{column}" for column in ("id", "time", "label", "unit", "amount", "groups")),
    *(f"VersionStatement.{about}" for about in ("first", "reason", "actor")),
    *(f"ModelVersion.{about}" for about in ("commit", "reason", "actor")),
    *(f"ModelDeclaration.{about}" for about in ("owner", "validator", "use", "why_no_groups")),
    *("RefMove.actor", "RefMove.reason", "Tombstone.reason", "Tombstone.actor", "Tombstone.at_utc"),
}  # what is only shown or compared may be any text
ASTRAY = ("a\0b", "x/../../y", "../x")  # no field that is not free holds one of these
HOSTILE_TEXTS = (
    *ASTRAY,
    *("/etc/passwd", "..", ".", "", "a\nb", "\x1b[2J", "\u202ex", "a\u200bb", "\ud800", "con", "a.", "a "),
    *("x" * 5000, "{}", "a\\b", "C:x", "http://u:p@h/", "\U000e0041"),
)
NUMBERS = (-1, 7, True, 1.5, math.nan, math.inf, -math.inf, 1 << 63, 1 << 70, 10**400, 10**5000)
OTHERS = (None, [], {}, [[]], {"a": math.nan}, {"a": {"b": 10**5000}}, [None], object())


def deep():
    found = {}
    for _ in range(5000):
        found = {"a": found}
    return found


DEEP = deep()


def classes():
    "Every class of the package: its name, its module, the names of its bases, and what it defines."
    for path in sorted((ROOT / "mlnb").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                bases = {getattr(base, "id", "") for base in node.bases}
                yield node.name, module, bases, {getattr(one, "name", "") for one in node.body}


def documents():
    "Every class that can be read from plain JSON, whatever it inherits that from."
    known, n = {"Document"}, 0
    every = list(classes())
    while n < len(known):
        n = len(known)
        known |= {name for name, _, bases, defined in every if bases & known or "from_dict" in defined}
    found = {name: module for name, module, *_ in every if name in known - {"Document"}}
    return {name: getattr(importlib.import_module(module), name) for name, module in found.items()}


DOCUMENTS = documents()


def text_of(kind):
    "A text that a field may hold."
    return next(text for text in TEXTS if kind.pattern is None or re.search(kind.pattern, text))


def any_of(kind):
    "What a field may hold that is told by a class of its own."
    artifact = {"codec": "text", "digest": DIGEST, "bytes": 1, "filename": "a.csv", "parts": [DIGEST]}
    return copy.deepcopy(PLAIN[kind.cls.__name__] or artifact)


def first_of(kind):
    "What a field of several types may hold."
    return next((example(one) for one in kind.types if not isinstance(one, inspect.NoneType)), None)


EXAMPLES = {
    inspect.UnionType: first_of,
    inspect.StrType: text_of,
    inspect.CustomType: any_of,
    inspect.StructType: lambda kind: plain_of(kind.cls),
    inspect.DictType: lambda kind: {example(kind.key_type): example(kind.value_type)},
    inspect.VarTupleType: lambda kind: [example(kind.item_type)],
    inspect.ListType: lambda kind: [example(kind.item_type)],
    inspect.TupleType: lambda kind: [example(one) for one in kind.item_types],
    inspect.TypedDictType: lambda kind: {one.name: example(one.type) for one in kind.fields},
    inspect.LiteralType: lambda kind: kind.values[0],
    inspect.BoolType: lambda kind: True,
    inspect.IntType: lambda kind: 1,
    inspect.FloatType: lambda kind: 1.0,
    inspect.NoneType: lambda kind: None,
}


def example(kind):
    "A value that a field of a type may have."
    return EXAMPLES[type(kind)](kind)


def place_of(cls, field):
    "A field and the class that defines it."
    owner = next(one for one in cls.__mro__ if field in vars(one).get("__annotations__", {}))
    return f"{owner.__name__}.{field}"


def plain_of(cls):
    "An example of a document, with every field."
    named = {
        field.encode_name: (place_of(cls, field.name), field.type) for field in inspect.type_info(cls).fields
    }
    return {name: GIVEN[place] if place in GIVEN else example(kind) for name, (place, kind) in named.items()}


def places(plain, way=()):
    "Every place in plain JSON, as the way to it."
    for key in plain if isinstance(plain, dict) else range(len(plain)):
        yield (*way, key)
        if isinstance(plain[key], dict | list):
            yield from places(plain[key], (*way, key))


def changed(plain, way, value, is_key=False):
    "The same with another value, or another key, at a place."
    *above, last = way
    found = holder = copy.copy(plain)
    for key in above:
        holder[key] = copy.copy(holder[key])
        holder = holder[key]
    if is_key:
        holder[value] = holder.pop(last)
    else:
        holder[last] = value
    return found


def read(cls, plain):
    "A document, which comes back from its file; None for damage."
    try:
        one = cls.from_dict(plain)
    except IntegrityError:
        return None
    written = json.dumps(one.as_dict(), allow_nan=False)
    assert cls.from_dict(json.loads(written)) == one
    return one


def bare(kind):
    "What of a type has no form: texts, numbers and anything at all."
    match kind:
        case inspect.AnyType():
            yield "anything"
        case inspect.StrType(pattern=None):
            yield "text"
        case inspect.IntType(ge=None) | inspect.FloatType(ge=None):
            yield "number"
        case inspect.UnionType():
            yield from (found for one in kind.types for found in bare(one))
        case inspect.DictType():
            yield from (found for one in (kind.key_type, kind.value_type) for found in bare(one))
        case inspect.VarTupleType() | inspect.ListType():
            yield from bare(kind.item_type)
        case inspect.TupleType():
            yield from (found for one in kind.item_types for found in bare(one))
        case inspect.TypedDictType():
            yield from (found for one in kind.fields for found in bare(one.type))


def test_all_documents_are_found():
    below, found = [Document], []
    while below:
        found += (more := below.pop().__subclasses__())
        below += more
    ours = {cls.__name__ for cls in found if cls.__module__.startswith("mlnb.")}
    assert ours <= DOCUMENTS.keys()
    assert {"Record", "RunDocument", "Entry", "Artifact", "TreeFile", "Tombstone", "RefMove"} <= ours


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_field_has_a_form_or_is_only_shown(name):
    for field in inspect.type_info(DOCUMENTS[name]).fields:
        found = set(bare(field.type))
        is_free = place_of(DOCUMENTS[name], field.name) in FREE
        assert found <= ({"text"} if is_free else set()), f"{name}.{field.name}: {found}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_example_of_every_document_comes_back(name):
    assert read(DOCUMENTS[name], plain_of(DOCUMENTS[name])) is not None


@pytest.mark.parametrize("name", DOCUMENTS)
def test_anything_in_any_field_is_damage_or_comes_back(name):
    cls, plain = DOCUMENTS[name], plain_of(DOCUMENTS[name])
    fields = inspect.type_info(cls).fields
    others = {one.encode_name for one in fields if "StructType" in repr(one.type)}  # have a test of their own
    for way in (way for way in places(plain) if len(way) == 1 or way[0] not in others):
        for value in (*HOSTILE_TEXTS, *NUMBERS, *OTHERS, DEEP):
            read(cls, changed(plain, way, value))
        if isinstance(way[-1], str):
            for text in HOSTILE_TEXTS:
                read(cls, changed(plain, way, text, is_key=True))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_path_that_leads_elsewhere_is_damage_in_every_field_that_is_not_free(name):
    cls, plain = DOCUMENTS[name], plain_of(DOCUMENTS[name])
    for field in inspect.type_info(cls).fields:
        value = plain[field.encode_name]
        if isinstance(value, str) and place_of(cls, field.name) not in FREE:
            for text in ASTRAY:
                assert read(cls, plain | {field.encode_name: text}) is None, (field.name, text)


@pytest.mark.parametrize("plain", [None, [], 7, "a", True, math.nan], ids=repr)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_is_no_document_is_damage(name, plain):
    with pytest.raises(IntegrityError):
        DOCUMENTS[name].from_dict(plain)


LISTS = [
    b"",
    b"[]",
    b"{",
    b'{"place": 1}',
    b'{"place": "a", "read": [[1, 2]]}',
    b'{"place": "a", "read": {"a": 1}}',
]


@pytest.mark.parametrize("content", LISTS)
def test_list_of_partitions_that_is_none_is_no_watermark(tmp_path, content):
    from mlnb.sources.watermark import read_watermark
    from mlnb.store.objects import open_store, put

    store = open_store(tmp_path)
    assert read_watermark(store, [("before://watermark", 1, put(store, content))]) is None


HOSTILE_LINES = [
    "7",
    "[]",
    "null",
    '{"save": 1}',
    '{"metrics": []}',
    '{"metrics": {"a": NaN}}',
    "\x00",
    '{"save": "a"}',
]
EVENTS = [
    '{"event": "stage", "at_utc": "", "each": [1]}',
    '{"event": [], "at_utc": 7}',
    '{"event": "line", "text": {}}',
]


def test_lines_that_no_session_and_no_run_wrote_are_passed_over(tmp_path):
    from mlnb.flow.events import follow
    from mlnb.flow.journal import read_journal

    (tmp_path / "lines").write_text("\n".join([*HOSTILE_LINES, *EVENTS, ""]))
    assert read_journal(tmp_path / "lines") == ({}, {}, [])
    assert list(follow(tmp_path / "lines", lambda: False, 0)) == []
