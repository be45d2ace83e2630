import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from executus.front_matter import parse_yaml, split_document
from executus.yaml_text import MAX_YAML, dump_yaml


def test_the_body_is_what_stands_below_without_blank_lines_around_it() -> None:
    assert split_document("---\na: 1\n---\n\n# Hi\n\n---\nmore\n\n") == (
        {"a": 1},
        "# Hi\n\n---\nmore",
    )
    assert split_document("+++\na = 1\n+++\nHi") == ({"a": 1}, "Hi")
    assert split_document("\ufeff---\r\na: 1\r\n---\r\nHi\r\n") == ({"a": 1}, "Hi")
    assert split_document("---\n---") == ({}, "")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("no", "no"),
        ("on", "on"),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("010", "010"),
        ("0x1f", "0x1f"),
        ("1.2.3", "1.2.3"),
        ("", None),
        ("~", None),
        ("true", True),
        ("-12", -12),
        ("1.5", 1.5),
        ("1e3", 1_000.0),
        ("'1'", "1"),
        ("9" * 30, "9" * 30),
    ],
)
def test_a_scalar_is_what_a_person_meant(written: str, meant: object) -> None:
    value = parse_yaml(f"key: {written}")["key"]
    assert (value, type(value)) == (meant, type(meant))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hello", "no front matter"),
        ("---\na: 1\n", "never closed"),
        ("---\nfine: 1\na: b: c\n---\n", "line 3: mapping values are not allowed here"),
        ("---\na: 1\na: 2\n---\n", "line 3: `a` stands twice"),
        ("---\na: {b: 1, b: 2}\n---\n", "`b` stands twice"),
        ("---\na: &x [1]\nb: *x\n---\n", "line 3: anchors and aliases are not read"),
        (
            "---\na: !!python/object/apply:os.system [ls]\n---\n",
            "could not determine a constructor",
        ),
        ("---\na: !!timestamp 2024-01-01\n---\n", "could not determine a constructor"),
        ("---\n- a\n---\n", "not a mapping"),
        ("---\n1: a\n---\n", "not a mapping"),
        ("---\na: \x07\n---\n", "special characters are not allowed"),
        ("---\na: " + "[" * 5_000 + "\n---\n", "nested too deep"),
        ("---\na: " + "x" * MAX_YAML + "\n---\n", "characters of YAML; the limit is 100,000"),
        ("+++\nfine = 1\na = \n+++\n", "line 3"),
        ("+++\na = " + "[" * 5_000 + "\n+++\n", "nested too deep"),
    ],
)
def test_what_does_not_parse_says_why_in_one_line_with_the_line_of_the_file(text, shown) -> None:
    with pytest.raises(ValueError, match=shown) as error:
        split_document(text)
    assert "\n" not in str(error.value)


def test_nine_lines_of_anchors_do_not_grow_into_a_billion_values() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    with pytest.raises(ValueError, match="line 2: anchors"):
        parse_yaml("\n".join(lines))


# PyYAML writes U+0085 and its like unescaped and reads them as line ends.
texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]) | st.just("\n"), max_size=8
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(texts, values, max_size=4))
def test_what_is_written_as_yaml_is_read_as_it_was(fields: dict[str, object]) -> None:
    assert parse_yaml(dump_yaml(fields)) == fields
    assert yaml.safe_load(dump_yaml(fields)) == fields


@given(st.text(alphabet="-+ab:[]{}&*!\n \t'\"#|>~\x00\ud800", max_size=60))
def test_no_text_raises_anything_but_one_value_error(text: str) -> None:
    for document in (text, f"---\n{text}\n---\n", f"+++\n{text}\n+++\n"):
        try:
            split_document(document)
        except ValueError:
            continue
