"""Nothing that a stranger's files hold makes a reader do anything else than read them or refuse them in a sentence."""

import pytest
from fuzzing import FUZZED
from hypothesis import HealthCheck, given, settings

EXAMPLES = 60


@pytest.mark.parametrize("what", FUZZED)
def test_strange_files_are_read_or_refused(what):
    strategy, check = FUZZED[what]

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def try_one(given_to_read):
        check(given_to_read)

    try_one()
