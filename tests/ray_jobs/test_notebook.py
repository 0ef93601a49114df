"""The three lines of a notebook."""

import aign


def test_three_lines_train_draw_and_save(tiny, tmp_path, capsys):
    trained = aign.train("pose", preset="aign", **tiny)
    trained.picture().savefig(tmp_path / "pose.png")
    trained.save(tmp_path / "export")

    assert (tmp_path / "pose.png").read_bytes().startswith(b"\x89PNG")
    assert "step 12 self-supervised" in capsys.readouterr().out
    loaded = aign.load(tmp_path / "export")
    observed = trained.task.data.test["observed"]
    assert loaded.progress.step == tiny["steps"]
    assert all(value.equal(trained.infer(observed)[name]) for name, value in loaded.infer(observed).items())


def test_quiet_says_nothing(tiny, capsys):
    aign.train("pose", quiet=True, **tiny)
    assert not capsys.readouterr().out
