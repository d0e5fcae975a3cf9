"""The page in a real browser: on a phone and on a desk, in both colour schemes."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.commands import PATIENCE
from helpers.servers import http_server

from .conftest import Report, make_report, write_output

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")]

# A frame has exactly the width asked for, which a window of the browser need not have.
PROBE = """<!DOCTYPE html><link rel="icon" href="data:,"><body style="margin:0">
<iframe src="{page}" style="width:{width}px;height:900px;border:0"></iframe><pre id="result"></pre><script>
onload = async () => {{
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement;
  await page.fonts.ready;
  const all = selector => [...page.querySelectorAll(selector)];
  document.getElementById("result").textContent = JSON.stringify({{
    overflow: root.scrollWidth - root.clientWidth,
    broken: all("img").filter(image => !image.complete || !image.naturalWidth).length,
    outside: all("body *").filter(element => element.getBoundingClientRect().right > root.clientWidth + 1
      && !element.parentElement.closest(".scroll, pre")).length,
    beside: all(".scroll, pre").filter(element => element.scrollWidth > element.clientWidth + 1).length,
    small: all("td, th, p").filter(element =>
      parseFloat(page.defaultView.getComputedStyle(element).fontSize) < 11).length,
    dark: page.defaultView.matchMedia("(prefers-color-scheme: dark)").matches,
  }});
}};
</script>"""


@pytest.fixture(scope="module")
def served(full_report: Report) -> Iterator[tuple[Path, str]]:
    """A report's folder and the address at which it is served."""
    with http_server(full_report.folder) as (address, _):
        yield full_report.folder, address


def browse(address: str, profile: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Open a page, wait until it is quiet, and return what it became."""
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", *quiet, f"--user-data-dir={profile}"]
    logging = ["--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom"]
    return subprocess.run([*command, *logging, *options, address], capture_output=True, text=True, timeout=PATIENCE)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 400, 1280])
def test_the_page_fits_and_says_nothing_to_the_console(served, tmp_path: Path, width: int, dark: bool):
    folder, address = served
    (folder / "probe.html").write_text(PROBE.format(page="report.html", width=width))
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    done = browse(f"{address}/probe.html", tmp_path / "profile", "--window-size=1400,1000", *scheme)
    assert done.returncode == 0, done.stderr
    found = re.search(r'<pre id="result">(.+?)</pre>', done.stdout)
    assert found is not None, done.stdout[-2000:] + done.stderr
    beside = {} if width > 500 else {"beside": 0}  # on a desk a very wide table may scroll in its box
    assert (
        json.loads(found[1]).items()
        >= {"overflow": 0, "broken": 0, "outside": 0, "small": 0, "dark": dark, **beside}.items()
    )
    assert ":CONSOLE" not in done.stderr


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of 500 objects, some of a class that is called like a script."""
    root = tmp_path_factory.mktemp("gallery")
    classes = {
        "chair": [f"c{place:03d}" for place in range(490)],
        "<script>document.title = 1<script>": list("abcdefghij"),
    }
    return make_report(root / "report", write_output(root / "views", classes)).folder / "gallery" / "views"


@pytest.mark.parametrize(
    ("place", "heading", "shown", "scripts"),
    [
        ("", "All classes", ["<script>document.title = 1<script>/a", "chair/c000"], ["00000.js", "00001.js"]),
        ("#/1/10", "chair", [f"chair/c{place}" for place in range(480, 490)], ["00011.js"]),
        ("#?0/C48", "Objects with “C48”", [f"chair/c48{place}" for place in range(10)], ["00011.js", "names.js"]),
        ("#?0/nothing", "Objects with “nothing”", [], ["names.js"]),
    ],
)
def test_a_gallery_works_without_a_server(room: Path, tmp_path: Path, place, heading, shown, scripts):
    for _ in range(5):  # virtual time does not wait for scripts of a slow disk
        done = browse((room / "index.html").as_uri() + place, tmp_path / "profile", "--window-size=1280,2000")
        if ">…</figcaption>" not in done.stdout:
            break
    assert done.returncode == 0 and ":CONSOLE" not in done.stderr, done.stderr
    assert f'tabindex="-1">{heading}</h2>' in done.stdout
    assert re.findall(r"<figcaption[^>]*>(.*?)</figcaption>", done.stdout) == [html.escape(name) for name in shown]
    assert done.stdout.count('role="img"') == 4 * len(shown) == done.stdout.count("background-image")
    asked = re.findall(r'<script src="([^"]+)"', done.stdout)
    assert sorted(asked) == sorted(["overview.js", "gallery.js", *scripts])  # and nothing of all the others
    assert "<title>Generated views: views</title>" in done.stdout


@pytest.mark.parametrize("width", [400, 1280])
def test_a_gallery_fits(room: Path, tmp_path: Path, width: int):
    (room / "probe.html").write_text(PROBE.format(page="index.html#/1/3", width=width))
    with http_server(room) as (address, _):
        done = browse(f"{address}/probe.html", tmp_path / "profile", "--window-size=1400,1000")
    found = json.loads(re.search(r'<pre id="result">(.+?)</pre>', done.stdout)[1])
    assert found.items() >= {"overflow": 0, "broken": 0, "outside": 0, "small": 0}.items(), found
