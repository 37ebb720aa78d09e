"""A table of predictions of any tool becomes a page, and the page opens in a browser, wide and narrow."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from prognos.cli import app
from prognos.report import build
from prognos.study.evaluate import evaluate

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--dump-dom"),
)

USED = """
const button = document.querySelector('table.sortable thead button'), heading = button.closest('th');
const light = () => getComputedStyle(document.body).backgroundColor === 'rgb(254, 254, 253)', before = light(), told = [];
button.focus();
told.push(document.activeElement === button ? 'focus' : 'lost');
for (const turn of [1, 2]) { button.click(); told.push(heading.getAttribute('aria-sort')); }
for (const turn of [1, 2]) { document.querySelector('button.ground').click(); told.push(light() === before ? 'same' : 'other'); }
console.log('USED', told.join(' '), 'WIDTH', document.documentElement.scrollWidth, window.innerWidth);
"""


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an evaluation: 150 patients, five folds, a model that knows the hazard and one that does not."""
    folder = tmp_path_factory.mktemp("story")
    generator = np.random.default_rng(3)
    hazard = generator.normal(size=150)
    time = np.ceil(generator.exponential(900 * np.exp(-hazard)))
    censoring = np.ceil(generator.uniform(300, 3000, 150))
    patients = {
        "patient_id": [f"{i:04d}" for i in range(150)],
        "time": np.minimum(time, censoring),
        "event": (time <= censoring).astype(int),
    }
    table = pd.DataFrame({**patients, "fold": np.arange(150) % 5})
    noise = generator.normal(size=150)
    pd.concat([table.assign(model="knows", risk=hazard), table.assign(model="guesses", risk=noise)]).to_csv(
        folder / "theirs.csv", index=False
    )
    evaluate(folder / "theirs.csv", folder / "out", reference="guesses", replicates=100)
    return folder / "out"


def test_predictions_of_another_tool_become_a_page(evaluated: Path):
    html = build(evaluated).read_text(encoding="utf-8")
    assert re.search(r"knows \(difference \+0\.\d{3}, 95% interval \+0\.\d{3} to \+0\.\d{3}\) ranks patients better than guesses\.", html)
    assert "how the models were trained is not known here" in html
    assert "no threshold from the training part is recorded" not in html  # evaluate stores the one that it used


@pytest.mark.slow
@pytest.mark.parametrize("width", [375, 390, 1280])
def test_the_page_opens_without_an_error_and_does_not_scroll_sideways(evaluated: Path, tmp_path: Path, width: int):
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no browser is installed (looked for {', '.join(BROWSERS)}): the page is not opened")
    html = build(evaluated, path=tmp_path / "page.html").read_text(encoding="utf-8")
    (tmp_path / "page.html").write_text(html.replace("</body>", f"<script>{USED}</script></body>"), encoding="utf-8")
    (tmp_path / "frame.html").write_text(f'<iframe src="page.html" style="width:{width}px;height:900px;border:0"></iframe>')
    command = [browser, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "frame.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert len(console) == 1, console
    assert "USED focus ascending descending other same" in console[0]
    needed, given = re.search(r"WIDTH (\d+) (\d+)", console[0]).groups()
    assert int(given) == width
    assert int(needed) <= width


def test_figures_are_written_beside_the_page_when_they_are_asked_for(evaluated: Path, tmp_path: Path):
    copy = tmp_path / "run"
    shutil.copytree(evaluated, copy)
    result = CliRunner().invoke(app, ["report", str(copy), "--figures"])
    assert result.exit_code == 0, result.output
    assert f"figures: {copy / 'figures'}" in result.stdout
    stems = {path.stem for path in (copy / "figures").glob("*.csv")}
    assert {"forest_cohort_concordance", "kaplan-meier_cohort_knows", "kaplan-meier_cohort_guesses"} <= stems
    assert {path.name for path in (copy / "figures").iterdir()} == {
        f"{stem}.{suffix}" for stem in stems for suffix in ("svg", "pdf", "csv")
    }
