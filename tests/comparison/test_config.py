"""What a comparison file can say, and how it is told what it cannot."""

import pytest

from dualselect.comparison import read_comparison
from dualselect.errors import ConfigError


def test_a_file_becomes_entries(comparison_file):
    config = read_comparison(
        comparison_file(
            seeds=[0, 1],
            methods={
                "sft": None,
                "lisa": {"alignment_steps": 2, "proximal_weight": "1e-1", "learning_rate": "1e-3"},
                "mine": {"method": "dualselect", "rho": 1, "seeds": 7, "tune": {"learning_rate": ["1e-4", 2e-4]}},
            },
            evaluation={
                "suites": "builtin:2",
                "validation_suites": ["builtin:validation"],
                "judge_settings": {"model": "m"},
                "batch_size": 4,
            },
        )
    )
    sft, lisa, mine = config.entries
    assert (config.baseline, config.seeds, sft.seeds, mine.seeds) == ("sft", [0, 1], [0, 1], [7])
    assert lisa.method.settings["alignment_steps"] == 2
    assert lisa.method.settings["proximal_weight"] == 0.1
    assert lisa.settings == {"learning_rate": 1e-3}
    assert (mine.name, mine.base, mine.method.name, mine.settings) == ("mine", "dualselect", "mine", {"rho": 1.0})
    assert [mine.with_settings(one).settings["learning_rate"] for one in mine.candidates] == [1e-4, 2e-4]
    assert config.evaluation.suites == ["builtin:2"]
    assert config.evaluation.generation.batch_size == 4
    assert config.evaluation.judge_settings.model == "m"
    assert config.settings["learning_rate"] == 1e-2


def test_a_grid_is_every_combination(comparison_file):
    tune = {"learning_rate": [1e-4, 1e-3], "num_train_epochs": [1, 2]}
    config = read_comparison(comparison_file(methods={"sft_tuned": {"tune": tune}}))
    assert len(config.entries[0].candidates) == 4
    assert config.baseline is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": ["sft"]}, "method is not known here; did you mean methods?"),
        ({"learning_rat": 1}, "did you mean learning_rate?"),
        ({"seed": 3}, "seed cannot be set in a comparison: use seeds"),
        ({"save_strategy": "no"}, "keep no checkpoints"),
        ({"output_dir": None}, "output_dir is missing"),
        ({"methods": None}, "known methods: sft, sft_tuned, oracle"),
        ({"methods": ["dualselekt"]}, "did you mean dualselect?"),
        ({"methods": {"ema": {"decai": 1}}}, "methods: ema: decai is not known here; did you mean decay?"),
        ({"methods": {"ema": {"decay": 2}}}, "ema: decay is 2; use a number 0 or more and below 1"),
        ({"methods": {"ema": {"decay": 1}}}, "ema: decay is 1; use a number 0 or more and below 1"),
        ({"methods": {"ema": {"decay": "lots"}}}, "decay is 'lots'"),
        ({"methods": {"ema": {"learning_rate": "lots"}}}, "learning_rate is 'lots'; write a number"),
        ({"methods": {"ema": 3}}, "ema is 3; use settings"),
        ({"methods": {"start": {"method": "sft"}}}, "must not be start"),
        ({"methods": {"a/b": {"method": "sft"}}}, "letters, digits"),
        ({"methods": {"x": {"method": "sfd"}}}, "did you mean sft?"),
        ({"methods": {"x": {"method": ["sft"]}}}, "method: ['sft'] is not known here"),
        ({"methods": ["sft", {"lisa": {"alignment_steps": 2}}]}, "use a list of names such as [sft, dualselect], or"),
        ({"methods": {"ema": {"seed": 1}}}, "seed cannot be set"),
        ({"methods": {"ema": {"seeds": []}}}, "seeds is"),
        ({"methods": {"ema": {"seeds": [1, 1]}}}, "contains a seed twice"),
        ({"methods": {"ema": {"tune": {"decay": 0.5}}}}, "use lists of candidates"),
        ({"methods": {"ema": {"tune": {"decai": [0.5]}}}}, "tune: decai is not known here; did you mean decay?"),
        ({"methods": {"ema": {"tune": {"decay": [0.5, 1.5]}}}}, "decay is 1.5"),
        ({"methods": {"ema": {"tune": {"decay": [0.5, 0.6]}}}}, "validation_suites"),
        ({"methods": {"ema": {"tune": {"seed": [0, 1]}}}}, "tune: seed cannot be set in a comparison"),
        ({"methods": {"ema": {"tune": {"output_dir": ["a"]}}}}, "tune: output_dir cannot be set here"),
        ({"methods": {"ema": {"tune": {"dtype": ["float32"]}}}}, "tune: dtype cannot be set here"),
        ({"methods": {"lisa": {"tune": {"reference_data": [["builtin"]]}}}}, "add a method for each"),
        ({"methods": {"ema": {"output_dir": "a"}}}, "ema: output_dir cannot be set here: runs are in"),
        ({"methods": {"ema": {"task_data": "builtin:task:4"}}}, "ema: task_data cannot be set here: all methods"),
        ({"methods": {"ema": {"model_name_or_path": "a"}}}, "ema: model_name_or_path cannot be set here"),
        ({"methods": {"ema": {"dtype": "float32"}}}, "ema: dtype cannot be set here"),
        ({"methods": {"ema": {"prompt_format": "chat"}}}, "ema: prompt_format cannot be set here"),
        ({"methods": ["sft", "lisa"], "reference_data": None}, "lisa needs a pool of safe responses"),
        ({"methods": {"sft": None, "lisa": {"reference_data": []}}}, "lisa needs a pool of safe responses"),
        ({"methods": ["sft_tuned"]}, "without tuning it equals sft: add tune"),
        ({"methods": {"dualselect_rho_1": {"rho": 2.0}}}, "is defined by rho: 1.0"),
        ({"methods": {"dualselect": {"reference_gradient": "replay"}}}, "write reference_gradient: frozen"),
        ({"baseline": "sfd"}, "did you mean sft?"),
        ({"evaluation": {"suits": []}}, "evaluation: suits is not known here; did you mean suites?"),
        ({"evaluation": {"judges": [1]}}, "judges is"),
        ({"evaluation": {"max_new_tokens": 0}}, "max_new_tokens is 0"),
        ({"evaluation": {"max_new_tokens": "many"}}, "wrong type"),
        ({"evaluation": {"limit": 0}}, "limit is 0"),
        ({"evaluation": {"average": [3]}}, "average is [3]; use a list of names"),
        ({"evaluation": {"suites": 3}}, "suites is 3; use a list of names"),
        ({"evaluation": {"judge_settings": 3}}, "judge_settings is 3; use"),
        ({"evaluation": {"average": "hh-prompts"}}, "average is over win rates"),
        ({"evaluation": {"judge_settings": {"models": "m"}}}, "models is not known here; did you mean model?"),
        ({"methods": ["ema"], "evaluation": {"pairwise_judges": ["openai:preference"]}}, "win rates need a baseline"),
    ],
)  # fmt: skip
def test_mistakes_are_found_before_any_run(comparison_file, tmp_path, changes, message):
    with pytest.raises(ConfigError) as error:
        read_comparison(comparison_file(**changes))
    assert message in str(error.value)
    assert not (tmp_path / "comparison").exists()
