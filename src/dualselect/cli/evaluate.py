"""`dualselect evaluate`: a model, prompts and judges to a table with intervals."""

from collections.abc import Sequence
from pathlib import Path

from dualselect.cli.options import OptionParser
from dualselect.errors import ConfigError
from dualselect.evaluation.generation_settings import GenerationSettings


DESCRIPTION = """\
Measure how safe and how useful a model is, each number with its 95% interval.

examples:
  dualselect evaluate --model runs/first --suite builtin
  dualselect evaluate --model runs/first --suite builtin gsm8k:gsm8k_test.jsonl[0:200] --start_model base
  dualselect evaluate --model smollm2-135m-instruct --suite harmful:my_prompts.jsonl --output start.json
  dualselect evaluate --model runs/first --suite harmful:my_prompts.jsonl --compare start.json
  dualselect evaluate --model http://127.0.0.1:8000/v1 --model_name my-model --suite builtin --output served.json

An evaluation that was cut off goes on where it stopped when the same command is typed again: responses and verdicts
are kept in a .responses.jsonl next to the output as they come, and nothing is generated or judged twice.

Thoughts at the beginning of a response (<think> ... </think> and the marks of other models) are kept in the output and
never judged. A response that ends inside its thoughts is unscored: raise --max_new_tokens for a model that thinks.
"""
SUITES = """\
suites (--suite, one or more):
  builtin                held-out built-in prompts, 64 each: harmful requests, harmless look-alikes, tasks
  builtin:200            200 of each
  builtin:validation     the part to choose settings on; it shares no prompt with the others
{known}
  PURPOSE:SOURCE         your own prompts; PURPOSE says what they are for:
{purposes}
  SOURCE                 your own prompts; a column rejected makes them preference, answer task, else chat
  SOURCE is a file (.jsonl, .json, .csv, each also with .gz, .parquet), a folder of these, or a hub name owner/name or
  owner/name:split; FILE[0:200] takes its first 200 rows. A named set without SOURCE comes from the hub. A row has
  messages, prompt, instruction or question, and may have id, category, answer, completion, chosen, rejected.

judges (--judge, one or more; each has its own rows in the table, none is averaged with another):
  refusal                reads the wording of the opening; offline, English, weak; the default
  openai:PRESET          asks a model behind any OpenAI-compatible server; its key comes from OPENAI_API_KEY only;
                         openai:preference compares the responses with those of --compare, in both orders
  classifier:MODEL       a sequence classifier or reward model, local
"""


def run(arguments: list[str]) -> int:
    """Evaluate, print the table, say where the file is."""
    options = _parser().parse_args(arguments)

    from datasets import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    from dualselect.evaluation.agreement import agreements
    from dualselect.evaluation.differences import differences
    from dualselect.evaluation.evaluating import evaluate
    from dualselect.evaluation.results import read_evaluation
    from dualselect.evaluation.table import agreement_table, difference_table, judge_lines, sample_text, summary_table
    from dualselect.judges import JudgeSettings

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    disable_progress_bars()  # the bars that remain are those of the suites
    if (options.judge_url or options.judge_model) and not _asks_a_server(options.judge or []):
        raise ConfigError(
            "judge_url and judge_model are for a judge that asks a server, and no such judge is named: add --judge "
            "openai:rubric or another, or leave them out"
        )
    other = read_evaluation(options.compare) if options.compare else None
    try:
        path = evaluate(
            options.model,
            options.suite,
            judges=options.judge,
            baseline=options.compare,
            average=options.average,
            output=options.output,
            generation=GenerationSettings(
                max_new_tokens=options.max_new_tokens,
                batch_size=options.batch_size,
                temperature=options.temperature,
                top_p=options.top_p,
                seed=options.seed,
            ),
            judge_settings=JudgeSettings(base_url=options.judge_url, model=options.judge_model),
            limit=options.limit,
            start_model=options.start_model,
            model_name=options.model_name,
            prompt_format=options.prompt_format,
            trust_remote_code=options.trust_remote_code,
        )
    except KeyboardInterrupt:
        print("\nThe same command goes on where this one stopped.", flush=True)
        raise
    evaluation = read_evaluation(path)
    print(f"\n{summary_table(evaluation.summary)}")
    for line in judge_lines(evaluation.judges):
        print(line)
    if evaluation.baseline is not None:
        print(f"win rates are against {evaluation.baseline.name} ({evaluation.baseline.path})")
    if agreed := agreements(evaluation):
        print(f"\nhow far judges agree (single: did it comply; pairwise: who is better):\n{agreement_table(agreed)}")
    if options.samples:
        print(f"\n{sample_text(evaluation, options.samples)}")
    if other is not None:
        print(f"\n{options.model} minus {other.model.name} ({options.compare}), paired on the same prompts:")
        print(difference_table(differences(evaluation, other)))
    print(f"\nresponses, verdicts and numbers by category: {path}")
    return 0


