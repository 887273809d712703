"""Values that a program may send where the page has a field, from right to hostile."""

from __future__ import annotations

import math

from hypothesis import strategies as st

PATHS = [
    "/etc/passwd",
    "../../x",
    "C:\\x\\y",
    "http://127.0.0.1/x.mp4",
    "file:///etc/passwd",
    "a\0b",
    "\ud800",
    "~",
    ".",
]
TEXTS = [
    "",
    " ",
    "largest",
    "index:0",
    "1,2@3",
    "exact",
    "20",
    "NaN",
    "<img src=x onerror=alert(1)>",
    "**a**",
    "\u202e",
]


def any_value() -> st.SearchStrategy:
    """Plain values as JSON has them, and NaN and infinity, which Python's JSON has too."""
    numbers = st.one_of(
        st.integers(-3, 300),
        st.integers(),
        st.integers(10**18, 10**25),
        st.floats(),
        st.sampled_from([math.nan, math.inf, -math.inf, 1e308, 5e-324, -0.0, 10**400]),
    )
    texts = st.one_of(
        st.sampled_from(TEXTS + PATHS),
        st.text(max_size=30),
        st.integers(1, 30).map(lambda count: "9" * 2**count if count < 12 else "a" * (100 * count)),
    )
    files = st.fixed_dictionaries(
        {"path": st.one_of(texts, numbers, st.none())},
        optional={"meta": st.just({"_type": "gradio.FileData"}), "url": texts, "is_stream": st.booleans()},
    )
    plain = st.one_of(st.none(), st.booleans(), numbers, texts, files)
    nested = st.recursive(
        plain,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
        max_leaves=8,
    )
    return st.one_of(plain, nested)
