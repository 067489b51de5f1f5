"""What a document of the Elastic Common Schema 8.11 or of OCSF 1.5 has to be: `check(format, event)`.

It answers with the event's id; the ValueError of a document that is none says why. OCSF is checked by JSON Schemas that
ocsf-json-schema makes of the framework's own export, in which no attribute may be that is not known. Of ECS the allowed
values and the field sets are those of its field reference.
"""

import ipaddress
import re


def check(shape, event):
    {"okta": lambda _: None, "ecs": ecs, "ocsf": ocsf}[shape](event)
    return id_of(shape, event)


def id_of(shape, event):
    path = {"okta": ("uuid",), "ecs": ("event", "id"), "ocsf": ("metadata", "uid")}[shape]
    for name in path:
        event = event[name]
    return event


def demand(holds, what):
    if not holds:
        raise ValueError(what)


# ---- ECS 8.11

MOMENT = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
# Without pipeline_error and signal, which are the receiver's, and state, which is not for what has changed.
KINDS = {"alert", "asset", "enrichment", "event", "metric"}
OUTCOMES = {"success", "failure", "unknown"}
TYPES = {
    "access", "admin", "allowed", "change", "connection", "creation", "deletion", "denied", "end", "error", "group",
    "indicator", "info", "installation", "protocol", "start", "user",
}
# Categories, and the types that are expected with each.
CATEGORIES = {
    "api": "access admin allowed change creation deletion denied end info start user",
    "authentication": "start end info",
    "configuration": "access change creation deletion info",
    "database": "access change info error",
    "driver": "change end info start",
    "email": "info",
    "file": "access change creation deletion info",
    "host": "access change end info start",
    "iam": "admin change creation deletion group info user",
    "intrusion_detection": "allowed denied info",
    "library": "start",
    "malware": "info",
    "network": "access allowed connection denied end info protocol start",
    "package": "access change deletion info installation start",
    "process": "access change end info start",
    "registry": "access change creation deletion",
    "session": "start end info",
    "threat": "indicator",
    "vulnerability": "info",
    "web": "access error info",
}
# Field sets that stand at the top, and one of our own.
FIELD_SETS = {
    "agent", "client", "cloud", "container", "data_stream", "destination", "device", "dll", "dns", "ecs", "email",
    "error", "event", "faas", "file", "group", "host", "http", "log", "network", "observer", "orchestrator",
    "organization", "package", "process", "registry", "related", "rule", "server", "service", "source", "threat", "tls",
    "url", "user", "user_agent", "volume", "vulnerability", "edgeward",
}
BASE = {"@timestamp", "message", "labels", "tags"}
# Fields that are normalised as arrays; every other has one value.
ARRAYS = {
    "event.category", "event.type", "related.ip", "related.user", "related.hosts", "related.hash",
    "threat.technique.id", "threat.technique.name", "threat.technique.subtechnique.id",
    "threat.technique.subtechnique.name", "threat.tactic.id", "threat.tactic.name",
}
# What is no word and no text, by the end of the field's name.
NUMBERS = {"event.severity", "event.sequence", "event.duration", "network.bytes", "network.packets"}
FLOATS = {"event.risk_score", "event.risk_score_norm"}
DATES = {"@timestamp", "event.start", "event.end", "event.created", "event.ingested", "threat.indicator.last_seen"}


def ecs(event):
    demand(event["ecs"] == {"version": "8.11.0"}, f"ecs {event.get('ecs')}")
    demand(set(event) <= FIELD_SETS | BASE, f"field sets {set(event) - FIELD_SETS - BASE}")
    about = event["event"]
    demand(about["kind"] in KINDS, f"event.kind {about['kind']}")
    demand(about["outcome"] in OUTCOMES, f"event.outcome {about['outcome']}")
    categories, types = about["category"], about["type"]
    for name, words, allowed in (("category", categories, set(CATEGORIES)), ("type", types, TYPES)):
        demand(isinstance(words, list) and words, f"event.{name} {words}")
        demand(set(words) <= allowed and len(set(words)) == len(words), f"event.{name} {words}")
    expected = {kind for category in categories for kind in CATEGORIES[category].split()}
    demand(set(types) <= expected, f"event.type {types} with {categories}")
    demand(isinstance(event["message"], str) and event["message"], "message")
    leaves("", event)


