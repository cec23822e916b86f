"""A protocol in a file is the protocol, and a bad file is answered in one line that says where."""

import pickle
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from ephys.nearest import nearest
from ephys.stimuli import (
    StimulusSet,
    gabor,
    grating,
    paired,
    plaid,
    protocol_files,
    protocols,
    sweep,
    white_noise,
)
from ephys.stimuli.colors import COLORS
from ephys.stimuli.families import FAMILIES, PARAMETERS
from ephys.stimuli.protocol_files import read_protocol, write_protocol
from ephys.stimuli.protocols import PROTOCOLS, Protocol
from ephys.visual_field import VisualField

FORMATS = (".yaml", ".toml")

YAML = """\
name: "mine"
purpose: "What for?"
stimuli:
  - family: "grating"
    diameter: 2
    mean_luminance: 0.5
    phase: 0
    contrast: [0.1, 0.5, 1]
    spatial_frequency: {start: 0.5, factor: 2, count: 5}
    orientation: {start: 0, step: 15, count: 12}
  - family: "plaid"
    paired: true
    contrast: 0.5
    mask_angle: 90
    mask_contrast: [0.3, 0.2, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1, 0.2, 0.1]
    mask_phase: 0
    mean_luminance: 0.5
    orientation: [45, 0, 45, 0, 45, 0, 45, 0, 45, 0]
    phase: 0
    spatial_frequency: [1, 2, 1, 2, 1, 2, 1, 2, 1, 2]
"""
TOML = """\
name = "mine"
purpose = "What for?"

[[stimuli]]
family = "grating"
diameter = 2
mean_luminance = 0.5
phase = 0
contrast = [0.1, 0.5, 1]
spatial_frequency = {start = 0.5, factor = 2, count = 5}
orientation = {start = 0, step = 15, count = 12}

[[stimuli]]
family = "plaid"
paired = true
contrast = 0.5
mask_angle = 90
mask_contrast = [0.3, 0.2, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1, 0.2, 0.1]
mask_phase = 0
mean_luminance = 0.5
orientation = [45, 0, 45, 0, 45, 0, 45, 0, 45, 0]
phase = 0
spatial_frequency = [1, 2, 1, 2, 1, 2, 1, 2, 1, 2]
"""
BOTH = [(".yaml", YAML), (".toml", TOML)]
HEAD = "stimuli:\n  - family: grating\n    spatial_frequency: 1\n"  # three lines
WIDE = VisualField(64, 128, 16.0)


def example() -> Protocol:
    axes = sweep(
        grating,
        contrast=[0.1, 0.5, 1],
        diameter=2,
        spatial_frequency=[0.5, 1, 2, 4, 8],
        orientation=range(0, 180, 15),
    )
    pairs = paired(
        plaid,
        contrast=0.5,
        orientation=[45, 0] * 5,
        spatial_frequency=[1, 2] * 5,
        mask_contrast=[0.3, 0.2, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1, 0.2, 0.1],
    )
    return Protocol("mine", "What for?", "", axes + pairs)


def read(folder: Path, text: str, suffix: str = ".yaml") -> Protocol:
    path = folder / f"my{suffix}"
    path.write_bytes(text.encode())
    return read_protocol(path)


def refusal(folder: Path, text: str, suffix: str = ".yaml") -> str:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        read(folder, text, suffix)
    message = str(caught.value)
    assert message.startswith(str(folder))
    return message.removeprefix(f"{folder}/")


def among(word: str, known: Iterable[str]) -> str:
    names = list(known)
    return f"did you mean {nearest(word, names)}? There are {', '.join(names)}"


# There and back.


@pytest.mark.parametrize(("suffix", "text"), BOTH)
def test_a_protocol_is_written_in_few_words(tmp_path: Path, suffix: str, text: str) -> None:
    assert write_protocol(example(), tmp_path / f"a{suffix}").read_text() == text


