"""The picture of a run: what it draws, what it leaves out, and what is no log."""

import json
import xml.etree.ElementTree

from click.testing import CliRunner

from vnlsdenoise.training.plot import drawn, main, read_curves

SVG = "{http://www.w3.org/2000/svg}"


def lines(*entries):
    return [json.dumps(entry) for entry in entries]


def step(number, gain):
    return {"event": "step", "step": number, "seconds": 2.0 * number, "gain": gain}


def validation(number, gain):
    return {"event": "validation", "step": number, "seconds": 2.0 * number, "420 20": gain, "420 20 worst": -1.0}


LOG = lines(
    {"event": "footage", "clips": 2},
    {"event": "start", "step": 0},
    validation(0, 0.0),
    step(10, 0.1),
    validation(10, 0.2),
    step(20, 0.3),  # lost
    validation(20, 0.5),
    {"event": "start", "step": 10},
    validation(10, 0.2),
    step(25, 0.4),
    validation(25, 0.6),
)


def test_what_a_run_lost_is_left_out():
    gains, cases = read_curves(LOG, "step")
    assert [points for points in gains.values()] == [[(10, 0.1), (25, 0.4)]]
    assert cases == {"420 20": [(0, 0.0), (10, 0.2), (10, 0.2), (25, 0.6)]}
    assert read_curves(LOG, "seconds")[1]["420 20"][-1] == (50, 0.6)


def test_the_picture_has_a_line_a_case():
    picture = xml.etree.ElementTree.fromstring(drawn(LOG, "step"))
    lines = [path for path in picture.iter(f"{SVG}path") if path.get("fill") == "none"]
    assert len(lines) == 2
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert "420 20 +0.60" in texts and "step" in texts and not any("worst" in text for text in texts)


def test_a_run_that_only_validated_can_be_drawn():
    assert "420 20" in drawn(LOG[:3], "seconds")


def test_what_is_no_log_is_said(tmp_path):
    for text, told in (("{}", "no log of training"), ("no json", "no log of training"), ("", "tells of no step yet")):
        (tmp_path / "log.jsonl").write_text(text)
        found = CliRunner().invoke(main, [str(tmp_path / "log.jsonl"), "-o", str(tmp_path / "curve.svg")])
        assert found.exit_code == 3 and told in found.output
        assert not (tmp_path / "curve.svg").exists()
