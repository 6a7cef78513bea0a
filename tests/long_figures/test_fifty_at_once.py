"""Fifty sessions at the same time on two cores, at the worker's own pace."""

from __future__ import annotations

from pathlib import Path

import pytest
from crowd import MAX_BEAT_GAP_S, a_crowd_at_once

pytestmark = [pytest.mark.long, pytest.mark.anyio, pytest.mark.timeout(180)]

OWN_PACE = {"SWARM_HEARTBEAT_INTERVAL_S": "3", "SWARM_CANCEL_CHECK_INTERVAL_S": "1"}


async def test_fifty_sessions_are_kept_apart_and_all_of_them_beat(tmp_path: Path):
    crowd = await a_crowd_at_once(tmp_path, 50, linger_s=8.0, **OWN_PACE)
    for number in range(crowd.count):
        gaps_s = crowd.gaps_s(number)
        assert len(gaps_s) >= 2
        assert max(gaps_s) <= MAX_BEAT_GAP_S, number


async def test_one_question_a_second_tells_of_all_cancelled_tasks(tmp_path: Path):
    crowd = await a_crowd_at_once(tmp_path, 20, linger_s=3.0, **OWN_PACE)
    asked = crowd.proxy.seen("GET /cancelled-tasks")
    about_one = [visit for visit in asked if "taskId=" in visit.path]
    seconds = asked[-1].at_s - asked[0].at_s
    assert seconds > 3
    assert len(about_one) <= 2 * crowd.count
    assert len(asked) - len(about_one) <= seconds + 2
