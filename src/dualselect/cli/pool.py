"""`dualselect pool`: a reference pool in the words of the start model."""

from pathlib import Path

from dualselect.cli.options import OptionParser, tell_repeated


DESCRIPTION = """\
Make a reference pool in the words of your model. The model answers harmful and harmless prompts; answers that refuse
well, or help well, are kept. Both sides matter: a pool of refusals alone teaches a model to refuse harmless requests.
Without prompts of your own, the built-in ones are used.
"""
EXAMPLE = """\
example:
  dualselect pool --model_name_or_path Qwen/Qwen2.5-0.5B-Instruct --output pool.jsonl
  dualselect train --model_name_or_path Qwen/Qwen2.5-0.5B-Instruct --task_data my_task.jsonl \\
      --reference_data pool.jsonl --output_dir runs/first
"""


def run(arguments: list[str]) -> int:
    """Make the pool, and print what was kept and what was left out."""
    parser = _parser()
    tell_repeated(arguments, parser._actions)
    options = parser.parse_args(arguments)
    from datasets import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    from dualselect.evaluation.generation_settings import GenerationSettings
    from dualselect.models import load_model
    from dualselect.own_pool import own_pool

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    disable_progress_bars()
    model, tokenizer = load_model(options.model_name_or_path, trust_remote_code=options.trust_remote_code)
    counts = own_pool(
        model,
        tokenizer,
        options.output,
        harmful=options.harmful_prompts,
        harmless=options.harmless_prompts,
        count=options.count,
        generation=GenerationSettings(max_new_tokens=options.max_new_tokens, batch_size=options.batch_size),
    )
    total = sum(side.kept for side in counts.values())
    print(f"\n{total} references: {options.output}. Read some of them, then:")
    print(
        f"  dualselect train --model_name_or_path {options.model_name_or_path} --task_data YOUR_TASK "
        f"--reference_data {options.output} --output_dir RUN"
    )
    return 0


def _parser() -> OptionParser:
    parser = OptionParser(
        prog="dualselect pool",
        usage="dualselect pool --model_name_or_path MODEL --output FILE [options]",
        description=DESCRIPTION,
        epilog=EXAMPLE,
    )
    add = parser.add_argument
    add("--model_name_or_path", required=True, help="the model before fine-tuning: a hub name, a folder, a .gguf file")
    add("--output", type=Path, required=True, help="the JSONL file to write; it must not exist")
    add("--harmful_prompts", nargs="+", default=[], help="files, folders or hub names of prompts to refuse (built-in)")
    add(
        "--harmless_prompts",
        nargs="+",
        default=[],
        help="the same for prompts to help with, best some that look harmful (built-in)",
    )
    add("--count", type=int, default=100, help="most prompts of each side (%(default)s)")
    add("--max_new_tokens", type=int, default=160, help="longest answer, in tokens; longer ones are left out")
    add("--batch_size", type=int, default=16, help="prompts answered at once (%(default)s)")
    add("--trust_remote_code", action="store_true", help="run code that comes with the model")
    return parser
