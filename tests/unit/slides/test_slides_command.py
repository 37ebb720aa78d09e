"""What the command about slides says while it works."""

import pytest

from prognos.cli import slides
from prognos.cli.terminal import progress_shown
from prognos.slides.encoders import ENCODERS
from prognos.slides.process import Progress


def test_the_table_names_every_encoder_its_licence_and_whether_one_has_to_ask(capsys):
    slides.slides(encoders=True)
    said = capsys.readouterr().out
    assert all(name in said for name in ENCODERS)
    assert "CC-BY-NC-ND-4.0" in said
    assert said.count("gated") == sum(card.gated for card in ENCODERS.values()) + 1
    assert "--encoder module:function" in said


def test_progress_is_a_line_a_tenth_with_the_time_left(capsys):
    with progress_shown(quiet=False, words=slides._place) as show:
        for share in (0.0, 0.05, 0.1, 0.12, 0.5, 1.0):
            show(Progress(done=int(share), total=2, share=share, patches=int(100 * share), seconds=20 * share))
    assert capsys.readouterr().err.splitlines() == [
        "0 of 2 slides, 5 patches/s, about 18 s left",
        "0 of 2 slides, 5 patches/s, about 10 s left",
        "1 of 2 slides, 5 patches/s, about 0 s left",
    ]


def test_quiet_shows_no_progress():
    with progress_shown(quiet=True, words=slides._place) as show:
        assert show is None


@pytest.mark.parametrize(("n", "thing", "said"), [(1, "slide", "1 slide"), (0, "slide", "0 slides"), (1200, "patch", "1,200 patches")])
def test_things_are_counted_in_words(n, thing, said):
    assert slides.counted(n, thing) == said
