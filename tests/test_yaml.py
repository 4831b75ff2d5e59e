import math

import pytest

from gpvit.errors import UserError
from gpvit.yaml import read_yaml

WORDS = ["no", "off", "Yes", "08", "010", "0x1F", "1_000", "2024-01-01", "12:30:45", "<<", "="]
NUMBERS = {"1e-4": 1e-4, "1E5": 1e5, ".5": 0.5, "1.": 1.0, "-3": -3, "+7": 7, "0": 0, "1.0": 1.0, "-.inf": -math.inf}
OTHERS = {"true": True, "FALSE": False, "null": None, "~": None, "": None}


@pytest.fixture
def read(tmp_path):
    def read(content):
        path = tmp_path / "file.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_yaml(path)

    return read


@pytest.mark.parametrize(("text", "value"), [*((word, word) for word in WORDS), *NUMBERS.items(), *OTHERS.items()])
def test_a_value_is_what_is_written_and_a_class_name_is_text(read, text, value):
    assert read(f"value: {text}") == {"value": value}
    for key in ("names", "class_names", "classes"):
        assert read(f"{key}:\n- {text}\n- a") == {key: [text, "a"]}
    assert read(f"deeper: {{names: {{0: {text}, 1: a}}}}") == {"deeper": {"names": {0: text, 1: "a"}}}
    assert read(f"classes: {{ignore_index: {text}}}") == {"classes": {"ignore_index": value}}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(read, encoding):
    assert read("names: [é, 猫]".encode(encoding)) == {"names": ["é", "猫"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: 1\nb: 2\na: 3", r"file\.yaml: 'a' stands twice(?s:.*)line 3"),
        ("{x: {0: a, 1: b, 0: c}}", "0 stands twice"),
        ("a: 1\n b: [", r"file\.yaml(?s:.*)line 2"),
        (b"names: [\xe9]", r"file\.yaml.*#x00e9"),
        ("a: 1\n---\nb: 2", "single document"),
        ("!!python/object:os.system x", "constructor for the tag"),
        *((f"!!{tag} x", r"file\.yaml: ") for tag in ("bool", "int", "float", "timestamp", "binary")),
        ("? [a]\n: b", "unhashable"),
        ("[" * 5000, r"file\.yaml is nested too deeply"),
    ],
)
def test_what_is_refused_names_the_file(read, content, message):
    with pytest.raises(UserError, match=message):
        read(content)
