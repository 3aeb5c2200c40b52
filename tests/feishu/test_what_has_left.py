"""What has left for the sheet is looked for until it is known what became of it, and no longer."""

from __future__ import annotations

from publishing_support import STATUS, Team


def test_what_was_refused_makes_no_newer_status_undone(team: Team) -> None:
    """One cell is protected, so the others are written one by one; later the rows have other numbers."""
    sheet = team.feishu.sheet
    blocked, *delivered = [team.finished(row) for row in (2, 3, 4)]
    sheet.protect("F2:F2")
    report = team.publisher.flush()
    assert (list(report.blocked), report.pushed) == ([blocked], delivered)
    sheet.delete_row(2)
    later = team.finished(5)
    team.publisher.flush()
    for task_id in (*delivered, later):
        team.assert_delivered(task_id)
    assert team.row("产品4")[STATUS] == "否"
