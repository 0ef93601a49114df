"""What pages are made of: all text escaped, nothing from elsewhere."""

from matplotlib.figure import Figure

from ray_jobs.reports import page


def test_all_text_is_escaped():
    bad = '<script>"&'
    parts = [
        page.heading(bad),
        page.text(bad),
        page.status(bad, bad),
        page.code(bad),
        page.table([bad], [[bad]]),
        page.facts([(bad, bad)]),
        page.legend([bad], [("#000000", "solid")]),
        page.cards([(bad, bad)]),
        page.picture(bad, b""),
        page.plot(bad, Figure()),
        page.pictures([(bad, b"")]),
        page.folded(bad, ""),
        bad,  # a part that none of these has made
    ]
    found = page.page(bad, parts)
    assert "<script" not in found
    assert found.count("&lt;script&gt;&#34;&amp;") == 2 + 1 + 1 + 2 + 1 + 2 + 2 + 1 + 2 + 1 + 1 + 2 + 1 + 1


def test_a_table_marks_its_words_and_its_first_lines():
    found = page.table(["run", "loss"], [["a", "1"], ["baseline", "2"]], lines=[("#123456", "dashed")])
    assert found.count("<td class=word>") == 2
    assert found.count("<td>") == 2
    assert found.count("#123456") == found.count("dashed") == 1
