from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dimvida.data.metadata import ImageEntry, read_metadata
from dimvida.data.opening import open_tree
from dimvida.data.tree import FileTree, Listing
from dimvida.errors import InputError


class OneFile(FileTree):
    """A tree that holds a metadata.jsonl and nothing else, so that hypothesis need not write files."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    form = "folder"

    def listing(self, folder=""):
        return Listing((), ("metadata.jsonl",))

    def exists(self, name):
        return name == "metadata.jsonl"

    def read(self, name, limit=2**20):
        return self.content

    def blocks(self, name):
        yield self.content

    def head(self, name, size):
        return self.content[:size]

    def location(self, name):
        return f"set/{name}"


def test_fields(make, tmp_path):
    line = {"file_name": "a/b.png", "view": "front", "label": "x", "source": "s", "kind": "generated", "seed": 3}
    path = make.folder(tmp_path, {"sub/metadata.jsonl": "\ufeff" + json.dumps(line) + "\r\n\r\n"})
    entries = read_metadata(open_tree(path), "sub/")
    assert entries == {"sub/a/b.png": ImageEntry(1, "front", "x", "s", "generated")}


@pytest.mark.parametrize(
    ("fields", "class_name"),
    [
        ({}, None),
        ({"label": 3}, None),
        ({"label": "x"}, "x"),
        ({"label": None}, ""),
        ({"class": "y", "label": "x"}, "y"),
    ],
)
def test_class_or_label(fields, class_name):
    entries = read_metadata(OneFile(json.dumps({"file_name": "a.png", **fields}).encode()))
    assert entries["a.png"].class_name == class_name


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{not json", "not JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b'{"view": "front"}', 'no "file_name"'),
        (b'{"file_name": 3}', '"file_name" is 3, not text'),
        (b'{"file_name": "a.png", "view": ["front"]}', '"view" is .*not text'),
        (b'{"file_name": "a.png", "view": "a/b"}', "cannot name a view"),
        (b'{"file_name": "a.png", "label": 1.5}', '"label" is 1.5, not text'),
        (b'{"file_name": "a.png", "kind": "fake"}', "kind 'fake'"),
        (b'{"file_name": "/etc/passwd"}', "absolute"),
        (b'{"file_name": "a/../../b.png"}', "leaves its folder"),
        (b'{"file_name": "..\\\\b.png"}', "backslash"),
        (b'{"file_name": "c:b.png"}', "absolute"),
        (b'{"file_name": "a.png", "label": "../x"}', "class '../x' has a '/'"),
        (b'{"file_name": "./ok.png"}', "same file as line 1"),
        (b"[" * 100_000, "not JSON"),
        (b'{"file_name": "a.png", "view": "front", "view": "left"}', "a field is there twice"),
        (b'{"file_name": "a.png", "class": "' + b"y" * 5000 + b'"}', '"class" has more than the limit'),
        (b'{"file_name": "a.png", "label": ' + b"1" * 5000 + b"}", "not JSON"),
        (b'{"file_name": "a.png", "view": ' + b"[" * 900 + b"]" * 900 + b"}", '"view" is a list, not text'),
    ],
)
def test_malformed_line_is_named(line, reason):
    with pytest.raises(InputError, match=rf"^set/metadata\.jsonl, line 3: .*{reason}") as caught:
        read_metadata(OneFile(b'{"file_name": "ok.png"}\n\n' + line + b"\n"))
    assert "\n" not in str(caught.value)


def test_not_text():
    with pytest.raises(InputError, match="not UTF-8 text"):
        read_metadata(OneFile(b"\xff\xfe\0"))


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_no_lines(content):
    with pytest.raises(InputError, match="lists no images"):
        read_metadata(OneFile(content))


NAMES = st.text("abcxyz019_- é", min_size=1, max_size=8).map(str.strip).filter(bool)


@settings(max_examples=50, deadline=None)
@given(
    entries=st.dictionaries(
        st.lists(NAMES, min_size=1, max_size=3).map("/".join),
        st.tuples(
            st.sampled_from(["front", "view03", None]), NAMES | st.none(), st.sampled_from(["real", "generated"])
        ),
        min_size=1,
    )
)
def test_what_is_written_is_read(entries):
    content = "".join(
        json.dumps({"file_name": name, "view": view, "class": class_name, "kind": kind}) + "\n"
        for name, (view, class_name, kind) in entries.items()
    )
    read = read_metadata(OneFile(content.encode()))
    assert {name: (entry.view, entry.class_name or None, entry.kind) for name, entry in read.items()} == entries


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=60)
    | st.dictionaries(st.sampled_from(["file_name", "view", "label", "class", "source", "kind"]), JSON).map(
        lambda fields: json.dumps(fields).encode()
    )
)
def test_anything_is_read_or_refused(content):
    try:
        entries = read_metadata(OneFile(content))
    except InputError as error:
        assert str(error).startswith("set/metadata.jsonl")
    else:
        assert all(".." not in name.split("/") and not name.startswith("/") for name in entries)


BOMBS = {"line": b" " * 2**20, "empty lines": b"\n" * 2**20}


@pytest.mark.parametrize("bomb", BOMBS)
def test_metadata_that_unpack_to_gigabytes_take_no_memory(make, tmp_path, bomb):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("chair/a.png", make.png())
        with archive.open("metadata.jsonl", "w", force_zip64=True) as file:
            for _ in range(500):
                file.write(BOMBS[bomb])
    assert path.stat().st_size < 10**6
    result = _open_with_little_memory(path)
    assert result.returncode == 0, result.stderr
    assert "metadata.jsonl" in result.stdout and ("limit of" in result.stdout or "empty lines" in result.stdout)


def test_a_small_metadata_file_takes_little_memory(make, tmp_path):
    line = '{"file_name": "chair/a.png", "view": "front"}\n'
    result = _open_with_little_memory(
        make.folder(tmp_path / "set", {"chair/a.png": make.png(), "metadata.jsonl": line})
    )
    assert (result.returncode, result.stdout) == (0, "1\n"), result.stderr


def _open_with_little_memory(path: Path) -> subprocess.CompletedProcess[str]:
    """Open a data set in a process that gets 256 MiB beside what the interpreter has."""
    program = f"""
import resource
from dimvida.data.opening import open_source
from dimvida.errors import InputError
used = int(open("/proc/self/statm").read().split()[5]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_DATA, (used + 2**28, used + 2**28))
try:
    print(len(open_source({str(path)!r})))
except InputError as error:
    print(error)
"""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
