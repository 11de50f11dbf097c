"""`DualSelectTrainer` and its settings: one training loop, from data sets to an updated model."""
