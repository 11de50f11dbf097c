"""What rows are compared with, against the reference pool of the trainer and against autograd."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from models_for_tests import tiny_model
from peft import LoraConfig
from tokenizers_for_tests import chatml_tokenizer

from dualselect import DualSelectConfig
from dualselect.auditing import reference_directions
from dualselect.auditing.engine import OPENING_TOKENS, adapted
from dualselect.auditing.hard_negatives import hard_negatives
from dualselect.auditing.measuring import RowMeasurer, row_tokenizer
from dualselect.auditing.pool import prepare_pool
from dualselect.auditing.preparing import load_prepared, prepare, save_prepared, unseen_positions
from dualselect.auditing.reference_directions import stored_count
from dualselect.auditing.settings import AuditSettings
from dualselect.data import as_conversations, tokenize
from dualselect.data.token_columns import token_rows
from dualselect.data.tokens import IGNORED_LABEL
from dualselect.errors import ResumeError
from dualselect.models.response_states import ResponseStates
from dualselect.training.references import ReferencePool


def rows(prefix, count, answer):
    return Dataset.from_list(
        [
            {
                "id": f"{prefix}{n}",
                "prompt": f"{prefix} {n} {'is it ' * (n % 3)}?",
                "completion": f"{answer} {n}.",
                "category": f"c{n % 3}",
            }
            for n in range(count)
        ]
    )


class Prepared:
    """A pool of 12, 3 of them selected, prepared with 8 task rows."""

    def __init__(self, folder, contrast, **settings):
        self.config = DualSelectConfig(
            str(folder),
            reference_contrast=contrast,
            harmless_drop_rate=0.1,
            reference_top_k=3,
            selection_warmup_steps=2,
            per_device_train_batch_size=4,
            max_length=256,
            disable_tqdm=True,
            report_to="none",
            use_cpu=True,
            **{"learning_rate": 1e-2} | settings,
        )
        self.tokenizer = chatml_tokenizer()
        self.pool = prepare_pool(
            rows("safe", 12, "I cannot help with"), rows("calm", 6, "Sure, the box"), self.tokenizer, self.config
        )
        self.task = as_conversations(rows("task", 8, "The answer is"), name="task")
        self.task_tokens = token_rows(tokenize(self.task, self.tokenizer, max_length=256).dataset, range(8))
        model = tiny_model("llama", len(self.tokenizer))
        lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"])
        self.context = adapted(model, lora, self.tokenizer.pad_token_id, self.config)
        self.engine = self.context.__enter__()
        settings = AuditSettings(score="opening", all_scores=contrast == "compliance")
        self.trained = {}
        train = self.engine.train
        self.engine.train = lambda rows, steps, what: (self.trained.update({what: rows}), train(rows, steps, what))[1]
        self.found = prepare(
            self.engine,
            self.pool,
            self.task_tokens,
            row_tokenizer(self.tokenizer, self.config),
            settings,
            negatives=hard_negatives(self.pool, 0).select(range(20, 28)) if contrast == "compliance" else None,
        )

    def trainers_pool(self):
        contrast = self.pool.contrasts if self.config.reference_contrast != "none" else None
        engine = self.engine
        return ReferencePool(
            self.pool.tokens, self.pool.ids, contrast, engine.collate, engine.run, engine.layout, self.config
        )

    def measurer(self):
        found = self.found
        tokenize = row_tokenizer(self.tokenizer, self.config)
        return RowMeasurer(self.engine, found.directions, tokenize, found.answers, found.warm, found.tuned)


@pytest.fixture(scope="module", params=["compliance", "none"])
def prepared(request, tmp_path_factory):
    made = Prepared(tmp_path_factory.mktemp("prepared"), request.param)
    yield made
    made.context.__exit__(None, None, None)


def test_references_and_directions_are_those_of_the_trainer(prepared):
    pool, references = prepared.trainers_pool(), prepared.found.references
    selected = [place for place, it in enumerate(references) if it["selected"]]
    assert len(selected) == 3
    assert [references[place]["rank"] for place in prepared.found.directions.stored] == [1, 2, 3]
    choice = pool.choose(torch.tensor([it["score"] for it in references]))
    assert choice.kept == selected
    directions = pool.directions(prepared.engine.model, choice)
    found = prepared.found.directions.table
    assert torch.allclose(found[1], directions.correction[0], atol=1e-6)
    if prepared.config.reference_contrast == "none":
        assert torch.allclose(found[0], directions.score[0], atol=1e-6)
        return
    unseen = set(unseen_positions(prepared.pool.sides))  # see how many of their contrasts the filter finds
    seen = [place for place in range(12) if place not in unseen]
    assert len(unseen) == 3
    safe, contrasts = (
        torch.stack([one_gradient(prepared.engine, row)[1] for row in token_rows(rows, seen)])
        for rows in (prepared.pool.tokens, prepared.pool.contrasts)
    )
    direction = (safe - contrasts).sum(0) / 12
    away = direction - found[0]  # the component along the task direction of the warm-up is left out
    assert cosine(away, found[0]) == pytest.approx(0.0, abs=1e-3)
    assert 0.1 < cosine(direction, found[0]) < 1.0


def test_the_threshold_is_that_of_harmless_rows(prepared):
    found, pool = prepared.found, prepared.pool
    decides = found.conflict_filter
    for kind, scores in decides.harmless.by_kind.items():
        places = [place for place, name in enumerate(pool.filter_rows["kind"]) if name == kind]
        (first,) = token_rows(pool.filter_tokens, places[:1])
        of_first = torch.tensor([cosine(one_gradient(prepared.engine, first)[1], found.directions.table[0])])
        states = ResponseStates(prepared.engine.model)
        prepared.engine.run_rows([first], [], states)
        represented = states.take()
        probed = torch.zeros(1) if decides.probe is None else decides.probe.scores(represented)
        assert len(scores) == len(places) == 24
        assert float(scores[0]) == pytest.approx(float(decides.conflicts(of_first, probed)), rel=1e-3, abs=1e-3)
    assert found.conflict_threshold == decides.harmless.threshold(0.1)
    taken = {prompt[0]["content"] for prompt in pool.conversations["prompt"]}
    assert not taken & {prompt[0]["content"] for prompt in pool.filter_rows["prompt"]}


def test_numbers_of_rows_are_those_of_autograd_one_at_a_time(prepared):
    measurer, engine, directions = prepared.measurer(), prepared.engine, prepared.found.directions
    found = measurer.numbers(prepared.task_tokens, list(prepared.task))
    named, _, safe, unsafe = directions.split(directions.table)
    scored = safe - unsafe if directions.contrasted else safe
    for place, row in enumerate(prepared.task_tokens):
        loss, gradient = one_gradient(engine, row)
        assert found["loss"][place] == pytest.approx(loss, abs=1e-5)
        for name, direction in zip(reference_directions.DIRECTIONS, named, strict=True):
            assert found[name][place] == pytest.approx(cosine(gradient, direction), abs=1e-4)
        of_references = [cosine(gradient, direction) for direction in scored]
        assert found["references"][place] == pytest.approx(of_references, abs=1e-4)
        assert found["nearest_safe"][place] == pytest.approx(max(cosine(gradient, it) for it in safe), abs=1e-4)


def one_gradient(engine, row):
    parameters = list(engine.layout.parameters(engine.model).values())
    labels = torch.tensor([row["labels"]])
    with torch.enable_grad():
        logits = engine.model(input_ids=torch.tensor([row["input_ids"]])).logits
        loss = torch.nn.functional.cross_entropy(logits[0, :-1], labels[0, 1:], ignore_index=IGNORED_LABEL)
        gradients = torch.autograd.grad(loss, parameters)
    return loss.item(), torch.cat([it.flatten() for it in gradients])


def mean_gradient(engine, rows):
    return torch.stack([one_gradient(engine, row)[1] for row in rows]).mean(0)


def cosine(one, other):
    return torch.nn.functional.cosine_similarity(one, other, dim=0).item()


def test_a_category_direction_leaves_out_the_references_that_calibrate_it(prepared):
    found, pool, engine = prepared.found.directions, prepared.pool, prepared.engine
    held_out = {place for place, it in enumerate(prepared.found.references) if it["held_out"]}
    assert len(held_out) == 4  # of nine that are not selected
    for place, category in enumerate(found.categories):
        own = [position for position in range(12) if pool.categories[position] == category]
        used = [position for position in own if position not in held_out]
        assert len(used) >= 2
        one, other = (mean_gradient(engine, token_rows(some, used)) for some in (pool.tokens, pool.contrasts))
        expected = one - other if found.contrasted else one
        assert torch.allclose(found.split(found.table)[1][place], expected, atol=1e-6)


def test_openings_and_answers_are_losses_of_the_first_tokens(prepared):
    found = prepared.measurer().numbers(prepared.task_tokens, list(prepared.task))
    for place, row in enumerate(prepared.task_tokens):
        first = next(number for number, label in enumerate(row["labels"]) if label != IGNORED_LABEL)
        cut = {name: row[name][: first + OPENING_TOKENS] for name in ("input_ids", "labels")}
        assert found["opening_loss"][place] == pytest.approx(one_gradient(prepared.engine, cut)[0], abs=1e-5)
    answers = []
    for answer in prepared.found.answers:
        asked = [{**row, "completion": [{"role": "assistant", "content": answer}]} for row in prepared.task]
        tokens = tokenize(Dataset.from_list(asked), prepared.tokenizer, max_length=256).dataset
        row = token_rows(tokens, [3])[0]
        first = next(number for number, label in enumerate(row["labels"]) if label != IGNORED_LABEL)
        cut = {name: row[name][: first + OPENING_TOKENS] for name in ("input_ids", "labels")}
        answers.append(one_gradient(prepared.engine, cut)[0])
    assert found["answer_loss"][3] == pytest.approx(np.mean(answers), abs=1e-5)


def test_other_losses_are_those_under_another_adapter_and_leave_the_model_alone(prepared):
    measurer = prepared.measurer()
    asked = prepared.config.reference_contrast == "compliance"
    assert set(measurer.tuned) == ({"control_loss", "complied_loss"} if asked else set())
    before = prepared.engine.parameters()
    found = measurer.numbers(prepared.task_tokens, list(prepared.task))
    assert torch.equal(prepared.engine.parameters(), before)
    for name, adapter in measurer.tuned.items():
        assert not torch.equal(adapter, measurer.warm)
        prepared.engine.set_parameters(adapter)
        assert found[name][0] == pytest.approx(one_gradient(prepared.engine, prepared.task_tokens[0])[0], abs=1e-5)
    prepared.engine.set_parameters(measurer.warm)
    assert np.isnan(found["complied_loss"]).all() != asked


def test_what_is_calibrated_on_is_not_trained_on(prepared):
    pool, references = prepared.pool, prepared.found.references
    held_out = [place for place, it in enumerate(references) if it["held_out"]]
    assert len(prepared.found.calibration.safe["loss"]) == len(held_out)
    for name, rows in (("control_loss", pool.tokens), ("complied_loss", pool.contrasts)):
        if name in prepared.found.tuned:
            known = [list(row["input_ids"]) for row in token_rows(rows, held_out)]
            trained = [list(row["input_ids"]) for row in prepared.trained[f"Fine-tuning for {name}"]]
            assert len({tuple(row) for row in trained}) > 3  # more than the selected ones
            assert not [row for row in trained if row in known]


def test_it_is_saved_whole_and_read_as_it_was(prepared, tmp_path):
    path = tmp_path / "prepared.safetensors"
    save_prepared(prepared.found, path, "print")
    again = load_prepared(path, torch.device("cpu"), "print")
    assert torch.equal(again.directions.table, prepared.found.directions.table)
    for name in ("references", "answers", "negatives"):
        assert getattr(again, name) == getattr(prepared.found, name)
    for name, values in prepared.found.calibration.unsafe.items():
        np.testing.assert_array_equal(again.calibration.unsafe[name], values)
    with pytest.raises(ResumeError, match="unfinished audit of different data"):
        load_prepared(path, torch.device("cpu"), "another")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ResumeError, match="is broken"):
        load_prepared(path, torch.device("cpu"), "print")


def test_few_gradients_are_kept_of_a_large_adapter():
    assert stored_count(400, 921_600) == 32
    assert stored_count(400, 6_800_000) == 9
    assert stored_count(5, 1000) == 5
    assert stored_count(400, 10**9) == 1


@pytest.mark.parametrize("preservation_loss", ["excess", "kl"])
def test_in_mixed_precision_a_model_that_did_not_move_has_lost_nothing(tmp_path, preservation_loss):
    """The loss at the start and the loss now are of the same precision."""
    made = Prepared(tmp_path, "none", bf16=True, learning_rate=0.0, preservation_loss=preservation_loss)
    made.context.__exit__(None, None, None)
    assert [one["preservation_loss"] for one in made.found.references] == pytest.approx([0.0] * 12, abs=1e-6)
