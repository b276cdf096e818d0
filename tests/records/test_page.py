"""Can a diagnosis be read without a browser, and without running anything?"""

from dataclasses import replace
from html.parser import HTMLParser

import synthetic
from theodolite.records.diagnosis import Diagnosis, Findings
from theodolite.records.obstacles import OBSTACLES, UNDETERMINED
from theodolite.records.page import HEADLINES, confidence, headline

HOSTILE = '</div><script>alert(1)</script><img src=x onerror="alert(1)">'


def test_every_obstacle_has_a_headline():
    assert set(HEADLINES) == {*OBSTACLES, UNDETERMINED}
    assert headline("something_new") == "Something new"


def test_a_probability_says_what_it_was_counted_on():
    counted = replace(synthetic.diagnosis(), calibrated=True)
    assert str(counted).splitlines()[1] == "70 % sure, as such verdicts were right on the zoo"


def test_the_terminal_page_has_verdict_evidence_findings_and_remedies():
    text = str(synthetic.diagnosis())
    lines = text.splitlines()
    assert lines[0] == "THE GRADIENT IS MOSTLY NOISE  (gradient_noise)"
    assert lines[1] == "70 % sure, not yet calibrated on known problems"
    assert "- Noise takes 78 ± 4 % of the promise over the last quarter." in lines
    assert any(line.startswith("  ● gradient noise") and "0.78 ± 0.04  (needs > 0.5)" in line for line in lines)
    together = " ".join(text.split())
    assert together.count("missing: No rule judges this yet.") == 1  # said once of all that miss the same
    assert any(line.startswith("  ? undetermined: ") for line in lines)
    assert "- batch × 8: +0.084 ± 0.011 in 60 steps" in lines
    assert "- momentum 0.9: not measured in 60 steps (diverged on every branch)" in lines
    assert "Also present: step too large." in lines
    assert max(map(len, lines)) <= 88
    for obstacle in OBSTACLES:
        assert obstacle.replace("_", " ") in text


def test_a_bare_diagnosis_is_still_a_page():
    bare = Diagnosis(UNDETERMINED, {}, Findings(()))
    assert str(bare) == "THE OBSTACLE IS UNDETERMINED  (undetermined)"
    assert confidence(bare) == ""
    assert bare._repr_html_().startswith("<div")


def test_an_undetermined_verdict_names_the_likeliest():
    assert (
        confidence(Diagnosis(UNDETERMINED, {"plateau": 0.4, "none": 0.2}, Findings(()), secondary=("plateau",)))
        == "Most likely plateau, 40 %"
    )
    assert confidence(Diagnosis(UNDETERMINED, {"plateau": 0.4, "none": 0.2}, Findings(()))) == ""  # nothing is present


def test_the_notebook_page_is_small_balanced_and_without_scripts():
    text = synthetic.diagnosis(words=HOSTILE)._repr_html_()
    tags, open_tags = [], []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append(tag)
            open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Parser().feed(text)
    assert open_tags == []
    assert not {"script", "img", "link", "iframe"} & set(tags)
    assert len(text) < 100_000
    assert "The gradient is mostly noise" in text