def leaves(path, value):
    if isinstance(value, dict):
        demand(value, f"{path} is empty")
        for name, inner in value.items():
            demand("." not in name or path.startswith("edgeward"), f"{path}: a point in {name}")
            leaves(f"{path}.{name}" if path else name, inner)
    elif isinstance(value, list):
        demand(path in ARRAYS and value, f"{path} is {value}")
        for inner in value:
            leaf(path, inner)
    else:
        demand(path not in ARRAYS, f"{path} is no array")
        leaf(path, value)


def leaf(path, value):
    if path.startswith("edgeward."):
        demand(isinstance(value, str), f"{path} is {value!r}")
    elif path in DATES:
        demand(isinstance(value, str) and MOMENT.match(value), f"{path} is {value!r}")
    elif path.endswith(".ip"):
        demand(isinstance(value, str) and ipaddress.ip_address(value), f"{path} is {value!r}")
    elif path.endswith(".port"):
        demand(type(value) is int and 0 < value < 65536, f"{path} is {value!r}")
    elif path in NUMBERS or path.endswith("as.number"):
        demand(type(value) is int, f"{path} is {value!r}")
    elif path in FLOATS or path.endswith((".lat", ".lon")):
        demand(type(value) in (int, float), f"{path} is {value!r}")
    else:
        demand(isinstance(value, str) and value, f"{path} is {value!r}")


# ---- OCSF 1.5

CLASSES = {}


class Class:
    """A class with a set of profiles."""

    def __init__(self, schema, uid, profiles):
        from jsonschema import Draft202012Validator
        from ocsf_json_schema import OcsfJsonSchemaEmbedded

        maker = OcsfJsonSchemaEmbedded(schema)
        name = maker.lookup_class_name_from_uid(uid)
        self.facts = schema["classes"][name]
        unknown = set(profiles) - set(self.facts.get("profiles") or [])
        demand(not unknown, f"{name} has no profile {unknown}")
        self.validator = Draft202012Validator(maker.get_class_schema(name, list(profiles)))

    def check(self, event):
        faults = [f"{'.'.join(map(str, it.absolute_path))}: {it.message[:300]}" for it in self.validator.iter_errors(event)]
        demand(not faults, "; ".join(faults[:5]))
        demand(event["type_uid"] == event["class_uid"] * 100 + event["activity_id"], f"type_uid {event['type_uid']}")
        demand(event["category_uid"] == event["class_uid"] // 1000, f"category_uid {event['category_uid']}")
        demand(event["class_name"] == self.facts["caption"], f"class_name {event['class_name']}")
        # A number's word is the schema's own, unless the number is that for others.
        for name, attribute in self.facts["attributes"].items():
            word = attribute.get("sibling")
            if attribute.get("enum") and name in event and word in event and event[name] != 99 and name != "type_uid":
                caption = attribute["enum"][str(event[name])]["caption"]
                demand(event[word] == caption, f"{word} is {event[word]!r}, not {caption!r}")


def ocsf(event):
    from ocsf_json_schema import get_ocsf_schema

    demand(event["metadata"]["version"] == "1.5.0", f"version {event['metadata']['version']}")
    if "schema" not in CLASSES:
        CLASSES["schema"] = get_ocsf_schema(version="1.5.0")
    key = (event["class_uid"], tuple(event["metadata"]["profiles"]))
    if key not in CLASSES:
        CLASSES[key] = Class(CLASSES["schema"], *key)
    CLASSES[key].check(event)
