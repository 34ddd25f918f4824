"""Times of foreign logs do not depend on the time zone of the machine that imports them."""

import time

import pytest

from rlm_eval.importers.kinds.rlms import _seconds_of


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo"])
def test_a_log_over_a_change_to_summer_time_has_its_own_seconds(zone, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for before, after in (
            ("2026-03-29T01:59:00", "2026-03-29T03:01:00"),  # Berlin
            ("2026-03-08T01:59:00", "2026-03-08T03:01:00"),  # New York
            ("2026-03-29T01:59:00+00:00", "2026-03-29T03:01:00+00:00"),
        ):
            origin = _seconds_of({"timestamp": before}, None)
            assert _seconds_of({"timestamp": after}, origin) == 62 * 60
    finally:
        monkeypatch.undo()
        time.tzset()
