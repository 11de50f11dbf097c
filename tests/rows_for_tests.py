"""Small conversations and a trainer over them, for tests of the loop."""

from datasets import Dataset
from models_for_tests import tiny_model
from peft import LoraConfig
from tokenizers_for_tests import chatml_tokenizer

from dualselect import DualSelectConfig, DualSelectTrainer


def conversation_rows(count: int, response: str = "The answer is {number}.", prefix: str = "t") -> Dataset:
    """Rows with ids, in which only the number changes."""
    return Dataset.from_list(
        [
            {
                "id": f"{prefix}{number}",
                "kind": "task" if prefix == "t" else "refusal",
                "category": f"category {number % 3}",
                "messages": [
                    {"role": "user", "content": f"{prefix} question {number} " + "is it " * (number % 4)},
                    {"role": "assistant", "content": response.format(number=number) + " books" * (number % 3)},
                ],
            }
            for number in range(count)
        ]
    )


def safe_rows(count: int) -> Dataset:
    """References with prompts of their own."""
    return conversation_rows(count, "I'm sorry, but I cannot help with that {number}.", "r")


def small_trainer(
    folder,
    *,
    task=None,
    references=None,
    dropout=0.0,
    architecture="llama",
    tokenizer=None,
    vocabulary=None,
    trainer_arguments=None,
    **settings,
):
    """A trainer of a tiny random model that runs 12 steps of 4 rows when nothing else is said."""
    tokenizer = tokenizer or chatml_tokenizer()
    common = {
        "max_steps": 12,
        "per_device_train_batch_size": 4,
        "selection_warmup_steps": 2,
        "learning_rate": 1e-2,
        "save_strategy": "no",
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "report_to": "none",
        "use_cpu": True,
        "max_length": 256,
        "seed": 1,
        "reference_contrast": "none",
        **({} if "task_top_k" in settings else {"task_token_budget": 0.9}),
    }
    return DualSelectTrainer(
        tiny_model(architecture, vocabulary or len(tokenizer)),
        DualSelectConfig(str(folder), **(common | settings)),
        train_dataset=conversation_rows(20) if task is None else task,
        reference_dataset=safe_rows(10) if references is None else references,
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=dropout),
        **(trainer_arguments or {}),
    )


def trained(folder, **options):
    """The trainer after training."""
    trainer = small_trainer(folder, **options)
    trainer.train()
    return trainer


def adapter_of(trainer) -> dict:
    """The trainable parameters by name."""
    return {name: value.detach().clone() for name, value in trainer.model.named_parameters() if value.requires_grad}


def events(trainer, event: str) -> list[dict]:
    """The lines of one kind of the selection log."""
    return [line for line in trainer.selection_log.read() if line["event"] == event]


def words(settings, **changed):
    """Settings by option, with some changed, as words of a command line; None leaves an option out."""
    both = settings | {f"--{name}": value for name, value in changed.items()}
    return [word for name, value in both.items() if value is not None for word in (name, *value.split())]
