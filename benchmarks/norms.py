"""Squared norms of per-example gradients of a linear layer: by Gram matrices or by the product dW.

    python benchmarks/norms.py

For shapes of LoRA and of whole layers (inputs x outputs) and for T tokens, B = 8 examples. The rule of
`LayerPass.gram_is_cheaper` is T (i + o) < i o. The last line is the share of the shapes in which the rule takes the
faster way, counting ways within 10% of each other as equally fast.
"""

import statistics
import sys
from typing import Any

import torch
from common import options_of, seconds, write_result
from torch import nn
from tqdm import tqdm

from dualselect.gradients.layer_pass import LayerPass, TappedLayer


SHAPES = {
    "LoRA A, r 16": (576, 16),
    "LoRA B, r 16": (16, 576),
    "LoRA A, r 16, 8B": (4096, 16),
    "attention of SmolLM2": (576, 576),
    "MLP of SmolLM2": (576, 1536),
    "MLP of 1B": (2048, 8192),
}
TOKENS = (8, 32, 128, 512)


def timed(layer_pass: LayerPass, way: str, repeats: int) -> float:
    """Median seconds of one way."""
    found = []
    for _ in range(repeats):
        fresh = LayerPass(layer_pass.layer, layer_pass.inputs, layer_pass.gradients, None, False)
        begun = seconds()
        if way == "gram":
            fresh.squared_weight_norms()
        else:
            fresh.weight_gradients.flatten(1).square().sum(1)
        found.append(seconds() - begun)
    return statistics.median(found)


def main() -> int:
    """Measure and print."""
    parser = options_of(__doc__, repeats=5)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    figures: list[dict[str, Any]] = []
    for name, (inputs, outputs) in tqdm(SHAPES.items(), unit="shape"):
        layer = TappedLayer(nn.Linear(inputs, outputs, bias=False, device="meta"), None, None)
        for tokens in TOKENS:
            one = LayerPass(
                layer,
                torch.randn(8, tokens, inputs, device=device),
                torch.randn(8, tokens, outputs, device=device),
                None,
                False,
            )
            taken = {way: timed(one, way, options.repeats) for way in ("gram", "product")}
            chosen = "gram" if one.gram_is_cheaper else "product"
            good = taken[chosen] <= 1.1 * min(taken.values())
            figures.append({"layer": name, "tokens": tokens, "seconds": taken, "chosen": chosen, "good": good})
    share = sum(one["good"] for one in figures) / len(figures)
    write_result(options, "norms", {"layers": figures, "ratio": share})
    for one in figures:
        gram, product = (one["seconds"][way] * 1e3 for way in ("gram", "product"))
        print(
            f"{one['layer']:22} T {one['tokens']:4}: Gram {gram:8.2f} ms, product {product:8.2f} ms, "
            f"rule: {one['chosen']}{'' if one['good'] else '  (slower)'}"
        )
    print(f"share of shapes in which the rule is right: {share:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
