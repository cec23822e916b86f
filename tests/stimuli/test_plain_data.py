"""Plain data knows its lines, and is nothing but data."""

from collections.abc import Iterator

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ephys.stimuli import plain_data
from ephys.stimuli.plain_data import BadFileError, Cell, read_toml, read_yaml

# Every number is its own line; that of a mapping's value is the line of its key.
YAML = """# comment: [
a: 2
b: [3, 3,
    4]
c:
  - 6
  - x: 7
    y:
      - 9

  - {z: 11, w: [11, 11]}
text: |
  d: 0
e: 14
f: &f {x: 15}
g: "
  "
h: 18
"""
TOML = r"""# comment = [
a = 2
b = [3, 3, # ]
  4,

  6,
]
text = '''
c = 0
'''
e = 11
"f [" = { x = 12, y = [12, 12] }
g.h.i = 13
j = "# \" ]"
k = 15

[[t]]
x = 18
[t.u] # [
y = 20
v = [[21, 21],
  [22, 22]]

[[t]]
x = 25
[[t.deeper]]
x = 27
[[t.deeper]]
x = 29
[o.p]
q = 31
[r]
s = [
  {x = 34}, {x = 34},
  {x = 35},
]
m = QUOTES "quoted" \QUOTES [ QUOTES""
n = 38
""".replace("QUOTES", 3 * '"')


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of YAML's parsers, of which not every machine has the first."""
    if not hasattr(yaml, request.param):
        pytest.skip("this PyYAML is without libyaml")
    monkeypatch.setattr(plain_data, "_LOADER", getattr(yaml, request.param))


def numbers(cell: Cell) -> Iterator[Cell]:
    if isinstance(cell.value, int):
        yield cell
    inner = cell.value.values() if isinstance(cell.value, dict) else cell.value
    for one in inner if isinstance(inner, list) or isinstance(cell.value, dict) else []:
        yield from numbers(one)


def plain(cell: Cell) -> object:
    if isinstance(cell.value, dict):
        return {key: plain(one) for key, one in cell.value.items()}
    if isinstance(cell.value, list):
        return [plain(one) for one in cell.value]
    return cell.value


@pytest.mark.usefixtures("loader")
def test_every_number_of_yaml_is_where_its_line_is_said_to_be() -> None:
    found = list(numbers(read_yaml(YAML)))
    assert len(found) == 13
    for cell in found:
        assert cell.line == cell.value


def test_every_number_of_toml_is_where_its_line_is_said_to_be() -> None:
    for text in (TOML, TOML.replace("\n", "\r\n")):
        found = list(numbers(read_toml(text)))
        assert len(found) == 25
        for cell in found:
            assert cell.line == cell.value


NUMBERS = {
    "0": 0,
    "-12": -12,
    "+3": 3,
    "1.": 1.0,
    ".5": 0.5,
    "1e-05": 1e-05,
    "-2.5E+3": -2500.0,
    "1e400": float("inf"),
    "-.inf": -float("inf"),
}
WORDS = [
    "no",
    "on",
    "010",
    "0x10",
    "1_000",
    "1:30",
    "2020-01-01",
    "1e",
    ".",
    "e5",
    "=",
    "<<",
    "nan",
]


@pytest.mark.usefixtures("loader")
def test_a_number_of_yaml_is_what_looks_like_one_and_not_what_version_1_1_made_of_words() -> None:
    for text, number in NUMBERS.items():
        value = read_yaml(f"a: {text}").value["a"].value
        assert (value, type(value)) == (number, type(number))
        assert read_yaml(f"a: '{text}'").value["a"].value == text
    for word in WORDS:
        assert read_yaml(f"a: {word}").value["a"].value == word
    for text, constant in {"true": True, "False": False, "~": None, "": None}.items():
        assert read_yaml(f"a: {text}").value["a"].value is constant


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=100, deadline=None)
def test_a_number_is_read_to_the_last_bit(number: float) -> None:
    for cell in (read_yaml(f"a: {number!r}"), read_toml(f"a = {number!r}")):
        assert cell.value["a"].value.hex() == number.hex()