def _asks_a_server(judges: Sequence[str]) -> bool:
    """Whether a judge of other packages, or of ours, may ask a server."""
    return any(name.partition(":")[0] not in ("refusal", "classifier") for name in judges)


def _parser() -> OptionParser:
    defaults = GenerationSettings()
    parser = OptionParser(
        prog="dualselect evaluate",
        usage="dualselect evaluate --model MODEL --suite SUITE [--judge JUDGE] [--output FILE] [options]",
        description=DESCRIPTION,
        epilog=_epilog(),
    )
    add = parser.add_argument
    add(
        "--model",
        required=True,
        help="a run directory of dualselect train, an adapter's folder, a model's folder, a hub name, "
        "smollm2-135m-instruct (embedded, needs no hub), or the address of an OpenAI-compatible server",
    )
    add("--model_name", help="what the server calls the model; for servers only")
    add("--suite", action="extend", nargs="+", required=True, help="which prompts, one or more; see below")
    add("--judge", action="extend", nargs="+", help="who looks at the responses, one or more; see below (refusal)")
    add("--judge_url", help="address of the judge's server, such as http://127.0.0.1:8000/v1")
    add("--judge_model", help="what that server calls the judge model")
    add(
        "--output",
        type=Path,
        help="the JSON file to write (for a run: evaluation/SUITES.json in it); one that is there is replaced, and "
        "what it shares with this one is not done again",
    )
    add(
        "--compare",
        type=Path,
        help="another evaluation's JSON: print differences to it, paired on the same prompts; a judge that prefers "
        "one of two responses gives win rates against it (50 is as good)",
    )
    add("--average", nargs="+", default=[], help="suites whose mean win rate is one more row")
    add(
        "--start_model",
        help="also measure how far the model's predictions of safe responses moved (KL) from this one: base, the "
        "model with its adapter off, or the name of another model",
    )
    add("--limit", type=int, help="only the first prompts of each suite")
    add(
        "--samples",
        type=int,
        default=0,
        help="print the first responses of each suite, this many (0); they may be offensive",
    )
    add("--max_new_tokens", type=int, default=defaults.max_new_tokens, help="longest response (%(default)s)")
    add(
        "--batch_size",
        type=int,
        default=defaults.batch_size,
        help="prompts answered at once; of a server, requests at once (%(default)s)",
    )
    add(
        "--temperature", type=float, default=defaults.temperature, help="0 is greedy; above it, sampling (%(default)s)"
    )
    add("--top_p", type=float, default=defaults.top_p, help="share of likelihood to sample from (%(default)s)")
    add("--seed", type=int, default=defaults.seed, help="of sampling (%(default)s)")
    add(
        "--prompt_format",
        choices=["chat", "human_assistant"],
        help="how prompts are written: the chat template, or lines `Human: ...` and `Assistant: ` (as the run was "
        "trained; else chat)",
    )
    add(
        "--trust_remote_code",
        action="store_true",
        help="run code that comes with the model; a run's own config.yaml does not decide this",
    )
    return parser


def _epilog() -> str:
    from dualselect.evaluation.known_suites import KNOWN_SUITES
    from dualselect.evaluation.suite import PURPOSES

    known = [f"  {f'{name}:SOURCE':<22} {suite.about}" for name, suite in KNOWN_SUITES.items()]
    purposes = [f"    {purpose:<20} {what}" for purpose, what in PURPOSES.items()]
    return SUITES.format(known="\n".join(known), purposes="\n".join(purposes))
