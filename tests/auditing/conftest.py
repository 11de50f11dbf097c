"""The audit that most tests look at."""

import pytest
from small_audits_for_tests import audited


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Rows, summary and folder of an audit with all scores."""
    folder = tmp_path_factory.mktemp("whole")
    return *audited(folder, all_scores=True), folder
