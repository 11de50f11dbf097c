"""A saved model for the verbs."""

import pytest
from models_for_tests import saved_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    return saved_model(tmp_path_factory.mktemp("model"))
