"""Reports: JSON that any program reads, and sections of a document that can be renewed."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench import report as module
from tests.bench.report import Report, markdown, ms, publish, renewed, report
from tests.bench.scoring import percentiles


@pytest.fixture
def found() -> Report:
    """A small report."""
    return report(
        "load", {"limit": 1.5}, {"most": 3, "least": math.nan}, [{"calls": 1, "p95": 20}, {"calls": 3, "p95": None}]
    )


def test_what_was_not_measured_is_null(found: Report) -> None:
    """JSON has no NaN, and readers of JSON stop at one."""
    assert found["summary"]["least"] is None
    json.loads(json.dumps(found, allow_nan=False))


def test_a_report_says_when_and_where_it_was_made(found: Report) -> None:
    """A number without its machine means nothing."""
    text = markdown(found)

    assert str(found["machine"]["date"]) in text
    assert found["command"] in text
    assert "* most: 3" in text
    assert "| calls | p95 |\n|---|---|\n| 1 | 20 |\n| 3 | - |\n" in text


def test_only_its_own_section_of_a_document_is_renewed(found: Report) -> None:
    """What people wrote around the tables stays."""
    document = (
        "# Numbers\n<!-- begin load -->\nstale\n<!-- end load -->\nwords\n<!-- begin other -->\n<!-- end other -->\n"
    )

    once = renewed(document, found)

    assert "stale" not in once
    assert once.startswith("# Numbers\n<!-- begin load -->\n")
    assert once.endswith("<!-- end load -->\nwords\n<!-- begin other -->\n<!-- end other -->\n")
    assert renewed(once, found) == once


def test_a_document_without_the_section_is_told_what_to_write(found: Report) -> None:
    """The fix is two lines."""
    with pytest.raises(ValueError, match="write <!-- begin load --> and <!-- end load -->"):
        renewed("# Numbers\n", found)


def test_publishing_shows_keeps_and_documents(found: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call does it all, so that no bench forgets a part."""
    monkeypatch.setattr(module, "FOLDER", tmp_path / "bench")
    document = tmp_path / "benchmarks.md"
    document.write_text("<!-- begin load -->\n<!-- end load -->\n")
    screen = io.StringIO()

    file = publish(found, "load", Console(file=screen), document)

    assert json.loads(file.read_text()) == found
    assert "most: 3" in screen.getvalue()
    assert "| 3 | - |" in document.read_text()


def test_latencies_without_a_measurement_are_no_number() -> None:
    """Zero would look like the best of all."""
    assert ms(percentiles([]), "final") == {"final_p50_ms": None, "final_p95_ms": None}
    assert ms(percentiles([0.25]), "final") == {"final_p50_ms": 250, "final_p95_ms": 250}
