"""Hostile texts and JSON values, as Hypothesis strategies and lists."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

HOSTILE_TEXTS = [
    "",
    " ",
    "..",
    "../../decoy",
    "/etc/passwd",
    "a/b",
    "..\\..\\decoy",
    "C:\\decoy",
    "CON",
    "a\0b",
    "a\nb: c\r\n\r\nd",
    "\x1b[2J\x1b]0;pwned\x07",
    "\u202egnp.exe",
    "\ufeff\u2028\u2029",
    "%2e%2e%2f%252e%252e",
    "'; DROP TABLE tasks; --",
    '" OR 1=1 --',
    "%_*?[]",
    "NEAR(a b) AND (",
    "${jndi:ldap://x}",
    "{{7*7}}",
    "-rf",
    "--help",
    "null",
    "2026-02-30T25:61:61Z",
    "\U0001f4a3" * 50,
    "x" * 5000,
]
HOSTILE_VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    -0.0,
    2**53,
    2**63,
    2**64 - 1,
    -(2**63),
    1e308,
    5e-324,
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"id": {}},
    {"__proto__": {"a": 1}, "constructor": [1]},
    [[[[[[[[[[1]]]]]]]]]],
]

hostile_texts = st.sampled_from(HOSTILE_TEXTS) | st.text(max_size=12)
hostile_values = st.sampled_from(HOSTILE_VALUES) | hostile_texts


def fitting(schema: dict[str, Any], texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Return what a JSON Schema describes, often nearly, sometimes not at all."""
    return st.one_of(_of(schema, texts), _of(schema, texts), _of(schema, texts), hostile_values)


def _of(schema: dict[str, Any], texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    if "anyOf" in schema:
        return st.one_of([fitting(one, texts) for one in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "string":
            return _text(schema) | texts
        case "integer" | "number":
            least = schema.get("minimum", schema.get("exclusiveMinimum", -1))
            most = schema.get("maximum", 2**53 - 1)
            return st.sampled_from([least, most, 0, 1, 2, 2.5, 1e300, 2**63, 2**64 - 1])
        case "boolean":
            return st.booleans()
        case "array":
            return st.lists(fitting(schema.get("items", {}), texts), max_size=3)
        case "object":
            known = schema.get("properties", {})
            if not known:
                return st.dictionaries(hostile_texts, hostile_values, max_size=3)
            needed = set(schema.get("required", ()))
            return st.fixed_dictionaries(
                {name: fitting(known[name], texts) for name in known if name in needed},
                optional={
                    name: fitting(known[name], texts) for name in known if name not in needed
                },
            )
    return hostile_values


def _text(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    good = {
        "uuid": "0a9e0000-0000-4000-8000-000000000001",
        "date-time": "2026-01-01T00:00:00Z",
        "uri": "https://example.org/x",
    }.get(schema.get("format", ""), "x" * max(1, schema.get("minLength", 1)))
    return st.just(good)


def drawn(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """Return so many examples, the same each time."""
    found: list[Any] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def draw(example: Any) -> None:
        found.append(example)

    draw()
    return found