@pytest.mark.usefixtures("loader")
def test_an_alias_is_what_it_stands_for_at_its_own_line() -> None:
    content = read_yaml("a: &x [1]\nb: *x\nc:\n  - *x\n")
    assert plain(content) == {"a": [1], "b": [1], "c": [[1]]}
    assert [content.value["b"].line, content.value["c"].value[0].line] == [2, 4]


REFUSED_YAML = [
    ("a: 1\na: 2\n", 2, "'a' is given twice"),
    ("a:\n  b: 1\n  'b': 2\n", 3, "'b' is given twice"),
    ("a: 1\nb: !!python/object/apply:os.system [exit]\n", 2, "the tag 'tag:yaml.org,2002:python/"),
    ("a: !x 1\n", 1, "the tag '!x' is refused; a file is plain data"),
    ("a: *x\n", 1, "no YAML: there is no anchor 'x' before it"),
    ("a: &x [*x]\n", 1, "no YAML: there is no anchor 'x' before it"),
    ("? [a]\n: b\n", 1, "a key is no plain text"),
    ("a: 1\n---\nb: 2\n", 2, "a second document begins"),
    ("a: 1\n...\nb: 2\n", 3, "no YAML: "),
    ("a: [1,\n  2\n", 3, "no YAML: "),
    ("a: b\n c: d\n", 2, "no YAML: mapping values are not allowed"),
    ("a: 1\n\tb: 2\n", 2, "no YAML: found "),
    ("a: 1\nb: \x07\n", 2, "no YAML: "),
    ("a: " + "[" * 100_000, 1, "lists or mappings are nested more than 8 deep"),
    ("a: " + "{x: " * 100_000, 1, "lists or mappings are nested more than 8 deep"),
    ("- " * 100_000, 1, "lists or mappings are nested more than 8 deep"),
]


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(("text", "line", "message"), REFUSED_YAML)
def test_yaml_that_is_more_or_less_than_plain_data_is_refused(
    text: str, line: int, message: str
) -> None:
    with pytest.raises(BadFileError) as caught:
        read_yaml(text)
    assert caught.value.line == line
    assert str(caught.value).startswith(message)
    assert len(str(caught.value).splitlines()) == 1


REFUSED_TOML = [
    ("a = 1\na = 2\n", 2, "no TOML: Cannot overwrite a value"),
    ("a = 1\n\nb = x\n", 3, "no TOML: Invalid value"),
    ("a = '''\n", 2, "no TOML: Expected \"'''\""),
    ("a = " + "9" * 5000, 1, "no TOML: Exceeds the limit"),
    ("a = " + "[" * 100_000, 1, "lists or tables are nested more than 8 deep"),
    ("\na = " + "{x = " * 100_000, 2, "lists or tables are nested more than 8 deep"),
    ("a" + ".a" * 100_000 + " = 1", 1, "lists or tables are nested more than 8 deep"),
    ("[a" + ' . "a"' * 100_000 + "]", 1, "lists or tables are nested more than 8 deep"),
    ("a = 1\n'" + '"\\' * 100_000, 2, "no TOML: "),
    ('a = "' + '"\\' * 100_000, 1, "no TOML: "),
    ('a = """' + '\\"""\\' * 100_000, 1, "no TOML: "),
]


@pytest.mark.parametrize(("text", "line", "message"), REFUSED_TOML)
def test_toml_that_is_none_or_too_deep_is_refused(text: str, line: int, message: str) -> None:
    with pytest.raises(BadFileError) as caught:
        read_toml(text)
    assert caught.value.line == line
    assert str(caught.value).startswith(message)
    assert len(str(caught.value).splitlines()) == 1


def test_an_empty_document_is_nothing_or_has_no_keys() -> None:
    assert read_yaml("# only this\n").value is None
    assert read_toml("# only this\n").value == {}


def test_what_is_said_is_cut_to_less_than_a_line() -> None:
    for value, text in [("a\nb", r"'a\nb'"), (1234567, "1,234,567"), (1.5, "1.5"), (True, "True")]:
        assert plain_data.brief(value) == text
    assert plain_data.brief(10**5000) == "a number of many digits"
    assert len(plain_data.brief("x" * 1000)) == 60
