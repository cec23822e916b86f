"""Protocols are listed, described, written down and drawn, or refused in one line."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from ephys.cli import main
from ephys.models.input_format import own_format
from ephys.models.sources import load
from ephys.stimuli.protocol_files import read_protocol
from ephys.stimuli.protocols import BATTERIES, PROTOCOLS, citation, protocol, purpose
from ephys.visual_field import VisualField

HERE = [name for name in PROTOCOLS if name != "natural_images"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in an empty folder, and are told nothing by the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EPHYS_DATA", raising=False)


def ephys(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    """The one line with which a command is refused, with status 1 and nothing on stdout."""
    result = ephys(*arguments)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("Error: ").rstrip("\n")


def entries(listing: str) -> dict[str, tuple[str, str]]:
    """By name the number and, in one line, the text."""
    found: dict[str, tuple[str, str]] = {}
    for line in filter(None, listing.splitlines()):
        if name := line[:28].strip():
            found[name] = line[28:34].strip(), line[35:]
        else:
            name = list(found)[-1]
            count, text = found[name]
            found[name] = count, f"{text} {line[35:]}"
    return found


# The list.


def test_every_protocol_is_listed_with_its_number_purpose_and_citation() -> None:
    found = entries(ephys("protocols").stdout)
    assert list(found) == [*PROTOCOLS, *BATTERIES]
    for name in HERE:
        expected = f"{purpose(name)} {citation(name)}"
        assert found[name] == (str(len(protocol(name).stimuli)), expected)
    # 25 orientations, 4 spatial frequencies, 7 contrasts and 8 phases.
    assert found["contrast_invariance"][0] == "5600"


def test_batteries_are_listed_with_their_members() -> None:
    _, text = entries(ephys("protocols").stdout)["v1"]
    assert text == f"{BATTERIES['v1'].purpose} {', '.join(BATTERIES['v1'].members)}"


def test_lines_are_of_a_hundred_letters_at_most() -> None:
    assert max(map(len, ephys("protocols").stdout.splitlines())) <= 100


def test_without_its_photographs_a_protocol_is_listed_with_what_it_needs() -> None:
    result = ephys("protocols")
    assert result.exit_code == 0
    count, text = entries(result.stdout)["natural_images"]
    assert count == "-"
    assert text.startswith(purpose("natural_images"))
    assert "EPHYS_DATA" in text.partition("It cannot be shown here: ")[2]


def test_numbers_are_those_of_the_display() -> None:
    found = entries(ephys("protocols", "--size", 32).stdout)
    field = VisualField(32, 32, 4.0)
    assert found["orientation"][0] == str(len(protocol("orientation", field).stimuli))
    assert found["orientation"][0] != str(len(protocol("orientation").stimuli))


# A page.


def test_a_protocol_is_described_by_its_text_its_parameters_and_its_axes() -> None:
    page = ephys("protocols", "surround").stdout
    assert page.startswith(purpose("surround"))
    assert "Cavanaugh, Bair & Movshon (2002)" in page
    assert "\nsurround_angles : (0, 30, 60, 90, 120, 150)\n" in page
    assert "\nspatial_frequencies : not given\n" in page
    assert "\ncenter surround, part center: 576 stimuli\n" in page
    assert "\n    surround angle: 6 values, 0°, 30°, 60°, 90°, 120°, 150°\n" in page
    assert "\n    orientation: 8 values, such as 0°, 45°, 90°, 135°\n" in page
    assert page.endswith(f"\nsha256 {protocol('surround').stimuli.sha256}\n")


@pytest.mark.parametrize("name", HERE)
def test_every_protocol_has_a_page(name: str) -> None:
    result = ephys("protocols", name)
    assert result.exit_code == 0
    assert result.stdout.startswith(purpose(name))
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_a_battery_is_described_by_its_members() -> None:
    lines = ephys("protocols", "v1").stdout.splitlines()
    assert lines[0] == BATTERIES["v1"].purpose
    assert [line.split()[0] for line in lines[2:] if line[0] != " "] == [*BATTERIES["v1"].members]


def test_the_page_of_a_file_says_what_the_file_says() -> None:
    Path("mine.yaml").write_text(
        "purpose: To see.\nstimuli: [{family: grating, spatial_frequency: [1, 2]}]\n"
    )
    lines = ephys("protocols", "mine.yaml").stdout.splitlines()
    assert lines[:2] == ["mine", "To see."]
    assert "    spatial frequency: 2 values, 1 cycle/degree, 2 cycles/degree" in lines


# A file.


@pytest.mark.parametrize("suffix", [".yaml", ".toml"])
@pytest.mark.parametrize("name", ["contrast_invariance", "direction", "opponency"])
def test_a_protocol_is_written_down_to_be_shown_again(name: str, suffix: str) -> None:
    field = VisualField(64, 64, 16.0)
    own = protocol(name, field)
    display = ("--size", 64, "--degrees", 4)
    result = ephys("protocols", name, *display, "-o", f"own{suffix}")
    assert result.stdout == f"own{suffix}\nsha256 {own.stimuli.sha256}\n"
    again = read_protocol(f"own{suffix}")
    assert again.stimuli.sha256 == own.stimuli.sha256
    assert (again.name, again.purpose, again.citation) == (own.name, own.purpose, own.citation)


def test_a_file_is_replaced_only_if_told() -> None:
    Path("own.yaml").write_text("mine")
    line = refused("protocols", "hue", "-o", "own.yaml")
    assert line == "own.yaml exists; pass --overwrite, or another -o"
    assert Path("own.yaml").read_text() == "mine"
    assert ephys("protocols", "hue", "-o", "own.yaml", "--overwrite").exit_code == 0
    assert read_protocol("own.yaml").name == "hue"


def test_a_file_of_no_protocol_is_a_usage_error() -> None:
    result = ephys("protocols", "-o", "own.yaml")
    assert result.exit_code == 2
    assert "which protocol is to be written down? Name it." in result.stderr
    assert list(Path().iterdir()) == []


# A picture.


@pytest.mark.parametrize(
    ("name", "suffix", "kind"), [("hue", ".png", "PNG"), ("direction", ".gif", "GIF")]
)
def test_a_sheet_names_its_picture(name: str, suffix: str, kind: str) -> None:
    result = ephys("stimuli", name, "--size", 16, "-o", f"sheet{suffix}")
    assert result.exit_code == 0
    assert result.stdout == f"sheet{suffix}\n"
    assert result.stderr == ""
    with Image.open(f"sheet{suffix}") as picture:
        assert picture.format == kind


def test_a_sheet_is_of_the_display_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    fields: list[VisualField] = []

    def write(one: object, field: VisualField, path: Path) -> Path:
        fields.append(field)
        return path

    monkeypatch.setattr("ephys.contact_sheet.write_contact_sheet", write)
    for display in (
        (),
        ("--size", 48),
        ("--size", 48, "--degrees", 3.2),
        ("--model", "superres-gabor"),
        ("--model", "superres-gabor", "--size", 72),
    ):
        assert ephys("stimuli", "hue", *display, "-o", "x.png").exit_code == 0
    own = own_format(load("superres-gabor"))
    assert fields == [
        VisualField(224, 224, 28.0),
        VisualField(48, 48, 6.0),
        VisualField(48, 48, 48 / 3.2),
        own.field,
        own.resized(72).field,
    ]


def test_what_a_network_is_shown_needs_none_of_its_weights() -> None:
    assert ephys("stimuli", "hue", "--model", "alexnet", "-o", "sheet.png").exit_code == 0


def test_a_sheet_can_be_of_a_file() -> None:
    Path("mine.toml").write_text(
        'purpose = "To see."\n[[stimuli]]\nfamily = "grating"\nspatial_frequency = [1, 2]\n'
    )
    assert ephys("stimuli", "mine.toml", "-o", "sheet.svg").stdout == "sheet.svg\n"
    assert "<!-- To see. -->" in Path("sheet.svg").read_text()


def test_what_cannot_be_drawn_is_refused_in_one_line() -> None:
    png = ("-o", "sheet.png")
    members = ", ".join(BATTERIES["v1"].members)
    assert refused("stimuli", "v1", *png) == (
        f"v1 is a battery; name one of its protocols: {members}"
    )
    assert refused("stimuli", "hu", *png) == "no protocol 'hu'; did you mean hue?"
    assert refused("stimuli", "none.yaml", *png) == "there is no file none.yaml"
    assert refused("stimuli", "size", "-o", "sheet.bmp") == (
        "sheet.bmp ends in none of .png, .svg, .pdf, .gif, which can be drawn"
    )
    assert refused("stimuli", "size", "-o", "sheet.gif") == (
        "the stimuli of size do not move; draw them as .png, .svg, .pdf"
    )
    assert refused("stimuli", "size", "-o", "none/sheet.png") == "none is no folder; make it first"
    assert refused("stimuli", "size", "--degrees", 0, *png) == (
        "degrees=0.0; an image covers a visual angle above 0"
    )
    assert "EPHYS_DATA" in refused("stimuli", "natural_images", *png)
    assert refused("stimuli", "contrast_invariance", "--size", 32, *png).startswith(
        "spatial_frequency=3 is not below the Nyquist limit of 2 cycles/degree"
    )
    assert list(Path().iterdir()) == []
