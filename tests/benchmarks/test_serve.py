import re
import sys

import pytest

from benchmarks.serve import main


@pytest.mark.slow
def test_throughput_and_waits_are_measured(monkeypatch, capsys):
    arguments = ["gpvit_nano", "--clients", "4", "--seconds", "2", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", ["serve", *arguments])
    main()
    served, summary = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\d+\.\d images/s served, \d+\.\d by gpvit benchmark", served)
    assert re.fullmatch(r"\d+%; 4 clients wait \d\.\d\d s \(p50\), \d\.\d\d s \(p99\)", summary)