@pytest.mark.parametrize(("suffix", "text"), BOTH)
def test_what_is_written_is_read_as_what_it_was(tmp_path: Path, suffix: str, text: str) -> None:
    back = read(tmp_path, text, suffix)
    assert (back.name, back.purpose, back.citation) == ("mine", "What for?", "")
    assert back.stimuli.table.identical(example().stimuli.table)
    assert back.stimuli.sha256 == example().stimuli.sha256


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", ["contrast_invariance", "surround", "isoluminant_frequency"])
def test_a_named_protocol_can_be_written_down(tmp_path: Path, name: str, suffix: str) -> None:
    protocol = protocols.protocol(name)
    back = read_protocol(write_protocol(protocol, tmp_path / f"a{suffix}"))
    assert (back.name, back.purpose) == (protocol.name, protocol.purpose)
    assert back.citation == protocol.citation
    assert back.stimuli.table.identical(protocol.stimuli.table)


def numbers(name: str) -> st.SearchStrategy[float]:
    one = PARAMETERS[name]
    # Beyond the largest whole number that is exact, a remainder on a circle may say nothing.
    low, high = max(one.low, -1e15), min(one.high, 1e15)
    some = st.floats(low, high, exclude_min=one.above)
    usual = st.integers(int(np.ceil(low + one.above)), int(min(high, 500))).map(float)
    return some if low + one.above > high else some | usual


def axis(name: str, most: int) -> st.SearchStrategy[list[float]]:
    period = PARAMETERS[name].period
    alike = (lambda value: value % period) if period else None
    return st.lists(numbers(name), min_size=1, max_size=most, unique_by=alike or (lambda v: v))


SOME = {
    "grating": ("orientation", "phase", "contrast", "x", "y", "diameter", "envelope_sd"),
    "gabor": ("orientation", "phase", "y", "edge_width"),
    "plaid": ("mask_angle", "mask_phase", "mean_luminance", "inner_diameter"),
    "white_noise": ("contrast", "x", "mean_luminance"),
}
NEEDED = {
    "grating": ("spatial_frequency",),
    "gabor": ("spatial_frequency", "envelope_sd"),
    "plaid": ("spatial_frequency", "mask_contrast"),
    "white_noise": ("check_size", "side", "seed"),
}


@st.composite
def sets(draw: st.DrawFn) -> StimulusSet:
    """Sweeps and pairs of some families, colors and words, one after the other, some shuffled."""
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        family = draw(st.sampled_from(sorted(SOME)))
        names = [*NEEDED[family], *draw(st.lists(st.sampled_from(SOME[family]), unique=True))]
        given_: dict[str, Any] = {}
        if draw(st.booleans()):
            color = draw(st.sampled_from(sorted(COLORS)))
            names += COLORS[color]
            given_["color"] = color
        if draw(st.booleans()):
            given_["encoding"] = draw(st.sampled_from(["linear", "srgb", ["srgb", "linear"]]))
        if draw(st.booleans()):
            given_["part"] = draw(
                st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=9)
            )
        given_ = dict(draw(st.permutations([*given_.items(), *((name, None) for name in names)])))
        if draw(st.booleans()):
            for name in names:
                given_[name] = draw(axis(name, 3))
            parts.append(sweep(FAMILIES[family].draw, **given_))
        else:
            count = draw(st.integers(2, 6))
            for name in names:
                values = draw(st.lists(numbers(name), min_size=count, max_size=count))
                given_[name] = draw(st.sampled_from([values, values[:1]]))
            given_.pop("encoding", None)
            parts.append(paired(FAMILIES[family].draw, **given_))
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    if draw(st.booleans()):
        whole = whole[draw(st.permutations(range(len(whole))))] if len(whole) < 50 else whole[::-1]
    return whole


