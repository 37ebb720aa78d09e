"""From a fitted model back to the slide: the command, and its page in a browser, wide and narrow."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from tests.contract.tiny_cohort import tiny_fit
from tests.stories.test_report_page import BROWSERS, QUIET
from typer import Typer
from typer.testing import CliRunner

from prognos.cli.explain import explain
from prognos.cli.terminal import guarded
from prognos.cohort import Cohort

ASK = """
<script>
const problems = [];
addEventListener("error", (event) => problems.push(event.message));
addEventListener("securitypolicyviolation", (event) => problems.push("outside: " + event.blockedURI));
setTimeout(() => {
  const overlay = document.getElementById("overlay");
  const colours = (strength) => {
    document.getElementById("opacity").value = strength;
    document.getElementById("opacity").dispatchEvent(new Event("input"));
    const copy = new OffscreenCanvas(overlay.width, overlay.height).getContext("2d");
    copy.drawImage(overlay, 0, 0);
    return new Set(new Uint32Array(copy.getImageData(0, 0, overlay.width, overlay.height).data.buffer)).size;
  };
  const [full, none] = [colours(100), colours(0)];
  document.getElementById("map").value = "0";
  document.getElementById("map").dispatchEvent(new Event("change"));
  document.querySelector("button.top").click();
  setTimeout(() => console.log("SAID " + JSON.stringify({
    full, none, problems, patch: document.getElementById("patch").innerText, legend: document.getElementById("legend").innerText,
    needed: document.documentElement.scrollWidth, given: innerWidth,
  })), 1500);
}, 2500);
</script>
"""


@pytest.fixture(scope="module")
def explained(small_cohort, tmp_path_factory) -> Path:
    """What the command writes of a TTA and a patient whose slide is at hand."""
    folder = tmp_path_factory.mktemp("explained")
    cohort = Cohort.read(small_cohort)
    tiny_fit(cohort, "tta", training={"epochs": 1}).save(folder / "fitted")
    (folder / "slides").mkdir()
    slide = cohort.slides.iloc[0]
    Image.effect_noise((1024, 1024), 60).convert("RGB").resize((8192, 8192)).save(folder / "slides" / f"{slide['slide_id']}.jpg")
    app = Typer()
    app.command()(guarded(explain))
    options = {"--cohort": small_cohort, "--patient": slide["patient_id"], "--slides": folder / "slides", "--out": folder / "out"}
    done = CliRunner().invoke(app, [str(folder / "fitted"), *(str(part) for pair in options.items() for part in pair)])
    assert done.exit_code == 0, done.output
    assert "risk:" in done.stderr
    assert done.stdout.strip() == str(folder / "out" / "index.html")
    return folder / "out"


@pytest.mark.slow
def test_the_page_says_what_was_predicted_and_lists_the_files_beside_it(explained):
    html = (explained / "index.html").read_text(encoding="utf-8")
    assert "Predicted to be free of the event" in html
    assert all((explained / name).is_file() for name in ("patches.csv", "top-confidence.png", "gallery-prototype.png"))
    assert len(html) < 6_000_000


@pytest.mark.slow
@pytest.mark.parametrize("width", [375, 1280])
def test_the_viewer_paints_maps_fades_them_and_shows_the_numbers_of_a_patch(explained, tmp_path, width):
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no browser is installed (looked for {', '.join(BROWSERS)}): the page is not opened")
    html = (explained / "index.html").read_text(encoding="utf-8")
    (tmp_path / "page.html").write_text(html.replace("<main", ASK + "<main"), encoding="utf-8")
    (tmp_path / "frame.html").write_text(f'<iframe src="page.html" style="width:{width}px;height:900px;border:0"></iframe>')
    waiting = ("--virtual-time-budget=12000", f"--user-data-dir={tmp_path / 'profile'}")
    command = [browser, *QUIET, *waiting, (tmp_path / "frame.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert len(console) == 1, console
    said = json.loads(re.search(r'SAID (\{.*\})"', console[0])[1])
    assert said["problems"] == []
    assert said["full"] > 2 >= said["none"]
    assert re.search(r"Patch at \d+, \d+, 512 level-0 pixels wide: prototype \d", said["patch"])
    assert "confidence" in said["patch"]
    assert "percentile among all patches" in said["legend"]
    assert said["given"] == width
    assert said["needed"] <= width


@pytest.mark.slow
def test_a_model_without_slides_ends_with_what_is_wrong(small_cohort, tmp_path):
    tiny_fit(Cohort.read(small_cohort), "snn", training={"epochs": 1}).save(tmp_path / "fitted")
    app = Typer()
    app.command()(guarded(explain))
    options = ["--cohort", str(small_cohort), "--patient", "SIM-0001", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [str(tmp_path / "fitted"), *options])
    assert done.exit_code == 2
    assert "prognos: snn reads no slides" in done.stderr
    assert not (tmp_path / "out").exists()
