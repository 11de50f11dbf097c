"""Trainings of a tiny model, as a script that torchrun starts; its argument is a JSON list of settings."""

import json
import os
import sys

import torch
from rows_for_tests import conversation_rows, safe_rows, small_trainer
from transformers import TrainerCallback


class Dies(TrainerCallback):
    """The process of one rank fails, or is killed, after a step."""

    def __init__(self, rank, step, kill):
        self.rank, self.step, self.kill = rank, step, kill

    def on_step_end(self, args, state, control, **_):
        if torch.distributed.get_rank() == self.rank and state.global_step == self.step:
            if self.kill:
                os.kill(os.getpid(), 9)
            raise RuntimeError("this rank has failed")


def train(folder, *, task=20, pool=10, resume=False, dies=None, world=1, **settings):
    """Train, with the checks of a world size, and save the adapter into the folder."""
    trainer = small_trainer(
        folder,
        task=conversation_rows(task),
        references=safe_rows(pool),
        trainer_arguments={"callbacks": [Dies(*dies)]} if dies else None,
        **settings,
    )
    assert trainer.args.world_size == world
    trainer.train(resume_from_checkpoint=resume)
    trainer.save_model(str(folder))
    return trainer


if __name__ == "__main__":
    for asked in json.loads(sys.argv[1]):
        train(**asked)