@given(stimuli=sets(), text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_set_is_the_same_when_it_comes_back(
    tmp_path_factory: pytest.TempPathFactory, stimuli: StimulusSet, text: str
) -> None:
    folder = tmp_path_factory.mktemp("files")
    purpose = " ".join(text.split())
    for suffix in FORMATS:
        path = write_protocol(Protocol("a-1_B", purpose, "by", stimuli), folder / f"x{suffix}")
        back = read_protocol(path)
        assert (back.name, back.purpose, back.citation) == ("a-1_B", purpose, "by")
        assert back.stimuli.sha256 == stimuli.sha256
        for name in ["family", *stimuli.parameters]:
            np.testing.assert_array_equal(back.stimuli.table[name], stimuli.table[name])
            assert back.stimuli.table[name].attrs == stimuli.table[name].attrs
        assert back.stimuli.parameters == stimuli.parameters


# What a file says.


def test_every_line_of_the_example_is_understood(tmp_path: Path) -> None:
    # The example in the module's text.
    text = protocol_files.__doc__ or ""
    blocks = re.findall(r".. code-block:: yaml\n\n((?:    .*\n|\n)+)", text)
    assert len(blocks) == 2
    one = sweep(
        grating,
        orientation=np.arange(12) * 15,
        spatial_frequency=[0.5, 1, 2],
        contrast=[0.1, 0.5, 1],
        diameter=2,
    )
    other = paired(plaid, spatial_frequency=2, orientation=[0, 45], mask_contrast=[0.1, 0.5])
    read_ = read(tmp_path, blocks[0].replace("\n    ", "\n")[4:])
    assert read_.name == "my"
    assert read_.stimuli.table.identical((one + other).table)
    named = read(tmp_path, blocks[1].replace("\n    ", "\n")[4:])
    expected = protocols.contrast_invariance(orientations=12, contrasts=[0.1, 1])
    assert named.stimuli.table.identical(expected.table)


def test_a_named_protocol_keeps_its_purpose_and_citation_unless_the_file_has_others(
    tmp_path: Path,
) -> None:
    plain = read(tmp_path, "protocol: hue\nparameters: {hues: 5}\n")
    assert (plain.name, plain.purpose) == ("my", protocols.purpose("hue"))
    assert plain.citation == protocols.citation("hue")
    assert plain.stimuli.table.identical(protocols.hue(hues=5).table)
    own = read(tmp_path, "protocol: hue\npurpose: >\n  Mine.\ncitation: me\nname: a-1\n")
    assert (own.name, own.purpose, own.citation) == ("a-1", "Mine.", "me")


def test_a_named_protocol_is_for_the_display(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("protocol = 'size'\nparameters.phases = 2\n")
    found = read_protocol(path, WIDE).stimuli
    assert found.table.identical(protocols.size(field=WIDE, phases=2).table)
    assert found.sha256 != read_protocol(path).stimuli.sha256


def test_a_parameter_that_may_be_none_can_be(tmp_path: Path, monkeypatch: Any) -> None:
    def make(
        *,
        some: float | None = 1.0,
        word: str = "a",
        seed: int = 0,
        many: ArrayLike = 0,
    ) -> StimulusSet:
        """For what?"""
        seen.update(locals())
        return sweep(grating, spatial_frequency=1)

    seen: dict[str, Any] = {}
    monkeypatch.setitem(PROTOCOLS, "hue", make)
    read(tmp_path, "protocol: hue\nparameters: {some: null, word: b, seed: 20240229, many: 2}\n")
    assert seen.pop("many").tolist() == [2]
    assert {name: seen[name] for name in ("some", "word", "seed")} == {
        "some": None,
        "word": "b",
        "seed": 20240229,
    }


def test_an_optional_parameter_may_be_nan_among_others(tmp_path: Path) -> None:
    # The last size is that of the whole field.
    sizes = [1, 2, np.nan]
    for suffix, text in [
        (".yaml", HEAD + "    diameter: [1, 2, .nan]\n"),
        (".toml", "stimuli=[{family='grating', spatial_frequency=1, diameter=[1, 2, nan]}]"),
    ]:
        found = read(tmp_path, text, suffix).stimuli
        assert found.table.identical(sweep(grating, spatial_frequency=1, diameter=sizes).table)


def test_an_alias_is_what_it_stands_for(tmp_path: Path) -> None:
    text = (
        "stimuli:\n  - &a {family: grating, spatial_frequency: 1, phase: &p [0, 90]}\n"
        "  - {family: gabor, spatial_frequency: 1, envelope_sd: 1, phase: *p}\n  - *a\n"
    )
    one = sweep(grating, spatial_frequency=1, phase=[0, 90])
    other = sweep(gabor, spatial_frequency=1, envelope_sd=1, phase=[0, 90])
    assert read(tmp_path, text).stimuli.table.identical((one + other + one).table)


def test_many_blocks_are_shown_in_their_order(tmp_path: Path) -> None:
    blocks = [f"  - {{family: grating, spatial_frequency: {i}}}\n" for i in range(101)]
    found = read(tmp_path, "stimuli:\n" + "".join(blocks)).stimuli
    np.testing.assert_array_equal(found.table["spatial_frequency"], np.arange(101))


def test_a_byte_order_mark_and_a_suffix_in_capitals_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "my.YML"
    path.write_text("\ufeff" + HEAD, encoding="utf-8")
    assert len(read_protocol(path).stimuli) == 1


# Refusals.

KEYS = ("name", "purpose", "citation", "stimuli", "protocol", "parameters")
OF_GRATINGS = (
    *("spatial_frequency", "orientation", "phase", "contrast", "x", "y", "mean_luminance"),
    *("diameter", "inner_diameter", "edge_width", "envelope_sd"),
    *("color", "encoding", "file", "part"),
)
SERIES = "a series of contrast needs start, count, and either step or factor"
EITHER = "a protocol file has either stimuli or protocol; this one has"
BAD = [
    ("", 1, "the file is empty"),
    ("- 1\n", 1, "a protocol file is a list, not a mapping"),
    ("hello\n", 1, "a protocol file is text ('hello'), not a mapping"),
    ("name: a\nname: b\n" + HEAD, 2, "'name' is given twice"),
    (
        HEAD + "nam: b\n",
        4,
        f"'nam' is no key of a protocol file; {among('nam', KEYS)}",
    ),
    (HEAD + "name: [a]\n", 4, "name is a list, not text"),
    (HEAD + "name: 12\n", 4, "name is a number (12), not text"),
    (HEAD + "name: two words\n", 4, "name='two words' is not of letters, digits, - and _ alone"),
    (HEAD + "purpose: |\n  One.\n  Two.\n", 4, "purpose is of more than one line"),
    ("\nname: a\n", 2, f"{EITHER} neither"),
    (HEAD + "protocol: hue\n", 4, f"{EITHER} both"),
    (HEAD + "parameters: {}\n", 4, "parameters are for a protocol, not for stimuli"),
    ("name: a\nstimuli: []\n", 2, "stimuli is a list of 0 blocks, not of 1 to 1000"),
    ("stimuli: grating\n", 1, "stimuli is text ('grating'), not a list"),
    ("stimuli:\n  family: grating\n", 1, "stimuli is a mapping, not a list"),
    ("stimuli:\n  - grating\n", 2, "a block of stimuli is text ('grating'), not a mapping"),
    ("stimuli:\n  - x: 1\n", 2, f"a block needs a family; there are {', '.join(FAMILIES)}"),
    (
        "stimuli:\n  - x: 1\n    family: gabr\n",
        3,
        f"'gabr' is no family; {among('gabr', FAMILIES)}",
    ),
    ("stimuli:\n  - family: gabor\n    x: 0\n", 2, "a gabor needs spatial_frequency, envelope_sd"),
    (
        HEAD + "    contrst: 1\n",
        4,
        f"'contrst' is no parameter of a grating; {among('contrst', OF_GRATINGS)}",
    ),
    (HEAD + "    spatial_frequency: 2\n", 4, "'spatial_frequency' is given twice"),
    (HEAD + "    paired: yes\n", 4, "paired is text ('yes'), not true or false"),
    # Wrong types.
    (HEAD + "    contrast: high\n", 4, "contrast is text ('high'), not a number"),
    (HEAD + "    contrast: '1'\n", 4, "contrast is text ('1'), not a number"),
    (HEAD + "    contrast: true\n", 4, "contrast is true or false (True), not a number"),
    (HEAD + "    contrast:\n", 4, "contrast is nothing, not a number"),
    (HEAD + "    contrast: [0.5, null]\n", 4, "contrast is nothing, not a number"),
    (HEAD + "    contrast:\n      - 0.5\n      - [0.1]\n", 6, "contrast is a list, not a number"),
    (HEAD + "    contrast: 010\n", 4, "contrast is text ('010'), not a number"),
    (HEAD + "    contrast: []\n", 4, "contrast is an empty list"),
    # Out of range.
    (HEAD + "    contrast:\n    - 0.5\n    - 1.5\n", 6, "contrast=1.5 is not within 0 to 1"),
    (HEAD + "    contrast: .nan\n", 4, "contrast=nan is not within 0 to 1"),
    (HEAD + "    diameter: [1, 0]\n", 4, "diameter=0.0 is not above 0"),
    (HEAD + "    diameter: .inf\n", 4, "diameter=inf is not above 0"),
    (HEAD + "    y: 1e400\n", 4, "y=inf is not a finite number"),
    (
        HEAD + "    y: 9007199254740993\n",
        4,
        "y=9,007,199,254,740,993 is no number that a float64 holds exactly",
    ),
    (
        HEAD + "    y: " + "9" * 400 + "\n",
        4,
        "y=inf is not a finite number",
    ),
    # Words and colors.
    (
        HEAD + "    color: blue\n",
        4,
        f"'blue' is no color; {among('blue', COLORS)}",
    ),
    (
        HEAD + "    encoding: [linear, gamma]\n",
        4,
        "'gamma' is no encoding; did you mean linear or srgb? There are linear, srgb",
    ),
    (HEAD + "    color: 3\n", 4, "color is a number (3), not text"),
    (HEAD + "    part: {start: 1, step: 1, count: 2}\n", 4, "part is a mapping, not text"),
    (HEAD + f"    part: {'x' * 256}\n", 4, "part of 256 characters is longer than 255"),
    (HEAD + "    azimuth: 0\n", 4, "azimuth is of color: dkl, not luminance"),
    (HEAD + "    color: dkl\n    hue: 0\n", 5, "hue is of color: hsl or hsv, not dkl"),
    (HEAD + "    color: cones\n    cone_l: 0\n", 2, "a grating needs cone_m, cone_s"),
    # Values again.
    (HEAD + "    contrast: [0.1, 0.5, 0.1]\n", 4, "contrast=0.1 is given twice"),
    (
        HEAD + "    orientation:\n    - 0\n    - 90\n    - 180\n",
        7,
        "orientation=180.0 is 0.0 on a circle of 180 degrees; leave one out",
    ),
    (HEAD + "    part: [a, b, a]\n", 4, "part='a' is given twice"),
    # Series.
    (HEAD + "    contrast: {start: 0.1, count: 3}\n", 4, SERIES),
    (HEAD + "    contrast: {start: 0.1, step: 0.1}\n", 4, SERIES),
    (HEAD + "    contrast: {start: 1, step: 1, factor: 2, count: 3}\n", 4, SERIES),
    (
        HEAD + "    contrast: {start: 0.1, stp: 0.1, count: 3}\n",
        4,
        "'stp' is no key of a series of contrast; did you mean step or start? There are start, "
        "step, factor, count",
    ),
    (
        HEAD + "    contrast:\n      start: 0.1\n      step: 0.1\n      count: 3.0\n",
        7,
        "count of contrast is a number (3.0), not a whole number",
    ),
    (
        HEAD + "    contrast: {start: 0, step: 1, count: 0}\n",
        4,
        "count of contrast=0 is not 1 to 1,000,000",
    ),
    (
        HEAD + "    contrast: {start: 0.1, step: low, count: 2}\n",
        4,
        "step of contrast is text ('low'), not a number",
    ),
    (
        HEAD + "    contrast: {start: 0.5, step: 0.25, count: 5}\n",
        4,
        "contrast=1.25 is not within 0 to 1",
    ),
    (
        HEAD + "    y: {start: 1, factor: 1e200, count: 3}\n",
        4,
        "y=inf is not a finite number",
    ),
    (
        HEAD + "    phase: {start: 0, step: 90, count: 5}\n",
        4,
        "phase=360.0 is 0.0 on a circle of 360 degrees; leave one out",
    ),
    (
        HEAD + "    paired: true\n    phase: [0, 90]\n    contrast: [0.1, 0.2, 0.3]\n",
        5,
        "phase has 2 values, contrast 3; paired ones have as many, or one",
    ),
    # Named protocols.
    (
        "protocol: hues\n",
        1,
        f"'hues' is no protocol; {among('hues', PROTOCOLS)}",
    ),
    ("protocol: [hue]\n", 1, "protocol is a list, not text"),
    ("protocol: hue\nparameters: [1]\n", 2, "parameters is a list, not a mapping"),
    (
        "protocol: hue\nparameters:\n  contrast: 1\n  hus: 3\n",
        4,
        "'hus' is no parameter of hue; did you mean hues? There are hues, contrast, encoding",
    ),
    (
        "protocol: size\nparameters: {field: 3}\n",
        2,
        "'field' is no parameter of size; did you mean ",
    ),
    ("protocol: marques2020\nparameters: {a: 1}\n", 2, "'a' is no parameter of marques2020; "),
    (
        "protocol: hue\nparameters: {hues: 1.5}\n",
        2,
        "hues is a number (1.5), not a whole number",
    ),
    (
        "protocol: hue\nparameters: {hues: 1000000000000}\n",
        2,
        "hues=1,000,000,000,000 is not -100,000,000 to 100,000,000",
    ),
    ("protocol: hue\nparameters: {hues: null}\n", 2, "hues is nothing, not a whole number"),
    ("protocol: hue\nparameters: {hues: 0}\n", 1, "hue: azimuth=[] is empty, or has a value twice"),
    ("protocol: hue\nparameters: {encoding: 3}\n", 2, "encoding is a number (3), not text"),
    (
        "protocol: contrast_invariance\nparameters:\n  contrasts:\n  - 0.1\n  - high\n",
        5,
        "contrasts is text ('high'), not a number",
    ),
]


@pytest.mark.parametrize(("text", "line", "message"), BAD)
def test_a_bad_file_is_answered_in_one_line_that_says_where(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    answer = refusal(tmp_path, text)
    if message.endswith(("did you mean ", "; ")):  # what follows is tested elsewhere
        assert answer.startswith(f"my.yaml, line {line}: {message}")
    else:
        assert answer == f"my.yaml, line {line}: {message}"


TABLES = "[[stimuli]]\nfamily = 'grating'\nspatial_frequency = 1\n"  # three lines
BAD_TOML = [
    ("", 1, f"{EITHER} neither"),
    (TABLES + "\n" + TABLES + "contrast = [\n  0.5, # ]\n  1.5,\n]\n", 10, "contrast=1.5 is not "),
    (
        TABLES + "[stimuli.contrast]\nstart = 0\nstep = 0.1\ncount = 0\n",
        7,
        "count of contrast=0 is",
    ),
    (TABLES + "contrast = {start = 0, step = 1}\n", 4, SERIES),
    (TABLES + "contrast.start = 0\ncontrast.stp = 1\n", 5, "'stp' is no key of a series of "),
    (TABLES + "contrast = nan\n", 4, "contrast=nan is not within 0 to 1"),
    (TABLES + "part = 2020-01-01\n", 4, "part is a date, not text"),
    ("stimuli = [\n  {family = 'grating', spatial_frequency = 1},\n  {}]\n", 3, "a block needs a "),
    ("stimuli = 3\n", 1, "stimuli is a number (3), not a list"),
    ("[stimuli]\nfamily = 'grating'\n", 1, "stimuli is a mapping, not a list"),
    ("name = 'a b'\r\n" + TABLES, 1, "name='a b' is not of letters"),
    ("protocol = 'hue'\n[parameters]\nhues = 'many'\n", 3, "hues is text ('many'), not a whole"),
    ("name = 'a'\nname = 'b'\n", 2, "no TOML: Cannot overwrite a value"),
    ("name = \n", 1, "no TOML: Invalid value"),
]


@pytest.mark.parametrize(("text", "line", "message"), BAD_TOML)
def test_a_bad_toml_file_is_answered_as_well(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    assert refusal(tmp_path, text, ".toml").startswith(f"my.toml, line {line}: {message}")


BLOCK = "- {family: grating, spatial_frequency: 1}\n"
TIMES = {
    letter: f"&{letter} [{', '.join([f'*{chr(ord(letter) - 1)}'] * 9)}]" for letter in "bcdefghi"
}
HOSTILE = {
    "code": ("!!python/object/apply:os.system [touch hacked]\n", 1, "the tag 'tag:yaml.org,2002:"),
    "a bomb of aliases": (
        "a: &a [x, x]\n" + "".join(f"{name}: {text}\n" for name, text in TIMES.items()),
        1,
        "'a' is no key of a protocol file",
    ),
    "a bomb of aliases as a parameter": (
        HEAD
        + "    x: &a [1]\n"
        + "".join(f"    {name}: {text}\n" for name, text in TIMES.items())
        + "    contrast: *i\n",
        5,
        "'b' is no parameter of a grating",
    ),
    "deep lists": (HEAD + "    contrast: " + "[" * 10**5, 4, "lists or mappings are nested more"),
    "a billion stimuli": (
        HEAD
        + "".join(f"    {n}: {{start: 0, step: 1e-5, count: 1000}}\n" for n in ("x", "y", "phase")),
        2,
        "1e+09 stimuli up to here are more than 1,000,000",
    ),
    "more stimuli than there are atoms": (
        HEAD
        + "".join(
            f"    {name}: {{start: 0.1, step: 1e-9, count: 1000000}}\n"
            for name in ("x", "y", "phase", "contrast", "orientation", "diameter", "edge_width")
        ),
        2,
        "1e+42 stimuli up to here are more than 1,000,000",
    ),
    "a large count": (
        HEAD + "    phase: {start: 0, step: 1, count: 99999999999}\n",
        4,
        "count of phase=99,999,999,999 is not 1 to 1,000,000",
    ),
    "many stimuli in many blocks": (
        "stimuli:\n- &a {family: grating, spatial_frequency: 1, "
        "x: {start: 0, step: 1, count: 400000}}\n- *a\n- *a\n",
        4,
        "1.2e+06 stimuli up to here are more than 1,000,000",
    ),
    "many blocks": (
        "stimuli:\n" + BLOCK * 1001,
        1,
        "stimuli is a list of 1001 blocks, not of 1 to",
    ),
    "a long key": (HEAD + f"    ? {'x' * 10**6}\n    : 1\n", 4, "'xxxxx"),
    "a long word": (HEAD + f"    color: {'x' * 10**6}\n", 4, "'xxxxx"),
    "a long number": (HEAD + f"    contrast: {'9' * 10**6}\n", 4, "contrast=inf is not within"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_answered_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("stimuli were made of a bad file")

    monkeypatch.setattr(protocol_files, "sweep", never)
    monkeypatch.chdir(tmp_path)
    text, line, message = HOSTILE[what]
    answer = refusal(tmp_path, text)
    assert answer.startswith(f"my.yaml, line {line}: {message}")
    assert len(answer) < 600
    assert {path.name for path in tmp_path.iterdir()} == {"my.yaml"}


def test_no_file_a_folder_and_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^there is no file .*absent.yaml$"):
        read_protocol(tmp_path / "absent.yaml")
    (tmp_path / "a.toml").mkdir()
    with pytest.raises(IsADirectoryError, match=r"a.toml is a folder, not a protocol file$"):
        read_protocol(tmp_path / "a.toml")
    with pytest.raises(ValueError, match=r"a.json ends in none of .yaml, .yml, .toml$"):
        read_protocol(tmp_path / "a.json")
    for content in (b"name: a\n# \xff\n", pickle.dumps({"a": 1}), b"\x93NUMPY\x01\x00"):
        (tmp_path / "b.yaml").write_bytes(content)
        with pytest.raises(ValueError, match=r"b.yaml, line \d: this is not text in UTF-8$"):
            read_protocol(tmp_path / "b.yaml")
    (tmp_path / "b.yaml").write_bytes(b"#" * (2**22 + 1))
    with pytest.raises(ValueError, match=r"b.yaml: more than 4,194,304 bytes are too many"):
        read_protocol(tmp_path / "b.yaml")


def test_a_file_whose_own_name_will_not_do_needs_one(tmp_path: Path) -> None:
    path = tmp_path / "my file.yaml"
    path.write_text(HEAD)
    message = "line 1: name='my file' is not of letters, digits, - and _ alone; say a name: in the"
    with pytest.raises(ValueError, match=message):
        read_protocol(path)
    path.write_text(HEAD + "name: mine\n")
    assert read_protocol(path).name == "mine"


# Writing.


def test_a_file_is_replaced_only_if_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"a.yaml exists; overwrite it, or choose another"):
        write_protocol(example(), path)
    assert path.read_text() == "mine"
    assert write_protocol(example(), path, overwrite=True) == path
    assert path.read_text() == YAML


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError("the disk is full")

    path = tmp_path / "a.yaml"
    path.write_text("mine")
    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(OSError, match="the disk is full"):
        write_protocol(example(), path, overwrite=True)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["mine"]


def test_there_has_to_be_a_folder_and_a_known_suffix(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no folder; make it first"):
        write_protocol(example(), tmp_path / "there" / "a.yaml")
    with pytest.raises(ValueError, match=r"a.txt ends in none of .yaml, .yml, .toml$"):
        write_protocol(example(), tmp_path / "a.txt")


def unwritable() -> dict[str, tuple[Protocol, str]]:
    one = sweep(grating, spatial_frequency=[1, 2])
    turns = sweep(grating, spatial_frequency=1) + sweep(
        white_noise, check_size=1, side=4, seed=np.arange(1)
    )
    many = paired(grating, spatial_frequency=np.random.default_rng(3).random(300_000))
    return {
        "none": (Protocol("a", "", "", one[:0]), "a has no stimuli to write down"),
        "out of range": (
            Protocol("a", "", "", sweep(grating, spatial_frequency=1, contrast=2)),
            "line 5: contrast=2.0 is not within 0 to 1",
        ),
        "turns": (
            Protocol("a", "", "", turns[np.tile([0, 1], 501)]),
            "a changes between families more than 1000 times, too often for a file; put those of",
        ),
        "too large": (Protocol("a", "", "", many), "more than 4,194,304 bytes are too many"),
        "two lines": (Protocol("a", "One.\nTwo.", "", one), "purpose is of more than one line"),
        "a lone surrogate": (Protocol("a", "\ud800", "", one), "a.toml, line 2: no TOML: "),
    }


@pytest.mark.parametrize("what", unwritable())
def test_what_a_file_cannot_say_is_refused_before_it_is_written(tmp_path: Path, what: str) -> None:
    protocol, message = unwritable()[what]
    with pytest.raises(ValueError, match=message):
        write_protocol(protocol, tmp_path / "a.toml")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", FORMATS)
def test_numbers_come_back_to_the_last_bit(tmp_path: Path, suffix: str) -> None:
    small = [-0.0, 0.0, 5e-324, -1.5e-7, 0.1 + 0.2, np.nextafter(2, 3)]
    values = np.array([*small, 1e15 + 1, 2.0**53, 1e16, 1e22, -1.7976931348623157e308])
    stimuli = paired(grating, spatial_frequency=1, y=values)
    back = read_protocol(write_protocol(Protocol("a", "", "", stimuli), tmp_path / f"a{suffix}"))
    assert back.stimuli.table["y"].values.tobytes() == values.tobytes()
