"""A tracker or an optimizer without its package is refused in one line, before any model is loaded."""

import pytest
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK, get_available_reporting_integrations
from transformers.training_args import OptimizerNames

from dualselect import DualSelectConfig
from dualselect.errors import ConfigError
from dualselect.training.packages import check_packages


MISSING = sorted(set(INTEGRATION_TO_CALLBACK) - set(get_available_reporting_integrations()))
OF_TORCH = ("adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop")


def config(**settings):
    return DualSelectConfig("run", use_cpu=True, **settings)


@pytest.mark.parametrize("tracker", MISSING)
def test_every_tracker_that_is_not_installed_says_what_to_install(tracker):
    # Kubeflow is not a package but a place to run in
    wanted = "cannot be used: " if tracker == "kubeflow" else r"needs .*: type \S+ -m pip install \S+, or write"
    with pytest.raises(ConfigError, match=f"report_to: {tracker} {wanted}"):
        check_packages(config(report_to=[tracker]))


@pytest.mark.parametrize("report_to", ["none", "all", [], None, ["none"]])
def test_none_and_all_need_nothing(report_to):
    check_packages(config(report_to=report_to))


def test_an_unknown_tracker_names_the_nearest():
    with pytest.raises(ConfigError, match="report_to: tensorbord is not a tracker .* did you mean tensorboard"):
        check_packages(config(report_to=["tensorbord"]))


@pytest.mark.parametrize("optimizer", [name.value for name in OptimizerNames])
def test_every_optimizer_works_or_says_what_is_missing(optimizer):
    if optimizer in OF_TORCH:
        check_packages(config(optim=optimizer))
        return
    with pytest.raises(ConfigError, match=rf"^optim: {optimizer} [^\n]*optim: adamw_torch[^\n]*$"):
        check_packages(config(optim=optimizer))


@pytest.mark.parametrize(
    ("optimizer", "package"),
    [
        ("paged_adamw_8bit", "bitsandbytes"),
        ("galore_adamw", r"git\+https://github.com/jiaweizzhao/GaLore"),
        ("schedule_free_adamw", "schedulefree"),
        ("adamw_torch_4bit", "torchao"),
        ("grokadamw", "grokadamw"),
        ("stable_adamw", "torch-optimi"),
        ("adamw_anyprecision", r"git\+https://github.com/pytorch/torchdistx"),
    ],
)
def test_an_optimizer_names_its_package(optimizer, package):
    with pytest.raises(ConfigError, match=rf"-m pip install {package}, or write optim: adamw_torch"):
        check_packages(config(optim=optimizer))


def test_arguments_that_an_optimizer_cannot_read_are_told():
    with pytest.raises(ConfigError, match="optim: sgd cannot be used: .*"):
        check_packages(config(optim="sgd", optim_args="momentum"))
